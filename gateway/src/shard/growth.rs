//! How long the shard stood still for room: the longest call in which a table or the sessions' pages may grow.

use nix::time::{ClockId, clock_gettime};
use std::time::Duration;

#[derive(Default)]
pub struct Growth {
    longest: Duration,
}

impl Growth {
    /// Does the work, and remembers its CPU time if it is the longest. CPU time and not the clock's, because a shard
    /// that waits for its turn on a busy machine grows nothing. Some 0.3 µs; for what is done once a session.
    pub fn time<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let began = cpu_time();
        let result = work();
        self.longest = self.longest.max(cpu_time().saturating_sub(began));
        result
    }

    pub fn longest(&self) -> Duration {
        self.longest
    }
}

fn cpu_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)
        .expect("Linux always has this clock")
        .into()
}
