//! A gateway of one shard that serves in simulated time, and what outlives it: certificate and keys, the mapping, the agent.

use super::agent::Agent;
use super::scene::{Desk, Scene};
use super::town::Town;
use crate::agent_link::AgentLink;
use crate::config::Config;
use crate::config_store::{ConfigStore, Live};
use crate::counters::Counters;
use crate::gateway::GatewayParts;
use crate::key_use::KeyUses;
use crate::load::state::LoadState;
use crate::presence::Presence;
use crate::run::{STREAMS, serve};
use crate::secrets::{Secrets, key_ring};
use crate::shape::{self, Shape};
use crate::state::Shared;
use crate::winners::Winners;
use host::clock::Keeper;
use lean_quic::Micros;
use quic_shard::memory::huge_pages::Prefaulter;
use quic_shard::sim::{Network, SimIo, World};
use quic_shard::{Endpoints, Identity, Parts, ResetKeys};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rcgen::{CertificateParams, KeyPair, PKCS_ED25519};
use rustls::RootCertStore;
use shake_agent::abuse::{Analysis, Blocks};
use shake_proto::frame::REPLY_BYTES_MAX;
use shake_rules::keys::Purpose;
use shake_rules::show::Show;
use shake_rules::throttle::{self, Throttle};
use shake_rules::ticket::TicketKeys;
use shake_rules::{LedgerId, UnixMillis};
use shm_queue::Side;
use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use tempfile::TempDir;

/// Draws and losses go by it.
const SEED: u64 = 20_261_130;
/// When each life of a gateway begins: 2027-01-15T08:00:00Z.
const BEGINNING_MS: u64 = 1_800_000_000_000;
/// A test that waits for longer has waited in vain.
const END: Micros = Micros::from_s(7_200);
/// The longest request that a phone sends, of which the gateway takes the half.
const REQUEST_BYTES: u32 = 8_192;
/// Whose ledger the agent keeps.
pub const LEDGER: LedgerId = LedgerId([6; 16]);

/// The time of day, so long after the beginning.
pub fn unix(now: Micros) -> UnixMillis {
    UnixMillis(BEGINNING_MS + now.0 / 1_000)
}

/// What a gateway is started with.
pub struct House {
    /// Removed with it.
    _directory: TempDir,
    config: Config,
    show: String,
    throttle: String,
    /// A phone that was silent for so long pings; zero for never.
    keep_alive: Micros,
    agent: Rc<RefCell<Agent>>,
    certificate: rustls_pki_types::CertificateDer<'static>,
}

