//! The report as a table for people.

use super::{Percentiles, Report, networks};
use crate::tally::Errands;
use shake_rules::money::{grouped, money};
use std::collections::BTreeMap;
use std::fmt::{Display, Write};

/// A table: a name at the left of each line, sentences of figures at the right.
pub(super) struct Table(String);

impl Table {
    pub(super) fn line(&mut self, name: &str, figures: impl Display) {
        writeln!(self.0, "{name:<14} {figures}").expect("a String grows as needed");
    }

    /// Counts by name, the largest first; nothing when there are none.
    pub(super) fn counts<'a>(&mut self, name: &str, counts: impl IntoIterator<Item = (&'a str, u64)>) {
        let mut counts: Vec<_> = counts.into_iter().collect();
        counts.sort_by_key(|(name, count)| (std::cmp::Reverse(*count), *name));
        let parts: Vec<_> = counts
            .iter()
            .map(|(name, count)| format!("{name} {}", grouped(*count)))
            .collect();
        if !parts.is_empty() {
            self.line(name, parts.join(" · "));
        }
    }

    pub(super) fn percentiles(&mut self, name: &str, latency: &Percentiles) {
        if latency.count == 0 {
            return;
        }
        let Percentiles {
            p50_us,
            p90_us,
            p99_us,
            p999_us,
            max_us,
            ..
        } = *latency;
        let parts = [
            ("p50", p50_us),
            ("p90", p90_us),
            ("p99", p99_us),
            ("p99.9", p999_us),
            ("max", max_us),
        ];
        self.line(
            name,
            parts
                .map(|(name, us)| format!("{name} {}", milliseconds(us)))
                .join(" · "),
        );
    }
}

pub(super) fn render(report: &Report) -> String {
    let mut table = Table(String::new());
    scenario(&mut table, report);
    sessions(&mut table, report);
    shakes(&mut table, report);
    steps(&mut table, report);
    networks::lines(&mut table, report);
    claims(&mut table, report);
    packets(&mut table, report);
    changes(&mut table, report);
    packages(&mut table, report);
    end(&mut table, report);
    table.0
}

fn scenario(table: &mut Table, report: &Report) {
    let scenario = &report.scenario;
    let early = if report.stopped_early { ", stopped early" } else { "" };
    table.line(
        "scenario",
        format_args!(
            "{} sessions to {}, {} shakes/s for {} s, engine {}{early}",
            grouped(scenario.sessions.into()),
            scenario.target,
            grouped(scenario.shakes_per_second.into()),
            scenario.seconds,
            scenario.engine
        ),
    );
}

fn steps(table: &mut Table, report: &Report) {
    for step in report.steps.iter().filter(|_| report.steps.len() > 1) {
        table.line(
            "  step",
            format_args!(
                "{} for {:.0} s: {} sent/s · {} answered/s · {} unanswered ({:.3} %) · p50 {} · p99 {}",
                step.name,
                step.seconds,
                grouped(step.sent_per_second as u64),
                grouped(step.answered_per_second as u64),
                grouped(step.counts.unanswered),
                step.unanswered_share * 100.0,
                milliseconds(step.latency.p50_us),
                milliseconds(step.latency.p99_us)
            ),
        );
    }
}

fn sessions(table: &mut Table, report: &Report) {
    let sessions = &report.sessions;
    table.line(
        "sessions",
        format_args!(
            "{} connected in {:.1} s ({}/s) · {} gave up · {} lost · {} reconnected · {} online at the end",
            grouped(sessions.counts.connected),
            sessions.ramp_s,
            grouped(sessions.handshakes_per_second as u64),
            grouped(sessions.counts.failed),
            grouped(sessions.counts.lost),
            grouped(sessions.counts.reconnected),
            grouped(sessions.online_at_end.into())
        ),
    );
    table.percentiles("  connect", &sessions.connect_latency);
    table.counts("  connect fail", named(&sessions.counts.connect_failures));
    table.counts("  hello fail", named(&sessions.counts.hello_failures));
    if sessions.counts.told_to_go_away > 0 {
        table.line(
            "  go away",
            format_args!("{} notices", grouped(sessions.counts.told_to_go_away)),
        );
    }
    if sessions.counts.moved > 0 {
        let moved = format_args!("{} times to another gateway", grouped(sessions.counts.moved));
        table.line("  moved", moved);
    }
}

