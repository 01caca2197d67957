//! Tickets: a packet issued to one user, sealed, so that checking it needs no lookup. Opening it once is the
//! ledger's work.
//!
//! ```text
//! content  0       4        12     20        22      24           32            40
//!          ├───────┼────────┼──────┼─────────┼───────┼────────────┼─────────────┤
//!          │ event │ packet │ user │ sponsor │ stage │ issued, ms │ expires, ms │   all little-endian
//!          └───────┴────────┴──────┴─────────┴───────┴────────────┴─────────────┘
//! ```
//! Its envelope is bound to the ledger that has the packet (drawing in `sealed.rs`).

use crate::LedgerId;
use crate::keys::{KeyRing, KeyTag};
use crate::sealed::{OVERHEAD, Sealer};
use crate::{EventId, PacketId, SponsorId, UnixMillis, UserId};
use thiserror::Error;

pub use crate::sealed::NonceBytes;

/// Bytes of a sealed ticket.
pub const TICKET_BYTES: usize = CONTENT + OVERHEAD + LedgerId::CLEAR_BYTES;
/// Bytes of a ticket as it was before tickets named their ledger.
const OLD_TICKET_BYTES: usize = 62;
const CONTENT: usize = 40;
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
    /// When it was made. By the steady clock, as its end.
    pub issued_at: UnixMillis,
    /// May be opened before this time, spans left out in which the service could not serve.
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
    /// Of another ledger, or of a key that is not accepted any more. Harmless: a phone keeps the tickets of a rehearsal.
    #[error("the ticket is of another ledger")]
    OtherLedger,
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

    /// The tags of all keys.
    #[must_use]
    pub fn tags(&self) -> &[KeyTag] {
        self.0.tags()
    }

    /// The key that seals.
    #[must_use]
    pub fn maker(&self) -> KeyTag {
        self.0.maker()
    }

    /// The key of a ticket that [`Self::open`] found good.
    #[must_use]
    pub fn maker_of(&self, sealed: &[u8]) -> Option<KeyTag> {
        self.0.maker_of(sealed)
    }

    /// Seals a ticket of this ledger into `out`, which is cleared first. `nonce` is random and used once.
    pub fn seal(&self, ledger: &LedgerId, ticket: &Ticket, nonce: NonceBytes, out: &mut Vec<u8>) {
        let mut content = [0; CONTENT];
        content[0..4].copy_from_slice(&ticket.event.0.to_le_bytes());
        content[4..12].copy_from_slice(&ticket.packet.0.to_le_bytes());
        content[12..20].copy_from_slice(&ticket.user.0.to_le_bytes());
        content[20..22].copy_from_slice(&ticket.sponsor.0.to_le_bytes());
        content[22..24].copy_from_slice(&ticket.stage.to_le_bytes());
        content[24..32].copy_from_slice(&ticket.issued_at.0.to_le_bytes());
        content[32..40].copy_from_slice(&ticket.expires_at.0.to_le_bytes());
        self.0.seal(Some(ledger), nonce, &content, out);
    }

    /// The id of the key that a ticket of this ledger names, when these keys have no such: it may be one of ours all the
    /// same, sealed by a process that has read a newer key file.
    #[must_use]
    pub fn lacks(&self, ledger: &LedgerId, sealed: &[u8]) -> Option<u8> {
        self.0
            .lacks(sealed)
            .filter(|_| sealed.len() == TICKET_BYTES && sealed[2..6] == ledger.in_the_clear())
    }

    /// What the ticket says, when it is one of ours. Says nothing of who holds it (see [`Ticket::check`]), nor of its time:
    /// that is the ledger's to judge.
    ///
    /// # Errors
    /// [`TicketError::Forged`] or [`TicketError::OtherLedger`].
    pub fn open(&self, ledger: &LedgerId, sealed: &[u8]) -> Result<Ticket, TicketError> {
        let is_ticket = sealed.first() == Some(&KIND);
        let is_strange = match sealed.len() {
            OLD_TICKET_BYTES => true,
            TICKET_BYTES => sealed[2..6] != ledger.in_the_clear() || self.0.lacks(sealed).is_some(),
            _ => false,
        };
        if is_ticket && is_strange {
            return Err(TicketError::OtherLedger);
        }
        let content = self
            .0
            .open::<CONTENT>(Some(ledger), sealed)
            .ok_or(TicketError::Forged)?;
        let content: &[u8; CONTENT] = content[..].try_into().map_err(|_| TicketError::Forged)?;
        let short = |at: usize| u16::from_le_bytes([content[at], content[at + 1]]);
        let long = |at: usize| u64::from_le_bytes(content[at..at + 8].try_into().expect("8 bytes of 40"));
        Ok(Ticket {
            event: EventId(u32::from_le_bytes(content[0..4].try_into().expect("4 bytes of 40"))),
            packet: PacketId(long(4)),
            user: UserId(long(12)),
            sponsor: SponsorId(short(20)),
            stage: short(22),
            issued_at: UnixMillis(long(24)),
            expires_at: UnixMillis(long(32)),
        })
    }
}

