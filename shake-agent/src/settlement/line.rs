//! The settlement file's format: text lines that a spreadsheet reads and a person can check.
//!
//! ```text
//! shake-settlement-1,event=7,part=0,parts=1,records_crc=89abcdef,begun_ms=1790000000000,1f2e3d4c        header
//! 1,7-0-89abcdef-1790000000000-1,10023,250,open,1970324836974592,1790000004711,5f3a9b01                 one credit
//! │ │                            │     │   │    │                │             └ CRC-32 of the line up to this comma
//! │ │                            │     │   │    │                └ at_ms: milliseconds since 1970 UTC
//! │ │                            │     │   │    └ packet: where the money comes from
//! │ │                            │     │   └ kind: open, grab, gift or refund
//! │ │                            │     └ cents
//! │ │                            └ user
//! │ └ idempotency key: event, part, records_crc, begun_ms, seq. Whoever pays twice for one key pays wrongly
//! └ seq: 1, 2, 3, … without a gap
//! ```
//! Every line ends in one `\n`. A last line without it was being written when the process died: it is no part of the file.
//! The header names the ledger: its seed, and the time of its first transfer.

use super::Credit;
use crate::ledger::CreditKind;
use shake_rules::{Cents, PacketId, UnixMillis, UserId};
use std::fmt::{self, Write};

/// Longest line, with its end: more than the longest possible numbers take.
pub(super) const LINE_BYTES_MAX: usize = 256;
const FORMAT: &str = "shake-settlement-1";
/// Comma and eight hex digits.
const CRC_BYTES: usize = 9;

/// Which ledger credits come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Identity {
    /// The event.
    pub event: u32,
    /// The part of the fleet's seed.
    pub part: u16,
    /// Of how many parts.
    pub parts: u16,
    /// The seed's checksum.
    pub records_crc: u32,
    /// Time of the ledger's first transfer, milliseconds since 1970 UTC.
    pub begun_ms: u64,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "event {} part {} of {}, checksum {:08x}, begun at {} ms",
            self.event, self.part, self.parts, self.records_crc, self.begun_ms
        )
    }
}

impl Identity {
    /// What every idempotency key of this ledger begins with; the credit's number follows.
    pub(super) fn key_prefix(&self) -> String {
        format!(
            "{}-{}-{:08x}-{}-",
            self.event, self.part, self.records_crc, self.begun_ms
        )
    }

    /// The header line, with its end.
    pub(super) fn to_line(self) -> String {
        let mut line = format!(
            "{FORMAT},event={},part={},parts={},records_crc={:08x},begun_ms={}",
            self.event, self.part, self.parts, self.records_crc, self.begun_ms
        );
        seal(&mut line, 0);
        line
    }

    /// Reads the header line, without its end. The error says what is wrong.
    pub(super) fn from_line(line: &[u8]) -> Result<Self, &'static str> {
        if !line.starts_with(b"shake-settlement-") {
            return Err("not a settlement file (it does not start with shake-settlement-1)");
        }
        let fields: Vec<_> = unseal(line)?.split(',').collect();
        let [FORMAT, event, part, parts, records_crc, begun_ms] = fields[..] else {
            return Err("a settlement file of another version; use the program that made it");
        };
        let read = || {
            Some(Self {
                event: field_value(event, "event")?.parse().ok()?,
                part: field_value(part, "part")?.parse().ok()?,
                parts: field_value(parts, "parts")?.parse().ok()?,
                records_crc: u32::from_str_radix(field_value(records_crc, "records_crc")?, 16).ok()?,
                begun_ms: field_value(begun_ms, "begun_ms")?.parse().ok()?,
            })
        };
        read().ok_or("the header's fields make no sense")
    }
}

fn field_value<'a>(field: &'a str, name: &str) -> Option<&'a str> {
    field.strip_prefix(name)?.strip_prefix('=')
}

/// Appends a credit's line, with its end.
pub(super) fn write(credit: &Credit, key_prefix: &str, out: &mut String) {
    let begin = out.len();
    let Credit {
        seq,
        user,
        amount,
        kind,
        packet,
        at,
    } = credit;
    write!(
        out,
        "{seq},{key_prefix}{seq},{user},{amount},{},{packet},{at}",
        kind.name()
    )
    .expect("writing to a String cannot fail");
    seal(out, begin);
}

