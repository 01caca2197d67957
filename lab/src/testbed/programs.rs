//! The built programs, and the ways in which they are built.

use anyhow::{Context, bail, ensure};
use std::path::PathBuf;
use std::process::Command;
use xtask::interrupt::Interrupt;
use xtask::workspace::{self, cargo};

/// How the programs are built.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Build {
    /// As `cargo build --release` builds them.
    #[default]
    Release,
    /// The same, laid out by the profile that `cargo xtask tune` made.
    Tuned,
    /// The same, counting what is run: the profile is made of their counts.
    Counting,
    /// As the tests build them: for what is checked, and not measured.
    Dev,
}

/// Where the built programs are, and on which core they run if not on all.
pub struct Programs {
    directory: PathBuf,
    core: Option<usize>,
}

impl Programs {
    /// Builds gateway, agent, simulator and certificate maker.
    ///
    /// # Errors
    /// When one does not build.
    pub fn build(build: Build, interrupt: &Interrupt) -> anyhow::Result<Self> {
        // Without the lab, which needs no profile.
        const PROGRAMS: [&str; 8] = ["-p", "gateway", "-p", "shake-agent", "-p", "client-sim", "-p", "certs"];
        let alone = || cargo(["build", "--release"].into_iter().chain(PROGRAMS));
        let (mut command, directory) = match build {
            Build::Release => (workspace::release(), workspace::target().join("release")),
            Build::Tuned => {
                let profile = Tuned::profile();
                ensure!(
                    profile.exists(),
                    "there is no {}; `cargo xtask tune` makes it",
                    profile.display()
                );
                Tuned::here()?.with_flag(alone(), "-Cprofile-use=", profile)?
            }
            Build::Counting => Tuned::here()?.with_flag(alone(), "-Cprofile-generate=", Tuned::counts())?,
            Build::Dev => (workspace::dev(), workspace::target().join("debug")),
        };
        let status = command.status().context("cannot run cargo")?;
        interrupt.check()?;
        if !status.success() {
            bail!("cargo build: {status}");
        }
        Ok(Self { directory, core: None })
    }

    /// Where a program is.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// A program that is about to be given its arguments.
    pub fn command(&self, name: &str) -> Command {
        let Some(core) = self.core else {
            return Command::new(self.path(name));
        };
        let mut command = Command::new("taskset");
        command.args(["-c", &core.to_string()]).arg(self.path(name));
        command
    }

    /// The same, to run on one core alone.
    pub fn on_core(&self, core: usize) -> Self {
        Self {
            directory: self.directory.clone(),
            core: Some(core),
        }
    }
}

/// What profile-guided builds need of the toolchain, and their directory, `target/tuned`.
pub struct Tuned {
    host: String,
}

impl Tuned {
    /// Asks the compiler.
    pub fn here() -> anyhow::Result<Self> {
        let host = rustc("host-tuple")?;
        Ok(Self { host })
    }

    /// All that is tuned, and what it is made of.
    pub fn directory() -> PathBuf {
        workspace::target().join("tuned")
    }

    /// Where the programs put their counts.
    pub fn counts() -> PathBuf {
        Self::directory().join("counts")
    }

    /// The counts of all programs together.
    pub fn profile() -> PathBuf {
        Self::directory().join("merged.profdata")
    }

    /// The tool that puts counts together.
    ///
    /// # Errors
    /// When it is not installed.
    pub fn merger(&self) -> anyhow::Result<PathBuf> {
        let tools = PathBuf::from(rustc("sysroot")?).join("lib/rustlib").join(&self.host);
        let path = tools.join("bin/llvm-profdata");
        ensure!(
            path.exists(),
            "there is no {}; `rustup component add llvm-tools` brings it",
            path.display()
        );
        Ok(path)
    }

    /// A build with this flag and the file or directory that it names; gives also where the programs will be.
    fn with_flag(&self, mut build: Command, flag: &str, path: PathBuf) -> anyhow::Result<(Command, PathBuf)> {
        let path = path.to_str().context("the workspace's path is not UTF-8")?;
        // With a target named, the flag is for the programs alone, and not for the build scripts and macros.
        build
            .args(["--target", &self.host, "--target-dir"])
            .arg(Self::directory())
            .env("CARGO_ENCODED_RUSTFLAGS", format!("{flag}{path}"));
        Ok((build, Self::directory().join(&self.host).join("release")))
    }
}

/// What the compiler says of itself.
fn rustc(what: &str) -> anyhow::Result<String> {
    let output = Command::new("rustc").args(["--print", what]).output();
    let output = output.context("cannot run rustc")?;
    ensure!(output.status.success(), "rustc --print {what}: {}", output.status);
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}
