//! A shard in simulated time: an echo application, clients on a network that loses, reorders and repeats, by a seed.
//!
//! A run that fails is seen again by its seed, which each failure names.

mod loss;
mod run;

use lean_quic::Micros;
use quic_shard::sim::Network;
use run::{Run, SEED, play};
use std::time::{Duration, Instant};

#[test]
fn everybody_is_answered_and_told_farewell() {
    let outcome = play(Run::new(200, Micros::from_s(60), Micros::from_s(2)), |_| {});
    assert_eq!((outcome.heard.connected, outcome.count("sessions")), (200, 0));
    assert!(outcome.sent > 200 * 20, "{}", outcome.sent);
    assert_eq!(
        (outcome.heard.answers, outcome.echoed.answers),
        (outcome.sent, outcome.sent)
    );
    assert_eq!(outcome.heard.closed_by_code, [(9, 200)]);
    assert_eq!((outcome.echoed.closing, outcome.heard.lost), (200, 0));
}

#[test]
fn the_same_seed_is_the_same_run() {
    let poor = |seed| {
        let run = Run {
            seed,
            network: Network::POOR,
            ..Run::new(50, Micros::from_s(60), Micros::from_s(1))
        };
        play(run, |_| {})
    };
    let runs = [poor(SEED), poor(SEED), poor(SEED + 1)];
    let [first, again, other] = runs.map(|mut run| {
        // In the machine's own CPU time.
        run.counts.retain(|(name, _)| *name != "growth_ns_max");
        (run.trace, run.packets, run.heard, run.counts)
    });
    assert_eq!(first, again);
    assert_ne!(first.0, other.0);
}

/// What an event is: thousands of phones that say something now and then, and sleep between.
#[test]
fn ten_thousand_sessions_live_for_an_hour() {
    let began = Instant::now();
    let run = Run {
        ramp: Micros::from_s(60),
        ..Run::new(10_000, Micros::from_s(3_600), Micros::from_s(60))
    };
    let outcome = play(run, |_| {});
    assert_eq!(
        (outcome.heard.connected, outcome.heard.lost),
        (10_000, 0),
        "seed {SEED}"
    );
    assert!(outcome.sent > 10_000 * 57, "{}", outcome.sent);
    assert_eq!(outcome.heard.answers, outcome.sent, "seed {SEED}");
    println!("{} packets in {:?}", outcome.packets, began.elapsed());
}

#[test]
fn who_says_nothing_is_closed_with_the_code() {
    let mut run = Run::new(100, Micros::from_s(60), Micros::from_s(1));
    run.talk.stream_each = 0;
    let outcome = play(run, |_| {});
    assert_eq!(outcome.heard.closed_by_code, [(7, 100)]);
    assert_eq!((outcome.echoed.closing, outcome.echoed.closed), (100, 100));
    assert_eq!(outcome.count("sessions_asleep"), 0);
}

#[test]
fn a_broadcast_reaches_each_session_once() {
    let run = Run::new(500, Micros::from_s(60), Micros::from_s(7));
    let outcome = play(run, |config| {
        config.broadcast = Some((Duration::from_secs(20), Duration::from_secs(15)));
    });
    assert_eq!((outcome.echoed.told, outcome.heard.notices), (500, 500));
}

#[test]
fn a_session_moves_six_times_at_once_and_then_once_in_five_seconds() {
    let mut run = Run::new(10, Micros::from_s(70), Micros::from_s(1));
    run.talk.move_each = 1;
    run.talk.stream_each = u64::MAX;
    let outcome = play(run, |_| {});
    // Six and one for each five seconds of a minute, of nearly sixty that each would.
    let migrations = outcome.echoed.migrations / 10;
    assert!((12..=20).contains(&migrations), "{migrations} of each");
    assert!(outcome.count("moves_refused_total") > 10 * 20);
}

#[test]
fn garbage_disturbs_nobody() {
    let mut run = Run::new(50, Micros::from_s(30), Micros::from_s(1));
    run.garbage = (0..2_000_u64)
        .map(|number| {
            let bytes = (0..number % 1_400 + 1).map(|at| (number * 31 + at * 7) as u8).collect();
            (Micros::from_ms(5_000 + number * 5), bytes)
        })
        .collect();
    let outcome = play(run, |_| {});
    assert_eq!((outcome.heard.connected, outcome.heard.lost), (50, 0));
    assert_eq!(outcome.heard.answers, outcome.sent);
    assert!(outcome.count("packets_discarded_total") > 0);
}

#[test]
fn addresses_are_proved_when_many_handshakes_are_under_way() {
    let mut run = Run::new(200, Micros::from_s(30), Micros::from_s(1));
    run.ramp = Micros::from_ms(50);
    let outcome = play(run, |config| config.prove_from = 20);
    assert!(outcome.count("connections_retried_total") > 100, "{:?}", outcome.counts);
    assert_eq!((outcome.heard.connected, outcome.heard.answers), (200, outcome.sent));
}

#[test]
fn what_is_shed_is_not_opened() {
    let run = Run::new(20, Micros::from_s(60), Micros::from_s(1));
    let outcome = play(run, |config| config.packets_max = 12);
    assert_eq!(outcome.heard.connected, 20);
    assert!(outcome.echoed.shed > 20 * 20, "{:?}", outcome.echoed);
    assert!(outcome.echoed.answers <= 20 * 12, "{:?}", outcome.echoed);
}
