//! What a connection needs only until its handshake is confirmed: TLS, the Initial and Handshake spaces with their
//! keys and byte streams, and the IDs that are checked against the server's parameters. It is dropped whole.

use super::Config;
use super::buffers::{Assembler, SendBuffer};
use super::cid::{Cid, LocalCid};
use super::error::{Code, TransportError};
use super::frame::kind;
use super::header::Level;
use super::keys::{self, DataKeys, KeyPair, Secrets};
use super::packet::{LONG_OVERHEAD_BYTES_MAX, Packet};
use super::received::ACK_BYTES_MAX;
use super::recovery::Recovery;
use super::space::{Content, Space};
use super::transport_parameters::{Offer, ServerParameters};
use crate::Micros;
use rustls::pki_types::ServerName;
use rustls::quic::{ClientConnection, KeyChange, Version};
use std::sync::Arc;

/// Handshake bytes that may be out of order at one level (RFC 9000, section 7.5, asks for 4,096 at least).
const CRYPTO_WINDOW_BYTES: u32 = 16 << 10;
/// The longest Retry token that leaves room for a ClientHello beside it.
const TOKEN_BYTES_MAX: usize = 512;
/// Type, offset and length of a CRYPTO frame.
const CRYPTO_OVERHEAD_BYTES_MAX: usize = 1 + 8 + 2;

/// Alert `internal_error` (RFC 8446, section 6): what TLS fails with when it names nothing better.
const ALERT_INTERNAL_ERROR: u8 = 80;

/// A level before the last one.
pub(super) struct Early {
    pub(super) keys: KeyPair,
    pub(super) space: Space,
    pub(super) outgoing: SendBuffer,
    incoming: Assembler,
}

pub(super) struct Handshake {
    tls: ClientConnection,
    secrets: Arc<Secrets>,
    /// The random ID that our first packet was sent to.
    original: Cid,
    retry: Option<Cid>,
    /// The ID that the server chose in its first Initial.
    source: Option<Cid>,
    token: Vec<u8>,
    initial: Option<Early>,
    handshake: Option<Early>,
    /// At which level what TLS says next goes out.
    writes_at: Level,
    /// The server has acknowledged a Handshake packet, so it knows our address (RFC 9002, section 6.2.2.1).
    pub(super) is_acknowledged: bool,
    /// Since when nothing is under way, for the probe that unties a server held back by our silence.
    pub(super) quiet_from: Micros,
}

impl Early {
    fn new(keys: KeyPair) -> Self {
        Self {
            keys,
            space: Space::new(Micros::ZERO), // at once (RFC 9000, section 13.2.1)
            outgoing: SendBuffer::default(),
            incoming: Assembler::default(),
        }
    }
}

impl Handshake {
    /// Starts TLS; its ClientHello waits to be sent.
    pub(super) fn new(
        config: &Config,
        server_name: ServerName<'static>,
        original: Cid,
        offer: &Offer,
        now: Micros,
    ) -> Result<Self, rustls::Error> {
        let secrets = Arc::new(Secrets::default());
        let mut tls = config.tls.clone();
        tls.key_log = secrets.clone();
        let tls = ClientConnection::new(Arc::new(tls), Version::V1, server_name, offer.encode())?;
        let mut handshake = Self {
            tls,
            secrets,
            original,
            retry: None,
            source: None,
            token: Vec::new(),
            initial: Some(Early::new(keys::initial(original.as_slice()))),
            handshake: None,
            writes_at: Level::Initial,
            is_acknowledged: false,
            quiet_from: now,
        };
        handshake.write();
        Ok(handshake)
    }

    pub(super) fn early(&mut self, level: Level) -> Option<&mut Early> {
        match level {
            Level::Initial => self.initial.as_mut(),
            Level::Handshake => self.handshake.as_mut(),
            Level::Data => None,
        }
    }

    pub(super) fn spaces(&self) -> impl Iterator<Item = (Level, &Space)> {
        let initial = self.initial.iter().map(|early| (Level::Initial, &early.space));
        initial.chain(self.handshake.iter().map(|early| (Level::Handshake, &early.space)))
    }

    /// The level at which a probe goes out that has nothing to send again (RFC 9002, section 6.2.2.1).
    pub(super) fn probe_level(&self) -> Level {
        if self.handshake.is_some() {
            Level::Handshake
        } else {
            Level::Initial
        }
    }

