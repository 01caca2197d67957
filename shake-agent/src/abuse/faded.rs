//! Counts that fade: each event counts as one when it comes, and as less the longer ago it was. What is counted at an even
//! rate comes to about as many as come within the window. So one number says how much of something there was lately,
//! however it was spread.

use shake_rules::UnixMillis;

/// Several counts that fade together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Faded<const N: usize> {
    counts: [f32; N],
    at: UnixMillis,
}

impl<const N: usize> Default for Faded<N> {
    fn default() -> Self {
        Self {
            counts: [0.0; N],
            at: UnixMillis(0),
        }
    }
}

impl<const N: usize> Faded<N> {
    /// Lets time pass, and adds. A clock that steps back lets no time pass; one that steps ahead fades too much, and so
    /// blocks nobody.
    pub fn add(&mut self, more: [u32; N], now: UnixMillis, window_ms: u64) {
        self.counts = self.now(now, window_ms);
        self.at = now;
        for (count, more) in self.counts.iter_mut().zip(more) {
            *count += more as f32;
        }
    }

    /// The counts as of now.
    pub fn now(&self, now: UnixMillis, window_ms: u64) -> [f32; N] {
        let kept = (-(now.since_ms(self.at) as f32) / window_ms as f32).exp();
        self.counts.map(|count| count * kept)
    }

    /// Begins again at zero.
    pub fn clear(&mut self) {
        self.counts = [0.0; N];
    }

    /// Whether next to nothing is left.
    pub fn is_faint(&self, now: UnixMillis, window_ms: u64) -> bool {
        self.now(now, window_ms).iter().all(|count| *count < 0.05)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_even_rate_comes_to_what_the_window_has_and_silence_to_nothing() {
        let mut faded = Faded::<1>::default();
        for second in 0..600_u64 {
            faded.add([7], UnixMillis(second * 1_000), 60_000);
        }
        let [count] = faded.now(UnixMillis(600_000), 60_000);
        assert!((400.0..430.0).contains(&count), "7 a second for a minute: {count}");
        assert!(!faded.is_faint(UnixMillis(700_000), 60_000));
        assert!(faded.is_faint(UnixMillis(1_200_000), 60_000));
    }

    proptest! {
        #[test]
        fn never_more_than_was_counted_whatever_the_clock_does(
            steps in proptest::collection::vec((0_u32..1_000, any::<u64>()), 0..50),
        ) {
            let (mut faded, mut sum) = (Faded::<1>::default(), 0.0_f64);
            for (more, at) in steps {
                faded.add([more], UnixMillis(at), 60_000);
                sum += f64::from(more);
                let [count] = faded.now(UnixMillis(at), 60_000);
                prop_assert!(count >= 0.0 && f64::from(count) <= sum * 1.001);
            }
        }
    }
}
