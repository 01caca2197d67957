//! Whether two runs differ by more than chance: for every count that is drawn, what it is drawn from, and so how far
//! two runs of the same scenario may lie apart.
//!
//! A count is taken as so many of its trials: the greetings of all outcomes, the packets opened of those won. What
//! happens at most once a trial spreads as a binomial count, what may happen more often as a Poisson count. Counts that
//! come several at a time (a code is told to a few friends at once) spread by as much more.

use std::collections::BTreeMap;

/// Counts of the report by their paths, in which `*` is any one name or the end of one, and what they are drawn from.
struct Drawn {
    counts: &'static [&'static str],
    /// The sum of these; nothing for the sum of the count and its siblings.
    of: &'static [&'static str],
    /// How many come at a time, at the most.
    at_once: f64,
}

const fn drawn(counts: &'static [&'static str], of: &'static [&'static str], at_once: f64) -> Drawn {
    Drawn { counts, of, at_once }
}

/// Friends who hear of a code, or users who get a gift, in one go: what the shipped scenarios and shows have at the most.
const AT_ONCE: f64 = 4.0;

const DRAWN: &[Drawn] = &[
    drawn(
        &["sessions.failed", "sessions.lost", "sessions.reconnected"],
        &["sessions.connected"],
        1.0,
    ),
    drawn(
        &["shakes.sent", "shakes.held_back", "shakes.skipped_offline"],
        &["shakes.scheduled"],
        1.0,
    ),
    drawn(
        &[
            "shakes.answered",
            "shakes.unanswered",
            "shakes.late",
            "shakes.unexpected",
        ],
        &["shakes.sent"],
        1.0,
    ),
    drawn(&["shakes.sent_on_streams", "slow_downs.*"], &["shakes.sent"], 1.0),
    drawn(&["outcomes.*", "phases.*.*"], &[], 1.0),
    drawn(&["claims.wins"], &["outcomes.*"], 1.0),
    drawn(
        &["claims.opened", "claims.hoarded", "claims.refused.*", "claims.gave_up"],
        &["claims.wins"],
        1.0,
    ),
    drawn(
        &["claims.failed", "claims.unfinished", "claims.busy", "claims.retries"],
        &["claims.wins"],
        1.0,
    ),
    drawn(&["claims.split", "claims.repeats"], &["claims.opened"], 1.0),
    drawn(&["packets.offers"], &["shakes.scheduled"], AT_ONCE),
    drawn(&["packets.codes_*"], &["claims.split", "packets.sends.done"], AT_ONCE),
    // A grab and its repeat.
    drawn(
        &["packets.grabs.begun"],
        &["packets.offers", "packets.codes_heard"],
        2.0,
    ),
    drawn(&["packets.ignored"], &["packets.offers", "packets.codes_heard"], 1.0),
    drawn(
        &["packets.grabs.*", "packets.grabs.refused.*", "packets.grabs_empty"],
        &["packets.grabs.begun"],
        1.0,
    ),
    drawn(&["packets.sends.begun"], &["claims.opened", "packets.grabs.done"], 1.0),
    drawn(
        &["packets.sends.*", "packets.sends.refused.*"],
        &["packets.sends.begun"],
        1.0,
    ),
    drawn(&["packets.sends_named"], &["packets.sends.done"], 1.0),
    drawn(
        &["packets.views.begun"],
        &["claims.split", "packets.grabs.done", "packets.sends.done"],
        1.0,
    ),
    drawn(
        &["packets.views.*", "packets.views.refused.*"],
        &["packets.views.begun"],
        1.0,
    ),
    drawn(&["packets.wallets.begun"], &["sessions.connected"], 1.0),
    drawn(
        &["packets.wallets.*", "packets.wallets_*"],
        &["packets.wallets.begun"],
        1.0,
    ),
];

/// How far `b` lies from `a` in standard deviations of their difference, as far as chance alone explains it. Nothing for
/// what is not drawn.
pub(super) fn sigmas(path: &str, a: &BTreeMap<String, f64>, b: &BTreeMap<String, f64>) -> Option<f64> {
    // The first that fits holds.
    let drawn = DRAWN
        .iter()
        .find(|drawn| drawn.counts.iter().any(|count| fits(count, path)))?;
    let parent = path.rsplit_once('.').map_or("", |(parent, _)| parent);
    let is_trial = |other: &str| match drawn.of {
        [] => other.rsplit_once('.').is_some_and(|(of, _)| of == parent),
        of => of.iter().any(|pattern| fits(pattern, other)),
    };
    let sides = [a, b].map(|figures| {
        let trials: f64 = figures
            .iter()
            .filter(|(name, _)| is_trial(name))
            .map(|(_, value)| value)
            .sum();
        (figures.get(path).copied().unwrap_or(0.0), trials)
    });
    Some(distance(sides, drawn.at_once))
}