impl House {
    /// With this show and these lines in its configuration; its agent is away.
    pub fn new(show: &str, more_config: &str) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let text = format!("[listen]\nshards = 1\n[queue]\npath = \"queue\"\n{more_config}");
        let mut config = Config::parse(&text, directory.path()).expect("a good configuration");
        if config.sessions_in_all == 0 {
            config.set_sessions(1_000);
        }
        let certificate = make_certs(&config.certs_directory);
        let front = shape::attach(&config, Shape::Kept).expect("a mapping");
        let back = front.mapping().attach(Side::Back, 1).expect("no other agent");
        let tickets = key_ring(&config.certs_directory, Purpose::Ticket).expect("a key file");
        let parsed = Show::parse(show, unix(Micros::ZERO)).expect("a good show");
        let agent = Agent::new(
            back,
            TicketKeys::new(&tickets),
            parsed.sponsors.keys().copied().collect(),
        );
        Self {
            _directory: directory,
            config,
            show: show.to_owned(),
            throttle: throttle::DEFAULT.to_owned(),
            keep_alive: Micros::ZERO,
            agent: Rc::new(RefCell::new(agent)),
            certificate,
        }
    }

    /// Has phones stay however long they have nothing to say.
    pub fn with_lasting_phones(mut self) -> Self {
        self.keep_alive = Micros::from_s(5);
        self
    }

    /// With this throttle.
    pub fn with_throttle(mut self, throttle: String) -> Self {
        self.throttle = throttle;
        self
    }

    /// The agent is here, with so many packets to give out.
    pub fn with_agent(self, packets: u64) -> Self {
        self.agent.borrow_mut().come();
        self.agent.borrow_mut().packets = packets;
        self
    }

    /// It is here, and blocks whom the analysis finds by these lines in its `[abuse]`.
    pub fn with_analysis(self, abuse: &str) -> Self {
        let config = shake_agent::config::Config::parse(&format!("[abuse]\n{abuse}"), Path::new(""));
        let rules = config.expect("a good configuration").abuse;
        let house = self.with_agent(100);
        house.agent.borrow_mut().analysis = Some(Analysis::new(rules, Blocks::default()));
        house
    }

    /// A file of its certificate directory.
    pub fn certs(&self, name: &str) -> PathBuf {
        self.config.certs_directory.join(name)
    }

    /// One life of the gateway, while the phones do this. Gives what they found.
    pub fn play<T, F>(&self, act: impl FnOnce(Town) -> F) -> T
    where
        T: 'static,
        F: Future<Output = T> + 'static,
    {
        let (desk, stop) = (Rc::new(RefCell::new(Desk::default())), Arc::new(AtomicBool::new(false)));
        self.agent.borrow_mut().begin();
        let scene = Scene {
            desk: Rc::clone(&desk),
            agent: Rc::clone(&self.agent),
            play: None,
            stop: Arc::clone(&stop),
        };
        // Before the world, whose time begins with it.
        let (shared, counters) = (Arc::new(self.shared()), Arc::new(Counters::default()));
        let world = World::new(SEED, Network::CLEAN, self.phones(), scene, END, Arc::clone(&stop));
        let world = Rc::new(RefCell::new(world));
        let found = Rc::new(RefCell::new(None));
        let town = Town {
            desk,
            agent: Rc::clone(&self.agent),
            shared: Arc::clone(&shared),
            counters: Arc::clone(&counters),
            config: Rc::new(self.config.clone()),
            began: world.borrow().instant(),
            stop: Arc::clone(&stop),
        };
        let (playing, into) = (act(town), Rc::clone(&found));
        world.borrow_mut().script.play = Some(Box::pin(async move {
            let value = playing.await;
            *into.borrow_mut() = Some(value);
        }));
        self.serve(SimIo::new(&world), shared, counters, stop);
        found.take().expect("the test waited in vain")
    }

    fn serve(&self, io: SimIo<Scene>, shared: Arc<Shared>, counters: Arc<Counters>, stop: Arc<AtomicBool>) {
        let attachment = shape::attach(&self.config, Shape::Kept).expect("no other gateway");
        let link = AgentLink::open(&attachment, 0, Arc::clone(&counters)).expect("its rings");
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&SEED.to_be_bytes());
        let identity = Identity {
            shard: 0,
            generation: 1,
            reset_keys: ResetKeys::new([[1; 32]].iter(), &[0; 16]),
            seed: Some(seed),
        };
        let parts = Parts {
            io,
            endpoints: Endpoints::new(&identity, &shared.current.secrets().servers.default),
            identity,
            rules: STREAMS,
            prefaulter: Prefaulter::new().0,
            sessions_max: self.config.sessions.max,
            counters: Arc::clone(&counters.quic),
            stop,
        };
        let app = GatewayParts {
            shared,
            shard: 0,
            counters,
            link,
            sessions: self.config.sessions,
            rng: StdRng::seed_from_u64(SEED),
        };
        serve(parts, app);
    }

    fn shared(&self) -> Shared {
        let show = Show::parse(&self.show, unix(Micros::ZERO)).expect("a good show");
        let live = Live {
            version: 1,
            stages: (0..show.phases.len() as u16).collect(),
            show: Arc::new(show),
            throttle: Arc::new(Throttle::parse(&self.throttle).expect("a good throttle")),
        };
        let secrets = Secrets::read(&self.config, None).expect("good files");
        Shared {
            current: ConfigStore::new(live, secrets, 1),
            board: LoadState::new(1),
            winners: Winners::new(self.config.winners_max),
            presence: Presence::new(1, self.config.sessions.max),
            key_uses: KeyUses::new(1),
            claims: self.config.claims,
            shards: 1,
            // The world's clocks begin at zero.
            clock: Keeper::start(Some(BEGINNING_MS as i64)).clock(),
        }
    }

    fn phones(&self) -> lean_quic::Config {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).expect("a certificate");
        lean_quic::Config {
            tls: lean_quic::tls(roots, shake_proto::ALPN).expect("TLS 1.3"),
            idle_timeout: Micros::from_s(300),
            keep_alive: self.keep_alive,
            ack_delay_ms_max: 25,
            request_bytes_max: REQUEST_BYTES,
            response_bytes_max: REPLY_BYTES_MAX as u32,
            notices_max: 4,
        }
    }
}

/// Makes keys, and a certificate whose signatures all have the same length, so that the lengths of packets go by the seed.
fn make_certs(directory: &Path) -> rustls_pki_types::CertificateDer<'static> {
    let request = certs::generate::Request {
        names: vec!["localhost".into()],
        addresses: Vec::new(),
        days: 1,
        replace: false,
    };
    certs::generate::generate(directory, &request, jiff::Timestamp::now()).expect("certificates");
    let key = KeyPair::generate_for(&PKCS_ED25519).expect("a key");
    let params = CertificateParams::new(vec!["localhost".to_owned()]);
    let certificate = params
        .and_then(|params| params.self_signed(&key))
        .expect("a certificate");
    std::fs::write(directory.join("server.pem"), certificate.pem()).expect("written");
    std::fs::write(directory.join("server.key.pem"), key.serialize_pem()).expect("written");
    certificate.der().clone()
}
