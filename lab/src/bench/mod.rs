//! `cargo xtask bench`: every benchmark of the workspace, one after the other, so that none disturbs another.

mod beginnings;
mod cost;
mod drain;
mod engines;
mod errands;
mod example;
mod hostile;
mod ledger;
mod memory;
mod mobile;
mod overload;
mod pauses;

use crate::million;
use crate::report::{Bench, Report, page};
use anyhow::{Context, ensure};
use clap::{Args, Subcommand};
use serde_json::Value;
use xtask::interrupt::Interrupt;
use xtask::steps::Steps;
use xtask::workspace::{cargo, target};

#[derive(Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_long_help = "\
Examples:
  cargo xtask bench
  cargo xtask bench ring                      those whose name contains `ring`
  cargo xtask bench ring -- --quick           what follows -- goes to the benchmark
  cargo xtask bench cost --publish            writes bench-results/cost.json as well
  cargo xtask bench --publish                 makes docs/benchmarks.md of bench-results/
  cargo xtask bench compare                   the rings beside iceoryx2 between two processes, with a verdict
  cargo xtask bench beginnings                a lost datagram at a session's beginning, beside a plain quinn server
  cargo xtask bench cost                      the whole path: CPU per shake against a floor
  cargo xtask bench drain                     a gateway is drained, a second one takes its phones
  cargo xtask bench engines                   one scenario through both engines of client-sim: the same outcomes
  cargo xtask bench ledger                    claims per second into SQLite and PostgreSQL
  cargo xtask bench memory                    bytes per idle session of the gateway, by owner
  cargo xtask bench mobile                    phones on a city's networks beside the same ones on the loopback
  cargo xtask bench hostile                   every attack of `client-sim hostile`, with its bounds
  cargo xtask bench hostile shake-flood       only this attack
  cargo xtask bench overload                  a gateway on one core, offered up to three times what it can serve
  cargo xtask bench pauses                    phones and gateway stand still for a moment, near the machine's full load"
)]
pub struct Options {
    #[command(subcommand)]
    what: Option<What>,
    /// Write the run to bench-results/NAME.json; without a bench: make docs/benchmarks.md of these files
    #[arg(long, global = true)]
    publish: bool,
    /// Only the benchmarks whose name contains this
    #[arg(conflicts_with = "publish")]
    name: Option<String>,
    /// Arguments for the benchmarks
    #[arg(last = true)]
    arguments: Vec<String>,
}

/// Benchmarks of whole programs.
#[derive(Subcommand)]
enum What {
    /// What a single lost or late datagram costs at a session's beginning, beside a plain quinn server
    Beginnings(beginnings::Options),
    /// CPU per shake and memory per session, between a raw UDP echo and a plain quinn server
    Cost(cost::Options),
    /// Whether a drained gateway hands its phones to another one, and nothing is lost
    Drain(drain::Options),
    /// Whether both engines of the simulator give the same outcomes but for chance
    Engines(engines::Options),
    /// Claims per second into a ledger in SQLite and in PostgreSQL, by one agent and by many
    Ledger(ledger::Options),
    /// Bytes per session of a real gateway, by owner
    Memory(memory::Options),
    /// What phones' networks cost the phones and the gateway, beside the loopback
    Mobile(mobile::Options),
    /// What each attack costs the gateway and the honest phones beside it, against stated bounds
    Hostile {
        /// Only these attacks
        attacks: Vec<String>,
    },
    /// A gateway and its agent on one core under up to three times the load that they can serve
    Overload(overload::Options),
    /// Whether a moment in which the phones or the gateway stand still sets off a storm of probes
    Pauses(pauses::Options),
}

/// Manifests to look for benchmarks in: the workspace, and a package outside of it because of its many dependencies.
const MANIFESTS: [&str; 2] = ["Cargo.toml", "shm-queue/bench-iceoryx2/Cargo.toml"];

/// What has a file in `bench-results/`, in the order of the page.
pub const PUBLISHED: [Bench; 11] = [
    million::BENCH,
    overload::BENCH,
    cost::BENCH,
    memory::BENCH,
    mobile::BENCH,
    ledger::BENCH,
    beginnings::BENCH,
    pauses::BENCH,
    hostile::BENCH,
    drain::BENCH,
    engines::BENCH,
];

