//! What the tests share: a real gateway process on free loopback ports, a real agent process beside it, and a phone
//! made of the stock `quinn` crate.
#![allow(dead_code)]
#![allow(clippy::print_stderr, reason = "the test harness takes what is printed")]

pub mod authority;
pub mod line;
pub mod operator;

use bytes::{Bytes, BytesMut};
use nix::sys::ptrace;
use prost::Message as _;
use quinn::crypto::rustls::QuicClientConfig;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use shake_proto::code::Code;
use shake_proto::frame::{self, REPLY_BYTES_MAX};
use shake_proto::wire::v1;
use shake_rules::keys::{KeyRing, Purpose};
use shake_rules::seed::PacketKind;
use shake_rules::ticket::{Ticket, TicketKeys};
use shake_rules::token::{TokenKeys, UserToken};
use shake_rules::{EventId, LedgerId, PacketId, SponsorId, UnixMillis, UserId};
use shm_queue::{Mapping, Owner, Side};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The longest that a test waits for anything.
pub const PATIENCE: Duration = Duration::from_secs(20);
const AGENT_CONFIG: &str = "SHAKE_TEST_AGENT_CONFIG";

/// Every shake wins while there is a packet.
pub const GENEROUS_SHOW: &str = r#"
[limits]
packets_per_user = 8
packets_per_sponsor = 8
[[sponsors]]
id = 1
name = "Acme"
resource = 7
[[phases]]
name = "all win"
start_s = 0
end_s = 3600
releases_per_second = 1e6
weights = { red_packet = 1 }
resources = { nothing = 3 }
"#;

/// A gateway process, with an agent process when asked for.
pub struct Stand {
    pub directory: TempDir,
    pub address: SocketAddr,
    pub metrics: SocketAddr,
    pub admin: SocketAddr,
    gateway: Option<Child>,
    agent: Option<Child>,
}

/// A ticket that these keys make for this ledger.
pub fn ticket(ring: &KeyRing, ledger: &LedgerId, user: UserId, packet: PacketId) -> Bytes {
    let ticket = Ticket {
        event: EventId(1),
        packet,
        user,
        sponsor: SponsorId(1),
        stage: 0,
        issued_at: UnixMillis(1),
        expires_at: UnixMillis(u64::MAX),
    };
    let mut sealed = Vec::new();
    TicketKeys::new(ring).seal(ledger, &ticket, [3; 12], &mut sealed);
    Bytes::from(sealed)
}

impl Stand {
    /// A gateway with this show and these lines added to its configuration.
    pub fn new(show: &str, more_config: &str) -> Self {
        Self::with_certs(show, more_config, None)
    }

    /// Another gateway of the same fleet: with the same certificates and keys.
    pub fn beside(&self, show: &str) -> Self {
        Self::with_certs(show, "", Some(&self.path("certs")))
    }

    fn with_certs(show: &str, more_config: &str, certs: Option<&Path>) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path();
        let request = certs::generate::Request {
            names: vec!["localhost".into()],
            addresses: vec![Ipv4Addr::LOCALHOST.into()],
            days: 1,
            replace: false,
        };
        match certs {
            None => {
                certs::generate::generate(&path.join("certs"), &request, jiff::Timestamp::now()).expect("certificates");
            }
            Some(certs) => copy_directory(certs, &path.join("certs")),
        }
        std::fs::write(path.join("show.toml"), show).expect("show.toml");
        let udp = || UdpSocket::bind("127.0.0.1:0").and_then(|s| s.local_addr());
        let (address, admin) = (udp().expect("a free UDP port"), udp().expect("another one"));
        let metrics = TcpListener::bind("127.0.0.1:0")
            .and_then(|s| s.local_addr())
            .expect("a free TCP port");
        let config = format!(
            "[listen]\naddress = \"{address}\"\nshards = 2\nbuffer_bytes = 1048576\n[show]\nfile = \"show.toml\"\n[queue]\n\
             path = \"queue\"\n[metrics]\naddress = \"{metrics}\"\n[admin]\naddress = \"{admin}\"\n{more_config}"
        );
        std::fs::write(path.join("gateway.toml"), config).expect("gateway.toml");
        let mut stand = Self {
            directory,
            address,
            metrics,
            admin,
            gateway: None,
            agent: None,
        };
        stand.start_gateway();
        stand
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn start_gateway(&mut self) {
        self.start_gateway_with(&[]);
    }

