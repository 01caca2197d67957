//! How long this machine takes to read its memory. A virtual machine shares the caches and the memory with strangers, and
//! a gateway with a million sessions mostly waits for them: what it costs by the clock says little without this.

use std::fmt;
use std::hint::black_box;
use std::time::Instant;

/// What fits into the caches of a processor that nobody else uses, and what does not.
const CACHED_BYTES: usize = 8 << 20;
const UNCACHED_BYTES: usize = 256 << 20;
/// Reads that are timed.
const READS: u32 = 1 << 20;

/// Nanoseconds of a random read, of the whole machine at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Latency {
    cached_ns: f64,
    uncached_ns: f64,
}

impl Latency {
    /// Reads for a second or two.
    pub fn measure() -> Self {
        Self {
            cached_ns: random_read_ns(CACHED_BYTES),
            uncached_ns: random_read_ns(UNCACHED_BYTES),
        }
    }
}

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cached_ns, uncached_ns } = self;
        write!(
            f,
            "{cached_ns:.0} ns in {} MiB, {uncached_ns:.0} ns in {} MiB",
            CACHED_BYTES >> 20,
            UNCACHED_BYTES >> 20
        )
    }
}

/// A line of the caches, and which one is read after it.
#[repr(align(64))]
struct Line {
    next: u32,
}

/// The time of one of many reads, each of which says where the next one is.
fn random_read_ns(bytes: usize) -> f64 {
    let lines = one_cycle(bytes / size_of::<Line>());
    let mut at = 0;
    let began = Instant::now();
    for _ in 0..READS {
        at = lines[at as usize].next;
    }
    black_box(at);
    began.elapsed().as_secs_f64() * 1e9 / f64::from(READS)
}

/// Lines that lead through all of them in a random order and back to the first (Sattolo, 1986).
fn one_cycle(count: usize) -> Vec<Line> {
    let mut lines: Vec<_> = (0..count as u32).map(|next| Line { next }).collect();
    // Knuth's generator of 64 bits (MMIX), of which the upper half is used.
    let mut state: u64 = 1;
    for at in (1..count).rev() {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let other = (state >> 32) as usize % at;
        lines.swap(at, other);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_read_before_the_first_again() {
        let lines = one_cycle(1_000);
        let (mut at, mut seen) = (0, vec![false; lines.len()]);
        for _ in 0..lines.len() {
            assert!(!std::mem::replace(&mut seen[at as usize], true), "line {at} twice");
            at = lines[at as usize].next;
        }
        assert_eq!(at, 0);
    }
}