/// Reads a credit's line, without its end. The error says what is wrong.
pub(super) fn read(line: &[u8], key_prefix: &str) -> Result<Credit, &'static str> {
    let mut fields = unseal(line)?.split(',');
    let mut next = || fields.next().ok_or("a field is missing");
    let (seq_text, key, user, cents, kind, packet, at) =
        (next()?, next()?, next()?, next()?, next()?, next()?, next()?);
    if fields.next().is_some() {
        return Err("it has a field too many");
    }
    if key.strip_prefix(key_prefix) != Some(seq_text) {
        return Err("its idempotency key is not that of its number and ledger");
    }
    let number = |text: &str| text.parse::<u64>().map_err(|_| "a number does not read");
    Ok(Credit {
        seq: number(seq_text)?,
        user: UserId(number(user)?),
        amount: Cents(number(cents)?),
        kind: CreditKind::ALL
            .into_iter()
            .find(|known| known.name() == kind)
            .ok_or("its kind is unknown")?,
        packet: PacketId(number(packet)?),
        at: UnixMillis(number(at)?),
    })
}

/// Ends the line that begins at `begin` with its checksum.
fn seal(out: &mut String, begin: usize) {
    let crc = crc32fast::hash(&out.as_bytes()[begin..]);
    writeln!(out, ",{crc:08x}").expect("writing to a String cannot fail");
}

/// The line without its checksum, which must match.
fn unseal(line: &[u8]) -> Result<&str, &'static str> {
    const WRONG: &str = "its checksum does not match";
    let at = line.len().checked_sub(CRC_BYTES).ok_or(WRONG)?;
    let (content, crc) = line.split_at(at);
    let expected = format!(",{:08x}", crc32fast::hash(content));
    if crc != expected.as_bytes() {
        return Err(WRONG);
    }
    std::str::from_utf8(content).map_err(|_| "it is no text")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const IDENTITY: Identity = Identity {
        event: u32::MAX,
        part: u16::MAX,
        parts: u16::MAX,
        records_crc: 0xabc,
        begun_ms: u64::MAX,
    };

    proptest! {
        #[test]
        fn lines_round_trip_and_an_altered_byte_is_noticed(seq in 1_u64.., user: u64, cents: u64, kind in 0_usize..4, packet: u64, at: u64, flip_at: prop::sample::Index, flip in 1_u8..) {
            let credit = Credit {
                seq,
                user: UserId(user),
                amount: Cents(cents),
                kind: CreditKind::ALL[kind],
                packet: PacketId(packet),
                at: UnixMillis(at),
            };
            let prefix = IDENTITY.key_prefix();
            let mut line = String::new();
            write(&credit, &prefix, &mut line);
            prop_assert!(line.len() <= LINE_BYTES_MAX);
            let mut bytes = line.strip_suffix('\n').expect("its end").as_bytes().to_vec();
            prop_assert_eq!(read(&bytes, &prefix), Ok(credit));
            prop_assert!(read(&bytes, "1-").is_err());
            let flip_at = flip_at.index(bytes.len());
            bytes[flip_at] ^= flip;
            prop_assert!(read(&bytes, &prefix).is_err());
        }
    }

    #[test]
    fn the_header_round_trips() {
        let line = IDENTITY.to_line();
        assert!(line.len() <= LINE_BYTES_MAX);
        let line = line.strip_suffix('\n').expect("its end");
        assert_eq!(Identity::from_line(line.as_bytes()), Ok(IDENTITY));
        let (content, _) = line.rsplit_once(',').expect("a checksum");
        let mut other = content.replace("shake-settlement-1", "shake-settlement-2");
        seal(&mut other, 0);
        let version = Identity::from_line(other.trim_end().as_bytes()).expect_err("another version");
        assert!(version.contains("version"), "{version}");
        assert!(
            Identity::from_line(b"user,cents")
                .expect_err("no header")
                .contains("not a settlement file")
        );
    }
}
