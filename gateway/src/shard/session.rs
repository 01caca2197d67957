//! A session: one phone's connection and what the gateway knows of it.

use super::endpoints::Place;
use super::spent::Spent;
use crate::abuse::AbuseCounters;
use bytes::{Bytes, BytesMut};
use quinn_proto::{Connection, ConnectionEvent, Dir, ReadError, StreamId, VarInt, WriteError};
use shake_proto::code::Code;
use shake_proto::frame::{LENGTH_BYTES_MAX, REPLY_BYTES_MAX, REQUEST_BYTES_MAX};
use shake_rules::UserId;
use shake_rules::prefix::Prefix;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Bytes that a request stream may carry.
const STREAM_BYTES_MAX: usize = REQUEST_BYTES_MAX + LENGTH_BYTES_MAX;
/// Bytes of replies and notices that may wait for a client's credit: the longest reply and some short ones.
const WAITING_BYTES_MAX: usize = REPLY_BYTES_MAX + 16 * 1024;
/// Of notices no more may be begun while so many messages wait. Replies are bounded by the requests that may be under way.
const WAITING_MAX: usize = 32;
/// A reply or notice that is not acknowledged after two round trips, and so long at the least, is asked for: a phone
/// acknowledges after 25 ms, but for those that let it ride.
const UNHEARD_MIN: Duration = Duration::from_millis(50);
/// The second ping follows the first so much later: in a packet of its own, because who lets acknowledgements ride sends one
/// at once only when two packets came behind a gap.
const BETWEEN_PINGS: Duration = Duration::from_millis(10);
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
    /// Before Hello: when it is closed for want of one. Once closed: when it is forgotten. Between: when it is pinged, if it is.
    pub due: Instant,
    /// Replies and notices that went out whole and are not acknowledged.
    unheard: u16,
    pings: Pings,
    pub is_closing: bool,
    pub is_handshaking: bool,
    /// What it did since it was last told of.
    pub behaviour: AbuseCounters,
    /// In the list of sessions to be settled this turn.
    pub is_dirty: bool,
    /// What it has used up of the limits.
    pub spent: Spent,
    /// Messages that have come or gone in part; empty for nearly all sessions nearly always.
    partial: Vec<(StreamId, Part)>,
}

/// How a phone is asked for its acknowledgement. quinn-proto does so only after the longest that a phone may take for it,
/// which we have to assume long; a ping that is acknowledged shows it what was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pings {
    /// Not at all.
    None,
    /// From the end of this turn on it counts when.
    Begin,
    /// So often yet, the next when the session is due.
    Left(u8),
}

/// What of a stream's message is here.
enum Part {
    /// What has come of a request.
    Request(BytesMut),
    /// What the client has given no credit for of a reply or notice.
    Reply(Bytes),
}

