//! From a datagram to frames: which packet it is, which key opens it, and what follows when none does.

use super::super::cid::Cid;
use super::super::error::Code;
use super::super::error::{CloseReason, TransportError};
use super::super::events::Sink;
use super::super::frame;
use super::super::header::{self, Header, Level};
use super::super::keys::{self, CONFIDENTIALITY_LIMIT};
use super::super::packet::{self, Opened};
use super::super::varint::Reader;
use super::{Connection, Phase, Previous};
use crate::Micros;

/// Reserved bits, which are zero once unmasked (RFC 9000, sections 17.2 and 17.3.1).
const LONG_RESERVED: u8 = 0x0c;
const SHORT_RESERVED: u8 = 0x18;
/// The shortest stateless reset (RFC 9000, section 10.3).
const RESET_BYTES_MIN: usize = 21;
/// Packets before the AEAD's limit at which the connection ends.
const LIMIT_MARGIN: u64 = 1_024;

impl Connection {
    /// Takes a datagram from the server. It is decrypted where it stands.
    pub fn handle_datagram(&mut self, now: Micros, datagram: &mut [u8], sink: Sink<'_>) {
        match self.phase {
            Phase::Handshaking | Phase::Open => {}
            Phase::Closing => {
                self.on_datagram_while_closing();
                return;
            }
            Phase::Draining | Phase::Drained => return,
        }
        // Kept, because a failed decryption scrambles it.
        let last = datagram.last_chunk::<16>().copied();
        let maybe_reset = datagram.len() >= RESET_BYTES_MIN && datagram[0] & header::LONG == 0;
        match self.on_packets(now, datagram, sink) {
            Ok(true) => {}
            Ok(false) => {
                if maybe_reset && last.is_some_and(|last| self.cids.is_reset(&last)) {
                    self.begin_draining(now, CloseReason::Reset, sink);
                }
            }
            Err(error) => self.fail(now, error, sink),
        }
        // RFC 9001, section 6.6: we never update keys ourselves, so the connection ends instead.
        if self.space.next_number() - self.phase_from.1 > CONFIDENTIALITY_LIMIT - LIMIT_MARGIN && self.is_open() {
            self.fail(
                now,
                TransportError::new(Code::AEAD_LIMIT_REACHED, "a key is used up"),
                sink,
            );
        }
    }

    /// Goes through coalesced packets (RFC 9000, section 12.2). Says whether any was understood.
    fn on_packets(&mut self, now: Micros, datagram: &mut [u8], sink: Sink<'_>) -> Result<bool, TransportError> {
        let mut rest = datagram;
        let mut understood = false;
        while let Some(header) = header::parse(rest) {
            match header {
                Header::VersionNegotiation { dcid, scid, has_ours } => {
                    self.on_version_negotiation(now, (&dcid, &scid), has_ours, sink);
                    return Ok(true);
                }
                Header::Retry { dcid, scid, token } => {
                    self.on_retry(&dcid, scid, &rest[token], rest);
                    return Ok(true);
                }
                Header::Skip { end } => rest = &mut rest[end..],
                Header::Long {
                    level,
                    dcid,
                    scid,
                    number_at,
                    end,
                } => {
                    let (packet, next) = rest.split_at_mut(end);
                    // A packet to another ID does not belong here (RFC 9000, section 12.2).
                    if dcid.as_slice() == self.local {
                        understood |= self.on_long(now, level, scid, packet, number_at, sink)?;
                    }
                    rest = next;
                }
                Header::Short { dcid, number_at } => {
                    if dcid == self.local {
                        understood |= self.on_short(now, rest, number_at, sink)?;
                    }
                    break;
                }
            }
            if !matches!(self.phase, Phase::Handshaking | Phase::Open) {
                break;
            }
        }
        Ok(understood)
    }

    /// RFC 9000, section 6.2: void once anything was heard, when it is not for us, or when it lists our version.
    fn on_version_negotiation(&mut self, now: Micros, (dcid, scid): (&Cid, &Cid), has_ours: bool, sink: Sink<'_>) {
        let is_answer = dcid.as_slice() == self.local && scid == self.cids.current();
        let is_fresh = self.handshake.as_ref().is_some_and(|handshake| !handshake.has_heard());
        if is_answer && is_fresh && !has_ours {
            self.begin_draining(now, CloseReason::VersionMismatch, sink);
        }
    }

    fn on_retry(&mut self, dcid: &Cid, scid: Cid, token: &[u8], packet: &[u8]) {
        if let Some(handshake) = &mut self.handshake
            && dcid.as_slice() == self.local
            && handshake.on_retry(scid, token, packet, &mut self.recovery)
        {
            self.cids.replace_first(scid);
        }
    }

