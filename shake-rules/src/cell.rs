//! The generic cell rate algorithm (ITU-T I.371): how often something may happen, with a burst. The state is eight
//! bytes, so every session has its own; the rate is an argument, so it may change from one moment to the next.

/// How often something may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    interval_ns: u64,
    tolerance_ns: u64,
}

impl Quota {
    /// At most `per_second` in the long run and `burst` (at least one) at once. Infinity allows everything, zero or less
    /// nothing.
    #[must_use]
    pub fn new(per_second: f64, burst: u32) -> Self {
        if per_second > 0.0 {
            Self::every((1e9 / per_second).min(1e18) as u64, burst)
        } else {
            Self {
                interval_ns: u64::MAX,
                tolerance_ns: 0,
            }
        }
    }

    /// At most one each `interval_ns` in the long run, and `burst` (at least one) at once.
    #[must_use]
    pub fn every(interval_ns: u64, burst: u32) -> Self {
        Self {
            interval_ns,
            tolerance_ns: interval_ns.saturating_mul(u64::from(burst.max(1) - 1)),
        }
    }

    /// This rate, with as much burst as the other has, as time.
    #[must_use]
    pub fn with_burst_of(self, other: Self) -> Self {
        Self {
            tolerance_ns: other.tolerance_ns,
            ..self
        }
    }

    /// Whether it allows everything, so that nobody need ask.
    #[must_use]
    pub fn is_unlimited(self) -> bool {
        self.interval_ns == 0
    }

    /// The slower of two, so that both hold.
    #[must_use]
    pub fn slower(self, other: Self) -> Self {
        if self.interval_ns >= other.interval_ns {
            self
        } else {
            other
        }
    }
}

/// What happened so far: the theoretical arrival time of the next, in nanoseconds. Zero is a fresh cell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cell(u64);

const _: () = assert!(size_of::<Cell>() == 8, "one stands in every session");

impl Cell {
    /// Nanoseconds until one more is allowed; zero when it is now, `u64::MAX` when it never is. `now_ns` is of any clock
    /// that never steps back.
    #[must_use]
    pub fn wait_ns(self, quota: Quota, now_ns: u64) -> u64 {
        if quota.interval_ns == u64::MAX {
            return u64::MAX;
        }
        // A cell filled at a slower rate than today's owes no more than today's burst and one interval.
        let owed = self
            .0
            .saturating_sub(now_ns)
            .min(quota.tolerance_ns.saturating_add(quota.interval_ns));
        owed.saturating_sub(quota.tolerance_ns)
    }

    /// Takes one if it is allowed.
    ///
    /// # Errors
    /// The nanoseconds to wait, as [`Cell::wait_ns`]; nothing was taken then.
    pub fn take(&mut self, quota: Quota, now_ns: u64) -> Result<(), u64> {
        match self.wait_ns(quota, now_ns) {
            0 => {
                let most = now_ns.saturating_add(quota.tolerance_ns);
                self.0 = self.0.clamp(now_ns, most).saturating_add(quota.interval_ns);
                Ok(())
            }
            wait_ns => Err(wait_ns),
        }
    }

    /// Whether a fresh cell would behave the same: nothing is remembered.
    #[must_use]
    pub fn is_idle(self, now_ns: u64) -> bool {
        self.0 <= now_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nothing_and_everything() {
        assert!(Quota::new(f64::INFINITY, 1).is_unlimited() && !Quota::new(0.0, 1).is_unlimited());
        let (mut cell, start) = (Cell::default(), 1 << 40);
        assert_eq!(cell.take(Quota::new(0.0, 9), start), Err(u64::MAX));
        assert!((0..1_000).all(|_| cell.take(Quota::new(f64::INFINITY, 1), start).is_ok()));
    }

    proptest! {
        /// Whatever the moments of asking: no more than the burst and what time brings, and what is refused is allowed
        /// after the wait that was told.
        #[test]
        fn keeps_its_rate_and_its_word(per_second in 0.1_f64..10_000.0, burst in 1_u32..50, steps in proptest::collection::vec(0_u64..80_000_000, 1..300)) {
            let quota = Quota::new(per_second, burst);
            let (mut cell, mut now, mut taken) = (Cell::default(), 1_u64 << 40, 0_u64);
            let begin = now;
            for step in steps {
                now += step;
                match cell.take(quota, now) {
                    Ok(()) => taken += 1,
                    Err(wait_ns) => {
                        let mut later = cell;
                        prop_assert!(later.take(quota, now + wait_ns).is_ok());
                        prop_assert!(cell.take(quota, now + wait_ns - 1).is_err());
                    }
                }
            }
            let span_s = (now - begin) as f64 / 1e9;
            prop_assert!(taken as f64 <= f64::from(burst) + span_s * per_second * (1.0 + 1e-6) + 1.0);
        }

        /// A rate that falls and rises again leaves no debt of the slow time beyond one interval of the fast one.
        #[test]
        fn a_faster_rate_holds_at_once(slow_ms in 100_u64..10_000, fast_ms in 1_u64..100) {
            let (mut cell, now) = (Cell::default(), 1_u64 << 40);
            let (slow, fast) = (Quota::every(slow_ms * 1_000_000, 3), Quota::every(fast_ms * 1_000_000, 1));
            while cell.take(slow, now).is_ok() {}
            prop_assert!(cell.wait_ns(fast, now) <= fast_ms * 1_000_000);
        }
    }
}
