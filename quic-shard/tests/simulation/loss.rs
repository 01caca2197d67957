//! Networks that lose a quarter of all packets, and more: nobody waits for ever.

use crate::run::{Run, SEED, play, stage};
use lean_quic::{Event, Micros, StreamId};
use quic_shard::sim::{Client, Network, Script};
use std::time::Duration;

/// Where one packet in four is lost on each way.
const LOSSY: Network = Network {
    loss: 0.26,
    ..Network::POOR
};

#[test]
fn a_poor_network_costs_datagrams_and_no_request() {
    let run = Run {
        network: Network::POOR,
        ..Run::new(300, Micros::from_s(120), Micros::from_s(3))
    };
    let outcome = play(run, |_| {});
    assert_eq!((outcome.heard.connected, outcome.heard.lost), (300, 0), "seed {SEED}");
    let share = outcome.heard.answers as f64 / outcome.sent as f64;
    // Two in three are datagrams, each of which is lost on one of its two ways with 9.75 %.
    assert!(
        (0.91..0.96).contains(&share),
        "{share} of {}, seed {SEED}",
        outcome.sent
    );
}

#[test]
fn every_request_is_answered_whatever_is_lost() {
    for seed in SEED..SEED + 3 {
        let mut run = Run {
            seed,
            network: LOSSY,
            ..Run::new(200, Micros::from_s(240), Micros::from_ms(700))
        };
        run.talk.stream_each = 1;
        run.talk.until = Micros::from_s(60);
        let outcome = play(run, |_| {});
        let heard = &outcome.heard;
        assert_eq!(
            (heard.connected, heard.lost, heard.answers),
            (200, 0, outcome.sent),
            "seed {seed}"
        );
    }
}

/// Clients that give up requests which are not answered soon, and ask again.
struct Impatient {
    /// By client: the request that waits for its answer, and since when.
    waiting: Vec<Option<(StreamId, Micros)>>,
    /// When the last answer came.
    answered: Vec<Micros>,
    given_up: u64,
}

impl Impatient {
    fn new(clients: usize) -> Self {
        Self {
            waiting: vec![None; clients],
            answered: vec![Micros::ZERO; clients],
            given_up: 0,
        }
    }
}

impl Script for Impatient {
    fn act(&mut self, client: usize, it: &mut Client, now: Micros) -> Option<Micros> {
        let patience = Micros::from_ms(250);
        match self.waiting[client] {
            Some((stream, since)) if now.since(since) >= patience => {
                it.connection.cancel_request(stream, 1);
                self.given_up += 1;
                self.waiting[client] = None;
            }
            Some(_) => {}
            // None is opened until the server knows that one was given up, and the client that it does.
            None => {
                let opened = it.connection.open_request(b"hello").ok();
                self.waiting[client] = opened.map(|stream| (stream, now));
            }
        }
        Some(now.plus(Micros::from_ms(60)))
    }

    fn hear(&mut self, client: usize, event: Event<'_>, now: Micros) {
        if let Event::Response { stream, .. } = event
            && self.waiting[client].is_some_and(|(waiting, _)| waiting == stream)
        {
            self.waiting[client] = None;
            self.answered[client] = now;
        }
    }
}

#[test]
fn who_gives_up_requests_can_always_ask_again() {
    const CLIENTS: usize = 100;
    let end = Micros::from_s(120);
    for seed in SEED..SEED + 4 {
        let run = Run {
            seed,
            network: Network {
                calm_from: Micros::from_s(30),
                ..LOSSY
            },
            clients: CLIENTS,
            sessions_max: CLIENTS,
            ramp: Micros::from_s(5),
            end,
            idle_timeout: Duration::from_secs(200),
            talk: Impatient::new(CLIENTS),
            garbage: Vec::new(),
        };
        let (world, _, _) = stage(run, |config| config.silent_max = Duration::from_secs(300));
        let script = &world.borrow().script;
        let silent = script.answered.iter().map(|&at| end.since(at)).max();
        assert!(script.given_up > 1_000, "seed {seed}: {}", script.given_up);
        assert!(silent < Some(Micros::from_s(30)), "seed {seed}: {silent:?}");
    }
}