impl Ticket {
    /// Whether it is this user's, in this event. Its time is the ledger's to judge.
    ///
    /// # Errors
    /// The first of [`TicketError::OtherEvent`], [`TicketError::Foreign`] that holds.
    pub fn check(&self, event: EventId, user: UserId) -> Result<(), TicketError> {
        if self.event != event {
            Err(TicketError::OtherEvent)
        } else if self.user != user {
            Err(TicketError::Foreign)
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

    const LEDGER: LedgerId = LedgerId([6; 16]);

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
            issued_at: UnixMillis(6),
            expires_at: UnixMillis(7),
        }
    }

    fn sealed(ledger: &LedgerId) -> Vec<u8> {
        let mut sealed = Vec::new();
        keys(1).seal(ledger, &ticket(), [9; 12], &mut sealed);
        sealed
    }

    #[test]
    fn round_trip_and_each_refusal() {
        let sealed = sealed(&LEDGER);
        assert_eq!((sealed.len(), TICKET_BYTES), (74, 74));
        let opened = keys(1).open(&LEDGER, &sealed).expect("its own");
        assert_eq!(opened, ticket());
        assert_eq!(keys(2).open(&LEDGER, &sealed), Err(TicketError::Forged));
        let check = |event, user| opened.check(EventId(event), UserId(user));
        assert_eq!(check(1, 3), Ok(()));
        assert_eq!(check(2, 3), Err(TicketError::OtherEvent));
        assert_eq!(check(1, 4), Err(TicketError::Foreign));
    }

    /// Same keys, same event, another ledger: nothing here, and no forgery. One that has our first four bytes by chance
    /// is not taken either.
    #[test]
    fn a_ticket_of_another_ledger_opens_nothing_and_is_no_forgery() {
        let rehearsal = LedgerId([9; 16]);
        let other = sealed(&rehearsal);
        assert_eq!(keys(1).open(&rehearsal, &other), Ok(ticket()));
        assert_eq!(keys(1).open(&LEDGER, &other), Err(TicketError::OtherLedger));
        let mut near = LEDGER;
        near.0[15] ^= 1;
        assert_eq!(keys(1).open(&LEDGER, &sealed(&near)), Err(TicketError::Forged));
        let retired = TicketKeys::new(&KeyRing::of(Key::new(4, [1; 32])));
        let ours = sealed(&LEDGER);
        assert_eq!(retired.open(&LEDGER, &ours), Err(TicketError::OtherLedger));
        assert_eq!(retired.lacks(&LEDGER, &ours), Some(3));
        assert_eq!(
            retired.lacks(&LEDGER, &other),
            None,
            "another ledger's is not waited for"
        );
        let mut old = ours[..OLD_TICKET_BYTES].to_vec();
        assert_eq!(keys(1).open(&LEDGER, &old), Err(TicketError::OtherLedger));
        old[0] = b'?';
        assert_eq!(keys(1).open(&LEDGER, &old), Err(TicketError::Forged));
    }

    proptest! {
        #[test]
        fn any_altered_byte_is_refused(at in 0..TICKET_BYTES, flip in 1_u8..) {
            let mut sealed = sealed(&LEDGER);
            sealed[at] ^= flip;
            // Key and ledger stand in the clear.
            let expected = if (1..6).contains(&at) { TicketError::OtherLedger } else { TicketError::Forged };
            prop_assert_eq!(keys(1).open(&LEDGER, &sealed), Err(expected));
        }

        #[test]
        fn garbage_is_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(keys(1).open(&LEDGER, &bytes).is_err());
            if bytes.first() != Some(&KIND) {
                prop_assert_eq!(keys(1).open(&LEDGER, &bytes), Err(TicketError::Forged));
            }
        }
    }
}
