//! Tickets: a packet issued to one user, sealed, so that checking it needs no lookup. Opening it once is the
//! ledger's work.
//!
//! ```text
//! content  0       4        12     20        22      24            32
//!          ├───────┼────────┼──────┼─────────┼───────┼─────────────┤
//!          │ event │ packet │ user │ sponsor │ stage │ expires, ms │   all little-endian
//!          └───────┴────────┴──────┴─────────┴───────┴─────────────┘
//! ```

use crate::keys::KeyRing;
use crate::sealed::{OVERHEAD, Sealer};
use crate::{EventId, PacketId, SponsorId, UnixMillis, UserId};
use thiserror::Error;

pub use crate::sealed::NonceBytes;

/// Bytes of a sealed ticket.
pub const TICKET_BYTES: usize = CONTENT + OVERHEAD;
const CONTENT: usize = 32;
const KIND: u8 = b'T';

/// What a ticket says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// The show it was won in.
    pub event: EventId,
    /// The packet it opens.
    pub packet: PacketId,
    /// The only user who may open it.
    pub user: UserId,
    /// Who funds the packet.
    pub sponsor: SponsorId,
    /// Index of the phase it was won in.
    pub stage: u16,
    /// May be opened before this time.
    pub expires_at: UnixMillis,
}

/// Why a ticket was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TicketError {
    /// Not sealed with any of our keys, or altered.
    #[error("the ticket is not authentic")]
    Forged,
    /// Another user's.
    #[error("the ticket belongs to another user")]
    Foreign,
    /// Of another show.
    #[error("the ticket is of another event")]
    OtherEvent,
    /// Its time is over.
    #[error("the ticket has expired")]
    Expired,
}

/// The ticket keys, expanded once.
#[derive(Debug)]
pub struct TicketKeys(Sealer);

impl TicketKeys {
    /// Expands the keys of a ring.
    #[must_use]
    pub fn new(ring: &KeyRing) -> Self {
        Self(Sealer::new(KIND, ring))
    }

    /// Seals a ticket into `out`, which is cleared first. `nonce` is random and used once.
    pub fn seal(&self, ticket: &Ticket, nonce: NonceBytes, out: &mut Vec<u8>) {
        let mut content = [0; CONTENT];
        content[0..4].copy_from_slice(&ticket.event.0.to_le_bytes());
        content[4..12].copy_from_slice(&ticket.packet.0.to_le_bytes());
        content[12..20].copy_from_slice(&ticket.user.0.to_le_bytes());
        content[20..22].copy_from_slice(&ticket.sponsor.0.to_le_bytes());
        content[22..24].copy_from_slice(&ticket.stage.to_le_bytes());
        content[24..32].copy_from_slice(&ticket.expires_at.0.to_le_bytes());
        self.0.seal(nonce, &content, out);
    }

    /// The id of the key that a ticket names, when these keys have no such: it may be one of ours all the same, sealed
    /// by a process that has read a newer key file.
    #[must_use]
    pub fn lacks(&self, sealed: &[u8]) -> Option<u8> {
        let id = *sealed.get(1)?;
        (sealed.len() == TICKET_BYTES && sealed[0] == KIND && !self.0.has(id)).then_some(id)
    }

    /// What the ticket says, when it is one of ours. Says nothing of who holds it: see [`Ticket::check`].
    ///
    /// # Errors
    /// [`TicketError::Forged`].
    pub fn open(&self, sealed: &[u8]) -> Result<Ticket, TicketError> {
        let content = self.0.open::<CONTENT>(sealed).ok_or(TicketError::Forged)?;
        let content: &[u8; CONTENT] = content[..].try_into().map_err(|_| TicketError::Forged)?;
        let short = |at: usize| u16::from_le_bytes([content[at], content[at + 1]]);
        let long = |at: usize| u64::from_le_bytes(content[at..at + 8].try_into().expect("8 bytes of 32"));
        Ok(Ticket {
            event: EventId(u32::from_le_bytes(content[0..4].try_into().expect("4 bytes of 32"))),
            packet: PacketId(long(4)),
            user: UserId(long(12)),
            sponsor: SponsorId(short(20)),
            stage: short(22),
            expires_at: UnixMillis(long(24)),
        })
    }
}

impl Ticket {
    /// Whether this user may open it now, in this event.
    ///
    /// # Errors
    /// The first of [`TicketError::OtherEvent`], [`TicketError::Foreign`], [`TicketError::Expired`] that holds.
    pub fn check(&self, event: EventId, user: UserId, now: UnixMillis) -> Result<(), TicketError> {
        if self.event != event {
            Err(TicketError::OtherEvent)
        } else if self.user != user {
            Err(TicketError::Foreign)
        } else if now >= self.expires_at {
            Err(TicketError::Expired)
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::Key;
    use proptest::prelude::*;

    fn keys(secret: u8) -> TicketKeys {
        TicketKeys::new(&KeyRing::of(Key::new(3, [secret; 32])))
    }

    fn ticket() -> Ticket {
        Ticket {
            event: EventId(1),
            packet: PacketId(2),
            user: UserId(3),
            sponsor: SponsorId(4),
            stage: 5,
            expires_at: UnixMillis(6),
        }
    }

    #[test]
    fn round_trip_and_each_refusal() {
        let mut sealed = Vec::new();
        keys(1).seal(&ticket(), [9; 12], &mut sealed);
        assert_eq!(sealed.len(), TICKET_BYTES);
        let opened = keys(1).open(&sealed).expect("its own");
        assert_eq!(opened, ticket());
        assert_eq!(keys(2).open(&sealed), Err(TicketError::Forged));
        let check = |event, user, now| opened.check(EventId(event), UserId(user), UnixMillis(now));
        assert_eq!(check(1, 3, 5), Ok(()));
        assert_eq!(check(2, 3, 5), Err(TicketError::OtherEvent));
        assert_eq!(check(1, 4, 5), Err(TicketError::Foreign));
        assert_eq!(check(1, 3, 6), Err(TicketError::Expired));
    }

    proptest! {
        #[test]
        fn any_altered_byte_is_forged(at in 0..TICKET_BYTES, flip in 1_u8..) {
            let mut sealed = Vec::new();
            keys(1).seal(&ticket(), [9; 12], &mut sealed);
            sealed[at] ^= flip;
            prop_assert_eq!(keys(1).open(&sealed), Err(TicketError::Forged));
        }

        #[test]
        fn garbage_is_forged(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert_eq!(keys(1).open(&bytes), Err(TicketError::Forged));
        }
    }
}