    pub fn start_gateway_with(&mut self, arguments: &[&str]) {
        self.start_gateway_in(arguments, &[]);
    }

    /// Names the ledger in the mapping, as an agent does before its first grant, and is gone again.
    pub fn name_ledger(&self, ledger: LedgerId) {
        let mapping = Mapping::open(&self.path("queue")).expect("the gateway has made it");
        let agent = mapping.attach(Side::Back, 1).expect("no agent runs");
        let (identity, part) = (ledger.0, 0);
        agent.name_owner(&Owner { identity, part }).expect("nobody's yet");
    }

    /// Which ledger the agent names; until it does, nothing is refused and nothing won.
    pub fn ledger(&self) -> LedgerId {
        let mapping = Mapping::open(&self.path("queue")).expect("the gateway has made it");
        wait("the agent has named its ledger", || mapping.owner().is_some());
        LedgerId(mapping.owner().expect("it was there").identity)
    }

    /// The same with these variables in its environment.
    pub fn start_gateway_in(&mut self, arguments: &[&str], environment: &[(&str, &Path)]) {
        let config = self.path("gateway.toml").display().to_string();
        self.start(&[&["run", "--config", &config], arguments].concat(), environment);
    }

    /// Starts the gateway by these arguments alone.
    pub fn start_gateway_as(&mut self, arguments: &[&str]) {
        self.start(arguments, &[]);
    }

