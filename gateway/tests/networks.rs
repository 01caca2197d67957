//! Phones on bad networks before a real gateway and agent, on both engines of the simulator: all are let in, their addresses
//! change, and no money is made up.

mod support;

use client_sim::engine::Stop;
use client_sim::run::{Verdict, Watch, run};
use client_sim::scenario::{Overrides, Scenario};
use support::{GENEROUS_SHOW, Stand};

/// Packets of the seed; more than all that the phones can win.
const PACKETS: u64 = 2_000;

/// Not a test of its own: the agent process of the others.
#[test]
fn agent_process() {
    support::be_the_agent_if_asked();
}

fn scenario(stand: &Stand, engine: &str) -> Scenario {
    let text = format!(
        "
[load]
sessions = 30
connects_per_second = 100
shakes_per_second = 60
seconds = 4
settle_s = 10
[behaviour]
claim_delay_ms = [5, 50]
[engine]
kind = {engine:?}
[limits]
request_timeout_ms = 15000
connect_timeout_ms = 15000
[network.lossy]
share = 0.5
round_trip_ms = [20, 40]
jitter_ms = 10
loss = 0.05
reordering = 0.05
duplication = 0.05
[network.moving]
share = 0.5
round_trip_ms = [20, 40]
rebinds_every_s = 2
dies_every_s = 10
dead_ms = [100, 300]
"
    );
    let overrides = Overrides {
        target: Some(stand.address.to_string()),
        certs: Some(stand.path("certs")),
        ..Overrides::default()
    };
    Scenario::parse(&text, &overrides).expect("a good scenario")
}

fn check(engine: &str) {
    let mut stand = Stand::new(GENEROUS_SHOW, "");
    stand.make_seed(PACKETS * 100, PACKETS);
    stand.start_agent();
    let outcome = run(
        scenario(&stand, engine),
        &Watch::default(),
        &Stop::default(),
        &mut |_| {},
    )
    .expect("it begins");
    let report = outcome.report;
    let text = report.to_text();
    assert_eq!(outcome.verdict, Verdict::Fine, "{text}");
    assert_eq!(
        (report.sessions.counts.connected, report.sessions.counts.failed),
        (30, 0),
        "{text}"
    );
    let [lossy, moving] = &report.networks[..] else {
        panic!("two networks\n{text}");
    };
    assert!(lossy.datagrams.lost > 0 && lossy.datagrams.duplicated > 0, "{text}");
    assert!(moving.datagrams.rebinds > 0, "{text}");
    assert_eq!(moving.lost, 0, "sessions go on from another address: {text}");
    assert!(lossy.sent > 0 && lossy.unanswered < lossy.sent / 2, "{text}");
    assert!(moving.sent > 0 && moving.unanswered < moving.sent / 2, "{text}");
    assert!(
        report.claims.counts.opened > 0 && lossy.claim_latency.count > 0,
        "{text}"
    );
}

#[test]
fn phones_of_the_lean_engine_are_let_in_and_move() {
    check("lean");
}

#[test]
fn phones_of_the_quinn_engine_are_let_in_and_move() {
    check("quinn");
}
