//! The result as tables with what must hold of them, and as a curve.

use super::samples::Step;
use super::{FALL, Series};
use crate::report::{Line, Report, Table};
use shake_rules::money::grouped;
use std::fmt::Write as _;

/// Whether a step is at or above the peak, where the gateway must give all it can.
fn is_full(step: &Step, peak: f64) -> bool {
    step.offered_per_second >= peak * 0.999
}

fn is_fall(step: &Step) -> bool {
    step.name == format!("{FALL}x")
}

/// Both series and the cost of a refusal.
pub fn report(peak: f64, all: &[Series], served_us: f64, refused_us: f64) -> Report {
    let mut lines: Vec<_> = all.iter().flat_map(|series| lines(peak, series)).collect();
    lines.push(Line {
        what: "CPU of a refusal at grade 4".to_owned(),
        figure: format!("{refused_us:.1} µs, and {served_us:.1} of serving"),
        bound: "less than half of serving".to_owned(),
        holds: refused_us < served_us / 2.0,
    });
    Report {
        tables: all.iter().map(|series| table(peak, series)).collect(),
        lines,
    }
}

fn table(peak: f64, series: &Series) -> Table {
    const HEAD: [&str; 13] = [
        "load",
        "offered/s",
        "sent/s",
        "served/s",
        "refused/s",
        "socket full/s",
        "p99 ms",
        "grade",
        "queue wait ms",
        "gateway's core",
        "phones' core",
        "memory MB",
        "stolen",
    ];
    let claims = &series.played.report["claims"];
    let title = format!(
        "{}; the peak is {}/s; of {} claims {} were opened, {} were told busy, {} gave up",
        series.name,
        whole(peak),
        claims["wins"],
        claims["opened"],
        claims["busy"],
        claims["gave_up"],
    );
    let mut table = Table::new(title, HEAD);
    for step in &series.steps {
        let span_s = step.served / step.served_per_second.max(1e-9);
        table.row([
            step.name.clone(),
            whole(step.offered_per_second),
            whole(step.sent_per_second),
            whole(step.served_per_second),
            whole(step.refused / span_s.max(1e-9)),
            whole(step.overflowed_per_second),
            format!("{:.1}", step.p99_ms),
            format!("{:.0}", step.grade_max),
            format!("{:.1}", step.queue_wait_ms_max),
            format!("{:.2}", step.cpu_share),
            format!("{:.2}", step.phones_cpu_share),
            mb(step.resident_bytes_max),
            format!("{:.1} %", step.stolen_share * 100.0),
        ]);
    }
    table
}

fn lines(peak: f64, series: &Series) -> Vec<Line> {
    let name = series.name;
    let mut lines = Vec::new();
    let mut line = |holds: bool, what: &str, figure: String, bound: &str| {
        lines.push(Line {
            what: format!("{name}: {what}"),
            figure,
            bound: bound.to_owned(),
            holds,
        });
    };
    let full = series.steps.iter().filter(|step| is_full(step, peak));
    let least = full.map(|step| step.served_per_second).fold(f64::INFINITY, f64::min);
    line(
        least >= 0.9 * peak,
        "the least that is served at full load",
        format!("{}/s, {:.0} % of the peak", whole(least), least / peak * 100.0),
        "90 % of the peak",
    );
    let slowest = series.steps.iter().max_by(|a, b| a.p99_ms.total_cmp(&b.p99_ms));
    let (p99_ms, at, phones) = slowest.map_or((0.0, "", 0.0), |step| (step.p99_ms, &*step.name, step.phones_cpu_share));
    line(
        p99_ms < 250.0,
        "the highest p99 of what is served",
        format!("{p99_ms:.0} ms, at {at}, where the phones used {phones:.2} of their core"),
        "under 250 ms",
    );
    let claim = |key: &str| series.played.report["claims"][key].as_u64().unwrap_or(0);
    let (wins, opened) = (claim("wins"), claim("opened"));
    line(
        wins > 0 && opened as f64 > 0.999 * wins as f64,
        "claims that succeed",
        format!("{opened} of {wins}"),
        "over 99.9 %",
    );
    let resident = || series.steps.iter().map(|step| step.resident_bytes_max);
    let (before, most) = (resident().next().unwrap_or(0), resident().max().unwrap_or(0));
    line(
        most < before + before / 2,
        "the most memory",
        format!("{} MB, and {} at half the peak", mb(most), mb(before)),
        "half as much again",
    );
    let fall = series.steps.iter().find(|step| is_fall(step));
    let ease_s = fall.and_then(|step| step.at_ease_after_s);
    line(
        ease_s.is_some_and(|seconds| seconds <= 10.0),
        "from the load's fall to grade 0",
        ease_s.map_or("not reached".to_owned(), |seconds| format!("{seconds:.1} s")),
        "10 s",
    );
    lines
}

fn whole(number: f64) -> String {
    grouped(number.round() as u64)
}

fn mb(bytes: u64) -> String {
    (bytes >> 20).to_string()
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