/// What became of a reply or notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// All of it is on its way.
    Whole,
    /// The rest goes when the client gives credit for it.
    Waits,
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
        let behaviour = AbuseCounters::new(Prefix::of(connection.remote_address().ip()));
        Self {
            connection,
            place,
            user: None,
            takes_notices: false,
            serial,
            due: now + hello_timeout,
            unheard: 0,
            pings: Pings::None,
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
        let is_pinged = matches!(self.pings, Pings::Left(_));
        (self.is_closing || self.user.is_none() || is_pinged).then_some(self.due)
    }

    /// What went out in this turn is asked for, unless it is acknowledged before.
    pub fn expect_acks(&mut self, now: Instant) {
        if self.pings == Pings::Begin && self.user.is_some() && !self.is_closing {
            self.due = now + (self.connection.rtt() * 2).max(UNHEARD_MIN);
            self.pings = Pings::Left(2);
        }
    }

    /// A reply or notice was acknowledged.
    pub fn is_heard(&mut self) {
        self.unheard = self.unheard.saturating_sub(1);
        if self.unheard == 0 {
            self.pings = Pings::None;
        }
    }

    /// Whether it is due for a ping, which then counts as made.
    pub fn is_to_ping(&mut self, now: Instant) -> bool {
        let Pings::Left(left) = self.pings else {
            return false;
        };
        self.due = now + BETWEEN_PINGS;
        self.pings = if left > 1 { Pings::Left(left - 1) } else { Pings::None };
        true
    }

    /// Whether a packet with a short header, from this address, would be thrown away, because the handshake is not over.
    pub fn is_early(&self, remote: SocketAddr) -> bool {
        self.connection.is_handshaking() && self.connection.remote_address() == remote
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
        let at = self
            .partial
            .iter()
            .position(|(id, part)| *id == stream && matches!(part, Part::Request(_)));
        let mut held = at.and_then(|at| match self.partial.swap_remove(at).1 {
            Part::Request(held) => Some(held),
            Part::Reply(_) => None,
        });
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
            self.partial.push((stream, Part::Request(held)));
        }
        end
    }

    /// What waits of a stream's reply. A stream that is answered may still be reported as readable.
    fn take_rest(&mut self, stream: StreamId) -> Option<Bytes> {
        let waits = |(id, part): &(StreamId, Part)| *id == stream && matches!(part, Part::Reply(_));
        let at = self.partial.iter().position(waits)?;
        match self.partial.swap_remove(at).1 {
            Part::Reply(rest) => Some(rest),
            Part::Request(_) => None,
        }
    }

    /// Whether a reply of so many bytes on this stream would reach the client, at once or when it gives credit: to be asked
    /// before anything is done that only the reply can tell.
    pub fn can_tell(&mut self, stream: StreamId, bytes: usize) -> bool {
        let is_wanted = self.connection.send_stream(stream).stopped() == Ok(None);
        is_wanted && !self.connection.is_closed() && self.has_room(bytes)
    }

    fn has_room(&self, bytes: usize) -> bool {
        let waiting = self.partial.iter().map(|(_, part)| match part {
            Part::Request(_) => 0,
            Part::Reply(rest) => rest.len(),
        });
        waiting.sum::<usize>() + bytes <= WAITING_BYTES_MAX
    }

    /// Sends a whole reply and FIN; what the client has no credit for, when it gives some.
    ///
    /// # Errors
    /// With what the stream is to be refused when it was stopped, or too much waits already.
    pub fn reply(&mut self, stream: StreamId, bytes: Bytes) -> Result<Sent, Code> {
        if !self.has_room(bytes.len()) {
            return Err(Code::Abuse);
        }
        let rest = self.write(stream, bytes)?;
        if rest.is_empty() {
            return Ok(Sent::Whole);
        }
        self.partial.push((stream, Part::Reply(rest)));
        Ok(Sent::Waits)
    }

    /// Goes on with a reply that waited: there is credit again.
    pub fn write_on(&mut self, stream: StreamId) {
        let Some(rest) = self.take_rest(stream) else {
            return;
        };
        match self.write(stream, rest) {
            Ok(rest) if rest.is_empty() => {}
            Ok(rest) => self.partial.push((stream, Part::Reply(rest))),
            Err(code) => self.refuse(stream, code),
        }
    }

    /// The client does not want the reply that waited.
    pub fn give_up(&mut self, stream: StreamId) {
        if self.take_rest(stream).is_some() {
            self.refuse(stream, Code::Done);
        }
    }

    /// Writes as much as there is credit for, and FIN behind all of it. Gives what is left.
    fn write(&mut self, stream: StreamId, bytes: Bytes) -> Result<Bytes, Code> {
        let mut send = self.connection.send_stream(stream);
        let mut rest = [bytes];
        // Until it is blocked and not only until some is left: only then are we told when there is credit.
        while !rest[0].is_empty() {
            match send.write_chunks(&mut rest) {
                Ok(_) => {}
                Err(WriteError::Blocked) => break,
                Err(_) => return Err(Code::Abuse),
            }
        }
        let [rest] = rest;
        if rest.is_empty() {
            send.finish().map_err(|_| Code::Abuse)?;
            self.unheard = self.unheard.saturating_add(1);
            self.pings = Pings::Begin;
        }
        Ok(rest)
    }

    /// Sends a whole notice and FIN on a stream of our own. False when the client gives no room for it.
    pub fn notify(&mut self, bytes: Bytes) -> bool {
        if self.partial.len() >= WAITING_MAX || !self.has_room(bytes.len()) {
            return false;
        }
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
