//! How often something may happen, with a burst. `governor` does the arithmetic: the generic cell rate algorithm (GCRA,
//! ITU-T I.371).
//!
//! What happened so far is a [`Level`] of eight bytes, so every session has its own; the rule is a [`Limit`], which all
//! share. A level means the same to every limit, so a rule of another rate goes on with it:
//!
//! ```text
//!          burst − 1 intervals        one interval
//!  now ├──────────────────────────┼────────────────┤
//!      ▲ idle   allowed at once   ▲    wait        ▲ no level lies beyond: a slower rule's debt ends here
//! ```
//! governor keeps its state in a store, under a key. Here the key is the level itself, so there is no table to look into
//! and none that grows. Time is an argument: it is put into the limiter's clock, which all limiters were made with at
//! zero, so all measure from one origin.

#![forbid(unsafe_code)]

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::{Quota, RateLimiter};
use std::cell::Cell;
use std::hash::{Hash, Hasher};
use std::num::NonZeroU32;
use std::time::Duration;

/// The longest time that a full burst may take to come back, in nanoseconds: 73 years. governor adds such times in 64 bits.
pub const REFILL_NS_MAX: u64 = 1 << 61;

/// What happened so far: the theoretical arrival time of the next, in nanoseconds. Zero is a fresh one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Level(Cell<u64>);

const _: () = assert!(size_of::<Level>() == 8, "one stands beside every session");

impl Level {
    /// Whether a fresh one would behave the same: nothing is remembered.
    #[must_use]
    pub fn is_idle(&self, now_ns: u64) -> bool {
        self.0.get() <= now_ns
    }

    /// The next one is due so much later, or earlier, than the rule by which the last was taken says.
    fn shift(&mut self, by_ns: i64) {
        self.0.set(self.0.get().saturating_add_signed(by_ns));
    }
}

impl Hash for Level {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.get().hash(state);
    }
}

/// How often something may happen.
#[derive(Debug)]
pub struct Limit(Rule);

#[derive(Debug)]
enum Rule {
    /// Nobody is asked.
    Unlimited,
    /// Nothing ever may.
    Nothing,
    Rate {
        limiter: RateLimiter<Level, KeyIsState, Reading, NoOpMiddleware<Nanos>>,
        /// The burst and one interval: no level lies further ahead.
        most_ns: u64,
        interval_ns: u64,
    },
}

impl Limit {
    /// At most `per_second` in the long run and `burst` (at least one) at once. Infinity allows everything, zero or less
    /// nothing. The time in which a burst comes back is cut to [`REFILL_NS_MAX`].
    #[must_use]
    pub fn new(per_second: f64, burst: u32) -> Self {
        if per_second > 0.0 {
            Self::every((1e9 / per_second).min(REFILL_NS_MAX as f64) as u64, burst)
        } else {
            Self(Rule::Nothing)
        }
    }

    /// At most one each `interval_ns` in the long run, and `burst` (at least one) at once.
    #[must_use]
    pub fn every(interval_ns: u64, burst: u32) -> Self {
        let burst = NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN);
        let interval_ns = interval_ns.min(REFILL_NS_MAX / u64::from(burst.get()));
        let Some(quota) = Quota::with_period(Duration::from_nanos(interval_ns)) else {
            return Self(Rule::Unlimited);
        };
        Self(Rule::Rate {
            limiter: RateLimiter::new(quota.allow_burst(burst), KeyIsState, Reading(Cell::new(0))),
            most_ns: interval_ns * u64::from(burst.get()),
            interval_ns,
        })
    }

    /// Whether it allows everything, so that nobody need ask.
    #[must_use]
    pub fn is_unlimited(&self) -> bool {
        matches!(self.0, Rule::Unlimited)
    }

    /// The time between two in the long run, in nanoseconds: zero when everything is allowed, `u64::MAX` when nothing is.
    #[must_use]
    pub fn interval_ns(&self) -> u64 {
        match self.0 {
            Rule::Unlimited => 0,
            Rule::Nothing => u64::MAX,
            Rule::Rate { interval_ns, .. } => interval_ns,
        }
    }

    /// Nanoseconds until one more is allowed; zero when it is now, `u64::MAX` when it never is. `now_ns` is of any clock
    /// that never steps back.
    #[must_use]
    pub fn wait_ns(&self, level: &Level, now_ns: u64) -> u64 {
        self.take(&mut level.clone(), now_ns).err().unwrap_or(0)
    }

    /// Takes one if it is allowed.
    ///
    /// # Errors
    /// The nanoseconds to wait, as [`Limit::wait_ns`]; nothing was taken then, but what a slower rule had the level owe beyond
    /// this rule's burst and one interval is forgiven.
    pub fn take(&self, level: &mut Level, now_ns: u64) -> Result<(), u64> {
        self.forgive(level, now_ns);
        let limiter = match &self.0 {
            Rule::Unlimited => return Ok(()),
            Rule::Nothing => return Err(u64::MAX),
            Rule::Rate { limiter, .. } => limiter,
        };
        limiter.clock().0.set(now_ns);
        limiter
            .check_key(level)
            .map_err(|until| until.wait_time_from(now_ns.into()).as_nanos() as u64)
    }

    /// What was filled by a slower rule owes no more than this one's burst and one interval.
    fn forgive(&self, level: &Level, now_ns: u64) {
        if let Rule::Rate { most_ns, .. } = self.0 {
            level.0.set(level.0.get().min(now_ns.saturating_add(most_ns)));
        }
    }
}

