//! How often users shake, and what is said to those who shake too often.

use super::prefixes::{Over, Prefixes};
use super::present::{MOMENT_MS, Present, retry_ms, unlimited};
use super::user::{UNRULY_ANSWERS, UserLimits};
use crate::config_store::Live;
use crate::counters::SlowDown;
use rand::rngs::StdRng;
use rate_limit::{Limit, Shared};
use shake_rules::throttle::GradeRules;
use std::net::IpAddr;

/// How long a blocked user who shakes on is not told again, in milliseconds.
const TOLD_BLOCKED_MS: u32 = 10_000;
/// How long a user who shook counts among those who shake, in milliseconds: the longest pace.
const SHAKER_MS: u64 = 10_000;

/// What becomes of a shake.
pub enum Verdict {
    /// Serve it, and tell this pace, which the next one is judged by.
    Serve { pace_ms: u32 },
    /// Answer "slow down".
    Refuse { why: SlowDown, retry_after_ms: u32 },
    /// The user was told a moment ago: no answer.
    Drop,
}

/// Limits shakes.
pub struct ShakeLimiter {
    shards: u16,
    all: Shared,
    /// Of one prefix. Looked at only where there is such a limit, for each shake costs a look into a large table then.
    prefix: Limit,
    prefixes: Prefixes,
    pub(super) span: u16,
    shakers: u32,
    shakers_before: u32,
}

impl ShakeLimiter {
    pub(super) fn new(shards: u16) -> Self {
        Self {
            shards,
            all: Shared::new(unlimited()),
            prefix: unlimited(),
            prefixes: Prefixes::default(),
            span: 0,
            shakers: 0,
            shakers_before: 0,
        }
    }

    pub(super) fn take_rules(&mut self, rules: &GradeRules, shards: u16) {
        self.all.limit = rules.shakes.part(shards);
        self.prefix = rules.prefix_shakes.part(shards);
    }

    pub(super) fn begin_turn(&mut self, now_ns: u64) {
        let span = (now_ns / 1_000_000 / SHAKER_MS) as u16;
        if span != self.span {
            // A user's limits say 0 for never, and the number of their span plus one.
            self.span = span;
            self.shakers_before = std::mem::take(&mut self.shakers);
        }
    }

    /// Users who shook lately.
    pub fn shakers(&self) -> u32 {
        self.shakers.max(self.shakers_before)
    }

    /// Judges a shake that came from `address`. `show_pace_ms` is the phase's.
    pub fn shake(
        &mut self,
        present: &Present,
        user: &mut UserLimits,
        address: IpAddr,
        live: &Live,
        show_pace_ms: u32,
        rng: &mut StdRng,
    ) -> Verdict {
        self.count_shaker(user);
        let pace_ms = present.pace_ms(show_pace_ms, rng);
        let by_user = user.over_rate_ns(present);
        let (why, wait_ns) = if by_user > 0 {
            (SlowDown::UserRate, by_user)
        } else if let Err(why) = self.take_of_prefix(present, address, live) {
            // When the others of the prefix let it, nobody knows.
            (why, 0)
        } else {
            match self.all.take(present.now_ns) {
                Ok(()) => {
                    let taken = present.user.take(&mut user.shakes, pace_ms, present.now_ns);
                    debug_assert!(taken.is_ok(), "no wait was told above");
                    user.answered(present);
                    return Verdict::Serve { pace_ms };
                }
                Err(wait_ns) => (SlowDown::GradeRate, wait_ns),
            }
        };
        if present.moment() < user.told_until {
            return Verdict::Drop;
        }
        let wait_ms = u32::try_from(wait_ns / 1_000_000).unwrap_or(u32::MAX);
        let rules = live.throttle.at(present.grade);
        let retry_after_ms = retry_ms(rules, rng).max(wait_ms.min(rules.retry_ms[1]));
        user.told_until = present.moment().saturating_add(retry_after_ms / MOMENT_MS);
        user.answered(present);
        user.unruly = UNRULY_ANSWERS;
        Verdict::Refuse { why, retry_after_ms }
    }

    /// Counts a user among those who shake, once a span. Gives whether it did.
    pub(super) fn count_shaker(&mut self, user: &mut UserLimits) -> bool {
        let span = self.span.wrapping_add(1);
        let is_new = user.span != span;
        user.span = span;
        self.shakers += u32::from(is_new);
        is_new
    }

    fn take_of_prefix(&mut self, present: &Present, address: IpAddr, live: &Live) -> Result<(), SlowDown> {
        if self.prefix.is_unlimited() {
            return Ok(());
        }
        let limits = &live.throttle.prefixes;
        let max = limits.max.div_ceil(self.shards.into());
        self.prefixes
            .take(address, &self.prefix, limits, max, present.now_ns)
            .map_err(|over| match over {
                Over::Rate => SlowDown::PrefixRate,
                Over::Full => SlowDown::PrefixesFull,
            })
    }
}

/// Shuts out a blocked user who shakes, for the rest of the block. It is told now and then, because what tells it may get
/// lost; nothing when that was a moment ago.
pub fn shake_of_blocked(present: &Present, user: &mut UserLimits, rest_ms: u32) -> Option<SlowDown> {
    let now = present.moment();
    let is_told = user.is_shut(present) && now < user.told_until;
    user.shut(present, rest_ms);
    if is_told {
        return None;
    }
    user.told_until = now.saturating_add(rest_ms.min(TOLD_BLOCKED_MS) / MOMENT_MS);
    Some(SlowDown::Blocked)
}