fn shakes(table: &mut Table, report: &Report) {
    let shakes = &report.shakes;
    table.line(
        "shakes",
        format_args!(
            "{} sent ({}/s) · {} answered · {} unanswered ({:.3} %) · {} late · {} unexpected",
            grouped(shakes.counts.sent),
            grouped(shakes.sent_per_second as u64),
            grouped(shakes.counts.answered),
            grouped(shakes.counts.unanswered),
            shakes.unanswered_share * 100.0,
            grouped(shakes.counts.late),
            grouped(shakes.counts.unexpected)
        ),
    );
    let left_out = [
        ("on streams", shakes.counts.sent_on_streams),
        ("held back", shakes.counts.held_back),
        ("sent later than wished, as told", shakes.counts.postponed),
        ("left out offline", shakes.counts.skipped_offline),
        ("scheduled but not sent", shakes.not_sent),
    ];
    table.counts("  apart", left_out.into_iter().filter(|(_, count)| *count > 0));
    table.counts("  outcomes", named(&report.outcomes));
    table.counts("  slow downs", named(&report.slow_downs));
    for (phase, outcomes) in &report.phases {
        table.counts(&format!("  in {phase}"), named(outcomes));
    }
    table.percentiles("  latency", &report.latency);
}

fn claims(table: &mut Table, report: &Report) {
    let claims = &report.claims;
    table.line(
        "red packets",
        format_args!(
            "{} won · {} opened ({} repeated) · {} busy answers · {} retries · {} gave up · {} failed · {} unfinished",
            grouped(claims.counts.wins),
            grouped(claims.counts.opened),
            grouped(claims.counts.course.repeats),
            grouped(claims.counts.course.busy),
            grouped(claims.counts.course.retries),
            grouped(claims.counts.course.gave_up),
            grouped(claims.counts.course.failed),
            grouped(claims.counts.course.unfinished)
        ),
    );
    table.counts("  refused", named(&claims.counts.course.refused));
    table.percentiles("  latency", &claims.latency);
    let aside = [("split", claims.counts.split), ("hoarded", claims.counts.hoarded)];
    table.counts("", aside.into_iter().filter(|(_, count)| *count > 0));
    let cents = &report.cents;
    let mut sums = format!("{} won", money(claims.cents));
    if cents.grabbed + cents.sent > 0 {
        sums = format!("{sums} · {} grabbed · {} sent", money(cents.grabbed), money(cents.sent));
    }
    table.line("money", sums);
    for (sponsor, cents) in &claims.cents_by_sponsor {
        table.line("", format_args!("sponsor {sponsor}: {}", money(*cents)));
    }
}

fn packets(table: &mut Table, report: &Report) {
    let packets = &report.packets;
    let heard = [
        ("offers", packets.offers),
        ("codes told", packets.codes_told),
        ("codes heard", packets.codes_heard),
        ("ignored", packets.ignored),
    ];
    table.counts("heard of", heard.into_iter().filter(|(_, count)| *count > 0));
    errands(table, "sends", &packets.sends, &[("named", packets.sends_named)]);
    errands(table, "grabs", &packets.grabs, &[("empty", packets.grabs_empty)]);
    errands(table, "views", &packets.views, &[]);
    let compared = [
        ("as known", packets.wallets_equal),
        ("with refunds", packets.wallets_with_refunds),
        ("not compared", packets.wallets_not_compared),
    ];
    errands(table, "wallets", &packets.wallets, &compared);
}

fn errands(table: &mut Table, name: &str, errands: &Errands, also: &[(&str, u64)]) {
    if errands.begun == 0 {
        return;
    }
    let rest = [
        ("repeated", errands.course.repeats),
        ("busy answers", errands.course.busy),
        ("retries", errands.course.retries),
        ("gave up", errands.course.gave_up),
        ("failed", errands.course.failed),
        ("unfinished", errands.course.unfinished),
    ];
    let mut parts = vec![
        format!("{} begun", grouped(errands.begun)),
        format!("{} done", grouped(errands.done)),
    ];
    let counts = also.iter().copied().chain(rest).filter(|(_, count)| *count > 0);
    parts.extend(counts.map(|(name, count)| format!("{} {name}", grouped(count))));
    table.line(name, parts.join(" · "));
    table.counts("  refused", named(&errands.course.refused));
}

