//! The figures of the run, by step and in all.

use super::play::{AGENT, GATEWAY};
use super::{Options, Seen, gb, growth, is_held, lines, still_ms};
use crate::report::{Report, Table};
use client_sim::report::StepReport;
use shake_rules::money::grouped;

/// Steps, figures of the whole run, and what must hold.
pub fn report(options: &Options, seen: &Seen) -> Report {
    let head = [
        "step",
        "sent/s",
        "answered/s",
        "unanswered",
        "p50 ms",
        "p99 ms",
        "gateway us a shake",
        "gateway CPUs",
        "agent CPUs",
        "simulator CPUs",
        "stolen",
        "gateway memory",
    ];
    let mut steps = Table::new("", head);
    for step in &seen.evidence.phones.steps {
        steps.row(row(seen, step));
    }
    Report {
        tables: vec![steps, whole(options, seen)],
        lines: lines(options, seen),
    }
}

fn whole(options: &Options, seen: &Seen) -> Table {
    let phones = &seen.evidence.phones;
    let samples = &seen.played.samples;
    let mut table = Table::new("", ["in all", "figure"]);
    let mut row = |what: &str, figure: String| table.row([what.to_owned(), figure]);
    let gateway_bytes = samples.resident_bytes_max(GATEWAY);
    row("sessions", grouped(phones.sessions.counts.connected));
    row("handshakes/s", format!("{:.0}", phones.sessions.handshakes_per_second));
    row("gateway's memory at the most, GB", format!("{:.2}", gb(gateway_bytes)));
    let kb = gateway_bytes as f64 / 1e3 / f64::from(options.sessions);
    row("by session, KB", format!("{kb:.1}"));
    let agent_bytes = samples.resident_bytes_max(AGENT);
    row("agent's memory at the most, GB", format!("{:.2}", gb(agent_bytes)));
    let phones_bytes = phones.resources.memory_peak_bytes;
    row("simulator's memory at the most, GB", format!("{:.2}", gb(phones_bytes)));
    let still_ms = still_ms(seen);
    row("longest growth of a table or page, ms of CPU", format!("{still_ms:.1}"));
    let held = phones.steps.iter().filter(|step| is_held(step));
    let rate = held.map(|step| step.shakes_per_second).max().unwrap_or_default();
    row(
        "highest rate held (under 0.1 % unanswered, p99 under 100 ms)",
        format!("{}/s", grouped(rate.into())),
    );
    let claims = &phones.claims.counts;
    row("packets won", grouped(claims.wins));
    row("packets opened", grouped(claims.opened));
    let total = &seen.evidence.books.audit.total;
    for (what, packets) in [
        ("of the seed", total.seed.packets),
        ("opened, by the ledger", total.opened.packets),
        ("held", total.held.packets),
        ("not released", total.unreleased.packets),
        ("void", total.void.packets),
    ] {
        row(&format!("packets {what}"), grouped(packets));
    }
    let [before, after] = seen.latencies;
    row("a random read of memory before the run", before.to_string());
    row("after it", after.to_string());
    table
}

fn row(seen: &Seen, step: &StepReport) -> [String; 12] {
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
    [
        step.name.clone(),
        grouped(step.sent_per_second.round() as u64),
        grouped(step.answered_per_second.round() as u64),
        of_shakes(format!("{:.3} %", step.missed_share() * 100.0)),
        of_shakes(format!("{:.2}", step.latency.p50_us as f64 / 1e3)),
        of_shakes(format!("{:.2}", step.latency.p99_us as f64 / 1e3)),
        of_shakes(format!("{per_shake:.2}")),
        format!("{:.2}", cpus(GATEWAY)),
        format!("{:.2}", cpus(AGENT)),
        format!("{:.2}", step.cpu_s / step.seconds.max(0.001)),
        format!(
            "{:.1} %",
            spell(GATEWAY).map_or(0.0, |spell| spell.stolen_share) * 100.0
        ),
        format!("{:+.2} %", growth(samples, step) * 100.0),
    ]
}
