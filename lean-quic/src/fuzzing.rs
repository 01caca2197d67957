//! The parsers as the fuzz targets call them, with what must hold of what they read. Only with the feature `fuzzing`.

use super::frame::{self, Frame};
use super::header::{self, Header, Level};
use super::transport_parameters::ServerParameters;
use super::varint::Reader;

/// Reads the headers of all packets in a datagram. Panics unless each lies inside it and takes at least one byte.
pub fn headers(datagram: &[u8]) {
    let mut rest = datagram;
    while let Some(header) = header::parse(rest) {
        let end = match header {
            Header::Long { number_at, end, .. } => {
                assert!(number_at <= end);
                end
            }
            Header::Skip { end } => end,
            Header::Retry { token, .. } => {
                assert!(token.start < token.end && token.end + header::RETRY_TAG_BYTES == rest.len());
                return;
            }
            Header::Short { number_at, .. } => {
                assert!(number_at <= rest.len());
                return;
            }
            Header::VersionNegotiation { .. } => return,
        };
        assert!(0 < end && end <= rest.len());
        rest = &rest[end..];
    }
}

/// Reads the frames of a packet: of an Initial (0), a Handshake (1) or a 1-RTT packet. Panics unless each takes at least
/// one byte and every range of an acknowledgement is one.
pub fn frames(level: u8, packet: &[u8]) {
    let level = match level {
        0 => Level::Initial,
        1 => Level::Handshake,
        _ => Level::Data,
    };
    let mut reader = Reader::new(packet);
    while !reader.is_empty() {
        let before = reader.remaining();
        let Ok(frame) = frame::next(level, &mut reader) else {
            return;
        };
        assert!(reader.remaining() < before);
        if let Frame::Ack(ack) = &frame {
            assert!(
                ack.ranges()
                    .all(|(least, largest)| least <= largest && largest <= ack.largest)
            );
        }
        let _ = frame.is_ack_eliciting();
    }
}

/// Reads a server's transport parameters.
pub fn transport_parameters(bytes: &[u8]) {
    let _ = ServerParameters::decode(bytes);
}
