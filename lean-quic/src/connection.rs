//! One connection: its state, and what the application asks of it. Receiving, sending and timers stand in files of
//! their own.

mod closing;
mod forge;
mod frames;
mod receive;
mod timers;
mod transmit;

use super::cid::{Cid, LocalCid};
use super::cids::ServerCids;
use super::error::{CloseReason, TransportError};
use super::events::{Event, Refused, Sink, StreamId};
use super::handshake::Handshake;
use super::keys::{DataKeys, PacketKey};
use super::recovery::Recovery;
use super::space::Space;
use super::streams::{Flow, Limits, Streams};
use super::transport_parameters::{Offer, ServerParameters};
use super::{Config, DATAGRAM_PAYLOAD_BYTES_MAX, RECEIVE_BYTES_MAX};
use crate::Micros;
use closing::Closing;
pub use forge::seal_initial;
use rustls::pki_types::ServerName;
use std::sync::Arc;

/// Bytes of DATAGRAM frames that wait for the next packet.
const DATAGRAM_QUEUE_BYTES_MAX: usize = 8 << 10;
/// Streams whose bytes the connection's window covers, beside one of each kind that the server may open.
const WINDOW_STREAMS: u64 = 4;

/// A QUIC connection to a server.
///
/// It does no I/O and reads no clock. After each call that may have changed something, a driver calls
/// [`poll_transmit`](Self::poll_transmit) until it gives nothing, then [`next_timeout`](Self::next_timeout).
#[derive(Debug)]
pub struct Connection {
    config: Arc<Config>,
    /// Until the handshake is confirmed (RFC 9001, section 4.1.2).
    handshake: Option<Box<Handshake>>,
    /// From the moment at which TLS has finished.
    keys: Option<DataKeys>,
    /// After a key update, for packets that were under way.
    previous: Option<Box<Previous>>,
    /// The least number received in the current key phase, and the least sent.
    phase_from: (u64, u64),
    space: Space,
    recovery: Recovery,
    local: LocalCid,
    cids: ServerCids,
    server: Server,
    flow: Flow,
    /// While there are any.
    streams: Option<Box<Streams>>,
    /// Datagrams to send, each with its length in two bytes before it.
    datagrams: Vec<u8>,
    pending: Pending,
    path_response: Option<[u8; 8]>,
    phase: Phase,
    closing: Option<Box<Closing>>,
    /// Since when the idle timeout runs (RFC 9000, section 10.1).
    idle_from: Micros,
    /// Something was sent since then that asks for an answer.
    has_asked: bool,
}

/// What of the server's parameters is needed all along.
#[derive(Debug)]
struct Server {
    /// The smaller of both sides' idle timeouts; zero for none.
    idle_timeout: Micros,
    ack_delay_max: Micros,
    ack_delay_exponent: u8,
    /// Whole DATAGRAM frame; 0 when it takes none.
    datagram_frame_bytes_max: u16,
    /// The least sequence number of what it may ask for next of our acknowledgements.
    next_ack_rules: u32,
}

/// Frames that wait for the next packet.
#[derive(Debug, Default)]
struct Pending {
    ping: bool,
    max_data: bool,
    max_streams: bool,
    data_blocked: bool,
    streams_blocked: bool,
    /// A request was refused for want of a stream.
    wants_stream: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Handshaking,
    Open,
    /// We closed; the server may still need to be told (RFC 9000, section 10.2.1).
    Closing,
    /// The server closed; nothing is sent any more (RFC 9000, section 10.2.2).
    Draining,
    Drained,
}

struct Previous {
    key: PacketKey,
    until: Micros,
}

impl std::fmt::Debug for Previous {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Previous(until {:?})", self.until)
    }
}

