//! What ought to be, as plainly as it can be said.

use super::super::play::{DAY, PACKETS};
use crate::requests::EXPIRY_GRACE_MS;
use shake_proto::reply::{ClaimResult, GrabResult, Reason, SendResult};
use shake_rules::{Cents, PacketId};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Stage {
    Released { mapping: u64 },
    Issued(u64),
    Open,
    Done,
    Void,
    Lost,
    Refunded,
}

/// A packet as it ought to be.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) id: PacketId,
    pub(super) stage: Stage,
    /// Who won it.
    pub(super) owner: Option<u64>,
    /// Who sent it.
    pub(super) sender: Option<u64>,
    pub(super) left: u64,
    pub(super) shares_left: u16,
    pub(super) named: BTreeSet<u64>,
    pub(super) taken: BTreeMap<u64, u64>,
    /// In time that was served: see [`Oracle::served`].
    pub(super) due: u64,
}

/// What ought to be, as plainly as it can be said. Which share was drawn is taken from the answer, and checked to be
/// possible.
#[derive(Default)]
pub(super) struct Oracle {
    pub(super) seed: BTreeMap<usize, Known>,
    pub(super) made: Vec<Known>,
    /// By maker (0 is the event) and key, the place in `made`.
    pub(super) keys: BTreeMap<(u64, u8), usize>,
    /// What was asked for with each key: cents, shares, recipients.
    pub(super) asked: BTreeMap<(u64, u8), (u64, u16, BTreeSet<u64>)>,
    pub(super) released: usize,
    pub(super) mapping: u64,
    pub(super) wallets: BTreeMap<u64, i64>,
    /// Each user's movements: kind and cents.
    pub(super) lines: BTreeMap<u64, Vec<(&'static str, i64)>>,
    pub(super) opened: BTreeMap<u64, u32>,
    pub(super) gift_budget: u64,
    /// How much time has passed in which commits were made: only that counts.
    pub(super) served: u64,
    /// After each passing of time: how much was served by then, and the clock.
    pub(super) steps: Vec<(u64, u64)>,
}

impl Oracle {
    /// What a claim is refused with, or `None` when it opens the packet or repeats.
    pub(super) fn claim_refusal(&self, packet: usize, user: u64, late: bool) -> Option<Reason> {
        let Some(known) = self.seed.get(&packet) else {
            return Some(Reason::PacketUnknown);
        };
        let full = self.opened.get(&user).copied().unwrap_or(0) >= 3;
        match known.stage {
            Stage::Void => Some(Reason::PacketVoid),
            Stage::Released { .. } | Stage::Lost if late => Some(Reason::TicketExpired),
            Stage::Released { .. } | Stage::Lost => full.then_some(Reason::LimitReached),
            Stage::Issued(owner) if owner != user => Some(Reason::PacketTaken),
            Stage::Issued(_) if late => Some(Reason::TicketExpired),
            Stage::Issued(_) => full.then_some(Reason::LimitReached),
            Stage::Open | Stage::Done | Stage::Refunded if known.owner != Some(user) => Some(Reason::PacketTaken),
            Stage::Refunded if known.taken.is_empty() => Some(Reason::TicketExpired),
            Stage::Open | Stage::Done | Stage::Refunded => None,
        }
    }

    pub(super) fn claim(&mut self, packet: usize, user: u64, late: bool, result: &ClaimResult) {
        let now = self.served;
        if let Some(reason) = self.claim_refusal(packet, user, late) {
            assert_eq!(*result, ClaimResult::Refused(reason));
            return;
        }
        let known = self.seed.get_mut(&packet).unwrap();
        let ClaimResult::Opened {
            packet: id,
            amount,
            repeat,
            ref code,
            ..
        } = *result
        else {
            panic!("{result:?} of {known:?}");
        };
        assert_eq!((id, !code.is_empty()), (known.id, packet % 2 == 1));
        let earlier = known.taken.get(&user).copied();
        assert_eq!(repeat, earlier.is_some());
        match earlier {
            Some(cents) => assert_eq!(cents, amount.0),
            None => {
                known.owner = Some(user);
                *self.opened.entry(user).or_default() += 1;
                take(known, user, amount, now);
                self.moved(user, "open", amount.0 as i64);
            }
        }
    }

    pub(super) fn moved(&mut self, user: u64, kind: &'static str, cents: i64) {
        *self.wallets.entry(user).or_default() += cents;
        self.lines.entry(user).or_default().push((kind, cents));
    }

    pub(super) fn known(&mut self, packet: usize) -> Option<&mut Known> {
        if packet < PACKETS as usize {
            self.seed.get_mut(&packet)
        } else {
            self.made.get_mut(packet - PACKETS as usize)
        }
    }

