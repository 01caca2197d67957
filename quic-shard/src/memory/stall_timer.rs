//! How long the shard stood still for room: the longest growth of a table or of the sessions' pages.

use super::allocations::large_blocks;
use nix::time::{ClockId, clock_gettime};
use std::time::Duration;
use tracing::info;

/// Growth that takes so long is told in the log: phones notice little of it, but it should not be.
const LONG: Duration = Duration::from_millis(5);

/// In CPU time and not the clock's, because a shard that waits for its turn on a busy machine grows nothing. Each look takes some
/// 0.3 µs; for what is done once a session.
#[derive(Default)]
pub struct StallTimer {
    longest: Duration,
}

impl StallTimer {
    /// Does work in which pages may grow, and which is little besides.
    pub fn of_pages<T>(&mut self, work: impl FnOnce() -> T) -> T {
        self.time("pages", work, || true)
    }

    /// Does work in which tables may grow. It counts only if one did and took a large block for that: the rest of a handshake
    /// may take its time, and the processor may be taken away in it for long.
    pub fn of_tables<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let before = large_blocks();
        self.time("tables", work, || large_blocks() > before)
    }

    fn time<T>(&mut self, what: &str, work: impl FnOnce() -> T, has_grown: impl FnOnce() -> bool) -> T {
        let began = cpu_time();
        let result = work();
        if has_grown() {
            let took = cpu_time().saturating_sub(began);
            if took > LONG {
                info!(what, took_us = took.as_micros() as u64, "stood still to grow");
            }
            self.longest = self.longest.max(took);
        }
        result
    }

    /// The longest so far.
    pub fn longest(&self) -> Duration {
        self.longest
    }
}

fn cpu_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)
        .expect("Linux always has this clock")
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;
    use std::hint::black_box;

    fn busy() {
        let until = cpu_time() + Duration::from_millis(2);
        while cpu_time() < until {
            black_box(until);
        }
    }

    #[test]
    fn only_what_grows_a_table_counts() {
        let mut timer = StallTimer::default();
        let mut table: HashMap<u64, [u64; 4]> = HashMap::with_capacity(1);
        timer.of_tables(|| {
            table.insert(0, [0; 4]);
            busy();
        });
        assert_eq!(timer.longest(), Duration::ZERO, "there was room");
        timer.of_tables(|| {
            table.extend((1..10_000).map(|key| (key, [key; 4])));
            busy();
        });
        assert!(timer.longest() >= Duration::from_millis(2), "{:?}", timer.longest());
        assert_eq!(black_box(table).len(), 10_000);
    }

    #[test]
    fn every_look_at_pages_counts() {
        let mut timer = StallTimer::default();
        timer.of_pages(busy);
        assert!(timer.longest() >= Duration::from_millis(2), "{:?}", timer.longest());
    }
}
