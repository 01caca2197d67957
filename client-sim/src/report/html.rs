//! The report as one page that needs nothing else: curves, tables, light and dark, on a laptop and on a phone.

use super::chart::{Chart, Curve, escaped};
use super::{GatewayRates, Percentiles, Report, Row, milliseconds, networks};
use shake_rules::money::grouped;
use std::collections::BTreeSet;

const STYLE: &str = include_str!("page.css");

/// The page of one run.
#[must_use]
pub fn page(report: &Report) -> String {
    let scenario = &report.scenario;
    let title = format!(
        "{} sessions, {} shakes/s",
        grouped(scenario.sessions.into()),
        grouped(scenario.shakes_per_second.into())
    );
    let mut body = format!(
        "<h1>{title}</h1><p>{} s of shaking on {} by the {} engine. {}</p>{}<section class=charts>",
        scenario.seconds,
        escaped(&scenario.target),
        escaped(&scenario.engine),
        if report.checks.passed {
            "All checks passed."
        } else {
            "<strong>Checks failed.</strong>"
        },
        tiles(report)
    );
    body.extend(charts(&report.series).iter().map(Chart::draw));
    body += "</section>";
    body += &steps(report);
    body += &networks::rows(report);
    body += &pushes(report);
    body += &environment(report);
    body += &format!("<h2>All figures</h2><pre>{}</pre>", escaped(&report.to_text()));
    wrapped(&title, &body)
}

/// A whole page around this body.
pub(super) fn wrapped(title: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=en><head><meta charset=utf-8>\
         <meta name=viewport content=\"width=device-width, initial-scale=1\"><title>{}</title>\
         <style>\n{STYLE}</style></head><body><main>\n{body}</main></body></html>\n",
        escaped(title)
    )
}

/// A table with a header; each cell is escaped.
pub(super) fn table(title: &str, header: &[&str], rows: &[Vec<String>]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let row = |tag: &str, cells: &mut dyn Iterator<Item = &str>| {
        let cells: String = cells.map(|cell| format!("<{tag}>{}</{tag}>", escaped(cell))).collect();
        format!("<tr>{cells}</tr>")
    };
    let mut text = format!("<h2>{}</h2><div class=wide><table>", escaped(title));
    text += &row("th", &mut header.iter().copied());
    for cells in rows {
        text += &row("td", &mut cells.iter().map(String::as_str));
    }
    text + "</table></div>\n"
}

fn tiles(report: &Report) -> String {
    let shakes = &report.shakes;
    let tiles = [
        ("connected", grouped(report.sessions.counts.connected)),
        ("sent", format!("{}/s", grouped(shakes.sent_per_second as u64))),
        ("answered", format!("{}/s", grouped(shakes.answered_per_second as u64))),
        ("unanswered", format!("{:.3} %", shakes.unanswered_share * 100.0)),
        ("latency p50", milliseconds(report.latency.p50_us)),
        ("latency p99", milliseconds(report.latency.p99_us)),
        ("packets won", grouped(report.claims.counts.wins)),
        ("packets opened", grouped(report.claims.counts.opened)),
    ];
    let tiles = tiles.map(|(name, value)| format!("<div><b>{value}</b>{name}</div>"));
    format!("<section class=tiles>{}</section>", tiles.concat())
}

