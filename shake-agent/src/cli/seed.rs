//! `shake-agent seed`.

use crate::commands;
use clap::{Args, Subcommand};
use shake_agent::seed_fleet;
use std::ops::RangeInclusive;
use std::path::PathBuf;

#[derive(Subcommand)]
pub enum SeedCommand {
    /// Makes a seed file whose amounts sum to the budget exactly
    Generate(GenerateArgs),
    /// Verifies every checksum of a seed file, and sums it up
    Inspect(InspectArgs),
    /// Proves that the seed of a fleet is whole, or names each difference
    Verify(SeedVerifyArgs),
}

#[derive(Args)]
#[command(after_long_help = "\
The amounts are drawn at random between --min and --max and sum to --budget to the cent. Sponsors share the packets by
their weights and are mixed at random. The file appears whole or not at all.

With --parts, the packets are dealt out to so many files, seed-0.bin and on, one for each gateway's agent, in the directory
--out, with a manifest that `shake-agent seed verify` checks them against.

With --split-share, so many of the packets are split packets: the winner gets a share, friends grab the others.

Examples:
  shake-agent seed generate --out seed.bin --event 1 --budget 1000000 --count 10000 --sponsor 1 --min 1 --max 5000
  shake-agent seed generate --out seed.bin --event 7 --budget 50000000 --count 100000 \\
      --sponsor 1:3 --sponsor 2:1 --min 100 --max 2000 --json
  shake-agent seed generate --out seeds --parts 4 --certs certs --event 7 --budget 50000000 --count 100000 \\
      --sponsor 1 --min 100 --max 2000 --split-share 0.2 --shares 3..10

Exit codes: 0 made, 1 failed and nothing was made, 2 wrong command line.")]
pub struct GenerateArgs {
    /// File to make; with --parts, the directory for the files
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Make so many files and a manifest, for a fleet
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=i64::from(seed_fleet::PARTS_MAX)))]
    pub parts: u16,
    /// Authenticate the manifest with the active ticket key of this directory
    #[arg(long, value_name = "DIR")]
    pub certs: Option<PathBuf>,
    /// The event's number; the show file of the gateway must have the same
    #[arg(long, value_name = "N")]
    pub event: u32,
    /// Sum of all packets, in cents
    #[arg(long, value_name = "CENTS")]
    pub budget: u64,
    /// Number of packets
    #[arg(long, value_name = "N")]
    pub count: u64,
    /// A sponsor's number, with the weight of its part in the packets (1 when not given); once per sponsor
    #[arg(long = "sponsor", value_name = "ID[:WEIGHT]", required = true, value_parser = commands::seed::sponsor)]
    pub sponsors: Vec<(u16, u32)>,
    /// Smallest amount, in cents
    #[arg(long, value_name = "CENTS")]
    pub min: u64,
    /// Largest amount, in cents
    #[arg(long, value_name = "CENTS")]
    pub max: u64,
    /// Share of the packets that are split packets, 0 to 1
    #[arg(long, value_name = "SHARE", default_value = "0", requires = "shares", value_parser = commands::seed::part_of_one)]
    pub split_share: f64,
    /// Shares of each split packet, within 2 and 100, drawn at random; never more shares than cents
    #[arg(long, value_name = "MIN..MAX", requires = "split_share", value_parser = commands::seed::shares)]
    pub shares: Option<RangeInclusive<u16>>,
    /// Draw from this number, to get the same file again from the same release of this program; for tests only
    #[arg(long, value_name = "NUMBER")]
    pub seed: Option<u64>,
    /// Replace the file if there is one. A ledger that was begun with it will refuse the new one
    #[arg(long)]
    pub force: bool,
    /// Print what was made as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
#[command(after_long_help = "Exit codes: 0 in order, 1 damaged or not there, 2 wrong command line.")]
pub struct InspectArgs {
    /// The seed file
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Print as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
#[command(after_long_help = "\
Checked are: every file against the manifest (size, SHA-256, each record's checksum, sums per sponsor), that no packet
occurs twice over all files, that they sum to the budget, that no other seed file lies beside them, and with --certs that
a holder of the ticket keys made the manifest.

Exit codes: 0 whole, 1 not whole (each difference is named), 2 could not verify.

Examples:
  shake-agent seed verify seeds --certs certs
  shake-agent seed verify seeds --json | jq '.differences.named[].kind'")]
pub struct SeedVerifyArgs {
    /// The directory that `seed generate --parts` made
    #[arg(value_name = "DIR")]
    pub directory: PathBuf,
    /// Also check who made the manifest, with the ticket keys of this directory
    #[arg(long, value_name = "DIR")]
    pub certs: Option<PathBuf>,
    /// Print as JSON
    #[arg(long)]
    pub json: bool,
}
