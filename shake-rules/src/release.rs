//! How fast packets leave a gateway: at most one per interval, with no burst saved up, so that a phase gives its
//! packets evenly. The arithmetic is the generic cell rate algorithm (ITU-T I.371) with a tolerance of one cell.

/// Lets through at most `per_second` takes a second. Time is nanoseconds on any clock that never steps back.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Release {
    interval_ns: u64,
    next_at_ns: u64,
}

impl Release {
    /// At most this many per second; zero or less lets nothing through, infinity everything.
    #[must_use]
    pub fn per_second(rate: f64) -> Self {
        let interval_ns = if rate > 0.0 {
            (1e9 / rate).min(u64::MAX as f64) as u64
        } else {
            u64::MAX
        };
        Self {
            interval_ns,
            next_at_ns: 0,
        }
    }

    /// Whether a take is due at `now_ns`. Does not take.
    #[must_use]
    pub fn is_due(&self, now_ns: u64) -> bool {
        self.interval_ns != u64::MAX && now_ns >= self.next_at_ns
    }

    /// Takes one. Call after [`Release::is_due`] said yes.
    pub fn take(&mut self, now_ns: u64) {
        // One interval of credit at the most, so that lateness of a fraction is made up and a pause is not.
        let base = self.next_at_ns.max(now_ns.saturating_sub(self.interval_ns));
        self.next_at_ns = base.saturating_add(self.interval_ns);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn zero_gives_nothing_and_infinity_everything() {
        assert!(!Release::per_second(0.0).is_due(u64::MAX));
        let mut all = Release::per_second(f64::INFINITY);
        for _ in 0..3 {
            assert!(all.is_due(5));
            all.take(5);
        }
    }

    proptest! {
        /// Whatever the moments of asking, n takes span at least n - 2 intervals.
        #[test]
        fn never_faster_than_the_rate(rate in 0.5_f64..5_000.0, steps in proptest::collection::vec(0_u64..50_000_000, 1..400)) {
            let mut release = Release::per_second(rate);
            let (mut now, mut takes) = (1_u64 << 40, 0_u64);
            let begin = now;
            for step in steps {
                now += step;
                if release.is_due(now) {
                    release.take(now);
                    takes += 1;
                }
            }
            let span = (now - begin) as f64 / 1e9;
            prop_assert!(takes as f64 <= span * rate * (1.0 + 1e-6) + 2.0);
        }
    }
}
