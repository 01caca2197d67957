//! The gateway's examples, which benches hold it against.

use crate::testbed::{Build, Patience, Place, START, Service};
use anyhow::{Context, ensure};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use xtask::interrupt::Interrupt;
use xtask::workspace::{self, cargo};

/// Where the built examples are.
pub struct Examples {
    directory: PathBuf,
}

impl Examples {
    /// Builds them: as the tests are built, or else optimised.
    ///
    /// # Errors
    /// When one does not build.
    pub fn build(build: Build) -> anyhow::Result<Self> {
        let (mut command, profile) = match build {
            Build::Dev => (cargo(["test", "--workspace", "--examples", "--no-run"]), "debug"),
            _ => (cargo(["build", "--release", "-p", "gateway", "--examples"]), "release"),
        };
        let built = command.status().context("cannot run cargo")?;
        ensure!(built.success(), "cargo build of the examples: {built}");
        Ok(Self {
            directory: workspace::target().join(profile).join("examples"),
        })
    }

    /// An example that is about to be given its arguments.
    pub fn command(&self, name: &str) -> Command {
        Command::new(self.directory.join(name))
    }
}

/// Starts a server among the examples, which prints its address first; gives both.
///
/// # Errors
/// When it prints no address.
pub fn start(
    name: &'static str,
    command: Command,
    place: &Place,
    interrupt: &Interrupt,
) -> anyhow::Result<(Service, SocketAddr)> {
    let mut service = Service::start(name, command, place.file(&format!("{name}.log")))?;
    let line = service.wait_line(&Patience {
        at_most: START,
        interrupt,
    })?;
    let address = line.trim().parse();
    Ok((service, address.with_context(|| format!("{name} printed {line:?}"))?))
}
