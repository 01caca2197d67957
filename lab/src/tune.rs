//! `cargo xtask tune`: the programs as they should run on the night, laid out by a profile of how phones are served
//! (profile-guided optimisation, <https://doc.rust-lang.org/rustc/profile-guided-optimization.html>): built so that they
//! count, run with phones, and built again by what they counted.

use crate::million::play;
use crate::testbed::{self, Build, Patience, Place, Programs, Tuned, deployed, run_to_file};
use anyhow::ensure;
use host::console;
use std::process::Command;
use std::time::Duration;
use xtask::interrupt::Interrupt;

/// More than a gateway's two shards leave unpacked (`PACK_ABOVE` in quic-shard/src/memory/session_table.rs): what is not run
/// counts as rare, and sessions that are packed and unpacked must not.
const SESSIONS: u32 = 160_000;
/// What two cores serve while they count.
const SCENARIO: &str = "\
# Made by `cargo xtask tune`.
[load]
connects_per_second = 2000
connects_at_once = 512
shakes_per_second = 15000
seconds = 40

[behaviour]
obey_pace = false

[engine]
kind = \"lean\"
idle_timeout_s = 900
keep_alive_s = 0

[limits]
connect_timeout_ms = 20000
";
/// A bound on putting the counts together.
const MERGE: Duration = Duration::from_secs(120);

/// What `--help` says.
pub const HELP: &str = "\
Takes some twelve minutes on 2 cores: two builds and two minutes of phones. Needs the
component llvm-tools of the toolchain (rustup component add llvm-tools).
The programs and the profile are in target/tuned until the next time; after a
change of the code, --tuned builds them again with the same profile.

Examples:
  cargo xtask tune
  cargo xtask million --tuned
  cargo xtask bench cost --tuned";

/// Makes the profile and the programs.
///
/// # Errors
/// When a tool is missing, or something could not be built or run.
pub fn run(interrupt: &Interrupt) -> anyhow::Result<()> {
    let tuned = Tuned::here()?;
    let merger = tuned.merger()?;
    testbed::remove(&Tuned::directory())?;
    say("building the programs so that they count what they run");
    let programs = Programs::build(Build::Counting, interrupt)?;
    say(&format!("running them with {SESSIONS} phones"));
    let place = Place::fresh("tune")?;
    let show = deployed("shows", "million")?;
    play::prepare(&place, &programs, play::PACKETS, &show, SCENARIO, interrupt)?;
    let played = play::play(&place, &programs, SESSIONS, interrupt)?;
    ensure!(
        played.ended_well,
        "the phones had errors; see {}",
        place.directory.display()
    );
    say("putting the counts together");
    let mut merge = Command::new(merger);
    merge.arg("merge").arg("-o").arg(Tuned::profile()).arg(Tuned::counts());
    let patience = Patience {
        at_most: MERGE,
        interrupt,
    };
    run_to_file("llvm-profdata", merge, &place.file("merge.log"), &patience, || Ok(()))?.success()?;
    say("building the programs by their counts");
    let programs = Programs::build(Build::Tuned, interrupt)?;
    console::line(&format!(
        "gateway, shake-agent, client-sim and certs are in {}",
        programs.path("").display()
    ))?;
    Ok(())
}

fn say(line: &str) {
    console::tell(&format!("tune: {line}"));
}
