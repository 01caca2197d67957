//! A shard in simulated time: an echo application, clients on a network that loses, reorders and repeats, by a seed.
//!
//! A run that fails is seen again by its seed, which each failure names.

mod leaf;
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

/// Nobody outside notices that idle sessions are packed.
#[test]
fn a_shard_that_packs_sends_the_same_packets_as_one_that_does_not() {
    let runs = [0, 300].map(|sessions_max| {
        let run = Run {
            network: Network::POOR,
            sessions_max,
            ..Run::new(300, Micros::from_s(120), Micros::from_s(7))
        };
        play(run, |_| {})
    });
    let [plain, packing] = runs.map(|run| (run.trace, run.packets, run.heard, run.echoed));
    assert_eq!(plain, packing, "seed {SEED}");
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
    run.garbage = garbage();
    let outcome = play(run, |_| {});
    assert_eq!((outcome.heard.connected, outcome.heard.lost), (50, 0));
    assert_eq!(outcome.heard.answers, outcome.sent);
    // Of the thousand, all but those that get a version negotiation or a stateless reset.
    assert!(outcome.count("packets_discarded_total") >= 500);
}

/// A thousand packets of all lengths that mean nothing, 20 ms apart.
fn garbage() -> Vec<(Micros, Vec<u8>)> {
    let mut state = 1_u64;
    let mut random = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    };
    let mut packets = Vec::new();
    for length in (0..1_400).step_by(7) {
        for first in [0x00, 0x40, 0x80, 0xc0, 0xff_u8] {
            let mut packet: Vec<u8> = (0..length).map(|_| random()).collect();
            if let Some(byte) = packet.first_mut() {
                *byte = first;
            }
            // Half of the long headers claim to be QUIC version 1.
            if first == 0xc0 && length > 5 {
                packet[1..5].copy_from_slice(&[0, 0, 0, 1]);
            }
            packets.push((Micros::from_ms(5_000 + 20 * packets.len() as u64), packet));
        }
    }
    packets
}

#[test]
fn altered_packets_of_a_session_are_passed_over() {
    let run = Run {
        network: Network {
            is_tampered_with: true,
            ..Network::CLEAN
        },
        ..Run::new(50, Micros::from_s(60), Micros::from_s(1))
    };
    let outcome = play(run, |_| {});
    let (heard, echoed) = (&outcome.heard, &outcome.echoed);
    assert_eq!((heard.connected, heard.lost), (50, 0));
    // Each that is said is answered, and a copy of it is not.
    assert_eq!((heard.answers, echoed.answers), (outcome.sent, outcome.sent));
    assert_eq!((echoed.migrations, outcome.count("resets_total")), (0, 0));
    assert_eq!(heard.closed_by_code, [(9, 50)]);
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
