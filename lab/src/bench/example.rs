//! The gateway's examples, which benches hold it against.

use crate::testbed::Build;
use anyhow::{Context, ensure};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
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

/// A server among the examples, which prints its address first; killed when it is dropped.
pub struct Example {
    child: Child,
    pub address: SocketAddr,
}

impl Example {
    /// Starts it.
    ///
    /// # Errors
    /// When it prints no address.
    pub fn start(mut command: Command) -> anyhow::Result<Self> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start an example")?;
        let mut line = String::new();
        let output = child.stdout.take().context("stdout is a pipe")?;
        let read = BufReader::new(output).read_line(&mut line);
        let mut example = Self {
            child,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
        };
        read.context("the example printed nothing")?;
        example.address = line
            .trim()
            .parse()
            .with_context(|| format!("the example printed {line:?}"))?;
        Ok(example)
    }

    pub fn pid(&self) -> nix::unistd::Pid {
        nix::unistd::Pid::from_raw(self.child.id().cast_signed())
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        // Both fail only when it has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
