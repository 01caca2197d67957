//! Builds and runs what is measured: a gateway and its phones, on loopback ports that are free.

use super::profile::Profile;
use super::{Options, read, say};
use crate::testbed::{self, END, Patience, Programs, START, Service, files};
use anyhow::{Context, ensure};
use client_sim::metrics::Metrics;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};
use xtask::interrupt::Interrupt;
use xtask::workspace::{cargo, target};

/// How long a profile may take; naming the functions of all stacks takes some seconds.
const PROFILE: Duration = Duration::from_secs(120);
/// How often waits look again.
const TICK: Duration = Duration::from_millis(100);
/// Sessions begun per second.
const CONNECTS_PER_SECOND: u32 = 2_000;

/// The directory, and the addresses of the gateway.
pub struct Place(testbed::Place);

/// A gateway, as the kernel and its own counters see it. Bytes are those that came since it was ready.
#[derive(Default)]
pub struct Measured {
    pub resident_bytes: i64,
    pub page_table_bytes: i64,
    pub huge_bytes: i64,
    /// What the phones did when memory was measured.
    pub state: String,
    pub shakes: u64,
    pub cpu_us_per_shake: Option<f64>,
    /// `None`: this gateway does not count it.
    pub growth_ms_max: Option<f64>,
    /// Of the simulator.
    pub phones_resident_bytes: i64,
    pub profile: Option<Profile>,
}

impl Place {
    /// Makes the directory anew, and finds free ports.
    pub fn fresh() -> anyhow::Result<Self> {
        testbed::Place::fresh("bench-memory").map(Self)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.file(name)
    }

    /// Builds the gateway that tells who holds the heap, and keeps it apart.
    pub fn build_profiled(&self, interrupt: &Interrupt) -> anyhow::Result<PathBuf> {
        say("building the gateway with heap profiles (release)");
        let status = cargo([
            "build",
            "--release",
            "-p",
            "gateway",
            "--features",
            "gateway/heap-profile",
        ])
        .status()
        .context("cannot run cargo")?;
        interrupt.check()?;
        ensure!(status.success(), "cargo build: {status}");
        let path = self.file("gateway-heap-profile");
        let built = target().join("release/gateway");
        fs::copy(&built, &path).with_context(|| format!("cannot copy {} to {}", built.display(), path.display()))?;
        Ok(path)
    }

    /// Makes certificates and configurations.
    pub fn prepare(&self, programs: &Programs, options: &Options, interrupt: &Interrupt) -> anyhow::Result<()> {
        testbed::make_certs(&self.0, programs, interrupt)?;
        let pace_ms =
            (u64::from(options.sessions) * 900 / u64::from(options.shakes_per_second.max(1))).clamp(1, 60_000);
        self.0.write(files::SHOW, &show(pace_ms))?;
        self.0.write(files::GATEWAY, &gateway(self.0.gateway, self.0.metrics))?;
        self.0.write(files::SCENARIO, &scenario(options))
    }

    /// Measures one gateway: ready, then with all sessions. Ends it and its phones.
    pub fn measure(
        &self,
        gateway: &Path,
        programs: &Programs,
        options: &Options,
        interrupt: &Interrupt,
    ) -> anyhow::Result<Measured> {
        let profile = self.file("heap.txt");
        let mut command = Command::new(gateway);
        command.args(["run", "--config"]).arg(self.file(files::GATEWAY));
        command.env("GATEWAY_HEAP_PROFILE", &profile);
        let mut service = Service::start("gateway", command, self.file("gateway.log"))?;
        service.wait_ready(&Patience {
            at_most: START,
            interrupt,
        })?;
        let pid = service.pid();
        let is_profiled = gateway.ends_with("gateway-heap-profile");
        let profiled = || {
            if is_profiled {
                take_profile(pid, &profile, interrupt).map(Some)
            } else {
                Ok(None)
            }
        };
        let before = (memory(pid)?, profiled()?);

        let mut command = programs.command("client-sim");
        command.arg("run").arg(self.file(files::SCENARIO));
        command
            .arg("--target")
            .arg(self.0.gateway.to_string())
            .arg("--certs")
            .arg(self.file(files::CERTS));
        let mut phones = Service::start("client-sim", command, self.file("client-sim.log"))?;
        let phones_pid = phones.pid();
        let mut check = || {
            interrupt.check()?;
            service.check()?;
            phones.check()
        };
        self.wait_for_sessions(options, &mut check, interrupt)?;
        let (cpu_us, shakes) = (cpu_us(pid)?, shakes(&self.metrics()?));
        let end = Instant::now() + Duration::from_secs(options.seconds.into());
        while Instant::now() < end {
            check()?;
            thread::sleep(TICK);
        }
        let cpu_us = self::cpu_us(pid)? - cpu_us;
        let metrics = self.metrics()?;
        let shakes = self::shakes(&metrics) - shakes;
        let after = memory(pid)?;
        let [phones_resident_bytes, ..] = memory(phones_pid)?;
        let profile = profiled()?.zip(before.1).map(|(after, before)| after.since(&before));
        let held = metrics.sum("gateway_sessions");
        ensure!(
            held >= f64::from(options.sessions),
            "only {held} of {} sessions are still there",
            options.sessions
        );
        let growth_ms_max = metrics.value("gateway_growth_ns_max").map(|ns| ns / 1e6);
        // Ended here and not in good order: their report is not wanted.
        drop(phones);
        service.end(END)?;
        let [resident_bytes, page_table_bytes, huge_bytes] = [0, 1, 2].map(|index| after[index] - before.0[index]);
        Ok(Measured {
            resident_bytes,
            page_table_bytes,
            huge_bytes,
            state: state(options),
            shakes,
            cpu_us_per_shake: (shakes > 0 && options.shakes_per_second > 0).then(|| cpu_us as f64 / shakes as f64),
            growth_ms_max,
            phones_resident_bytes,
            profile,
        })
    }

