//! A shard in simulated time: an echo application, clients on a network that loses, reorders and repeats, by a seed.
//!
//! A run that fails is seen again by its seed, which each failure names.

use lean_quic::{CloseReason, Event, Micros};
use quic_shard::counters::Counters;
use quic_shard::memory::huge_pages::Ahead;
use quic_shard::sim::{Client, Echo, EchoConfig, Echoed, Network, Script, SimIo, World};
use quic_shard::tls::{Limits, ServerSide, Servers};
use quic_shard::{Endpoints, Identity, Parts, ResetKeys, Shard, StreamRules};
use rcgen::{CertificateParams, KeyPair, PKCS_ED25519};
use rustls::RootCertStore;
use rustls_pki_types::PrivateKeyDer;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

const ALPN: &[u8] = b"echo";
const SEED: u64 = 20_261_130;

/// What all clients of a run heard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Heard {
    connected: u64,
    answers: u64,
    notices: u64,
    closed_by_code: Vec<(u64, u64)>,
    lost: u64,
}

impl Heard {
    fn closed(&mut self, code: u64) {
        match self.closed_by_code.iter_mut().find(|(known, _)| *known == code) {
            Some((_, count)) => *count += 1,
            None => self.closed_by_code.push((code, 1)),
        }
    }
}

/// Clients that say something now and then.
struct Talk {
    heard: Heard,
    /// Between two of a client's.
    every: Micros,
    /// None from then on.
    until: Micros,
    /// Every so many says it on a stream, the others by datagram; 0 for nothing at all.
    stream_each: u64,
    /// Every so many moves to another address first; 0 for none.
    move_each: u64,
    said: u64,
    sent: u64,
}

impl Talk {
    fn every(every: Micros, until: Micros) -> Self {
        Self {
            heard: Heard::default(),
            every,
            until,
            stream_each: 3,
            move_each: 0,
            said: 0,
            sent: 0,
        }
    }
}

impl Script for Talk {
    fn act(&mut self, _client: usize, it: &mut Client, now: Micros) -> Option<Micros> {
        if now >= self.until || it.connection.is_drained() {
            return None;
        }
        if it.connection.is_open() && self.stream_each > 0 {
            self.said += 1;
            if self.move_each > 0 && self.said.is_multiple_of(self.move_each) {
                it.moves += 1;
            }
            let sent = if self.said.is_multiple_of(self.stream_each) {
                it.connection.open_request(b"hello").is_ok()
            } else {
                it.connection.send_datagram(b"hello").is_ok()
            };
            self.sent += u64::from(sent);
            return Some(now.plus(self.every));
        }
        // The handshake takes a while.
        Some(now.plus(Micros::from_ms(200)))
    }

    fn hear(&mut self, _client: usize, event: Event<'_>, _now: Micros) {
        match event {
            Event::Connected => self.heard.connected += 1,
            Event::Datagram(bytes) => {
                assert_eq!(bytes, b"hello");
                self.heard.answers += 1;
            }
            Event::Response { bytes, .. } => {
                assert_eq!(bytes, b"hello");
                self.heard.answers += 1;
            }
            Event::Notice(_) => self.heard.notices += 1,
            Event::Closed(CloseReason::Application(code)) => self.heard.closed(code),
            Event::Closed(_) => self.heard.lost += 1,
            _ => {}
        }
    }
}

/// What a run is made of.
struct Run {
    seed: u64,
    network: Network,
    clients: usize,
    /// They begin over so long.
    ramp: Micros,
    end: Micros,
    idle_timeout: Duration,
    talk: Talk,
    garbage: Vec<(Micros, Vec<u8>)>,
}

impl Run {
    fn new(clients: usize, end: Micros, every: Micros) -> Self {
        Self {
            seed: SEED,
            network: Network::CLEAN,
            clients,
            ramp: Micros::from_s(5),
            end,
            idle_timeout: Duration::from_secs(200),
            // What is said last is answered before the end.
            talk: Talk::every(every, Micros(end.0.saturating_sub(10_000_000))),
            garbage: Vec::new(),
        }
    }
}

/// What became of it.
struct Outcome {
    heard: Heard,
    sent: u64,
    echoed: Echoed,
    counts: Vec<(&'static str, u64)>,
    trace: u64,
    packets: u64,
}

impl Outcome {
    fn count(&self, name: &str) -> u64 {
        let found = self.counts.iter().find(|(known, _)| *known == name);
        found.unwrap_or_else(|| panic!("{name} is counted")).1
    }
}

/// Plays a run in which the application behaves as `change` makes it.
fn play(run: Run, change: impl FnOnce(&mut EchoConfig)) -> Outcome {
    // Ed25519, whose signatures all have the same length: the lengths of packets go by the seed alone.
    let key = KeyPair::generate_for(&PKCS_ED25519).expect("a key");
    let certificate = CertificateParams::new(vec!["localhost".to_owned()]).and_then(|made| made.self_signed(&key));
    let certificate = certificate.expect("a certificate").der().clone();
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).expect("a certificate");
    let client = lean_quic::Config {
        tls: lean_quic::tls(roots, ALPN).expect("TLS 1.3"),
        idle_timeout: Micros(run.idle_timeout.as_micros() as u64),
        keep_alive: Micros::ZERO,
        ack_delay_ms_max: 25,
        request_bytes_max: 1_024,
        response_bytes_max: 1_024,
        notices_max: 4,
    };
    let limits = Limits {
        handshakes_max: 100_000,
        idle_timeout: run.idle_timeout,
        requests_at_once: 4,
    };
    let secret = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let side = ServerSide::new(vec![certificate], secret, ALPN).expect("they belong together");
    let server = Servers::new(side, &limits).expect("limits that QUIC can say").default;

    let stop = Arc::new(AtomicBool::new(false));
    let mut world = World::new(run.seed, run.network, client, run.talk, run.end, Arc::clone(&stop));
    for client in 0..run.clients as u64 {
        world.add_client(Micros(run.ramp.0 * client / run.clients as u64));
    }
    for (at, bytes) in run.garbage {
        world.send_garbage(at, bytes);
    }
    let world = Rc::new(RefCell::new(world));
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&run.seed.to_be_bytes());
    let identity = Identity {
        shard: 0,
        generation: 1,
        reset_keys: ResetKeys::new([[1; 32]].iter(), &[0; 16]),
        seed: Some(seed),
    };
    let counters = Arc::new(Counters::default());
    let parts = Parts {
        io: SimIo::new(&world),
        endpoints: Endpoints::new(&identity, &server),
        identity,
        rules: StreamRules {
            request_bytes_max: 1_024,
            waiting_bytes_max: 16 * 1_024,
            done: 1,
            abuse: 2,
        },
        ahead: Ahead::new().0,
        counters: Arc::clone(&counters),
        stop,
    };
    let echoed = Rc::new(RefCell::new(Echoed::default()));
    let mut config = EchoConfig::new(server);
    change(&mut config);
    let began = world.borrow().instant();
    Shard::new(parts, began, Echo::new(config, &echoed)).run();
    let world = world.borrow();
    Outcome {
        heard: world.script.heard.clone(),
        sent: world.script.sent,
        echoed: echoed.borrow().clone(),
        counts: counters.rows().to_vec(),
        trace: world.trace(),
        packets: world.packets(),
    }
}

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
