//! Secret keys: 32 bytes each, named by a one-byte key id, kept in a key file per purpose.
//!
//! A [`KeyRing`] makes with its active key and checks with any. Keys rotate in three steps, each of which reaches every
//! holder of the keys before the next begins, so that nothing is ever made that another holder does not accept:
//!
//! | step | keys | makes | checks |
//! |---|---|---|---|
//! | add ([`KeyRing::with_waiting`]) | 1, 2 waits | 1 | 1, 2 |
//! | activate ([`KeyRing::activated`]) | 1, 2 | 2 | 1, 2 |
//! | retire ([`KeyRing::retired`]), once nothing made with 1 is valid any more | 2 | 2 | 2 |
//!
//! Secrets never reach `Debug` or a log.

mod tag;

pub use tag::KeyTag;

use crate::UnixMillis;
use crate::document::{self, Kind, Problems};
use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use enum_map::Enum;
use serde::Deserialize;
use std::fmt;
use strum::{EnumString, IntoStaticStr, VariantArray};
use thiserror::Error;
use toml::Spanned;

/// The most keys of one purpose. A ring is looked through for each check.
pub const KEYS_MAX: usize = 16;

/// What a key is for. The name of its file is [`Purpose::file_name`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Enum, EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "kebab-case")]
pub enum Purpose {
    /// Signs user tokens. The account service, the gateway and the simulator hold it.
    UserToken,
    /// Seals tickets. The gateway and the agent hold it.
    Ticket,
    /// Seals limit cookies. The gateway and the agent hold it.
    Cookie,
    /// Derives QUIC stateless reset tokens (RFC 9000, section 10.3). The gateway holds it.
    StatelessReset,
}

impl Purpose {
    /// The key file's name in a certificate directory.
    #[must_use]
    pub fn file_name(self) -> &'static str {
        match self {
            Self::UserToken => "user-token.key.toml",
            Self::Ticket => "ticket.key.toml",
            Self::Cookie => "cookie.key.toml",
            Self::StatelessReset => "stateless-reset.key.toml",
        }
    }

    /// The purpose as the key file names it.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// One secret key. `Debug` shows its id only.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    /// Travels in the clear with whatever the key made, so that the right key is found again.
    pub id: u8,
    secret: [u8; 32],
}

impl Key {
    /// A key from its id and 32 random bytes.
    #[must_use]
    pub fn new(id: u8, secret: [u8; 32]) -> Self {
        Self { id, secret }
    }

    /// The 32 bytes.
    #[must_use]
    pub fn secret(&self) -> &[u8; 32] {
        &self.secret
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.id)
    }
}

/// The keys of one purpose, oldest first. All of them check; the active one makes; those after it wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRing {
    keys: Vec<Key>,
    /// Index of the active key.
    active: usize,
    makes_since: Option<UnixMillis>,
}

/// Why a step of a rotation cannot be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RotationError {
    /// A key waits already.
    #[error("key {0} waits already; activate it first")]
    Waits(u8),
    /// No key waits.
    #[error("no key waits; add one first")]
    NoneWaits,
    /// The ring has [`KEYS_MAX`] keys.
    #[error("there are {KEYS_MAX} keys already; retire old ones first")]
    Full,
}

impl KeyRing {
    /// A ring of one key.
    #[must_use]
    pub fn of(key: Key) -> Self {
        Self {
            keys: vec![key],
            active: 0,
            makes_since: None,
        }
    }

    /// The key that makes new things.
    #[must_use]
    pub fn active(&self) -> &Key {
        &self.keys[self.active]
    }

    /// The key that is to be active next.
    #[must_use]
    pub fn waiting(&self) -> Option<&Key> {
        self.keys.get(self.active + 1)
    }

    /// The ring with a new key that waits. Its id is the next that none of the others has.
    ///
    /// # Errors
    /// [`RotationError::Waits`] or [`RotationError::Full`].
    pub fn with_waiting(&self, secret: [u8; 32]) -> Result<Self, RotationError> {
        if let Some(key) = self.waiting() {
            return Err(RotationError::Waits(key.id));
        }
        if self.keys.len() >= KEYS_MAX {
            return Err(RotationError::Full);
        }
        let last = self.active().id;
        let id = (1..=u8::MAX)
            .map(|step| last.wrapping_add(step))
            .find(|&id| id != 0 && self.find(id).is_none())
            .expect("fewer keys than ids: KEYS_MAX is below 255");
        let mut keys = self.keys.clone();
        keys.push(Key::new(id, secret));
        Ok(Self {
            keys,
            active: self.active,
            makes_since: self.makes_since,
        })
    }

