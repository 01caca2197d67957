//! When a turn may begin: the pace of turns, which is kept down while much comes.

use crate::batch::BATCH;
use std::time::{Duration, Instant};

/// The shortest time from one turn to the next while little comes. Half of it is what a reply takes longer on average.
const QUIET: Duration = Duration::from_millis(1);
/// The same while a whole batch comes in so long: 8,000 packets a second and more.
const BUSY: Duration = Duration::from_millis(4);

/// How soon a shard's next turn may begin. As with the interrupts of a network card, when much comes it is held back for a
/// while: packets that are handled together share the wake-up, the system calls and what the caches hold.
pub struct TurnPacing {
    spacing: Duration,
    /// Packets read since the last turn began.
    packets: usize,
}

impl TurnPacing {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// After a turn in which `packets` were read `since` the one before it.
    fn spacing(packets: usize, since: Duration) -> Duration {
        let mut pacing = TurnPacing::new();
        pacing.note(packets);
        pacing.begin_turn(since);
        let began = Instant::now();
        pacing.next_turn(began) - began
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
        let mut pacing = TurnPacing::new();
        pacing.note(BATCH);
        pacing.begin_turn(BUSY);
        assert_eq!(pacing.next_turn(began + BUSY), began + 2 * BUSY);
        pacing.begin_turn(BUSY);
        assert_eq!(pacing.next_turn(began + 2 * BUSY), began + 2 * BUSY + QUIET);
    }
}
