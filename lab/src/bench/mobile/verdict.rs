//! Both runs side by side, and what must hold of them. Pure.

use super::{Options, Run};
use crate::report::{Line, Table};
use client_sim::report::{NetworkReport, Percentiles};
use shake_rules::money::grouped;

/// Round trips until the HelloReply: the handshake, a Retry, and the Hello.
const ROUND_TRIPS: u64 = 3;
/// The first probe of a client that has measured no round trip: three times 333 ms (RFC 9002, sections 6.2.1 and 6.2.2).
const PROBE_US: u64 = 1_000_000;
/// The most that a shake may cost the gateway, of what it costs on the loopback.
const CPU_RATIO_MAX: f64 = 1.25;
/// Failures that phones see by themselves: the gateway's word is not among them.
const OWN: [&str; 4] = ["timed_out", "timeout", "connection_lost", "offline"];

/// The table of both.
pub fn table(options: &Options, loopback: &Run, mobile: &Run) -> Table {
    let size = format!("{} phones, {} s", grouped(options.sessions.into()), options.seconds);
    let mut table = Table::new("", [size.as_str(), "loopback", "mobile"]);
    let mut row = |name: &str, [loopback, mobile]: [String; 2]| table.row([name.to_owned(), loopback, mobile]);
    let both = |cell: &dyn Fn(&Run) -> String| [loopback, mobile].map(cell);
    let counts = both(&|run| grouped(run.evidence.phones.sessions.counts.connected));
    row("phones that were let in", counts);
    let hello = |of: fn(&Percentiles) -> u64| both(&|run| ms(of(&run.evidence.phones.sessions.connect_latency)));
    row("first packet to HelloReply, p50 ms", hello(|of| of.p50_us));
    row("the same, p99 ms", hello(|of| of.p99_us));
    row("the same, max ms", hello(|of| of.max_us));
    let failures = both(&|run| {
        let sessions = &run.evidence.phones.sessions.counts;
        let failures = sessions
            .connect_failures
            .values()
            .chain(sessions.hello_failures.values());
        grouped(failures.sum::<u64>())
    });
    row("tries that failed", failures);
    row(
        "connections lost",
        both(&|run| grouped(run.evidence.phones.sessions.counts.lost)),
    );
    let unanswered = both(&|run| {
        let shakes = &run.evidence.phones.shakes.counts;
        let share = shakes.unanswered as f64 * 100.0 / shakes.sent.max(1) as f64;
        format!("{} ({share:.2} %)", grouped(shakes.unanswered))
    });
    row("unanswered shakes", unanswered);
    let shake = |of: fn(&Percentiles) -> u64| both(&|run| ms(of(&run.evidence.phones.latency)));
    row("shake, p50 ms", shake(|of| of.p50_us));
    row("the same, p99 ms", shake(|of| of.p99_us));
    let claim = |of: fn(&Percentiles) -> u64| both(&|run| ms(of(&run.evidence.phones.claims.latency)));
    row("claim, p50 ms", claim(|of| of.p50_us));
    row("the same, p99 ms", claim(|of| of.p99_us));
    row("the same, max ms", claim(|of| of.max_us));
    row("claims without an answer", both(&|run| without_answer(run).to_string()));
    row(
        "gateway's CPU per shake, us",
        both(&|run| format!("{:.1}", run.gateway_us_per_shake)),
    );
    let phones = both(&|run| format!("{:.1}", run.evidence.phones.resources.cpu_per_shake_us));
    row("simulator's CPU per shake, us", phones);
    row(
        "gateway's memory per session, bytes",
        both(&|run| format!("{:.0}", run.bytes_per_session)),
    );
    row(
        "CPU of the machine stolen",
        both(&|run| format!("{:.1} %", run.stolen_share * 100.0)),
    );
    table
}

/// A line for each network.
pub fn networks(networks: &[NetworkReport]) -> Table {
    let head = [
        "network",
        "phones",
        "over dead paths",
        "HelloReply p50 ms",
        "p99 ms",
        "max ms",
        "p99 ms at most",
        "unanswered",
        "claim p50 ms",
        "p99 ms",
    ];
    let mut table = Table::new("", head);
    for network in networks {
        let NetworkReport {
            name,
            phones,
            hellos_over_dead_paths,
            hello_latency,
            claim_latency,
            ..
        } = network;
        table.row([
            name.clone(),
            phones.to_string(),
            hellos_over_dead_paths.to_string(),
            ms(hello_latency.p50_us),
            ms(hello_latency.p99_us),
            ms(hello_latency.max_us),
            ms(hello_us_max(network)),
            format!("{:.2} %", network.unanswered_share * 100.0),
            ms(claim_latency.p50_us),
            ms(claim_latency.p99_us),
        ]);
    }
    table
}

/// What must hold.
pub fn lines(loopback: &Run, mobile: &Run) -> Vec<Line> {
    let mut lines = vec![
        as_on_the_loopback(loopback),
        no_money_made_up(mobile),
        nobody_refused(mobile),
    ];
    lines.extend(mobile.evidence.phones.networks.iter().map(hello_in_time));
    let (cost, base) = (mobile.gateway_us_per_shake, loopback.gateway_us_per_shake);
    lines.push(Line {
        what: "CPU of a shake at the gateway".to_owned(),
        figure: format!("{cost:.1} us, {:.2} times the loopback's {base:.1}", cost / base),
        bound: format!("{CPU_RATIO_MAX} times"),
        holds: cost <= base * CPU_RATIO_MAX,
    });
    lines
}

fn as_on_the_loopback(run: &Run) -> Line {
    Line::without("without networks all is as it must be", &run.evidence.failures())
}

