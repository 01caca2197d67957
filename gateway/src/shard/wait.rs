//! Between two turns: what wakes a shard that has nothing to do.

use super::io::Io;
use super::{Shard, TICK};
use crate::handlers::has_gifts;
use std::time::Duration;

/// The longest sleep: how late a shard may see the stop flag or a new phase.
const SLEEP_MAX: Duration = Duration::from_millis(50);
/// The longest sleep while something is due by the clock alone: gifts, or the next sessions of a sweep.
const PACED_SLEEP_MAX: Duration = Duration::from_millis(2);

impl<I: Io> Shard<I> {
    /// Waits for a packet, an answer of the agent, or a timer, and reads what has come. A turn that has nothing left to do
    /// begins no earlier than its pacing says.
    pub(super) fn wait(&mut self) {
        let has_work = !self.dirty.is_empty() || !self.backlog.is_empty();
        let held_back = self.pacing.next_turn(self.app.conditions.now.instant);
        let rest = held_back.saturating_duration_since(self.parts.io.instant());
        let may_rest = !has_work && !rest.is_zero();
        if may_rest {
            self.parts.io.sleep(rest);
        }
        self.arrivals.held_back(may_rest.then_some(held_back));
        // With many phones something has come meanwhile, and nobody need be asked to wake this thread.
        if self.read() > 0 || has_work || self.app.ledger.link.has_deliveries() {
            return;
        }
        self.app.ledger.link.bell().arm();
        if !self.app.ledger.link.has_deliveries() {
            let timeout = self.time_to_next_timer();
            self.parts.io.wait(timeout, self.app.ledger.link.bell().as_fd());
        }
        self.app.ledger.link.bell().disarm_and_drain();
        self.read();
    }

    fn time_to_next_timer(&self) -> Duration {
        let elapsed = self.parts.io.instant() - self.began;
        let ticks = self.wheel.ticks_to_next();
        until_tick(self.tick() + ticks, elapsed).min(if has_gifts(&self.app) || self.sweeps.is_under_way() {
            PACED_SLEEP_MAX
        } else {
            SLEEP_MAX
        })
    }
}

/// How long it is until a tick, so long after the shard began. The ticks of a day are 43 million: a number of 32 bits is
/// over after 99 days.
fn until_tick(tick: u64, elapsed: Duration) -> Duration {
    Duration::from_nanos(tick.saturating_mul(TICK.as_nanos() as u64)).saturating_sub(elapsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_sleeps_until_the_next_tick_for_years() {
        const DAY: Duration = Duration::from_secs(86_400);
        for days in [0, 1, 99, 100, 199, 365, 3_650] {
            let elapsed = DAY * days + TICK / 2;
            let tick = (elapsed.as_nanos() / TICK.as_nanos()) as u64;
            assert_eq!(until_tick(tick + 3, elapsed), TICK * 5 / 2, "day {days}");
            assert_eq!(until_tick(tick, elapsed), Duration::ZERO, "day {days}");
        }
    }
}
