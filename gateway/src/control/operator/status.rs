//! `status`: how each gateway stands, once in full, or a line a second.

use super::client::Client;
use super::differs::{self, Seen};
use super::fleet::{self, Fleet};
use super::{StatusArgs, watch};
use crate::control::expires_soon;
use anyhow::Result;
use host::clock::{moment, wall_ms};
use host::console;
use shake_proto::admin_v1 as v1;
use shake_rules::UnixMillis;
use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Duration;

/// How long gateways that do not answer are waited for, from the first that did on.
const STRAGGLERS: Duration = Duration::from_secs(3);
/// What was not served, by reason: what it was, and its metric. The reasons are the metric's labels.
const REFUSALS: [(&str, &str); 7] = [
    ("shakes", "gateway_shakes_refused_total"),
    ("datagrams", "gateway_datagrams_dropped_total"),
    ("packets", "gateway_packets_shed_total"),
    ("connections", "gateway_connections_refused_total"),
    ("busy", "gateway_asks_busy_total"),
    ("asks", "gateway_asks_refused_total"),
    ("streams", "gateway_streams_refused_total"),
];
/// What the per-second picture shows: heading, metrics (whole families, summed), and whether it is a rate.
const COLUMNS: [(&str, &[&str], bool); 6] = [
    ("sessions", &["gateway_sessions"], false),
    ("new/s", &["gateway_connections_accepted_total"], true),
    ("shakes/s", &["gateway_shakes_total"], true),
    ("wins/s", &["gateway_wins_total"], true),
    ("asks/s", &["gateway_asks_total"], true),
    (
        "refused/s",
        &[
            REFUSALS[0].1,
            REFUSALS[1].1,
            REFUSALS[2].1,
            REFUSALS[3].1,
            REFUSALS[4].1,
            REFUSALS[5].1,
            REFUSALS[6].1,
        ],
        true,
    ),
];

pub async fn status(args: &StatusArgs) -> Result<ExitCode> {
    if args.watch {
        return watch::watch(args).await;
    }
    let mut fleet = Fleet::begin(&args.targets)?;
    fleet.gather(STRAGGLERS).await?;
    fleet.give_up(STRAGGLERS);
    let seen: Vec<_> = fleet.clients().iter().map(Seen::of).collect();
    let silent: Vec<_> = fleet.failed().iter().map(|line| line.target.clone()).collect();
    if args.targets.json {
        let reference = differs::reference(&seen);
        for (client, one) in fleet.clients().iter().zip(&seen) {
            let differences = reference.map(|reference| one.differences(reference));
            console::line(&json(client, differences.as_deref()).to_string())?;
        }
    } else {
        if let Some(line) = differs::line(&seen, &silent) {
            console::line(&line)?;
        }
        for client in fleet.clients() {
            console::line(&in_full(client))?;
        }
    }
    let failed: Vec<_> = fleet.failed().iter().collect();
    fleet::tell_together(&failed, args.targets.json)?;
    let code = match failed.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    };
    fleet.close().await;
    Ok(code)
}

fn totals(status: &v1::Status) -> [u64; COLUMNS.len()] {
    COLUMNS.map(|(_, families, _)| {
        let values = status.metrics.iter().filter(|m| families.contains(&family(&m.name)));
        values.map(|m| m.value).sum()
    })
}

/// The name of a metric without its labels.
fn family(name: &str) -> &str {
    name.split_once('{').map_or(name, |(family, _)| family)
}

/// What was refused between two looks, by reason and per second, most first; nothing when nothing was.
fn refusals(before: &v1::Status, now: &v1::Status, took: Duration) -> Option<String> {
    let mut rows = Vec::new();
    for (metric, earlier) in now.metrics.iter().zip(&before.metrics) {
        let grown = metric.value.saturating_sub(earlier.value);
        let of = REFUSALS.iter().find(|(_, name)| *name == family(&metric.name));
        if let (Some((what, _)), 1..) = (of, grown) {
            // The label's value, between the quotes.
            let reason = metric.name.split('"').nth(1).unwrap_or_default();
            rows.push((grown as f64 / took.as_secs_f64(), format!("{what} {reason}")));
        }
    }
    rows.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    let texts: Vec<_> = rows.iter().map(|(rate, name)| format!("{name} {rate:.0}")).collect();
    (!texts.is_empty()).then(|| texts.join(", "))
}

pub fn heading() -> String {
    let mut text = format!("{:<8} {:<21} {:>13} {:>5}", "time", "gateway", "version", "grade");
    for (name, _, _) in COLUMNS {
        write!(text, " {name:>9}").expect("writing to a String cannot fail");
    }
    text.push_str("  phase, what comes, modes");
    text
}

