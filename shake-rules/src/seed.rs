//! Seed files: the packets of an event, prepared in advance, in the order in which they are released.
//!
//! ```text
//! header, 64 bytes                                   record, 32 bytes
//!  0  magic "SHKSEED1"                                0  packet id    u64
//!  8  event        u32                                8  cents        u64
//! 12  part, parts  u16, u16 (this file of so many)   16  sponsor      u16
//! 16  count        u64 (records that follow)         18  kind         u8   0 plain, 1 split
//! 24  total cents  u64                               19  zero         u8
//! 32  CRC-32 of bytes 0..28 of each record  u32      20  shares       u16  1 for a plain packet
//! 36  zero                                           22  zero         6 bytes
//! 60  CRC-32 of bytes 0..60  u32                     28  CRC-32 of bytes 0..28  u32
//! ```
//! All numbers are little-endian. The record at index `i` starts at byte `64 + 32 i`.

use crate::{Cents, EventId, PacketId, SponsorId};
use thiserror::Error;

/// Bytes of the header.
pub const HEADER_BYTES: usize = 64;
/// Bytes of a record.
pub const RECORD_BYTES: usize = 32;
const MAGIC: [u8; 8] = *b"SHKSEED1";
const HEADER_CRC_AT: usize = 60;
const RECORD_CRC_AT: usize = 28;
const _: () = assert!(HEADER_CRC_AT + 4 == HEADER_BYTES && RECORD_CRC_AT + 4 == RECORD_BYTES);

/// What is wrong with a seed file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SeedError {
    /// The file does not start as a seed file does.
    #[error("not a seed file (it does not start with SHKSEED1)")]
    Magic,
    /// The header's checksum does not match.
    #[error("the header is damaged (its checksum does not match)")]
    Header,
    /// A record's checksum does not match, or its content makes no sense.
    #[error("record {index} is damaged")]
    Record {
        /// Index of the record.
        index: u64,
    },
    /// The file's size does not match its count.
    #[error("the file has {found} bytes, and {expected} are expected for its count")]
    Size {
        /// Bytes found.
        found: u64,
        /// Bytes expected.
        expected: u64,
    },
    /// The records together are not those the header was made for.
    #[error("the records do not match the header (their sum or checksum differs)")]
    Total,
}

/// What the header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeedHeader {
    /// The show.
    pub event: EventId,
    /// Which file of the fleet's, from 0.
    pub part: u16,
    /// How many files the fleet's seed has.
    pub parts: u16,
    /// Records that follow.
    pub count: u64,
    /// Sum of their amounts.
    pub total: Cents,
    /// CRC-32 of all records.
    pub records_crc: u32,
}

/// How a packet is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PacketKind {
    /// All of it goes to the winner.
    Plain,
    /// The winner gets a share, friends grab the others.
    Split {
        /// How many shares, the winner's among them; at least 2.
        shares: u16,
    },
}

/// One packet of the seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeedRecord {
    /// Unique over all parts of the event's seed.
    pub packet: PacketId,
    /// Its amount; never zero.
    pub amount: Cents,
    /// Who funds it.
    pub sponsor: SponsorId,
    /// How it is opened.
    pub kind: PacketKind,
}

impl SeedHeader {
    /// Bytes of a whole file with this header.
    #[must_use]
    pub fn file_bytes(&self) -> u64 {
        (HEADER_BYTES as u64).saturating_add(self.count.saturating_mul(RECORD_BYTES as u64))
    }

    /// The header's bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[0..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&self.event.0.to_le_bytes());
        bytes[12..14].copy_from_slice(&self.part.to_le_bytes());
        bytes[14..16].copy_from_slice(&self.parts.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.count.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.total.0.to_le_bytes());
        bytes[32..36].copy_from_slice(&self.records_crc.to_le_bytes());
        seal(&mut bytes, HEADER_CRC_AT);
        bytes
    }

    /// Reads a header.
    ///
    /// # Errors
    /// [`SeedError::Magic`] or [`SeedError::Header`].
    pub fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<Self, SeedError> {
        if bytes[0..8] != MAGIC {
            return Err(SeedError::Magic);
        }
        if !is_sealed(bytes, HEADER_CRC_AT) {
            return Err(SeedError::Header);
        }
        Ok(Self {
            event: EventId(u32_at(bytes, 8)),
            part: u16_at(bytes, 12),
            parts: u16_at(bytes, 14),
            count: u64_at(bytes, 16),
            total: Cents(u64_at(bytes, 24)),
            records_crc: u32_at(bytes, 32),
        })
    }
}

