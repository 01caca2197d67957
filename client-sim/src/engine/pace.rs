//! What every engine does about the times of a run: when the first step begins, who changes the rate, what each has
//! cost, and when the waiting after the last is over.

use super::cpu_seconds;
use crate::scenario::Start;
use crate::schedule::{Micros, Schedule, Span};
use shake_rules::UnixMillis;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// From the end of the ramp to the first shake, at the least.
const RUN_UP: Micros = Micros::from_ms(100);
const MINUTE_MS: u64 = 60_000;

/// A wish for another rate, handed from a control channel to an engine. A later wish replaces an earlier one.
#[derive(Debug, Default)]
pub struct Dial(AtomicU64);

impl Dial {
    /// Wishes for so many shakes per second.
    pub fn turn(&self, shakes_per_second: u32) {
        self.0.store(u64::from(shakes_per_second) + 1, Ordering::Relaxed);
    }

    /// Takes the wish, if there is one.
    pub fn take(&self) -> Option<u32> {
        self.0.swap(0, Ordering::Relaxed).checked_sub(1).map(|rate| rate as u32)
    }
}

/// Phones that have had nothing under way for so long have heard of all that was sent to them.
const LULL: Micros = Micros::from_s(1);
/// How long the last answers are waited for, when nothing new is begun any more.
const LAST_ANSWERS: Micros = Micros::from_s(15);

/// The waiting after the shaking, in two parts: first phones go on listening, and grab what they hear of, until nothing
/// has been under way for a second; then nothing new is begun, and what is under way comes to its end. Without the
/// second part the ledger would hold credits whose answers no phone has heard.
#[derive(Debug)]
pub(super) struct Lull {
    since: Option<Micros>,
    length: Micros,
    until: Micros,
}

impl Lull {
    /// Phones listen, `settle_s` seconds at the most.
    pub(super) fn of_listeners(now: Micros, settle_s: u32) -> Self {
        Self {
            since: None,
            length: LULL,
            until: now.plus(Micros::from_s(settle_s.into())),
        }
    }

    /// Nothing new is begun.
    pub(super) fn of_the_last(now: Micros) -> Self {
        Self {
            since: None,
            length: Micros::ZERO,
            until: now.plus(LAST_ANSWERS),
        }
    }

    /// Whether the wait is over.
    pub(super) fn is_over(&mut self, now: Micros, is_anyone_waiting: bool) -> bool {
        if is_anyone_waiting {
            self.since = None;
            return now >= self.until;
        }
        let since = *self.since.get_or_insert(now);
        now >= self.until || now.since(since) >= self.length
    }
}

/// A step as it was played.
#[derive(Clone, Debug)]
pub struct StepRun {
    /// Its name, rate and times.
    pub span: Span,
    /// When it began, on the wall clock.
    pub began_at: UnixMillis,
    /// CPU time of the process, in seconds; what falls between two looks at the clock goes to the later step.
    pub cpu_s: f64,
}

/// The time of the wall clock.
pub(super) fn unix_now() -> UnixMillis {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMillis(since_epoch.as_millis() as u64)
}

/// When the first step begins, on the run's clock, whose zero is `origin` of the wall clock; and how late that is.
pub(super) fn first_step(start: Start, origin: UnixMillis, now: Micros) -> (Micros, Micros) {
    let soonest = now.plus(RUN_UP);
    let wanted = match start {
        Start::Soon => soonest,
        Start::At(at) => Micros::from_ms(at.0.saturating_sub(origin.0)),
        Start::NextMinute => {
            let wall_ms = origin.0 + soonest.0 / 1_000 + 1;
            Micros::from_ms(wall_ms.next_multiple_of(MINUTE_MS) - origin.0)
        }
    };
    (soonest.max(wanted), soonest.since(wanted))
}

/// What a reader is told of a start that could not be kept.
pub(super) fn late_start(late: Micros) -> Option<String> {
    (late > Micros::ZERO).then(|| {
        format!(
            "the first step began {:.1} s after --start-at, when the ramp was over: its steps do not stand beside those of other runs",
            late.as_seconds()
        )
    })
}

/// Notes the CPU time of each step as it goes by.
#[derive(Debug, Default)]
pub(super) struct StepClock {
    /// Start of the step that is under way, and the CPU time then.
    under_way: Option<(Micros, f64)>,
    costs: Vec<(Micros, f64)>,
}

impl StepClock {
    /// Looks at which step it is.
    pub(super) fn look(&mut self, schedule: &Schedule, now: Micros) {
        if schedule.began().is_none_or(|began| now < began) {
            return;
        }
        let from = schedule.span(now).from;
        if self.under_way.is_none_or(|(before, _)| before != from) {
            self.close();
            self.under_way = Some((from, cpu_seconds()));
        }
    }

    fn close(&mut self) {
        if let Some((from, before)) = self.under_way.take() {
            self.costs.push((from, cpu_seconds() - before));
        }
    }

    /// The steps with what they cost. `origin` is the wall clock's time at the zero of the run's clock.
    pub(super) fn finish(mut self, schedule: &Schedule, origin: UnixMillis) -> Vec<StepRun> {
        self.close();
        let Some(began) = schedule.began() else {
            return Vec::new();
        };
        let run = |span: &Span| StepRun {
            span: span.clone(),
            began_at: origin.plus_ms(began.plus(span.from).0 / 1_000),
            cpu_s: self
                .costs
                .iter()
                .filter(|(from, _)| *from == span.from)
                .map(|(_, cost)| cost)
                .sum(),
        };
        schedule.spans().iter().map(run).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_step_begins_when_told_and_never_before_the_ramp_is_over() {
        let origin = UnixMillis(1_000 * MINUTE_MS + 50_000);
        let now = Micros::from_s(3);
        let soonest = now.plus(RUN_UP);
        let check = |start, at, late| assert_eq!(first_step(start, origin, now), (at, late), "{start:?}");
        check(Start::Soon, soonest, Micros::ZERO);
        check(Start::NextMinute, Micros::from_s(10), Micros::ZERO);
        check(Start::At(origin.plus_ms(7_000)), Micros::from_s(7), Micros::ZERO);
        check(
            Start::At(origin.plus_ms(1_000)),
            soonest,
            soonest.since(Micros::from_s(1)),
        );
        assert!(late_start(Micros::ZERO).is_none());
        assert!(late_start(Micros::from_ms(2_100)).is_some_and(|remark| remark.contains("2.1 s")));
    }

    #[test]
    fn a_lull_is_unbroken_and_the_wait_for_it_bounded() {
        let second = Micros::from_s;
        let mut lull = Lull::of_listeners(second(10), 5);
        let looks = [
            (10, false),
            (10, true),
            (11, false),
            (11, true),
            (12, false),
            (13, false),
        ];
        let over = looks.map(|(at, is_waiting)| lull.is_over(second(at), is_waiting));
        assert_eq!(over, [false, false, false, false, false, true]);
        assert!(
            Lull::of_listeners(second(10), 5).is_over(second(15), true),
            "patience ends"
        );
        assert!(Lull::of_the_last(second(10)).is_over(second(10), false), "nobody waits");
        assert!(!Lull::of_the_last(second(10)).is_over(second(24), true));
        assert!(Lull::of_the_last(second(10)).is_over(second(25), true));
    }

    #[test]
    fn a_wish_is_taken_once_and_zero_is_one() {
        let dial = Dial::default();
        assert_eq!(dial.take(), None);
        dial.turn(7);
        dial.turn(0);
        assert_eq!((dial.take(), dial.take()), (Some(0), None));
    }
}
