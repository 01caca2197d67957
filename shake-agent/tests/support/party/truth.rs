//! What users were told, and what must hold because they were.

use super::phone::Errand;
use shake_agent::ledger::SPAN_OVER_MS;
use shake_proto::reply::{ClaimResult, GrabResult, Reason, SendResult, WalletResult};
use shake_rules::ticket::Ticket;
use shake_rules::winnings::{WinLimits, Winnings, Won};
use shake_rules::{Cents, PacketId, SponsorId, UserId};
use std::collections::{BTreeMap, BTreeSet};

/// A packet in a ticket.
#[derive(Clone, Copy, Debug)]
pub struct Issue {
    pub user: UserId,
    pub sponsor: SponsorId,
    /// How much time had been served by then, in milliseconds.
    pub served_ms: u64,
}

/// A packet that a user sent.
#[derive(Clone, Debug)]
pub struct Sent {
    pub packet: PacketId,
    pub total: u64,
    pub named: BTreeSet<UserId>,
}

/// Everything that was issued or acknowledged.
#[derive(Debug, Default)]
pub struct Truth {
    pub issued: BTreeMap<PacketId, Issue>,
    pub opened: BTreeMap<PacketId, (UserId, Cents)>,
    pub sent: BTreeMap<(UserId, u64), Sent>,
    pub grabbed: BTreeMap<(PacketId, UserId), Cents>,
    /// Packets whose codes went around.
    pub codes: BTreeSet<PacketId>,
    /// How much time has passed in which the ledger was written at least each second. Only that counts against anybody,
    /// whatever clocks say.
    pub served_ms: u64,
    /// What was told to have happened just then, and not before.
    firsts: BTreeSet<(&'static str, u64, UserId)>,
}

impl Truth {
    /// Something took effect with this answer; once. (A repeat may be heard before it, from another shard.)
    fn first(&mut self, kind: &'static str, subject: u64, user: UserId, is_repeat: bool) {
        assert!(
            is_repeat || self.firsts.insert((kind, subject, user)),
            "{kind} of {subject} by {user} took effect twice"
        );
    }

    /// A gateway put the packet into a ticket; never again.
    pub fn issue(&mut self, won: Won, user: UserId) {
        let issue = Issue {
            user,
            sponsor: won.sponsor,
            served_ms: self.served_ms,
        };
        assert!(
            self.issued.insert(won.packet, issue).is_none(),
            "{} was issued twice",
            won.packet
        );
    }

    /// What a user has for certain: acknowledged credits less acknowledged sends.
    pub fn balance(&self, user: UserId) -> u64 {
        let opened = self
            .opened
            .values()
            .filter(|(by, _)| *by == user)
            .map(|(_, cents)| cents.0);
        let grabbed = self
            .grabbed
            .iter()
            .filter(|((_, by), _)| *by == user)
            .map(|(_, cents)| cents.0);
        let sent = self
            .sent
            .iter()
            .filter(|((by, _), _)| *by == user)
            .map(|(_, sent)| sent.total);
        opened.chain(grabbed).sum::<u64>() - sent.sum::<u64>()
    }

    /// What came back to a user once everything is over: what nobody grabbed of what was sent.
    pub fn refunds(&self, user: UserId) -> u64 {
        let left = |sent: &Sent| {
            let grabs = self.grabbed.iter().filter(|((packet, _), _)| *packet == sent.packet);
            sent.total - grabs.map(|(_, cents)| cents.0).sum::<u64>()
        };
        let sent = self.sent.iter().filter(|((by, _), _)| *by == user);
        sent.map(|(_, sent)| left(sent)).sum()
    }