impl Connection {
    /// Begins to connect. `local` is the ID by which the server will name this connection; `destination` is the first
    /// ID that it is named by itself, and must not be predictable (RFC 9000, section 7.2).
    ///
    /// # Errors
    /// The TLS library does not accept its configuration.
    pub fn new(
        config: Arc<Config>,
        now: Micros,
        server_name: ServerName<'static>,
        local: LocalCid,
        destination: [u8; 8],
    ) -> Result<Self, rustls::Error> {
        let original = Cid::from(destination);
        let stream_window = config.response_bytes_max + 1;
        let limits = Limits {
            stream_window,
            data_window: u64::from(stream_window) * (WINDOW_STREAMS + u64::from(config.notices_max)),
            notices: config.notices_max.into(),
        };
        let offer = Offer {
            idle_timeout_ms: config.idle_timeout.0 / 1_000,
            udp_payload_bytes_max: RECEIVE_BYTES_MAX as u64,
            data_max: limits.data_window,
            stream_data_max: stream_window.into(),
            server_streams_max: limits.notices,
            ack_delay_ms_max: config.ack_delay_ms_max.into(),
            source: local,
        };
        let handshake = Handshake::new(&config, server_name, original, &offer, now)?;
        Ok(Self {
            server: Server {
                idle_timeout: config.idle_timeout,
                ack_delay_max: Micros::ZERO,
                ack_delay_exponent: 0,
                datagram_frame_bytes_max: 0,
                next_ack_rules: 0,
            },
            space: Space::new(Micros::from_ms(config.ack_delay_ms_max.into())),
            config,
            handshake: Some(Box::new(handshake)),
            keys: None,
            previous: None,
            phase_from: (0, 0),
            recovery: Recovery::new(),
            local,
            cids: ServerCids::new(original),
            flow: Flow::new(limits),
            streams: None,
            datagrams: Vec::new(),
            pending: Pending::default(),
            path_response: None,
            phase: Phase::Handshaking,
            closing: None,
            idle_from: now,
            has_asked: false,
        })
    }

    /// The ID by which the server names this connection.
    #[must_use]
    pub fn local_cid(&self) -> &LocalCid {
        &self.local
    }

