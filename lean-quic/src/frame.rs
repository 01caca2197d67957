//! Frames as they stand in a packet (RFC 9000, section 19; RFC 9221, section 4; for acknowledgements by request
//! draft-ietf-quic-ack-frequency-07).
//!
//! Decoding borrows from the packet and allocates nothing. It checks what a frame says by itself; whether it may come
//! now is for the connection to say.

pub(super) mod kind;

use super::cid::{CID_BYTES_MAX, Cid};
use super::error::TransportError;
use super::header::Level;
use super::varint::{Reader, VARINT_MAX};

const STREAM_OFFSET: u8 = 4;
const STREAM_LENGTH: u8 = 2;
pub(super) const STREAM_FIN: u8 = 1;
/// The largest count of streams (RFC 9000, section 19.11).
pub(super) const STREAMS_MAX: u64 = 1 << 60;

/// A received frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Frame<'a> {
    Padding,
    Ping,
    Ack(Ack<'a>),
    ResetStream {
        stream: u64,
        code: u64,
        final_size: u64,
    },
    StopSending {
        stream: u64,
    },
    Crypto {
        offset: u64,
        data: &'a [u8],
    },
    NewToken,
    Stream {
        stream: u64,
        offset: u64,
        data: &'a [u8],
        fin: bool,
    },
    MaxData(u64),
    MaxStreamData {
        stream: u64,
        limit: u64,
    },
    MaxStreamsBidi(u64),
    MaxStreamsUni,
    DataBlocked,
    StreamDataBlocked {
        stream: u64,
    },
    StreamsBlocked,
    NewConnectionId {
        sequence: u64,
        retire_prior_to: u64,
        id: Cid,
        token: [u8; 16],
    },
    RetireConnectionId,
    PathChallenge([u8; 8]),
    PathResponse,
    Close {
        by_application: bool,
        code: u64,
    },
    HandshakeDone,
    AckFrequency {
        sequence: u64,
        rules: AckRules,
    },
    ImmediateAck,
    Datagram(&'a [u8]),
}

/// When the server wants acknowledgements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AckRules {
    /// So many packets that ask for one may wait for it.
    pub(super) eliciting_max: u64,
    /// For so long.
    pub(super) delay_us: u64,
    /// Those out of order too.
    pub(super) ignores_order: bool,
}

/// Packets that the server has seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ack<'a> {
    pub(super) largest: u64,
    /// As on the wire, still to be scaled by the server's exponent.
    pub(super) delay: u64,
    first_range: u64,
    /// Gap and length in turn; checked when decoded.
    further: &'a [u8],
}

impl Ack<'_> {
    /// The ranges as (least, largest), from the newest on.
    pub(super) fn ranges(&self) -> impl Iterator<Item = (u64, u64)> {
        let mut reader = Reader::new(self.further);
        let mut least = self.largest - self.first_range;
        std::iter::once((least, self.largest)).chain(std::iter::from_fn(move || {
            let gap = reader.varint().ok()?;
            let length = reader.varint().ok()?;
            let largest = least - gap - 2;
            least = largest - length;
            Some((least, largest))
        }))
    }
}

/// Takes the next frame off the packet.
///
/// # Errors
/// The frame does not decode, is unknown (FRAME_ENCODING_ERROR, RFC 9000, section 12.4), or may not stand in a packet
/// of this level (PROTOCOL_VIOLATION, ibid.).
pub(super) fn next<'a>(level: Level, reader: &mut Reader<'a>) -> Result<Frame<'a>, TransportError> {
    // Every known type but one is below 64, so one byte; a longer form of a known type is a violation (section 12.4).
    let first = reader.u8()?;
    let allowed = matches!(
        first,
        kind::PADDING | kind::PING | kind::ACK | kind::ACK_ECN | kind::CRYPTO | kind::CLOSE_TRANSPORT
    );
    if level != Level::Data && !allowed {
        return Err(TransportError::violation(
            "a frame that may not come before the handshake is over",
        ));
    }
    match first {
        kind::STREAM..=kind::STREAM_LAST => stream(first, reader),
        kind::ACK | kind::ACK_ECN => ack(first, reader),
        kind::NEW_CONNECTION_ID => new_connection_id(reader),
        kind::CLOSE_TRANSPORT | kind::CLOSE_APPLICATION => close(first, reader),
        kind::TWO_BYTES => ack_frequency(reader),
        kind::MAX_STREAMS_BIDI | kind::MAX_STREAMS_UNI | kind::STREAMS_BLOCKED_BIDI | kind::STREAMS_BLOCKED_UNI => {
            stream_count(first, reader)
        }
        _ => simple(first, reader),
    }
}

