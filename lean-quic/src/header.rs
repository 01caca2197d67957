//! Packet headers (RFC 9000, section 17) and packet numbers (section 17.1 and appendix A).
//!
//! ```text
//! long   │1│1│type 2│…4│ version 4 │ n │ DCID n │ m │ SCID m │ (Initial: token) │ length │ number 1–4 │ payload
//! short  │0│1│spin│..│phase│length 2│ DCID, 8 bytes (ours) or n (the server's) │ number 1–4 │ payload
//! ```
//! Parsing stops before the packet number, which is still protected. What does not parse gives `None`, because a
//! packet that nobody has authenticated is dropped, never answered with an error (RFC 9000, section 12.2).

use super::cid::{Cid, LOCAL_CID_BYTES, LocalCid};
use super::varint::{Reader, Writer};
use std::ops::Range;

/// QUIC version 1 (RFC 9000, section 15).
pub(super) const VERSION: u32 = 1;
/// Marks a long header.
pub(super) const LONG: u8 = 0x80;
/// Set in every packet of version 1; a packet without it is not QUIC (RFC 9000, sections 17.2 and 17.3).
const FIXED: u8 = 0x40;
/// In a short header.
pub(super) const KEY_PHASE: u8 = 0x04;
/// Length of the tag behind a Retry packet.
pub(super) const RETRY_TAG_BYTES: usize = 16;

/// The kinds of packet that carry frames under keys which we may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    Initial,
    Handshake,
    /// 1-RTT.
    Data,
}

/// A header as far as it can be read under protection. Ranges and offsets count from the packet's first byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Header {
    /// The server offers other versions (RFC 9000, section 17.2.1).
    VersionNegotiation { dcid: Cid, scid: Cid, has_ours: bool },
    /// The server wants to see its token first (RFC 9000, section 17.2.5).
    Retry { dcid: Cid, scid: Cid, token: Range<usize> },
    /// Initial or Handshake.
    Long {
        level: Level,
        dcid: Cid,
        scid: Cid,
        number_at: usize,
        end: usize,
    },
    /// Nothing for a client (0-RTT, or an Initial with a token), but its end is known.
    Skip { end: usize },
    /// 1-RTT; ends with the datagram.
    Short { dcid: LocalCid, number_at: usize },
}

/// Reads the header of the packet at the start of `datagram`.
pub(super) fn parse(datagram: &[u8]) -> Option<Header> {
    let mut reader = Reader::new(datagram);
    let first = reader.u8().ok()?;
    if first & LONG == 0 {
        let dcid = reader.array().ok()?;
        let number_at = 1 + LOCAL_CID_BYTES;
        return (first & FIXED != 0).then_some(Header::Short { dcid, number_at });
    }
    let version = u32::from_be_bytes(reader.array().ok()?);
    let (dcid, scid) = (cid(&mut reader)?, cid(&mut reader)?);
    match version {
        0 => version_negotiation(reader, dcid, scid),
        VERSION if first & FIXED != 0 => long(first, reader, datagram.len(), dcid, scid),
        _ => None,
    }
}

/// The long header's IDs have their length before them.
fn cid(reader: &mut Reader<'_>) -> Option<Cid> {
    let length = reader.u8().ok()?;
    Cid::new(reader.bytes(length.into()).ok()?)
}

fn version_negotiation(mut reader: Reader<'_>, dcid: Cid, scid: Cid) -> Option<Header> {
    let mut has_ours = false;
    if reader.is_empty() || !reader.remaining().is_multiple_of(4) {
        return None;
    }
    while let Ok(version) = reader.array() {
        has_ours |= u32::from_be_bytes(version) == VERSION;
    }
    Some(Header::VersionNegotiation { dcid, scid, has_ours })
}

fn long(first: u8, mut reader: Reader<'_>, total: usize, dcid: Cid, scid: Cid) -> Option<Header> {
    let level = match first >> 4 & 0b11 {
        0 => Some(Level::Initial),
        1 => None, // 0-RTT, which no server sends
        2 => Some(Level::Handshake),
        _ => {
            let token = total - reader.remaining()..total.checked_sub(RETRY_TAG_BYTES)?;
            return (token.start < token.end).then_some(Header::Retry { dcid, scid, token });
        }
    };
    // A server's Initial has no token; one that does is discarded (RFC 9000, section 17.2.2).
    let has_token = level == Some(Level::Initial) && !reader.counted().ok()?.is_empty();
    let length = reader.varint().ok()?;
    let number_at = total - reader.remaining();
    reader.bytes(length).ok()?;
    let end = total - reader.remaining();
    Some(match level {
        Some(level) if !has_token => Header::Long {
            level,
            dcid,
            scid,
            number_at,
            end,
        },
        _ => Header::Skip { end },
    })
}

