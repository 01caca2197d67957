//! The manifest of a fleet's seed: what each file holds, and a code that only a holder of the ticket keys can make.
//!
//! ```text
//! { "fleet": {                                  what is authenticated, keys in this order
//!     "format": "shake-seed-manifest-1",
//!     "event": 7, "budget_cents": …, "packets": …, "split_packets": …,
//!     "sponsors": [ { "sponsor": 1, "packets": …, "cents": … }, … ],        of all files, by number
//!     "files": [ { "name": "seed-0.bin", "part": 0, "packets": …, "split_packets": …, "cents": …,
//!                  "sha256": 64 hex digits of the whole file, "records_crc": 8 hex digits of the header,
//!                  "sponsors": [ … ] }, … ] },
//!   "authentication": { "key_id": 3, "hmac_sha256": 64 hex digits }  or null }
//! ```
//! The code is HMAC-SHA-256 (RFC 2104) over the bytes of `jq -cj .fleet manifest.json`: the value without any white space.
//! Its key is HMAC-SHA-256 of the label `shake seed manifest v1` under the ticket key `key_id`, so it needs no key file of
//! its own, and nothing made with it can pass for a ticket.

use crate::seed_draw::Request;
use crate::seed_file::Tally;
use crate::seed_generate::Made;
use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use ring::hmac;
use serde::{Deserialize, Serialize};
use shake_rules::SponsorId;
use shake_rules::keys::KeyRing;
use std::collections::BTreeMap;
use std::fmt;

/// The format that this program writes and reads.
pub const FORMAT: &str = "shake-seed-manifest-1";
const LABEL: &[u8] = b"shake seed manifest v1";

/// The manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// What it says.
    pub fleet: Fleet,
    /// Who says it; `None` when it was made without keys.
    pub authentication: Option<Authentication>,
}

/// The seed of a fleet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fleet {
    /// [`FORMAT`].
    pub format: String,
    /// The event.
    pub event: u32,
    /// Sum of all packets.
    pub budget_cents: u64,
    /// Number of all packets.
    pub packets: u64,
    /// How many of them are split packets.
    pub split_packets: u64,
    /// Sums per sponsor, by number.
    pub sponsors: Vec<SponsorSum>,
    /// The files, by part.
    pub files: Vec<FilePart>,
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FilePart {
    /// Its name in the manifest's directory.
    pub name: String,
    /// Its part.
    pub part: u16,
    /// Packets in it.
    pub packets: u64,
    /// How many of them are split packets.
    pub split_packets: u64,
    /// Their sum.
    pub cents: u64,
    /// SHA-256 of the whole file, in hex.
    pub sha256: String,
    /// The header's checksum of the records, in hex.
    pub records_crc: String,
    /// Sums per sponsor, by number.
    pub sponsors: Vec<SponsorSum>,
}

/// A sponsor's part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SponsorSum {
    /// The sponsor's number.
    pub sponsor: u16,
    /// How many packets.
    pub packets: u64,
    /// Their sum.
    pub cents: u64,
}

/// The code over [`Manifest::fleet`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Authentication {
    /// The ticket key that its key is derived from.
    pub key_id: u8,
    /// The code, in hex.
    pub hmac_sha256: String,
}

impl Manifest {
    /// The manifest of a fleet; authenticated when there are keys.
    #[must_use]
    pub fn new(fleet: Fleet, keys: Option<&ManifestKeys>) -> Self {
        let authentication = keys.map(|keys| keys.sign(&fleet));
        Self { fleet, authentication }
    }

    /// The file's text.
    #[must_use]
    pub fn to_text(&self) -> String {
        serde_json::to_string_pretty(self).expect("numbers and strings always serialize") + "\n"
    }
}

impl Fleet {
    /// What these files hold together.
    pub(super) fn of<'a>(request: &Request, files: impl Iterator<Item = &'a Made>) -> Self {
        let mut sponsors: BTreeMap<SponsorId, Tally> = BTreeMap::new();
        let files: Vec<FilePart> = files
            .map(|made| {
                for (&sponsor, &tally) in &made.sponsors {
                    sponsors.entry(sponsor).or_default().merge(tally);
                }
                FilePart {
                    name: super::file_name(made.header.part),
                    part: made.header.part,
                    packets: made.header.count,
                    split_packets: made.split_packets,
                    cents: made.header.total.0,
                    sha256: HEXLOWER.encode(&made.sha256),
                    records_crc: format!("{:08x}", made.header.records_crc),
                    sponsors: sums(&made.sponsors),
                }
            })
            .collect();
        Self {
            format: FORMAT.to_owned(),
            event: request.event.0,
            budget_cents: request.budget.0,
            packets: request.count,
            split_packets: files.iter().map(|file| file.split_packets).sum(),
            sponsors: sums(&sponsors),
            files,
        }
    }

    /// The bytes that are authenticated.
    fn bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("numbers and strings always serialize")
    }
}

