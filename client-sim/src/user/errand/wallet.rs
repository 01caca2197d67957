//! `Wallet`: asks for the balance once all else is done, and compares it with what the user knows.

use super::{Action, Task};
use crate::schedule::Micros;
use crate::tally::Tally;
use crate::user::{Habits, User};
use shake_proto::reply::{WALLET_TRANSFERS_MAX, WalletResult};

/// What the user knew when the wallet was asked for.
#[derive(Debug)]
pub(super) struct Sum {
    /// What the balance must be at the least, in cents.
    balance: u64,
    /// How many packets had been taken from.
    taken: usize,
}

impl User {
    /// The run is over: nothing new is begun but the claim of a late win, what is under way is finished, and then some
    /// ask for their wallets. What nobody asks for is credited to nobody, so in the end phones and ledger know the same.
    pub fn on_winding_up(&mut self, now: Micros, habits: &Habits, tally: &mut Tally) -> Option<Action> {
        self.is_winding_up = true;
        self.ask_wallet_at_last(now, habits, tally)
    }

    /// Asks for the wallet, once, when this user is one who does and nothing else is under way.
    pub(super) fn ask_wallet_at_last(&mut self, now: Micros, habits: &Habits, tally: &mut Tally) -> Option<Action> {
        let may = self.roles.asks_wallet && self.is_winding_up && self.greeted && !self.has_errands();
        if !may || std::mem::replace(&mut self.purse.has_asked_wallet, true) {
            return None;
        }
        let sum = Sum {
            balance: self.purse.balance(),
            taken: self.purse.taken(),
        };
        Some(self.begin(now, Task::Wallet(sum), habits.packets.delay_ms, tally))
    }

    pub(super) fn on_wallet(&mut self, asked: &Sum, result: WalletResult, tally: &mut Tally) {
        let (balance, transfers) = match result {
            WalletResult::State { balance, transfers } => (balance.0, transfers),
            WalletResult::Busy { .. } => unreachable!("busy is no end of an errand"),
        };
        tally.packets.wallets.done += 1;
        // A wallet that shows all its movements must be their sum, whatever this run knows.
        let is_whole = transfers.len() < WALLET_TRANSFERS_MAX;
        let moved: i128 = transfers.iter().map(|transfer| i128::from(transfer.cents)).sum();
        let too_many = transfers.len() > WALLET_TRANSFERS_MAX;
        if too_many || (is_whole && moved != i128::from(balance)) {
            tally.violations.wallets_wrong += 1;
            return;
        }
        // A grab meanwhile may or may not be in it; a send or claim of unknown end, too.
        let grabs_since = self.purse.taken() != asked.taken || !self.errands.is_empty();
        if self.purse.is_in_doubt || grabs_since {
            tally.packets.wallets_not_compared += 1;
        } else if balance == asked.balance {
            tally.packets.wallets_equal += 1;
        } else if balance > asked.balance && balance - asked.balance <= self.purse.spent() {
            // What nobody grabbed of a packet that this user sent came back.
            tally.packets.wallets_with_refunds += 1;
        } else {
            tally.violations.wallets_wrong += 1;
        }
    }
}
