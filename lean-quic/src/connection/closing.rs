//! The end of a connection (RFC 9000, section 10).

use super::super::DATAGRAM_BYTES;
use super::super::error::{CloseReason, Code, TransportError};
use super::super::events::{Event, Sink};
use super::super::frame::kind;
use super::super::header::Level;
use super::super::packet::{Packet, SHORT_OVERHEAD_BYTES_MAX};
use super::{Connection, Phase};
use crate::Micros;

/// What must be known after the end.
#[derive(Debug)]
pub(super) struct Closing {
    pub(super) until: Micros,
    by_application: bool,
    code: u64,
    reason: &'static str,
    /// CONNECTION_CLOSE is to be sent (again).
    is_pending: bool,
    /// Datagrams that came since, and the count at which the next answer goes out.
    heard: u32,
    answer_at: u32,
}

impl Closing {
    pub(super) fn by_application(code: u64) -> Self {
        Self::new(true, code, "")
    }

    fn new(by_application: bool, code: u64, reason: &'static str) -> Self {
        Self {
            until: Micros::ZERO,
            by_application,
            code,
            reason,
            is_pending: true,
            heard: 0,
            answer_at: 1,
        }
    }

    /// The frame. Before the last level an application's code stays hidden (RFC 9000, section 10.2.3).
    fn write(&self, level: Level, packet: &mut Packet<'_>) {
        let writer = packet.writer();
        let (code, reason) = match level {
            Level::Data => (self.code, self.reason),
            _ if self.by_application => (Code::APPLICATION_ERROR.0, ""),
            _ => (self.code, self.reason),
        };
        let by_application = self.by_application && level == Level::Data;
        writer.u8(if by_application {
            kind::CLOSE_APPLICATION
        } else {
            kind::CLOSE_TRANSPORT
        });
        writer.varint(code);
        if !by_application {
            writer.varint(0); // which frame was at fault is not said
        }
        writer.counted(reason.as_bytes());
    }
}

impl Connection {
    /// The server broke a rule (RFC 9000, section 11.1).
    pub(super) fn fail(&mut self, now: Micros, error: TransportError, sink: Sink<'_>) {
        let closing = Closing::new(false, error.code.0, error.reason);
        self.begin_closing(now, closing, error.into(), sink);
    }

    pub(super) fn begin_closing(&mut self, now: Micros, closing: Closing, reason: CloseReason, sink: Sink<'_>) {
        self.end(now, Phase::Closing, closing, reason, sink);
    }

    /// RFC 9000, section 10.2.2.
    pub(super) fn begin_draining(&mut self, now: Micros, reason: CloseReason, sink: Sink<'_>) {
        self.end(now, Phase::Draining, Closing::new(false, 0, ""), reason, sink);
    }

    fn end(&mut self, now: Micros, phase: Phase, mut closing: Closing, reason: CloseReason, sink: Sink<'_>) {
        if !matches!(self.phase, Phase::Handshaking | Phase::Open) {
            return;
        }
        // Three probe timeouts (RFC 9000, section 10.2).
        closing.until = now.plus(Micros(3 * self.recovery.probe_timeout(self.server.ack_delay_max).0));
        self.phase = phase;
        self.closing = Some(Box::new(closing));
        self.streams = None;
        self.datagrams = Vec::new();
        if phase == Phase::Draining {
            self.handshake = None;
        }
        sink(Event::Closed(reason));
    }

    /// Lets go of all that a drained connection has no use for.
    pub(super) fn release(&mut self) {
        self.handshake = None;
        self.streams = None;
        self.closing = None;
        self.datagrams = Vec::new();
    }

    /// Answers ever more rarely (RFC 9000, section 10.2.1).
    pub(super) fn on_datagram_while_closing(&mut self) {
        if let Some(closing) = &mut self.closing {
            closing.heard = closing.heard.saturating_add(1);
            if closing.heard >= closing.answer_at {
                closing.answer_at = closing.answer_at.saturating_mul(2);
                closing.is_pending = true;
            }
        }
    }

    /// CONNECTION_CLOSE at every level that the server may read (RFC 9000, section 10.2.3).
    pub(super) fn transmit_close(&mut self, buffer: &mut [u8; DATAGRAM_BYTES]) -> Option<usize> {
        let closing = self.closing.as_mut().filter(|closing| closing.is_pending)?;
        closing.is_pending = false;
        let ids = (self.cids.current(), &self.local);
        let mut at = 0;
        if let Some(handshake) = &mut self.handshake {
            // An Initial is padded, and leaves no room for others; with later keys at hand the server has them, too.
            let last = handshake.probe_level();
            at = handshake.transmit_close(last, buffer, last == Level::Initial, ids, |packet| {
                closing.write(last, packet);
            });
        }
        if let Some(keys) = self
            .keys
            .as_ref()
            .filter(|_| buffer.len() - at > 2 * SHORT_OVERHEAD_BYTES_MAX)
        {
            let mut packet = Packet::short(&mut buffer[at..], ids.0, keys.phase, self.space.next_number());
            closing.write(Level::Data, &mut packet);
            at += packet.seal(&keys.local);
            self.space.on_sent_unasked();
        }
        (at > 0).then_some(at)
    }
}