    fn on_long(
        &mut self,
        now: Micros,
        level: Level,
        scid: Cid,
        packet: &mut [u8],
        number_at: usize,
        sink: Sink<'_>,
    ) -> Result<bool, TransportError> {
        let Some(handshake) = self.handshake.as_mut().filter(|handshake| handshake.is_source(&scid)) else {
            return Ok(false);
        };
        let Some(early) = handshake.early(level) else {
            return Ok(false);
        };
        let keys = &early.keys.remote;
        let expected = early.space.received.expected();
        let Some((number, payload_at)) = packet::unmask(keys, packet, number_at, expected) else {
            return Ok(false);
        };
        let (header, payload) = packet.split_at_mut(payload_at);
        let Some(length) = keys.packet.open(number, header, payload) else {
            return Ok(false);
        };
        if header[0] & LONG_RESERVED != 0 {
            return Err(TransportError::violation("reserved bits are set"));
        }
        let is_new = early.space.received.is_new(number);
        handshake.quiet_from = now;
        if level == Level::Initial {
            handshake.set_source(scid);
            self.cids.replace_first(scid);
        }
        if is_new {
            self.on_payload(now, level, number, &payload[..length], sink)?;
        }
        Ok(true)
    }

    fn on_short(
        &mut self,
        now: Micros,
        packet: &mut [u8],
        number_at: usize,
        sink: Sink<'_>,
    ) -> Result<bool, TransportError> {
        let Some(Opened {
            number,
            payload_at,
            payload_end,
        }) = self.open(now, packet, number_at)?
        else {
            return Ok(false);
        };
        if packet[0] & SHORT_RESERVED != 0 {
            return Err(TransportError::violation("reserved bits are set"));
        }
        if self.space.received.is_new(number) {
            self.on_payload(now, Level::Data, number, &packet[payload_at..payload_end], sink)?;
        }
        Ok(true)
    }

    /// Opens a 1-RTT packet under the key of its phase (RFC 9001, sections 6.2 to 6.5).
    fn open(&mut self, now: Micros, packet: &mut [u8], number_at: usize) -> Result<Option<Opened>, TransportError> {
        let Some(keys) = &mut self.keys else {
            return Ok(None); // it came before the handshake's end; the server sends what matters again
        };
        let expected = self.space.received.expected();
        let Some((number, payload_at)) = packet::unmask(&keys.remote, packet, number_at, expected) else {
            return Ok(None);
        };
        let (header, payload) = packet.split_at_mut(payload_at);
        let opened = |length: Option<usize>| {
            length.map(|length| Opened {
                number,
                payload_at,
                payload_end: payload_at + length,
            })
        };
        if keys::is_phase(header[0], keys.phase) {
            return Ok(opened(keys.remote.packet.open(number, header, payload)));
        }
        if number < self.phase_from.0 {
            // Sent before the update.
            let previous = self.previous.as_ref().filter(|previous| now < previous.until);
            return Ok(opened(
                previous.and_then(|previous| previous.key.open(number, header, payload)),
            ));
        }
        let length = keys.next_remote().open(number, header, payload);
        if length.is_some() {
            // RFC 9001, section 6.2: a second update before we said a word under the first's keys is against the rules.
            if self.previous.is_some() && self.space.next_number() == self.phase_from.1 {
                return Err(TransportError::new(
                    Code::KEY_UPDATE_ERROR,
                    "keys updated twice in a row",
                ));
            }
            let until = now.plus(Micros(3 * self.recovery.probe_timeout(self.server.ack_delay_max).0));
            self.previous = Some(Box::new(Previous {
                key: keys.update(),
                until,
            }));
            self.phase_from = (number, self.space.next_number());
        }
        Ok(opened(length))
    }

    /// Goes through the frames of a new packet, then notes it as received.
    fn on_payload(
        &mut self,
        now: Micros,
        level: Level,
        number: u64,
        payload: &[u8],
        sink: Sink<'_>,
    ) -> Result<(), TransportError> {
        let mut reader = Reader::new(payload);
        if reader.is_empty() {
            return Err(TransportError::violation("a packet without frames")); // RFC 9000, section 12.4
        }
        let mut is_eliciting = false;
        while !reader.is_empty() {
            let frame = frame::next(level, &mut reader)?;
            is_eliciting |= frame.is_ack_eliciting();
            self.on_frame(now, level, frame, sink)?;
            if !matches!(self.phase, Phase::Handshaking | Phase::Open) {
                return Ok(());
            }
        }
        self.idle_from = now;
        self.has_asked = false;
        if let Some(space) = self.space_mut(level) {
            space.received.insert(now, number, is_eliciting);
        }
        Ok(())
    }
}
