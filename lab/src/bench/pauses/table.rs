//! The table of `cargo xtask bench pauses`, and what must hold of it. Pure.

use super::{Case, Options, Outcome};
use crate::report::{Line, Table};
use shake_rules::money::grouped;
use std::time::Duration;

/// A pause that must cost nothing.
const SHORT: Duration = Duration::from_millis(60);
/// The most packets that the gateway may send for a shake: after a short pause, and after a long one.
const PACKETS_OUT_MAX: [f64; 2] = [1.05, 1.15];
/// The longest that 99 of 100 shakes may take after a long pause, in microseconds.
const P99_US_MAX: u64 = 700_000;

/// A line for each case.
pub fn table(options: &Options, played: &[(Case, Outcome)]) -> Table {
    let title = format!(
        "{} phones, {} shakes/s for {} s",
        grouped(options.sessions.into()),
        grouped(options.shakes_per_second.into()),
        options.seconds
    );
    let head = [
        "acknowledging, who stops",
        "sent",
        "unanswered",
        "p99 ms",
        "packets in a shake",
        "out a shake",
        "socket full",
        "gateway's CPU",
        "stolen",
    ];
    let mut table = Table::new(title, head);
    for (case, outcome) in played {
        table.row([
            case.to_string(),
            grouped(outcome.sent),
            grouped(outcome.unanswered),
            format!("{:.1}", outcome.p99_us as f64 / 1e3),
            format!("{:.2}", outcome.packets_in),
            format!("{:.3}", outcome.packets_out),
            grouped(outcome.overflowed),
            format!("{:.0} %", outcome.gateway_cpu_share * 100.0),
            format!("{:.1} %", outcome.stolen_share * 100.0),
        ]);
    }
    table
}

/// What must hold.
pub fn lines(played: &[(Case, Outcome)]) -> Vec<Line> {
    played.iter().map(line).collect()
}

fn line((case, outcome): &(Case, Outcome)) -> Line {
    let is_short = case.pause <= SHORT;
    let out_max = PACKETS_OUT_MAX[usize::from(!is_short)];
    let Outcome {
        unanswered,
        p99_us,
        packets_out,
        ..
    } = outcome;
    let (figure, bound, is_served) = if is_short {
        (format!("{unanswered} unanswered"), "none".to_owned(), *unanswered == 0)
    } else {
        let most = P99_US_MAX / 1_000;
        let figure = format!("p99 {:.1} ms", *p99_us as f64 / 1e3);
        (figure, format!("{most} ms"), *p99_us < P99_US_MAX)
    };
    Line {
        what: case.to_string(),
        figure: format!("{figure}; {packets_out:.3} packets out a shake"),
        bound: format!("{bound}; {out_max}"),
        holds: is_served && *packets_out <= out_max,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::pauses::Whom;

    fn holds(ms: u64, unanswered: u64, p99_us: u64, packets_out: f64) -> bool {
        let case = Case {
            whom: Whom::Gateway,
            pause: Duration::from_millis(ms),
            rides: true,
        };
        let outcome = Outcome {
            sent: 288_000,
            unanswered,
            p99_us,
            packets_in: 1.1,
            packets_out,
            overflowed: 0,
            gateway_cpu_share: 0.5,
            stolen_share: 0.0,
        };
        line(&(case, outcome)).holds
    }

    #[test]
    fn a_short_pause_costs_no_shake_and_a_long_one_no_storm() {
        assert!(holds(60, 0, 900_000, 1.05));
        assert!(!holds(60, 1, 50_000, 1.0) && !holds(60, 0, 50_000, 1.051));
        assert!(holds(300, 5_000, 699_999, 1.15));
        assert!(!holds(300, 0, 700_000, 1.0) && !holds(300, 0, 300_000, 1.151));
    }
}