/// Runs the benchmarks, or makes their page.
///
/// # Errors
/// When one failed, something that must hold does not, or no benchmark has such a name.
pub fn run(options: &Options, interrupt: &Interrupt) -> anyhow::Result<()> {
    if let Some(what) = &options.what {
        let (bench, report) = what.run(interrupt)?;
        return report.conclude(&bench, options.publish);
    }
    if options.publish {
        return page::write(&PUBLISHED);
    }
    let mut found = Vec::new();
    for manifest in MANIFESTS {
        let benches = benches(&metadata(manifest)?);
        found.extend(benches.into_iter().map(|(package, name)| (manifest, package, name)));
    }
    let wanted = |name: &str| options.name.as_deref().is_none_or(|part| name.contains(part));
    let names: Vec<_> = found.iter().map(|(_, _, name)| name.as_str()).collect();
    let chosen: Vec<_> = found.iter().filter(|(_, _, name)| wanted(name)).collect();
    ensure!(
        !chosen.is_empty(),
        "no benchmark has such a name; there are: {}",
        names.join(", ")
    );
    let mut steps = Steps::new(interrupt);
    for (manifest, package, name) in chosen {
        let mut command = cargo(["bench", "--manifest-path", manifest, "-p", package, "--bench", name]);
        command
            .env("CARGO_TARGET_DIR", target())
            .arg("--")
            .args(&options.arguments);
        steps.command(name, &mut command)?;
    }
    steps.finish()
}

impl What {
    fn run(&self, interrupt: &Interrupt) -> anyhow::Result<(Bench, Report)> {
        Ok(match self {
            Self::Beginnings(options) => (beginnings::BENCH, beginnings::run(options, interrupt)?),
            Self::Cost(options) => (cost::BENCH, cost::run(options, interrupt)?),
            Self::Drain(options) => (drain::BENCH, drain::run(options, interrupt)?),
            Self::Engines(options) => (engines::BENCH, engines::run(options, interrupt)?),
            Self::Ledger(options) => (ledger::BENCH, ledger::run(options, interrupt)?),
            Self::Memory(options) => (memory::BENCH, memory::run(options, interrupt)?),
            Self::Mobile(options) => (mobile::BENCH, mobile::run(options, interrupt)?),
            Self::Hostile { attacks } => (hostile::BENCH, hostile::run(attacks, interrupt)?),
            Self::Overload(options) => (overload::BENCH, overload::run(options, interrupt)?),
            Self::Pauses(options) => (pauses::BENCH, pauses::run(options, interrupt)?),
        })
    }
}

fn metadata(manifest: &str) -> anyhow::Result<Value> {
    let output = cargo([
        "metadata",
        "--no-deps",
        "--format-version",
        "1",
        "--manifest-path",
        manifest,
    ])
    .output()
    .context("cannot run cargo metadata")?;
    ensure!(
        output.status.success(),
        "cargo metadata: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    serde_json::from_slice(&output.stdout).context("cargo metadata printed no JSON")
}

/// Package and name of every benchmark that `cargo metadata` lists.
fn benches(metadata: &Value) -> Vec<(String, String)> {
    let list = |value: &Value, key: &str| value[key].as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut found = Vec::new();
    for package in list(metadata, "packages") {
        for target in list(&package, "targets") {
            if list(&target, "kind").contains(&"bench".into()) {
                found.push((text(&package["name"]), text(&target["name"])));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_benchmarks_of_all_packages() {
        let metadata = serde_json::json!({"packages": [
            {"name": "a", "targets": [{"kind": ["lib"], "name": "a"}, {"kind": ["bench"], "name": "ring"}]},
            {"name": "b", "targets": [{"kind": ["bench"], "name": "ledger"}]},
        ]});
        let expected = [("a", "ring"), ("b", "ledger")].map(|(package, name)| (package.to_owned(), name.to_owned()));
        assert_eq!(benches(&metadata), expected);
        assert!(benches(&Value::Null).is_empty());
    }
}
