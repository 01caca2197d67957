//! The table of `cargo xtask bench pauses`, and what must hold of it. Pure.

use super::{Case, Options, Outcome, Whom};
use crate::bench::lines::Line;
use std::fmt::Write;
use std::time::Duration;

/// A pause that must cost nothing.
const SHORT: Duration = Duration::from_millis(60);
/// The most packets that the gateway may send for a shake: after a short pause, and after a long one.
const PACKETS_OUT_MAX: [f64; 2] = [1.05, 1.15];
/// The longest that 99 of 100 shakes may take after a long pause, in microseconds.
const P99_US_MAX: u64 = 700_000;

/// A line for each case.
pub fn text(options: &Options, played: &[(Case, Outcome)]) -> String {
    let mut text = format!(
        "{} phones of the quinn engine, {} shakes/s for {} s, all on this machine\n\n\
         {:<30} {:>8} {:>10} {:>9} {:>11} {:>12} {:>10} {:>8} {:>8}\n",
        options.sessions,
        options.shakes_per_second,
        options.seconds,
        "acknowledging, who stops",
        "sent",
        "unanswered",
        "p99 ms",
        "in a shake",
        "out a shake",
        "socket full",
        "core",
        "stolen",
    );
    for (case, outcome) in played {
        writeln!(
            text,
            "{:<30} {:>8} {:>10} {:>9.1} {:>11.2} {:>12.3} {:>10} {:>7.0}% {:>7.1}%",
            case.to_string(),
            outcome.sent,
            outcome.unanswered,
            outcome.p99_us as f64 / 1e3,
            outcome.packets_in,
            outcome.packets_out,
            outcome.overflowed,
            outcome.gateway_cpu_share * 100.0,
            outcome.stolen_share * 100.0,
        )
        .expect("a String grows as needed");
    }
    text + "\n"
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
    let of_probes = if case.whom == Whom::Nobody {
        "without a pause"
    } else {
        "after it"
    };
    let (what, is_served) = if is_short {
        (format!("{unanswered} unanswered"), *unanswered == 0)
    } else {
        let (ms, most) = (*p99_us as f64 / 1e3, P99_US_MAX / 1_000);
        (format!("p99 {ms:.1} ms, {most} is the most"), *p99_us < P99_US_MAX)
    };
    Line {
        what: format!("{case}: {what}; {packets_out:.3} packets out a shake {of_probes}, {out_max} is the most"),
        holds: is_served && *packets_out <= out_max,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
