//! The result as a table, as a curve, and as one line for each thing that must hold.

use super::samples::Step;
use super::{FALL, Series};
use serde_json::Value;
use std::fmt::Write as _;

/// One thing that must hold.
pub struct Verdict {
    pub holds: bool,
    what: String,
}

impl Verdict {
    pub fn line(&self) -> String {
        format!("{} {}", if self.holds { "yes" } else { "NO " }, self.what)
    }
}

/// Whether a step is at or above the peak, where the gateway must give all it can.
fn is_full(step: &Step, peak: f64) -> bool {
    step.offered_per_second >= peak * 0.999
}

fn is_fall(step: &Step) -> bool {
    step.name == format!("{FALL}x")
}

/// Judges what was measured.
pub fn verdicts(peak: f64, all: &[Series], served_us: f64, refused_us: f64) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    let mut say = |holds: bool, what: String| verdicts.push(Verdict { holds, what });
    for series in all {
        let name = series.name;
        let full: Vec<_> = series.steps.iter().filter(|step| is_full(step, peak)).collect();
        let least = full
            .iter()
            .map(|step| step.served_per_second)
            .fold(f64::INFINITY, f64::min);
        say(
            least >= 0.9 * peak,
            format!(
                "{name}: served at least {least:.0}/s at full load, {:.0} % of the peak (90 % wanted)",
                least / peak * 100.0
            ),
        );
        let slowest = series.steps.iter().max_by(|a, b| a.p99_ms.total_cmp(&b.p99_ms));
        let p99 = slowest.map_or(0.0, |step| step.p99_ms);
        say(
            p99 < 250.0,
            format!(
                "{name}: p99 of the served at most {p99:.0} ms (under 250 wanted), at {}, where the phones used {:.2} of their core",
                slowest.map_or("", |step| &step.name),
                slowest.map_or(0.0, |step| step.phones_cpu_share),
            ),
        );
        let claim = |key: &str| series.played.report["claims"][key].as_u64().unwrap_or(0);
        let (wins, opened) = (claim("wins"), claim("opened"));
        say(
            wins > 0 && opened as f64 > 0.999 * wins as f64,
            format!("{name}: {opened} of {wins} claims succeeded (over 99.9 % wanted)"),
        );
        let before = series.steps.first().map_or(0, |step| step.resident_bytes_max);
        let most = series
            .steps
            .iter()
            .map(|step| step.resident_bytes_max)
            .max()
            .unwrap_or(0);
        say(
            most < before + before / 2,
            format!(
                "{name}: at most {} MB resident, {} MB at half the peak (half as much again allowed)",
                most >> 20,
                before >> 20
            ),
        );
        let ease = series
            .steps
            .iter()
            .find(|step| is_fall(step))
            .and_then(|step| step.at_ease_after_s);
        say(
            ease.is_some_and(|seconds| seconds <= 10.0),
            match ease {
                Some(seconds) => format!("{name}: grade 0 again {seconds:.1} s after the load fell (10 wanted)"),
                None => format!("{name}: not at grade 0 again after the load fell"),
            },
        );
    }
    say(
        refused_us < served_us / 2.0,
        format!(
            "a refusal at grade 4 costs {refused_us:.1} µs of CPU, serving {served_us:.1} µs (less than half wanted)"
        ),
    );
    verdicts
}

