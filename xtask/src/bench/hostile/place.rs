//! The directory of one attack, its free ports and its programs.

use super::{END, START, plan};
use crate::interrupt::Interrupt;
use crate::stage::{Patience, run_to_file};
use crate::workspace::{cargo, target};
use anyhow::{Context, bail};
use std::fs;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::PathBuf;
use std::process::Command;

/// Builds what is run.
pub fn build(interrupt: &Interrupt) -> anyhow::Result<()> {
    const PACKAGES: [&str; 8] = ["-p", "gateway", "-p", "shake-agent", "-p", "client-sim", "-p", "certs"];
    let status = cargo(["build", "--release"].into_iter().chain(PACKAGES))
        .status()
        .context("cannot run cargo")?;
    interrupt.check()?;
    if !status.success() {
        bail!("cargo build: {status}");
    }
    Ok(())
}

pub fn program(name: &str) -> Command {
    Command::new(target().join("release").join(name))
}

/// `target/hostile`, where the last attack's files stay, and the results of all.
pub fn directory() -> PathBuf {
    target().join("hostile")
}

pub struct Place {
    pub gateway: SocketAddr,
    pub metrics: SocketAddr,
    directory: PathBuf,
    queue: PathBuf,
}

impl Place {
    /// An empty directory and free loopback ports. Bound and let go: what is free now is free a moment later unless
    /// someone takes just this one, and then the gateway says so.
    pub fn fresh() -> anyhow::Result<Self> {
        let directory = directory().join("last");
        match fs::remove_dir_all(&directory) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot remove {}", directory.display()));
            }
            _ => {}
        }
        fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
        let any = (Ipv4Addr::LOCALHOST, 0);
        Ok(Self {
            gateway: UdpSocket::bind(any)?.local_addr()?,
            metrics: TcpListener::bind(any)?.local_addr()?,
            queue: PathBuf::from(format!("/dev/shm/shake-hostile-{}", std::process::id())),
            directory,
        })
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Certificates, seed and configurations.
    pub fn prepare(&self, interrupt: &Interrupt) -> anyhow::Result<()> {
        let mut certs = program("certs");
        certs.arg("generate").arg("--out").arg(self.file("certs"));
        let mut seed = program("shake-agent");
        seed.args(["seed", "generate", "--event", "1", "--min", "1", "--max", "20000"])
            .args(["--count", &plan::PACKETS.to_string()])
            .args(["--budget", &plan::BUDGET_CENTS.to_string()])
            .args(["--sponsor", "1", "--sponsor", "2", "--sponsor", "3", "--out"])
            .arg(self.file("seed.bin"));
        let patience = Patience {
            at_most: START,
            interrupt,
        };
        for (name, command) in [("certs generate", certs), ("shake-agent seed generate", seed)] {
            run_to_file(name, command, &self.file("made.log"), &patience, || Ok(()))?.success()?;
        }
        for (name, text) in [
            ("show.toml", plan::SHOW.to_owned()),
            ("gateway.toml", plan::gateway(self.gateway, self.metrics, &self.queue)),
            ("shake-agent.toml", plan::agent(&self.queue)),
        ] {
            let path = self.file(name);
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(())
    }

    /// Whether the ledger agrees with the seed, to the cent.
    pub fn is_balanced(&self, interrupt: &Interrupt) -> anyhow::Result<bool> {
        let mut audit = program("shake-agent");
        audit
            .args(["audit", "--json", "--config"])
            .arg(self.file("shake-agent.toml"));
        let patience = Patience {
            at_most: END,
            interrupt,
        };
        let ended = run_to_file("shake-agent audit", audit, &self.file("audit.json"), &patience, || {
            Ok(())
        })?;
        Ok(ended.is_success())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.queue);
        // Doorbells stand beside the mapping, with its name and a dot before theirs.
        let (Some(parent), Some(name)) = (self.queue.parent(), self.queue.file_name()) else {
            return;
        };
        let prefix = format!("{}.", name.to_string_lossy());
        for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(&prefix) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}
