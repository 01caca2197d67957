//! The memory of sessions under Miri, which knows where each pointer comes from, and stops at one that is used for what it was
//! not made for. It belongs to nightly toolchains.

use std::process::{Command, Stdio};
use xtask::steps::Steps;
use xtask::workspace::root;

/// Checks it as a step, or notes what is missing for it.
///
/// # Errors
/// Only when interrupted.
pub fn check(steps: &mut Steps<'_>) -> anyhow::Result<()> {
    let mut version = nightly(&["miri", "--version"]);
    version.stdout(Stdio::null()).stderr(Stdio::null());
    if version.status().is_ok_and(|status| status.success()) {
        steps.command("miri", &mut command())
    } else {
        let way = "install Miri by `rustup toolchain install nightly --component miri --component rust-src`";
        steps.skip("miri", way);
        Ok(())
    }
}

fn command() -> Command {
    let mut test = nightly(&["miri", "test", "--locked", "-p", "quic-shard", "--lib", "--"]);
    test.args(["memory::delta", "memory::session_table"]);
    test.env("MIRIFLAGS", "-Zmiri-strict-provenance");
    test
}

/// Cargo of the nightly toolchain, whichever this was started by.
fn nightly(words: &[&str]) -> Command {
    let mut cargo = Command::new("rustup");
    cargo.current_dir(root()).args(["run", "nightly", "cargo"]).args(words);
    cargo
}
