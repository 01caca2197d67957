//! A session: one phone's connection and what the gateway knows of it.

use super::behaviour::Behaviour;
use super::endpoints::Place;
use super::spent::Spent;
use bytes::{Bytes, BytesMut};
use quinn_proto::{Connection, ConnectionEvent, Dir, ReadError, StreamId, VarInt};
use shake_proto::code::Code;
use shake_proto::frame::{LENGTH_BYTES_MAX, REQUEST_BYTES_MAX};
use shake_rules::UserId;
use shake_rules::prefix::Prefix;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Bytes that a request stream may carry.
const STREAM_BYTES_MAX: usize = REQUEST_BYTES_MAX + LENGTH_BYTES_MAX;
/// A session with no deadline for so long waits for nothing. A probe for an acknowledgement is due after some 1.3 s.
const QUIET: Duration = Duration::from_secs(2);

pub struct Session {
    pub connection: Connection,
    pub place: Place,
    /// Set by the first Hello.
    pub user: Option<UserId>,
    /// Said by the last Hello.
    pub takes_notices: bool,
    /// Tells this session from later ones with the same index.
    pub serial: u32,
    /// Before Hello: when it is closed for want of one. Once closed: when it is forgotten.
    pub due: Instant,
    pub is_closing: bool,
    pub is_handshaking: bool,
    /// What it did since it was last told of.
    pub behaviour: Behaviour,
    /// In the list of sessions to be settled this turn.
    pub is_dirty: bool,
    /// What it has used up of the limits.
    pub spent: Spent,
    /// Requests that have come in part; empty for nearly all sessions nearly always.
    partial: Vec<(StreamId, BytesMut)>,
}

/// What a request stream gave.
pub enum Read {
    /// More is to come.
    Incomplete,
    /// All of it.
    Request(Bytes),
    /// It cannot be a request; the stream is to be refused.
    Refused(Code),
    /// The client gave it up, or it was refused before.
    Gone,
}

/// What a packet did to where a session is.
pub enum Taken {
    /// Nothing.
    Here,
    /// It moved from this address.
    MovedFrom(SocketAddr),
    /// The packet was dropped, because the session's address changes too often.
    Refused,
}

impl Session {
    pub fn new(connection: Connection, place: Place, serial: u32, now: Instant, hello_timeout: Duration) -> Self {
        let behaviour = Behaviour::new(Prefix::of(connection.remote_address().ip()));
        Self {
            connection,
            place,
            user: None,
            takes_notices: false,
            serial,
            due: now + hello_timeout,
            is_closing: false,
            is_handshaking: true,
            behaviour,
            is_dirty: false,
            spent: Spent::default(),
            partial: Vec::new(),
        }
    }

    /// When something is to happen to it by the clock.
    pub fn deadline(&mut self) -> Option<Instant> {
        [self.connection.poll_timeout(), self.due()].into_iter().flatten().min()
    }

    /// Whether nothing is under way for it, whose next deadline this is. What waits for an acknowledgement, or is to send one,
    /// has a nearer one; one that is closed waits for nothing.
    pub fn is_quiet(&self, now: Instant, deadline: Instant) -> bool {
        !self.is_dirty && (self.is_closing || deadline > now + QUIET)
    }

    /// When something is to happen to it that its connection does not know of.
    pub fn due(&self) -> Option<Instant> {
        (self.is_closing || self.user.is_none()).then_some(self.due)
    }

    /// Takes a packet that came from this address.
    pub fn take(&mut self, now_ns: u64, remote: SocketAddr, event: ConnectionEvent) -> Taken {
        let known = self.connection.remote_address();
        if remote != known && !self.spent.moves.may(now_ns) {
            return Taken::Refused;
        }
        self.connection.handle_event(event);
        if self.connection.remote_address() == known {
            return Taken::Here;
        }
        // Counted only when the packet proved authentic and moved the session.
        self.spent.moves.count(now_ns);
        self.behaviour.moved();
        Taken::MovedFrom(known)
    }

    /// The next stream that the client opened.
    pub fn accept(&mut self) -> Option<StreamId> {
        self.connection.streams().accept(Dir::Bi)
    }

    /// Reads what has come on a request stream.
    pub fn read(&mut self, stream: StreamId) -> Read {
        let at = self.partial.iter().position(|(id, _)| *id == stream);
        let mut held = at.map(|at| self.partial.swap_remove(at).1);
        let mut receive = self.connection.recv_stream(stream);
        let Ok(mut chunks) = receive.read(true) else {
            return Read::Gone;
        };
        let mut only: Option<Bytes> = None;
        let end = loop {
            match chunks.next(usize::MAX) {
                Ok(Some(chunk)) => {
                    if let Some(first) = only.take() {
                        held = Some(BytesMut::from(&first[..]));
                    }
                    match &mut held {
                        Some(held) => held.extend_from_slice(&chunk.bytes),
                        None => only = Some(chunk.bytes),
                    }
                    let length = held.as_ref().map_or(0, BytesMut::len) + only.as_ref().map_or(0, Bytes::len);
                    if length > STREAM_BYTES_MAX {
                        break Read::Refused(Code::Oversized);
                    }
                }
                Ok(None) => break Read::Request(only.take().or(held.take().map(BytesMut::freeze)).unwrap_or_default()),
                Err(ReadError::Blocked) => break Read::Incomplete,
                Err(ReadError::Reset(_)) => break Read::Gone,
            }
        };
        // Whether flow control needs a packet is decided when this turn's packets are made.
        let _ = chunks.finalize();
        if matches!(end, Read::Gone) {
            // Our half ends too, or the stream's credit never returns to the client.
            let number = VarInt::from_u32(Code::Done.number());
            let _ = self.connection.send_stream(stream).reset(number);
        }
        if matches!(end, Read::Incomplete) {
            let held = held
                .or(only.map(|bytes| BytesMut::from(&bytes[..])))
                .unwrap_or_default();
            self.partial.push((stream, held));
        }
        end
    }

    /// Sends a whole reply and FIN. A client that gave no room for it has the stream refused.
    pub fn reply(&mut self, stream: StreamId, bytes: Bytes) -> Result<(), Code> {
        let length = bytes.len();
        let mut send = self.connection.send_stream(stream);
        match send.write_chunks(&mut [bytes]) {
            Ok(written) if written.bytes == length => send.finish().map_err(|_| Code::Abuse),
            _ => Err(Code::Abuse),
        }
    }

    /// Sends a whole notice and FIN on a stream of our own. False when the client gives no credit for it.
    pub fn notify(&mut self, bytes: Bytes) -> bool {
        let Some(stream) = self.connection.streams().open(Dir::Uni) else {
            return false;
        };
        self.reply(stream, bytes).is_ok()
    }

    /// Ends a request stream in both directions with a named code.
    pub fn refuse(&mut self, stream: StreamId, code: Code) {
        let number = VarInt::from_u32(code.number());
        // Either direction may be over already; then there is nothing left to end.
        let _ = self.connection.recv_stream(stream).stop(number);
        let _ = self.connection.send_stream(stream).reset(number);
    }

    /// Closes the connection with a named code.
    pub fn close(&mut self, now: Instant, code: Code) {
        self.connection.close(
            now,
            VarInt::from_u32(code.number()),
            Bytes::from_static(code.name().as_bytes()),
        );
    }
}
