//! The envelope of tickets and cookies: AES-256-GCM (NIST SP 800-38D) with the key's id in the clear.
//!
//! ```text
//!  0      1        2          14                    14+n       30+n
//!  ├──────┼────────┼──────────┼─────────────────────┼──────────┤
//!  │ kind │ key id │ nonce    │ ciphertext, n bytes │ tag      │
//!  └──────┴────────┴──────────┴─────────────────────┴──────────┘
//!    authenticated   12 bytes                          16 bytes
//! ```
//!
//! Nonces are drawn at random by the caller. With 96 bits, one key may seal 2^32 envelopes before the chance of
//! a repeat passes 2^-32 (section 8.3); an event makes some millions.

use crate::keys::KeyRing;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use std::fmt;

/// Bytes that an envelope adds to its content.
pub(crate) const OVERHEAD: usize = HEADER + NONCE + TAG;
const HEADER: usize = 2;
const NONCE: usize = 12;
const TAG: usize = 16;

/// 12 random bytes, never used twice with one key.
pub type NonceBytes = [u8; NONCE];

/// A key ring's keys, expanded once.
pub(crate) struct Sealer {
    kind: u8,
    active: u8,
    keys: Vec<(u8, LessSafeKey)>,
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
        }
    }

    /// Writes the envelope of `content` into `out`, which is cleared first.
    pub(crate) fn seal(&self, nonce: NonceBytes, content: &[u8], out: &mut Vec<u8>) {
        let header = [self.kind, self.active];
        let key = self.key(self.active).expect("the active key is one of the ring's");
        out.clear();
        out.reserve(content.len() + OVERHEAD);
        out.extend_from_slice(&header);
        out.extend_from_slice(&nonce);
        out.extend_from_slice(content);
        let tag = key
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(header),
                &mut out[HEADER + NONCE..],
            )
            .expect("AES-GCM seals up to 64 GiB, and contents are some bytes");
        out.extend_from_slice(tag.as_ref());
    }

    /// The content, or `None` when the envelope is not one that these keys made.
    pub(crate) fn open<const N: usize>(&self, sealed: &[u8]) -> Option<Opened<N>> {
        let content_len = sealed.len().checked_sub(OVERHEAD)?;
        if content_len > N || sealed[0] != self.kind {
            return None;
        }
        let key = self.key(sealed[1])?;
        let nonce = NonceBytes::try_from(&sealed[HEADER..HEADER + NONCE]).ok()?;
        // N content bytes and the tag; 256 holds every envelope of this crate.
        let mut work = [0_u8; 256];
        let body = work.get_mut(..content_len + TAG)?;
        body.copy_from_slice(&sealed[HEADER + NONCE..]);
        let header = [sealed[0], sealed[1]];
        let content = key
            .open_in_place(Nonce::assume_unique_for_key(nonce), Aad::from(header), body)
            .ok()?;
        let mut bytes = [0_u8; N];
        bytes[..content_len].copy_from_slice(content);
        Some(Opened {
            bytes,
            len: content_len,
        })
    }

    /// Whether there is a key of this id.
    pub(crate) fn has(&self, id: u8) -> bool {
        self.key(id).is_some()
    }

    fn key(&self, id: u8) -> Option<&LessSafeKey> {
        self.keys.iter().find(|(key_id, _)| *key_id == id).map(|(_, key)| key)
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