pub fn row(client: &Client, before_status: &v1::Status, took: Duration) -> String {
    let status = &client.status;
    let (before, now) = (totals(before_status), totals(status));
    let clock = jiff::Zoned::now().strftime("%H:%M:%S");
    let mut text = format!(
        "{clock} {:<21} {:>13} {:>5}",
        client.target, status.version, status.grade
    );
    for (at, (_, _, is_rate)) in COLUMNS.into_iter().enumerate() {
        let value = if is_rate {
            (now[at].saturating_sub(before[at]) as f64 / took.as_secs_f64()).round() as u64
        } else {
            now[at]
        };
        write!(text, " {value:>9}").expect("writing to a String cannot fail");
    }
    write!(text, "  {}", countdown(status)).expect("writing to a String cannot fail");
    for mode in &status.modes {
        write!(text, ", {mode}").expect("writing to a String cannot fail");
    }
    if let Some(left_ms) = status.draining_for_ms {
        write!(text, ", draining for {}", seconds(left_ms)).expect("writing to a String cannot fail");
    }
    if let Some(reasons) = refusals(before_status, status, took) {
        write!(text, "\n{:<21} refused/s: {reasons}", "").expect("writing to a String cannot fail");
    }
    text
}

/// What runs and for how long, and what comes when.
fn countdown(status: &v1::Status) -> String {
    let now = status.current_phase.as_ref().map_or_else(
        || "(none)".to_owned(),
        |phase| format!("{} {} left", phase.name, whole_seconds(phase.ends_in_ms)),
    );
    match &status.next_phase {
        None => now,
        Some(next) => match next.starts_in_ms {
            Some(ms) => format!("{now}, {} in {}", next.name, whole_seconds(ms)),
            None => format!("{now}, {} waits", next.name),
        },
    }
}

fn whole_seconds(ms: u64) -> String {
    let seconds = ms.div_ceil(1_000);
    match seconds / 60 {
        0 => format!("{seconds} s"),
        minutes => format!("{minutes}:{:02}", seconds % 60),
    }
}

fn seconds(ms: u64) -> String {
    format!("{:.1} s", ms as f64 / 1e3)
}

fn phase(phase: &v1::PhaseState) -> String {
    let name = format!("{:?} (stage {})", phase.name, phase.stage);
    match phase.starts_in_ms {
        None => format!("{name}, waits for its cue"),
        Some(0) => format!("{name}, ends in {}", seconds(phase.ends_in_ms)),
        Some(ms) => format!("{name}, starts in {}", seconds(ms)),
    }
}

/// A moment, and how far away it is.
fn distance(at_ms: u64, now_ms: u64) -> String {
    let at = moment(UnixMillis(at_ms));
    match at_ms.checked_sub(now_ms) {
        Some(ms) => format!("at {at}, in {}", whole_seconds(ms)),
        None => format!("at {at}, {} ago", whole_seconds(now_ms - at_ms)),
    }
}

/// The first line of a gateway: where it was asked, and which machine that is.
fn headline(target: &str, machine: &str) -> String {
    match machine {
        "" => format!("{target}\n"),
        machine => format!("{target} (host {machine})\n"),
    }
}

fn in_full(client: &Client) -> String {
    let status = &client.status;
    let now_ms = client.its_time(wall_ms());
    let mut text = headline(&client.target, &status.machine);
    let mut say = |name: &str, value: String| {
        writeln!(text, "  {name:<9} {value}").expect("writing to a String cannot fail");
    };
    say("show", format!("{:?}, event {}", status.show, status.event));
    let by = if status.changed_by.is_empty() {
        "the configured files".to_owned()
    } else {
        format!("{:?}", status.changed_by)
    };
    let at = moment(UnixMillis(status.changed_at_ms));
    say("version", format!("{} by {by} at {at}", status.version));
    let (all, on) = (status.shard_versions.len(), status.version);
    let there = status.shard_versions.iter().filter(|&&at| at == on).count();
    say("shards", format!("{there} of {all} run version {on}"));
    if let Some(books) = &status.books {
        say(
            "books",
            format!("part {} of the seed, ledger {}", books.part + 1, books.ledger),
        );
    }
    let none = || "none".to_owned();
    say("phase", status.current_phase.as_ref().map_or_else(none, phase));
    say("next", status.next_phase.as_ref().map_or_else(none, phase));
    for cue in &status.cues {
        let at = cue.at_ms.map_or_else(|| "waits".to_owned(), |at| distance(at, now_ms));
        say("cue", format!("{} {at}", cue.name));
    }
    for cut in &status.cuts {
        let at = distance(cut.at_ms.unwrap_or_default(), now_ms);
        say("cut", format!("phase {:?} {at}", cut.name));
    }
    say("grade", status.grade.to_string());
    for signal in &status.signals {
        say("signal", format!("{} {:.3}", signal.name, signal.value));
    }
    say(
        "modes",
        if status.modes.is_empty() {
            none()
        } else {
            status.modes.join(", ")
        },
    );
    if let Some(left_ms) = status.draining_for_ms {
        say("draining", format!("for {}", seconds(left_ms)));
    }
    let rates = status
        .per_second
        .iter()
        .map(|rate| format!("{} {:.0}", rate.name, rate.value));
    say("last s", rates.collect::<Vec<_>>().join(", "));
    let totals = totals(status);
    let numbers = COLUMNS.iter().zip(totals).map(|((name, _, _), total)| {
        let name = name.trim_end_matches("/s");
        format!("{name} {total}")
    });
    say("totals", numbers.collect::<Vec<_>>().join(", "));
    let expires_at = status.certificate_expires_at_ms;
    let warning = match expires_soon(expires_at, wall_ms()) {
        true => "  WARNING: put a new one in place, then `gateway reload`",
        false => "",
    };
    say(
        "expires",
        format!("certificate at {}{warning}", moment(UnixMillis(expires_at))),
    );
    for file in &status.files {
        say("file", file.clone());
    }
    for key in &status.keys {
        say("key", format!("{} key {}: {}", key.purpose, key.id, key.says));
    }
    say("clock", client.offset.to_string());
    say(
        "sha256",
        format!("show {}, throttle {}", status.show_sha256, status.throttle_sha256),
    );
    text.pop();
    text
}