/// Cues given, and how changes of the configuration reached the sessions.
fn changes(table: &mut Table, report: &Report) {
    for cue in &report.cues {
        let end = match &cue.error {
            None => format!("took {:.0} ms", cue.took_ms),
            Some(error) => format!("FAILED: {error} {} ({})", cue.said, cue.command),
        };
        table.line("cue", format_args!("{} at {:.1} s: {end}", cue.name, cue.started_s));
    }
    for push in report.pushes.iter().filter(|push| push.reached > 0) {
        let mut line = format!(
            "version {} reached {} sessions, first at {:.1} s; p50 {} ms · p99 {} ms · all {} ms after that",
            push.version,
            grouped(push.reached),
            push.first_seen_s,
            push.p50_ms,
            push.p99_ms,
            push.max_ms
        );
        if let (Some(cue), Some(p99), Some(all)) = (&push.cue, push.from_cue_p99_ms, push.from_cue_max_ms) {
            write!(line, "; p99 {p99} ms · all {all} ms after the cue {cue}").expect("a String grows as needed");
        }
        table.line("push", line);
    }
    errands(table, "hellos again", &report.hellos_again, &[]);
}

fn packages(table: &mut Table, report: &Report) {
    let packages = &report.packages;
    let counts = [
        ("manifests", packages.counts.manifests),
        ("fetches", packages.counts.begun),
        ("fetched", packages.counts.fetched),
        ("bytes", packages.counts.bytes),
        ("outside their window", packages.counts.outside_window),
        ("unfinished", packages.unfinished),
        ("unknown ids in replies", packages.counts.unknown_ids),
    ];
    table.counts("packages", counts.into_iter().filter(|(_, count)| *count > 0));
    table.counts("  failed", named(&packages.counts.failures));
}

fn end(table: &mut Table, report: &Report) {
    let resources = &report.resources;
    table.line(
        "this process",
        format_args!(
            "CPU {:.1} s, of it {:.1} s connecting and {:.1} s shaking ({:.1} µs per shake) · memory {} MiB at the most",
            resources.cpu_s,
            resources.cpu_connecting_s,
            resources.cpu_shaking_s,
            resources.cpu_per_shake_us,
            resources.memory_peak_bytes >> 20
        ),
    );
    for (name, error) in &report.errors {
        let example = if error.example.is_empty() {
            String::new()
        } else {
            format!(" ({})", error.example)
        };
        table.line("error", format_args!("{name} {}{example}", grouped(error.count)));
    }
    for remark in &report.remarks {
        table.line("remark", remark);
    }
    checks(table, report);
}

fn checks(table: &mut Table, report: &Report) {
    let checks = &report.checks;
    if checks.passed {
        table.line(
            "checks",
            "passed: no packet opened twice, no answer changed, sponsors and sums right, every reply well formed",
        );
        return;
    }
    if report.sessions.counts.connected == 0 {
        table.line("checks", "FAILED: no phone connected, so nothing was checked");
        return;
    }
    let failed = checks.violations.counts().into_iter().filter(|(_, count)| *count > 0);
    let mut parts: Vec<_> = failed
        .map(|(name, count)| format!("{} {}", grouped(count), name.replace('_', " ")))
        .collect();
    for (name, packets) in [
        ("opened twice", &checks.violations.opened_twice),
        ("overdrawn", &checks.violations.overdrawn),
    ] {
        if !packets.is_empty() {
            parts.push(format!("packets {name}: {packets:?}"));
        }
    }
    table.line("checks", format_args!("FAILED: {}", parts.join(", ")));
}

pub(super) fn named(counts: &BTreeMap<String, u64>) -> impl Iterator<Item = (&str, u64)> {
    counts.iter().map(|(name, count)| (name.as_str(), *count))
}

/// Microseconds as milliseconds with two digits.
pub(crate) fn milliseconds(us: u64) -> String {
    format!("{:.2} ms", us as f64 / 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_read_well() {
        assert_eq!(milliseconds(1_234), "1.23 ms");
    }
}
