//! The gateway: the QUIC access server of a "shake and win" event.

mod allocations;
mod config;
mod control;
mod counters;
#[cfg(feature = "heap-profile")]
mod heap;
mod huge_pages;
mod live;
mod load;
mod metrics;
mod own_id;
mod run;
mod shard;
mod tls;
mod users;
mod winners;

use allocations::Noted;
use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use config::Config;
use control::operator;
use host::{console, log};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[cfg(not(feature = "heap-profile"))]
#[global_allocator]
static ALLOCATOR: Noted<mimalloc::MiMalloc> = Noted(mimalloc::MiMalloc);
#[cfg(feature = "heap-profile")]
#[global_allocator]
static ALLOCATOR: Noted<heap::Profiled> = Noted(heap::Profiled);

/// QUIC access server for live "shake and win" events.
///
/// Holds the phones' sessions, answers shakes inline, and hands claims to the shake-agent over shared memory.
#[derive(Parser)]
#[command(version, after_long_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  certs generate --out certs                   make certificates and keys first
  gateway run                                  run with the built-in configuration and show
  gateway check-config --config gateway.toml   tell every error, with its line
  gateway run --config gateway.toml            run with your own
  gateway print-config > gateway.toml          start from the commented default

Steering a gateway that runs, from anywhere, with the operator's certificate in certs/:
  gateway status --watch --target gw1:4434 --target gw2:4434
  gateway push show show.toml --dry-run        what would change, and every error
  gateway push show show.toml --target gw1:4434
  gateway cue countdown --in 10s               phases of this cue start by each gateway's own clock
  gateway reload --target gw1:4434 --target gw2:4434         new certificates and keys, sessions go on
  gateway drain --over 60s --alternative gw2:4433

Exit codes: 0 stopped by a signal or drained, or all targets did what was asked; 1 could not start, a configuration has
errors, or a target failed, refused, or could not keep a change on disk; 2 wrong usage.";

#[derive(Subcommand)]
enum Command {
    /// Serve until SIGTERM or SIGINT, or until drained
    Run {
        #[command(flatten)]
        config: ConfigArgs,
        /// Begin with the configured show and throttle, whatever was pushed before
        #[arg(long)]
        forget_pushed: bool,
    },
    /// Tell every error of a configuration and its show file, with their lines
    CheckConfig(ConfigArgs),
    /// Print the commented default configuration
    PrintConfig,
    /// Replace the show or the throttle of running gateways
    #[command(subcommand)]
    Push(operator::Push),
    /// Set the moment of a cue: now, --in a while, or --at a time
    Cue(operator::CueArgs),
    /// Tell how running gateways stand
    Status(operator::StatusArgs),
    /// Have running gateways read certificates and secret keys anew; SIGHUP does the same
    Reload(operator::ReloadArgs),
    /// Send a gateway's sessions away over a window, and let it end
    Drain(operator::DrainArgs),
}

#[derive(Args)]
struct ConfigArgs {
    /// Configuration file; without it the built-in default holds
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

fn main() -> ExitCode {
    match try_main() {
        Ok(code) => code,
        Err(error) => {
            console::tell(&format!("gateway: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn try_main() -> Result<ExitCode> {
    match Cli::parse().command {
        Command::Run { config, forget_pushed } => {
            host::secrecy::keep().context("cannot keep this process's memory to itself")?;
            let config = load(config.config.as_deref())?;
            let _log = log::start(&config.log_level).context("cannot start the log")?;
            #[cfg(feature = "heap-profile")]
            heap::watch()?;
            run::run(&config, forget_pushed)?;
        }
        Command::CheckConfig(args) => check(args.config.as_deref())?,
        Command::PrintConfig => drop(console::print(config::DEFAULT)?),
        Command::Push(push) => return operator::push(&push),
        Command::Cue(args) => return operator::cue(&args),
        Command::Status(args) => return operator::status(&args),
        Command::Drain(args) => return operator::drain(&args),
        Command::Reload(args) => return operator::reload(&args),
    }
    Ok(ExitCode::SUCCESS)
}

/// Reads the configuration. Paths in a file are relative to its directory; in the built-in one, to where we are.
fn load(path: Option<&Path>) -> Result<Config> {
    let Some(path) = path else {
        return Config::parse(config::DEFAULT, Path::new("")).context("the built-in configuration");
    };
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let directory = path.parent().unwrap_or(Path::new(""));
    Config::parse(&text, directory).map_err(|problems| located(path, &problems))
}

/// One line for each problem, as compilers print them: file, line, message.
fn located(path: &Path, problems: &shake_rules::document::Problems) -> anyhow::Error {
    let lines: Vec<_> = problems
        .0
        .iter()
        .map(|p| format!("{}:{}: {}", path.display(), p.line, p.message))
        .collect();
    anyhow::anyhow!("{} error(s) in the configuration\n{}", lines.len(), lines.join("\n"))
}

/// Everything that is wrong with a configuration and its show. A phase that is over is an error here, because the file
/// is about to be used; `run` goes on without it, because it may be a restart in the middle of the show.
fn check(path: Option<&Path>) -> Result<()> {
    let config = load(path)?;
    let show = run::read_show(&config)?;
    run::read_throttle(&config)?;
    let file = config.show_file.as_deref().unwrap_or(Path::new("(built-in show)"));
    let past: Vec<_> = show
        .past_phases(run::now()?)
        .map(|phase| {
            format!(
                "{}:{}: phase {:?} is over already",
                file.display(),
                phase.line,
                phase.name
            )
        })
        .collect();
    anyhow::ensure!(
        past.is_empty(),
        "{} error(s) in the show\n{}",
        past.len(),
        past.join("\n")
    );
    let (shards, address, phases) = (config.shards, config.address, show.phases.len());
    console::line(&format!(
        "good: {shards} shard(s) on {address}, show {:?} with {phases} phase(s)",
        show.name
    ))?;
    Ok(())
}
