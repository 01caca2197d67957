//! Messages on streams: requests that come in parts, replies and notices that wait for the client's credit.

use bytes::{Bytes, BytesMut};
use quinn_proto::{Connection, ReadError, StreamId, VarInt, WriteError};

/// Of notices no more may be begun while so many messages wait. Replies are bounded by the requests that may be under way.
const WAITING_MAX: usize = 32;

/// What streams may carry, and what they are ended with.
#[derive(Clone, Copy, Debug)]
pub struct StreamRules {
    /// Bytes that a request may have.
    pub request_bytes_max: usize,
    /// Bytes of replies and notices that may wait for a client's credit.
    pub waiting_bytes_max: usize,
    /// The code of a stream that is over.
    pub done: u32,
    /// The code of one whose reply can no longer be written.
    pub abuse: u32,
}

/// What of a stream's message is here.
enum Part {
    /// What has come of a request.
    Request(BytesMut),
    /// What the client has given no credit for of a reply or notice.
    Reply(Bytes),
}

/// What a request stream gave.
pub enum Read {
    /// More is to come.
    Incomplete,
    /// All of it.
    Request(Bytes),
    /// It is longer than a request may be.
    TooLong,
    /// The client gave it up, or it was refused before.
    Gone,
}

/// Nothing more of a reply can be written: its stream was stopped, or too much waits already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRoom;

/// Messages that have come or gone in part; empty for nearly all sessions nearly always.
#[derive(Default)]
pub struct Partial(Vec<(StreamId, Part)>);

impl Partial {
    /// Reads what has come on a request stream.
    pub fn read(&mut self, connection: &mut Connection, stream: StreamId, rules: &StreamRules) -> Read {
        let at = self
            .0
            .iter()
            .position(|(id, part)| *id == stream && matches!(part, Part::Request(_)));
        let mut held = at.and_then(|at| match self.0.swap_remove(at).1 {
            Part::Request(held) => Some(held),
            Part::Reply(_) => None,
        });
        let mut receive = connection.recv_stream(stream);
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
                    if length > rules.request_bytes_max {
                        break Read::TooLong;
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
            let _ = connection.send_stream(stream).reset(VarInt::from_u32(rules.done));
        }
        if matches!(end, Read::Incomplete) {
            let held = held
                .or(only.map(|bytes| BytesMut::from(&bytes[..])))
                .unwrap_or_default();
            self.0.push((stream, Part::Request(held)));
        }
        end
    }

    /// What waits of a stream's reply. A stream that is answered may still be reported as readable.
    pub fn take_rest(&mut self, stream: StreamId) -> Option<Bytes> {
        let waits = |(id, part): &(StreamId, Part)| *id == stream && matches!(part, Part::Reply(_));
        let at = self.0.iter().position(waits)?;
        match self.0.swap_remove(at).1 {
            Part::Reply(rest) => Some(rest),
            Part::Request(_) => None,
        }
    }

    /// Whether so many bytes more may wait.
    pub fn has_room(&self, bytes: usize, rules: &StreamRules) -> bool {
        let waiting = self.0.iter().map(|(_, part)| match part {
            Part::Request(_) => 0,
            Part::Reply(rest) => rest.len(),
        });
        waiting.sum::<usize>() + bytes <= rules.waiting_bytes_max
    }

    /// Whether a notice may be begun.
    pub fn takes_notices(&self) -> bool {
        self.0.len() < WAITING_MAX
    }

    /// Writes a whole reply and FIN; what there is no credit for waits until there is. Says whether all of it is on its way.
    pub fn write(&mut self, connection: &mut Connection, stream: StreamId, bytes: Bytes) -> Result<bool, NoRoom> {
        let rest = write(connection, stream, bytes)?;
        let is_whole = rest.is_empty();
        if !is_whole {
            self.0.push((stream, Part::Reply(rest)));
        }
        Ok(is_whole)
    }
}

/// Writes as much as there is credit for, and FIN behind all of it. Gives what is left.
fn write(connection: &mut Connection, stream: StreamId, bytes: Bytes) -> Result<Bytes, NoRoom> {
    let mut send = connection.send_stream(stream);
    let mut rest = [bytes];
    // Until it is blocked and not only until some is left: only then are we told when there is credit.
    while !rest[0].is_empty() {
        match send.write_chunks(&mut rest) {
            Ok(_) => {}
            Err(WriteError::Blocked) => break,
            Err(_) => return Err(NoRoom),
        }
    }
    let [rest] = rest;
    if rest.is_empty() {
        send.finish().map_err(|_| NoRoom)?;
    }
    Ok(rest)
}

/// Ends a request's stream in both directions.
pub fn refuse(connection: &mut Connection, stream: StreamId, code: u32) {
    let number = VarInt::from_u32(code);
    // Either direction may be over already; then there is nothing left to end.
    let _ = connection.recv_stream(stream).stop(number);
    let _ = connection.send_stream(stream).reset(number);
}