    pub(super) fn grab(&mut self, packet: usize, user: u64, result: &GrabResult) {
        let now = self.served;
        let Some(known) = self.known(packet) else {
            assert_eq!(*result, GrabResult::Refused(Reason::PacketUnknown));
            return;
        };
        let is_plain = packet < PACKETS as usize && packet.is_multiple_of(2);
        let was_never_open = matches!(
            known.stage,
            Stage::Released { .. } | Stage::Issued(_) | Stage::Void | Stage::Lost
        ) || (packet < PACKETS as usize && known.taken.is_empty());
        let expected = if is_plain || was_never_open {
            GrabResult::Refused(Reason::PacketUnknown)
        } else if let Some(&cents) = known.taken.get(&user) {
            GrabResult::Grabbed {
                packet: known.id,
                amount: Cents(cents),
                repeat: true,
            }
        } else if !known.named.is_empty() && !known.named.contains(&user) {
            GrabResult::Refused(Reason::NotEntitled)
        } else if known.stage == Stage::Refunded || (known.stage == Stage::Open && now >= known.due) {
            GrabResult::Refused(Reason::PacketExpired)
        } else if known.stage == Stage::Done {
            GrabResult::Empty
        } else {
            let GrabResult::Grabbed {
                amount, repeat: false, ..
            } = *result
            else {
                panic!("{result:?} of {known:?}");
            };
            let is_gift = packet >= PACKETS as usize && known.sender.is_none();
            take(known, user, amount, known.due);
            self.moved(user, if is_gift { "gift" } else { "grab" }, amount.0 as i64);
            return;
        };
        assert_eq!(*result, expected, "packet {packet}, user {user}");
    }

    pub(super) fn send(&mut self, op: (u64, u8, u64, u16, BTreeSet<u64>), result: &SendResult) {
        let (user, key, cents, shares, named) = op;
        if let Some(&at) = self.keys.get(&(user, key)) {
            if self.asked[&(user, key)] != (cents, shares, named) {
                assert_eq!(*result, SendResult::Refused(Reason::KeyUsed));
                return;
            }
            assert!(matches!(result, SendResult::Sent { packet, repeat: true, .. } if *packet == self.made[at].id));
            return;
        }
        let takers = named.is_empty() || usize::from(shares) <= named.len();
        let balance = self.wallets.get(&user).copied().unwrap_or(0);
        let receivers = u64::from(shares).max(named.len() as u64);
        if shares == 0 || cents < receivers || !takers {
            assert_eq!(*result, SendResult::Refused(Reason::Amount));
        } else if balance < cents as i64 {
            assert_eq!(*result, SendResult::Refused(Reason::Balance));
        } else {
            let SendResult::Sent {
                packet, repeat: false, ..
            } = *result
            else {
                panic!("{result:?}");
            };
            self.moved(user, "send", -(cents as i64));
            self.asked.insert((user, key), (cents, shares, named.clone()));
            self.make(user, key, packet, cents, shares, named);
        }
    }

    #[allow(clippy::too_many_arguments, reason = "the fields of a packet")]
    pub(super) fn make(&mut self, maker: u64, key: u8, id: PacketId, cents: u64, shares: u16, named: BTreeSet<u64>) {
        assert!(self.made.iter().all(|known| known.id != id), "{id} was made before");
        self.keys.insert((maker, key), self.made.len());
        self.made.push(Known {
            id,
            stage: Stage::Open,
            owner: None,
            sender: (maker != 0).then_some(maker),
            left: cents,
            shares_left: shares,
            named,
            taken: BTreeMap::new(),
            due: self.served + DAY,
        });
    }

    pub(super) fn expire(&mut self, now: u64) {
        self.steps.push((self.served, now));
        // The end is by time served. The grace after it runs by the clock, whether time is served or not.
        let is_over = |due: u64| {
            let step = self.steps.iter().find(|(served, _)| *served >= due);
            step.is_some_and(|(served, at)| at - (served - due) + EXPIRY_GRACE_MS <= now)
        };
        let mut refunds = Vec::new();
        for known in self.seed.values_mut().chain(&mut self.made) {
            let waits = matches!(known.stage, Stage::Issued(_) | Stage::Open);
            if !waits || !is_over(known.due) {
                continue;
            }
            if let Stage::Issued(owner) = known.stage {
                known.owner = Some(owner);
            }
            known.stage = Stage::Refunded;
            match known.sender {
                Some(sender) => refunds.push((sender, known.left as i64)),
                // A gift: it names users, and nobody won it.
                None if !known.named.is_empty() => self.gift_budget += known.left,
                None => {}
            }
            known.left = 0;
        }
        for (sender, cents) in refunds {
            self.moved(sender, "refund", cents);
        }
    }
}

/// A share was paid; it must be one that the draw can give.
fn take(known: &mut Known, user: u64, amount: Cents, now_or_due: u64) {
    let shares = u64::from(known.shares_left);
    let most = if shares == 1 {
        known.left
    } else {
        2 * known.left / shares - 1
    };
    let least = if shares == 1 { known.left } else { 1 };
    assert!((least..=most).contains(&amount.0), "{amount} of {known:?}");
    known.left -= amount.0;
    known.shares_left -= 1;
    assert_eq!(known.taken.insert(user, amount.0), None, "paid twice");
    if matches!(known.stage, Stage::Released { .. } | Stage::Issued(_) | Stage::Lost) {
        known.due = now_or_due + DAY;
    }
    known.stage = if known.shares_left == 0 {
        Stage::Done
    } else {
        Stage::Open
    };
}
