use super::*;
use proptest::prelude::*;

/// Any time: the clock's origin is as good as a billion seconds later.
const START_NS: u64 = 1 << 40;

/// The algorithm as ITU-T I.371 has it, in three lines: what governor is held against.
struct Model {
    due_ns: u64,
}

impl Model {
    fn take(&mut self, interval_ns: u64, tolerance_ns: u64, own_ns: u64, now_ns: u64) -> Result<(), u64> {
        let owed_ns = self
            .due_ns
            .saturating_sub(now_ns)
            .min(tolerance_ns + interval_ns.max(own_ns));
        match owed_ns.saturating_sub(tolerance_ns) {
            0 => {
                self.due_ns = self.due_ns.max(now_ns) + own_ns;
                Ok(())
            }
            wait_ns => Err(wait_ns),
        }
    }
}

#[test]
fn nothing_and_everything() {
    let (everything, nothing) = (Limit::new(f64::INFINITY, 1), Limit::new(0.0, 9));
    assert!(everything.is_unlimited() && !nothing.is_unlimited());
    let mut level = Level::default();
    assert_eq!(nothing.take(&mut level, START_NS), Err(u64::MAX));
    assert!((0..1_000).all(|_| everything.take(&mut level, START_NS).is_ok()));
    assert!(level.is_idle(START_NS));
    for senseless in [-1.0, f64::NAN, f64::NEG_INFINITY] {
        assert_eq!(
            Limit::new(senseless, 1).take(&mut level, START_NS),
            Err(u64::MAX),
            "{senseless}"
        );
    }
}

/// governor panics or wraps where times do not fit into 64 bits.
#[test]
fn no_rate_overflows() {
    let rates = [f64::MIN_POSITIVE, 1e-300, 1e-9, 1.0, 1e9, 1e300, f64::MAX];
    for (per_second, burst) in rates
        .into_iter()
        .flat_map(|rate| [0, 1, 2, u32::MAX].map(|burst| (rate, burst)))
    {
        let limit = Limit::new(per_second, burst);
        let mut level = Level::default();
        for now_ns in [0, 1, START_NS, REFILL_NS_MAX] {
            for _ in 0..3 {
                if let Err(wait_ns) = limit.take(&mut level, now_ns) {
                    assert!(wait_ns > 0 && limit.take(&mut level.clone(), now_ns + wait_ns).is_ok());
                }
            }
        }
    }
}

#[test]
fn a_peek_takes_nothing() {
    let (limit, mut level) = (Limit::every(1_000, 1), Level::default());
    assert_eq!((limit.wait_ns(&level, START_NS), level.clone()), (0, Level::default()));
    assert_eq!(limit.take(&mut level, START_NS), Ok(()));
    let before = level.clone();
    assert_eq!((limit.wait_ns(&level, START_NS), level), (1_000, before));
}

#[test]
fn what_is_given_evenly_makes_up_for_lateness_and_for_no_pause() {
    const SECOND_NS: u64 = 1_000_000_000;
    let given = |limit: &mut Shared, now_ns| (0..9).filter(|_| limit.take(now_ns).is_ok()).count();
    let mut nothing = Shared::evenly(0.0);
    assert_eq!(given(&mut nothing, u64::MAX / 2), 0);
    assert_eq!(given(&mut Shared::evenly(f64::INFINITY), START_NS), 9);
    let mut limit = Shared::evenly(2.0);
    assert_eq!(
        given(&mut limit, START_NS),
        2,
        "the first, and the one that was due before"
    );
    assert_eq!(given(&mut limit, START_NS + SECOND_NS / 2 - 1), 0);
    assert_eq!(given(&mut limit, START_NS + SECOND_NS * 3 / 4), 1);
    assert_eq!(
        given(&mut limit, START_NS + SECOND_NS),
        1,
        "a quarter of a second was lost, and is made up for"
    );
    assert_eq!(given(&mut limit, START_NS + 600 * SECOND_NS), 2);
}