/// Bytes of the longest long header that we write without its token: type, version, two IDs, token length, length,
/// packet number.
pub(super) const LONG_HEADER_BYTES_MAX: usize = 1 + 4 + 21 + 1 + LOCAL_CID_BYTES + 2 + 2 + 4;

/// Writes a long header up to the packet number; gives where its length field stands.
pub(super) fn write_long(writer: &mut Writer<'_>, level: Level, dcid: &Cid, scid: &LocalCid, token: &[u8]) -> usize {
    let kind = if level == Level::Initial { 0 } else { 2 };
    writer.u8(LONG | FIXED | kind << 4 | (NUMBER_BYTES as u8 - 1));
    writer.bytes(&VERSION.to_be_bytes());
    writer.u8(dcid.len() as u8);
    writer.bytes(dcid.as_slice());
    writer.u8(LOCAL_CID_BYTES as u8);
    writer.bytes(scid);
    if level == Level::Initial {
        writer.counted(token);
    }
    let length_at = writer.written();
    writer.zeroes(2);
    length_at
}

/// The length field in the two bytes that [`write_long`] left for it.
pub(super) fn length_field(length: usize) -> [u8; 2] {
    (length as u16 | 0x4000).to_be_bytes()
}

/// Writes a short header up to the packet number. The spin bit stays 0 (RFC 9000, section 17.4).
pub(super) fn write_short(writer: &mut Writer<'_>, dcid: &Cid, phase: bool) {
    let phase = if phase { KEY_PHASE } else { 0 };
    writer.u8(FIXED | phase | (NUMBER_BYTES as u8 - 1));
    writer.bytes(dcid.as_slice());
}

/// Packet numbers are written in four bytes: enough for 2^31 packets under way, where two could be saved only by
/// keeping in mind what the server has acknowledged (RFC 9000, section 17.1).
pub(super) const NUMBER_BYTES: usize = 4;

/// The packet number whose low bits came, next to the one expected (RFC 9000, appendix A.3).
pub(super) fn expand_number(expected: u64, low: u64, bits: u32) -> u64 {
    let window = 1_u64 << bits;
    let candidate = expected & !(window - 1) | low;
    if candidate + window / 2 <= expected && candidate < (1 << 62) - window {
        candidate + window
    } else if candidate > expected + window / 2 && candidate >= window {
        candidate - window
    } else {
        candidate
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The sample of RFC 9000, appendix A.3.
    #[test]
    fn a_number_is_expanded_as_in_the_rfc() {
        assert_eq!(expand_number(0xa82f_30ea + 1, 0x9b32, 16), 0xa82f_9b32);
    }

    #[test]
    fn a_token_in_a_servers_initial_makes_it_void_but_not_what_follows() {
        let mut buffer = [0; 128];
        let mut writer = Writer::new(&mut buffer);
        let length_at = write_long(&mut writer, Level::Initial, &Cid::from([1; 8]), &[2; 8], b"token");
        let start = writer.written();
        buffer[length_at..start].copy_from_slice(&length_field(30));
        assert_eq!(parse(&buffer), Some(Header::Skip { end: start + 30 }));
    }

    proptest! {
        #[test]
        fn numbers_near_the_expected_one_come_back(expected in 0_u64..1 << 61, off in -(1_i64 << 30)..1 << 30) {
            let number = expected.saturating_add_signed(off);
            prop_assert_eq!(expand_number(expected, number & 0xffff_ffff, 32), number);
        }

        #[test]
        fn any_bytes_parse_or_not(bytes in prop::collection::vec(any::<u8>(), 0..80), first in any::<u8>()) {
            let mut datagram = vec![first, 0, 0, 0, 1];
            datagram.extend(bytes);
            match parse(&datagram) {
                Some(Header::Long { number_at, end, .. }) => prop_assert!(number_at <= end && end <= datagram.len()),
                Some(Header::Skip { end }) => prop_assert!(end <= datagram.len()),
                Some(Header::Retry { token, .. }) => prop_assert!(token.end + RETRY_TAG_BYTES == datagram.len()),
                _ => {}
            }
        }
    }
}