/// An answer that a network lost may be of money that moved. But no phone may have money that the ledger does not know of.
fn no_money_made_up(run: &Run) -> Line {
    let evidence = &run.evidence;
    let (phones, ledger) = (&evidence.phones_credits, &evidence.books.credits);
    let strange = phones
        .iter()
        .filter(|(key, cents)| ledger.get(key) != Some(cents))
        .count();
    let mut failures = evidence.abuse_failures();
    let mut fail = |is_wrong: bool, reason: String| failures.extend(is_wrong.then_some(reason));
    fail(strange > 0, format!("{strange} credits of phones are not the ledger's"));
    fail(phones.is_empty(), "no packet was opened".into());
    fail(!evidence.books.audit.balanced, "the audit does not balance".into());
    fail(
        !evidence.phones.checks.passed,
        "the gateway did what it never may".into(),
    );
    fail(evidence.phones.stopped_early, "the simulation was stopped early".into());
    Line::without("with networks no money is made up, and the books balance", &failures)
}

fn nobody_refused(run: &Run) -> Line {
    let sessions = &run.evidence.phones.sessions.counts;
    let all = sessions.connect_failures.iter().chain(&sessions.hello_failures);
    let refused = all.filter(|(name, _)| !OWN.contains(&&name[..]));
    let mut failures: Vec<_> = refused.map(|(name, count)| format!("{name} {count}")).collect();
    failures.extend((sessions.failed > 0).then(|| format!("{} phones gave up", sessions.failed)));
    Line::without("nobody is refused for the network's sake", &failures)
}

fn hello_in_time(network: &NetworkReport) -> Line {
    let (p99_us, us_max) = (network.hello_latency.p99_us, hello_us_max(network));
    Line {
        what: format!("{}: p99 from first packet to HelloReply", network.name),
        figure: format!("{} ms", ms(p99_us)),
        bound: format!("{} ms", ms(us_max)),
        holds: p99_us <= us_max && network.hello_latency.count > 0,
    }
}

fn hello_us_max(network: &NetworkReport) -> u64 {
    ROUND_TRIPS * network.round_trip_max_ms * 1_000 + PROBE_US
}

fn without_answer(run: &Run) -> u64 {
    run.evidence.phones.claims.counts.course.without_answer()
}

fn ms(us: u64) -> String {
    format!("{:.1}", us as f64 / 1e3)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::demo::verdict::{Evidence, tests::good};

    fn run(cpu_us: f64, edit: impl FnOnce(&mut Evidence)) -> Run {
        let mut evidence = good();
        let network = r#"{"name": "lte", "phones": 9, "round_trip_max_ms": 100, "unanswered_share": 0.01,
            "hello_latency": {"count": 9, "p50_us": 200000, "p90_us": 1, "p99_us": 1300000, "p999_us": 1, "max_us": 9},
            "claim_latency": {"count": 9, "p50_us": 1, "p90_us": 1, "p99_us": 1, "p999_us": 1, "max_us": 1}}"#;
        evidence.phones.networks = vec![serde_json::from_str(network).unwrap()];
        edit(&mut evidence);
        Run {
            evidence,
            gateway_us_per_shake: cpu_us,
            bytes_per_session: 9_000.0,
            stolen_share: 0.0,
        }
    }

    /// The lines that do not hold.
    fn broken(loopback: &Run, mobile: &Run) -> Vec<String> {
        let lines = lines(loopback, mobile).into_iter();
        let text = |line: Line| format!("{}: {} ({})", line.what, line.figure, line.bound);
        lines.filter(|line| !line.holds).map(text).collect()
    }

    #[test]
    fn what_is_within_its_bounds_holds() {
        let (loopback, mobile) = (run(10.0, |_| {}), run(12.5, |_| {}));
        assert_eq!(broken(&loopback, &mobile), [""; 0]);
    }

    #[test]
    fn each_bound_can_be_broken() {
        let check = |edit: fn(&mut Evidence), word: &str| {
            let found = broken(&run(10.0, |_| {}), &run(10.0, edit));
            assert!(found.len() == 1 && found[0].contains(word), "{word}: {found:?}");
        };
        check(|of| of.phones.sessions.counts.failed = 1, "1 phones gave up");
        check(
            |of| {
                of.phones
                    .sessions
                    .counts
                    .hello_failures
                    .extend([("hello_timeout".to_owned(), 2)])
            },
            "hello_timeout 2",
        );
        check(
            |of| of.phones.networks[0].hello_latency.p99_us = 1_300_001,
            "1300.0 ms (1300.0 ms)",
        );
        check(|of| of.phones.networks[0].hello_latency.count = 0, "lte");
        check(|of| of.phones_credits.extend([((77, 77), 5)]), "1 credits of phones");
        check(|of| of.books.audit.balanced = false, "does not balance");
        let found = broken(&run(10.0, |_| {}), &run(12.6, |_| {}));
        assert!(found.len() == 1 && found[0].contains("1.26 times"), "{found:?}");
        let found = broken(
            &run(10.0, |of| of.phones.shakes.counts.unanswered = 500),
            &run(10.0, |_| {}),
        );
        assert!(found.len() == 1 && found[0].contains("went unanswered"), "{found:?}");
    }

    #[test]
    fn what_a_network_alone_does_is_no_refusal() {
        let mobile = run(10.0, |of| {
            of.phones.sessions.counts.connect_failures.insert("timed_out".into(), 3);
            of.phones.sessions.counts.hello_failures.insert("timeout".into(), 3);
            of.phones.claims.counts.course.unfinished = 1;
        });
        assert_eq!(broken(&run(10.0, |_| {}), &mobile), [""; 0]);
    }
}
