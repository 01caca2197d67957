//! What only reads: `PacketView`, `Wallet`, `Offers`.

use super::Judge;
use crate::ledger::{Batch, LedgerError, Packet, Share, State};
use shake_proto::handoff::record::Notice;
use shake_proto::reply::{
    PacketState, Reason, ShareTaken, ViewResult, WALLET_TRANSFERS_MAX, WalletResult, WalletTransfer,
};
use shake_proto::request::PacketView;
use shake_rules::{Cents, PacketId, UnixMillis, UserId};

/// The most packets that one `Offers` tells of; the others come with the next, when some of these are grabbed.
pub const OFFERS_MAX: usize = 32;

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
    /// Whoever holds the code may look.
    pub(super) fn view(&mut self, batch: &mut Batch<'_>, view: &PacketView) -> Result<ViewResult, LedgerError> {
        let Some((id, packet)) = self.packet_of_code(batch, &view.code)? else {
            return Ok(ViewResult::Refused(self.count_refusal(Reason::PacketUnknown)));
        };
        self.counters.views.add(1);
        Ok(ViewResult::State(state_of(id, &packet, &batch.shares(id)?)))
    }

    pub(super) fn wallet(&mut self, batch: &mut Batch<'_>, user: UserId) -> Result<WalletResult, LedgerError> {
        let account = batch.user(user)?;
        let movements = batch.movements(&account, WALLET_TRANSFERS_MAX)?;
        self.counters.wallets.add(1);
        Ok(WalletResult::State {
            balance: Cents(u64::try_from(account.balance).unwrap_or(0)),
            transfers: movements
                .into_iter()
                .map(|movement| WalletTransfer {
                    cents: movement.cents,
                    packet: movement.packet,
                    at: movement.at,
                })
                .collect(),
        })
    }

    /// A notice for each packet that waits for this user.
    pub(super) fn offers(
        &mut self,
        batch: &mut Batch<'_>,
        user: UserId,
        at: UnixMillis,
    ) -> Result<Vec<Notice>, LedgerError> {
        let offers = batch.offers_for(user, at, OFFERS_MAX)?;
        self.counters.offers_told.add(offers.len() as u64);
        Ok(offers
            .into_iter()
            .map(|offer| self.notice(user, offer.packet, offer.from))
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Origin;

    #[test]
    fn the_first_of_the_largest_is_best_once_all_are_taken() {
        let shares = [3, 9, 9, 2].map(|cents| Share {
            user: UserId(cents),
            amount: Cents(cents),
            at: UnixMillis(1),
        });
        let packet = |state| Packet {
            origin: Origin::Gift,
            amount: Cents(23),
            shares: 4,
            left: Cents(0),
            shares_left: 0,
            recipients: 0,
            state,
            user: None,
            is_opened: false,
            due: None,
            term: None,
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
