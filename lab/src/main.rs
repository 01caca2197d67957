//! What runs the programs and judges them: demo, million, benches, chaos, the evening's page, and the tuned builds; and what
//! judges their sources.
//! `cargo xtask` builds this with the programs and starts it, under its own name.

#![forbid(unsafe_code)]

mod report;
mod testbed;

mod bench;
mod chaos;
mod checks;
mod demo;
mod dependencies;
mod guide;
mod million;
mod tune;

use clap::{Parser, Subcommand};
use host::{cli, console};
use std::process::ExitCode;
use xtask::interrupt::Interrupt;

/// Runs the programs and judges them
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Shows the whole path at work, from shake to audited money.
    Demo(demo::Options),
    /// Plays a million phones, and tells whether every bound held.
    Million(million::Options),
    /// Builds the programs by a profile of how phones are served: a shake costs less CPU.
    #[command(after_long_help = tune::HELP)]
    Tune,
    /// Kills, stops and robs the programs of disk, clock and network, and compares the money.
    Chaos(chaos::Options),
    /// Follows docs/evening.md and docs/operator.md word for word, from an empty directory to closed books.
    Guide(guide::Options),
    /// Runs the benchmarks.
    Bench(bench::Options),
    /// Holds licences, banned crates and sources of the dependencies against deny.toml.
    Dependencies,
    /// Looks for circles of imports, long files, unsafe code, and documents that name what is not there.
    Checks,
}

fn main() -> ExitCode {
    let cli = cli::parse::<Cli>();
    let interrupt = match Interrupt::watch() {
        Ok(interrupt) => interrupt,
        Err(error) => {
            console::tell(&format!("xtask: {error:#}"));
            return ExitCode::FAILURE;
        }
    };
    let done = match &cli.command {
        Command::Demo(options) => demo::run(options, &interrupt),
        Command::Million(options) => million::run(options, &interrupt),
        Command::Tune => tune::run(&interrupt),
        Command::Chaos(options) => chaos::run(options, &interrupt),
        Command::Guide(options) => guide::run(options, &interrupt),
        Command::Bench(options) => bench::run(options, &interrupt),
        Command::Dependencies => dependencies::check(),
        Command::Checks => checks::check(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            console::tell(&format!("xtask: {error:#}"));
            ExitCode::from(if interrupt.came() { 130 } else { 1 })
        }
    }
}
