//! Secret keys: 32 bytes each, named by a one-byte key id, kept in a key file per purpose.
//!
//! A [`KeyRing`] makes with its newest key and checks with any, so keys rotate without a pause: add a new key,
//! and retire the old one once nothing made with it is valid any more. Secrets never reach `Debug` or a log.

use crate::document::{self, Problems};
use crate::hex;
use serde::Deserialize;
use std::fmt;
use toml::Spanned;

/// What a key is for. The name of its file is [`Purpose::file_name`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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
    /// All purposes.
    pub const ALL: [Self; 4] = [Self::UserToken, Self::Ticket, Self::Cookie, Self::StatelessReset];

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
        match self {
            Self::UserToken => "user-token",
            Self::Ticket => "ticket",
            Self::Cookie => "cookie",
            Self::StatelessReset => "stateless-reset",
        }
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

/// The keys of one purpose, oldest first; the last one makes, all of them check.
#[derive(Clone, Debug)]
pub struct KeyRing {
    keys: Vec<Key>,
}

impl KeyRing {
    /// A ring of one key.
    #[must_use]
    pub fn of(key: Key) -> Self {
        Self { keys: vec![key] }
    }

    /// The key that makes new things.
    #[must_use]
    pub fn newest(&self) -> &Key {
        self.keys
            .last()
            .expect("a KeyRing is never empty: `parse` and `of` see to it")
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
        for entry in &file.key {
            let line = entry.span();
            let entry = entry.as_ref();
            let secret = hex::decode(&entry.secret).and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
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
        if keys.is_empty() && problems.0.is_empty() {
            problems.add_whole("no [[key]] in the file; make one with `certs generate`");
        }
        problems.or_value(Self { keys })
    }

    /// The key file's text, as [`KeyRing::parse`] reads it. Holds the secrets: write it with mode 0600.
    #[must_use]
    pub fn to_file(&self, purpose: Purpose) -> String {
        let mut text = format!(
            "# Secret {} keys, oldest first; the last makes, all check. Keep mode 0600.\npurpose = \"{}\"\n",
            purpose.name(),
            purpose.name()
        );
        for key in &self.keys {
            text.push_str(&format!(
                "\n[[key]]\nid = {}\nsecret = \"{}\"\n",
                key.id,
                hex::encode(&key.secret)
            ));
        }
        text
    }
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct KeyFile {
    purpose: Option<Spanned<String>>,
    key: Vec<Spanned<KeyEntry>>,
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct KeyEntry {
    id: u8,
    secret: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_round_trip_and_rotation() {
        let ring = KeyRing {
            keys: vec![Key::new(1, [7; 32]), Key::new(2, [9; 32])],
        };
        let text = ring.to_file(Purpose::Ticket);
        let read = KeyRing::parse(&text, Purpose::Ticket).expect("its own file");
        assert_eq!(read.keys, ring.keys);
        assert_eq!(read.newest().id, 2);
        assert!(read.find(1).is_some() && read.find(3).is_none());
        assert!(KeyRing::parse(&text, Purpose::Cookie).is_err());
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
