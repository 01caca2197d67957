//! How many packets of a session are opened, whatever they hold.
//!
//! | whose | packets that are opened |
//! |---|---|
//! | before Hello | [`EARLY_MAX`] datagrams, then the session is closed |
//! | after it | `user_packets` of the grade |
//! | over that, until the session has been silent for some seconds | four a second, sixteen at once |
//! | of a blocked user | the same |
//!
//! What is not opened is dropped, by the kernel where it can, until the next one is due. It is by time, and not one of so
//! many, because that would grow with the flood, and starve the claims of the blocked.

use super::{Admission, Gate};
use crate::counters::Shed;
use shake_rules::limit::Limit;
use shake_rules::throttle::Rate;

/// Datagrams before Hello. A handshake with large post-quantum keys, each packet sent twice, takes about 30.
pub const EARLY_MAX: u8 = 64;
/// Packets of the blocked, and of those over their budget.
const TRICKLE_PER_SECOND: f64 = 4.0;
const TRICKLE_AT_ONCE: u32 = 16;
/// For so long the kernel drops what a session sends that is closed for want of a Hello, in nanoseconds: while it drains.
const CLOSED_NS: u64 = 1_000_000_000;
/// A refused shake of who is over the budget stands for so many: of a hundred packets a second, four are opened.
pub const STANDS_FOR: u16 = 25;

/// What becomes of a session's packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spending {
    /// It is opened.
    Open,
    /// It is dropped.
    Shed(Shed),
    /// It is dropped, and the session is to be closed.
    Close,
}

/// What a session may send that is over its budget: the trickle, on top of all that the budget has at once. Both are taken
/// from one level, so a session is over its budget until it has been silent for as long as its trickle lasts.
pub fn over(budget: Rate) -> Limit {
    let owed_s = f64::from(budget.burst.saturating_sub(1)) / budget.per_second;
    let owed = (owed_s * TRICKLE_PER_SECOND).ceil() as u32;
    Limit::new(TRICKLE_PER_SECOND, TRICKLE_AT_ONCE.saturating_add(owed))
}

/// What a session of a blocked user may send.
pub fn trickle() -> Limit {
    Limit::new(TRICKLE_PER_SECOND, TRICKLE_AT_ONCE)
}

impl Admission {
    /// What a session's packets are taken from, first and then, and why they are dropped when there is none.
    fn budget(&self, gate: &Gate) -> ([&Limit; 2], Shed) {
        if self.is_shut(gate) && !self.has_grace(gate) {
            ([&self.trickle; 2], Shed::Blocked)
        } else {
            ([&self.packets, &self.packets_over], Shed::OverBudget)
        }
    }

    /// Why a packet is dropped, and for how long all are, in nanoseconds, if none is to be opened now.
    pub(super) fn spent(&self, gate: &Gate) -> Option<(Shed, u64)> {
        if !gate.is_named {
            return (gate.unread > EARLY_MAX).then_some((Shed::BeforeHello, CLOSED_NS));
        }
        let ([first, then], why) = self.budget(gate);
        if first.wait_ns(&gate.budget, self.now_ns) == 0 {
            return None;
        }
        let wait_ns = then.wait_ns(&gate.budget, self.now_ns);
        (wait_ns > 0).then_some((why, wait_ns))
    }

    /// Takes a packet of a session from what it has.
    pub fn spend(&mut self, gate: &mut Gate) -> Spending {
        if !gate.is_named {
            return match gate.unread {
                0..EARLY_MAX => {
                    gate.unread += 1;
                    Spending::Open
                }
                EARLY_MAX => {
                    gate.unread += 1;
                    Spending::Close
                }
                _ => Spending::Shed(Shed::BeforeHello),
            };
        }
        let ([first, then], why) = self.budget(gate);
        // A look before: a check that refuses cuts the level to what the first allows.
        let is_over = first.wait_ns(&gate.budget, self.now_ns) > 0;
        let limit = if is_over { then } else { first };
        match limit.take(&mut gate.budget, self.now_ns) {
            Ok(()) => Spending::Open,
            Err(_) => Spending::Shed(why),
        }
    }

    /// Whether a session sends more than its budget has.
    pub fn is_over_budget(&self, gate: &Gate) -> bool {
        self.packets.wait_ns(&gate.budget, self.now_ns) > 0
    }

    /// Whether a session sends more than it could were its user blocked. Of who does not, nobody need know.
    pub fn is_over_trickle(&self, gate: &Gate) -> bool {
        self.trickle.wait_ns(&gate.budget, self.now_ns) > 0
    }
}