/// Sums per sponsor, as a manifest has them.
pub(super) fn sums(sponsors: &BTreeMap<SponsorId, Tally>) -> Vec<SponsorSum> {
    let sum = |(sponsor, tally): (&SponsorId, &Tally)| SponsorSum {
        sponsor: sponsor.0,
        packets: tally.packets,
        cents: tally.cents,
    };
    sponsors.iter().map(sum).collect()
}

/// What is known of a manifest's origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// A holder of this ticket key made it.
    Authentic {
        /// The key.
        key_id: u8,
    },
    /// It carries a code, and there were no keys to check it with.
    NotChecked,
    /// It carries no code.
    NotAuthenticated,
    /// It carries the code of a key that is not in the ring.
    UnknownKey {
        /// The key.
        key_id: u8,
    },
    /// Its code is wrong: it was altered, or made by somebody else.
    Forged,
}

/// Whether an origin is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Proof {
    /// A holder of the ticket keys made the manifest.
    Proved,
    /// Nobody can tell any more, or was asked. That is no difference: keys are retired in time.
    Unknown,
    /// It was altered, made by somebody else, or stripped of its code.
    False,
}

impl Origin {
    /// What it comes to, for whoever gave keys to check it with, or none.
    #[must_use]
    pub fn proof(self, with_keys: bool) -> Proof {
        match self {
            Self::Authentic { .. } => Proof::Proved,
            Self::Forged => Proof::False,
            Self::NotAuthenticated if with_keys => Proof::False,
            Self::NotAuthenticated | Self::NotChecked | Self::UnknownKey { .. } => Proof::Unknown,
        }
    }
}

/// The first thing that is said of a seed.
impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Proved => "origin proved",
            Self::Unknown => "origin UNKNOWN",
            Self::False => "origin FALSE",
        })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Authentic { key_id } => write!(f, "authentic (ticket key {key_id})"),
            Self::NotChecked => f.write_str("not checked (give --certs to check it)"),
            Self::NotAuthenticated => f.write_str("not authenticated (it was made without --certs)"),
            Self::UnknownKey { key_id } => write!(
                f,
                "of ticket key {key_id}, which is not in the key file: it was retired, or never was there"
            ),
            Self::Forged => f.write_str("altered, or not made with these ticket keys"),
        }
    }
}

/// The manifest keys, derived once from the ticket keys.
pub struct ManifestKeys {
    active: u8,
    keys: Vec<(u8, hmac::Key)>,
}

impl fmt::Debug for ManifestKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ManifestKeys(active {})", self.active)
    }
}

impl ManifestKeys {
    /// Derives the manifest keys of a ticket key ring.
    #[must_use]
    pub fn new(ticket_keys: &KeyRing) -> Self {
        let derive = |secret: &[u8; 32]| {
            let derived = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), LABEL);
            hmac::Key::new(hmac::HMAC_SHA256, derived.as_ref())
        };
        Self {
            active: ticket_keys.active().id,
            keys: ticket_keys.iter().map(|key| (key.id, derive(key.secret()))).collect(),
        }
    }

    fn sign(&self, fleet: &Fleet) -> Authentication {
        let key = self.key(self.active).expect("the active key is one of the ring's");
        Authentication {
            key_id: self.active,
            hmac_sha256: HEXLOWER.encode(hmac::sign(key, &fleet.bytes()).as_ref()),
        }
    }

    /// Checks a manifest's code.
    #[must_use]
    pub fn check(&self, manifest: &Manifest) -> Origin {
        let Some(Authentication { key_id, hmac_sha256 }) = &manifest.authentication else {
            return Origin::NotAuthenticated;
        };
        let key_id = *key_id;
        let Some(key) = self.key(key_id) else {
            return Origin::UnknownKey { key_id };
        };
        let code = HEXLOWER_PERMISSIVE.decode(hmac_sha256.as_bytes()).unwrap_or_default();
        match hmac::verify(key, &manifest.fleet.bytes(), &code) {
            Ok(()) => Origin::Authentic { key_id },
            Err(_) => Origin::Forged,
        }
    }

    fn key(&self, id: u8) -> Option<&hmac::Key> {
        self.keys.iter().find(|(key_id, _)| *key_id == id).map(|(_, key)| key)
    }
}
