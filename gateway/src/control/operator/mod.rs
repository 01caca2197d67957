//! The operator's side: `gateway push`, `cue`, `get`, `status`, `drain`, `reload`. Every command goes to all its targets at
//! once, says a line for each, and succeeds only when all of them did.

mod client;
mod clock;
mod fleet;

mod change;
mod cue;
mod drain;
mod get;
pub mod here;
mod reload;

mod differs;
mod endings;
mod status;
mod watch;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

/// Where the operator's certificate is, when nobody says.
const CERTS: &str = "certs";

#[derive(Args)]
pub struct Targets {
    /// Control port of a gateway; give it once for each gateway
    #[arg(long = "target", value_name = "HOST:PORT", default_value = "127.0.0.1:4434")]
    targets: Vec<String>,
    /// Directory with ca.pem, operator.pem and operator.key.pem
    #[arg(long, value_name = "DIR", default_value = CERTS)]
    certs: PathBuf,
    /// One JSON object for each gateway and line
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct PushArgs {
    #[command(subcommand)]
    what: Option<Push>,
    /// Have the targets run what this gateway runs: show, throttle, cues and what they cut, phases that are over included. For
    /// one that was made anew or missed a change
    #[arg(long, value_name = "HOST:PORT", required = true)]
    from: Option<String>,
    #[command(flatten)]
    change: ChangeArgs,
}

#[derive(Subcommand)]
enum Push {
    /// Replace the show
    Show(FileArgs),
    /// Replace the limits and grades
    Throttle(FileArgs),
}

#[derive(Args)]
struct FileArgs {
    /// The file; all of it is pushed
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    change: ChangeArgs,
}

#[derive(Args)]
pub struct GetArgs {
    /// Which file
    what: get::What,
    /// Control port of the gateway
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:4434")]
    target: String,
    /// Directory with ca.pem, operator.pem and operator.key.pem
    #[arg(long, value_name = "DIR", default_value = CERTS)]
    certs: PathBuf,
}

#[derive(Args)]
struct ChangeArgs {
    /// Tell the difference and every error, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Try on all targets first, and change nothing anywhere when one of them refuses or does not answer
    #[arg(long)]
    all_or_none: bool,
    /// The version that this makes; without it the milliseconds since 1970, or one above the highest of all targets
    #[arg(long, value_name = "N")]
    version: Option<u64>,
    #[command(flatten)]
    targets: Targets,
}

#[derive(Args)]
pub struct CueArgs {
    /// The cue, as [cues] of the show names it
    name: String,
    /// So long from now, such as 10s or 1m30s; the same moment on every gateway, whatever their clocks say
    #[arg(long = "in", value_name = "DURATION", conflicts_with = "at", value_parser = clock::duration)]
    delay: Option<std::time::Duration>,
    /// At this time by each gateway's own clock, such as 2027-02-05T20:00:00+08:00
    #[arg(long, value_name = "TIME", value_parser = clock::timestamp)]
    at: Option<u64>,
    /// Play the cue's phases once more, when they are over
    #[arg(long)]
    again: bool,
    /// End what runs at the cue's moment then
    #[arg(long)]
    cut: bool,
    /// Have the cue wait again; only until its first phase begins
    #[arg(long, conflicts_with_all = ["delay", "at", "again", "cut"])]
    cancel: bool,
    #[command(flatten)]
    change: ChangeArgs,
}

#[derive(Args)]
pub struct StatusArgs {
    /// A line for each gateway every second, until Ctrl-C; one that is lost is looked for until it is found again
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    targets: Targets,
}

#[derive(Args)]
pub struct ReloadArgs {
    /// Check every file and tell the difference, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Signal this process of the same machine instead, and wait for what it says; needs no certificate. For ExecReload=
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(i32).range(1..), conflicts_with_all = ["targets", "certs", "json", "dry_run"])]
    pub pid: Option<i32>,
    /// Its configuration, which names its state directory
    #[arg(long, value_name = "FILE", requires = "pid")]
    pub config: Option<PathBuf>,
    #[command(flatten)]
    targets: Targets,
}

#[derive(Args)]
pub struct DrainArgs {
    /// The window over which sessions leave, 1s to 1h
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = clock::duration)]
    over: std::time::Duration,
    /// Another gateway that phones may go to; give it once for each
    #[arg(long = "alternative", value_name = "HOST:PORT", value_parser = clock::host_and_port)]
    alternatives: Vec<String>,
    /// Tell how many sessions would leave, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Stay after all: who was told to go goes, everybody else is served, and others are let in
    #[arg(long, conflicts_with_all = ["over", "alternatives", "dry_run"])]
    cancel: bool,
    /// Do not ask when no other gateway is named that phones may go to
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    targets: Targets,
}

pub fn push(args: &PushArgs) -> Result<ExitCode> {
    run(change::push(args))
}

pub fn cue(args: &CueArgs) -> Result<ExitCode> {
    run(cue::cue(args))
}

pub fn get(args: &GetArgs) -> Result<ExitCode> {
    run(get::get(args))
}

pub fn status(args: &StatusArgs) -> Result<ExitCode> {
    run(status::status(args))
}

pub fn drain(args: &DrainArgs) -> Result<ExitCode> {
    run(drain::drain(args))
}

pub fn reload(args: &ReloadArgs) -> Result<ExitCode> {
    run(reload::reload(args))
}

fn run(command: impl Future<Output = Result<ExitCode>>) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot start the network runtime")?;
    let done = runtime.block_on(command);
    // A name that is still looked up for a target that was given up holds nobody up.
    runtime.shutdown_background();
    done
}