/// However often it is asked meanwhile: a peek must not put off what it tells.
#[test]
fn what_is_given_evenly_follows_another_rate_within_an_interval_of_it() {
    const MS_NS: u64 = 1_000_000;
    let mut limit = Shared::evenly(0.001);
    while limit.take(START_NS).is_ok() {}
    limit.change_rate(0.0);
    assert_eq!(limit.wait_ns(START_NS + 1_000 * MS_NS), u64::MAX);
    limit.change_rate(0.5);
    let due_ms = (1_000..10_000).find(|ms| limit.wait_ns(START_NS + ms * MS_NS) == 0);
    assert_eq!(due_ms, Some(3_000), "two seconds after it was first asked at this rate");
    limit.take(START_NS + 3_000 * MS_NS).expect("it said so");
    assert_eq!(limit.wait_ns(START_NS + 3_000 * MS_NS), 2_000 * MS_NS);
}

proptest! {
    /// Whatever the moments of asking: no more than the burst and what time brings, and what is refused is allowed
    /// after the wait that was told, and no sooner.
    #[test]
    fn keeps_its_rate_and_its_word(per_second in 0.1_f64..10_000.0, burst in 1_u32..50, steps in proptest::collection::vec(0_u64..80_000_000, 1..300)) {
        let limit = Limit::new(per_second, burst);
        let (mut level, mut now_ns, mut taken) = (Level::default(), START_NS, 0_u64);
        for step in steps {
            now_ns += step;
            match limit.take(&mut level, now_ns) {
                Ok(()) => taken += 1,
                Err(wait_ns) => {
                    prop_assert_eq!(limit.wait_ns(&level, now_ns + wait_ns), 0);
                    prop_assert!(limit.wait_ns(&level, now_ns + wait_ns - 1) > 0);
                }
            }
        }
        let span_s = (now_ns - START_NS) as f64 / 1e9;
        prop_assert!(taken as f64 <= f64::from(burst) + span_s * per_second * (1.0 + 1e-6) + 1.0);
    }

    /// The same verdicts and waits as the algorithm of the standard.
    #[test]
    fn does_as_the_standard_says(interval_ns in 1_u64..1_000_000_000, burst in 1_u32..50, steps in proptest::collection::vec(0_u64..1_500_000_000, 1..300)) {
        let limit = Limit::every(interval_ns, burst);
        let (mut level, mut model, mut now_ns) = (Level::default(), Model { due_ns: 0 }, START_NS);
        for step in steps {
            now_ns += step;
            let expected = model.take(interval_ns, interval_ns * u64::from(burst - 1), interval_ns, now_ns);
            prop_assert_eq!(limit.take(&mut level, now_ns), expected);
        }
    }

    /// The same for a pace, of which each has an interval of its own.
    #[test]
    fn a_pace_does_as_the_standard_says(interval_ns in 3_u64..1_000_000_000, steps in proptest::collection::vec((0_u64..1_500_000_000, 0_u64..1_000), 1..300)) {
        let pace = Pace::every(interval_ns, 3);
        let (mut level, mut model, mut now_ns) = (Level::default(), Model { due_ns: 0 }, START_NS);
        for (step, spread) in steps {
            now_ns += step;
            let own_ns = interval_ns * 2 / 3 + interval_ns * 2 / 3 * spread / 1_000;
            let wait_ns = pace.limit().wait_ns(&level, now_ns);
            let taken = pace.take(&mut level, own_ns, now_ns);
            prop_assert_eq!(taken.is_ok(), wait_ns == 0);
            prop_assert_eq!(taken.is_ok(), model.take(interval_ns, interval_ns * 2, own_ns, now_ns).is_ok());
            if let Err(wait_ns) = taken {
                prop_assert_eq!(pace.limit().wait_ns(&level, now_ns + wait_ns), 0);
            }
        }
    }

    /// A rate that falls and rises again leaves no debt of the slow time beyond one interval of the fast one, and who waits
    /// for it is let through.
    #[test]
    fn a_faster_rate_holds_at_once(slow_ms in 100_u64..10_000, fast_ms in 1_u64..100, burst in 1_u32..9) {
        let (mut level, now_ns) = (Level::default(), START_NS);
        let (slow, fast) = (Limit::every(slow_ms * 1_000_000, 3), Limit::every(fast_ms * 1_000_000, burst));
        while slow.take(&mut level, now_ns).is_ok() {}
        if let Err(wait_ns) = fast.take(&mut level, now_ns) {
            prop_assert!(wait_ns <= fast_ms * 1_000_000);
            prop_assert_eq!(fast.take(&mut level, now_ns + wait_ns), Ok(()));
        }
    }
}