    fn start(&mut self, arguments: &[&str], environment: &[(&str, &Path)]) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gateway"));
        command.args(arguments).envs(environment.iter().copied());
        self.gateway = Some(
            command
                .stderr(self.log("gateway.log"))
                .spawn()
                .expect("the gateway starts"),
        );
        wait("the gateway is ready", || {
            self.http("/ready").is_some_and(|text| text.contains("200 OK"))
        });
    }

    /// Starts a gateway that need not become ready; it answers on the metrics port.
    pub fn start_gateway_unready(&mut self) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gateway"));
        command.args(["run", "--config"]).arg(self.path("gateway.toml"));
        let started = command.stderr(self.log("gateway.log")).spawn();
        self.gateway = Some(started.expect("the gateway starts"));
        wait("the gateway lives", || self.metrics_answer());
    }

    /// Starts the gateway with its standard error somewhere else than in the log file.
    pub fn start_gateway_to(&mut self, stderr: impl Into<Stdio>, rust_log: &str) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gateway"));
        command.args(["run", "--config"]).arg(self.path("gateway.toml"));
        let started = command.env("RUST_LOG", rust_log).stderr(stderr).spawn();
        self.gateway = Some(started.expect("the gateway starts"));
        wait("the gateway is ready", || {
            self.http("/ready").is_some_and(|text| text.contains("200 OK"))
        });
    }

    /// The gateway's process.
    pub fn gateway_id(&self) -> u32 {
        self.gateway.as_ref().expect("the gateway runs").id()
    }

    /// Sends the gateway a signal and waits for its end. Gives its exit code.
    pub fn stop_gateway(&mut self, signal: nix::sys::signal::Signal) -> Option<i32> {
        stop(self.gateway.take().expect("the gateway runs"), signal)
    }

    /// Stops the gateway's first thread, which is its control plane, until the value is dropped; the shards go on. The
    /// tracing stop of Linux is per thread, unlike SIGSTOP.
    pub fn freeze_control_thread(&self) -> Frozen {
        let id = self.gateway.as_ref().expect("the gateway runs").id();
        let thread = nix::unistd::Pid::from_raw(id as i32);
        ptrace::seize(thread, ptrace::Options::empty())
            .expect("a process may trace its children; is ptrace forbidden here?");
        ptrace::interrupt(thread).expect("it is traced");
        Frozen(thread)
    }

    /// Whether the control plane answers on the metrics port.
    pub fn metrics_answer(&self) -> bool {
        self.http("/live").is_some_and(|text| text.contains("200 OK"))
    }

    /// Waits for a gateway that ends by itself. Gives its exit code.
    pub fn gateway_ended(&mut self) -> Option<i32> {
        ended(self.gateway.take().expect("the gateway runs"))
    }

    /// Runs an operator's command against the gateway, with the certificates in `certs`.
    pub fn operate_with(&self, certs: &Path, arguments: &[&str]) -> Operated {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gateway"));
        command.args(arguments).arg("--certs").arg(certs);
        if !arguments.contains(&"--target") {
            command.args(["--target", &self.admin.to_string()]);
        }
        Operated::of(&command.output().expect("the operator's command runs"))
    }

    /// The same on a thread of its own.
    pub fn begin_to_operate(&self, arguments: &[&str]) -> std::thread::JoinHandle<Operated> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gateway"));
        command.args(arguments).arg("--certs").arg(self.path("certs"));
        command.args(["--target", &self.admin.to_string()]);
        std::thread::spawn(move || Operated::of(&command.output().expect("the operator's command runs")))
    }

    /// Runs the program in the stand's directory until it ends by itself.
    pub fn run(&self, arguments: &[&str]) -> Operated {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gateway"));
        command.args(arguments).current_dir(self.directory.path());
        Operated::of(&command.output().expect("the gateway starts"))
    }

    /// The same; it must end with an error. Gives what it said.
    pub fn run_to_its_end(&self, arguments: &[&str]) -> String {
        let ended = self.run(arguments);
        assert!(!ended.is_good, "{ended:?}");
        ended.text
    }

    /// Starts the gateway, which must refuse to. Gives what it said.
    pub fn gateway_that_does_not_start(&self, arguments: &[&str]) -> String {
        self.run_to_its_end(&[&["run", "--config", "gateway.toml"], arguments].concat())
    }

    /// Runs an operator's command against the gateway.
    pub fn operate(&self, arguments: &[&str]) -> Operated {
        self.operate_with(&self.path("certs"), arguments)
    }

    /// Makes a seed of `count` packets of 10 to 500 cents, of sponsor 1.
    pub fn make_seed(&self, budget_cents: u64, count: u64) {
        self.make_seed_of(budget_cents, count, 1, PacketKind::Plain);
    }

    /// Makes a seed of `count` packets of 10 to 500 cents and this kind, of `sponsors` sponsors in turn.
    pub fn make_seed_of(&self, budget_cents: u64, count: u64, sponsors: u16, kind: PacketKind) {
        self.make_seed_part(budget_cents, count, sponsors, kind, 0);
    }

    /// The same, as this part of a fleet's seed of two: packets of different parts differ.
    pub fn make_seed_part(&self, budget_cents: u64, count: u64, sponsors: u16, kind: PacketKind, part: u16) {
        use shake_rules::seed::{SeedRecord, SeedSum};
        use shake_rules::{Cents, EventId, PacketId, SponsorId, amounts};
        let mut state = 7_u64;
        let random = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            state
        };
        let amounts =
            amounts::draw(Cents(budget_cents), count, Cents(10), Cents(500), random).expect("a possible budget");
        let (mut sum, mut records) = (SeedSum::default(), Vec::new());
        for (index, amount) in amounts.into_iter().enumerate() {
            let packet = PacketId(1_000 + 1_000_000 * u64::from(part) + index as u64);
            let record = SeedRecord {
                packet,
                amount,
                sponsor: SponsorId(1 + index as u16 % sponsors),
                kind,
            };
            sum.add(&record);
            records.extend_from_slice(&record.encode());
        }
        let mut file = sum.header(EventId(1), part, part + 1).encode().to_vec();
        file.append(&mut records);
        std::fs::write(self.path("seed.bin"), file).expect("seed.bin");
    }

    /// Starts the agent on the seed: this test program again, as [`be_the_agent_if_asked`].
    pub fn start_agent(&mut self) {
        self.start_agent_by(&[], "");
    }

    /// The same with these lines in its `[abuse]`.
    pub fn start_agent_with(&mut self, abuse: &str) {
        self.start_agent_by(&[], abuse);
    }

    /// The same, where no file may become larger than `bytes`: writes beyond it fail, as on a full disk.
    pub fn start_agent_with_room(&mut self, bytes: u64) {
        // A signal that is ignored stays so over exec; without that, the first write over the limit would end the program.
        let script = "trap '' XFSZ; exec \"$0\" \"$@\"";
        let limit = format!("--fsize={bytes}:unlimited");
        self.start_agent_by(&["prlimit", &limit, "sh", "-c", script], "");
    }

    /// Makes room on the agent's disk.
    pub fn make_room(&self) {
        let pid = self.agent.as_ref().expect("the agent runs").id().to_string();
        let limit = "--fsize=unlimited:unlimited";
        let status = Command::new("prlimit").args([limit, "--pid", &pid]).status();
        assert!(status.expect("prlimit, of util-linux").success());
    }

    /// The same, following the show of another directory than the gateway's.
    pub fn start_agent_apart(&mut self, state: &str) {
        self.start_agent_of(&[], "", state);
    }

    /// Starts the agent through another program, if any, with these lines in its `[abuse]`.
    fn start_agent_by(&mut self, through: &[&str], abuse: &str) {
        self.start_agent_of(through, abuse, "state");
    }

    fn start_agent_of(&mut self, through: &[&str], abuse: &str, state: &str) {
        let path = self.directory.path().display().to_string();
        let config = format!(
            "[queue]\npath = \"{path}/queue\"\n[ledger]\npath = \"{path}/ledger.db\"\n[seed]\nfile = \"{path}/seed.bin\"\n\
             [certs]\ndirectory = \"{path}/certs\"\n[show]\nfile = \"{path}/show.toml\"\n[state]\ndirectory = \"{path}/{state}\"\n\
             [settlement]\nfile = \"{path}/settlement.log\"\n[abuse]\nfile = \"{path}/blocks.json\"\n{abuse}"
        );
        std::fs::write(self.path("agent.toml"), config).expect("agent.toml");
        let program = std::env::current_exe().expect("this test program");
        let mut command = match through {
            [] => Command::new(&program),
            [first, more @ ..] => {
                let mut command = Command::new(first);
                command.args(more).arg(&program);
                command
            }
        };
        command
            .args(["--exact", "agent_process", "--nocapture"])
            .env(AGENT_CONFIG, self.path("agent.toml"));
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(self.log("agent.log"));
        self.agent = Some(command.spawn().expect("the agent starts"));
    }

    /// Kills the agent with SIGKILL.
    pub fn kill_agent(&mut self) {
        stop(
            self.agent.take().expect("the agent runs"),
            nix::sys::signal::Signal::SIGKILL,
        );
    }

    /// Has the agent end in good order, by closing its standard input. Gives its exit code.
    pub fn stop_agent(&mut self) -> Option<i32> {
        let mut agent = self.agent.take().expect("the agent runs");
        drop(agent.stdin.take());
        ended(agent)
    }

    /// The audit of ledger against seed. Panics with its findings unless it balances.
    pub fn audit(&self) -> shake_agent::audit::Report {
        let report =
            shake_agent::audit::audit(&self.path("ledger.db"), &self.path("seed.bin"), |_, _| ()).expect("an audit");
        assert!(report.balanced, "{report:#?}");
        report
    }

    /// The value of a metric, by its whole name with labels.
    pub fn metric(&self, name: &str) -> u64 {
        let text = self.http("/metrics").expect("the metrics port answers");
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|value| value.parse().ok())
            .unwrap_or_else(|| panic!("no metric {name} in\n{text}"))
    }

    pub fn http(&self, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect(self.metrics).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        )
        .ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        Some(text)
    }

    pub fn key_ring(&self, purpose: Purpose) -> KeyRing {
        let text = std::fs::read_to_string(self.path("certs").join(purpose.file_name())).expect("a key file");
        KeyRing::parse(&text, purpose).expect("a key file that certs made")
    }

    pub fn token(&self, user: u64) -> Bytes {
        self.token_until(user, UnixMillis(u64::MAX))
    }

    /// A token that ends then.
    pub fn token_until(&self, user: u64, expires_at: UnixMillis) -> Bytes {
        let token = UserToken {
            user: UserId(user),
            expires_at,
        };
        Bytes::copy_from_slice(&TokenKeys::new(&self.key_ring(Purpose::UserToken)).mint(token))
    }

    /// A phone that has connected but not said Hello.
    pub async fn phone(&self) -> Phone {
        self.connect(Ipv4Addr::LOCALHOST).await.expect("a connection")
    }

    /// The same from another address, or why there is none.
    pub async fn phone_at(&self, address: Ipv4Addr) -> Result<Phone, quinn::ConnectionError> {
        self.connect(address).await
    }

    /// Holds that the gateway lets nobody in.
    pub async fn cannot_connect(&self) {
        let refused = self.connect(Ipv4Addr::LOCALHOST).await.err();
        let code = refused.as_ref().map(|error| match error {
            quinn::ConnectionError::ConnectionClosed(close) => u64::from(close.error_code),
            other => panic!("{other}"),
        });
        // CONNECTION_REFUSED (RFC 9000, section 20.1).
        assert_eq!(code, Some(2));
    }

    /// The same with these transport settings.
    pub async fn phone_with(&self, transport: quinn::TransportConfig) -> Phone {
        let connected = self.connect_with(Ipv4Addr::LOCALHOST, transport).await;
        connected.expect("a connection")
    }

    async fn connect(&self, from: Ipv4Addr) -> Result<Phone, quinn::ConnectionError> {
        self.connect_with(from, quinn::TransportConfig::default()).await
    }

    async fn connect_with(
        &self,
        from: Ipv4Addr,
        transport: quinn::TransportConfig,
    ) -> Result<Phone, quinn::ConnectionError> {
        let endpoint = quinn::Endpoint::client((from, 0).into()).expect("an endpoint");
        let connecting = endpoint
            .connect_with(self.client_config(transport), self.address, "localhost")
            .expect("a good configuration");
        let connection = tokio::time::timeout(PATIENCE, connecting).await.expect("in time")?;
        Ok(Phone { endpoint, connection })
    }

    /// How a phone connects.
    fn client_config(&self, transport: quinn::TransportConfig) -> quinn::ClientConfig {
        let ca = CertificateDer::from_pem_file(self.path("certs/ca.pem")).expect("ca.pem");
        let mut roots = rustls::RootCertStore::empty();
        roots.add(ca).expect("a CA certificate");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("TLS 1.3")
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![shake_proto::ALPN.to_vec()];
        let quic = QuicClientConfig::try_from(tls).expect("a QUIC client");
        let mut config = quinn::ClientConfig::new(Arc::new(quic));
        config.transport_config(Arc::new(transport));
        config
    }

    /// A phone that has said Hello.
    pub async fn user(&self, user: u64) -> Phone {
        let phone = self.phone().await;
        phone.hello(self.token(user)).await.expect("a good Hello");
        phone
    }

    /// Has one user ask the same over and over: from 51 connections, of which three are open at a time, with three tries at
    /// once on each. Beside them the user may have one more. Gives all answers.
    pub async fn hammer<T, F>(&self, user: u64, ask: impl Fn(Arc<Phone>) -> F) -> Vec<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let mut answers = Vec::new();
        for _ in 0..17 {
            let mut tries = tokio::task::JoinSet::new();
            for _ in 0..3 {
                let phone = Arc::new(self.user(user).await);
                for _ in 0..3 {
                    tries.spawn(ask(Arc::clone(&phone)));
                }
            }
            answers.extend(tries.join_all().await);
        }
        answers
    }

    fn log(&self, name: &str) -> Stdio {
        let file = std::fs::File::options().create(true).append(true).open(self.path(name));
        file.expect("a log file").into()
    }
}

