//! The directory of one attack, its free ports and its programs.

use super::{END, START, plan};
use crate::interrupt::Interrupt;
use crate::stage::{self, Build, Patience, Programs, run_to_file};
use crate::workspace::target;
use anyhow::Context;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

/// Builds what is run.
pub fn build(interrupt: &Interrupt) -> anyhow::Result<()> {
    Programs::build(Build::Release, interrupt).map(drop)
}

pub fn program(name: &str) -> Command {
    Command::new(target().join("release").join(name))
}

/// `target/hostile`, where the last attack's files stay, and the results of all.
pub fn directory() -> PathBuf {
    target().join("hostile")
}

pub struct Place(stage::Place);

impl Place {
    /// An empty directory and free loopback ports.
    pub fn fresh() -> anyhow::Result<Self> {
        let directory = directory();
        fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
        stage::Place::fresh("hostile/last").map(Self)
    }

    pub fn gateway(&self) -> SocketAddr {
        self.0.gateway
    }

    pub fn metrics(&self) -> SocketAddr {
        self.0.metrics
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.0.file(name)
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
            (
                "gateway.toml",
                plan::gateway(self.0.gateway, self.0.metrics, self.0.queue()),
            ),
            ("shake-agent.toml", plan::agent(self.0.queue())),
        ] {
            self.0.write(name, &text)?;
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
