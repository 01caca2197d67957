//! The TLS side of a connection, as quinn-proto wants it, that drops the rustls connection once the handshake is over.
//! What remains is the secrets for the next key update: some 200 bytes instead of 3.4 KB.
//!
//! After the handshake a QUIC client has nothing to say in TLS but what is forbidden (RFC 9001, section 6: no TLS key
//! update) or unused here (no client certificates after the handshake), so any such message ends the connection.

use super::{compact, parameters};
use quinn_proto::crypto::rustls::QuicServerConfig;
use quinn_proto::crypto::{
    ExportKeyingMaterialError, HeaderKey, KeyPair, Keys, PacketKey, ServerConfig, Session, UnsupportedVersion,
};
use quinn_proto::transport_parameters::TransportParameters;
use quinn_proto::{ConnectionId, Side, TransportError, TransportErrorCode};
use rustls::quic::{KeyChange, Secrets, ServerConnection, Version};
use std::any::Any;
use std::sync::Arc;

/// TLS alert `unexpected_message` (RFC 8446, section 6.2).
const UNEXPECTED_MESSAGE: u8 = 10;

/// Starts lean sessions; the keys of Initial packets and Retry are the stock configuration's.
pub struct LeanServerConfig {
    tls: Arc<rustls::ServerConfig>,
    stock: Arc<QuicServerConfig>,
}

impl LeanServerConfig {
    pub fn new(tls: Arc<rustls::ServerConfig>, stock: Arc<QuicServerConfig>) -> Self {
        Self { tls, stock }
    }
}

impl ServerConfig for LeanServerConfig {
    fn initial_keys(&self, version: u32, dst_cid: &ConnectionId) -> Result<Keys, UnsupportedVersion> {
        self.stock.initial_keys(version, dst_cid)
    }

    fn retry_tag(&self, version: u32, orig_dst_cid: &ConnectionId, packet: &[u8]) -> [u8; 16] {
        self.stock.retry_tag(version, orig_dst_cid, packet)
    }

    fn start_session(self: Arc<Self>, version: u32, params: &TransportParameters) -> Box<dyn Session> {
        let connection = ServerConnection::new(Arc::clone(&self.tls), Version::V1, parameters::write(params));
        let connection =
            connection.expect("the configuration has TLS 1.3 and a QUIC suite, which `server_config` saw to");
        Box::new(LeanSession {
            config: self,
            version,
            state: State::Handshaking(Box::new(Handshaking {
                connection,
                next: None,
                has_told: false,
            })),
        })
    }
}

struct LeanSession {
    config: Arc<LeanServerConfig>,
    version: u32,
    state: State,
}

enum State {
    Handshaking(Box<Handshaking>),
    Established(Box<Secrets>),
}

struct Handshaking {
    connection: ServerConnection,
    next: Option<Box<Secrets>>,
    /// Whether quinn-proto was told that the handshake's data is there.
    has_told: bool,
}

impl LeanSession {
    /// Drops the rustls connection, once it is done and has nothing more to write.
    fn slim_down(&mut self) {
        if let State::Handshaking(handshake) = &mut self.state
            && !handshake.connection.is_handshaking()
            && let Some(next) = handshake.next.take()
        {
            self.state = State::Established(next);
        }
    }
}

impl Session for LeanSession {
    fn initial_keys(&self, dst_cid: &ConnectionId, _side: Side) -> Keys {
        let keys = self.config.stock.initial_keys(self.version, dst_cid);
        keys.unwrap_or_else(|_| unreachable!("a session is only started for a version that has keys"))
    }

    fn handshake_data(&self) -> Option<Box<dyn Any>> {
        None
    }

    fn peer_identity(&self) -> Option<Box<dyn Any>> {
        None
    }

    fn early_crypto(&self) -> Option<(Box<dyn HeaderKey>, Box<dyn PacketKey>)> {
        None
    }

    fn early_data_accepted(&self) -> Option<bool> {
        None
    }

    fn is_handshaking(&self) -> bool {
        match &self.state {
            State::Handshaking(handshake) => handshake.connection.is_handshaking(),
            State::Established(_) => false,
        }
    }

    fn read_handshake(&mut self, buf: &[u8]) -> Result<bool, TransportError> {
        let State::Handshaking(handshake) = &mut self.state else {
            return Err(TransportError {
                code: TransportErrorCode::crypto(UNEXPECTED_MESSAGE),
                frame: None,
                reason: "a TLS message after the handshake".into(),
            });
        };
        let connection = &mut handshake.connection;
        connection.read_hs(buf).map_err(|error| TransportError {
            code: connection
                .alert()
                .map_or(TransportErrorCode::PROTOCOL_VIOLATION, |alert| {
                    TransportErrorCode::crypto(alert.into())
                }),
            frame: None,
            reason: error.to_string(),
        })?;
        let is_there = handshake.connection.alpn_protocol().is_some() || !handshake.connection.is_handshaking();
        Ok(is_there && !std::mem::replace(&mut handshake.has_told, true))
    }

    fn transport_parameters(&self) -> Result<Option<TransportParameters>, TransportError> {
        let State::Handshaking(handshake) = &self.state else {
            return Ok(None);
        };
        match handshake.connection.quic_transport_parameters() {
            None => Ok(None),
            Some(bytes) => Ok(Some(parameters::read(bytes)?)),
        }
    }

    fn write_handshake(&mut self, buf: &mut Vec<u8>) -> Option<Keys> {
        let State::Handshaking(handshake) = &mut self.state else {
            return None;
        };
        let (keys, are_last) = match handshake.connection.write_hs(buf) {
            Some(KeyChange::Handshake { keys }) => (keys, false),
            Some(KeyChange::OneRtt { keys, next }) => {
                handshake.next = Some(Box::new(next));
                (keys, true)
            }
            None => {
                self.slim_down();
                return None;
            }
        };
        let keys = Keys {
            header: KeyPair {
                local: compact::header_key(keys.local.header),
                remote: compact::header_key(keys.remote.header),
            },
            packet: KeyPair {
                local: compact::packet_key(keys.local.packet),
                remote: compact::packet_key(keys.remote.packet),
            },
        };
        if are_last {
            compact::note_newest_keys(&keys);
        }
        Some(keys)
    }

    fn next_1rtt_keys(&mut self) -> Option<KeyPair<Box<dyn PacketKey>>> {
        let secrets = match &mut self.state {
            State::Handshaking(handshake) => handshake.next.as_mut()?,
            State::Established(secrets) => secrets,
        };
        let keys = secrets.next_packet_keys();
        Some(KeyPair {
            local: compact::packet_key(keys.local),
            remote: compact::packet_key(keys.remote),
        })
    }

    /// Only clients get Retry packets.
    fn is_valid_retry(&self, _orig_dst_cid: &ConnectionId, _header: &[u8], _payload: &[u8]) -> bool {
        false
    }

    fn export_keying_material(
        &self,
        _output: &mut [u8],
        _label: &[u8],
        _context: &[u8],
    ) -> Result<(), ExportKeyingMaterialError> {
        Err(ExportKeyingMaterialError)
    }
}
