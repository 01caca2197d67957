//! What the run looked like, as text.

use super::play::{AGENT, GATEWAY};
use super::{Options, RATES, Seen, gb, growth, is_held, still_ms};
use client_sim::report::StepReport;
use std::fmt::Write;

/// The table, and what is wrong with the run.
pub fn text(options: &Options, seen: &Seen, failures: &[String]) -> String {
    let phones = &seen.evidence.phones;
    let samples = &seen.played.samples;
    let mut text = String::new();
    let mut line = |words: String| writeln!(text, "{words}").expect("writing to a String cannot fail");
    line(format!(
        "{} of {} sessions, {:.0} handshakes/s, {} lost",
        phones.sessions.counts.connected,
        options.sessions,
        phones.sessions.handshakes_per_second,
        phones.sessions.counts.lost
    ));
    line(format!(
        "memory at the most: gateway {:.2} GB ({:.1} KB a session), agent {:.2} GB, simulator {:.2} GB",
        gb(samples.resident_bytes_max(GATEWAY)),
        samples.resident_bytes_max(GATEWAY) as f64 / 1e3 / f64::from(options.sessions),
        gb(samples.resident_bytes_max(AGENT)),
        gb(phones.resources.memory_peak_bytes),
    ));
    line(format!(
        "longest growth of a table or page in the gateway: {:.1} ms of CPU time",
        still_ms(seen)
    ));
    line(format!(
        "{:<20} {:>10} {:>10} {:>11} {:>9} {:>9} {:>9} {:>9} {:>10} {:>8} {:>9}  gw memory",
        "step",
        "sent/s",
        "answered/s",
        "unanswered",
        "p50 ms",
        "p99 ms",
        "gw us/shk",
        "gw CPUs",
        "agent CPUs",
        "sim CPUs",
        "stolen",
    ));
    for step in &phones.steps {
        line(row(seen, step));
    }
    line(
        "stolen: CPU time of the machine that its host gave to others; figures of a step with much of it say little"
            .into(),
    );
    let [before, after] = seen.latencies;
    line(format!(
        "a random read of memory: {before} before the run, {after} after it"
    ));
    let held = phones
        .steps
        .iter()
        .filter(|step| is_held(step))
        .map(|step| step.shakes_per_second);
    line(format!(
        "highest rate held (under 0.1 % unanswered, 99th percentile under 100 ms): {}/s",
        held.max().unwrap_or_default()
    ));
    let claims = &phones.claims.counts;
    let total = &seen.evidence.books.audit.total;
    line(format!(
        "packets: {} won, {} opened; seed {}, opened {}, held {}, unreleased {}, void {}; audit {}",
        claims.wins,
        claims.opened,
        total.seed.packets,
        total.opened.packets,
        total.held.packets,
        total.unreleased.packets,
        total.void.packets,
        if seen.evidence.books.audit.balanced {
            "balanced"
        } else {
            "NOT balanced"
        },
    ));
    for failure in failures {
        line(format!("BROKEN: {failure}"));
    }
    if failures.is_empty() {
        line(format!(
            "every bound held (rates {RATES:?}, memory, sessions, growth, money)"
        ));
    }
    text
}

fn row(seen: &Seen, step: &StepReport) -> String {
    let samples = &seen.played.samples;
    let spell = |process| samples.between(process, step.began_unix_ms, step.ends_unix_ms());
    let cpus = |process| spell(process).map_or(0.0, |spell| spell.cpu.as_secs_f64() / spell.length.as_secs_f64());
    let per_shake = cpus(GATEWAY) * 1e6 / step.answered_per_second.max(1.0);
    // Nobody is asked to shake while they only hold, and nothing can be said of no shakes.
    let of_shakes = |figure: String| {
        if step.shakes_per_second == 0 {
            "-".into()
        } else {
            figure
        }
    };
    format!(
        "{:<20} {:>10.0} {:>10.0} {:>11} {:>9} {:>9} {:>9} {:>9.2} {:>10.2} {:>8.2} {:>8.1}%  {:+.2} %",
        step.name,
        step.sent_per_second,
        step.answered_per_second,
        of_shakes(format!("{:.3}%", step.missed_share() * 100.0)),
        of_shakes(format!("{:.2}", step.latency.p50_us as f64 / 1e3)),
        of_shakes(format!("{:.2}", step.latency.p99_us as f64 / 1e3)),
        of_shakes(format!("{per_shake:.2}")),
        cpus(GATEWAY),
        cpus(AGENT),
        step.cpu_s / step.seconds.max(0.001),
        spell(GATEWAY).map_or(0.0, |spell| spell.stolen_share) * 100.0,
        growth(samples, step) * 100.0,
    )
}