fn charts(rows: &[Row]) -> Vec<Chart<'static>> {
    let curve = |name: &str, value: &dyn Fn(&Row) -> f64| Curve {
        name: name.into(),
        points: rows.iter().map(|row| [row.at_s, value(row)]).collect(),
    };
    let latency = |name: &str, of: fn(&Percentiles) -> u64| curve(name, &|row| of(&row.latency) as f64 / 1e3);
    let offered = || curve("offered", &|row| row.offered);
    let sent = || curve("sent by phones", &|row| row.sent);
    let answered = || curve("answers that phones heard", &|row| row.answered);
    let counted = |name: &str, of: fn(&GatewayRates) -> f64| curve(name, &|row| row.gateway.as_ref().map_or(0.0, of));
    // Absent when no gateway was watched.
    let served = || counted("counted by the gateway", |gateway| gateway.shakes);
    // What never happened needs no legend.
    let chart = |title, unit, mut curves: Vec<Curve>| {
        curves.retain(|curve| curve.highest() > 0.0);
        let since = "the start";
        Chart {
            title,
            unit,
            since,
            curves,
        }
    };
    let processes: BTreeSet<&String> = rows.iter().flat_map(|row| row.processes.keys()).collect();
    let of_processes = |value: fn(&super::Usage) -> f64| {
        let curves = processes
            .iter()
            .map(|name| curve(name, &|row| row.processes.get(*name).map_or(0.0, value)));
        curves.collect()
    };
    let errors: BTreeSet<&String> = rows.iter().flat_map(|row| row.errors.keys()).collect();
    let of_errors = errors
        .iter()
        .map(|name| {
            curve(name, &|row| {
                row.errors.get(*name).copied().unwrap_or(0) as f64 / row.span_s.max(1e-3)
            })
        })
        .collect();
    vec![
        chart(
            "Sessions",
            "connected",
            vec![curve("sessions", &|row| row.sessions.into())],
        ),
        chart(
            "Client rate",
            "shakes/s",
            vec![offered(), sent(), curve("held back", &|row| row.held_back)],
        ),
        chart(
            "Gateway rate",
            "answers/s",
            vec![answered(), served(), curve("slow down", &|row| row.slow_downs)],
        ),
        chart("Client and gateway", "per second", vec![sent(), served(), answered()]),
        chart(
            "Red packets",
            "per second",
            vec![
                curve("won", &|row| row.won),
                counted("released", |gateway| gateway.released),
                curve("opened", &|row| row.opened),
                curve("grabbed", &|row| row.grabbed),
                counted("gifts", |gateway| gateway.gifts),
            ],
        ),
        chart(
            "Latency",
            "ms, of each second's answers",
            vec![
                latency("p50", |of| of.p50_us),
                latency("p99", |of| of.p99_us),
                latency("p99.9", |of| of.p999_us),
            ],
        ),
        chart("CPU", "% of one core", of_processes(|usage| usage.cpu_share * 100.0)),
        chart(
            "Memory",
            "MiB resident",
            of_processes(|usage| usage.memory_bytes as f64 / f64::from(1 << 20)),
        ),
        chart("Errors", "per second, by name", of_errors),
    ]
}

fn steps(report: &Report) -> String {
    let rows: Vec<_> = report
        .steps
        .iter()
        .map(|step| {
            vec![
                step.name.clone(),
                grouped(step.shakes_per_second.into()),
                format!("{:.1} s", step.seconds),
                grouped(step.sent_per_second as u64),
                grouped(step.answered_per_second as u64),
                grouped(step.counts.held_back),
                format!("{:.3} %", step.unanswered_share * 100.0),
                milliseconds(step.latency.p50_us),
                milliseconds(step.latency.p99_us),
                milliseconds(step.latency.p999_us),
            ]
        })
        .collect();
    let header = [
        "step",
        "asked/s",
        "length",
        "sent/s",
        "answered/s",
        "held back",
        "unanswered",
        "p50",
        "p99",
        "p99.9",
    ];
    table("Steps", &header, &rows)
}

fn pushes(report: &Report) -> String {
    let rows: Vec<_> = report
        .pushes
        .iter()
        .map(|push| {
            vec![
                push.version.to_string(),
                push.cue.clone().unwrap_or_default(),
                grouped(push.sessions),
                grouped(push.reached),
                format!("{:.1} s", push.first_seen_s),
                format!("{} ms", push.p50_ms),
                format!("{} ms", push.p99_ms),
                format!("{} ms", push.max_ms),
            ]
        })
        .collect();
    let header = [
        "version",
        "cue",
        "sessions at it",
        "reached",
        "first seen at",
        "p50",
        "p99",
        "all",
    ];
    table("Configuration as the sessions saw it", &header, &rows)
}

fn environment(report: &Report) -> String {
    let environment = &report.environment;
    let rows = [
        ("command", environment.command.clone()),
        ("kernel", environment.kernel.clone()),
        ("processor", format!("{} × {}", environment.cores, environment.cpu)),
        (
            "memory",
            format!("{:.1} GiB", environment.memory_bytes as f64 / f64::from(1 << 30)),
        ),
        ("version", environment.version.clone()),
    ];
    let rows = rows.map(|(name, value)| vec![name.to_owned(), value]);
    table("Environment", &["what", "as it was"], &rows)
}