    fn metrics(&self) -> anyhow::Result<Metrics> {
        testbed::metrics(self.0.metrics)
    }

    /// Waits until every phone has said Hello.
    fn wait_for_sessions(
        &self,
        options: &Options,
        check: &mut dyn FnMut() -> anyhow::Result<()>,
        interrupt: &Interrupt,
    ) -> anyhow::Result<()> {
        let patience = Patience {
            at_most: Duration::from_secs(u64::from(options.sessions / 200) + 60),
            interrupt,
        };
        let (mut told, mut hellos) = (Instant::now(), 0.0);
        let all = patience.wait(|| {
            check()?;
            hellos = self.metrics()?.sum("gateway_hellos_total");
            if told.elapsed() > Duration::from_secs(2) {
                told = Instant::now();
                say(&format!("{hellos} of {} sessions", options.sessions));
            }
            if hellos >= f64::from(options.sessions) {
                return Ok(Some(()));
            }
            thread::sleep(TICK); // each look costs the gateway something
            Ok(None)
        })?;
        all.with_context(|| {
            let (sessions, log) = (options.sessions, self.file("client-sim.log"));
            format!(
                "only {hellos} of {sessions} phones have said Hello; see {}",
                log.display()
            )
        })
    }
}

fn shakes(metrics: &Metrics) -> u64 {
    metrics.sum("gateway_shakes_total") as u64
}

/// Resident memory, page tables and huge pages of a process, in bytes.
fn memory(pid: Pid) -> anyhow::Result<[i64; 3]> {
    let status = read(Path::new(&format!("/proc/{pid}/status")))?;
    let maps = read(Path::new(&format!("/proc/{pid}/smaps_rollup")))?;
    // Anonymous only: the rings and the program's text do not grow with the sessions.
    Ok([
        kib(&status, "RssAnon:")?,
        kib(&status, "VmPTE:")?,
        kib(&maps, "AnonHugePages:")?,
    ]
    .map(|kib| kib * 1_024))
}

fn kib(text: &str, name: &str) -> anyhow::Result<i64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    number.with_context(|| format!("the kernel does not tell {name}"))
}

/// CPU time that a process has used, in microseconds.
fn cpu_us(pid: Pid) -> anyhow::Result<u64> {
    // Nanoseconds on a CPU, of each thread: finer than the ticks of /proc/PID/stat.
    let mut sum = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = read(&task?.path().join("schedstat"))?;
        let ns: u64 = text
            .split(' ')
            .next()
            .unwrap_or_default()
            .parse()
            .context("schedstat")?;
        sum += ns / 1_000;
    }
    Ok(sum)
}

/// Asks a profiled gateway for its profile.
fn take_profile(pid: Pid, path: &Path, interrupt: &Interrupt) -> anyhow::Result<Profile> {
    let _ = fs::remove_file(path);
    kill(pid, Signal::SIGUSR1).context("cannot signal the gateway")?;
    let at_most = PROFILE;
    let written = Patience { at_most, interrupt }.wait(|| Ok(path.exists().then_some(())))?;
    written.with_context(|| format!("the gateway wrote no {}", path.display()))?;
    Profile::parse(&read(path)?)
}

fn state(options: &Options) -> String {
    match options.shakes_per_second {
        0 => format!("idle since their Hello, for {} s", options.seconds),
        rate => format!("after {} s at {rate} shakes/s", options.seconds),
    }
}

fn show(pace_ms: u64) -> String {
    format!(
        r#"# Made by `cargo xtask bench memory`. Every key is explained in deploy/show.toml.
[event]
id = 1
name = "memory"
starts = "now"
rest_pace_ms = 5000

[limits]
packets_per_user = 1
packets_per_sponsor = 1
ticket_lifetime_s = 86400

[[phases]]
name = "shake"
start_s = 0
end_s = 86400
pace_ms = {pace_ms}
releases_per_second = 1
without_packet = "greeting"
weights = {{ nothing = 50, greeting = 50 }}
resources = {{ greeting = 10 }}

[[sponsors]]
id = 1
name = "Sponsor 1"
resource = 1
"#
    )
}

fn gateway(listen: SocketAddr, metrics: SocketAddr) -> String {
    format!(
        r#"# Made by `cargo xtask bench memory`. Every key is explained in deploy/gateway.toml.
[listen]
address = "{listen}"

[sessions]
idle_timeout_s = 3600

[certs]
directory = "certs"

[show]
file = "show.toml"

[queue]
path = "queue"

[metrics]
address = "{metrics}"
"#
    )
}

fn scenario(options: &Options) -> String {
    format!(
        r#"# Made by `cargo xtask bench memory`. Every key is explained in deploy/scenarios/default.toml.
[load]
sessions = {}
connects_per_second = {CONNECTS_PER_SECOND}
connects_at_once = 256
shakes_per_second = {}
seconds = 3600

[engine]
kind = "lean"
idle_timeout_s = 7200
keep_alive_s = 0

[limits]
connect_tries_max = 20
"#,
        options.sessions, options.shakes_per_second
    )
}
