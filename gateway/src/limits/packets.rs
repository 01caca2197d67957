//! How many packets of a session are opened, whatever they hold: every packet that is opened has a price, and every session
//! a budget.
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

use super::present::{Present, unlimited};
use super::user::UserLimits;
use crate::counters::Shed;
use rate_limit::Limit;
use shake_rules::grade::{GRADES, Grade};
use shake_rules::throttle::{GradeRules, Rate};

/// Datagrams before Hello. A handshake with large post-quantum keys, each packet sent twice, takes about 30.
pub(super) const EARLY_MAX: u8 = 64;
/// Packets of the blocked, and of those over their budget.
const TRICKLE_PER_SECOND: f64 = 4.0;
const TRICKLE_AT_ONCE: u32 = 16;
/// For so long the kernel drops what a session sends that is closed for want of a Hello, in nanoseconds: while it drains.
const CLOSED_NS: u64 = 1_000_000_000;
/// A refused shake of who is over the budget stands for so many: of a hundred packets a second, four are opened.
const STANDS_FOR: u16 = 25;
/// Of a shut-out user's packets every so many is let through, by grade: one that is costs several times what one that is
/// dropped does, and the higher the grade the less there is to spend on who does not obey.
const PASS_EVERY: [u8; GRADES] = [4, 8, 16, 32, 64];
/// When packets wait for so long, in nanoseconds, nobody need be known as unruly for the kernel to drop what is over the rate.
pub(super) const CROWDED_NS: u64 = 10_000_000;
/// No packet waits in a socket for longer, in milliseconds.
const SOCKET_MS_MAX: i32 = 60_000;

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

/// Limits the packets of sessions.
pub struct PacketLimiter {
    /// What a session has, and what it may be over that.
    pub(super) budget: Limit,
    pub(super) over_budget: Limit,
    /// What a session of a blocked user has.
    trickle: Limit,
    pub(super) shed_after_ns: u64,
    /// How long the batch at hand waited.
    queue_wait_ns: u64,
}

impl PacketLimiter {
    pub(super) fn new() -> Self {
        Self {
            budget: unlimited(),
            over_budget: unlimited(),
            trickle: Limit::new(TRICKLE_PER_SECOND, TRICKLE_AT_ONCE),
            shed_after_ns: u64::MAX,
            queue_wait_ns: 0,
        }
    }

    pub(super) fn take_rules(&mut self, rules: &GradeRules) {
        self.shed_after_ns = u64::from(rules.shed_after_ms) * 1_000_000;
        self.take_budget(rules.user_packets);
    }

    pub(super) fn take_budget(&mut self, budget: Rate) {
        (self.budget, self.over_budget) = (budget.part(1), over(budget));
    }

    /// How long the packets that come next waited in the socket.
    pub fn begin_batch(&mut self, queue_wait_ns: u64) {
        self.queue_wait_ns = queue_wait_ns;
    }

    /// Whether a packet that seems to be a session's is not worth decrypting; `None` if it is. Nothing is charged for it yet:
    /// whose it is may be an old belief.
    pub fn shed(&self, present: &Present, user: &mut UserLimits) -> Option<Shed> {
        if let Some((why, _)) = self.exhausted(present, user) {
            return Some(why);
        }
        if !user.is_named || user.has_won(present) {
            return None;
        }
        let why = if user.over_rate_ns(present) > 0 {
            Shed::OverRate
        } else if self.queue_wait_ns > self.shed_after_ns {
            Shed::TooLate
        } else {
            return None;
        };
        // What stood in the socket when we answered cannot acknowledge the answer.
        let came_ns = present.now_ns.saturating_sub(self.queue_wait_ns);
        let since_ms = ((came_ns / 1_000_000) as u32)
            .wrapping_sub(user.answered_ms)
            .cast_signed();
        // Modulo 2^32 what was answered 25 days ago and more seems to be still to come.
        if user.answered_ms != 0 && (-SOCKET_MS_MAX..=0).contains(&since_ms) {
            return Some(why);
        }
        user.packets = user.packets.wrapping_add(1);
        // The first is the acknowledgement of what we sent last, without which we would have to ask for it.
        let is_acknowledgement = user.packets == 1 && user.acknowledges_apart(present);
        let passes = match present.grade == Grade::default() {
            // Whatever is served between: else nothing of a flood of a hundred shakes a second would ever be seen.
            true => {
                user.unread = user.unread.wrapping_add(1);
                user.unread.is_multiple_of(PASS_EVERY[0])
            }
            false => user.packets.is_multiple_of(PASS_EVERY[present.grade.index()]),
        };
        (!passes && !is_acknowledgement).then_some(why)
    }