impl Drop for Stand {
    fn drop(&mut self) {
        for mut child in self.gateway.take().into_iter().chain(self.agent.take()) {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            for name in ["gateway.log", "agent.log"] {
                eprintln!(
                    "--- {name}\n{}",
                    std::fs::read_to_string(self.path(name)).unwrap_or_default()
                );
            }
        }
    }
}

/// When this process was started as an agent, runs it and never returns.
pub fn be_the_agent_if_asked() {
    let Some(path) = std::env::var_os(AGENT_CONFIG) else {
        return;
    };
    let text = std::fs::read_to_string(Path::new(&path)).expect("agent.toml");
    let config = shake_agent::config::Config::parse(&text, Path::new("")).expect("a good agent.toml");
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    let stop = shake_agent::signals::Stop::default();
    let asked = stop.clone();
    std::thread::spawn(move || {
        // The test harness owns the signals of this process, so the end of the input stands for SIGTERM.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        asked.ask();
    });
    let result = shake_agent::run::run(&config, &stop);
    std::process::exit(result.map_or_else(
        |error| {
            eprintln!("{error:?}");
            1
        },
        |()| 0,
    ));
}

fn copy_directory(from: &Path, to: &Path) {
    std::fs::create_dir(to).expect("a new directory");
    for entry in std::fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        std::fs::copy(entry.path(), to.join(entry.file_name())).expect("a copy");
    }
}