fn simple<'a>(first: u8, reader: &mut Reader<'a>) -> Result<Frame<'a>, TransportError> {
    Ok(match first {
        kind::PADDING => Frame::Padding,
        kind::PING => Frame::Ping,
        kind::RESET_STREAM => Frame::ResetStream {
            stream: reader.varint()?,
            code: reader.varint()?,
            final_size: reader.varint()?,
        },
        kind::STOP_SENDING => {
            let stream = reader.varint()?;
            reader.varint()?; // the code says why to the application, which does not ask
            Frame::StopSending { stream }
        }
        kind::CRYPTO => {
            let offset = reader.varint()?;
            let data = reader.counted()?;
            if offset + data.len() as u64 > VARINT_MAX {
                return Err(TransportError::encoding("CRYPTO beyond the last offset")); // section 19.6
            }
            Frame::Crypto { offset, data }
        }
        kind::NEW_TOKEN => {
            if reader.counted()?.is_empty() {
                return Err(TransportError::encoding("NEW_TOKEN without a token")); // section 19.7
            }
            Frame::NewToken
        }
        kind::MAX_DATA => Frame::MaxData(reader.varint()?),
        kind::MAX_STREAM_DATA => Frame::MaxStreamData {
            stream: reader.varint()?,
            limit: reader.varint()?,
        },
        kind::DATA_BLOCKED => {
            reader.varint()?;
            Frame::DataBlocked
        }
        kind::STREAM_DATA_BLOCKED => {
            let stream = reader.varint()?;
            reader.varint()?;
            Frame::StreamDataBlocked { stream }
        }
        kind::RETIRE_CONNECTION_ID => {
            reader.varint()?;
            Frame::RetireConnectionId
        }
        kind::PATH_CHALLENGE => Frame::PathChallenge(reader.array()?),
        kind::PATH_RESPONSE => {
            reader.array::<8>()?;
            Frame::PathResponse
        }
        kind::HANDSHAKE_DONE => Frame::HandshakeDone,
        kind::IMMEDIATE_ACK => Frame::ImmediateAck,
        kind::DATAGRAM => Frame::Datagram(reader.rest()),
        kind::DATAGRAM_WITH_LENGTH => Frame::Datagram(reader.counted()?),
        _ => return Err(TransportError::encoding("an unknown frame")),
    })
}

fn stream<'a>(first: u8, reader: &mut Reader<'a>) -> Result<Frame<'a>, TransportError> {
    let stream = reader.varint()?;
    let offset = if first & STREAM_OFFSET != 0 {
        reader.varint()?
    } else {
        0
    };
    let data = if first & STREAM_LENGTH != 0 {
        reader.counted()?
    } else {
        reader.rest()
    };
    if offset + data.len() as u64 > VARINT_MAX {
        return Err(TransportError::encoding("STREAM beyond the last offset")); // section 19.8
    }
    let fin = first & STREAM_FIN != 0;
    Ok(Frame::Stream {
        stream,
        offset,
        data,
        fin,
    })
}

