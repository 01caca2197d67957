//! What each frame does, and what becomes of what a packet carried when it is acknowledged or lost.

use super::super::error::{CloseReason, TransportError};
use super::super::events::{Event, Sink};
use super::super::frame::{Ack, AckRules, Frame};
use super::super::header::Level;
use super::super::space::{Acknowledged, Content, Sent, Space};
use super::super::streams::{Flow, Streams};
use super::super::transport_parameters::ACK_DELAY_US_MIN;
use super::{Connection, Phase};
use crate::Micros;

impl Connection {
    pub(super) fn on_frame(
        &mut self,
        now: Micros,
        level: Level,
        frame: Frame<'_>,
        sink: Sink<'_>,
    ) -> Result<(), TransportError> {
        match frame {
            Frame::Padding | Frame::Ping | Frame::NewToken | Frame::DataBlocked | Frame::StreamsBlocked => {}
            Frame::Ack(ack) => self.on_ack(now, level, &ack)?,
            Frame::Crypto { offset, data } => self.on_crypto(level, offset, data, sink)?,
            Frame::Datagram(data) => sink(Event::Datagram(data)),
            Frame::HandshakeDone => self.confirm(),
            Frame::AckFrequency { sequence, rules } => self.on_ack_frequency(sequence, &rules)?,
            Frame::ImmediateAck => self.space.received.hurry(now),
            Frame::MaxData(limit) => self.flow.data_max = self.flow.data_max.max(limit),
            Frame::MaxStreamsBidi(limit) => self.on_max_streams(limit, sink),
            Frame::MaxStreamsUni => {} // we open none
            Frame::NewConnectionId {
                sequence,
                retire_prior_to,
                id,
                token,
            } => {
                if self.cids.on_new(sequence, retire_prior_to, id, token)? {
                    self.tell_reset_token(sink);
                }
            }
            // We issue one ID, and its packets come under it; RFC 9000, section 19.16, forbids to retire it then.
            Frame::RetireConnectionId => {
                return Err(TransportError::violation("our only connection ID is retired"));
            }
            Frame::PathChallenge(data) => self.path_response = Some(data),
            // RFC 9000, section 19.18.
            Frame::PathResponse => return Err(TransportError::violation("PATH_RESPONSE to no challenge")),
            Frame::Close { by_application, code } => {
                let reason = if by_application {
                    CloseReason::Application(code)
                } else {
                    CloseReason::Transport(code)
                };
                self.begin_draining(now, reason, sink);
            }
            Frame::ResetStream { .. }
            | Frame::StopSending { .. }
            | Frame::Stream { .. }
            | Frame::MaxStreamData { .. }
            | Frame::StreamDataBlocked { .. } => {
                let flow = &mut self.flow;
                on_stream_frame(self.streams.get_or_insert_default(), flow, frame, sink)?;
                self.drop_idle_streams();
            }
        }
        Ok(())
    }

    /// A larger limit than before (RFC 9000, section 4.6).
    fn on_max_streams(&mut self, limit: u64, sink: Sink<'_>) {
        if limit > self.flow.streams_max {
            self.flow.streams_max = limit;
            self.pending.streams_blocked = false;
            if std::mem::take(&mut self.pending.wants_stream) {
                sink(Event::StreamsAvailable);
            }
        }
    }

    fn on_crypto(&mut self, level: Level, offset: u64, data: &[u8], sink: Sink<'_>) -> Result<(), TransportError> {
        // After the handshake there are only tickets, which are not wanted (RFC 9000, section 7.5).
        if level == Level::Data {
            return Ok(());
        }
        let Some(handshake) = &mut self.handshake else {
            return Ok(());
        };
        let Some(keys) = handshake.on_crypto(level, offset, data)? else {
            return Ok(());
        };
        let parameters = handshake.parameters()?;
        self.keys = Some(keys);
        self.take_parameters(&parameters)?;
        self.phase = Phase::Open;
        sink(Event::Connected);
        self.tell_reset_token(sink);
        Ok(())
    }

    // ---- acknowledgements ----------------------------------------------------------------------------------

    fn on_ack(&mut self, now: Micros, level: Level, ack: &Ack<'_>) -> Result<(), TransportError> {
        let Some(Acknowledged { packets, rtt }) =
            self.space_mut(level).map(|space| space.on_ack(now, ack)).transpose()?
        else {
            return Ok(());
        };
        if packets.is_empty() {
            return Ok(());
        }
        if let Some(rtt) = rtt {
            // Held back on purpose only at the last level, and there for so long at the most (RFC 9002, section 5.3).
            let held_back = match level {
                Level::Data => {
                    let scale = 1_u64 << self.server.ack_delay_exponent;
                    Micros(ack.delay.saturating_mul(scale)).min(self.server.ack_delay_max)
                }
                _ => Micros::ZERO,
            };
            self.recovery.on_rtt(rtt, held_back);
        }
        for Sent {
            at, bytes, contents, ..
        } in packets
        {
            self.recovery.on_acknowledged(bytes, at);
            contents
                .into_iter()
                .for_each(|content| self.on_content_acknowledged(level, content));
        }
        self.drop_idle_streams();
        // Before the server knows our address, silence may be its limit and not the path's (RFC 9002, section 6.2.1).
        let is_validated = match &mut self.handshake {
            Some(handshake) => {
                handshake.is_acknowledged |= level != Level::Initial;
                handshake.is_acknowledged
            }
            None => true,
        };
        if is_validated {
            self.recovery.reset_probes();
        }
        self.detect_lost(now, level);
        Ok(())
    }

