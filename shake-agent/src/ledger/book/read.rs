//! What a transaction finds.

use super::Book;
use crate::ledger::accounts::Account;
use crate::ledger::packet::{EVENT_SPONSOR, Held, Origin, Packet, State, Term};
use crate::ledger::shares::Made;
use crate::ledger::users::UserAccount;
use shake_rules::{Cents, PacketId, UnixMillis, UserId};

/// What is there, with what the transaction did to it. All of it was loaded before.
impl Book {
    /// What is known of a packet; `None` when it was never released, sent or given.
    #[must_use]
    pub fn packet(&self, id: PacketId) -> Option<Packet> {
        self.view.packet(id).copied()
    }

    /// A user's account; `None` for a user who never got anything.
    #[must_use]
    pub fn user(&self, id: UserId) -> Option<&UserAccount> {
        self.view.user(id)
    }

    /// Whether no other writer has the packet at the moment. Of one's own store alone nobody has any.
    #[must_use]
    pub fn may_change_packet(&self, id: PacketId) -> bool {
        self.view.may_change_packet(id)
    }

    /// Whether no other writer has the user at the moment.
    #[must_use]
    pub fn may_change_user(&self, id: UserId) -> bool {
        self.view.may_change_user(id)
    }

    /// The user's share of a packet, when there is one.
    #[must_use]
    pub fn share_of(&self, packet: PacketId, user: UserId) -> Option<Cents> {
        self.view.share_of(packet, user)
    }

    /// Whether the packet names this user.
    #[must_use]
    pub fn is_offered(&self, packet: PacketId, user: UserId) -> bool {
        self.view.is_offered(packet, user)
    }

    /// What the same maker made with this key before.
    #[must_use]
    pub fn made_with(&self, origin: Origin, key: &[u8; 16]) -> Option<Made> {
        let made = self.view.sends.get(&(origin, *key));
        *made.expect("a key is loaded before it is looked at")
    }

    /// Of these packets, those that are released still.
    #[must_use]
    pub fn held(&self, packets: &[PacketId]) -> Vec<Held> {
        let held = |&id: &PacketId| {
            let packet = self.view.packet(id)?;
            match (packet.state, packet.origin, packet.granted) {
                (State::Released, Origin::Seed(sponsor), Some(granted)) => Some(Held {
                    packet: id,
                    amount: packet.amount,
                    sponsor,
                    grant_position: granted.position,
                }),
                _ => None,
            }
        };
        packets.iter().filter_map(held).collect()
    }

    /// What may still be given away in gifts, in cents: of what was drawn, where other writers draw as well.
    #[must_use]
    pub fn gift_budget_left(&self) -> i64 {
        let all = || self.balance(Account::Sponsor(EVENT_SPONSOR));
        self.standing.gifts.unwrap_or_else(all)
    }

    /// When something ends that was promised so: spans in which the ledger could not be written do not count.
    #[must_use]
    pub fn end_of(&self, term: Term) -> UnixMillis {
        self.spans.end(term)
    }

    /// What was promised so, and is heard of at `now` for the first time; see [`Spans::first_heard`].
    #[must_use]
    pub fn first_heard(&self, term: Term, now: UnixMillis) -> Term {
        self.spans.first_heard(term, now)
    }

    pub(super) fn balance(&self, account: Account) -> i64 {
        self.standing.house.get(&account).copied().unwrap_or(0)
    }
}