    /// Whether anything of the server's was understood, after which version negotiation and Retry are void.
    pub(super) fn has_heard(&self) -> bool {
        self.source.is_some() || self.retry.is_some()
    }

    /// The server's ID in an Initial or Handshake packet that proved genuine. The first one is the one to use; with
    /// any other the packet is dropped (RFC 9000, section 7.2).
    pub(super) fn is_source(&self, scid: &Cid) -> bool {
        self.source.is_none_or(|source| source == *scid)
    }

    pub(super) fn set_source(&mut self, scid: Cid) {
        self.source = Some(scid);
    }

    /// Retry (RFC 9000, section 17.2.5): the same ClientHello again, with the token, to the new ID, under its keys.
    /// Packet numbers go on.
    pub(super) fn on_retry(&mut self, scid: Cid, token: &[u8], packet: &[u8], recovery: &mut Recovery) -> bool {
        let genuine = !self.has_heard()
            && scid != self.original
            && token.len() <= TOKEN_BYTES_MAX
            && keys::is_retry_genuine(self.original.as_slice(), packet);
        let Some(initial) = self.initial.as_mut().filter(|_| genuine) else {
            return false;
        };
        self.retry = Some(scid);
        self.token = token.to_vec();
        initial.keys = keys::initial(scid.as_slice());
        for sent in initial.space.take_all() {
            recovery.forget(sent.bytes);
        }
        initial.outgoing.restart();
        recovery.reset_probes();
        true
    }

    /// CRYPTO. Gives the keys of the last level when TLS comes to them.
    pub(super) fn on_crypto(
        &mut self,
        level: Level,
        offset: u64,
        data: &[u8],
    ) -> Result<Option<DataKeys>, TransportError> {
        let is_past = level == Level::Initial && self.handshake.is_some();
        let Some(early) = self.early(level) else {
            return Ok(None);
        };
        early
            .incoming
            .insert(offset, data, CRYPTO_WINDOW_BYTES)
            .map_err(|_| TransportError::new(Code::CRYPTO_BUFFER_EXCEEDED, "too much of the handshake out of order"))?;
        let bytes = early.incoming.take();
        if bytes.is_empty() {
            return Ok(None);
        }
        if is_past {
            // RFC 9001, section 4.1.3.
            return Err(TransportError::violation("handshake bytes at a level that is over"));
        }
        if self.tls.read_hs(&bytes).is_err() {
            let alert = self.tls.alert().map_or(ALERT_INTERNAL_ERROR, u8::from);
            return Err(TransportError::new(Code::tls_alert(alert), "the TLS handshake failed"));
        }
        Ok(self.write())
    }

    /// Takes what TLS has to say, each part at its level.
    fn write(&mut self) -> Option<DataKeys> {
        loop {
            let mut bytes = Vec::new();
            let change = self.tls.write_hs(&mut bytes);
            let level = self.writes_at;
            if let Some(early) = self.early(level)
                && !bytes.is_empty()
            {
                early.outgoing.push(&bytes);
            }
            match change {
                None if bytes.is_empty() => return None,
                None => {}
                Some(KeyChange::Handshake { .. }) => {
                    self.handshake = self.secrets.handshake_keys().map(Early::new);
                    self.writes_at = Level::Handshake;
                }
                Some(KeyChange::OneRtt { .. }) => return self.secrets.data_keys(),
            }
        }
    }

    /// The server's parameters, which TLS has authenticated (RFC 9000, section 7.4).
    pub(super) fn parameters(&self) -> Result<ServerParameters, TransportError> {
        /// Alert `missing_extension` (RFC 9001, section 8.2).
        const MISSING_EXTENSION: Code = Code::tls_alert(109);
        let encoded = self.tls.quic_transport_parameters();
        let encoded = encoded.ok_or(TransportError::new(MISSING_EXTENSION, "no transport parameters"))?;
        let parameters = ServerParameters::decode(encoded)?;
        let source = self.source.as_ref().unwrap_or(&self.original);
        parameters.check_ids(&self.original, source, self.retry.as_ref())?;
        Ok(parameters)
    }

    // ---- sending -------------------------------------------------------------------------------------------