    /// draft-ietf-quic-ack-frequency-07, section 4: the newest holds.
    fn on_ack_frequency(&mut self, sequence: u64, rules: &AckRules) -> Result<(), TransportError> {
        if rules.delay_us < ACK_DELAY_US_MIN {
            return Err(TransportError::violation("acknowledgements wanted sooner than we can"));
        }
        if sequence >= self.server.next_ack_rules.into() {
            self.server.next_ack_rules = sequence.saturating_add(1).min(u32::MAX.into()) as u32;
            self.space.received.follow(rules);
        }
        Ok(())
    }

    pub(super) fn space_mut(&mut self, level: Level) -> Option<&mut Space> {
        match level {
            Level::Data => Some(&mut self.space),
            _ => Some(&mut self.handshake.as_mut()?.early(level)?.space),
        }
    }

    /// Sends anew what is lost by now.
    pub(super) fn detect_lost(&mut self, now: Micros, level: Level) {
        let loss_delay = self.recovery.loss_delay();
        let lost = self.space_mut(level).map(|space| space.take_lost(now, loss_delay));
        for Sent {
            at, bytes, contents, ..
        } in lost.unwrap_or_default()
        {
            self.recovery.on_lost(now, bytes, at);
            contents.iter().for_each(|content| self.on_content_lost(level, content));
        }
    }

    fn on_content_acknowledged(&mut self, level: Level, content: Content) {
        match content {
            Content::Crypto(range) => {
                if let Some(early) = self.handshake.as_mut().and_then(|handshake| handshake.early(level)) {
                    early.outgoing.on_acknowledged(range);
                }
            }
            Content::RetireConnectionId { sequence } => self.cids.on_retirement_acknowledged(sequence),
            Content::Stream { stream, range } => {
                if let Some(streams) = &mut self.streams {
                    streams.on_data_acknowledged(stream, range);
                }
            }
            Content::ResetStream { stream } => {
                if let Some(streams) = &mut self.streams {
                    streams.on_reset_acknowledged(stream);
                }
            }
            _ => {}
        }
    }

    /// RFC 9000, section 13.3: what is sent again, as far as it still matters.
    pub(super) fn on_content_lost(&mut self, level: Level, content: &Content) {
        let streams = self.streams.as_mut();
        match content {
            Content::Crypto(range) => {
                if let Some(early) = self.handshake.as_mut().and_then(|handshake| handshake.early(level)) {
                    early.outgoing.on_lost(range.clone());
                }
            }
            Content::MaxData => self.pending.max_data = true,
            Content::MaxStreams => self.pending.max_streams = true,
            Content::DataBlocked => self.pending.data_blocked = true,
            Content::StreamsBlocked => self.pending.streams_blocked = self.pending.wants_stream,
            Content::RetireConnectionId { sequence } => self.cids.on_retirement_lost(*sequence),
            Content::Stream { stream, range } => {
                streams
                    .into_iter()
                    .for_each(|streams| streams.on_data_lost(*stream, range.clone()));
            }
            Content::ResetStream { stream } => streams.into_iter().for_each(|streams| streams.on_reset_lost(*stream)),
            Content::StopSending { stream } => streams.into_iter().for_each(|streams| streams.on_stop_lost(*stream)),
            Content::StreamDataBlocked { stream } => {
                streams.into_iter().for_each(|streams| streams.on_blocked_lost(*stream));
            }
        }
    }
}

fn on_stream_frame(
    streams: &mut Streams,
    flow: &mut Flow,
    frame: Frame<'_>,
    sink: Sink<'_>,
) -> Result<(), TransportError> {
    match frame {
        Frame::Stream {
            stream,
            offset,
            data,
            fin,
        } => streams.on_data(flow, (stream, offset), data, fin, sink),
        Frame::ResetStream {
            stream,
            code,
            final_size,
        } => streams.on_reset(flow, stream, code, final_size, sink),
        Frame::StopSending { stream } => streams.on_stop(flow, stream),
        Frame::MaxStreamData { stream, limit } => streams.on_limit(flow, stream, limit),
        Frame::StreamDataBlocked { stream } => streams.on_blocked(flow, stream),
        _ => Ok(()),
    }
}
