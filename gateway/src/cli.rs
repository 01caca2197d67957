//! The command line of `gateway`: reads the configuration, and chooses the exit code.

use crate::config::{self, Config};
use crate::control::operator;
use crate::{check, fit, run};
use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use host::{cli, console, log};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

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
  gateway check-config --config gateway.toml   tell all that keeps a start from working
  gateway run --config gateway.toml            run with your own
  gateway print-config > gateway.toml          start from the commented default

Steering a gateway that runs, from anywhere, with the operator's certificate in certs/:
  gateway status --watch --target gw1:4434 --target gw2:4434
  gateway push show show.toml --dry-run        what would change, and every error
  gateway push show show.toml --target gw1:4434
  gateway push --from gw1:4434 --target gw3:4434             a new gateway joins what runs
  gateway cue countdown --in 10s               phases of this cue start by each gateway's own clock
  gateway cue final --cut                      now, and what runs ends
  gateway get show > running.toml
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
    /// Tell in one pass all that keeps a start from working: errors with their lines, certificates, keys, directories, mapping
    CheckConfig(ConfigArgs),
    /// Print the commented default configuration
    PrintConfig,
    /// Replace the show or the throttle of running gateways, or have them run what another one runs
    Push(operator::PushArgs),
    /// Set the moment of a cue: now, --in a while, or --at a time; or --cancel it
    Cue(operator::CueArgs),
    /// Print the show or the throttle that a running gateway has
    Get(operator::GetArgs),
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

/// The program: does what its command line says, and tells on standard error why it could not.
pub fn main() -> ExitCode {
    match try_main() {
        Ok(code) => code,
        Err(error) => {
            console::tell(&format!("gateway: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn try_main() -> Result<ExitCode> {
    match cli::parse::<Cli>().command {
        Command::Run { config, forget_pushed } => {
            host::secrecy::keep().context("cannot keep this process's memory to itself")?;
            let (config, remark) = load(config.config.as_deref())?;
            let _log = log::start(&config.log_level).context("cannot start the log")?;
            if let Some(remark) = remark {
                tracing::warn!("{remark}");
            }
            #[cfg(feature = "heap-profile")]
            quic_shard::memory::heap_profile::watch()?;
            run::run(&config, forget_pushed)?;
        }
        Command::CheckConfig(args) => {
            let good = check::check(args.config.as_deref())?;
            for remark in &good.remarks {
                console::tell(&format!("remark: {remark}"));
            }
            console::line(&good.told)?;
        }
        Command::PrintConfig => drop(console::print(config::DEFAULT)?),
        Command::Push(push) => return operator::push(&push),
        Command::Cue(args) => return operator::cue(&args),
        Command::Get(args) => return operator::get(&args),
        Command::Status(args) => return operator::status(&args),
        Command::Drain(args) => return operator::drain(&args),
        Command::Reload(args) => match args.pid {
            None => return operator::reload(&args),
            Some(pid) => {
                let config = read(args.config.as_deref())?;
                return operator::here::reload(pid, config.state_directory.as_deref());
            }
        },
    }
    Ok(ExitCode::SUCCESS)
}

/// Reads the configuration, and fits it to the machine; with a remark where it does not fit. Paths in a file are relative to
/// its directory; in the built-in one, to where we are.
fn load(path: Option<&Path>) -> Result<(Config, Option<String>)> {
    let mut config = read(path)?;
    let remark = fit::fit(&mut config);
    Ok((config, remark))
}

fn read(path: Option<&Path>) -> Result<Config> {
    let (text, directory) = config::text_of(path)?;
    Config::parse(&text, &directory).map_err(|problems| located(&config::name_of(path), &problems))
}

/// One line for each problem, as compilers print them: file, line, message.
fn located(name: &str, problems: &shake_rules::document::Problems) -> anyhow::Error {
    let lines: Vec<_> = problems.0.iter().map(|problem| problem.located(name)).collect();
    anyhow::anyhow!("{} error(s) in the configuration\n{}", lines.len(), lines.join("\n"))
}
