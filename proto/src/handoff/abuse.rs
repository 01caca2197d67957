//! The records of the event and block rings: what was seen of users, and whom not to serve. Checked on the way in. Losing
//! any of them costs no money.

use super::record::{BadRecord, put};
use super::v1;
use bytes::{Buf, BufMut};
use enum_map::Enum;
use prost::Message;
use shake_rules::prefix::Prefix;
use shake_rules::{DeviceId, UnixMillis, UserId};
use std::fmt;
use strum::{EnumString, IntoStaticStr, VariantArray};

/// Shard to agent: what was seen since the last such record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Of a session that has said Hello.
    Conduct(Conduct),
    /// Of connections that have not.
    Strangers(Strangers),
}

/// What a session did since its last record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conduct {
    /// The authenticated user.
    pub user: UserId,
    /// The app's installation, if it named one.
    pub device: Option<DeviceId>,
    /// Where its packets came from last.
    pub prefix: Prefix,
    /// It has just said Hello.
    pub opened: bool,
    /// How often what.
    pub counts: Counts,
}

/// What is counted of a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Shakes that got an outcome.
    pub shakes: u32,
    /// Shakes over the user's limit that proved to be the user's.
    pub refused: u32,
    /// Packets won.
    pub wins: u32,
    /// Requests to the ledger, claims among them.
    pub requests: u32,
    /// Tickets, cookies and codes that are not authentic.
    pub forged: u32,
    /// Authentic tickets of other users.
    pub foreign: u32,
    /// What is no message of the contract.
    pub malformed: u32,
    /// Moves to another address.
    pub moves: u32,
}

/// What connections of a prefix did without a Hello.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Strangers {
    /// Whose.
    pub prefix: Prefix,
    /// Forged tokens, and what is no message or comes before Hello.
    pub failures: u32,
    /// Connections that ended without a Hello.
    pub silent: u32,
}

/// Who is blocked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// Of every session of the user.
    User(UserId),
    /// Every session that names the device.
    Device(DeviceId),
    /// New connections from the addresses.
    Prefix(Prefix),
}

impl Subject {
    /// What kind of subject it is: the word before its number.
    #[must_use]
    pub fn kind(self) -> &'static str {
        match self {
            Self::User(_) => "user",
            Self::Device(_) => "device",
            Self::Prefix(_) => "prefix",
        }
    }

    /// Reads the two words that [`fmt::Display`] writes.
    #[must_use]
    pub fn parse(kind: &str, name: &str) -> Option<Self> {
        match kind {
            "user" => name.parse().ok().map(UserId).map(Self::User),
            "device" => u64::from_str_radix(name, 16)
                .ok()
                .and_then(DeviceId::from_wire)
                .map(Self::Device),
            "prefix" => Prefix::parse(name).map(Self::Prefix),
            _ => None,
        }
    }

    /// Its name without the kind.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Self::User(user) => user.to_string(),
            Self::Device(device) => format!("{:016x}", device.0),
            Self::Prefix(prefix) => prefix.to_string(),
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind(), self.name())
    }
}

/// The rules that somebody may break. What each means in figures stands in `agent.toml`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Enum, EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Rule {
    /// Shakes on and on after being told to slow down.
    Flood,
    /// Asks the ledger far too often.
    Requests,
    /// Shows forged tickets, cookies or codes.
    Forgery,
    /// Shows others' tickets.
    Theft,
    /// Sends what is no message.
    Malformed,
    /// Connects over and over.
    Churn,
    /// Moves its sessions from address to address.
    Moves,
    /// Many users on one device.
    Farm,
    /// More wins on one device than its users could have in good faith.
    Harvest,
    /// A prefix of connections that never say a good Hello.
    Strangers,
}

impl Rule {
    /// The name in configuration, metrics, logs and lists.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }

    fn to_wire(self) -> v1::Rule {
        match self {
            Self::Flood => v1::Rule::Flood,
            Self::Requests => v1::Rule::Requests,
            Self::Forgery => v1::Rule::Forgery,
            Self::Theft => v1::Rule::Theft,
            Self::Malformed => v1::Rule::Malformed,
            Self::Churn => v1::Rule::Churn,
            Self::Moves => v1::Rule::Moves,
            Self::Farm => v1::Rule::Farm,
            Self::Harvest => v1::Rule::Harvest,
            Self::Strangers => v1::Rule::Strangers,
        }
    }

    fn from_wire(number: i32) -> Option<Self> {
        let mut all = Self::VARIANTS.iter().copied();
        all.find(|rule| rule.to_wire() as i32 == number)
    }
}

/// Agent to shard: whom not to serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// Who.
    pub subject: Subject,
    /// Until when; 0 when the block is lifted.
    pub until: UnixMillis,
    /// Why.
    pub rule: Rule,
}

impl Event {
    /// Appends the record's bytes.
    pub fn encode(&self, out: &mut impl BufMut) {
        use v1::event::Kind;
        let kind = match self {
            Self::Conduct(conduct) => Kind::Conduct(conduct.to_wire()),
            Self::Strangers(strangers) => Kind::Strangers(v1::Strangers {
                prefix: strangers.prefix.number(),
                failures: strangers.failures,
                silent: strangers.silent,
            }),
        };
        put(&v1::Event { kind: Some(kind) }, out);
    }

