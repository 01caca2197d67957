//! How late a shard is: when the packets of a turn were received by the kernel, when they were handled, and when the
//! turn's answers left. It feeds the histograms, and the board with the load signals of this shard.

use super::BATCHES_PER_TURN;
use super::serving::{Serving, unix_ns};
use std::sync::atomic::Ordering::Relaxed;

/// The longest wait that is believed; more is a step of the wall clock.
const WAIT_NS_MAX: u64 = 10_000_000_000;

/// The batches of one turn.
#[derive(Default)]
pub struct Arrivals {
    /// When the kernel received each batch's first packet, and how many packets it has.
    batches: [(u64, u64); BATCHES_PER_TURN],
    len: usize,
    shakes_before: u64,
}

impl Arrivals {
    pub fn begin_turn(&mut self, serving: &Serving) {
        self.len = 0;
        self.shakes_before = serving.counters.shakes_served();
    }

    /// A batch came whose first packet the kernel received at `at_ns`, nanoseconds since 1970.
    pub fn batch(&mut self, serving: &mut Serving, at_ns: u64, packets: u64) {
        let wait_ns = believable(unix_ns(), at_ns);
        serving.admission.begin_batch(wait_ns);
        serving.counters.queue_wait.add(wait_ns / 1_000, packets);
        let gauges = &serving.shared.board.shards[usize::from(serving.shard)];
        gauges.queue_wait_us_max.fetch_max((wait_ns / 1_000) as u32, Relaxed);
        if let Some(batch) = self.batches.get_mut(self.len) {
            *batch = (at_ns, packets);
            self.len += 1;
        }
    }

    /// The turn's answers are with the kernel. Its shakes count as spread over its batches.
    pub fn end_turn(&mut self, serving: &mut Serving) {
        let batches = &self.batches[..self.len];
        let gauges = &serving.shared.board.shards[usize::from(serving.shard)];
        let (ring_fill, was_full) = serving.lane.fill();
        gauges.ring_fill_permille.store(ring_fill, Relaxed);
        gauges.shakers.store(serving.admission.shakers(), Relaxed);
        if was_full {
            gauges.was_ring_full.store(true, Relaxed);
        }
        if batches.is_empty() {
            return;
        }
        let now_ns = unix_ns();
        let turn_ns = believable(now_ns, serving.now.unix_ns);
        gauges.turn_us_max.fetch_max((turn_ns / 1_000) as u32, Relaxed);
        let mut shakes = serving.counters.shakes_served() - self.shakes_before;
        let mut packets: u64 = batches.iter().map(|(_, packets)| packets).sum();
        for &(at_ns, of_batch) in batches {
            let part = shakes * of_batch / packets.max(1);
            serving
                .counters
                .shake_latency
                .add(believable(now_ns, at_ns) / 1_000, part);
            shakes -= part;
            packets -= of_batch;
        }
    }
}

fn believable(now_ns: u64, at_ns: u64) -> u64 {
    now_ns.saturating_sub(at_ns).min(WAIT_NS_MAX)
}
