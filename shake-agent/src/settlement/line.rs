//! The settlement file's format: text lines that a spreadsheet reads and a person can check.
//!
//! ```text
//! shake-settlement-2,ledger=1f2e…(32 digits),event=7,part=0,parts=1,records_crc=89abcdef,begun_ms=1790000000000,owed=…,1f2e3d4c   header
//! 2,1f2e…-8a9b…(16 digits)-u10023-2,u10023,2,-200,50,send,p9223372036854775809,1790000004711,5f3a9b01                    one line
//! │ │                               │      │ │    │  │    │                    │             └ CRC-32 of the line up to this comma
//! │ │                               │      │ │    │  │    │                    └ at_ms: milliseconds since 1970 UTC
//! │ │                               │      │ │    │  │    └ packet: where the money comes from, or goes to
//! │ │                               │      │ │    │  └ kind: open, grab, gift, refund, send or close (payout is reserved)
//! │ │                               │      │ │    └ balance of that user after it, in cents; never below zero
//! │ │                               │      │ └ cents: what came in; negative when it went out
//! │ │                               │      └ number: 1, 2, 3, … of that user, without a gap
//! │ │                               └ user
//! │ └ key: ledger, incarnation (64 random bits of the opening that wrote it), user, number. It never names another movement
//! └ seq: 1, 2, 3, … without a gap
//! 3,1f2e…-8a9b…-close,,1200,0,4812350,close,,1790000009000,0c4d1e77                                                      the closing line
//! │                    │  │      │
//! │                    │  │      └ what all users are owed together, in cents
//! │                    │  └ how many users are owed something
//! │                    └ of no user, and of no packet
//! └ the last one: nothing follows it
//! ```
//! One line for each movement of a user's balance, in the order of the transfers. So at any moment a user's lines sum to the
//! balance, and the last of them has it. Ids have a letter before them: a spreadsheet takes 20 digits for a number, and
//! changes the last ones.
//!
//! Every line ends in one `\n`. A last line without it was being written when the process died: it is no part of the file.
//! The header names the ledger: its identity, its seed, and the time of its first transfer (0 in a part's file of a ledger on a server,
//! which is begun before that part is); and it says what is owed.
//!
//! Files of version 1 (credits only, `seq,key,user,cents,kind,packet,at_ms,crc`) are read and never continued.

use super::Line;
use crate::ledger::{Incarnation, LineKind};
use shake_rules::{Cents, LedgerId, PacketId, UnixMillis, UserId};
use std::fmt::{self, Write};

/// Longest line, with its end: more than the longest possible numbers take.
pub(super) const LINE_BYTES_MAX: usize = 512;
const FORMAT: &str = "shake-settlement-2";
const FORMAT_1: &str = "shake-settlement-1";
/// What is owed to whom.
const OWED: &str =
    "owed=each user's last balance; once; after the closing line; earlier only against a payout booked first";
/// Comma and eight hex digits.
const CRC_BYTES: usize = 9;

/// Which ledger lines come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Identity {
    /// The ledger; `None` in one of version 2, whose files are of version 1.
    #[serde(serialize_with = "as_text")]
    pub ledger: Option<LedgerId>,
    /// The event.
    pub event: u32,
    /// The part of the fleet's seed.
    pub part: u16,
    /// Of how many parts.
    pub parts: u16,
    /// The seed's checksum.
    pub records_crc: u32,
    /// Time of the ledger's first transfer, milliseconds since 1970 UTC; 0 of a part of a ledger on a server.
    pub begun_ms: u64,
}

fn as_text<S: serde::Serializer>(ledger: &Option<LedgerId>, serializer: S) -> Result<S::Ok, S::Error> {
    match ledger {
        Some(ledger) => serializer.collect_str(ledger),
        None => serializer.serialize_none(),
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(ledger) = self.ledger {
            write!(f, "ledger {ledger}, ")?;
        }
        write!(
            f,
            "event {} part {} of {}, checksum {:08x}, begun at {} ms",
            self.event, self.part, self.parts, self.records_crc, self.begun_ms
        )
    }
}

impl Identity {
    /// The header line, with its end. Of version 1 when the ledger has no identity.
    pub(super) fn to_line(self) -> String {
        let mut line = match self.ledger {
            Some(ledger) => format!("{FORMAT},ledger={ledger}"),
            None => FORMAT_1.to_owned(),
        };
        write!(
            line,
            ",event={},part={},parts={},records_crc={:08x},begun_ms={}",
            self.event, self.part, self.parts, self.records_crc, self.begun_ms
        )
        .expect("writing to a String cannot fail");
        if self.ledger.is_some() {
            line = line + "," + OWED;
        }
        seal(&mut line, 0);
        line
    }

