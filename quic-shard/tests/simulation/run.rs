//! A run: what it is made of, who speaks in it, and what became of it.

use lean_quic::{CloseReason, Event, Micros};
use quic_shard::counters::Counters;
use quic_shard::memory::huge_pages::Prefaulter;
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
use std::time::Duration;

const ALPN: &[u8] = b"echo";
pub const SEED: u64 = 20_261_130;

/// What all clients of a run heard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    pub connected: u64,
    pub answers: u64,
    pub notices: u64,
    pub closed_by_code: Vec<(u64, u64)>,
    pub lost: u64,
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
pub struct Talk {
    heard: Heard,
    /// Between two of a client's.
    every: Micros,
    /// None from then on.
    pub until: Micros,
    /// Every so many says it on a stream, the others by datagram; 0 for nothing at all.
    pub stream_each: u64,
    /// Every so many moves to another address first; 0 for none.
    pub move_each: u64,
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
pub struct Run<S> {
    pub seed: u64,
    pub network: Network,
    pub clients: usize,
    /// How many sessions the shard is made for.
    pub sessions_max: usize,
    /// They begin over so long.
    pub ramp: Micros,
    pub end: Micros,
    pub idle_timeout: Duration,
    /// What the clients do.
    pub talk: S,
    pub garbage: Vec<(Micros, Vec<u8>)>,
}

impl Run<Talk> {
    pub fn new(clients: usize, end: Micros, every: Micros) -> Self {
        Self {
            seed: SEED,
            network: Network::CLEAN,
            clients,
            sessions_max: clients,
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
pub struct Outcome {
    pub heard: Heard,
    pub sent: u64,
    pub echoed: Echoed,
    pub counts: Vec<(&'static str, u64)>,
    pub trace: u64,
    pub packets: u64,
}

impl Outcome {
    pub fn count(&self, name: &str) -> u64 {
        let found = self.counts.iter().find(|(known, _)| *known == name);
        found.unwrap_or_else(|| panic!("{name} is counted")).1
    }
}

/// Plays a run in which the application behaves as `change` makes it.
pub fn play(run: Run<Talk>, change: impl FnOnce(&mut EchoConfig)) -> Outcome {
    let (world, echoed, counters) = stage(run, change);
    let world = world.borrow();
    Outcome {
        heard: world.script.heard.clone(),
        sent: world.script.sent,
        echoed,
        counts: counters.rows().to_vec(),
        trace: world.trace(),
        packets: world.packets(),
    }
}

/// The same for clients of any kind.
pub fn stage<S: Script>(
    run: Run<S>,
    change: impl FnOnce(&mut EchoConfig),
) -> (Rc<RefCell<World<S>>>, Echoed, Arc<Counters>) {
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
        prefaulter: Prefaulter::new().0,
        sessions_max: run.sessions_max,
        counters: Arc::clone(&counters),
        stop,
    };
    let echoed = Rc::new(RefCell::new(Echoed::default()));
    let mut config = EchoConfig::new(server);
    change(&mut config);
    let began = world.borrow().instant();
    Shard::new(parts, began, Echo::new(config, &echoed)).run();
    let echoed = echoed.borrow().clone();
    (world, echoed, counters)
}