/// A limit with what happened so far: of what many draw on together.
#[derive(Debug)]
pub struct Shared {
    /// The rule. Another one goes on with what happened so far.
    pub limit: Limit,
    level: Level,
}

impl Shared {
    /// A fresh one.
    #[must_use]
    pub fn new(limit: Limit) -> Self {
        Self {
            limit,
            level: Level::default(),
        }
    }

    /// What is given out evenly, `per_second`: one behind the other, and one that came late is made up for by the next, but
    /// no pause is. Infinity gives everything, zero or less nothing.
    #[must_use]
    pub fn evenly(per_second: f64) -> Self {
        Self::new(Limit::new(per_second, 2))
    }

    /// Goes on at another rate, evenly.
    pub fn change_rate(&mut self, per_second: f64) {
        self.limit = Limit::new(per_second, 2);
    }

    /// As [`Limit::wait_ns`]. The level is this rule's alone, so what a slower one had it owe is forgiven here too: who waits
    /// as long as it was told, however often it asks meanwhile, is let through.
    #[must_use]
    pub fn wait_ns(&self, now_ns: u64) -> u64 {
        self.limit.forgive(&self.level, now_ns);
        self.limit.wait_ns(&self.level, now_ns)
    }

    /// As [`Limit::take`].
    ///
    /// # Errors
    /// The nanoseconds to wait; nothing was taken then.
    pub fn take(&mut self, now_ns: u64) -> Result<(), u64> {
        self.limit.take(&mut self.level, now_ns)
    }
}

/// The pace of shakes: a limit of which each who is let through gets an interval of its own until the next.
///
/// How far ahead one may be goes by the pace alone. So whether a shake is in time is known before its own interval is drawn,
/// and nobody gains by drawing again.
#[derive(Debug)]
pub struct Pace(Limit);

impl Pace {
    /// One each `interval_ns`, and `burst` at once.
    #[must_use]
    pub fn every(interval_ns: u64, burst: u32) -> Self {
        let mut limit = Limit::every(interval_ns, burst);
        if let Rule::Rate {
            most_ns, interval_ns, ..
        } = &mut limit.0
        {
            // An interval of one's own may be twice the pace's.
            *most_ns += *interval_ns;
        }
        Self(limit)
    }

    /// The limit that judges who is in time.
    #[must_use]
    pub fn limit(&self) -> &Limit {
        &self.0
    }

    /// Takes one if it is in time; the next is then due after `own_ns`, at most twice the pace's interval, in its place.
    ///
    /// # Errors
    /// The nanoseconds to wait, as [`Limit::wait_ns`].
    pub fn take(&self, level: &mut Level, own_ns: u64, now_ns: u64) -> Result<(), u64> {
        self.0.take(level, now_ns)?;
        let interval_ns = self.0.interval_ns();
        level.shift(own_ns.min(interval_ns.saturating_mul(2)).cast_signed() - interval_ns.cast_signed());
        Ok(())
    }
}

/// The store of governor whose key is the state.
#[derive(Debug)]
struct KeyIsState;

impl StateStore for KeyIsState {
    type Key = Level;

    fn measure_and_replace<T, F, E>(&self, level: &Level, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let (outcome, next) = decide(Some(level.0.get().into()))?;
        level.0.set(next.into());
        Ok(outcome)
    }
}

/// The clock of a limiter: the time that it was last asked for.
#[derive(Debug)]
struct Reading(Cell<u64>);

impl Clock for Reading {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        self.0.get().into()
    }
}

#[cfg(test)]
mod tests;