    /// How many shakes one stands for, if it is refused. In a phase all of a flood is looked at where a fresh win lets it
    /// in; between phases nobody wins, one of four is looked at, and it is the same flood. Under load a thumb is over the
    /// rate too, and each stands for itself.
    pub fn stands_for(&self, present: &Present, user: &UserLimits) -> u16 {
        if self.is_over_budget(present, user) {
            return STANDS_FOR;
        }
        let is_one_of_four = user.unread > 0 && user.unread.is_multiple_of(PASS_EVERY[0]);
        let is_at_ease = present.grade == Grade::default() && user.is_named;
        match is_at_ease && is_one_of_four && !user.has_won(present) && user.over_rate_ns(present) > 0 {
            true => PASS_EVERY[0].into(),
            false => 1,
        }
    }

    /// For how long the kernel may drop a session's packets from now on, in nanoseconds: until its budget has one more; and
    /// as long as its user is over the rate, if they are known not to do as told, or packets wait.
    pub fn hold_ns(&self, present: &Present, user: &UserLimits) -> u64 {
        let is_wanted = user.unruly > 0 || self.queue_wait_ns > CROWDED_NS;
        let over_rate_ns = if user.is_named && is_wanted && !user.has_won(present) {
            user.over_rate_ns(present)
        } else {
            0
        };
        self.exhausted(present, user)
            .map_or(over_rate_ns, |(_, wait_ns)| wait_ns.max(over_rate_ns))
    }

    /// What a session's packets are taken from, first and then, and why they are dropped when there is none.
    fn budget(&self, present: &Present, user: &UserLimits) -> ([&Limit; 2], Shed) {
        if user.is_shut(present) && !user.has_won(present) {
            ([&self.trickle; 2], Shed::Blocked)
        } else {
            ([&self.budget, &self.over_budget], Shed::OverBudget)
        }
    }

    /// Why a packet is dropped, and for how long all are, in nanoseconds, if none is to be opened now.
    fn exhausted(&self, present: &Present, user: &UserLimits) -> Option<(Shed, u64)> {
        if !user.is_named {
            return (user.unread > EARLY_MAX).then_some((Shed::BeforeHello, CLOSED_NS));
        }
        let ([first, then], why) = self.budget(present, user);
        if first.wait_ns(&user.budget, present.now_ns) == 0 {
            return None;
        }
        let wait_ns = then.wait_ns(&user.budget, present.now_ns);
        (wait_ns > 0).then_some((why, wait_ns))
    }

    /// Takes a packet of a session from what it has.
    pub fn spend(&self, present: &Present, user: &mut UserLimits) -> Spending {
        if !user.is_named {
            return match user.unread {
                0..EARLY_MAX => {
                    user.unread += 1;
                    Spending::Open
                }
                EARLY_MAX => {
                    user.unread += 1;
                    Spending::Close
                }
                _ => Spending::Shed(Shed::BeforeHello),
            };
        }
        let ([first, then], why) = self.budget(present, user);
        // A look before: a check that refuses cuts the level to what the first allows.
        let is_over = first.wait_ns(&user.budget, present.now_ns) > 0;
        let limit = if is_over { then } else { first };
        match limit.take(&mut user.budget, present.now_ns) {
            Ok(()) => Spending::Open,
            Err(_) => Spending::Shed(why),
        }
    }

    /// Whether a session sends more than its budget has.
    pub(super) fn is_over_budget(&self, present: &Present, user: &UserLimits) -> bool {
        self.budget.wait_ns(&user.budget, present.now_ns) > 0
    }

    /// Whether a session sends more than it could were its user blocked. Of who does not, nobody need know.
    pub fn is_over_trickle(&self, present: &Present, user: &UserLimits) -> bool {
        self.trickle.wait_ns(&user.budget, present.now_ns) > 0
    }
}

/// What a session may send that is over its budget: the trickle, on top of all that the budget has at once. Both are taken
/// from one level, so a session is over its budget until it has been silent for as long as its trickle lasts.
fn over(budget: Rate) -> Limit {
    let owed_s = f64::from(budget.burst.saturating_sub(1)) / budget.per_second;
    let owed = (owed_s * TRICKLE_PER_SECOND).ceil() as u32;
    Limit::new(TRICKLE_PER_SECOND, TRICKLE_AT_ONCE.saturating_add(owed))
}
