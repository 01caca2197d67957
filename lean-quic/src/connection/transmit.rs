//! From what waits to a datagram.

use super::super::DATAGRAM_BYTES;
use super::super::frame::{STREAM_FIN, kind};
use super::super::packet::{Packet, SHORT_OVERHEAD_BYTES_MAX};
use super::super::received::ACK_BYTES_MAX;
use super::super::space::Content;
use super::super::streams::Wanted;
use super::super::varint::varint_bytes;
use super::{Connection, Pending, Phase};
use crate::Micros;

/// The longest control frame: a type and three integers.
const CONTROL_BYTES_MAX: usize = 1 + 3 * 8;
/// STREAM with offset and length, beside its data; less is not worth a frame.
const STREAM_OVERHEAD_BYTES_MAX: usize = 1 + 8 + 4 + 2;
/// A 1-RTT packet joins a datagram that has this much room.
const DATA_ROOM_MIN: usize = SHORT_OVERHEAD_BYTES_MAX + ACK_BYTES_MAX + 2 * CONTROL_BYTES_MAX;
/// STREAM with its offset and length fields.
const STREAM_WITH_OFFSET_AND_LENGTH: u8 = kind::STREAM | 0x06;

impl Connection {
    /// Writes the next datagram; gives its length, or `None` when there is nothing to send now.
    pub fn poll_transmit(&mut self, now: Micros, buffer: &mut [u8; DATAGRAM_BYTES]) -> Option<usize> {
        match self.phase {
            Phase::Handshaking | Phase::Open => {}
            Phase::Closing => return self.transmit_close(buffer),
            Phase::Draining | Phase::Drained => return None,
        }
        let mut at = 0;
        if let Some(handshake) = &mut self.handshake {
            let ids = (self.cids.current(), &self.local);
            at = handshake.transmit(now, buffer, ids, &mut self.recovery);
        }
        if buffer.len() - at >= DATA_ROOM_MIN {
            at += self.transmit_data(now, &mut buffer[at..]);
        }
        if at == 0 {
            return None;
        }
        // RFC 9000, section 10.1: the first packet since the last one received that asks for an answer.
        if !self.has_asked && self.is_awaiting() {
            self.has_asked = true;
            self.idle_from = now;
        }
        Some(at)
    }

    fn is_awaiting(&self) -> bool {
        let mut early = self.handshake.iter().flat_map(|handshake| handshake.spaces());
        self.space.probe_from().is_some() || early.any(|(_, space)| space.probe_from().is_some())
    }

    /// Whether there is anything for a 1-RTT packet but acknowledgements.
    fn has_frames(&self) -> bool {
        let Pending {
            ping,
            max_data,
            max_streams,
            data_blocked,
            streams_blocked,
            ..
        } = self.pending;
        ping || max_data
            || max_streams
            || data_blocked
            || streams_blocked
            || !self.datagrams.is_empty()
            || self.path_response.is_some()
            || self.cids.next_retirement().is_some()
            || self
                .streams
                .as_ref()
                .is_some_and(|streams| streams.wanted(&self.flow).is_some())
    }

    fn transmit_data(&mut self, now: Micros, buffer: &mut [u8]) -> usize {
        if self.keys.is_none() {
            return 0;
        }
        self.ask_for_grants();
        let may_send = self.recovery.has_window() || self.space.wants_probe;
        let sends = may_send && (self.space.wants_probe || self.has_frames());
        if !sends && self.space.received.due() > now {
            return 0;
        }
        let phase = self.keys.as_ref().is_some_and(|keys| keys.phase);
        let mut packet = Packet::short(buffer, self.cids.current(), phase, self.space.next_number());
        if self.space.received.has_unacknowledged() {
            self.space.received.write_ack(now, packet.writer());
        }
        if sends {
            self.write_control(&mut packet);
            self.write_streams(&mut packet);
            self.write_datagrams(&mut packet);
            self.write_path_response(&mut packet);
            if self.space.wants_probe && !packet.is_eliciting {
                packet.eliciting(None).u8(kind::PING);
            }
        }
        if packet.is_empty() {
            return 0;
        }
        let (is_eliciting, contents) = (packet.is_eliciting, std::mem::take(&mut packet.contents));
        let Some(keys) = &self.keys else {
            return 0;
        };
        let bytes = packet.seal(&keys.local);
        if is_eliciting {
            self.space.on_sent(now, bytes as u16, contents);
            self.recovery.on_sent(bytes as u16);
        } else {
            self.space.on_sent_unasked();
        }
        bytes
    }

    /// What flow control has to say by itself.
    fn ask_for_grants(&mut self) {
        self.pending.max_data |= self.flow.wants_max_data();
        self.pending.max_streams |= self.flow.wants_max_streams();
        let is_held_back = self
            .streams
            .as_ref()
            .is_some_and(|streams| streams.is_held_back(&self.flow));
        self.pending.data_blocked = is_held_back && (self.pending.data_blocked || self.flow.tells_blocked());
    }

