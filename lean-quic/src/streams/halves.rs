//! The two directions of a stream, each with its states (RFC 9000, sections 3.1 and 3.2).

use super::super::buffers::{Assembler, SendBuffer};
use super::super::error::{Code, TransportError};
use super::Wanted;
use std::ops::Range;

/// A control frame on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Delivery {
    Pending,
    UnderWay,
}

/// What we send on a stream.
#[derive(Debug)]
pub(super) struct Outgoing {
    state: Sending,
    /// Bytes that the server takes on this stream.
    limit: u64,
    /// Bytes sent at least once.
    high: u32,
    /// The limit at which the server was told that we wait, and whether the frame went out.
    blocked: Option<(u64, Delivery)>,
}

#[derive(Debug)]
enum Sending {
    Open(SendBuffer),
    Reset { code: u64, delivery: Delivery },
    Over,
}

impl Outgoing {
    pub(super) fn new(buffer: SendBuffer, limit: u64) -> Self {
        Self {
            state: Sending::Open(buffer),
            limit,
            high: 0,
            blocked: None,
        }
    }

    pub(super) fn is_over(&self) -> bool {
        matches!(self.state, Sending::Over)
    }

    /// Breaks off, unless everything has arrived already.
    pub(super) fn reset(&mut self, code: u64) {
        if let Sending::Open(_) = self.state {
            self.state = Sending::Reset {
                code,
                delivery: Delivery::Pending,
            };
        }
    }

    pub(super) fn on_limit(&mut self, limit: u64) {
        self.limit = self.limit.max(limit);
    }

    /// Position up to which bytes may go: those sent before cost no credit again.
    fn sendable(&self, data_left: u64) -> u32 {
        let high = u64::from(self.high);
        let limit = self.limit.max(high).min(high + data_left);
        limit.min(u32::MAX.into()) as u32
    }

    pub(super) fn wanted(&self, stream: u64, data_left: u64) -> Option<Wanted> {
        match &self.state {
            Sending::Open(buffer) => {
                if let Some(range) = buffer.next(self.sendable(data_left)) {
                    return Some(Wanted::Data { stream, range });
                }
                // Only the stream's limit is told of here (RFC 9000, section 4.1), once for each value.
                let told = matches!(self.blocked, Some((limit, Delivery::UnderWay)) if limit == self.limit);
                let blocked = buffer.has_pending() && self.limit <= self.high.into() && !told;
                blocked.then_some(Wanted::Blocked {
                    stream,
                    limit: self.limit,
                })
            }
            Sending::Reset {
                code,
                delivery: Delivery::Pending,
            } => Some(Wanted::Reset {
                stream,
                code: *code,
                final_size: self.high.into(),
            }),
            _ => None,
        }
    }

    pub(super) fn is_held_back(&self) -> bool {
        matches!(&self.state, Sending::Open(buffer) if buffer.has_pending()) && self.limit > self.high.into()
    }

    pub(super) fn bytes(&self, range: &Range<u32>) -> (&[u8], bool) {
        match &self.state {
            Sending::Open(buffer) => buffer.bytes(range),
            _ => (&[], false),
        }
    }

    /// Gives the bytes that were never sent before.
    pub(super) fn on_sent(&mut self, range: Range<u32>) -> u64 {
        let Sending::Open(buffer) = &mut self.state else {
            return 0;
        };
        let (bytes, _) = buffer.bytes(&range);
        let end = range.start + bytes.len() as u32;
        let fresh = end.saturating_sub(self.high);
        self.high += fresh;
        buffer.on_sent(range);
        fresh.into()
    }

    pub(super) fn on_acknowledged(&mut self, range: Range<u32>) {
        if let Sending::Open(buffer) = &mut self.state {
            buffer.on_acknowledged(range);
            if buffer.is_acknowledged() {
                self.state = Sending::Over;
            }
        }
    }

    pub(super) fn on_lost(&mut self, range: Range<u32>) {
        if let Sending::Open(buffer) = &mut self.state {
            buffer.on_lost(range);
        }
    }

    pub(super) fn on_reset_sent(&mut self) {
        self.set_reset(Delivery::UnderWay);
    }

    pub(super) fn on_reset_lost(&mut self) {
        self.set_reset(Delivery::Pending);
    }

    fn set_reset(&mut self, to: Delivery) {
        if let Sending::Reset { delivery, .. } = &mut self.state {
            *delivery = to;
        }
    }

    pub(super) fn on_reset_acknowledged(&mut self) {
        if let Sending::Reset { .. } = self.state {
            self.state = Sending::Over;
        }
    }

