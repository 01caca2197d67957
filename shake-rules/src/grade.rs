//! The grade of load, 0 to 4: which one holds, given what is measured. Up at once and as far as needed; down one step at
//! a time, each only after the load has stayed below that grade for a while.

use crate::throttle::Throttle;
use std::fmt;

/// Number of grades.
pub const GRADES: usize = 5;

/// How loaded the gateway is: 0 (at ease) to 4 (refusing most).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Grade(u8);

impl Grade {
    /// The grade of this number; the highest for what lies above it.
    #[must_use]
    pub fn new(number: u8) -> Self {
        Self(number.min(GRADES as u8 - 1))
    }

    /// 0 to 4.
    #[must_use]
    pub fn number(self) -> u8 {
        self.0
    }

    /// Its place in a table of [`GRADES`].
    #[must_use]
    pub fn index(self) -> usize {
        self.0.into()
    }
}

impl fmt::Display for Grade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What load is measured by.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Signals {
    /// CPU time of the process over that of the cores which it may run on, 0 to 1.
    pub process_cpu: f64,
    /// CPU time of the process's control group over the group's limit, or over the machine when it has none; 0 to 1.
    pub cgroup_cpu: f64,
    /// How long packets wait from the kernel's receipt to their handling, whatever comes between: see [`StandingWait`].
    /// In milliseconds.
    pub queue_wait_ms: f64,
    /// The fullest shard's request ring, 0 to 1.
    pub ring_fill: f64,
}

/// The wait of a queue that stands, as in CoDel (RFC 8289, section 3): the shortest wait of the last two looks. A backlog
/// that is being worked off at one of them, as after a pause of the machine, is gone at the other.
#[derive(Clone, Copy, Debug, Default)]
pub struct StandingWait {
    before_us: u32,
}

impl StandingWait {
    /// Takes the shortest wait since the last look, zero when nothing came, and gives the wait that stood at both looks.
    /// All in microseconds.
    pub fn look(&mut self, shortest_us: u32) -> u32 {
        shortest_us.min(std::mem::replace(&mut self.before_us, shortest_us))
    }
}

impl Signals {
    /// Names in the order of [`Signals::values`], as metrics and status have them.
    pub const NAMES: [&'static str; 4] = ["process_cpu", "cgroup_cpu", "queue_wait_ms", "ring_fill"];

    /// The values in the order of [`Signals::NAMES`].
    #[must_use]
    pub fn values(&self) -> [f64; 4] {
        [self.process_cpu, self.cgroup_cpu, self.queue_wait_ms, self.ring_fill]
    }

    /// The signals of these values, in the order of [`Signals::NAMES`].
    #[must_use]
    pub fn from_values([process_cpu, cgroup_cpu, queue_wait_ms, ring_fill]: [f64; 4]) -> Self {
        Self {
            process_cpu,
            cgroup_cpu,
            queue_wait_ms,
            ring_fill,
        }
    }

    /// Whether any signal is at or above its threshold.
    #[must_use]
    pub fn any_reaches(&self, thresholds: &Self) -> bool {
        self.values()
            .iter()
            .zip(thresholds.values())
            .any(|(value, threshold)| *value >= threshold)
    }

    /// Moves a smoothed value towards `sample`, `elapsed_ms` after the last: an exponential average whose memory is
    /// `constant_ms` (a step shows to 63 % after that time).
    #[must_use]
    pub fn smoothed(&self, sample: &Self, elapsed_ms: u64, constant_ms: u32) -> Self {
        let weight = 1.0 - (-(elapsed_ms as f64) / f64::from(constant_ms.max(1))).exp();
        let (old, new) = (self.values(), sample.values());
        Self::from_values(std::array::from_fn(|at| old[at] + (new[at] - old[at]) * weight))
    }
}

/// Which grade holds. Time is milliseconds of any clock that never steps back.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Grader {
    grade: Grade,
    /// Since when the load lies below what the grade is left at.
    below_since_ms: Option<u64>,
}

impl Grader {
    /// The grade that holds.
    #[must_use]
    pub fn grade(&self) -> Grade {
        self.grade
    }

