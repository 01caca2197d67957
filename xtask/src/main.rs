//! What a contributor runs: `cargo xtask demo | test | bench | fuzz`. Needs nothing but a Rust toolchain and a C compiler.

#![forbid(unsafe_code)]

mod fuzz;
mod lab;
mod miri;
mod musl;
mod test;

use clap::{Args, Parser, Subcommand};
use host::{cli, console};
use std::env;
use std::ffi::OsString;
use std::process::ExitCode;
use xtask::interrupt::Interrupt;

/// Checks, measures and shows the project.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", after_long_help = EXAMPLES, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  cargo xtask demo          2,000 phones, 5,000 shakes/s, 20 s
  cargo xtask demo --fleet  two gateways, one ledger, and a machine that is destroyed; three minutes
  cargo xtask million       a million sessions, then 30,000 to 60,000 shakes/s; ten minutes
  cargo xtask tune          the programs as they should run on the night; twelve minutes
  cargo xtask test          everything that must hold before a change goes in
  cargo xtask guide         docs/evening.md and docs/operator.md, each command as it stands
  cargo xtask bench         every benchmark, one after the other
  cargo xtask bench hostile every attack, with honest phones beside it
  cargo xtask fuzz          every fuzz target for 10 s
  cargo xtask chaos         random faults for two minutes, and money that agrees after each round
  cargo xtask chaos --fleet the same of two gateways, and of the PostgreSQL that keeps their ledger

Exit codes:
  0    all is well
  1    something failed; the last lines say what
  2    the command line is wrong
  130  interrupted; everything that was started has been ended";

/// Those with [`Passed`] are the lab's: their options, too.
#[derive(Subcommand)]
enum Command {
    /// Shows the whole path at work, from shake to audited money.
    Demo(Passed),
    /// Checks format, lints, tests, interleavings and a small demo.
    Test(test::Options),
    /// Plays a million phones, and tells whether every bound held.
    Million(Passed),
    /// Builds the programs by a profile of how phones are served: a shake costs less CPU.
    Tune(Passed),
    /// Kills, stops and robs the programs of disk, clock and network, and compares the money.
    Chaos(Passed),
    /// Follows docs/evening.md and docs/operator.md word for word, from an empty directory to closed books.
    Guide(Passed),
    /// Runs the benchmarks.
    Bench(Passed),
    /// Runs the fuzz targets and prints a table.
    Fuzz(fuzz::Options),
    /// Holds licences, banned crates and sources of the dependencies against deny.toml.
    Dependencies(Passed),
    /// Looks for circles of imports, long files, unsafe code, and documents that name what is not there.
    Checks(Passed),
    /// Print this message or the help of the given subcommand(s)
    Help {
        #[arg(hide = true)]
        of: Vec<OsString>,
    },
}

/// Arguments as they stand. They are taken from the command line itself, because clap keeps no `--`.
#[derive(Args)]
#[command(disable_help_flag = true)]
struct Passed {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    _arguments: Vec<OsString>,
}

fn main() -> ExitCode {
    let mut line: Vec<OsString> = env::args_os().collect();
    let mut cli = cli::parse::<Cli>();
    if let Command::Help { of } = cli.command {
        line.truncate(1);
        line.extend(of);
        line.push("--help".into());
        cli = cli::parse_from(line.clone());
    }
    let interrupt = match Interrupt::watch() {
        Ok(interrupt) => interrupt,
        Err(error) => {
            console::tell(&format!("xtask: {error:#}"));
            return ExitCode::FAILURE;
        }
    };
    let done = match &cli.command {
        Command::Demo(_)
        | Command::Million(_)
        | Command::Tune(_)
        | Command::Chaos(_)
        | Command::Guide(_)
        | Command::Bench(_)
        | Command::Dependencies(_)
        | Command::Checks(_)
        | Command::Help { .. } => lab::become_it(&line[1..], &interrupt),
        Command::Test(options) => test::run(options, &interrupt),
        Command::Fuzz(options) => fuzz::run(options, &interrupt),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            console::tell(&format!("xtask: {error:#}"));
            ExitCode::from(if interrupt.came() { 130 } else { 1 })
        }
    }
}