fn stop(child: Child, signal: nix::sys::signal::Signal) -> Option<i32> {
    let id = nix::unistd::Pid::from_raw(child.id() as i32);
    nix::sys::signal::kill(id, signal).expect("the process is there");
    ended(child)
}

fn ended(mut child: Child) -> Option<i32> {
    let mut status = None;
    wait("the process ends", || {
        status = child.try_wait().expect("our own child");
        status.is_some()
    });
    status.and_then(|status| status.code())
}

pub fn wait(what: &str, mut until: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !until() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A stopped thread. Tracing is bound to the thread that began it, so a test must keep this where it made it.
pub struct Frozen(nix::unistd::Pid);

impl Drop for Frozen {
    fn drop(&mut self) {
        let _ = ptrace::detach(self.0, None);
    }
}

/// What an operator's command said.
#[derive(Debug)]
pub struct Operated {
    pub is_good: bool,
    /// Its output and errors.
    pub text: String,
}

impl Operated {
    fn of(output: &std::process::Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self {
            is_good: output.status.success(),
            text: text(&output.stdout) + &text(&output.stderr),
        }
    }

    /// Its output as JSON, one value a line.
    pub fn json(&self) -> Vec<serde_json::Value> {
        let value = |line: &str| serde_json::from_str(line).unwrap_or_else(|_| panic!("not JSON: {line}"));
        self.text.lines().map(value).collect()
    }
}

/// A connection of the stock `quinn` crate.
pub struct Phone {
    pub endpoint: quinn::Endpoint,
    pub connection: quinn::Connection,
}

impl Phone {
    pub async fn hello(&self, token: Bytes) -> Result<v1::HelloReply, Option<Code>> {
        self.hello_with(v1::Hello {
            token,
            ..Default::default()
        })
        .await
    }

    pub async fn hello_with(&self, hello: v1::Hello) -> Result<v1::HelloReply, Option<Code>> {
        match self.request(v1::request::Kind::Hello(hello)).await? {
            v1::reply::Kind::Hello(reply) => Ok(reply),
            other => panic!("Hello was answered by {other:?}"),
        }
    }

    pub async fn claim(&self, ticket: Bytes) -> v1::claim_reply::Result {
        let claim = v1::Claim {
            ticket,
            cookie: Bytes::new(),
        };
        match self.request(v1::request::Kind::Claim(claim)).await {
            Ok(v1::reply::Kind::Claim(reply)) => reply.result.expect("a result"),
            other => panic!("a claim was answered by {other:?}"),
        }
    }

    /// Claims until the answer is not Busy.
    pub async fn claim_patiently(&self, ticket: &Bytes) -> v1::claim_reply::Result {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.claim(ticket.clone()).await {
                v1::claim_reply::Result::Busy(_) => {
                    assert!(Instant::now() < deadline, "busy for too long");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                result => return result,
            }
        }
    }

    /// A shake on a stream.
    pub async fn shake(&self, sequence: u32) -> Result<v1::ShakeReply, Option<Code>> {
        match self.request(v1::request::Kind::Shake(v1::Shake { sequence })).await? {
            v1::reply::Kind::Shake(reply) => Ok(reply),
            other => panic!("a shake was answered by {other:?}"),
        }
    }

    /// Shakes until it wins.
    pub async fn win(&self) -> v1::RedPacket {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(packet) = self.shake(1).await.expect("a shake").red_packet {
                return packet;
            }
            assert!(Instant::now() < deadline, "no win in time");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The code that the gateway closed the connection with, if it has.
    pub fn closed_with(&self) -> Option<Code> {
        match self.connection.close_reason()? {
            quinn::ConnectionError::ApplicationClosed(close) => Code::from_number(close.error_code.into_inner()),
            other => panic!("{other}"),
        }
    }

    /// A shake in a datagram; tried again when one is lost.
    pub async fn shake_by_datagram(&self, sequence: u32) -> v1::ShakeReply {
        for _ in 0..20 {
            let shake = v1::Shake { sequence }.encode_to_vec();
            self.connection.send_datagram(shake.into()).expect("datagrams are on");
            let reply = tokio::time::timeout(Duration::from_secs(1), self.connection.read_datagram()).await;
            if let Ok(reply) = reply {
                return v1::ShakeReply::decode(reply.expect("an open connection")).expect("a ShakeReply");
            }
        }
        panic!("no answer to a shake");
    }

    pub async fn request(&self, kind: v1::request::Kind) -> Result<v1::reply::Kind, Option<Code>> {
        let mut bytes = BytesMut::new();
        frame::encode_stream(&v1::Request { kind: Some(kind) }, &mut bytes);
        let reply = self.exchange(&bytes).await?;
        let reply = frame::decode_stream::<v1::Reply>(reply, REPLY_BYTES_MAX).expect("a Reply");
        Ok(reply.kind.expect("a kind"))
    }

    /// Writes these bytes and FIN on a new stream. Gives what comes back, or the code that the stream was reset with.
    pub async fn exchange(&self, bytes: &[u8]) -> Result<Bytes, Option<Code>> {
        let code = |number: quinn::VarInt| Code::from_number(number.into_inner());
        let exchange = async {
            let (mut send, mut receive) = self.connection.open_bi().await.expect("an open connection");
            // The server may refuse the stream before all is written; the reading end tells with which code.
            let _ = send.write_all(bytes).await;
            let _ = send.finish();
            match receive.read_to_end(REPLY_BYTES_MAX + 8).await {
                Ok(reply) => Ok(reply.into()),
                Err(quinn::ReadToEndError::Read(quinn::ReadError::Reset(number))) => Err(code(number)),
                Err(error) => panic!("{error}"),
            }
        };
        tokio::time::timeout(PATIENCE, exchange)
            .await
            .expect("an answer in time")
    }
}