    /// Whether datagrams and requests may go out.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    /// Whether nothing will ever come or go any more, so that it can be dropped.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.phase == Phase::Drained
    }

    /// Sends an unreliable datagram with the next packet (RFC 9221).
    ///
    /// # Errors
    /// See [`Refused`]; nothing is queued then.
    pub fn send_datagram(&mut self, payload: &[u8]) -> Result<(), Refused> {
        if !self.is_open() {
            return Err(Refused::NotConnected);
        }
        let frame_max = usize::from(self.server.datagram_frame_bytes_max);
        if frame_max == 0 {
            return Err(Refused::DatagramsUnsupported);
        }
        // Type and length take three bytes of the frame at the most.
        if payload.len() > DATAGRAM_PAYLOAD_BYTES_MAX || payload.len() + 3 > frame_max {
            return Err(Refused::TooLarge);
        }
        if self.datagrams.len() + 2 + payload.len() > DATAGRAM_QUEUE_BYTES_MAX {
            return Err(Refused::Busy);
        }
        self.datagrams.reserve_exact(2 + payload.len());
        self.datagrams.extend_from_slice(&(payload.len() as u16).to_be_bytes());
        self.datagrams.extend_from_slice(payload);
        Ok(())
    }

    /// Opens a stream, sends the whole request on it, and ends it. What comes back is one event for the stream.
    ///
    /// # Errors
    /// See [`Refused`]. After [`Refused::StreamLimit`] there will be [`Event::StreamsAvailable`].
    pub fn open_request(&mut self, request: &[u8]) -> Result<StreamId, Refused> {
        if !self.is_open() {
            return Err(Refused::NotConnected);
        }
        if request.len() > self.config.request_bytes_max as usize {
            return Err(Refused::TooLarge);
        }
        let opened = self.streams.get_or_insert_default().open(&mut self.flow, request);
        if opened == Err(Refused::StreamLimit) {
            // Told once for each limit (RFC 9000, section 4.6), however often it is asked for; again only if it is lost.
            self.pending.streams_blocked |= !std::mem::replace(&mut self.pending.wants_stream, true);
        }
        self.drop_idle_streams();
        opened
    }

    /// Gives up a request, in both directions. It has no more events.
    pub fn cancel_request(&mut self, stream: StreamId, code: u64) {
        if let Some(streams) = &mut self.streams {
            streams.cancel(stream, code);
        }
    }

    /// Asks the server for a sign of life.
    pub fn ping(&mut self) {
        self.pending.ping = true;
    }

    /// Closes with an application's code. What is under way is lost; the next packet says so to the server.
    pub fn close(&mut self, now: Micros, code: u64, sink: Sink<'_>) {
        self.begin_closing(now, Closing::by_application(code), CloseReason::Here, sink);
    }

    /// The server's first word on how it is to be treated. Checked before anything is sent that needs it.
    fn take_parameters(&mut self, parameters: &ServerParameters) -> Result<(), TransportError> {
        let ours = self.config.idle_timeout;
        let theirs = Micros::from_ms(parameters.idle_timeout_ms);
        // RFC 9000, section 10.1: the smaller, where zero is none.
        let idle_timeout = match (ours.0, theirs.0) {
            (0, _) => theirs,
            (_, 0) => ours,
            _ => ours.min(theirs),
        };
        self.server = Server {
            idle_timeout,
            ack_delay_max: Micros::from_ms(parameters.ack_delay_ms_max),
            ack_delay_exponent: parameters.ack_delay_exponent,
            datagram_frame_bytes_max: parameters.datagram_frame_bytes_max.min(u16::MAX.into()) as u16,
            next_ack_rules: self.server.next_ack_rules,
        };
        self.flow.data_max = parameters.data_max;
        self.flow.stream_data_max = parameters.stream_data_max;
        self.flow.streams_max = parameters.streams_max;
        if let Some(token) = parameters.reset_token {
            self.cids.set_first_token(token);
        }
        if let Some((id, token)) = parameters.preferred {
            self.cids.on_new(1, 0, id, token)?; // RFC 9000, section 5.1.1
        }
        Ok(())
    }

    fn drop_idle_streams(&mut self) {
        if self.streams.as_ref().is_some_and(|streams| streams.is_empty()) {
            self.streams = None;
        }
    }

    /// RFC 9001, section 4.1.2: Handshake keys go, and with them all that the handshake needed.
    fn confirm(&mut self) {
        if let Some(handshake) = self.handshake.take() {
            for (_, space) in handshake.spaces() {
                space
                    .in_flight()
                    .iter()
                    .for_each(|sent| self.recovery.forget(sent.bytes));
            }
            self.recovery.reset_probes();
        }
    }

    /// Tells of the token that belongs to the ID in use.
    fn tell_reset_token(&self, sink: Sink<'_>) {
        if let Some(token) = self.cids.reset_token() {
            sink(Event::ResetToken(*token));
        }
    }
}

#[cfg(test)]
impl Connection {
    /// Blocks of memory that it holds beside itself and its shared configuration.
    pub(super) fn heap_blocks(&self) -> usize {
        let boxes = [
            self.handshake.is_some(),
            self.previous.is_some(),
            self.streams.is_some(),
            self.closing.is_some(),
            self.datagrams.capacity() > 0,
            self.space.has_heap(),
            self.cids.has_heap(),
        ];
        boxes.into_iter().filter(|held| *held).count()
    }

    /// What the congestion window is charged with.
    pub(super) fn bytes_in_flight(&self) -> u32 {
        self.recovery.in_flight()
    }

    /// A datagram with these frames, as the server would send it after `ahead` others, in this key phase or the next.
    pub(super) fn forge(&self, frames: &[u8], ahead: u64, in_next_phase: bool) -> Vec<u8> {
        use super::keys::Keys;
        use super::packet::Packet;
        let mut buffer = vec![0; super::RECEIVE_BYTES_MAX];
        let keys = self.keys.as_ref().expect("the handshake is over");
        let packet_key = if in_next_phase {
            keys.next_remote()
        } else {
            keys.remote.packet
        };
        let sealing = Keys {
            packet: packet_key,
            header: keys.remote.header,
        };
        let number = self.space.received.expected() + ahead;
        let mut packet = Packet::short(&mut buffer, &Cid::from(self.local), keys.phase != in_next_phase, number);
        packet.writer().bytes(frames);
        let length = packet.seal(&sealing);
        buffer.truncate(length);
        buffer
    }
}
