//! How fast packets leave a gateway: at most one per interval, with no burst saved up, so that a phase gives its
//! packets evenly. The arithmetic is the generic cell rate algorithm (ITU-T I.371) with a tolerance of one cell.

/// Lets through at most `per_second` takes a second. Time is nanoseconds on any clock that never steps back.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Release {
    interval_ns: u64,
    /// The next take is due one interval after this; nothing before the first.
    last_ns: Option<u64>,
}

impl Release {
    /// At most this many per second; zero or less lets nothing through, infinity everything.
    #[must_use]
    pub fn per_second(rate: f64) -> Self {
        Self {
            interval_ns: interval_ns(rate),
            last_ns: None,
        }
    }

    /// Goes on at another rate: the next take is due one interval of that after the last.
    pub fn change_rate(&mut self, rate: f64) {
        self.interval_ns = interval_ns(rate);
    }

    /// Whether a take is due at `now_ns`. Does not take.
    #[must_use]
    pub fn is_due(&self, now_ns: u64) -> bool {
        self.interval_ns != u64::MAX && now_ns >= self.next_ns()
    }

    /// Takes one. Call after [`Release::is_due`] said yes.
    pub fn take(&mut self, now_ns: u64) {
        // One interval of credit at the most, so that lateness of a fraction is made up and a pause is not.
        self.last_ns = Some(self.next_ns().max(now_ns.saturating_sub(self.interval_ns)));
    }

    fn next_ns(&self) -> u64 {
        self.last_ns.map_or(0, |last| last.saturating_add(self.interval_ns))
    }
}

fn interval_ns(rate: f64) -> u64 {
    if rate > 0.0 {
        (1e9 / rate).min(u64::MAX as f64) as u64
    } else {
        u64::MAX
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

    #[test]
    fn another_rate_counts_from_the_last_take() {
        const SECOND: u64 = 1_000_000_000;
        let mut release = Release::per_second(0.001);
        assert!(release.is_due(5 * SECOND), "the first is due at once");
        release.take(5_000 * SECOND);
        assert!(
            release.is_due(5_000 * SECOND) && !release.is_due(4_999 * SECOND),
            "one interval of credit"
        );
        release.take(5_000 * SECOND);
        assert!(!release.is_due(5_999 * SECOND));
        release.change_rate(0.5);
        assert!(release.is_due(5_002 * SECOND) && !release.is_due(5_002 * SECOND - 1));
        release.change_rate(0.0);
        assert!(!release.is_due(u64::MAX));
        release.change_rate(1.0);
        assert!(release.is_due(5_001 * SECOND) && !release.is_due(5_001 * SECOND - 1));
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
