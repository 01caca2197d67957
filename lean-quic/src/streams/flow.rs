//! Flow control, and the limits on streams (RFC 9000, section 4): what must outlive the streams themselves.

use super::super::error::{Code, TransportError};
use super::super::events::Refused;

/// Counters and limits of a connection's streams.
#[derive(Debug)]
pub(in super::super) struct Flow {
    /// Bytes that we may send, over all streams, and have.
    pub(in super::super) data_max: u64,
    pub(super) data_sent: u64,
    /// The limit at which the server was told that we wait.
    blocked_told: Option<u64>,
    /// What a new request may send.
    pub(in super::super) stream_data_max: u64,
    /// Requests that we may open, and have.
    pub(in super::super) streams_max: u64,
    pub(super) streams_opened: u64,
    /// Bytes that the server may send, over all streams, and has.
    granted: u64,
    received: u64,
    /// Streams that the server may open, has opened, and that are over.
    pub(super) notices_granted: u64,
    pub(super) notices_opened: u64,
    pub(super) notices_ended: u64,
    pub(super) limits: Limits,
}

/// What one connection grants at a time.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Limits {
    /// Of one stream, in bytes: one more than is accepted, so that an oversized stream shows itself.
    pub(in super::super) stream_window: u32,
    pub(in super::super) data_window: u64,
    pub(in super::super) notices: u64,
}

impl Flow {
    pub(in super::super) fn new(limits: Limits) -> Self {
        Self {
            data_max: 0,
            data_sent: 0,
            blocked_told: None,
            stream_data_max: 0,
            streams_max: 0,
            streams_opened: 0,
            granted: limits.data_window,
            received: 0,
            notices_granted: limits.notices,
            notices_opened: 0,
            notices_ended: 0,
            limits,
        }
    }

    /// The next request's stream, if the server grants one.
    pub(super) fn open(&mut self) -> Result<u64, Refused> {
        if self.streams_opened >= self.streams_max {
            return Err(Refused::StreamLimit);
        }
        self.streams_opened += 1;
        Ok((self.streams_opened - 1) << 2)
    }

    /// Counts bytes that came (RFC 9000, section 4.1). What came is room again at once: what one stream may hold is
    /// bounded, and so is the number of streams.
    pub(super) fn receive(&mut self, bytes: u64) -> Result<(), TransportError> {
        self.received += bytes;
        if self.received > self.granted {
            return Err(TransportError::new(Code::FLOW_CONTROL_ERROR, "more data than granted"));
        }
        Ok(())
    }

    /// Whether half of the grant is used up, so that MAX_DATA is due (RFC 9000, section 4.2).
    pub(in super::super) fn wants_max_data(&self) -> bool {
        self.granted - self.received <= self.limits.data_window / 2
    }

    /// Grants anew; gives the value for MAX_DATA.
    pub(in super::super) fn grant_data(&mut self) -> u64 {
        self.granted = self.received + self.limits.data_window;
        self.granted
    }

    /// Whether half of the streams that may stand at a time are used up and over, so that MAX_STREAMS is due.
    pub(in super::super) fn wants_max_streams(&self) -> bool {
        let next = self.notices_ended + self.limits.notices;
        next - self.notices_granted >= self.limits.notices.div_ceil(2).max(1)
    }

    /// Grants anew; gives the value for MAX_STREAMS.
    pub(in super::super) fn grant_streams(&mut self) -> u64 {
        self.notices_granted = self.notices_ended + self.limits.notices;
        self.notices_granted
    }

    /// Whether the server is to be told that its limit for the connection holds us back; once for each limit (RFC 9000,
    /// section 4.1).
    pub(in super::super) fn tells_blocked(&mut self) -> bool {
        self.blocked_told.replace(self.data_max) != Some(self.data_max)
    }

    pub(in super::super) fn data_left(&self) -> u64 {
        self.data_max.saturating_sub(self.data_sent)
    }
}
