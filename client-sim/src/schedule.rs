//! When each shake is due: an open-loop schedule, even over the users and even over time.
//!
//! Shake number `n` of the whole run is due `n / rate` seconds after the start, and belongs to the session
//! `permuted(n mod sessions)`, as its shake number `n / sessions`. So there is no burst at full seconds, each session
//! shakes at equal distances, and neighbours in time are far apart among the sessions. Nothing depends on answers:
//! a slow server does not thin out its own load (what is called coordinated omission).

/// Microseconds since an origin that the user of the value names: the start of the run, or of the shaking.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct Micros(pub u64);

impl Micros {
    /// The start.
    pub const ZERO: Self = Self(0);

    /// So many milliseconds.
    #[must_use]
    pub const fn from_ms(ms: u64) -> Self {
        Self(ms.saturating_mul(1_000))
    }

    /// So many seconds.
    #[must_use]
    pub const fn from_s(seconds: u64) -> Self {
        Self(seconds.saturating_mul(1_000_000))
    }

    /// This time plus a span, or the end of time.
    #[must_use]
    pub const fn plus(self, span: Self) -> Self {
        Self(self.0.saturating_add(span.0))
    }

    /// The span from `earlier` to this time; zero when `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Self {
        Self(self.0.saturating_sub(earlier.0))
    }

    /// The span in seconds, for reports.
    #[must_use]
    pub fn as_seconds(self) -> f64 {
        self.0 as f64 / 1e6
    }
}

impl From<Micros> for std::time::Duration {
    fn from(span: Micros) -> Self {
        Self::from_micros(span.0)
    }
}

/// Whose shake it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Slot {
    /// Index of the session, from 0.
    pub session: u32,
    /// Number of the shake within its session, from 0; the `sequence` on the wire.
    pub sequence: u32,
}

/// The schedule of one run.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    sessions: u64,
    per_second: u64,
    total: u64,
    multiplier: u64,
    offset: u64,
}

impl Schedule {
    /// A schedule for `sessions` (at least 1) at `per_second` shakes over all of them, for so many seconds. The seed
    /// picks who begins; with `per_second` zero nobody shakes.
    #[must_use]
    pub fn new(sessions: u32, per_second: u32, seconds: u32, seed: u64) -> Self {
        let sessions = u64::from(sessions.max(1));
        Self {
            sessions,
            per_second: per_second.into(),
            total: u64::from(per_second) * u64::from(seconds),
            multiplier: golden_step(sessions),
            offset: seed % sessions,
        }
    }

    /// How many shakes the whole run has.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total
    }

    /// When shake `number` is due, since the start of the shaking. Times never run backwards, and second `s` holds
    /// exactly the numbers from `s * rate` to `(s + 1) * rate - 1`.
    #[must_use]
    pub fn due(&self, number: u64) -> Micros {
        // At most a million a second for a day: 8.64e10 numbers, times 1e6, is below 2^64.
        Micros((number * 1_000_000).checked_div(self.per_second).unwrap_or(u64::MAX))
    }

    /// Whose shake `number` is.
    #[must_use]
    pub fn slot(&self, number: u64) -> Slot {
        let place = number % self.sessions;
        Slot {
            // Below a million each (the scenario's limit), so the product fits.
            session: ((place * self.multiplier + self.offset) % self.sessions) as u32,
            sequence: (number / self.sessions) as u32,
        }
    }
}

/// A step through `0..count` that visits every index once (it shares no divisor with `count`), close to the golden
/// section of it: consecutive multiples then fall far apart (D. Knuth, TAOCP volume 3, section 6.4).
fn golden_step(count: u64) -> u64 {
    let wanted = ((count as f64) * 0.618_033_988_749_895) as u64;
    (wanted.max(1)..=count)
        .find(|&step| greatest_common_divisor(step, count) == 1)
        .unwrap_or(1)
}

fn greatest_common_divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    proptest! {
        #[test]
        fn even_over_users(sessions in 1_u32..500, per_second in 1_u32..2_000, seconds in 1_u32..5, seed: u64) {
            let schedule = Schedule::new(sessions, per_second, seconds, seed);
            let mut shakes = vec![0_u32; sessions as usize];
            let mut times = vec![None::<Micros>; sessions as usize];
            let distance = 1e6 * f64::from(sessions) / f64::from(per_second);
            for number in 0..schedule.total() {
                let Slot { session, sequence } = schedule.slot(number);
                let session = session as usize;
                prop_assert_eq!(sequence, shakes[session], "a session's shakes are numbered in order");
                shakes[session] += 1;
                let due = schedule.due(number);
                if let Some(before) = times[session].replace(due) {
                    prop_assert!((due.since(before).0 as f64 - distance).abs() <= 1.0);
                }
            }
            let least = shakes.iter().min().copied();
            let most = shakes.iter().max().copied();
            prop_assert!(most.zip(least).is_some_and(|(most, least)| most - least <= 1));
        }

        #[test]
        fn even_over_time_at_the_exact_rate(sessions in 1_u32..500, per_second in 1_u32..3_000, seconds in 1_u32..4) {
            let schedule = Schedule::new(sessions, per_second, seconds, 0);
            prop_assert_eq!(schedule.total(), u64::from(per_second) * u64::from(seconds));
            let tick = 1_000_000 / u64::from(per_second);
            let mut by_second = vec![0_u32; seconds as usize];
            for number in 0..schedule.total() {
                let due = schedule.due(number);
                by_second[(due.0 / 1_000_000) as usize] += 1;
                let step = schedule.due(number + 1).since(due).0;
                prop_assert!(step == tick || step == tick + 1, "{} between neighbours, not {}", step, tick);
            }
            prop_assert!(by_second.iter().all(|&count| count == per_second));
        }

        #[test]
        fn each_round_visits_every_session_once(sessions in 1_u32..3_000, seed: u64) {
            let schedule = Schedule::new(sessions, 1, 1, seed);
            let visited: HashSet<u32> = (0..u64::from(sessions)).map(|number| schedule.slot(number).session).collect();
            prop_assert_eq!(visited.len(), sessions as usize);
        }
    }

    #[test]
    fn rate_zero_has_no_shakes() {
        let schedule = Schedule::new(10, 0, 60, 1);
        assert_eq!((schedule.total(), schedule.due(0)), (0, Micros(u64::MAX)));
    }
}
