//! The table of `cargo xtask bench ledger`, and what must hold of it. Pure.

use super::load::Outcome;
use super::{Case, Kind, Options, SMALL_BATCHES};
use crate::report::{Line, Table};
use hdrhistogram::Histogram;
use shake_rules::money::grouped;

/// Claims a second that PostgreSQL is to open with 512 in a commit.
const POSTGRES_MIN: f64 = 40_000.0;
/// The same, as a share of SQLite's.
const OF_SQLITE_MIN: f64 = 0.5;
/// The longest that 99 of 100 commits may take at half of what 16 agents are to open, in milliseconds.
const WAIT_MS_MAX: f64 = 50.0;
/// What is left when each batch grabs of one packet.
const WITH_A_CODE_MIN: f64 = 0.8;
/// What is opened when twice as many claims come, as a share of twice as many.
const SERVED_MIN: f64 = 0.9;

/// A line for each case.
pub fn table(options: &Options, played: &[(Case, Outcome)], sync: &Histogram<u64>) -> Table {
    let ms = |quantile| sync.value_at_quantile(quantile) as f64 / 1e3;
    let title = format!(
        "{} users; a sync of a page takes {:.2} ms, p99 {:.2}",
        grouped(options.users),
        ms(0.5),
        ms(0.99)
    );
    let head = [
        "case",
        "agents",
        "come a second",
        "claims/s",
        "claims a commit",
        "wait p50 ms",
        "p99 ms",
        "tried anew",
        "told busy",
    ];
    let mut table = Table::new(title, head);
    for (case, outcome) in played {
        table.row([
            case.name.to_owned(),
            grouped(case.agents.into()),
            case.rate
                .map_or_else(|| "all".to_owned(), |(rate, _)| grouped(rate.into())),
            grouped(outcome.rate() as u64),
            format!("{:.1}", outcome.size()),
            format!("{:.2}", outcome.ms(0.5)),
            format!("{:.2}", outcome.ms(0.99)),
            grouped(outcome.again),
            grouped(outcome.busy),
        ]);
    }
    table
}

/// What must hold, of what was played.
pub fn lines(played: &[(Case, Outcome)]) -> Vec<Line> {
    let of = |name: &str| {
        played
            .iter()
            .find(|(case, _)| case.name == name)
            .map(|(_, outcome)| outcome)
    };
    let best = played
        .iter()
        .filter(|(case, _)| case.kind == Kind::Postgres && *case.sizes.start() == 512)
        .map(|(_, outcome)| outcome.rate())
        .reduce(f64::max);
    let mut lines = Vec::new();
    if let Some(best) = best {
        lines.push(at_least("PostgreSQL, 512 in a commit, claims/s", best, POSTGRES_MIN));
        if let Some(sqlite) = of("sqlite-512") {
            let share = best / sqlite.rate();
            lines.push(share_of("the same of SQLite's", share, OF_SQLITE_MIN));
        }
    }
    let small = of("small-batches");
    if let Some(small) = small {
        lines.push(at_least(
            "16 agents, 8 to 32 in a commit, claims/s",
            small.rate(),
            SMALL_BATCHES.into(),
        ));
    }
    if let Some(half) = of("small-batches-at-half") {
        lines.push(Line {
            what: "the same at half of it, p99".to_owned(),
            figure: format!("{:.1} ms", half.ms(0.99)),
            bound: format!("under {WAIT_MS_MAX:.0} ms"),
            holds: half.ms(0.99) < WAIT_MS_MAX,
        });
    }
    let of_16 = played.iter().filter(|(case, _)| case.name.starts_with("small-batches"));
    if let Some(again) = of_16.map(|(_, outcome)| outcome.again).reduce(|sum, again| sum + again) {
        lines.push(Line {
            what: "16 agents, commits tried anew".to_owned(),
            figure: grouped(again),
            bound: "none".to_owned(),
            holds: again == 0,
        });
    }
    if let (Some(small), Some(code)) = (small, of("small-batches-and-a-code")) {
        let share = code.rate() / small.rate();
        lines.push(share_of(
            "the same while each batch grabs of one packet",
            share,
            WITH_A_CODE_MIN,
        ));
    }
    if let (Some(once), Some(twice)) = (of("many-agents"), of("many-agents-twice")) {
        let share = twice.rate() / (2.0 * once.rate());
        lines.push(share_of(
            "200 agents, when twice as many claims come, of twice as many",
            share,
            SERVED_MIN,
        ));
    }
    lines
}

fn at_least(what: &str, figure: f64, least: f64) -> Line {
    Line {
        what: what.to_owned(),
        figure: grouped(figure as u64),
        bound: format!("{} at least", grouped(least as u64)),
        holds: figure >= least,
    }
}

fn share_of(what: &str, share: f64, least: f64) -> Line {
    Line {
        what: what.to_owned(),
        figure: format!("{:.0} %", share * 100.0),
        bound: format!("{:.0} % at least", least * 100.0),
        holds: share >= least,
    }
}

#[cfg(test)]
mod tests {
    use super::super::cases;
    use super::*;
    use std::time::Duration;

    fn outcome(per_second: u64, wait_ms: u64, again: u64) -> Outcome {
        let mut waits = Histogram::new(3).expect("three digits");
        waits.record(wait_ms * 1_000).expect("a histogram that grows");
        Outcome {
            opened: per_second,
            commits: 1,
            time: Duration::from_secs(1),
            waits,
            again,
            busy: 0,
        }
    }

    fn judged(figures: &[(&str, u64, u64)], again: u64) -> Vec<bool> {
        let played: Vec<_> = figures
            .iter()
            .map(|(name, per_second, wait_ms)| {
                let case = cases().into_iter().find(|case| case.name == *name).expect("a case");
                (case, outcome(*per_second, *wait_ms, again))
            })
            .collect();
        lines(&played).iter().map(|line| line.holds).collect()
    }

    #[test]
    fn each_bound_is_held_against_its_own_cases() {
        let good = [
            ("sqlite-512", 80_000, 1),
            ("postgres-512", 20_000, 1),
            ("postgres-512-by-2", 40_000, 1),
            ("small-batches", 15_000, 90),
            ("small-batches-at-half", 7_500, 49),
            ("small-batches-and-a-code", 12_000, 90),
            ("many-agents", 1_900, 900),
            ("many-agents-twice", 3_420, 900),
        ];
        assert_eq!(judged(&good, 0), [true; 7]);
        let worse = [
            ("sqlite-512", 90_000, 1),
            ("postgres-512-by-4", 39_999, 1),
            ("small-batches", 14_999, 90),
            ("small-batches-at-half", 7_500, 50),
            ("small-batches-and-a-code", 11_000, 90),
            ("many-agents", 1_900, 900),
            ("many-agents-twice", 3_419, 900),
        ];
        assert_eq!(judged(&worse, 1), [false; 7]);
        assert_eq!(
            judged(&worse[..1], 1),
            [false; 0],
            "nothing is judged that was not played"
        );
    }
}