    /// An answer to a claim. True when it is final.
    pub fn claimed(&mut self, user: UserId, ticket: &Ticket, limits: WinLimits, result: &ClaimResult) -> bool {
        let id = ticket.packet;
        let known = self.opened.get(&id).copied();
        match *result {
            ClaimResult::Busy { .. } => return false,
            ClaimResult::Opened {
                packet,
                amount,
                repeat,
                ref code,
                ..
            } => {
                assert_eq!(packet, id);
                assert_eq!(self.issued[&id].user, user, "{id} was opened by somebody else");
                assert!(
                    known.is_none_or(|known| known == (user, amount)),
                    "{id} has two answers"
                );
                self.first("claim", id.0, user, repeat);
                self.opened.insert(id, (user, amount));
                if !code.is_empty() {
                    self.codes.insert(id);
                }
            }
            ClaimResult::Refused(reason) => {
                assert_eq!(known, None, "{id} was acknowledged, and then refused: {reason:?}");
                let issue = self.issued[&id];
                match reason {
                    Reason::TicketExpired => {
                        // What lies between two commits may count whole, and the ticket was made between two.
                        let served_ms = self.served_ms - issue.served_ms + SPAN_OVER_MS;
                        let promised_ms = ticket.expires_at.since_ms(ticket.issued_at);
                        assert!(
                            served_ms >= promised_ms,
                            "{id} was refused after {served_ms} ms of {promised_ms}"
                        );
                    }
                    Reason::LimitReached => assert!(self.is_over(user, limits), "{id}: no limit is reached"),
                    other => panic!("{id}, {user}: {other:?}"),
                }
            }
        }
        true
    }

    /// Whether gateways issued more to the user than the limits allow: one that died had forgotten a win.
    fn is_over(&self, user: UserId, limits: WinLimits) -> bool {
        let mut winnings = Winnings::default();
        for (&packet, issue) in self.issued.iter().filter(|(_, issue)| issue.user == user) {
            let sponsor = issue.sponsor;
            if !winnings.allow(sponsor, limits) {
                return true;
            }
            winnings.add(Won { packet, sponsor });
        }
        false
    }

    /// An answer to a claim with somebody else's ticket.
    pub fn stolen(result: &ClaimResult) -> bool {
        match result {
            ClaimResult::Busy { .. } => false,
            ClaimResult::Refused(Reason::TicketForeign) => true,
            other => panic!("a ticket was stolen: {other:?}"),
        }
    }

    /// A balance that was shown to somebody who knew of so much.
    pub fn looked(at_least: u64, result: &WalletResult) -> bool {
        match result {
            WalletResult::Busy { .. } => return false,
            WalletResult::State { balance, .. } => assert!(balance.0 >= at_least, "{balance}, and {at_least} was told"),
        }
        true
    }

    pub fn sent(
        &mut self,
        user: UserId,
        errand: &Errand,
        result: &SendResult,
        packet_of: impl Fn(&[u8]) -> PacketId,
    ) -> bool {
        let Errand::Send {
            key, total, ref named, ..
        } = *errand
        else {
            panic!("{errand:?} was answered as a send");
        };
        let known = self.sent.get(&(user, key)).map(|sent| sent.packet);
        match *result {
            SendResult::Busy { .. } => return false,
            SendResult::Sent {
                packet,
                repeat,
                ref code,
            } => {
                assert!(known.is_none_or(|known| known == packet), "a key made two packets");
                self.first("send", key, user, repeat);
                assert_eq!(packet_of(code), packet);
                self.codes.insert(packet);
                let named = named.iter().copied().collect();
                self.sent.insert((user, key), Sent { packet, total, named });
            }
            SendResult::Refused(reason) => panic!("{user} had enough and was refused: {reason:?}, {errand:?}"),
        }
        true
    }

    pub fn grabbed(&mut self, user: UserId, id: PacketId, result: &GrabResult) -> bool {
        let known = self.grabbed.get(&(id, user)).copied();
        match *result {
            GrabResult::Busy { .. } => return false,
            GrabResult::Grabbed { packet, amount, repeat } => {
                assert_eq!(packet, id);
                assert!(
                    known.is_none_or(|known| known == amount),
                    "{user} has two shares of {id}"
                );
                self.first("grab", id.0, user, repeat);
                // The winner asks for what the opening paid, and is told the same.
                match self.opened.get(&id) {
                    Some(&(winner, share)) if winner == user => assert_eq!(share, amount),
                    _ => drop(self.grabbed.insert((id, user), amount)),
                }
            }
            GrabResult::Empty | GrabResult::Refused(Reason::PacketExpired) => {
                assert_eq!(known, None, "{user} had grabbed {id}");
            }
            GrabResult::Refused(Reason::NotEntitled) => {
                let sent = self.sent.values().find(|sent| sent.packet == id);
                assert!(sent.is_none_or(|sent| !sent.named.contains(&user)), "{id} names {user}");
            }
            GrabResult::Refused(other) => panic!("{user} grabs {id}: {other:?}"),
        }
        true
    }
}