/// The table and the verdicts.
pub fn text(peak: f64, all: &[Series], verdicts: &[Verdict]) -> String {
    let mut text = format!(
        "peak {peak:.0} shakes/s, gateway and agent on one core, phones on another\n\
         CPU: the gateway's, phones: theirs, each of its core; stolen: CPU time that the machine's host gave to others\n"
    );
    for series in all {
        let _ = writeln!(
            text,
            "\n{}\n{:>6} {:>10} {:>10} {:>10} {:>10} {:>8} {:>8} {:>6} {:>9} {:>5} {:>6} {:>8} {:>8}",
            series.name,
            "load",
            "offered/s",
            "sent/s",
            "served/s",
            "refused/s",
            "no room",
            "p99 ms",
            "grade",
            "queue ms",
            "CPU",
            "phones",
            "RSS MB",
            "stolen"
        );
        for step in &series.steps {
            let span_s = step.served / step.served_per_second.max(1e-9);
            let _ = writeln!(
                text,
                "{:>6} {:>10.0} {:>10.0} {:>10.0} {:>10.0} {:>8.0} {:>8.1} {:>6.0} {:>9.1} {:>5.2} {:>6.2} {:>8} {:>7.1}%",
                step.name,
                step.offered_per_second,
                step.sent_per_second,
                step.served_per_second,
                step.refused / span_s.max(1e-9),
                step.overflowed_per_second,
                step.p99_ms,
                step.grade_max,
                step.queue_wait_ms_max,
                step.cpu_share,
                step.phones_cpu_share,
                step.resident_bytes_max >> 20,
                step.stolen_share * 100.0
            );
        }
        let claims: &Value = &series.played.report["claims"];
        let _ = writeln!(
            text,
            "       claims: {} wins, {} opened, {} busy, {} retries, {} gave up",
            claims["wins"], claims["opened"], claims["busy"], claims["retries"], claims["gave_up"]
        );
    }
    text.push('\n');
    for verdict in verdicts {
        let _ = writeln!(text, "{}", verdict.line());
    }
    text
}

/// Served over offered, both as parts of the peak: a line for each series, and what an ideal gateway would do.
pub fn curve(peak: f64, all: &[Series]) -> String {
    const COLOURS: [&str; 2] = ["#1f77b4", "#d62728"];
    let x = |factor: f64| 60.0 + factor / 3.2 * 520.0;
    let y = |part: f64| 340.0 - part / 1.2 * 300.0;
    let mut svg = String::from(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 640 400\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"640\" height=\"400\" fill=\"white\"/>\n",
    );
    let mut line = |points: &[(f64, f64)], style: &str| {
        let points: Vec<_> = points
            .iter()
            .map(|&(a, b)| format!("{:.1},{:.1}", x(a), y(b)))
            .collect();
        let _ = writeln!(svg, "<polyline fill=\"none\" {style} points=\"{}\"/>", points.join(" "));
    };
    line(&[(0.0, 1.2), (0.0, 0.0), (3.2, 0.0)], "stroke=\"black\"");
    line(
        &[(0.0, 0.0), (1.0, 1.0), (3.2, 1.0)],
        "stroke=\"grey\" stroke-dasharray=\"4\"",
    );
    line(&[(1.0, 0.9), (3.2, 0.9)], "stroke=\"grey\" stroke-dasharray=\"1 3\"");
    for (series, colour) in all.iter().zip(COLOURS) {
        let steps = series.steps.iter().filter(|step| !is_fall(step));
        let points: Vec<_> = steps
            .map(|step| (step.offered_per_second / peak, step.served_per_second / peak))
            .collect();
        line(&points, &format!("stroke=\"{colour}\" stroke-width=\"2\""));
    }
    for (at, (series, colour)) in all.iter().zip(COLOURS).enumerate() {
        let _ = writeln!(
            svg,
            "<text x=\"420\" y=\"{}\" fill=\"{colour}\">{}</text>",
            280 + at * 18,
            series.name
        );
    }
    for factor in [0.5, 1.0, 1.5, 2.0, 3.0] {
        let _ = writeln!(svg, "<text x=\"{:.0}\" y=\"358\">{factor}x</text>", x(factor) - 8.0);
    }
    let _ = writeln!(
        svg,
        "<text x=\"220\" y=\"385\">offered, in parts of the peak ({peak:.0} shakes/s)</text>"
    );
    let _ = writeln!(svg, "<text x=\"8\" y=\"30\">served</text>\n</svg>");
    svg
}
