//! What only reads: `PacketView`, `Wallet`, `Offers`, `Winnings`.

use super::grab::has_code;
use super::{Answer, Judge};
use crate::ledger::{Look, Movement, Offer, Packet, Seen, Share, State};
use shake_proto::handoff::record::{Ask, Notice, Reply, What};
use shake_proto::reply::{
    PacketState, Reason, ShareTaken, ViewResult, WALLET_TRANSFERS_MAX, WalletResult, WalletTransfer,
};
use shake_proto::wire::v1::reply::Kind;
use shake_rules::winnings::Winnings;
use shake_rules::{Cents, PacketId, UnixMillis, UserId};

/// The most packets that one `Offers` tells of; the others come with the next, when some of these are grabbed.
pub const OFFERS_MAX: usize = 32;
/// Of them those of one sender: who sends many of a cent must not hide the others' packets. The event may have more.
pub const OFFERS_OF_SENDER_MAX: usize = 4;

/// Of what waits, in its order, what is told.
fn told(waiting: &[Offer]) -> Vec<Offer> {
    let mut told: Vec<Offer> = Vec::new();
    for offer in waiting {
        let before = told.iter().filter(|one| one.from == offer.from).count();
        if told.len() < OFFERS_MAX && (offer.from.is_none() || before < OFFERS_OF_SENDER_MAX) {
            told.push(*offer);
        }
    }
    told
}

fn state_of(id: PacketId, packet: &Packet, shares: &[Share]) -> PacketState {
    // The first of the largest, once all are taken.
    let best = (packet.state == State::Opened)
        .then(|| (0..shares.len()).max_by_key(|&at| (shares[at].amount, usize::MAX - at)))
        .flatten();
    let is_over = packet.state == State::Refunded;
    PacketState {
        packet: id,
        total: packet.amount,
        shares: packet.shares,
        left: packet.left,
        shares_left: if is_over { 0 } else { packet.shares_left },
        taken: shares
            .iter()
            .enumerate()
            .map(|(at, share)| ShareTaken {
                user: share.user,
                amount: share.amount,
                at: share.at,
                is_best: best == Some(at),
            })
            .collect(),
    }
}

impl Judge {
    /// What there is to see for an ask that only looks; `None` when its code is not authentic.
    pub(super) fn look_of(&self, ask: &Ask, now: UnixMillis) -> Option<Look> {
        match &ask.what {
            What::PacketView(view) => self.open_code(&view.code).map(Look::Packet),
            What::Wallet => Some(Look::Wallet(ask.user, WALLET_TRANSFERS_MAX)),
            What::Offers => Some(Look::Offers(ask.user, ask.at.min(now))),
            What::Winnings => Some(Look::Winnings(ask.user)),
            What::Claim(_) | What::Send(_) | What::Grab(_) => None,
        }
    }

    /// The answer, given what there was to see.
    pub(super) fn tell(&self, ask: &Ask, seen: Option<Seen>) -> Answer {
        let mut answer = Answer::default();
        let mut winnings = Winnings::default();
        let kind = match seen {
            Some(Seen::Wallet { balance, movements }) => {
                Some(Kind::Wallet(self.wallet(balance.unwrap_or(0), movements).into()))
            }
            Some(Seen::Offers(waiting)) => {
                answer.notices = self.offers(ask.user, &waiting);
                None
            }
            Some(Seen::Winnings(found)) => {
                winnings = found;
                None
            }
            Some(Seen::Packet(found)) => Some(Kind::PacketView(self.view(ask, found).into())),
            None => Some(Kind::PacketView(self.view(ask, None).into())),
        };
        answer.reply = Some(Reply {
            reply_to: ask.reply_to,
            kind,
            winnings,
        });
        answer
    }

    /// Whoever holds the code may look.
    fn view(&self, ask: &Ask, found: Option<(Packet, Vec<Share>)>) -> ViewResult {
        let found = found.filter(|(packet, _)| has_code(packet));
        let code = match &ask.what {
            What::PacketView(view) => self.open_code(&view.code),
            _ => None,
        };
        let (Some((packet, shares)), Some(id)) = (found, code) else {
            return ViewResult::Refused(self.count_refusal(Reason::PacketUnknown));
        };
        self.counters.views.add(1);
        ViewResult::State(state_of(id, &packet, &shares))
    }

    fn wallet(&self, balance: i64, movements: Vec<Movement>) -> WalletResult {
        self.counters.wallets.add(1);
        WalletResult::State {
            balance: Cents(u64::try_from(balance).unwrap_or(0)),
            transfers: movements
                .into_iter()
                .map(|movement| WalletTransfer {
                    cents: movement.cents,
                    packet: movement.packet,
                    at: movement.at,
                })
                .collect(),
        }
    }

    /// A notice for each packet that waits for this user and is told.
    fn offers(&self, user: UserId, waiting: &[Offer]) -> Vec<Notice> {
        let offers = told(waiting);
        self.counters.offers_told.add(offers.len() as u64);
        offers
            .into_iter()
            .map(|offer| self.notice(user, offer.packet, offer.from))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Making, Origin};

    #[test]
    fn few_of_one_sender_are_told_and_gifts_all() {
        let offer = |packet, from: Option<u64>| Offer {
            packet: PacketId(packet),
            from: from.map(UserId),
        };
        let gifts = (0..10).map(|packet| offer(packet, None));
        let dust = (10..200).map(|packet| offer(packet, Some(9)));
        let friends = (200..240).map(|packet| offer(packet, Some(packet / 2)));
        let waiting: Vec<_> = gifts.clone().chain(dust.clone()).chain(friends.clone()).collect();
        let expected: Vec<_> = gifts.chain(dust.take(4)).chain(friends.take(18)).collect();
        assert_eq!(told(&waiting), expected);
        assert!(told(&[]).is_empty());
    }

    #[test]
    fn the_first_of_the_largest_is_best_once_all_are_taken() {
        let shares = [3, 9, 9, 2].map(|cents| Share {
            user: UserId(cents),
            amount: Cents(cents),
            at: UnixMillis(1),
        });
        let making = Making {
            origin: Origin::Gift,
            key: &[0; 16],
            hash: [0; 32],
            amount: Cents(23),
            shares: 4,
            recipients: &[],
            stage: None,
            due: UnixMillis(2),
        };
        let packet = |state| Packet {
            left: Cents(0),
            shares_left: 0,
            state,
            ..Packet::sent(&making, UnixMillis(0))
        };
        let best = |state| {
            state_of(PacketId(1), &packet(state), &shares)
                .taken
                .iter()
                .position(|share| share.is_best)
        };
        assert_eq!(best(State::Opened), Some(1));
        assert_eq!((best(State::Open), best(State::Refunded)), (None, None));
    }
}
