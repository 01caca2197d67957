//! Phones on simulated networks, on both engines: what a network does shows in what the phones meet, and nothing else does.

mod support;

use client_sim::engine::Stop;
use client_sim::report::{NetworkReport, Report};
use client_sim::run::{Verdict, Watch, run};
use support::{Script, Server, quick_scenario};

const ENGINES: [&str; 2] = ["quinn", "lean"];

/// Greets at every shake.
struct Greeting;

impl Script for Greeting {}

/// Plays the quick scenario with one network for three quarters of the phones; the others are connected directly.
fn play(engine: &str, network: &str) -> (Report, NetworkReport, NetworkReport) {
    let server = Server::start(Greeting);
    let tables = format!("[network.tried]\nshare = 0.75\n{network}\n[engine]\nkind = {engine:?}");
    let changes = [
        ("[engine]", &tables[..]),
        // Longer than what a busy machine and a few probes take together.
        ("request_timeout_ms = 400", "request_timeout_ms = 10000"),
        ("connect_timeout_ms = 3000", "connect_timeout_ms = 10000"),
        ("seconds = 1", "seconds = 2"),
        ("[behaviour]", "[behaviour]\nobey_pace = false"),
    ];
    let scenario = quick_scenario(&server, &changes);
    let outcome = run(scenario, &Watch::default(), &Stop::default(), &mut |_| {}).expect("the run begins");
    let report = outcome.report;
    assert_eq!(outcome.verdict, Verdict::Fine, "{}", report.to_text());
    let [tried, direct] = &report.networks[..] else {
        panic!("two networks\n{}", report.to_text());
    };
    assert_eq!((tried.name.as_str(), direct.name.as_str()), ("tried", "direct"));
    assert_eq!((tried.phones, direct.phones), (15, 5));
    let counts = &report.shakes.counts;
    assert_eq!(tried.sent + direct.sent, counts.sent, "{}", report.to_text());
    assert_eq!(tried.unanswered + direct.unanswered, counts.unanswered);
    // Who has no network between loses nothing to it.
    let datagrams = &direct.datagrams;
    assert_eq!(
        (datagrams.lost, datagrams.dead, datagrams.strayed, datagrams.rebinds),
        (0, 0, 0, 0)
    );
    assert_eq!(
        (direct.unanswered, direct.hellos),
        (0, 5),
        "{engine}: {}",
        report.to_text()
    );
    assert_eq!(
        (report.sessions.counts.failed, datagrams.overflowed),
        (0, 0),
        "{}",
        report.to_text()
    );
    let (tried, direct) = (tried.clone(), direct.clone());
    (report, tried, direct)
}

#[test]
fn a_hello_takes_two_round_trips_at_least() {
    for engine in ENGINES {
        let (report, tried, _) = play(engine, "round_trip_ms = [150, 150]");
        let text = report.to_text();
        assert_eq!(
            (tried.hellos, tried.unanswered, tried.round_trip_max_ms),
            (15, 0, 150),
            "{text}"
        );
        // The histogram is right to 1 %.
        assert!(tried.hello_latency.p50_us >= 297_000, "{engine}: {text}");
        assert!(report.latency.p50_us >= 148_000, "{engine}: {text}");
        assert!(
            text.contains("tried: 15 phones") && client_sim::report::page(&report).contains("<h2>Networks"),
            "{text}"
        );
        assert_eq!(
            (
                tried.datagrams.lost,
                tried.datagrams.duplicated,
                tried.datagrams.reordered
            ),
            (0, 0, 0)
        );
    }
}

#[test]
fn what_is_lost_doubled_and_overtaken_is_met_and_nobody_stays_out() {
    for engine in ENGINES {
        let network = "round_trip_ms = [10, 20]\njitter_ms = 5\nloss = 0.1\nreordering = 0.2\nduplication = 0.2";
        let (report, tried, _) = play(engine, network);
        let text = report.to_text();
        assert_eq!(report.sessions.counts.connected, 20, "{engine}: {text}");
        assert_eq!(
            report.shakes.counts.unexpected, 0,
            "a double is no second answer: {text}"
        );
        // A fifth of some 300 shakes loses one of its two datagrams.
        assert!(
            tried.unanswered > 10 && tried.unanswered < tried.sent / 2,
            "{engine}: {text}"
        );
        let datagrams = &tried.datagrams;
        let most = datagrams.datagrams;
        for count in [datagrams.lost, datagrams.reordered, datagrams.duplicated] {
            assert!(count > most / 40 && count < most / 2, "{engine}: {text}");
        }
        assert_eq!(
            (datagrams.dead, datagrams.rebinds, datagrams.deaths),
            (0, 0, 0),
            "{engine}: {text}"
        );
    }
}

#[test]
fn sessions_live_on_behind_nats_that_rebind() {
    for engine in ENGINES {
        let (report, tried, _) = play(engine, "round_trip_ms = [2, 4]\nrebinds_every_s = 1");
        let text = report.to_text();
        assert!(tried.datagrams.rebinds > 15, "{engine}: {text}");
        assert_eq!((tried.lost, tried.hellos), (0, 15), "{engine}: {text}");
        // What was on its way to the old address is lost, and no more.
        assert!(tried.unanswered <= tried.datagrams.rebinds, "{engine}: {text}");
        assert!(tried.sent > 250, "{engine}: {text}");
    }
}

#[test]
fn a_path_that_dies_is_outlived() {
    for engine in ENGINES {
        let network = "round_trip_ms = [2, 4]\ndies_every_s = 2\ndead_ms = [200, 400]";
        let (report, tried, _) = play(engine, network);
        let text = report.to_text();
        assert!(
            tried.datagrams.deaths > 3 && tried.datagrams.dead > 3,
            "{engine}: {text}"
        );
        assert!(
            tried.unanswered > 0 && tried.unanswered < tried.sent / 2,
            "{engine}: {text}"
        );
        assert_eq!(
            (tried.lost, report.sessions.counts.connected),
            (0, 20),
            "{engine}: {text}"
        );
    }
}