/// The distance between two counts, each with its trials.
fn distance([(a, of_a), (b, of_b)]: [(f64, f64); 2], at_once: f64) -> f64 {
    // Without trials on one side the counts themselves are compared.
    let (of_a, of_b) = if of_a > 0.0 && of_b > 0.0 {
        (of_a, of_b)
    } else {
        (1.0, 1.0)
    };
    let difference = b / of_b - a / of_a;
    let rate = (a + b) / (of_a + of_b);
    let is_binomial = rate < 1.0 && at_once <= 1.0;
    let rest = if is_binomial { 1.0 - rate } else { 1.0 };
    let deviation = (rate * rest * at_once * (1.0 / of_a + 1.0 / of_b)).sqrt();
    if difference == 0.0 { 0.0 } else { difference / deviation }
}

/// Whether the path has this form; `*` stands for one name or the end of one.
fn fits(pattern: &str, path: &str) -> bool {
    let (mut wanted, mut found) = (pattern.split('.'), path.split('.'));
    loop {
        match (wanted.next(), found.next()) {
            (None, None) => return true,
            (Some(wanted), Some(found)) => {
                let is_same = match wanted.strip_suffix('*') {
                    Some(start) => found.starts_with(start),
                    None => found == wanted,
                };
                if !is_same {
                    return false;
                }
            }
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backoff::Jitter;

    fn figures(of: &[(&str, f64)]) -> BTreeMap<String, f64> {
        of.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()
    }

    #[test]
    fn a_count_is_held_against_its_trials() {
        let a = figures(&[("outcomes.greeting", 500.0), ("outcomes.nothing", 500.0)]);
        let b = figures(&[("outcomes.greeting", 1_060.0), ("outcomes.nothing", 940.0)]);
        let found = sigmas("outcomes.greeting", &a, &b).expect("drawn");
        // 3 points of a hundred apart, at a deviation of sqrt(0.52 * 0.48 * (1/1000 + 1/2000)).
        assert!((found - 0.03 / 0.019_35).abs() < 0.01, "{found}");
        assert_eq!(sigmas("outcomes.greeting", &a, &a), Some(0.0));
        assert_eq!(sigmas("latency.p99_us", &a, &b), None);
        assert_eq!(sigmas("claims.cents", &a, &b), None);
        let opened = |count: f64| figures(&[("claims.wins", 3_000.0), ("claims.opened", count)]);
        let lost = sigmas("claims.opened", &opened(3_000.0), &opened(2_970.0)).expect("drawn");
        assert!(lost < -5.0, "a lost hundredth of the claims shows: {lost}");
        let grabs = |count: f64| figures(&[("packets.offers", 100.0), ("packets.grabs.begun", count)]);
        let more_than_once = sigmas("packets.grabs.begun", &grabs(120.0), &grabs(125.0)).expect("drawn");
        assert!((more_than_once - 5.0 / 490_f64.sqrt()).abs() < 1e-9);
    }

    /// Draws pairs of runs from one chance: their distances must spread as told, neither wider nor narrower.
    #[test]
    fn runs_of_the_same_chance_lie_one_deviation_apart() {
        let mut jitter = Jitter::new(7, 1);
        let mut run = |trials: u64| (0..trials).filter(|_| jitter.between(0, 99) < 15).count() as f64;
        let pairs = 400;
        let squares: f64 = (0..pairs)
            .map(|_| {
                let sides = [(run(1_000), 1_000.0), (run(1_500), 1_500.0)];
                distance(sides, 1.0).powi(2)
            })
            .sum();
        let spread = (squares / f64::from(pairs)).sqrt();
        assert!((0.85..1.15).contains(&spread), "{spread}");
    }

    /// Held against the fields of a real report, so that a renamed count does not go missing.
    #[test]
    fn every_row_names_counts_of_the_report() {
        use crate::report::Report;
        let mut report = Report::default();
        for map in [
            &mut report.outcomes,
            &mut report.slow_downs,
            &mut report.claims.counts.course.refused,
            &mut report.packets.sends.course.refused,
            &mut report.packets.grabs.course.refused,
            &mut report.packets.views.course.refused,
        ] {
            map.insert("any".into(), 1);
        }
        report.phases.insert("any".into(), report.outcomes.clone());
        let report = serde_json::to_value(report).expect("a report is JSON");
        let names: Vec<String> = super::super::Comparison::figures(&report).into_keys().collect();
        for (at, drawn) in DRAWN.iter().enumerate() {
            for pattern in drawn.counts.iter().chain(drawn.of) {
                assert!(names.iter().any(|name| fits(pattern, name)), "{pattern}");
            }
            let earlier = || DRAWN[..at].iter().flat_map(|earlier| earlier.counts);
            for exact in drawn.counts.iter().filter(|count| !count.contains('*')) {
                assert!(!earlier().any(|pattern| fits(pattern, exact)), "{exact} comes too late");
            }
        }
    }

    #[test]
    fn a_star_is_one_name() {
        assert!(fits("phases.*.*", "phases.main.greeting") && fits("packets.codes_*", "packets.codes_told"));
        assert!(!fits("outcomes.*", "outcomes") && !fits("packets.sends.*", "packets.sends.refused.balance"));
    }
}
