//! Between two turns: when the next one may begin, and what wakes a shard that has nothing to do.

use super::batch::BATCH;
use super::{Shard, TICK};
use nix::poll::{PollFd, PollFlags};
use nix::sys::time::TimeSpec;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// The shortest time from one turn to the next while little comes. Half of it is what a reply takes longer on average.
const QUIET: Duration = Duration::from_millis(1);
/// The same while a whole batch comes in so long: 8,000 packets a second and more.
const BUSY: Duration = Duration::from_millis(4);
/// The longest sleep: how late a shard may see the stop flag or a new phase.
const SLEEP_MAX: Duration = Duration::from_millis(50);
/// The longest sleep while something is due by the clock alone: gifts, or the next sessions of a sweep.
const PACED_SLEEP_MAX: Duration = Duration::from_millis(2);

/// How soon a shard's next turn may begin. As with the interrupts of a network card, when much comes it is held back for a
/// while: packets that are handled together share the wake-up, the system calls and what the caches hold.
pub struct Moderation {
    spacing: Duration,
    /// Packets read since the last turn began.
    packets: usize,
}

impl Moderation {
    pub fn new() -> Self {
        Self {
            spacing: QUIET,
            packets: 0,
        }
    }

    /// So many packets were read.
    pub fn note(&mut self, packets: usize) {
        self.packets += packets;
    }

    /// A turn begins, so long after the last one. What was read since then tells how much comes.
    pub fn begin_turn(&mut self, since: Duration) {
        let is_busy = self.packets > 0 && self.packets as u128 * BUSY.as_nanos() >= BATCH as u128 * since.as_nanos();
        *self = Self {
            spacing: if is_busy { BUSY } else { QUIET },
            packets: 0,
        };
    }

    /// The moment before which no turn begins that has nothing left to do, when the last one began then.
    pub fn next_turn(&self, began: Instant) -> Instant {
        began + self.spacing
    }
}

impl Shard {
    /// Waits for a packet, an answer of the agent, or a timer, and reads what the socket has. A turn that has nothing left
    /// to do begins no earlier than its moderation says.
    pub(super) fn wait(&mut self) {
        let has_work = !self.dirty.is_empty() || !self.backlog.is_empty();
        let held_back = self.moderation.next_turn(self.serving.now.instant);
        let rest = held_back.saturating_duration_since(Instant::now());
        let may_rest = !has_work && !rest.is_zero();
        if may_rest {
            std::thread::sleep(rest);
        }
        self.arrivals.held_back(may_rest.then_some(held_back));
        // With many phones something has come meanwhile, and nobody need be asked to wake this thread.
        if self.read() > 0 || has_work || self.serving.lane.has_deliveries() {
            return;
        }
        self.serving.lane.bell().arm();
        if !self.serving.lane.has_deliveries() {
            let timeout = self.time_to_next_timer();
            let mut descriptors = [
                PollFd::new(self.parts.socket.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.serving.lane.bell().as_fd(), PollFlags::POLLIN),
            ];
            // ppoll, because poll's whole milliseconds would be rounded to zero, and the loop would spin.
            // An error here is an interruption by a signal; the turn goes on either way.
            let _ = nix::poll::ppoll(&mut descriptors, Some(TimeSpec::from_duration(timeout)), None);
        }
        self.serving.lane.bell().disarm_and_drain();
        self.read();
    }

    fn time_to_next_timer(&self) -> Duration {
        let elapsed = self.began.elapsed();
        let ticks = self.wheel.ticks_to_next();
        until_tick(self.tick() + ticks, elapsed).min(if self.serving.has_gifts() || self.sweeps.is_under_way() {
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

    /// After a turn in which `packets` were read `since` the one before it.
    fn spacing(packets: usize, since: Duration) -> Duration {
        let mut moderation = Moderation::new();
        moderation.note(packets);
        moderation.begin_turn(since);
        let began = Instant::now();
        moderation.next_turn(began) - began
    }

    #[test]
    fn turns_are_further_apart_while_whole_batches_come() {
        assert_eq!(spacing(0, Duration::ZERO), QUIET);
        assert_eq!(spacing(1, QUIET), QUIET);
        assert_eq!(spacing(BATCH / 4 - 1, QUIET), QUIET);
        assert_eq!(spacing(BATCH / 4, QUIET), BUSY);
        assert_eq!(spacing(BATCH - 1, BUSY), QUIET);
        assert_eq!(spacing(BATCH, BUSY), BUSY);
        // A burst after a long rest says nothing of what comes next.
        assert_eq!(spacing(10 * BATCH, Duration::from_secs(1)), QUIET);
    }

    #[test]
    fn each_turn_counts_for_itself() {
        let began = Instant::now();
        let mut moderation = Moderation::new();
        moderation.note(BATCH);
        moderation.begin_turn(BUSY);
        assert_eq!(moderation.next_turn(began + BUSY), began + 2 * BUSY);
        moderation.begin_turn(BUSY);
        assert_eq!(moderation.next_turn(began + 2 * BUSY), began + 2 * BUSY + QUIET);
    }
}