impl SeedRecord {
    /// The record's bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; RECORD_BYTES] {
        let (kind, shares) = match self.kind {
            PacketKind::Plain => (0, 1),
            PacketKind::Split { shares } => (1, shares),
        };
        let mut bytes = [0; RECORD_BYTES];
        bytes[0..8].copy_from_slice(&self.packet.0.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.amount.0.to_le_bytes());
        bytes[16..18].copy_from_slice(&self.sponsor.0.to_le_bytes());
        bytes[18] = kind;
        bytes[20..22].copy_from_slice(&u16::to_le_bytes(shares));
        seal(&mut bytes, RECORD_CRC_AT);
        bytes
    }

    /// Reads the record at `index`.
    ///
    /// # Errors
    /// [`SeedError::Record`].
    pub fn decode(bytes: &[u8; RECORD_BYTES], index: u64) -> Result<Self, SeedError> {
        let damaged = SeedError::Record { index };
        if !is_sealed(bytes, RECORD_CRC_AT) {
            return Err(damaged);
        }
        let kind = match (bytes[18], u16_at(bytes, 20)) {
            (0, 1) => PacketKind::Plain,
            (1, shares) if shares >= 2 => PacketKind::Split { shares },
            _ => return Err(damaged),
        };
        let record = Self {
            packet: PacketId(u64_at(bytes, 0)),
            amount: Cents(u64_at(bytes, 8)),
            sponsor: SponsorId(u16_at(bytes, 16)),
            kind,
        };
        if record.amount.0 == 0 { Err(damaged) } else { Ok(record) }
    }
}

/// Sums up records as they are written or read, to make a header or check one.
#[derive(Clone, Debug, Default)]
pub struct SeedSum {
    count: u64,
    total: u64,
    crc: crc32fast::Hasher,
}

impl SeedSum {
    /// Takes the next record into account.
    pub fn add(&mut self, record: &SeedRecord) {
        self.count += 1;
        self.total = self.total.saturating_add(record.amount.0);
        // Without the record's own checksum: data followed by its CRC leaves a constant behind, whatever the data.
        self.crc.update(&record.encode()[..RECORD_CRC_AT]);
    }

    /// The header for the records added.
    #[must_use]
    pub fn header(&self, event: EventId, part: u16, parts: u16) -> SeedHeader {
        SeedHeader {
            event,
            part,
            parts,
            count: self.count,
            total: Cents(self.total),
            records_crc: self.crc.clone().finalize(),
        }
    }

    /// Checks that the records added are those of `header`.
    ///
    /// # Errors
    /// [`SeedError::Total`].
    pub fn check(&self, header: &SeedHeader) -> Result<(), SeedError> {
        if self.header(header.event, header.part, header.parts) == *header {
            Ok(())
        } else {
            Err(SeedError::Total)
        }
    }
}

fn seal(bytes: &mut [u8], at: usize) {
    let crc = crc32fast::hash(&bytes[..at]);
    bytes[at..at + 4].copy_from_slice(&crc.to_le_bytes());
}

fn is_sealed(bytes: &[u8], at: usize) -> bool {
    crc32fast::hash(&bytes[..at]) == u32_at(bytes, at)
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record(packet: u64, cents: u64, shares: u16) -> SeedRecord {
        let kind = if shares < 2 {
            PacketKind::Plain
        } else {
            PacketKind::Split { shares }
        };
        SeedRecord {
            packet: PacketId(packet),
            amount: Cents(cents),
            sponsor: SponsorId(3),
            kind,
        }
    }

    proptest! {
        #[test]
        fn records_round_trip(packet: u64, cents in 1_u64.., shares in 1_u16..) {
            let record = record(packet, cents, shares);
            prop_assert_eq!(SeedRecord::decode(&record.encode(), 0), Ok(record));
        }

        #[test]
        fn an_altered_record_is_damaged(at in 0..RECORD_BYTES, flip in 1_u8..) {
            let mut bytes = record(7, 8, 2).encode();
            bytes[at] ^= flip;
            prop_assert_eq!(SeedRecord::decode(&bytes, 9), Err(SeedError::Record { index: 9 }));
        }

        #[test]
        fn an_altered_header_is_damaged(at in 0..HEADER_BYTES, flip in 1_u8..) {
            let mut sum = SeedSum::default();
            sum.add(&record(7, 8, 2));
            let header = sum.header(EventId(1), 0, 1);
            prop_assert_eq!(SeedHeader::decode(&header.encode()), Ok(header));
            let mut bytes = header.encode();
            bytes[at] ^= flip;
            prop_assert!(SeedHeader::decode(&bytes).is_err());
        }
    }

    #[test]
    fn the_sum_notices_a_swap() {
        let (a, b) = (record(1, 5, 1), record(2, 5, 1));
        let sum = |records: &[SeedRecord]| {
            let mut sum = SeedSum::default();
            records.iter().for_each(|record| sum.add(record));
            sum
        };
        let header = sum(&[a, b]).header(EventId(1), 0, 1);
        assert_eq!(sum(&[a, b]).check(&header), Ok(()));
        assert_eq!(sum(&[b, a]).check(&header), Err(SeedError::Total));
    }
}