pub fn json(client: &Client, differences: Option<&[String]>) -> serde_json::Value {
    let status = &client.status;
    let phase = |phase: &v1::PhaseState| {
        serde_json::json!({
            "name": phase.name, "stage": phase.stage, "starts_in_ms": phase.starts_in_ms, "ends_in_ms": phase.ends_in_ms,
        })
    };
    let cues: serde_json::Map<_, _> = status
        .cues
        .iter()
        .map(|cue| (cue.name.clone(), cue.at_ms.into()))
        .collect();
    let cuts: serde_json::Map<_, _> = status
        .cuts
        .iter()
        .map(|cut| (cut.name.clone(), cut.at_ms.into()))
        .collect();
    let metrics: serde_json::Map<_, _> = status
        .metrics
        .iter()
        .map(|m| (m.name.clone(), m.value.into()))
        .collect();
    let signals: serde_json::Map<_, _> = status
        .signals
        .iter()
        .map(|s| (s.name.clone(), s.value.into()))
        .collect();
    let key = |key: &v1::KeyUse| {
        serde_json::json!({
            "purpose": key.purpose, "id": key.id, "count": key.count, "good_until_ms": key.good_until_ms, "hangs": key.hangs,
            "says": key.says,
        })
    };
    let keys: Vec<_> = status.keys.iter().map(key).collect();
    let rates: serde_json::Map<_, _> = status
        .per_second
        .iter()
        .map(|s| (s.name.clone(), s.value.into()))
        .collect();
    serde_json::json!({
        "per_second": rates, "target": client.target, "machine": Some(&status.machine).filter(|name| !name.is_empty()), "result": "status", "version": status.version, "changed_by": status.changed_by,
        "changed_at_ms": status.changed_at_ms, "event": status.event, "show": status.show,
        "show_sha256": status.show_sha256, "throttle_sha256": status.throttle_sha256,
        "current_phase": status.current_phase.as_ref().map(phase), "next_phase": status.next_phase.as_ref().map(phase),
        "differs": differences, "cues": cues, "cuts": cuts, "shard_versions": status.shard_versions, "draining_for_ms": status.draining_for_ms,
        "grade": status.grade, "signals": signals, "modes": status.modes, "metrics": metrics,
        "ledger": status.books.as_ref().map(|books| &books.ledger), "part": status.books.as_ref().map(|books| books.part + 1),
        "certificate_expires_at_ms": status.certificate_expires_at_ms, "files": status.files, "keys": keys,
        "clock": client.offset.json(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(metrics: &[(&str, u64)]) -> v1::Status {
        let metric = |&(name, value): &(&str, u64)| v1::Metric {
            name: name.to_owned(),
            value,
        };
        v1::Status {
            metrics: metrics.iter().map(metric).collect(),
            ..v1::Status::default()
        }
    }

    #[test]
    fn the_machine_stands_beside_the_target_if_the_gateway_tells_it() {
        assert_eq!(headline("gw1:4434", "vm-17"), "gw1:4434 (host vm-17)\n");
        assert_eq!(headline("gw1:4434", ""), "gw1:4434\n");
    }

    #[test]
    fn refusals_are_told_by_reason_and_per_second() {
        let names = [
            "gateway_shakes_total{outcome=\"greeting\"}",
            "gateway_shakes_refused_total{reason=\"user_rate\"}",
            "gateway_packets_shed_total{reason=\"over_rate\"}",
            "gateway_packets_shed_total{reason=\"too_late\"}",
        ];
        let of = |values: [u64; 4]| status(&[0, 1, 2, 3].map(|at| (names[at], values[at])));
        let (before, now) = (of([5, 1, 10, 7]), of([900, 5, 210, 7]));
        let two_seconds = Duration::from_secs(2);
        assert_eq!(
            refusals(&before, &now, two_seconds).as_deref(),
            Some("packets over_rate 100, shakes user_rate 2")
        );
        assert_eq!(refusals(&now, &now, two_seconds), None);
        assert_eq!(totals(&now)[COLUMNS.len() - 1], 222, "all refusals");
        assert_eq!(totals(&now)[2], 900, "shakes");
    }
}
