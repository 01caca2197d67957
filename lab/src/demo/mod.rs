//! `cargo xtask demo`: the whole path for real on this machine. Builds the programs, makes certificates and a seed, runs
//! gateway and agent as processes, lets simulated phones shake, stops everything, audits the ledger, and compares what
//! the phones say they got with what the ledger says they got.

mod fleet;
pub mod plan;
pub mod reports;
mod table;
pub mod verdict;

use crate::testbed::{
    self, Build, Ended, Patience, Place, Programs, Stage, deployed, files, phones_with_credits, run_to_file,
};
use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use host::console;
use reports::{Books, credits, unpaid};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use verdict::Evidence;
use xtask::interrupt::Interrupt;

/// How long the audit may take.
const AUDIT: Duration = Duration::from_secs(120);

/// The most phones that the stock engine carries unless it is asked for: with more, it takes more of the machine than the
/// gateway that is to be shown.
const QUINN_PHONES_MAX: u32 = 5_000;

/// An engine of the simulator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Engine {
    Quinn,
    Lean,
}

impl Engine {
    /// Its name in a scenario.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Quinn => "quinn",
            Self::Lean => "lean",
        }
    }
}

#[derive(Args, Clone, Debug)]
#[command(after_long_help = "\
Exits with 0 only if the phones and the ledger agree to the cent and packet by
packet, the audit balances, fewer than 0.1 % of the shakes went unanswered, and
nobody was taken for an abuser.
Everything is in target/demo until the next run: certificates, seed, show,
configurations, logs, ledger (open it with sqlite3), report.json, audit.json.

With --fleet, 4,000 phones play the gala before two gateways, each with an agent, and
one ledger in PostgreSQL: the machine's (15 or newer), or else one that is fetched from
the Python package index. In the middle one machine is destroyed, with all that it has
on disk and in memory. All is good only if its phones go on at the other, what was won
at one opens at the other, and phones and ledger agree as above; how many shakes the
destroyed machine left unanswered is told. It takes three minutes; everything is in
target/demo-fleet.

Examples:
  cargo xtask demo
  cargo xtask demo --sessions 20000 --shakes-per-second 20000 --seconds 30
  cargo xtask demo --sessions 10000 --engine quinn
  cargo xtask demo --show gala
  cargo xtask demo --fleet")]
pub struct Options {
    /// Phones, one QUIC session each
    #[arg(long, default_value_t = 2_000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub sessions: u32,
    /// Shakes per second over all phones
    #[arg(long, default_value_t = 5_000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub shakes_per_second: u32,
    /// How long they shake
    #[arg(long, default_value_t = 20, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub seconds: u32,
    /// Play a show of deploy/shows with its scenario of deploy/scenarios, which says how many phones and how long
    #[arg(long, value_name = "NAME", conflicts_with_all = ["sessions", "shakes_per_second", "seconds", "engine"])]
    pub show: Option<String>,
    /// Play the gala before two gateways with one ledger, and destroy one of the machines
    #[arg(long, conflicts_with_all = ["sessions", "shakes_per_second", "seconds", "show", "engine", "keep"])]
    pub fleet: bool,
    /// What carries the phones: the stock quinn crate, or the project's lean client, which takes less than half the CPU for a
    /// shake [default: quinn up to 5,000 phones, lean above]
    #[arg(long, value_enum)]
    pub engine: Option<Engine>,
    /// Print the result as JSON on stdout
    #[arg(long)]
    pub json: bool,
    /// Leave the shared mapping in /dev/shm as well
    #[arg(long)]
    pub keep: bool,
    /// With the programs as the tests build them
    #[arg(long, hide = true)]
    pub dev: bool,
}

/// Runs the demo and prints its result.
///
/// # Errors
/// When something could not run, or the result is not as it must be.
pub fn run(options: &Options, interrupt: &Interrupt) -> anyhow::Result<()> {
    if options.fleet {
        return fleet::run(options, interrupt);
    }
    let options = &options.clone().sized()?;
    let programs = build(options, interrupt)?;
    let mut place = Place::fresh("demo")?;
    say(&format!(
        "certificates, seed and configurations in {}",
        place.directory.display()
    ));
    testbed::make_certs_and_seed(&place, &programs, &plan::seed_flags(options), interrupt)?;
    write_configs(&place, &programs, options)?;
    if options.keep {
        say(&format!(
            "the shared mapping will stay: {}",
            place.keep_queue().display()
        ));
    }
    let phones_succeeded = play(&place, &programs, options, interrupt)?;
    say("auditing the ledger");
    let books = books(&place, &programs, interrupt)?;
    let evidence = evidence(&place, phones_succeeded, books)?;
    let failures = evidence.failures();
    if options.json {
        console::line(&serde_json::to_string_pretty(&table::json(
            options, &evidence, &failures,
        ))?)?;
    } else {
        console::print(&table::text(options, &evidence, &[], &failures))?;
    }
    judge(&place, &failures)
}

fn build(options: &Options, interrupt: &Interrupt) -> anyhow::Result<Programs> {
    let build = if options.dev { Build::Dev } else { Build::Release };
    say("building the programs");
    Programs::build(build, interrupt)
}

/// An error when there is any reason why the run was not as it must be.
fn judge(place: &Place, failures: &[String]) -> anyhow::Result<()> {
    if !failures.is_empty() {
        let (failures, directory) = (failures.join("; "), place.directory.display());
        bail!("the demo failed: {failures}; see {directory}");
    }
    Ok(())
}

