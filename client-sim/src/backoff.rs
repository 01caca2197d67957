//! How long to wait before the next try, and the cheap random numbers that spread the waits.

use crate::schedule::Micros;

/// A small deterministic random generator: SplitMix64 (G. Steele, D. Lea, C. Flood, "Fast Splittable Pseudorandom
/// Number Generators", 2014). Eight bytes per simulated user, and the same run again from the same seed. For
/// spreading waits only.
#[derive(Clone, Copy, Debug)]
pub struct Jitter(u64);

impl Jitter {
    /// A generator of its own for each `stream` (a user's index) of a seed.
    #[must_use]
    pub fn new(seed: u64, stream: u64) -> Self {
        let mut jitter = Self(seed ^ stream.wrapping_mul(0xd6e8_feb8_6659_fd93));
        jitter.0 = jitter.next_u64();
        jitter
    }

    /// 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// An even draw from `low` to `high`, both included; `low` when the range is empty.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        let width = u128::from(high.saturating_sub(low)) + 1;
        low + ((u128::from(self.next_u64()) * width) >> 64) as u64
    }
}

/// Exponential back-off with jitter, for tries that met silence or an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The longest wait after the first failed try, in milliseconds.
    pub first_ms: u32,
    /// The longest wait after any, in milliseconds.
    pub max_ms: u32,
}

impl Backoff {
    /// The wait after so many failed tries in a row: evenly from half the bound up to the bound, which doubles with
    /// each try from `first_ms` up to `max_ms`.
    pub fn wait(&self, failed_tries: u32, jitter: &mut Jitter) -> Micros {
        let bound = self.bound(failed_tries);
        Micros(jitter.between(bound / 2, bound))
    }

    /// The same with full jitter: evenly from nothing up to the bound. It spreads best those who all met the same
    /// silence at the same time (M. Brooker, "Exponential Backoff And Jitter", 2015).
    pub fn full_wait(&self, failed_tries: u32, jitter: &mut Jitter) -> Micros {
        Micros(jitter.between(0, self.bound(failed_tries)))
    }

    fn bound(&self, failed_tries: u32) -> u64 {
        let doublings = failed_tries.saturating_sub(1).min(31);
        let bound_ms = (u64::from(self.first_ms) << doublings).min(u64::from(self.max_ms));
        Micros::from_ms(bound_ms).0
    }
}

/// The least width of a spread, so that "retry after 0 ms" is no stampede either.
const SPREAD_MS_MIN: u64 = 20;

/// The wait when the gateway said how long: never less than told, and up to half as long again, so that those who
/// were told together do not come back together.
pub fn told(retry_after_ms: u32, jitter: &mut Jitter) -> Micros {
    let told = Micros::from_ms(retry_after_ms.into()).0;
    let spread = (told / 2).max(Micros::from_ms(SPREAD_MS_MIN).0);
    Micros(told + jitter.between(0, spread))
}

/// The wait before reconnecting to a gateway that goes away: never less than told, spread over the same time again,
/// because all its sessions are told at once and a handshake is the dearest thing that a client can ask for.
pub fn told_to_reconnect(reconnect_after_ms: u32, jitter: &mut Jitter) -> Micros {
    let told = Micros::from_ms(reconnect_after_ms.into()).0;
    let spread = told.max(Micros::from_ms(SPREAD_MS_MIN).0);
    Micros(told + jitter.between(0, spread))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn waits_stay_within_their_bounds(first_ms in 1_u32..5_000, more in 0_u32..60_000, tries: u32, seed: u64) {
            let backoff = Backoff { first_ms, max_ms: first_ms + more };
            let mut jitter = Jitter::new(seed, 0);
            let wait = backoff.wait(tries, &mut jitter);
            prop_assert!(wait >= Micros(u64::from(first_ms) * 500));
            prop_assert!(wait <= Micros::from_ms(u64::from(first_ms + more)));
            let bound = (u64::from(first_ms) << tries.saturating_sub(1).min(31)).min(u64::from(first_ms + more));
            prop_assert!(wait.0 >= bound * 500 && wait.0 <= bound * 1_000);
            prop_assert!(backoff.full_wait(tries, &mut jitter).0 <= bound * 1_000);
        }

        #[test]
        fn told_waits_are_never_cut_short(ms: u32, seed: u64) {
            let mut jitter = Jitter::new(seed, 1);
            let least = u64::from(ms) * 1_000;
            let retry = told(ms, &mut jitter).0;
            prop_assert!(retry >= least && retry <= least + (least / 2).max(20_000));
            let reconnect = told_to_reconnect(ms, &mut jitter).0;
            prop_assert!(reconnect >= least && reconnect <= least + least.max(20_000));
        }

        #[test]
        fn draws_stay_within_the_range(low in 0_u64..1_000, width in 0_u64..1_000, seed: u64) {
            let mut jitter = Jitter::new(seed, 2);
            for _ in 0..50 {
                let drawn = jitter.between(low, low + width);
                prop_assert!((low..=low + width).contains(&drawn));
            }
        }
    }

    #[test]
    fn streams_differ_and_the_spread_is_used() {
        let first = |stream| Jitter::new(7, stream).next_u64();
        assert!((1..100).all(|stream| first(stream) != first(0)));
        let mut jitter = Jitter::new(1, 1);
        let waits: Vec<u64> = (0..1_000).map(|_| told(1_000, &mut jitter).0).collect();
        let in_first_half = waits.iter().filter(|&&wait| wait < 1_250_000).count();
        assert!((400..600).contains(&in_first_half), "{in_first_half} of 1000");
    }
}
