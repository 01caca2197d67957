//! The command line of `shake-agent`: reads files and the clock, prints, and chooses the exit code. The work is in the library.

mod commands;

use clap::{Args, Parser, Subcommand};
use shake_agent::export::{Format, What};
use std::path::PathBuf;
use std::process::ExitCode;

/// Feeds packets to the gateway, opens the packets that users claim, and keeps the ledger.
#[derive(Parser)]
#[command(version, after_long_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
From nothing to a running agent, beside a gateway that runs with its defaults:
  certs generate --out certs
  shake-agent seed generate --out seed.bin --event 1 --budget 1000000 --count 10000 --sponsor 1 --min 1 --max 5000
  shake-agent run
  shake-agent audit                                  at any time, also while the agent runs

All amounts are whole cents.

Exit codes: 0 done (audit: balanced); 1 failed (audit: not balanced); 2 wrong command line (audit: could not audit).";

#[derive(Subcommand)]
enum Command {
    /// Runs the agent until SIGTERM or SIGINT
    Run(ConfigArgs),
    /// Checks a configuration, and prints it or every problem with its line
    CheckConfig(ConfigArgs),
    /// Makes and checks seed files: the packets of an event, prepared in advance
    #[command(subcommand)]
    Seed(SeedCommand),
    /// Proves to the cent where the seed's money is, or names each difference
    Audit(AuditArgs),
    /// Reads a ledger
    #[command(subcommand)]
    Ledger(LedgerCommand),
}

#[derive(Args)]
#[command(after_long_help = "\
Without --config the built-in defaults hold, which are those of deploy/agent.toml.
RUST_LOG, when set, says what is logged, for example RUST_LOG=info,shake_agent::ledger=debug.

The agent waits for the gateway's mapping for as long as it takes, and for a new one when the gateway replaces it.
The first SIGTERM or SIGINT lets it finish what the rings hold; a second one ends it at once, which loses nothing either.
After a failed write or sync of the ledger it answers every claim \"busy\" until it is started anew.

Exit codes: 0 ended in good order, 1 could not start or the ledger failed, 2 wrong command line.")]
struct ConfigArgs {
    /// Configuration file (TOML)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Subcommand)]
enum SeedCommand {
    /// Makes a seed file whose amounts sum to the budget exactly
    Generate(GenerateArgs),
    /// Verifies every checksum of a seed file, and sums it up
    Inspect(InspectArgs),
}

#[derive(Args)]
#[command(after_long_help = "\
The amounts are drawn at random between --min and --max and sum to --budget to the cent. Sponsors share the packets by
their weights and are mixed at random. The file appears whole or not at all.

Examples:
  shake-agent seed generate --out seed.bin --event 1 --budget 1000000 --count 10000 --sponsor 1 --min 1 --max 5000
  shake-agent seed generate --out seed.bin --event 7 --budget 50000000 --count 100000 \\
      --sponsor 1:3 --sponsor 2:1 --min 100 --max 2000 --json

Exit codes: 0 made, 1 failed and nothing was made, 2 wrong command line.")]
struct GenerateArgs {
    /// File to make
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// The event's number; the show file of the gateway must have the same
    #[arg(long, value_name = "N")]
    event: u32,
    /// Sum of all packets, in cents
    #[arg(long, value_name = "CENTS")]
    budget: u64,
    /// Number of packets
    #[arg(long, value_name = "N")]
    count: u64,
    /// A sponsor's number, with the weight of its part in the packets (1 when not given); once per sponsor
    #[arg(long = "sponsor", value_name = "ID[:WEIGHT]", required = true, value_parser = commands::seed::sponsor)]
    sponsors: Vec<(u16, u32)>,
    /// Smallest amount, in cents
    #[arg(long, value_name = "CENTS")]
    min: u64,
    /// Largest amount, in cents
    #[arg(long, value_name = "CENTS")]
    max: u64,
    /// Draw from this number, to get the same file again from the same release of this program; for tests only
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
    /// Replace the file if there is one. A ledger that was begun with it will refuse the new one
    #[arg(long)]
    force: bool,
    /// Print what was made as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
#[command(after_long_help = "Exit codes: 0 in order, 1 damaged or not there, 2 wrong command line.")]
struct InspectArgs {
    /// The seed file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
#[command(after_long_help = "\
Reads one snapshot of the ledger and the whole seed file, and writes nothing; the agent may be running. Checked are:
every packet against the seed's record, that it has exactly the transfers that its state says, all balances against the
transfers, the zero sum, and per sponsor seed = unreleased + held + opened + void.

Exit codes: 0 balanced, 1 not balanced (each difference is named), 2 could not audit.

Examples:
  shake-agent audit --config agent.toml
  shake-agent audit --ledger ledger.db --seed seed.bin --json | jq '.total.opened.cents'")]
struct AuditArgs {
    /// Configuration file that names ledger and seed; --ledger and --seed go before it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The ledger
    #[arg(long, value_name = "FILE")]
    ledger: Option<PathBuf>,
    /// The seed file
    #[arg(long, value_name = "FILE")]
    seed: Option<PathBuf>,
    /// Print as JSON
    #[arg(long)]
    json: bool,
    /// Also name each void packet (JSON always does)
    #[arg(long)]
    verbose: bool,
}

#[derive(Subcommand)]
enum LedgerCommand {
    /// Writes plain rows to standard output, for other programs
    Export(ExportArgs),
}

#[derive(Args)]
#[command(after_long_help = "\
packets    packet seed_index sponsor cents state user stage shard released_ms issued_ms closed_ms
           state is released, issued, opened or void; closed_ms is when it was opened or voided
transfers  transfer at_ms debit_kind debit credit_kind credit cents packet
           money goes from debit to credit; kinds are bank, sponsor, packet, user and void
Times are milliseconds since 1970 UTC. What is not there is empty in CSV and null in JSON.

Examples:
  shake-agent ledger export --what packets --format csv > packets.csv
  shake-agent ledger export --ledger ledger.db --what packets --format jsonl | jq 'select(.state == \"opened\")'")]
struct ExportArgs {
    /// Configuration file that names the ledger; --ledger goes before it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The ledger
    #[arg(long, value_name = "FILE")]
    ledger: Option<PathBuf>,
    /// Which rows
    #[arg(long, value_enum)]
    what: What,
    /// How they are written
    #[arg(long, value_enum)]
    format: Format,
}

fn main() -> ExitCode {
    let (outcome, failed) = match Cli::parse().command {
        Command::Run(args) => (commands::run::run(args.config.as_deref()), 1),
        Command::CheckConfig(args) => (commands::run::check_config(args.config.as_deref()), 1),
        Command::Seed(SeedCommand::Generate(args)) => (commands::seed::generate(&args), 1),
        Command::Seed(SeedCommand::Inspect(args)) => (commands::seed::inspect(&args), 1),
        Command::Audit(args) => (commands::books::audit(&args), 2),
        Command::Ledger(LedgerCommand::Export(args)) => (commands::books::export(&args), 1),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(failed)
        }
    }
}
