//! The envelope of tickets and cookies: AES-256-GCM (NIST SP 800-38D) with the key's id in the clear.
//!
//! ```text
//!  0      1        2            2+c        14+c                  14+c+n     30+c+n
//!  ├──────┼────────┼────────────┼──────────┼─────────────────────┼──────────┤
//!  │ kind │ key id │ of ledger, │ nonce    │ ciphertext, n bytes │ tag      │
//!  │      │        │ c bytes    │ 12 bytes │                     │ 16 bytes │
//!  └──────┴────────┴────────────┴──────────┴─────────────────────┴──────────┘
//!    authenticated, with all of the ledger's identity
//! ```
//! An envelope that is bound to a ledger has the first c = 4 bytes of its identity in the clear, and authenticates all 16;
//! another has c = 0.
//!
//! Nonces are drawn at random by the caller. With 96 bits, one key may seal 2^32 envelopes before the chance of
//! a repeat passes 2^-32 (section 8.3); an event makes some millions.

use crate::LedgerId;
use crate::keys::{KeyRing, KeyTag};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use std::fmt;

/// Bytes that an envelope adds to its content, when it is bound to no ledger.
pub(crate) const OVERHEAD: usize = HEADER + NONCE + TAG;
const HEADER: usize = 2;
/// The most bytes that are authenticated besides the content.
const BOUND_MAX: usize = HEADER + LedgerId::BYTES;
const NONCE: usize = 12;
const TAG: usize = 16;

/// 12 random bytes, never used twice with one key.
pub type NonceBytes = [u8; NONCE];

/// A key ring's keys, expanded once.
pub(crate) struct Sealer {
    kind: u8,
    active: u8,
    keys: Vec<(u8, LessSafeKey)>,
    tags: Vec<KeyTag>,
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealer(kind {}, active key {})", self.kind, self.active)
    }
}

impl Sealer {
    pub(crate) fn new(kind: u8, ring: &KeyRing) -> Self {
        let expand = |secret: &[u8; 32]| {
            LessSafeKey::new(UnboundKey::new(&AES_256_GCM, secret).expect("AES-256-GCM takes 32 bytes"))
        };
        Self {
            kind,
            active: ring.active().id,
            keys: ring.iter().map(|key| (key.id, expand(key.secret()))).collect(),
            tags: ring.iter().map(KeyTag::of).collect(),
        }
    }

    /// The tags of all keys.
    pub(crate) fn tags(&self) -> &[KeyTag] {
        &self.tags
    }

    /// The key that seals.
    pub(crate) fn maker(&self) -> KeyTag {
        self.tag(self.active).expect("the active key is one of the ring's")
    }

    /// The key of an envelope that was opened.
    pub(crate) fn maker_of(&self, sealed: &[u8]) -> Option<KeyTag> {
        self.tag(*sealed.get(1)?)
    }

    fn tag(&self, id: u8) -> Option<KeyTag> {
        self.tags.iter().find(|tag| tag.id() == id).copied()
    }

    /// Writes the envelope of `content` into `out`, which is cleared first.
    pub(crate) fn seal(&self, ledger: Option<&LedgerId>, nonce: NonceBytes, content: &[u8], out: &mut Vec<u8>) {
        let header = [self.kind, self.active];
        let key = self.key(self.active).expect("the active key is one of the ring's");
        let clear = clear_bytes(ledger);
        out.clear();
        out.reserve(content.len() + OVERHEAD + clear);
        out.extend_from_slice(&header);
        out.extend(ledger.iter().flat_map(|ledger| ledger.in_the_clear()));
        out.extend_from_slice(&nonce);
        out.extend_from_slice(content);
        let (bound, bound_len) = authenticated(header, ledger);
        let tag = key
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(&bound[..bound_len]),
                &mut out[HEADER + clear + NONCE..],
            )
            .expect("AES-GCM seals up to 64 GiB, and contents are some bytes");
        out.extend_from_slice(tag.as_ref());
    }

    /// The content, or `None` when the envelope is not one that these keys made for this ledger.
    pub(crate) fn open<const N: usize>(&self, ledger: Option<&LedgerId>, sealed: &[u8]) -> Option<Opened<N>> {
        let clear = clear_bytes(ledger);
        let content_len = sealed.len().checked_sub(OVERHEAD + clear)?;
        let (header, rest) = sealed.split_at(HEADER);
        let (named, rest) = rest.split_at(clear);
        let is_of_ledger = ledger.is_none_or(|ledger| named == ledger.in_the_clear());
        if content_len > N || header[0] != self.kind || !is_of_ledger {
            return None;
        }
        let key = self.key(header[1])?;
        let (nonce, body) = rest.split_at(NONCE);
        let nonce = NonceBytes::try_from(nonce).ok()?;
        // N content bytes and the tag; 256 holds every envelope of this crate.
        let mut work = [0_u8; 256];
        let work = work.get_mut(..content_len + TAG)?;
        work.copy_from_slice(body);
        let (bound, bound_len) = authenticated([header[0], header[1]], ledger);
        let content = key
            .open_in_place(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(&bound[..bound_len]),
                work,
            )
            .ok()?;
        let mut bytes = [0_u8; N];
        bytes[..content_len].copy_from_slice(content);
        Some(Opened {
            bytes,
            len: content_len,
        })
    }

    /// The id of the key that an envelope of this kind names, when these keys have no such.
    pub(crate) fn lacks(&self, sealed: &[u8]) -> Option<u8> {
        let &[kind, id, ..] = sealed else { return None };
        (kind == self.kind && self.key(id).is_none()).then_some(id)
    }

    fn key(&self, id: u8) -> Option<&LessSafeKey> {
        self.keys.iter().find(|(key_id, _)| *key_id == id).map(|(_, key)| key)
    }
}

fn clear_bytes(ledger: Option<&LedgerId>) -> usize {
    ledger.map_or(0, |_| LedgerId::CLEAR_BYTES)
}

/// What is authenticated besides the content, and how many bytes of it count.
fn authenticated(header: [u8; HEADER], ledger: Option<&LedgerId>) -> ([u8; BOUND_MAX], usize) {
    let mut bound = [0; BOUND_MAX];
    bound[..HEADER].copy_from_slice(&header);
    match ledger {
        Some(ledger) => {
            bound[HEADER..].copy_from_slice(&ledger.0);
            (bound, BOUND_MAX)
        }
        None => (bound, HEADER),
    }
}

/// An opened content of at most `N` bytes, without an allocation.
pub(crate) struct Opened<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> std::ops::Deref for Opened<N> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}
