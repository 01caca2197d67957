//! A session: one peer's connection, what the shard knows of it, and the application's part.

use crate::close::Close;
use crate::endpoints::Place;
use crate::moves::Moves;
use crate::session_id::SessionId;
use crate::streams::{NoRoom, Partial, Read, StreamRules, refuse};
use bytes::Bytes;
use quinn_proto::{Connection, ConnectionEvent, Dir, StreamId, VarInt};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// A reply or notice that is not acknowledged after two round trips, and so long at the least, is asked for: a phone
/// acknowledges after 25 ms, but for those that let it ride.
const UNHEARD_MIN: Duration = Duration::from_millis(50);
/// The second ping follows the first so much later: in a packet of its own, because who lets acknowledgements ride sends one
/// at once only when two packets came behind a gap.
const BETWEEN_PINGS: Duration = Duration::from_millis(10);
/// A session with no deadline for so long waits for nothing. A probe for an acknowledgement is due after some 1.3 s.
const QUIET: Duration = Duration::from_secs(2);

/// One session, packed as a whole while it is idle.
pub struct Session<S> {
    pub transport: Transport,
    pub app: S,
}

/// The connection, and what the shard knows of it.
pub struct Transport {
    pub connection: Connection,
    pub place: Place,
    /// Tells this session from later ones with the same index.
    pub serial: u32,
    /// When what it waits for is due, if it waits for something.
    due: Instant,
    waits: Waits,
    /// Replies and notices that went out whole and are not acknowledged.
    unheard: u16,
    pub is_handshaking: bool,
    /// In the list of sessions to be driven this turn.
    pub is_dirty: bool,
    moves: Moves,
    partial: Partial,
}

/// What happens to a session by the clock that its connection does not know of.
///
/// A phone is pinged for its acknowledgement because quinn-proto asks for it only after the longest that a phone may take for
/// it, which we have to assume long; a ping that is acknowledged shows it what was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waits {
    Nothing,
    /// The application's deadline.
    Deadline,
    /// From the end of this turn on it counts when it is pinged.
    PingsBegin,
    /// It is pinged, so often yet.
    Pings(u8),
    /// It is closed, and then forgotten.
    End,
}

/// What is due of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    Deadline,
    Ping,
    End,
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

impl Transport {
    pub fn new(connection: Connection, place: Place, serial: u32, now: Instant) -> Self {
        Self {
            connection,
            place,
            serial,
            due: now,
            waits: Waits::Nothing,
            unheard: 0,
            is_handshaking: true,
            is_dirty: false,
            moves: Moves::default(),
            partial: Partial::default(),
        }
    }

    /// Its id, at this index.
    pub fn id(&self, index: usize) -> SessionId {
        SessionId {
            index: index as u32,
            serial: self.serial,
        }
    }

    /// When something is to happen to it by the clock.
    #[inline]
    pub fn deadline(&mut self) -> Option<Instant> {
        let waits = self.waits().then_some(self.due);
        [self.connection.poll_timeout(), waits].into_iter().flatten().min()
    }

    fn waits(&self) -> bool {
        matches!(self.waits, Waits::Deadline | Waits::Pings(_) | Waits::End)
    }

    /// Whether nothing is under way for it, whose next deadline this is. What waits for an acknowledgement, or is to send one,
    /// has a nearer one; one that is closed waits for nothing.
    #[inline]
    pub fn is_quiet(&self, now: Instant, deadline: Instant) -> bool {
        !self.is_dirty && (self.is_closing() || deadline > now + QUIET)
    }

    /// What is due of it that its connection does not know of.
    #[inline]
    pub fn due(&self, now: Instant) -> Option<Due> {
        if self.due > now {
            return None;
        }
        match self.waits {
            Waits::Nothing | Waits::PingsBegin => None,
            Waits::Deadline => Some(Due::Deadline),
            Waits::Pings(_) => Some(Due::Ping),
            Waits::End => Some(Due::End),
        }
    }

    /// Sets the application's deadline, in place of the one before.
    pub fn set_deadline(&mut self, at: Option<Instant>) {
        match (at, self.waits) {
            (_, Waits::End) => {}
            (Some(at), _) => (self.due, self.waits) = (at, Waits::Deadline),
            (None, Waits::Deadline) => self.waits = Waits::Nothing,
            (None, _) => {}
        }
    }

    /// It was closed, and is forgotten then.
    pub fn end_at(&mut self, at: Instant) {
        (self.due, self.waits) = (at, Waits::End);
    }

    /// Whether it was closed, and waits to be forgotten.
    #[inline]
    pub fn is_closing(&self) -> bool {
        self.waits == Waits::End
    }

