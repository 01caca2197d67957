//! How the lab is built and started. It runs the programs and judges them, and reads its own command lines.

use anyhow::{Context, bail, ensure};
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use xtask::interrupt::Interrupt;
use xtask::workspace::{cargo, dev, release, target};

/// Becomes the lab with these arguments: signals and exit code are the lab's from then on. Comes back with an error alone.
///
/// # Errors
/// When it does not build or start.
pub fn become_it(arguments: &[OsString], interrupt: &Interrupt) -> anyhow::Result<()> {
    let program = build(arguments)?;
    interrupt.check()?;
    let error = Command::new(&program).args(arguments).exec();
    Err(error).with_context(|| format!("cannot start {}", program.display()))
}

/// Runs the lab as a step of the tests, with the programs that the tests have built.
///
/// # Errors
/// When it does not build, or something is not as it must be.
pub fn run(arguments: &[&str]) -> anyhow::Result<()> {
    let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
    let program = build(&arguments)?;
    let status = Command::new(&program).args(&arguments).status();
    let status = status.with_context(|| format!("cannot start {}", program.display()))?;
    if !status.success() {
        bail!("{status}");
    }
    Ok(())
}

/// Builds what the arguments need; gives where the lab is.
fn build(arguments: &[OsString]) -> anyhow::Result<PathBuf> {
    let has = |wanted: &[&str]| arguments.iter().any(|one| wanted.iter().any(|wanted| one == wanted));
    let (mut build, profile) = if has(&["-h", "--help", "help"]) {
        (cargo(["build", "--quiet", "-p", "lab"]), "debug")
    } else if has(&["--dev", "dependencies", "checks"]) || arguments == ["bench", "--publish"] {
        (dev(), "debug")
    } else {
        (release(), "release")
    };
    let status = build.status().context("cannot run cargo")?;
    ensure!(status.success(), "cargo build: {status}");
    Ok(target().join(profile).join("lab"))
}
