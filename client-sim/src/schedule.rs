//! When each shake is due: an open-loop schedule, even over the users and even over time.
//!
//! The run goes through spans, each with a rate of its own. Shake number `n` of a span is due `n / rate` seconds after
//! the span's start. Shake number `m` of the whole run belongs to the session `permuted(m mod sessions)`, as its shake
//! number `m / sessions`. So there is no burst at full seconds, each session shakes at equal distances while a rate
//! holds, and neighbours in time are far apart among the sessions. Nothing depends on answers: a slow server does not
//! thin out its own load (what is called coordinated omission).

pub use lean_quic::Micros;

/// A shake whose time has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Due {
    /// When it was to be sent, on the clock of [`Schedule::begin`].
    pub at: Micros,
    /// Index of the session, from 0.
    pub session: u32,
    /// Number of the shake within its session, from 1; the `sequence` on the wire.
    pub sequence: u32,
}

/// A stretch of time with one rate, as a scenario plans it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What reports call it.
    pub name: String,
    /// Shakes per second over all sessions; zero to hold.
    pub shakes_per_second: u32,
    /// How long, in seconds.
    pub seconds: u32,
}

/// A stretch of time with one rate, as it is played: a step of the scenario, or what a change of the rate made of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// What reports call it.
    pub name: String,
    /// Shakes per second over all sessions.
    pub shakes_per_second: u32,
    /// Its first moment, and the first after it: since the shaking began.
    pub from: Micros,
    /// The first moment after it.
    pub until: Micros,
}

impl Span {
    /// How many shakes it has: those of numbers `n`, from 0, with `n / rate` below its length.
    #[must_use]
    pub fn shakes(&self) -> u64 {
        // At most a million a second for a day: 8.64e10 microseconds, times 1e6, is below 2^64.
        (self.until.since(self.from).0 * u64::from(self.shakes_per_second)).div_ceil(1_000_000)
    }
}

/// The schedule of one run, and how far it has come.
#[derive(Clone, Debug)]
pub struct Schedule {
    sessions: u64,
    multiplier: u64,
    offset: u64,
    spans: Vec<Span>,
    began: Option<Micros>,
    /// Shakes handed out.
    popped: u64,
    /// The span of the next shake, and its number within that.
    at: usize,
    within: u64,
}

impl Schedule {
    /// A schedule for `sessions` (at least 1) and these steps, one after the other. The seed picks who begins.
    #[must_use]
    pub fn new(sessions: u32, steps: &[Step], seed: u64) -> Self {
        let sessions = u64::from(sessions.max(1));
        let mut until = Micros::ZERO;
        let span = |step: &Step| {
            let from = until;
            until = from.plus(Micros::from_s(step.seconds.into()));
            Span {
                name: step.name.clone(),
                shakes_per_second: step.shakes_per_second,
                from,
                until,
            }
        };
        Self {
            sessions,
            multiplier: golden_step(sessions),
            offset: seed % sessions,
            spans: steps.iter().map(span).collect(),
            began: None,
            popped: 0,
            at: 0,
            within: 0,
        }
    }

    /// Sets the moment at which the first span begins. Before, nothing is due.
    pub fn begin(&mut self, at: Micros) {
        self.began = Some(at);
    }

    /// When the shaking began, once it has.
    #[must_use]
    pub fn began(&self) -> Option<Micros> {
        self.began
    }

    /// The spans, in order. Each begins where the one before it ends.
    #[must_use]
    pub fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// The span that `now` falls in; the last one afterwards, the first one before.
    #[must_use]
    pub fn span(&self, now: Micros) -> &Span {
        let since = now.since(self.began.unwrap_or(now));
        let at = self.spans.partition_point(|span| span.until <= since);
        &self.spans[at.min(self.spans.len() - 1)]
    }

