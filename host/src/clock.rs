//! The clocks, read at the edge of the program only.
//!
//! | clock | what goes by it |
//! |---|---|
//! | [`Clock`], the steady one | whatever two programs or a phone's ticket must agree on: ends, phases, tokens |
//! | [`wall`], [`wall_ns`] and the like | what came from outside with a time of the wall clock: the kernel's timestamps, certificates |
//! | [`monotonic_ms`], [`monotonic_ns`] | how long ago something in this machine was: heartbeats |

use crate::steady::Steady;
use nix::time::{ClockId, clock_gettime};
use shake_rules::UnixMillis;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};
use thiserror::Error;

/// CLOCK_MONOTONIC in nanoseconds, which two processes of one machine share.
#[must_use]
pub fn monotonic_ns() -> u64 {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("Linux always has CLOCK_MONOTONIC");
    time.tv_sec().cast_unsigned() * 1_000_000_000 + time.tv_nsec().cast_unsigned()
}

/// The same in milliseconds; heartbeats are told in it.
#[must_use]
pub fn monotonic_ms() -> u64 {
    monotonic_ns() / 1_000_000
}

/// The wall clock in nanoseconds since 1970; 0 before that.
#[must_use]
pub fn wall_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_nanos() as u64
}

/// The wall clock in milliseconds since 1970; 0 before that.
#[must_use]
pub fn wall_ms() -> u64 {
    wall_ns() / 1_000_000
}

/// The wall clock in microseconds since 1970; 0 before that.
#[must_use]
pub fn wall_us() -> u64 {
    wall_ns() / 1_000
}

/// The wall clock, of a machine that is to have one.
///
/// # Errors
/// [`Unset`].
pub fn wall() -> Result<UnixMillis, Unset> {
    match wall_ms() {
        0 => Err(Unset),
        ms => Ok(UnixMillis(ms)),
    }
}

/// The wall clock shows a time before 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the clock is before 1970; set it")]
pub struct Unset;

/// A moment as people read it.
#[must_use]
pub fn moment(at: UnixMillis) -> String {
    i64::try_from(at.0)
        .ok()
        .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok())
        .map_or_else(|| "the end of time".to_owned(), |at| at.to_string())
}

/// CLOCK_BOOTTIME in microseconds: it never steps, and runs on while the machine is suspended.
fn boot_us() -> u64 {
    let time = clock_gettime(ClockId::CLOCK_BOOTTIME).expect("Linux has CLOCK_BOOTTIME since 2.6.39");
    time.tv_sec().cast_unsigned() * 1_000_000 + time.tv_nsec().cast_unsigned() / 1_000
}

/// The steady clock; clones share it. Reading it is a system call without the system and one load.
#[derive(Clone, Debug)]
pub struct Clock(Arc<AtomicI64>);

impl Clock {
    /// The time of day.
    #[must_use]
    pub fn now(&self) -> UnixMillis {
        self.at(boot_us() / 1_000)
    }

    /// The same when CLOCK_BOOTTIME shows so many milliseconds.
    #[must_use]
    pub fn at(&self, boot_ms: u64) -> UnixMillis {
        UnixMillis(boot_ms.saturating_add_signed(self.offset_ms()))
    }

    /// The same in microseconds since 1970.
    #[must_use]
    pub fn now_us(&self) -> u64 {
        boot_us().saturating_add_signed(self.offset_ms() * 1_000)
    }

    /// Milliseconds from CLOCK_BOOTTIME to this clock; to be told to the other program of this machine.
    #[must_use]
    pub fn offset_ms(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Keeps a steady clock; there is one for each process.
#[derive(Debug)]
pub struct Keeper {
    clock: Clock,
    steady: Steady,
}

impl Keeper {
    /// Starts by the wall clock, or by the offset of the other program of this machine when that runs already.
    #[must_use]
    pub fn start(beside: Option<i64>) -> Self {
        let steady = match beside {
            Some(offset_ms) => Steady::by(offset_ms),
            None => Steady::start(boot_us() / 1_000, wall_ms()),
        };
        Self {
            clock: Clock(Arc::new(AtomicI64::new(steady.offset_ms()))),
            steady,
        }
    }

    /// The clock.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.clock.clone()
    }

    /// Looks at the machine's clocks, or goes by the offset of the other program when that leads. To be called some times
    /// a second. Gives the step in milliseconds when the clock took one.
    pub fn look(&mut self, leads: Option<i64>) -> Option<i64> {
        let step_ms = match leads {
            Some(offset_ms) => self.steady.follow(offset_ms),
            None => self.steady.look(boot_us() / 1_000, wall_ms()),
        };
        if step_ms.is_some() {
            self.clock.0.store(self.steady.offset_ms(), Ordering::Relaxed);
        }
        step_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_read_in_utc_and_may_be_far() {
        assert_eq!(moment(UnixMillis(1_790_000_000_000)), "2026-09-21T14:13:20Z");
        assert_eq!(moment(UnixMillis(u64::MAX)), "the end of time");
        assert!(wall().is_ok_and(|now| now.0.abs_diff(wall_us() / 1_000) < 60_000));
    }

    #[test]
    fn a_steady_clock_shows_the_time_of_day_and_clones_share_it() {
        let mut keeper = Keeper::start(None);
        let clock = keeper.clock();
        assert!(clock.now().0.abs_diff(wall_ms()) < 60_000);
        assert!(clock.now_us() / 1_000 >= clock.now().0.saturating_sub(1));
        let offset_ms = clock.offset_ms() + 1_234;
        assert_eq!(keeper.look(Some(offset_ms)), Some(1_234));
        assert_eq!((keeper.look(Some(offset_ms)), clock.offset_ms()), (None, offset_ms));
        let clock = Keeper::start(Some(7)).clock();
        assert_eq!((clock.offset_ms(), clock.at(1_000)), (7, UnixMillis(1_007)));
    }
}