    /// Writes Initial and Handshake packets into one datagram; gives its length so far.
    pub(super) fn transmit(
        &mut self,
        now: Micros,
        buffer: &mut [u8],
        ids: (&Cid, &LocalCid),
        recovery: &mut Recovery,
    ) -> usize {
        // A datagram with an Initial is padded to the full size (RFC 9000, section 14.1). The Handshake packet takes
        // the padding when there is one to follow; a ClientHello goes alone.
        let alone = self.handshake.is_none() || self.initial.as_ref().is_some_and(|early| early.outgoing.has_pending());
        let mut at = self.transmit_level(now, Level::Initial, buffer, alone, ids, recovery);
        let follows_initial = at > 0;
        if at < buffer.len() {
            at += self.transmit_level(now, Level::Handshake, &mut buffer[at..], follows_initial, ids, recovery);
        }
        at
    }

    fn transmit_level(
        &mut self,
        now: Micros,
        level: Level,
        buffer: &mut [u8],
        pad: bool,
        ids: (&Cid, &LocalCid),
        recovery: &mut Recovery,
    ) -> usize {
        let (early, follows_initial) = match level {
            Level::Initial => (self.initial.as_mut(), false),
            _ => (self.handshake.as_mut(), pad),
        };
        let Some(early) = early else {
            return 0;
        };
        let may_send = recovery.has_window() || early.space.wants_probe;
        let acknowledge = early.space.received.due() <= now;
        let wanted = acknowledge || early.space.wants_probe || (may_send && early.outgoing.has_pending());
        let fits = buffer.len() >= LONG_OVERHEAD_BYTES_MAX + self.token.len() + ACK_BYTES_MAX;
        if !fits || !(wanted || follows_initial) {
            return 0;
        }
        let mut packet = Packet::long(buffer, level, ids, &self.token, early.space.next_number());
        if acknowledge {
            early.space.received.write_ack(now, packet.writer());
        }
        if may_send {
            write_crypto(&mut packet, &mut early.outgoing);
        }
        if early.space.wants_probe && !packet.is_eliciting {
            packet.eliciting(None).u8(kind::PING);
        }
        if pad {
            packet.pad();
        }
        let (is_eliciting, contents) = (packet.is_eliciting, std::mem::take(&mut packet.contents));
        let bytes = packet.seal(&early.keys.local);
        if is_eliciting {
            early.space.on_sent(now, bytes as u16, contents);
            recovery.on_sent(bytes as u16);
        } else {
            early.space.on_sent_unasked();
        }
        self.quiet_from = now;
        if level == Level::Handshake {
            self.drop_initial(recovery);
        }
        bytes
    }

    /// With the first Handshake packet sent, Initial keys are over (RFC 9001, section 4.9.1).
    fn drop_initial(&mut self, recovery: &mut Recovery) {
        if let Some(initial) = self.initial.take() {
            initial
                .space
                .in_flight()
                .iter()
                .for_each(|sent| recovery.forget(sent.bytes));
            recovery.reset_probes(); // RFC 9002, section 6.2.2
        }
    }

    /// A last packet at this level, with the frame that `write` writes.
    pub(super) fn transmit_close(
        &mut self,
        level: Level,
        buffer: &mut [u8],
        pad: bool,
        ids: (&Cid, &LocalCid),
        write: impl FnOnce(&mut Packet<'_>),
    ) -> usize {
        let token = self.token.clone();
        match self.early(level) {
            Some(early) if buffer.len() >= 2 * LONG_OVERHEAD_BYTES_MAX + token.len() => {
                let mut packet = Packet::long(buffer, level, ids, &token, early.space.next_number());
                write(&mut packet);
                if pad {
                    packet.pad();
                }
                let bytes = packet.seal(&early.keys.local);
                early.space.on_sent_unasked();
                bytes
            }
            _ => 0,
        }
    }
}

impl std::fmt::Debug for Handshake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Handshake(at {:?})", self.writes_at)
    }
}

fn write_crypto(packet: &mut Packet<'_>, outgoing: &mut SendBuffer) {
    let Some(room) = packet.room().checked_sub(CRYPTO_OVERHEAD_BYTES_MAX + 1) else {
        return;
    };
    let Some(range) = outgoing.next(u32::MAX) else {
        return;
    };
    let range = range.start..range.end.min(range.start + room as u32 + 1);
    let writer = packet.eliciting(Some(Content::Crypto(range.clone())));
    writer.u8(kind::CRYPTO);
    writer.varint(range.start.into());
    writer.counted(outgoing.bytes(&range).0);
    outgoing.on_sent(range);
}