    /// How many shakes the whole run has.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.spans.iter().map(Span::shakes).sum()
    }

    /// The first moment after the last span, once the shaking has begun.
    #[must_use]
    pub fn end(&self) -> Option<Micros> {
        let length = self.spans.last().map_or(Micros::ZERO, |span| span.until);
        self.began.map(|began| began.plus(length))
    }

    /// Whether every shake was handed out.
    #[must_use]
    pub fn is_through(&self) -> bool {
        self.popped == self.total()
    }

    /// When the next shake is due. Times never run backwards, and `n / rate` seconds after the start of its span comes
    /// number `n` of it.
    #[must_use]
    pub fn next_due(&self) -> Option<Micros> {
        let began = self.began?;
        let spans = self.spans[self.at..].iter();
        let mut within = self.within;
        for span in spans {
            if within < span.shakes() {
                let into = Micros(within * 1_000_000 / u64::from(span.shakes_per_second)); // it has shakes
                return Some(began.plus(span.from).plus(into));
            }
            within = 0;
        }
        None
    }

    /// Whose the shake is that is handed out after so many others.
    pub fn whose(&self, ahead: usize) -> u32 {
        let place = (self.popped + ahead as u64) % self.sessions;
        // Below a million each (the scenario's limit), so the product fits.
        ((place * self.multiplier + self.offset) % self.sessions) as u32
    }

    /// Hands out the next shake, when its time has come.
    pub fn pop(&mut self, now: Micros) -> Option<Due> {
        let at = self.next_due().filter(|at| *at <= now)?;
        while self.within == self.spans[self.at].shakes() {
            self.at += 1; // `next_due` found a shake in a later span
            self.within = 0;
        }
        let due = Due {
            at,
            session: self.whose(0),
            sequence: (self.popped / self.sessions) as u32 + 1,
        };
        self.within += 1;
        self.popped += 1;
        Some(due)
    }

    /// From after `now` to the end of the span that it falls in the rate is another. What of that span was due before stays
    /// so. Gives the rate before, or `None` when `now` is not within the shaking.
    pub fn change_rate(&mut self, now: Micros, shakes_per_second: u32) -> Option<u32> {
        let (began, end) = (self.began?, self.end()?);
        let from = now.plus(Micros(1)); // what is due now may be handed out already
        if now < began || from >= end {
            return None;
        }
        let since = from.since(began);
        let at = self.spans.partition_point(|span| span.until <= since);
        let before = &mut self.spans[at];
        let (name, rate) = (before.name.clone(), before.shakes_per_second);
        let rest = Span {
            name: format!(
                "{}, set to {shakes_per_second}/s",
                name.split(", set to").next().unwrap_or_default()
            ),
            shakes_per_second,
            from: since,
            until: std::mem::replace(&mut before.until, since),
        };
        self.spans.insert(at + 1, rest);
        Some(rate)
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

    fn step(shakes_per_second: u32, seconds: u32) -> Step {
        Step {
            name: format!("{shakes_per_second}/s"),
            shakes_per_second,
            seconds,
        }
    }

    /// A schedule that begins at zero.
    fn schedule(sessions: u32, steps: &[Step], seed: u64) -> Schedule {
        let mut schedule = Schedule::new(sessions, steps, seed);
        assert_eq!(schedule.pop(Micros(u64::MAX)), None, "it has not begun");
        schedule.begin(Micros::ZERO);
        schedule
    }

    fn all(mut schedule: Schedule) -> Vec<Due> {
        std::iter::from_fn(|| schedule.pop(Micros(u64::MAX))).collect()
    }

    proptest! {
        #[test]
        fn even_over_users(sessions in 1_u32..500, per_second in 1_u32..2_000, seconds in 1_u32..5, seed: u64) {
            let mut shakes = vec![0_u32; sessions as usize];
            let mut times = vec![None::<Micros>; sessions as usize];
            let distance = 1e6 * f64::from(sessions) / f64::from(per_second);
            for due in all(schedule(sessions, &[step(per_second, seconds)], seed)) {
                let session = due.session as usize;
                shakes[session] += 1;
                prop_assert_eq!(due.sequence, shakes[session], "a session's shakes are numbered in order, from 1");
                if let Some(before) = times[session].replace(due.at) {
                    prop_assert!((due.at.since(before).0 as f64 - distance).abs() <= 1.0);
                }
            }
            let least = shakes.iter().min().copied();
            let most = shakes.iter().max().copied();
            prop_assert!(most.zip(least).is_some_and(|(most, least)| most - least <= 1));
        }

        #[test]
        fn even_over_time_at_the_exact_rate_of_each_step(
            sessions in 1_u32..500,
            rates in prop::collection::vec((0_u32..3_000, 1_u32..4), 1..5),
        ) {
            let steps: Vec<Step> = rates.iter().map(|&(rate, seconds)| step(rate, seconds)).collect();
            let by_second: Vec<u32> = rates.iter().flat_map(|&(rate, seconds)| vec![rate; seconds as usize]).collect();
            let planned = schedule(sessions, &steps, 0);
            prop_assert_eq!(planned.total(), by_second.iter().map(|&rate| u64::from(rate)).sum::<u64>());
            prop_assert_eq!(planned.end(), Some(Micros::from_s(by_second.len() as u64)));
            let mut came = vec![0_u32; by_second.len()];
            let mut last: Option<Micros> = None;
            for due in all(planned) {
                let second = (due.at.0 / 1_000_000) as usize;
                came[second] += 1;
                if let Some(last) = last.replace(due.at).filter(|last| (last.0 / 1_000_000) as usize == second) {
                    let (gap, tick) = (due.at.since(last).0, 1_000_000 / u64::from(by_second[second]));
                    prop_assert!(gap == tick || gap == tick + 1, "{} between neighbours, not {}", gap, tick);
                }
            }
            prop_assert_eq!(came, by_second);
        }

        #[test]
        fn each_round_visits_every_session_once(sessions in 1_u32..3_000, seed: u64) {
            let due = all(schedule(sessions, &[step(sessions, 1)], seed));
            let visited: HashSet<u32> = due.iter().map(|due| due.session).collect();
            prop_assert_eq!((due.len(), visited.len()), (sessions as usize, sessions as usize));
        }

        /// However often it is changed, nothing is left out, repeated or out of order, and each span has its rate.
        #[test]
        fn changed_rates_hold_from_their_moment_on(changes in prop::collection::vec((0_u64..4_500_000, 0_u32..2_000), 0..6)) {
            let mut schedule = schedule(7, &[step(100, 2), step(50, 2)], 3);
            let mut times: Vec<(u64, u32)> = changes;
            times.sort_unstable();
            let mut came = Vec::new();
            for (at, rate) in times {
                while let Some(due) = schedule.pop(Micros(at)) {
                    came.push(due);
                }
                let before = schedule.change_rate(Micros(at), rate);
                prop_assert_eq!(before.is_some(), at + 1 < 4_000_000);
            }
            let spans = schedule.spans().to_vec();
            let total = schedule.total();
            came.extend(std::iter::from_fn(|| schedule.pop(Micros(u64::MAX))));
            prop_assert!(schedule.is_through() && schedule.next_due().is_none());
            prop_assert_eq!(came.len() as u64, total);
            prop_assert!(came.windows(2).all(|pair| pair[0].at <= pair[1].at));
            prop_assert!(spans.windows(2).all(|pair| pair[0].until == pair[1].from));
            for (number, due) in came.iter().enumerate() {
                prop_assert_eq!(u64::from(due.sequence), number as u64 / 7 + 1);
            }
            for span in &spans {
                let within = came.iter().filter(|due| span.from <= due.at && due.at < span.until).count() as u64;
                prop_assert_eq!(within, span.shakes(), "{:?}", span);
            }
        }
    }

    #[test]
    fn rate_zero_has_no_shakes_until_it_is_raised() {
        let mut schedule = schedule(10, &[step(0, 60)], 1);
        assert_eq!(
            (schedule.total(), schedule.next_due(), schedule.is_through()),
            (0, None, true)
        );
        assert_eq!(schedule.change_rate(Micros::from_s(59), 10), Some(0));
        assert_eq!((schedule.total(), schedule.next_due()), (10, Some(Micros(59_000_001))));
        assert_eq!(schedule.span(Micros(59_000_001)).name, "0/s, set to 10/s");
        assert_eq!(schedule.change_rate(Micros::from_s(60), 10), None, "it is over");
    }
}