    fn write_control(&mut self, packet: &mut Packet<'_>) {
        let pending = &mut self.pending;
        let flow = &mut self.flow;
        let mut integer = |wanted: &mut bool, content: Content, kind: u8, value: &mut dyn FnMut() -> u64| {
            if packet.room() >= CONTROL_BYTES_MAX && std::mem::take(wanted) {
                let writer = packet.eliciting(Some(content));
                writer.u8(kind);
                writer.varint(value());
            }
        };
        integer(&mut pending.max_data, Content::MaxData, kind::MAX_DATA, &mut || {
            flow.grant_data()
        });
        integer(
            &mut pending.max_streams,
            Content::MaxStreams,
            kind::MAX_STREAMS_UNI,
            &mut || flow.grant_streams(),
        );
        integer(
            &mut pending.data_blocked,
            Content::DataBlocked,
            kind::DATA_BLOCKED,
            &mut || flow.data_max,
        );
        integer(
            &mut pending.streams_blocked,
            Content::StreamsBlocked,
            kind::STREAMS_BLOCKED_BIDI,
            &mut || flow.streams_max,
        );
        if packet.room() >= CONTROL_BYTES_MAX && std::mem::take(&mut pending.ping) {
            packet.eliciting(None).u8(kind::PING);
        }
        while packet.room() >= CONTROL_BYTES_MAX
            && let Some(sequence) = self.cids.next_retirement()
        {
            let writer = packet.eliciting(Some(Content::RetireConnectionId { sequence }));
            writer.u8(kind::RETIRE_CONNECTION_ID);
            writer.varint(sequence);
            self.cids.on_retirement_sent(sequence);
        }
    }

    fn write_streams(&mut self, packet: &mut Packet<'_>) {
        let Some(streams) = &mut self.streams else {
            return;
        };
        let flow = &mut self.flow;
        while packet.room() > CONTROL_BYTES_MAX
            && let Some(wanted) = streams.wanted(flow)
        {
            match wanted {
                Wanted::Data { stream, range } => {
                    let room = (packet.room() - STREAM_OVERHEAD_BYTES_MAX) as u32;
                    let range = range.start..range.end.min(range.start + room);
                    let (bytes, fin) = streams.bytes(stream, &range);
                    let writer = packet.eliciting(Some(Content::Stream {
                        stream,
                        range: range.clone(),
                    }));
                    writer.u8(STREAM_WITH_OFFSET_AND_LENGTH | if fin { STREAM_FIN } else { 0 });
                    writer.varint(stream);
                    writer.varint(range.start.into());
                    writer.counted(bytes);
                    streams.on_data_sent(flow, stream, range);
                }
                Wanted::Reset {
                    stream,
                    code,
                    final_size,
                } => {
                    let writer = packet.eliciting(Some(Content::ResetStream { stream }));
                    writer.u8(kind::RESET_STREAM);
                    [stream, code, final_size]
                        .into_iter()
                        .for_each(|value| writer.varint(value));
                    streams.on_reset_sent(stream);
                }
                Wanted::Stop { stream, code } => {
                    let writer = packet.eliciting(Some(Content::StopSending { stream }));
                    writer.u8(kind::STOP_SENDING);
                    [stream, code].into_iter().for_each(|value| writer.varint(value));
                    streams.on_stop_sent(stream);
                }
                Wanted::Blocked { stream, limit } => {
                    let writer = packet.eliciting(Some(Content::StreamDataBlocked { stream }));
                    writer.u8(kind::STREAM_DATA_BLOCKED);
                    [stream, limit].into_iter().for_each(|value| writer.varint(value));
                    streams.on_blocked_sent(stream);
                }
            }
        }
    }

    /// As many as fit, in order.
    fn write_datagrams(&mut self, packet: &mut Packet<'_>) {
        let mut used = 0;
        while let Some((length, rest)) = self.datagrams[used..].split_first_chunk::<2>() {
            let length = usize::from(u16::from_be_bytes(*length));
            if packet.room() < 1 + varint_bytes(length as u64) + length {
                break;
            }
            let writer = packet.eliciting(None);
            writer.u8(kind::DATAGRAM_WITH_LENGTH);
            writer.counted(&rest[..length]);
            used += 2 + length;
        }
        if used == self.datagrams.len() {
            self.datagrams = Vec::new();
        } else {
            self.datagrams.drain(..used);
        }
    }

    /// PATH_RESPONSE is sent once, in a datagram of full size (RFC 9000, section 8.2.2).
    fn write_path_response(&mut self, packet: &mut Packet<'_>) {
        if packet.room() < CONTROL_BYTES_MAX {
            return;
        }
        if let Some(data) = self.path_response.take() {
            let writer = packet.eliciting(None);
            writer.u8(kind::PATH_RESPONSE);
            writer.bytes(&data);
            packet.pad();
        }
    }
}
