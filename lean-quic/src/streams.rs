//! Streams while they last: requests that we opened, and notices that the server opened (RFC 9000, sections 2 to 4).
//!
//! A connection without streams under way keeps only [`Flow`], which is what must outlive them.

mod flow;
mod halves;

use super::buffers::SendBuffer;
use super::error::{Code, TransportError};
use super::events::{Event, Refused, Sink, StreamId};
pub(super) use flow::{Flow, Limits};
use halves::{Incoming, Outgoing, Progress};
use std::ops::Range;

/// Requests under way at one time.
const REQUESTS_MAX: usize = 16;

/// Our bidirectional streams have the low bits 00, the server's 01, our unidirectional ones 10, the server's 11.
mod owner {
    pub(super) const CLIENT_BIDI: u64 = 0b00;
    pub(super) const SERVER_BIDI: u64 = 0b01;
    pub(super) const CLIENT_UNI: u64 = 0b10;
}

#[derive(Debug, Default)]
pub(super) struct Streams {
    requests: Vec<Request>,
    notices: Vec<(u64, Incoming)>,
}

#[derive(Debug)]
struct Request {
    id: u64,
    outgoing: Outgoing,
    incoming: Incoming,
}

/// A frame that a stream wants to send.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Data { stream: u64, range: Range<u32> },
    Reset { stream: u64, code: u64, final_size: u64 },
    Stop { stream: u64, code: u64 },
    Blocked { stream: u64, limit: u64 },
}

