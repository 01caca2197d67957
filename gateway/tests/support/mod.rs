//! What the tests share: a real gateway process on free loopback ports, a real agent process beside it, and a phone
//! made of the stock `quinn` crate.
#![allow(dead_code, unused_imports, reason = "each test takes what it needs")]
#![allow(clippy::print_stderr, reason = "the test harness takes what is printed")]

mod agent;
pub mod authority;
mod common;
pub mod line;
mod operated;
pub mod operator;
mod phone;

pub use agent::{be_the_agent_if_asked, two_gateways};
pub use common::{
    BAD, Client, GENEROUS_SHOW, HONEST, TWO_EACH_SHOW, assert_served, forge, is_blocked, wallet, win_all,
};
pub use operated::{Ended, Operated};
pub use phone::Phone;

use client_sim::metrics::{self, Answer, Metrics};
use nix::sys::ptrace;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tempfile::TempDir;

/// The longest that a test waits for anything.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A gateway process, with an agent process when asked for.
pub struct Stand {
    pub directory: TempDir,
    pub address: SocketAddr,
    pub metrics: SocketAddr,
    pub admin: SocketAddr,
    gateway: Option<Child>,
    agent: Option<Child>,
}

/// A port that is free now, and that no socket of another test is given by chance while a gateway starts again: below those
/// that Linux gives out by itself (`ip_local_port_range`).
fn free_address() -> SocketAddr {
    loop {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, rand::random_range(15_000..32_000)));
        if UdpSocket::bind(address).is_ok() && TcpListener::bind(address).is_ok() {
            return address;
        }
    }
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
        let (address, admin, metrics) = (free_address(), free_address(), free_address());
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
        self.wait_ready();
    }

    /// Waits until the gateway serves; one that has ended never will.
    fn wait_ready(&mut self) {
        wait("the gateway is ready", || {
            let gateway = self.gateway.as_mut().expect("it was started");
            let ended = gateway.try_wait().expect("our own child");
            if let Some(ended) = ended {
                panic!("the gateway ended at its start, {ended}: {}", self.gateway_log());
            }
            self.is_ready()
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
        self.wait_ready();
    }

    /// The gateway's process.
    pub fn gateway_id(&self) -> u32 {
        self.gateway.as_ref().expect("the gateway runs").id()
    }

    /// Writes a file of the stand; gives its path.
    pub fn write(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        std::fs::write(&path, text).expect("written");
        path.display().to_string()
    }

    /// What the gateway has logged.
    pub fn gateway_log(&self) -> String {
        std::fs::read_to_string(self.path("gateway.log")).expect("a log")
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
        self.http("/live").is_some_and(|answer| answer.status == 200)
    }

    /// Whether it says that it is ready.
    pub fn is_ready(&self) -> bool {
        self.http("/ready").is_some_and(|answer| answer.status == 200)
    }

    /// Waits for a gateway that ends by itself. Gives its exit code.
    pub fn gateway_ended(&mut self) -> Option<i32> {
        ended(self.gateway.take().expect("the gateway runs"))
    }

    /// The value of a metric, by its whole name with labels.
    pub fn metric(&self, name: &str) -> u64 {
        let metrics = self.http("/metrics").expect("the metrics port answers").text;
        let value = Metrics::from(metrics.as_str()).value(name);
        value.unwrap_or_else(|| panic!("no metric {name} in\n{metrics}")) as u64
    }

    /// What the metrics port answers; `None` when it does not.
    pub fn http(&self, path: &str) -> Option<Answer> {
        let url = format!("http://{}{path}", self.metrics);
        metrics::ask(&url, Duration::from_secs(2)).ok()
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

/// The wall clock, in milliseconds since 1970.
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("after 1970").as_millis() as u64
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
