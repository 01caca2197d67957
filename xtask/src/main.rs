//! What a contributor runs: `cargo xtask demo | test | bench | fuzz`. Needs nothing but a Rust toolchain and a C compiler.

mod interrupt;
mod stage;
mod steps;
mod workspace;

mod bench;
mod chaos;
mod demo;
mod dependencies;
mod fuzz;
mod guide;
mod million;
mod test;
mod tune;

use clap::{Parser, Subcommand};
use host::console;
use interrupt::Interrupt;
use std::process::ExitCode;

/// Checks, measures and shows the project.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", after_long_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  cargo xtask demo          2,000 phones, 5,000 shakes/s, 20 s
  cargo xtask million       a million sessions, then 30,000 to 60,000 shakes/s; ten minutes
  cargo xtask tune          the programs as they should run on the night; twelve minutes
  cargo xtask test          everything that must hold before a change goes in
  cargo xtask guide         the evening of docs/evening.md, each command as it stands
  cargo xtask bench         every benchmark, one after the other
  cargo xtask bench hostile every attack, with honest phones beside it
  cargo xtask fuzz          every fuzz target for 10 s
  cargo xtask chaos         random faults for two minutes, and money that agrees after each round

Exit codes:
  0    all is well
  1    something failed; the last lines say what
  2    the command line is wrong
  130  interrupted; everything that was started has been ended";

#[derive(Subcommand)]
enum Command {
    /// Shows the whole path at work, from shake to audited money.
    Demo(demo::Options),
    /// Checks format, lints, tests, interleavings and a small demo.
    Test(test::Options),
    /// Plays a million phones, and tells whether every bound held.
    Million(million::Options),
    /// Builds the programs by a profile of how phones are served: a shake costs less CPU.
    #[command(after_long_help = tune::HELP)]
    Tune,
    /// Kills, stops and robs the programs of disk, clock and network, and compares the money.
    Chaos(chaos::Options),
    /// Follows docs/evening.md word for word, from an empty directory to closed books.
    Guide(guide::Options),
    /// Runs the benchmarks.
    Bench(bench::Options),
    /// Runs the fuzz targets and prints a table.
    Fuzz(fuzz::Options),
    /// Holds licences, banned crates and sources of the dependencies against deny.toml.
    Dependencies,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
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
        Command::Test(options) => test::run(options, &interrupt),
        Command::Tune => tune::run(&interrupt),
        Command::Chaos(options) => chaos::run(options, &interrupt),
        Command::Guide(options) => guide::run(options, &interrupt),
        Command::Bench(options) => bench::run(options, &interrupt),
        Command::Fuzz(options) => fuzz::run(options, &interrupt),
        Command::Dependencies => dependencies::check(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            console::tell(&format!("xtask: {error:#}"));
            ExitCode::from(if interrupt.came() { 130 } else { 1 })
        }
    }
}