    /// The ring with the waiting key active.
    ///
    /// # Errors
    /// [`RotationError::NoneWaits`].
    pub fn activated(&self) -> Result<Self, RotationError> {
        self.waiting().ok_or(RotationError::NoneWaits)?;
        Ok(Self {
            keys: self.keys.clone(),
            active: self.active + 1,
            makes_since: None,
        })
    }

    /// The ring with the moment noted at which its active key was made so.
    #[must_use]
    pub fn making_since(self, now: UnixMillis) -> Self {
        let makes_since = Some(now);
        Self { makes_since, ..self }
    }

    /// When the active key was made so; nobody knows of the first one. Older keys made nothing since every holder read it.
    #[must_use]
    pub fn makes_since(&self) -> Option<UnixMillis> {
        self.makes_since
    }

    /// The ring with at most `kept` keys older than the active one; the oldest go. What they made is refused from then on.
    #[must_use]
    pub fn retired(&self, kept: usize) -> Self {
        let gone = self.active.saturating_sub(kept);
        Self {
            keys: self.keys[gone..].to_vec(),
            active: self.active - gone,
            makes_since: self.makes_since,
        }
    }

    /// The key with this id.
    #[must_use]
    pub fn find(&self, id: u8) -> Option<&Key> {
        self.keys.iter().find(|key| key.id == id)
    }