    pub(super) fn on_blocked_sent(&mut self) {
        self.blocked = Some((self.limit, Delivery::UnderWay));
    }

    pub(super) fn on_blocked_lost(&mut self) {
        if let Some((_, delivery)) = &mut self.blocked {
            *delivery = Delivery::Pending;
        }
    }
}

/// What the server sends on a stream.
#[derive(Debug)]
pub(super) struct Incoming {
    state: Receiving,
    /// The end of what came, be it complete or not.
    high: u64,
    final_size: Option<u64>,
    /// STOP_SENDING with its code.
    stop: Option<(u64, Delivery)>,
}

#[derive(Debug)]
enum Receiving {
    Open(Assembler),
    /// Nobody wants it any more; its bytes are counted and dropped until its end is known.
    Discarding,
    Over,
}

/// How far a stream has come.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    Going,
    Whole(Vec<u8>),
    Oversized,
    /// It ended, and nobody is waiting for it.
    Discarded,
}

impl Incoming {
    pub(super) fn new() -> Self {
        Self {
            state: Receiving::Open(Assembler::default()),
            high: 0,
            final_size: None,
            stop: None,
        }
    }

    pub(super) fn is_over(&self) -> bool {
        matches!(self.state, Receiving::Over)
    }

    /// Asks the server to stop, unless all is there.
    pub(super) fn stop(&mut self, code: u64) {
        if let Receiving::Open(_) = self.state {
            self.state = if self.final_size.is_some() {
                Receiving::Over
            } else {
                Receiving::Discarding
            };
            self.stop = self.final_size.is_none().then_some((code, Delivery::Pending));
        }
    }

    /// Checks where a piece ends (RFC 9000, sections 4.1 and 4.5); gives the bytes that are new to flow control.
    fn extend(&mut self, end: u64, is_final: bool, window: u32) -> Result<u64, TransportError> {
        let moved = match self.final_size {
            Some(size) => end > size || (is_final && end != size),
            None => is_final && end < self.high,
        };
        if moved {
            return Err(TransportError::new(Code::FINAL_SIZE_ERROR, "the end of a stream moved"));
        }
        if end > window.into() {
            return Err(TransportError::new(
                Code::FLOW_CONTROL_ERROR,
                "more data on a stream than granted",
            ));
        }
        if is_final {
            self.final_size = Some(end);
        }
        let fresh = end.saturating_sub(self.high);
        self.high += fresh;
        Ok(fresh)
    }

    pub(super) fn on_data(
        &mut self,
        offset: u64,
        data: &[u8],
        fin: bool,
        window: u32,
    ) -> Result<(u64, Progress), TransportError> {
        let fresh = self.extend(offset + data.len() as u64, fin, window)?;
        let Receiving::Open(assembler) = &mut self.state else {
            let ended = self.final_size.is_some();
            if ended {
                self.state = Receiving::Over;
            }
            return Ok((fresh, if ended { Progress::Discarded } else { Progress::Going }));
        };
        assembler
            .insert(offset, data, window)
            .map_err(|_| TransportError::new(Code::INTERNAL_ERROR, "a stream in too many pieces"))?;
        let contiguous = assembler.contiguous();
        if contiguous == window {
            // The last byte of the window is one more than is accepted.
            self.stop(0);
            return Ok((fresh, Progress::Oversized));
        }
        if self.final_size != Some(contiguous.into()) {
            return Ok((fresh, Progress::Going));
        }
        let bytes = assembler.take();
        self.state = Receiving::Over;
        Ok((fresh, Progress::Whole(bytes)))
    }

    /// Gives the bytes new to flow control, and whether anybody was still waiting.
    pub(super) fn on_reset(&mut self, final_size: u64, window: u32) -> Result<(u64, bool), TransportError> {
        let fresh = self.extend(final_size, true, window)?;
        let tell = matches!(self.state, Receiving::Open(_));
        self.state = Receiving::Over;
        Ok((fresh, tell))
    }

    pub(super) fn wanted(&self, stream: u64) -> Option<Wanted> {
        match (&self.state, self.stop) {
            (Receiving::Discarding, Some((code, Delivery::Pending))) => Some(Wanted::Stop { stream, code }),
            _ => None,
        }
    }

    pub(super) fn on_stop_sent(&mut self) {
        self.set_stop(Delivery::UnderWay);
    }

    pub(super) fn on_stop_lost(&mut self) {
        self.set_stop(Delivery::Pending);
    }

    fn set_stop(&mut self, to: Delivery) {
        if let Some((_, delivery)) = &mut self.stop {
            *delivery = to;
        }
    }
}
