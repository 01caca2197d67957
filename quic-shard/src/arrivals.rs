//! How late a shard is: when the packets of a turn were received by the kernel, when they were handled, and when the
//! turn's answers left. It feeds the histograms, and tells the application.
//!
//! The kernel's timestamps are of the wall clock, which may step. A step is told from a wait by the monotonic clock: a
//! packet came after the socket was last found empty, so it has not waited for longer than since then.

use crate::app::{App, QueueDelay, Turn};
use crate::batch::RecvBatch;
use crate::counters::Counters;
use crate::io::{Io, Now};
use std::time::{Duration, Instant};

/// Batches handled in one turn, before timers and the application's own have theirs: about 10 ms of 100,000 packets/s.
pub const BATCHES_PER_TURN: usize = 32;

/// One batch of packets.
struct Batch {
    /// How long its first packet had waited when it was handled.
    wait_ns: u64,
    handled: Instant,
    packets: u64,
}

/// The batches of one turn.
#[derive(Default)]
pub struct Arrivals {
    batches: Vec<Batch>,
    served_before: u64,
    /// When the socket was last looked at.
    read_at: Option<Instant>,
    /// When it was last looked at and found empty, or emptied.
    empty_at: Option<Instant>,
    /// Until when this turn was held back, with nothing left to do.
    held_back: Option<Instant>,
}

impl Arrivals {
    /// The next turn was held back on purpose until then, or was not. What came before that is no sign of load until then.
    pub fn held_back(&mut self, until: Option<Instant>) {
        self.held_back = until;
    }

    pub fn begin_turn(&mut self, served: u64) {
        self.batches.clear();
        self.batches.reserve(BATCHES_PER_TURN);
        self.served_before = served;
    }

    /// A batch is about to be handled.
    pub fn batch(&mut self, app: &mut impl App, counters: &Counters, batch: &RecvBatch, io: &impl Io) {
        let Some(at_ns) = batch.received_at_ns() else {
            return;
        };
        let packets = batch.len() as u64;
        let handled = io.instant();
        let since_empty_ns = self.empty_at.map(|at| since_ns(at, handled));
        let waited_ns = waited_ns(io.wall_ns(), at_ns, since_empty_ns);
        counters.queue_wait.add(waited_ns / 1_000, packets);
        app.begin_batch(QueueDelay {
            waited_ns,
            queued_ns: queued_ns(waited_ns, self.held_back, handled),
        });
        self.batches.push(Batch {
            wait_ns: waited_ns,
            handled,
            packets,
        });
    }

    /// The socket is about to be read.
    pub fn before_read(&mut self, now: Instant) {
        self.read_at = Some(now);
    }

    /// The last read took all that had come.
    pub fn socket_is_empty(&mut self) {
        self.empty_at = self.read_at;
    }

    /// The turn's answers are out. What it served counts as spread over its batches.
    pub fn end_turn(&mut self, counters: &Counters, now: &Now, served: u64, io: &impl Io) -> Turn {
        if self.batches.is_empty() {
            return Turn {
                took: Duration::ZERO,
                batches: 0,
            };
        }
        let ended = io.instant();
        let mut served = served - self.served_before;
        let mut packets: u64 = self.batches.iter().map(|batch| batch.packets).sum();
        for batch in &self.batches {
            let part = served * batch.packets / packets.max(1);
            let latency_ns = batch.wait_ns + since_ns(batch.handled, ended);
            counters.latency.add(latency_ns / 1_000, part);
            served -= part;
            packets -= batch.packets;
        }
        Turn {
            took: ended.saturating_duration_since(now.instant),
            batches: self.batches.len(),
        }
    }
}

fn since_ns(then: Instant, now: Instant) -> u64 {
    now.saturating_duration_since(then).as_nanos() as u64
}

/// The part of a packet's wait that tells of load: not the time for which its turn was held back.
fn queued_ns(wait_ns: u64, held_back: Option<Instant>, handled: Instant) -> u64 {
    held_back.map_or(wait_ns, |until| wait_ns.min(since_ns(until, handled)))
}

/// How long a packet has waited that the kernel received at `at_ns` by the wall clock, when its socket was found empty so
/// long ago. Nothing is known of a packet that came before the first look, or by a clock that has gone back since.
fn waited_ns(now_ns: u64, at_ns: u64, since_empty_ns: Option<u64>) -> u64 {
    now_ns.saturating_sub(at_ns).min(since_empty_ns.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn what_was_held_back_on_purpose_is_no_load() {
        const MS: u64 = 1_000_000;
        let until = Instant::now();
        let ms_after = |ms| until + Duration::from_millis(ms);
        assert_eq!(queued_ns(3 * MS, None, ms_after(1)), 3 * MS);
        // It came while the turn was held back, which was to end 1 ms ago; and since then.
        assert_eq!(queued_ns(3 * MS, Some(until), ms_after(1)), MS);
        assert_eq!(queued_ns(MS / 2, Some(until), ms_after(1)), MS / 2);
        // The thread did not get its core when it wanted to.
        assert_eq!(queued_ns(53 * MS, Some(until), ms_after(50)), 50 * MS);
    }

    #[test]
    fn a_stepped_clock_is_no_wait() {
        const S: u64 = 1_000_000_000;
        let (now, ms) = (1_800_000_000 * S, S / 1_000);
        // As measured, while the clock runs as it should; and a process that stood still for three seconds.
        assert_eq!(waited_ns(now, now - 2 * ms, Some(5 * ms)), 2 * ms);
        assert_eq!(waited_ns(now, now - 3 * S, Some(3 * S + ms)), 3 * S);
        // The clock went 20 minutes, 5 seconds ahead while the packet was under way.
        assert_eq!(waited_ns(now + 1_200 * S, now, Some(ms)), ms);
        assert_eq!(waited_ns(now + 5 * S, now, Some(ms)), ms);
        // It went back; and the first packets of a life.
        assert_eq!(waited_ns(now - 5 * S, now, Some(ms)), 0);
        assert_eq!(waited_ns(now, now - 5 * S, None), 0);
    }
}