    /// Reads the header line, without its end. The error says what is wrong.
    pub(super) fn from_line(line: &[u8]) -> Result<Self, &'static str> {
        const FIELDS: &str = "the header's fields make no sense";
        if !line.starts_with(b"shake-settlement-") {
            return Err("not a settlement file (it does not start with shake-settlement-2)");
        }
        let fields: Vec<_> = unseal(line)?.split(',').collect();
        let (ledger, rest) = match fields[..] {
            [FORMAT, ledger, ref rest @ .., OWED] => {
                let ledger = field_value(ledger, "ledger").and_then(LedgerId::parse);
                (Some(ledger.ok_or(FIELDS)?), rest)
            }
            [FORMAT, ..] => return Err(FIELDS),
            [FORMAT_1, ref rest @ ..] => (None, rest),
            _ => return Err("a settlement file of another version; use the program that made it"),
        };
        let [event, part, parts, records_crc, begun_ms] = *rest else {
            return Err(FIELDS);
        };
        let read = || {
            Some(Self {
                ledger,
                event: field_value(event, "event")?.parse().ok()?,
                part: field_value(part, "part")?.parse().ok()?,
                parts: field_value(parts, "parts")?.parse().ok()?,
                records_crc: u32::from_str_radix(field_value(records_crc, "records_crc")?, 16).ok()?,
                begun_ms: field_value(begun_ms, "begun_ms")?.parse().ok()?,
            })
        };
        read().ok_or(FIELDS)
    }

    /// Appends a line, with its end. Only for a ledger that has an identity: files of version 1 are never continued.
    pub(super) fn write(self, line: &Line, out: &mut String) {
        let begin = out.len();
        let Line {
            seq,
            incarnation,
            user,
            number,
            cents,
            balance,
            kind,
            packet,
            at,
        } = line;
        let ledger = self.ledger.map_or_else(String::new, |ledger| ledger.to_string());
        let name = kind.name();
        if *kind == LineKind::Close {
            write!(
                out,
                "{seq},{ledger}-{incarnation}-{name},,{number},{cents},{balance},{name},,{at}"
            )
        } else {
            write!(
                out,
                "{seq},{ledger}-{incarnation}-u{user}-{number},u{user},{number},{cents},{balance},{name},p{packet},{at}"
            )
        }
        .expect("writing to a String cannot fail");
        seal(out, begin);
    }

    /// Reads a line, without its end. The error says what is wrong.
    pub(super) fn read(self, line: &[u8]) -> Result<Line, &'static str> {
        let fields: Vec<_> = unseal(line)?.split(',').collect();
        match (self.ledger, &fields[..]) {
            (Some(ledger), &[seq, key, "", number, cents, balance, "close", "", at]) => {
                let line = Line {
                    seq: natural(seq)?,
                    incarnation: incarnation_of(key).ok_or(KEY)?,
                    number: natural(number)?,
                    cents: whole(cents)?,
                    balance: Cents(natural(balance)?),
                    kind: LineKind::Close,
                    at: UnixMillis(natural(at)?),
                    ..Line::NONE
                };
                let expected = format!("{ledger}-{}-close", line.incarnation);
                if key == expected { Ok(line) } else { Err(KEY) }
            }
            (Some(ledger), &[seq, key, user, number, cents, balance, kind, packet, at]) => {
                let line = Line {
                    seq: natural(seq)?,
                    incarnation: incarnation_of(key).ok_or(KEY)?,
                    user: UserId(id(user, 'u')?),
                    number: natural(number)?,
                    cents: whole(cents)?,
                    balance: Cents(natural(balance)?),
                    kind: kind_of(kind)?,
                    packet: PacketId(id(packet, 'p')?),
                    at: UnixMillis(natural(at)?),
                };
                let expected = format!("{ledger}-{}-u{}-{}", line.incarnation, line.user, line.number);
                if key == expected { Ok(line) } else { Err(KEY) }
            }
            (None, &[seq, key, user, cents, kind, packet, at]) => {
                if key != format!("{}{seq}", self.key_prefix_1()) {
                    return Err(KEY);
                }
                Ok(Line {
                    seq: natural(seq)?,
                    user: UserId(natural(user)?),
                    cents: whole(cents)?,
                    kind: kind_of(kind)?,
                    packet: PacketId(natural(packet)?),
                    at: UnixMillis(natural(at)?),
                    ..Line::NONE
                })
            }
            _ => Err("it has another number of fields than a line"),
        }
    }

    /// What every key of version 1 begins with; the credit's number follows.
    fn key_prefix_1(self) -> String {
        let Self {
            event,
            part,
            records_crc,
            begun_ms,
            ..
        } = self;
        format!("{event}-{part}-{records_crc:08x}-{begun_ms}-")
    }
}

const KEY: &str = "its key is not that of its ledger, user and number";