impl Options {
    /// A run of this size, without a named show.
    pub const fn of_size(sessions: u32, shakes_per_second: u32, seconds: u32) -> Self {
        Self {
            sessions,
            shakes_per_second,
            seconds,
            show: None,
            fleet: false,
            engine: None,
            json: false,
            keep: false,
            dev: false,
        }
    }

    /// What carries the phones, unless a named show says it.
    pub fn engine(&self) -> Engine {
        self.engine.unwrap_or(if self.sessions <= QUINN_PHONES_MAX {
            Engine::Quinn
        } else {
            Engine::Lean
        })
    }

    /// With the numbers of the named show's scenario, if there is one.
    fn sized(mut self) -> anyhow::Result<Self> {
        if let Some(name) = &self.show {
            let scenario = deployed("scenarios", name)?;
            (self.sessions, self.shakes_per_second, self.seconds) = plan::named::size(&scenario)?;
        }
        Ok(self)
    }
}

/// A line on stderr, so that stdout holds the result alone.
fn say(line: &str) {
    console::tell(&format!("demo: {line}"));
}

/// Writes the show, the scenario and both configurations.
fn write_configs(place: &Place, programs: &Programs, options: &Options) -> anyhow::Result<()> {
    let named = |folder: &str| options.show.as_deref().map(|name| deployed(folder, name));
    let show = named("shows").unwrap_or_else(|| Ok(plan::show(options)))?;
    let scenario = || Ok(plan::scenario(options, place.gateway, &place.file(files::CERTS)));
    let mut scenario = named("scenarios").unwrap_or_else(scenario)?;
    if scenario.contains("[[cues]]") {
        scenario.push_str(&plan::operator(&[place.admin], &place.file(files::CERTS), programs));
    }
    place.write(files::SHOW, &show)?;
    place.write(files::SCENARIO, &scenario)?;
    place.write(files::GATEWAY, &plan::gateway(place))?;
    place.write(files::AGENT, &plan::agent(place.queue(), &place.directory))
}

/// Runs agent, gateway and phones, and ends them in order: phones, gateway, agent. Tells whether the phones succeeded.
fn play(place: &Place, programs: &Programs, options: &Options, interrupt: &Interrupt) -> anyhow::Result<bool> {
    let mut stage = Stage::start(place, programs, interrupt)?;
    say(&format!(
        "gateway on {}, metrics at http://{}/metrics",
        place.gateway, place.metrics
    ));

    let phones = phones_with_credits(place, programs);
    let patience = Patience {
        at_most: longest_run(options),
        interrupt,
    };
    let ended = run_to_file("client-sim", phones, &place.file(files::REPORT), &patience, || {
        stage.check()
    })?;
    say("ending gateway and agent");
    stage.end()?;
    Ok(ended.is_success())
}

/// How long the phones take to connect, on a machine that is not busy.
pub fn ramp(options: &Options) -> Duration {
    Duration::from_secs((options.sessions / plan::CONNECTS_PER_SECOND).into())
}

/// A bound on the simulation: ramp-up, shakes, last claims, and as much again for a slow machine.
pub fn longest_run(options: &Options) -> Duration {
    (ramp(options) * 4 + Duration::from_secs(options.seconds.into())) * 2 + Duration::from_secs(120)
}

/// Asks the place's ledger.
///
/// # Errors
/// When it cannot be asked.
pub fn books(place: &Place, programs: &Programs, interrupt: &Interrupt) -> anyhow::Result<Books> {
    let ask = |name, args: &[&str], output| {
        let mut command = programs.command("shake-agent");
        command.args(args).arg("--config").arg(place.file(files::AGENT));
        ask(name, command, &place.file(output), interrupt)
    };
    // An unbalanced audit ends with an error as well; its report says more.
    ask("shake-agent audit", &["audit", "--json"], files::AUDIT)?;
    ask(
        "shake-agent ledger export",
        &["ledger", "export", "--what", "outbox", "--format", "csv"],
        files::OUTBOX,
    )?
    .success()?;
    ask(
        "shake-agent ledger export",
        &["ledger", "export", "--what", "users", "--format", "csv"],
        files::USERS,
    )?
    .success()?;
    let users = read(&place.file(files::USERS), |text| Ok(text.to_owned()))?;
    Ok(Books {
        unpaid: read(&place.file(files::SETTLEMENT), |lines| unpaid(lines, &users))?,
        audit: read(&place.file(files::AUDIT), |text| Ok(serde_json::from_str(text)?))?,
        blocks: read(&place.file(files::BLOCKS), |text| Ok(serde_json::from_str(text)?))?,
        credits: read(&place.file(files::OUTBOX), credits)?,
    })
}

/// Has a program read the books, with its answer into a file.
fn ask(name: &'static str, command: Command, output: &Path, interrupt: &Interrupt) -> anyhow::Result<Ended> {
    let patience = Patience {
        at_most: AUDIT,
        interrupt,
    };
    run_to_file(name, command, output, &patience, || Ok(()))
}

/// Reads what the phones wrote in the place, beside the books.
///
/// # Errors
/// When it cannot be read.
pub fn evidence(place: &Place, phones_succeeded: bool, books: Books) -> anyhow::Result<Evidence> {
    Ok(Evidence {
        phones: read(&place.file(files::REPORT), |text| Ok(serde_json::from_str(text)?))?,
        phones_succeeded,
        phones_credits: read(&place.file(files::CREDITS), credits)?,
        books,
    })
}

fn read<T>(path: &Path, parse: impl Fn(&str) -> anyhow::Result<T>) -> anyhow::Result<T> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    parse(&text).with_context(|| format!("{} is not what was expected", path.display()))
}