    /// Reads a record.
    ///
    /// # Errors
    /// [`BadRecord`].
    pub fn decode(bytes: impl Buf) -> Result<Self, BadRecord> {
        use v1::event::Kind;
        let event = v1::Event::decode(bytes).map_err(|_| BadRecord)?;
        Ok(match event.kind.ok_or(BadRecord)? {
            Kind::Conduct(conduct) => Self::Conduct(Conduct::from_wire(&conduct)?),
            Kind::Strangers(strangers) => Self::Strangers(Strangers {
                prefix: Prefix::from_number(strangers.prefix).ok_or(BadRecord)?,
                failures: strangers.failures,
                silent: strangers.silent,
            }),
        })
    }
}

impl Conduct {
    fn to_wire(self) -> v1::Conduct {
        let counts = self.counts;
        v1::Conduct {
            user_id: self.user.0,
            device: DeviceId::to_wire(self.device),
            prefix: self.prefix.number(),
            opened: self.opened,
            shakes: counts.shakes,
            refused: counts.refused,
            wins: counts.wins,
            requests: counts.requests,
            forged: counts.forged,
            foreign: counts.foreign,
            malformed: counts.malformed,
            moves: counts.moves,
        }
    }

    fn from_wire(wire: &v1::Conduct) -> Result<Self, BadRecord> {
        Ok(Self {
            user: UserId(wire.user_id),
            device: DeviceId::from_wire(wire.device),
            prefix: Prefix::from_number(wire.prefix).ok_or(BadRecord)?,
            opened: wire.opened,
            counts: Counts {
                shakes: wire.shakes,
                refused: wire.refused,
                wins: wire.wins,
                requests: wire.requests,
                forged: wire.forged,
                foreign: wire.foreign,
                malformed: wire.malformed,
                moves: wire.moves,
            },
        })
    }
}

impl Block {
    /// Appends the record's bytes.
    pub fn encode(&self, out: &mut impl BufMut) {
        use v1::block::Subject as Wire;
        let subject = match self.subject {
            Subject::User(user) => Wire::UserId(user.0),
            Subject::Device(device) => Wire::Device(device.0),
            Subject::Prefix(prefix) => Wire::Prefix(prefix.number()),
        };
        let block = v1::Block {
            subject: Some(subject),
            until_ms: self.until.0,
            rule: self.rule.to_wire() as i32,
        };
        put(&block, out);
    }

    /// Reads a record.
    ///
    /// # Errors
    /// [`BadRecord`].
    pub fn decode(bytes: impl Buf) -> Result<Self, BadRecord> {
        use v1::block::Subject as Wire;
        let block = v1::Block::decode(bytes).map_err(|_| BadRecord)?;
        Ok(Self {
            subject: match block.subject.ok_or(BadRecord)? {
                Wire::UserId(user) => Subject::User(UserId(user)),
                Wire::Device(device) => Subject::Device(DeviceId::from_wire(device).ok_or(BadRecord)?),
                Wire::Prefix(prefix) => Subject::Prefix(Prefix::from_number(prefix).ok_or(BadRecord)?),
            },
            until: UnixMillis(block.until_ms),
            rule: Rule::from_wire(block.rule).ok_or(BadRecord)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handoff::topology::Ring;
    use proptest::prelude::*;

    const MOST: Counts = Counts {
        shakes: u32::MAX,
        refused: u32::MAX,
        wins: u32::MAX,
        requests: u32::MAX,
        forged: u32::MAX,
        foreign: u32::MAX,
        malformed: u32::MAX,
        moves: u32::MAX,
    };

    fn check_event(event: Event) {
        let mut bytes = Vec::new();
        event.encode(&mut bytes);
        assert!(
            bytes.len() <= Ring::Event.record_bytes_max() as usize,
            "{} bytes",
            bytes.len()
        );
        assert_eq!(Event::decode(&bytes[..]), Ok(event));
    }

    #[test]
    fn the_largest_records_fit_their_slots() {
        let prefix = Prefix::from_number((1 << 56) - 1).expect("the last of IPv6");
        let (user, device) = (UserId(u64::MAX), DeviceId(u64::MAX));
        check_event(Event::Conduct(Conduct {
            user,
            device: Some(device),
            prefix,
            opened: true,
            counts: MOST,
        }));
        check_event(Event::Strangers(Strangers {
            prefix,
            failures: u32::MAX,
            silent: u32::MAX,
        }));
        for subject in [Subject::User(user), Subject::Device(device), Subject::Prefix(prefix)] {
            for &rule in Rule::VARIANTS {
                let block = Block {
                    subject,
                    until: UnixMillis(u64::MAX),
                    rule,
                };
                let mut bytes = Vec::new();
                block.encode(&mut bytes);
                assert!(bytes.len() <= Ring::Block.record_bytes_max() as usize);
                assert_eq!(Block::decode(&bytes[..]), Ok(block));
                assert_eq!(rule.name().parse(), Ok(rule));
            }
            assert_eq!(Subject::parse(subject.kind(), &subject.name()), Some(subject));
        }
        assert_eq!(Subject::parse("device", "0"), None, "no device");
    }

    proptest! {
        #[test]
        fn any_bytes_decode_or_are_bad(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            if let Ok(event) = Event::decode(&bytes[..]) {
                check_event(event);
            }
            let _ = Block::decode(&bytes[..]);
        }
    }
}