/// RFC 9000, section 19.3. Each range ends below the one before; one that would go below zero is an error.
fn ack<'a>(first: u8, reader: &mut Reader<'a>) -> Result<Frame<'a>, TransportError> {
    const BELOW_ZERO: TransportError = TransportError::encoding("ACK of a packet number below zero");
    let largest = reader.varint()?;
    let delay = reader.varint()?;
    let count = reader.varint()?;
    let first_range = reader.varint()?;
    let mut least = largest.checked_sub(first_range).ok_or(BELOW_ZERO)?;
    let before = *reader;
    // Each turn reads two bytes at the least, so a false count ends with the packet.
    for _ in 0..count {
        let (gap, length) = (reader.varint()?, reader.varint()?);
        least = least.checked_sub(gap + 2 + length).ok_or(BELOW_ZERO)?;
    }
    let used = (before.remaining() - reader.remaining()) as u64;
    let further = Reader::bytes(&mut before.clone(), used)?;
    if first == kind::ACK_ECN {
        for _ in 0..3 {
            reader.varint()?; // ECN is never set on what we send, so its counts say nothing
        }
    }
    Ok(Frame::Ack(Ack {
        largest,
        delay,
        first_range,
        further,
    }))
}

/// RFC 9000, sections 19.11 and 19.14.
fn stream_count<'a>(first: u8, reader: &mut Reader<'a>) -> Result<Frame<'a>, TransportError> {
    let count = reader.varint()?;
    if count > STREAMS_MAX {
        return Err(TransportError::encoding("more streams than there can be"));
    }
    Ok(match first {
        kind::MAX_STREAMS_BIDI => Frame::MaxStreamsBidi(count),
        kind::MAX_STREAMS_UNI => Frame::MaxStreamsUni,
        _ => Frame::StreamsBlocked,
    })
}

/// RFC 9000, section 19.15.
fn new_connection_id<'a>(reader: &mut Reader<'a>) -> Result<Frame<'a>, TransportError> {
    let sequence = reader.varint()?;
    let retire_prior_to = reader.varint()?;
    let length = reader.u8()?;
    let id = reader.bytes(length.into())?;
    let token = reader.array()?;
    if retire_prior_to > sequence {
        return Err(TransportError::encoding("NEW_CONNECTION_ID retires itself"));
    }
    let id = Cid::new(id)
        .filter(|id| (1..=CID_BYTES_MAX).contains(&id.len()))
        .ok_or(TransportError::encoding("a connection ID of a wrong length"))?;
    Ok(Frame::NewConnectionId {
        sequence,
        retire_prior_to,
        id,
        token,
    })
}

/// draft-ietf-quic-ack-frequency-07, section 4.
fn ack_frequency<'a>(reader: &mut Reader<'a>) -> Result<Frame<'a>, TransportError> {
    if reader.u8()? != kind::ACK_FREQUENCY {
        return Err(TransportError::encoding("an unknown frame"));
    }
    let sequence = reader.varint()?;
    let (eliciting_max, delay_us) = (reader.varint()?, reader.varint()?);
    let ignores_order = reader.varint()? == 0;
    let rules = AckRules {
        eliciting_max,
        delay_us,
        ignores_order,
    };
    Ok(Frame::AckFrequency { sequence, rules })
}

/// RFC 9000, section 19.19.
fn close<'a>(first: u8, reader: &mut Reader<'a>) -> Result<Frame<'a>, TransportError> {
    let by_application = first == kind::CLOSE_APPLICATION;
    let code = reader.varint()?;
    if !by_application {
        reader.varint()?; // the frame type that was at fault
    }
    reader.counted()?; // the reason phrase; the code says enough
    Ok(Frame::Close { by_application, code })
}

impl Frame<'_> {
    /// Whether the packet with it must be acknowledged (RFC 9002, section 2).
    pub(super) fn is_ack_eliciting(&self) -> bool {
        !matches!(self, Self::Padding | Self::Ack(_) | Self::Close { .. })
    }
}

#[cfg(test)]
mod tests;