/// Where a frame about a stream belongs.
enum Place<'a> {
    Request(&'a mut Request),
    Notice(&'a mut Incoming),
    /// It is over; late frames say nothing new.
    Gone,
}

impl Streams {
    pub(super) fn is_empty(&self) -> bool {
        self.requests.is_empty() && self.notices.is_empty()
    }

    /// Opens a stream for a whole request.
    pub(super) fn open(&mut self, flow: &mut Flow, request: &[u8]) -> Result<StreamId, Refused> {
        if self.requests.len() >= REQUESTS_MAX {
            return Err(Refused::Busy);
        }
        let id = flow.open()?;
        self.requests.push(Request {
            id,
            outgoing: Outgoing::new(SendBuffer::with_end(request), flow.stream_data_max),
            incoming: Incoming::new(),
        });
        Ok(StreamId(id))
    }

    /// Gives a request up in both directions. Its events end with this.
    pub(super) fn cancel(&mut self, stream: StreamId, code: u64) {
        if let Some(request) = self.requests.iter_mut().find(|request| request.id == stream.0) {
            request.outgoing.reset(code);
            request.incoming.stop(code);
        }
        self.sweep_requests();
    }

    /// Finds the stream of a frame. `to_us` says whether the frame is about what the server sends.
    ///
    /// # Errors
    /// RFC 9000, sections 3 and 4.6: a stream that cannot have the frame, was not opened, or exceeds the limit.
    fn place(&mut self, flow: &mut Flow, stream: u64, to_us: bool) -> Result<Place<'_>, TransportError> {
        const STATE: Code = Code::STREAM_STATE_ERROR;
        let index = stream >> 2;
        match stream & 0b11 {
            owner::CLIENT_BIDI if index >= flow.streams_opened => {
                Err(TransportError::new(STATE, "a frame for a stream that is not open"))
            }
            owner::CLIENT_BIDI => {
                let found = self.requests.iter_mut().find(|request| request.id == stream);
                Ok(found.map_or(Place::Gone, Place::Request))
            }
            owner::SERVER_BIDI => Err(TransportError::new(
                Code::STREAM_LIMIT_ERROR,
                "the server may not open bidirectional streams",
            )),
            owner::CLIENT_UNI => Err(TransportError::new(
                STATE,
                "a frame for a stream of a kind that we never open",
            )),
            _ if !to_us => Err(TransportError::new(
                STATE,
                "a frame about our side of the server's stream",
            )),
            _ if index >= flow.notices_granted => Err(TransportError::new(
                Code::STREAM_LIMIT_ERROR,
                "more streams than granted",
            )),
            _ => {
                // Opening a stream opens all before it (RFC 9000, section 3.2); the grant bounds how many.
                for opened in flow.notices_opened..=index {
                    self.notices.push((opened << 2 | 0b11, Incoming::new()));
                }
                flow.notices_opened = flow.notices_opened.max(index + 1);
                let found = self.notices.iter_mut().find(|(id, _)| *id == stream);
                Ok(found.map_or(Place::Gone, |(_, incoming)| Place::Notice(incoming)))
            }
        }
    }

    /// STREAM.
    pub(super) fn on_data(
        &mut self,
        flow: &mut Flow,
        (stream, offset): (u64, u64),
        data: &[u8],
        fin: bool,
        sink: Sink<'_>,
    ) -> Result<(), TransportError> {
        let window = flow.limits.stream_window;
        let id = StreamId(stream);
        let incoming = match self.place(flow, stream, true)? {
            Place::Request(request) => &mut request.incoming,
            Place::Notice(incoming) => incoming,
            Place::Gone => return Ok(()),
        };
        let (fresh, progress) = incoming.on_data(offset, data, fin, window)?;
        flow.receive(fresh)?;
        let is_notice = stream & 0b11 != owner::CLIENT_BIDI;
        match progress {
            Progress::Going => return Ok(()),
            Progress::Whole(bytes) if is_notice => sink(Event::Notice(bytes)),
            Progress::Whole(bytes) => sink(Event::Response { stream: id, bytes }),
            Progress::Oversized if is_notice => sink(Event::NoticeLost),
            Progress::Oversized => sink(Event::Oversized { stream: id }),
            Progress::Discarded => {}
        }
        self.sweep(flow);
        Ok(())
    }

    /// RESET_STREAM.
    pub(super) fn on_reset(
        &mut self,
        flow: &mut Flow,
        stream: u64,
        code: u64,
        final_size: u64,
        sink: Sink<'_>,
    ) -> Result<(), TransportError> {
        let window = flow.limits.stream_window;
        let (incoming, event) = match self.place(flow, stream, true)? {
            Place::Request(request) => {
                let stream = StreamId(stream);
                (&mut request.incoming, Event::StreamReset { stream, code })
            }
            Place::Notice(incoming) => (incoming, Event::NoticeLost),
            Place::Gone => return Ok(()),
        };
        let (fresh, tell) = incoming.on_reset(final_size, window)?;
        flow.receive(fresh)?;
        if tell {
            sink(event);
        }
        self.sweep(flow);
        Ok(())
    }

    /// STOP_SENDING is answered with RESET_STREAM (RFC 9000, section 3.5); the server's side goes on.
    pub(super) fn on_stop(&mut self, flow: &mut Flow, stream: u64) -> Result<(), TransportError> {
        if let Place::Request(request) = self.place(flow, stream, false)? {
            request.outgoing.reset(0);
        }
        Ok(())
    }

    /// MAX_STREAM_DATA. A smaller limit than before says nothing (RFC 9000, section 4.1).
    pub(super) fn on_limit(&mut self, flow: &mut Flow, stream: u64, limit: u64) -> Result<(), TransportError> {
        if let Place::Request(request) = self.place(flow, stream, false)? {
            request.outgoing.on_limit(limit);
        }
        Ok(())
    }

    /// STREAM_DATA_BLOCKED: what is granted is all there is, so only its place is checked.
    pub(super) fn on_blocked(&mut self, flow: &mut Flow, stream: u64) -> Result<(), TransportError> {
        self.place(flow, stream, true).map(|_| ())
    }

    // ---- sending -------------------------------------------------------------------------------------------

    /// The next frame that any stream wants to send.
    pub(super) fn wanted(&self, flow: &Flow) -> Option<Wanted> {
        let of_notices = self.notices.iter().find_map(|(id, incoming)| incoming.wanted(*id));
        of_notices.or_else(|| {
            self.requests.iter().find_map(|request| {
                let stop = request.incoming.wanted(request.id);
                stop.or_else(|| request.outgoing.wanted(request.id, flow.data_left()))
            })
        })
    }

    /// Whether a request has bytes that only the connection's limit holds back.
    pub(super) fn is_held_back(&self, flow: &Flow) -> bool {
        flow.data_left() == 0 && self.requests.iter().any(|request| request.outgoing.is_held_back())
    }

    /// The bytes of a stream at these positions, and whether its end is among them.
    pub(super) fn bytes(&self, stream: u64, range: &Range<u32>) -> (&[u8], bool) {
        let request = self.requests.iter().find(|request| request.id == stream);
        request.map_or((&[], false), |request| request.outgoing.bytes(range))
    }

    pub(super) fn on_data_sent(&mut self, flow: &mut Flow, stream: u64, range: Range<u32>) {
        if let Some(outgoing) = self.outgoing(stream) {
            flow.data_sent += outgoing.on_sent(range);
        }
    }

    pub(super) fn on_reset_sent(&mut self, stream: u64) {
        if let Some(outgoing) = self.outgoing(stream) {
            outgoing.on_reset_sent();
        }
    }

    pub(super) fn on_blocked_sent(&mut self, stream: u64) {
        if let Some(outgoing) = self.outgoing(stream) {
            outgoing.on_blocked_sent();
        }
    }

    pub(super) fn on_stop_sent(&mut self, stream: u64) {
        if let Some(incoming) = self.incoming(stream) {
            incoming.on_stop_sent();
        }
    }

    pub(super) fn on_data_acknowledged(&mut self, stream: u64, range: Range<u32>) {
        if let Some(outgoing) = self.outgoing(stream) {
            outgoing.on_acknowledged(range);
        }
        self.sweep_requests();
    }

    pub(super) fn on_reset_acknowledged(&mut self, stream: u64) {
        if let Some(outgoing) = self.outgoing(stream) {
            outgoing.on_reset_acknowledged();
        }
        self.sweep_requests();
    }

    pub(super) fn on_data_lost(&mut self, stream: u64, range: Range<u32>) {
        if let Some(outgoing) = self.outgoing(stream) {
            outgoing.on_lost(range);
        }
    }

    pub(super) fn on_reset_lost(&mut self, stream: u64) {
        if let Some(outgoing) = self.outgoing(stream) {
            outgoing.on_reset_lost();
        }
    }

    pub(super) fn on_blocked_lost(&mut self, stream: u64) {
        if let Some(outgoing) = self.outgoing(stream) {
            outgoing.on_blocked_lost();
        }
    }

    pub(super) fn on_stop_lost(&mut self, stream: u64) {
        if let Some(incoming) = self.incoming(stream) {
            incoming.on_stop_lost();
        }
    }

    fn outgoing(&mut self, stream: u64) -> Option<&mut Outgoing> {
        let found = self.requests.iter_mut().find(|request| request.id == stream);
        found.map(|request| &mut request.outgoing)
    }

    fn incoming(&mut self, stream: u64) -> Option<&mut Incoming> {
        let request = self.requests.iter_mut().find(|request| request.id == stream);
        request.map(|request| &mut request.incoming).or_else(|| {
            let notice = self.notices.iter_mut().find(|(id, _)| *id == stream);
            notice.map(|(_, incoming)| incoming)
        })
    }

    /// Lets go of streams that are over in every direction.
    fn sweep(&mut self, flow: &mut Flow) {
        let before = self.notices.len();
        self.notices.retain(|(_, incoming)| !incoming.is_over());
        flow.notices_ended += (before - self.notices.len()) as u64;
        self.sweep_requests();
    }

    fn sweep_requests(&mut self) {
        self.requests
            .retain(|request| !(request.incoming.is_over() && request.outgoing.is_over()));
    }
}