    /// Takes in the smoothed signals, and gives the grade that holds now.
    pub fn step(&mut self, signals: &Signals, now_ms: u64, throttle: &Throttle) -> Grade {
        let entered = (1..GRADES)
            .rev()
            .find(|&at| signals.any_reaches(&throttle.grades[at].enter));
        if let Some(higher) = entered.filter(|&at| at > self.grade.index()) {
            self.grade = Grade(higher as u8);
            self.below_since_ms = None;
        } else if self.grade.0 > 0 && !signals.any_reaches(&throttle.grades[self.grade.index()].leave) {
            let since_ms = *self.below_since_ms.get_or_insert(now_ms);
            if now_ms.saturating_sub(since_ms) >= throttle.dwell_ms.into() {
                self.grade = Grade(self.grade.0 - 1);
                self.below_since_ms = None;
            }
        } else {
            self.below_since_ms = None;
        }
        self.grade
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_backlog_of_one_look_is_no_standing_queue() {
        let mut wait = StandingWait::default();
        let stood: Vec<u32> = [0, 700_000, 300, 40_000, 50_000, 0]
            .map(|shortest_us| wait.look(shortest_us))
            .into();
        assert_eq!(stood, [0, 0, 300, 300, 40_000, 0]);
    }

    fn throttle() -> Throttle {
        Throttle::parse(crate::throttle::DEFAULT).expect("the built-in throttle")
    }

    fn at_wait(queue_wait_ms: f64) -> Signals {
        Signals {
            queue_wait_ms,
            ..Signals::default()
        }
    }

    #[test]
    fn up_at_once_and_down_step_by_step() {
        let (throttle, mut grader) = (throttle(), Grader::default());
        assert_eq!(grader.step(&at_wait(1e4), 0, &throttle), Grade(4));
        let dwell_ms = u64::from(throttle.dwell_ms);
        let mut grades = Vec::new();
        for now_ms in (1..=6 * dwell_ms).step_by(10) {
            grades.push(grader.step(&at_wait(0.0), now_ms, &throttle).number());
        }
        assert!(
            grades
                .windows(2)
                .all(|pair| pair[0] == pair[1] || pair[0] == pair[1] + 1),
            "{grades:?}"
        );
        assert_eq!(grades.last(), Some(&0));
    }

    #[test]
    fn smoothing_has_the_time_constant_that_was_asked_for() {
        let mut smoothed = Signals::default();
        for _ in 0..100 {
            smoothed = smoothed.smoothed(&at_wait(100.0), 5, 500);
        }
        assert!((smoothed.queue_wait_ms - 63.2).abs() < 0.1, "{smoothed:?}");
    }

    proptest! {
        /// Whatever was measured before: ten seconds of quiet end in grade 0, smoothing and dwelling included.
        #[test]
        fn ten_seconds_of_quiet_end_in_grade_0(loads in proptest::collection::vec((0.0_f64..1.2, 0.0_f64..400.0, 0.0_f64..1.0), 1..100)) {
            let (throttle, mut grader, mut smoothed) = (throttle(), Grader::default(), Signals::default());
            let mut now_ms = 0;
            let mut step = |sample: Signals, now_ms: u64| {
                smoothed = smoothed.smoothed(&sample, 100, throttle.smooth_ms);
                grader.step(&smoothed, now_ms, &throttle)
            };
            for (cpu, queue_wait_ms, ring_fill) in loads {
                now_ms += 100;
                step(Signals { process_cpu: cpu, cgroup_cpu: cpu, queue_wait_ms, ring_fill }, now_ms);
            }
            let quiet = Signals { process_cpu: 0.2, cgroup_cpu: 0.2, queue_wait_ms: 0.2, ring_fill: 0.01 };
            let mut grade = Grade(4);
            for _ in 0..100 {
                now_ms += 100;
                grade = step(quiet, now_ms);
            }
            prop_assert_eq!(grade, Grade(0));
        }

        /// A load between what a grade is left at and what the next is entered at changes nothing, however long.
        #[test]
        fn between_the_thresholds_nothing_changes(at in 1_usize..GRADES, part in 0.0_f64..1.0, steps in 1_u64..300) {
            let throttle = throttle();
            let rules = &throttle.grades[at];
            let mut grader = Grader::default();
            grader.step(&at_wait(rules.enter.queue_wait_ms), 0, &throttle);
            let held = rules.leave.queue_wait_ms + part * (rules.enter.queue_wait_ms - rules.leave.queue_wait_ms);
            for step in 1..steps {
                prop_assert_eq!(grader.step(&at_wait(held), step * 100, &throttle).index(), at);
            }
        }
    }
}