fn field_value<'a>(field: &'a str, name: &str) -> Option<&'a str> {
    field.strip_prefix(name)?.strip_prefix('=')
}

fn incarnation_of(key: &str) -> Option<Incarnation> {
    Incarnation::parse(key.split('-').nth(1)?)
}

fn kind_of(name: &str) -> Result<LineKind, &'static str> {
    let kind = LineKind::ALL.into_iter().find(|known| known.name() == name);
    // The closing line is of no user.
    kind.filter(|kind| *kind != LineKind::Close)
        .ok_or("its kind is unknown")
}

fn natural(text: &str) -> Result<u64, &'static str> {
    text.parse().map_err(|_| "a number does not read")
}

fn whole(text: &str) -> Result<i64, &'static str> {
    text.parse().map_err(|_| "a number does not read")
}

/// An id with its letter.
fn id(text: &str, letter: char) -> Result<u64, &'static str> {
    natural(text.strip_prefix(letter).ok_or("an id lacks its letter")?)
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
        ledger: Some(LedgerId([0xab; 16])),
        event: u32::MAX,
        part: u16::MAX,
        parts: u16::MAX,
        records_crc: 0xabc,
        begun_ms: u64::MAX,
    };

    fn line() -> impl Strategy<Value = Line> {
        let numbers = (any::<u64>(), any::<u64>(), any::<u64>(), any::<u64>(), any::<u64>());
        let others = (any::<u64>(), any::<i64>(), 0..LineKind::ALL.len(), any::<u64>());
        (numbers, others).prop_map(|((seq, bits, user, number, balance), (packet, cents, kind, at))| {
            let kind = LineKind::ALL[kind];
            let is_movement = u64::from(kind != LineKind::Close);
            Line {
                seq,
                incarnation: Incarnation(bits),
                user: UserId(user * is_movement),
                number,
                cents,
                balance: Cents(balance),
                kind,
                packet: PacketId(packet * is_movement),
                at: UnixMillis(at),
            }
        })
    }

    proptest! {
        #[test]
        fn lines_round_trip_and_an_altered_byte_is_noticed(line in line(), flip_at: prop::sample::Index, flip in 1_u8..) {
            let mut text = String::new();
            IDENTITY.write(&line, &mut text);
            prop_assert!(text.len() <= LINE_BYTES_MAX);
            let mut bytes = text.strip_suffix('\n').expect("its end").as_bytes().to_vec();
            prop_assert_eq!(IDENTITY.read(&bytes), Ok(line));
            let other = Identity { ledger: Some(LedgerId([0xac; 16])), ..IDENTITY };
            prop_assert_eq!(other.read(&bytes), Err(KEY));
            let older = Identity { ledger: None, ..IDENTITY };
            prop_assert!(older.read(&bytes).is_err());
            let flip_at = flip_at.index(bytes.len());
            bytes[flip_at] ^= flip;
            prop_assert!(IDENTITY.read(&bytes).is_err());
        }
    }

    #[test]
    fn the_header_round_trips_and_says_what_is_owed() {
        for ledger in [IDENTITY.ledger, None] {
            let identity = Identity { ledger, ..IDENTITY };
            let line = identity.to_line();
            assert!(line.len() <= LINE_BYTES_MAX);
            assert_eq!(line.contains("owed=each user's last balance"), ledger.is_some());
            let line = line.strip_suffix('\n').expect("its end");
            assert_eq!(Identity::from_line(line.as_bytes()), Ok(identity));
        }
        let line = IDENTITY.to_line();
        let (content, _) = line.rsplit_once(',').expect("a checksum");
        for (from, to, told) in [
            ("shake-settlement-2", "shake-settlement-3", "version"),
            ("owed=each", "owed=every", "make no sense"),
            ("ledger=ab", "ledger=AB", "make no sense"),
        ] {
            let mut other = content.replace(from, to);
            seal(&mut other, 0);
            let error = Identity::from_line(other.trim_end().as_bytes()).expect_err(to);
            assert!(error.contains(told), "{error}");
        }
        let stranger = Identity::from_line(b"user,cents").expect_err("no header");
        assert!(stranger.contains("not a settlement file"));
    }

    #[test]
    fn lines_of_version_1_are_read() {
        let identity = Identity {
            ledger: None,
            event: 7,
            part: 0,
            parts: 1,
            records_crc: 0x4d,
            begun_ms: 1000,
        };
        let mut text = "2,7-0-0000004d-1000-2,18446744073709551614,2,gift,6,1002".to_owned();
        seal(&mut text, 0);
        let line = identity
            .read(text.trim_end().as_bytes())
            .expect("as version 1 wrote it");
        assert_eq!((line.seq, line.user, line.cents), (2, UserId(u64::MAX - 1), 2));
        assert_eq!((line.kind, line.packet, line.number), (LineKind::Gift, PacketId(6), 0));
    }
}