    /// What went out in this turn is asked for, unless it is acknowledged before.
    #[inline]
    pub fn expect_acks(&mut self, now: Instant) {
        if self.waits == Waits::PingsBegin {
            self.due = now + (self.connection.rtt() * 2).max(UNHEARD_MIN);
            self.waits = Waits::Pings(2);
        }
    }

    /// A reply or notice was acknowledged.
    pub fn is_heard(&mut self) {
        self.unheard = self.unheard.saturating_sub(1);
        if self.unheard == 0 && matches!(self.waits, Waits::PingsBegin | Waits::Pings(_)) {
            self.waits = Waits::Nothing;
        }
    }

    /// It is pinged now, or would be.
    pub fn count_ping(&mut self, now: Instant) {
        if let Waits::Pings(left) = self.waits {
            self.due = now + BETWEEN_PINGS;
            self.waits = if left > 1 {
                Waits::Pings(left - 1)
            } else {
                Waits::Nothing
            };
        }
    }

    /// Whether a packet with a short header, from this address, would be thrown away, because the handshake is not over.
    #[inline]
    pub fn must_buffer(&self, remote: SocketAddr) -> bool {
        self.connection.is_handshaking() && self.connection.remote_address() == remote
    }

    /// Takes a packet that came from this address.
    pub fn take(&mut self, now_ns: u64, remote: SocketAddr, event: ConnectionEvent) -> Taken {
        let known = self.connection.remote_address();
        if remote != known && !self.moves.may(now_ns) {
            return Taken::Refused;
        }
        self.connection.handle_event(event);
        if self.connection.remote_address() == known {
            return Taken::Here;
        }
        // Counted only when the packet proved authentic and moved the session.
        self.moves.count(now_ns);
        Taken::MovedFrom(known)
    }

    /// The next stream that the client opened.
    pub fn accept(&mut self) -> Option<StreamId> {
        self.connection.streams().accept(Dir::Bi)
    }

    /// Reads what has come on a request's stream.
    pub fn read(&mut self, stream: StreamId, rules: &StreamRules) -> Read {
        self.partial.read(&mut self.connection, stream, rules)
    }

    /// Whether a reply of so many bytes on this stream would reach the client.
    pub fn can_reply(&mut self, stream: StreamId, bytes: usize, rules: &StreamRules) -> bool {
        let is_wanted = self.connection.send_stream(stream).stopped() == Ok(None);
        is_wanted && !self.connection.is_closed() && self.partial.has_room(bytes, rules)
    }

    /// Sends a whole reply and FIN; what the client has no credit for, when it gives some. Says whether all of it is on its way.
    pub fn reply(&mut self, stream: StreamId, bytes: Bytes, rules: &StreamRules) -> Result<bool, NoRoom> {
        if !self.partial.has_room(bytes.len(), rules) {
            return Err(NoRoom);
        }
        self.write(stream, bytes)
    }

    fn write(&mut self, stream: StreamId, bytes: Bytes) -> Result<bool, NoRoom> {
        let is_whole = self.partial.write(&mut self.connection, stream, bytes)?;
        if is_whole {
            self.unheard = self.unheard.saturating_add(1);
            if matches!(self.waits, Waits::Nothing | Waits::Pings(_)) {
                self.waits = Waits::PingsBegin;
            }
        }
        Ok(is_whole)
    }

    /// Goes on with a reply that waited: there is credit again.
    pub fn write_on(&mut self, stream: StreamId, rules: &StreamRules) {
        if let Some(rest) = self.partial.take_rest(stream)
            && self.write(stream, rest).is_err()
        {
            refuse(&mut self.connection, stream, rules.abuse);
        }
    }

    /// The client does not want the reply that waited.
    pub fn give_up(&mut self, stream: StreamId, rules: &StreamRules) {
        if self.partial.take_rest(stream).is_some() {
            refuse(&mut self.connection, stream, rules.done);
        }
    }

    /// Sends a whole notice and FIN on a stream of our own. False when the client gives no room for it.
    pub fn notify(&mut self, bytes: Bytes, rules: &StreamRules) -> bool {
        if !self.partial.takes_notices() || !self.partial.has_room(bytes.len(), rules) {
            return false;
        }
        let Some(stream) = self.connection.streams().open(Dir::Uni) else {
            return false;
        };
        self.write(stream, bytes).is_ok()
    }

    /// Closes the connection.
    pub fn close(&mut self, now: Instant, close: Close) {
        let reason = Bytes::from_static(close.reason.as_bytes());
        self.connection.close(now, VarInt::from_u32(close.code), reason);
    }
}
