//! `cargo xtask test`: everything that must hold before a change goes in.

use crate::{lab, miri, musl};
use clap::Args;
use std::process::Stdio;
use xtask::interrupt::Interrupt;
use xtask::steps::Steps;
use xtask::workspace::{cargo, target};

#[derive(Args)]
#[command(after_long_help = "\
The steps, all of them run even when one fails:
  format       cargo fmt --check
  lints        cargo clippy, warnings are errors
  tests        cargo nextest when it is installed, else cargo test; the fuzz targets over their seeds too
  dependencies licences, banned crates and sources against deny.toml; advisories with cargo-deny, where it is there
  checks       circles of imports, long files, unsafe code, and documents that name what is not there
  doctests     the examples in the documentation
  independent  a client that shares no code with this project: aioquic, from shake.proto alone
  musl         the programs compile for x86_64-unknown-linux-musl; skipped, and told so, without the target or musl-gcc
  miri         the memory of sessions, with an eye on where each pointer comes from; skipped, and told so, without Miri
  loom         every interleaving of the shared-memory rings
  demo         200 phones, 400 shakes/s, 5 s, and money that balances
  guide        docs/evening.md and docs/operator.md, each command as it stands
  chaos        some rounds of random faults with a fixed seed, and money that balances after each
  fleet        the same of two machines with one ledger in PostgreSQL")]
pub struct Options {}

/// Runs all checks and prints how each went.
///
/// # Errors
/// When one failed.
pub fn run(_options: &Options, interrupt: &Interrupt) -> anyhow::Result<()> {
    let mut steps = Steps::new(interrupt);
    steps.command("format", &mut cargo(["fmt", "--all", "--check"]))?;
    steps.command(
        "lints",
        &mut cargo(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]),
    )?;
    if has_nextest() {
        steps.command("tests", &mut cargo(["nextest", "run", "--workspace", "--no-fail-fast"]))?;
    } else {
        steps.command(
            "tests",
            &mut cargo(["test", "--workspace", "--tests", "--no-fail-fast"]),
        )?;
    }
    lab_step(&mut steps, "dependencies", "dependencies")?;
    lab_step(&mut steps, "checks", "checks")?;
    steps.command("doctests", &mut cargo(["test", "--workspace", "--doc"]))?;
    // Ignored by a plain `cargo test`, because it needs Python and a package index besides the toolchain. Of the whole
    // workspace, as all tests are: of one package alone, what they share would be built anew with other features.
    let independent = [
        "test",
        "--workspace",
        "--test",
        "independent",
        "--",
        "--ignored",
        "--nocapture",
    ];
    steps.command("independent", &mut cargo(independent))?;
    musl::check(&mut steps)?;
    miri::check(&mut steps)?;
    let mut loom = cargo(["test", "--release", "-p", "shm-queue", "--lib"]);
    // A directory of its own: with other flags, cargo would build everything anew in the common one each time.
    loom.env("RUSTFLAGS", "--cfg loom")
        .env("CARGO_TARGET_DIR", target().join("loom"));
    steps.command("loom", &mut loom)?;
    // With the programs that the tests have built: another build would take longer than all else here.
    lab_step(
        &mut steps,
        "demo",
        "demo --dev --sessions 200 --shakes-per-second 400 --seconds 5",
    )?;
    lab_step(&mut steps, "guide", "guide --dev")?;
    // Rounds of a fixed schedule, and a bound on recovery that a busy machine keeps.
    let one_machine = "chaos --dev --seed 343 --rounds 4 --back-ms-max 30000";
    lab_step(&mut steps, "chaos", one_machine)?;
    let fleet = "chaos --fleet --dev --seed 346 --rounds 3 --back-ms-max 30000";
    lab_step(&mut steps, "fleet", fleet)?;
    steps.finish()
}

/// Runs `cargo xtask` with these words as a step.
fn lab_step(steps: &mut Steps<'_>, name: &str, line: &str) -> anyhow::Result<()> {
    let words: Vec<_> = line.split(' ').collect();
    steps.step(name, &format!("cargo xtask {line}"), || lab::run(&words))
}

fn has_nextest() -> bool {
    let version = cargo(["nextest", "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    version.is_ok_and(|status| status.success())
}
