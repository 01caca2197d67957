//! Packet codes: what a user shares with friends so that they can grab. A code names its packet and proves that it was
//! handed out, so a guess is refused without asking the ledger.
//!
//! ```text
//!  0        1               5         13                 24
//!  ├────────┼───────────────┼─────────┼──────────────────┤
//!  │ key id │ of the ledger │ packet  │ HMAC-SHA-256,    │
//!  │        │ 4 bytes       │ u64 LE  │ first 11 bytes   │
//!  └────────┴───────────────┴─────────┴──────────────────┘
//! ```
//! The MAC is over these 13 bytes and the ledger's whole identity, so that a code of a rehearsal opens nothing on the
//! night, though packets are numbered from 1 in each ledger. Its keys are derived from the ticket keys, so codes need no
//! key file of their own. 88 bits are beyond guessing online, and 24 bytes make a short link.

use crate::keys::KeyRing;
use crate::{LedgerId, PacketId};
use ring::hmac;
use std::fmt;
use thiserror::Error;

/// Bytes of a code.
pub const CODE_BYTES: usize = SIGNED + MAC;
/// Bytes of a code as it was before codes named their ledger.
const OLD_CODE_BYTES: usize = 20;
const AT_LEDGER: usize = 1;
const AT_PACKET: usize = AT_LEDGER + LedgerId::CLEAR_BYTES;
const SIGNED: usize = AT_PACKET + 8;
const MAC: usize = 11;
const LABEL: &[u8] = b"shake packet code v2";

/// Why a code is none of this ledger's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum CodeError {
    /// Not made with any of our keys, or altered.
    #[error("the code is not authentic")]
    Forged,
    /// Of another ledger, or of a key that is not accepted any more. Harmless: a phone keeps the codes of a rehearsal.
    #[error("the code is of another event")]
    OtherLedger,
}

/// The code keys, derived once.
pub struct CodeKeys {
    active: u8,
    keys: Vec<(u8, hmac::Key)>,
}

impl fmt::Debug for CodeKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CodeKeys(active {})", self.active)
    }
}

impl CodeKeys {
    /// Derives the code keys of a ticket key ring.
    #[must_use]
    pub fn new(ticket_keys: &KeyRing) -> Self {
        let derive = |secret: &[u8; 32]| {
            let label = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), LABEL);
            hmac::Key::new(hmac::HMAC_SHA256, label.as_ref())
        };
        Self {
            active: ticket_keys.active().id,
            keys: ticket_keys.iter().map(|key| (key.id, derive(key.secret()))).collect(),
        }
    }

    /// The code of a packet of this ledger. The same packet, ledger and key always give the same code.
    #[must_use]
    pub fn code(&self, ledger: &LedgerId, packet: PacketId) -> [u8; CODE_BYTES] {
        let key = self.key(self.active).expect("the active key is one of the ring's");
        let mut bytes = [0; CODE_BYTES];
        bytes[0] = self.active;
        bytes[AT_LEDGER..AT_PACKET].copy_from_slice(&ledger.in_the_clear());
        bytes[AT_PACKET..SIGNED].copy_from_slice(&packet.0.to_le_bytes());
        let tag = tag(key, &bytes[..SIGNED], ledger);
        bytes[SIGNED..].copy_from_slice(&tag.as_ref()[..MAC]);
        bytes
    }

    /// The packet of a code of this ledger.
    ///
    /// # Errors
    /// [`CodeError`].
    pub fn packet(&self, ledger: &LedgerId, code: &[u8]) -> Result<PacketId, CodeError> {
        if code.len() == OLD_CODE_BYTES {
            return Err(CodeError::OtherLedger);
        }
        let code: &[u8; CODE_BYTES] = code.try_into().map_err(|_| CodeError::Forged)?;
        let (signed, mac) = code.split_at(SIGNED);
        if signed[AT_LEDGER..AT_PACKET] != ledger.in_the_clear() {
            return Err(CodeError::OtherLedger);
        }
        let key = self.key(code[0]).ok_or(CodeError::OtherLedger)?;
        let tag = tag(key, signed, ledger);
        if !crate::token::equal_in_constant_time(&tag.as_ref()[..MAC], mac) {
            return Err(CodeError::Forged);
        }
        let packet = signed[AT_PACKET..].try_into().expect("8 bytes of 13");
        Ok(PacketId(u64::from_le_bytes(packet)))
    }

    fn key(&self, id: u8) -> Option<&hmac::Key> {
        self.keys.iter().find(|(key_id, _)| *key_id == id).map(|(_, key)| key)
    }
}

fn tag(key: &hmac::Key, signed: &[u8], ledger: &LedgerId) -> hmac::Tag {
    let mut context = hmac::Context::with_key(key);
    context.update(signed);
    context.update(&ledger.0);
    context.sign()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::Key;
    use proptest::prelude::*;

    const LEDGER: LedgerId = LedgerId([6; 16]);

    fn keys(secret: u8) -> CodeKeys {
        CodeKeys::new(&KeyRing::of(Key::new(4, [secret; 32])))
    }

    /// What a change of this byte makes of a code: the key and the ledger stand in the clear.
    fn altered_at(at: usize) -> CodeError {
        if at < AT_PACKET {
            CodeError::OtherLedger
        } else {
            CodeError::Forged
        }
    }

    /// A code of a rehearsal, made with the same keys: nothing here, and no forgery. Nor is one that has the first bytes of
    /// our identity by chance, which authenticates all of it.
    #[test]
    fn a_code_of_another_ledger_opens_nothing_and_is_no_forgery() {
        let rehearsal = LedgerId([9; 16]);
        let code = keys(1).code(&rehearsal, PacketId(1 << 63 | 1));
        assert_eq!(keys(1).packet(&rehearsal, &code), Ok(PacketId(1 << 63 | 1)));
        assert_eq!(keys(1).packet(&LEDGER, &code), Err(CodeError::OtherLedger));
        let mut near = LEDGER;
        near.0[15] ^= 1;
        let code = keys(1).code(&near, PacketId(1));
        assert_eq!(keys(1).packet(&LEDGER, &code), Err(CodeError::Forged));
        let retired = CodeKeys::new(&KeyRing::of(Key::new(5, [1; 32])));
        let code = keys(1).code(&LEDGER, PacketId(1));
        assert_eq!(retired.packet(&LEDGER, &code), Err(CodeError::OtherLedger));
        assert_eq!(
            keys(1).packet(&LEDGER, &[4; OLD_CODE_BYTES]),
            Err(CodeError::OtherLedger)
        );
    }

    proptest! {
        #[test]
        fn round_trip_and_any_altered_byte_is_refused(packet: u64, at in 0..CODE_BYTES, flip in 1_u8..) {
            let mut code = keys(1).code(&LEDGER, PacketId(packet));
            prop_assert_eq!(keys(1).packet(&LEDGER, &code), Ok(PacketId(packet)));
            prop_assert_eq!(keys(2).packet(&LEDGER, &code), Err(CodeError::Forged));
            code[at] ^= flip;
            prop_assert_eq!(keys(1).packet(&LEDGER, &code), Err(altered_at(at)));
        }

        #[test]
        fn garbage_is_refused(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            prop_assert!(keys(1).packet(&LEDGER, &bytes).is_err());
        }
    }
}