    /// All keys, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Key> {
        self.keys.iter()
    }

    /// Reads a key file.
    ///
    /// # Errors
    /// Every problem with its line: unknown keys, another purpose, no key at all, an id twice, a secret that is
    /// not 64 hex digits. Messages never show a secret.
    pub fn parse(text: &str, purpose: Purpose) -> Result<Self, Problems> {
        let (file, mut problems) = document::parse::<KeyFile>(text);
        if let Some(found) = &file.purpose
            && found.as_ref() != purpose.name()
        {
            let message = format!(
                "purpose is {:?}, and this must be a {:?} key file",
                found.as_ref(),
                purpose.name()
            );
            problems.add(text, found.span(), message);
        }
        let mut keys: Vec<Key> = Vec::new();
        let mut active = None;
        for entry in &file.key {
            let line = entry.span();
            let entry = entry.as_ref();
            match (entry.waits, active) {
                (false, Some(before)) if before + 1 < keys.len() => problems.add(
                    text,
                    line.clone(),
                    format!(
                        "key {} does not wait and stands behind one that does; keys that wait come last",
                        entry.id
                    ),
                ),
                (false, _) => active = Some(keys.len()),
                (true, _) => {}
            }
            let secret = HEXLOWER_PERMISSIVE.decode(entry.secret.as_bytes()).ok();
            let secret = secret.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
            match secret {
                Some(_) if keys.iter().any(|key| key.id == entry.id) => {
                    problems.add(
                        text,
                        line,
                        format!("key id {} stands twice; give each key its own", entry.id),
                    );
                }
                Some(secret) => keys.push(Key::new(entry.id, secret)),
                None => problems.add(
                    text,
                    line,
                    format!("the secret of key {} must be 64 hex digits", entry.id),
                ),
            }
        }
        if problems.0.is_empty() {
            if keys.is_empty() {
                problems.add_whole(
                    "no [[key]] in the file; bring it back from a copy: what its keys made is refused without them",
                );
            } else if active.is_none() {
                problems.add_whole("every key waits; activate one with `certs rotate --activate`");
            } else if keys.len() > KEYS_MAX {
                problems.add_whole(format!(
                    "{} keys, and {KEYS_MAX} may be; remove the oldest, once nothing that they made is valid",
                    keys.len()
                ));
            }
        }
        let active = active.unwrap_or(0);
        problems.of(text, Kind::Keys).or_value(Self {
            keys,
            active,
            makes_since: file.makes_since_ms.map(UnixMillis),
        })
    }

    /// The key file's text, as [`KeyRing::parse`] reads it. Holds the secrets: write it with mode 0600.
    #[must_use]
    pub fn to_file(&self, purpose: Purpose) -> String {
        let mut text = format!(
            "# Secret {} keys, oldest first; all check, and the last that does not wait makes. Keep mode 0600.\n\
             purpose = \"{}\"\n",
            purpose.name(),
            purpose.name()
        );
        if let Some(UnixMillis(ms)) = self.makes_since {
            text.push_str(&format!("makes_since_ms = {ms}\n"));
        }
        for (index, key) in self.keys.iter().enumerate() {
            let secret = HEXLOWER.encode(&key.secret);
            text.push_str(&format!("\n[[key]]\nid = {}\nsecret = \"{secret}\"\n", key.id));
            if index > self.active {
                text.push_str("waits = true\n");
            }
        }
        text
    }
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct KeyFile {
    purpose: Option<Spanned<String>>,
    makes_since_ms: Option<u64>,
    key: Vec<Spanned<KeyEntry>>,
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct KeyEntry {
    id: u8,
    secret: String,
    /// It checks, and does not make yet.
    waits: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_round_trip_and_rotation() {
        let first = KeyRing::of(Key::new(1, [7; 32]));
        let added = first.with_waiting([9; 32]).expect("none waits");
        let activated = added.activated().expect("one waits").making_since(UnixMillis(9));
        let retired = activated.retired(0);
        for (ring, ids, active, waiting) in [
            (&first, &[1][..], 1, None),
            (&added, &[1, 2], 1, Some(2)),
            (&activated, &[1, 2], 2, None),
            (&activated.retired(1), &[1, 2], 2, None),
            (&added.retired(0), &[1, 2], 1, Some(2)),
            (&retired, &[2], 2, None),
        ] {
            let text = ring.to_file(Purpose::Ticket);
            let read = KeyRing::parse(&text, Purpose::Ticket).expect("its own file");
            assert_eq!(read, *ring);
            assert_eq!(read.iter().map(|key| key.id).collect::<Vec<_>>(), ids);
            assert_eq!((read.active().id, read.waiting().map(|key| key.id)), (active, waiting));
            assert!(ids.iter().all(|&id| read.find(id).is_some()) && read.find(3).is_none());
            assert!(KeyRing::parse(&text, Purpose::Cookie).is_err());
        }
        assert_eq!(retired.makes_since(), Some(UnixMillis(9)));
        assert_eq!(added.with_waiting([1; 32]), Err(RotationError::Waits(2)));
        assert_eq!(first.activated(), Err(RotationError::NoneWaits));
        let mut ring = KeyRing::of(Key::new(254, [1; 32]));
        for id in [255, 1, 2] {
            ring = ring
                .with_waiting([id; 32])
                .and_then(|ring| ring.activated())
                .expect("room");
            assert_eq!(ring.active().id, id, "0 is passed over");
        }
        while ring.iter().count() < KEYS_MAX {
            ring = ring
                .with_waiting([3; 32])
                .and_then(|ring| ring.activated())
                .expect("room");
        }
        assert_eq!(ring.with_waiting([3; 32]), Err(RotationError::Full));
    }

    #[test]
    fn a_waiting_key_stands_last_and_never_alone() {
        let key = |id: u8, waits: bool| {
            format!(
                "[[key]]\nid = {id}\nsecret = \"{}\"\nwaits = {waits}\n",
                "ab".repeat(32)
            )
        };
        let parse = |text: String| KeyRing::parse(&format!("purpose = \"cookie\"\n{text}"), Purpose::Cookie);
        assert!(parse(key(1, false) + &key(2, true)).is_ok());
        assert!(parse(key(1, true)).is_err());
        let problems = parse(key(1, false) + &key(2, true) + &key(3, false)).expect_err("in the middle");
        assert_eq!(problems.0[0].line, 10, "{problems}");
    }

    #[test]
    fn problems_never_show_a_secret() {
        let secret = "ab".repeat(31);
        let text = format!("purpose = \"ticket\"\n[[key]]\nid = 1\nsecret = \"{secret}\"\n");
        let problems = KeyRing::parse(&text, Purpose::Ticket).expect_err("too short");
        assert!(!problems.to_string().contains(&secret[..8]), "{problems}");
        assert!(!format!("{:?}", Key::new(1, [0xab; 32])).contains("ab"));
        assert!(KeyRing::parse("", Purpose::Ticket).is_err());
    }
}
