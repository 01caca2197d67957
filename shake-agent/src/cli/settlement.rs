//! The command lines of `settlement`: what is handed to payment.

use super::WhichLedger;
use super::books::OnServer;
use clap::{Args, Subcommand};
use std::path::PathBuf;

#[derive(Subcommand)]
pub enum SettlementCommand {
    /// Copies the lines of a ledger in PostgreSQL into settlement files, as they come
    Run(SettlementRunArgs),
    /// Compares the settlement file with the ledger to the cent, or names each difference
    Verify(SettlementVerifyArgs),
    /// Begins the settlement file anew, when it is gone
    Begin(SettlementBeginArgs),
}

/// The settlement file and its ledger.
#[derive(Args)]
pub struct WhichSettlement {
    /// Configuration file that names both; --file and --ledger go before it
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The settlement file; of a ledger in PostgreSQL, the directory of `settlement run`
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// The ledger: a file, or postgres://user@host/database
    #[arg(long, value_name = "LEDGER")]
    pub ledger: Option<PathBuf>,
}

#[derive(Args)]
#[command(after_long_help = "\
Writes one file for each part of the event, settlement-0.log, settlement-1.log and so on, with the lines, keys and checksums of a
ledger in a file. They are copies of the table outbox, made on any machine and as often as wanted; a user's lines lie in many of them,
so payment goes by each user's own numbers. A file's last line says how far it is: this may be ended, or die, at any moment.

It runs until it is ended, or until the ledger is closed and all of it is written. While the server is away it waits. It reads with
single statements and rests for as long as it read, so agents do not wait for it. Its role needs SELECT on outbox, openings, ledger
and parts.

Exit codes: 0 ended, all that was read is written; 1 failed; 2 wrong command line; 3 the files are of another ledger, have lines that
the ledger does not, or one is missing or was never begun: a person has to decide.

Examples:
  shake-agent settlement run --ledger postgres://payment@standby.example/event --ca-file ca.pem --out settlement --from-the-beginning
  shake-agent settlement run --ledger postgres://payment@standby.example/event --ca-file ca.pem --out settlement
  shake-agent settlement run --config agent.toml --out settlement --once")]
pub struct SettlementRunArgs {
    #[command(flatten)]
    pub ledger: WhichLedger,
    /// The directory of the files
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Begin each file that is missing or empty, from its part's first line on
    #[arg(long)]
    pub from_the_beginning: bool,
    /// End when all lines that are there are written
    #[arg(long)]
    pub once: bool,
}

#[derive(Args)]
#[command(after_long_help = "\
The agent never begins a second file by itself: when the first one is missing or empty, settlement is down until it is brought
back, or until this command. The lines are then written again from the first one on, byte for byte; whoever pays knows them
by their keys. The agent may be running, and goes on within half a minute.

Exit codes: 0 begun, 1 the file is there, or cannot be made, 2 wrong command line.

Example:
  shake-agent settlement begin --from 1 --config agent.toml")]
pub struct SettlementBeginArgs {
    /// The first line that is written; only 1, so that the file never has a hole
    #[arg(long, value_name = "LINE", value_parser = clap::value_parser!(u64).range(1..=1))]
    pub from: u64,
    #[command(flatten)]
    pub at: WhichSettlement,
}

#[derive(Args)]
#[command(after_long_help = "\
Checked are: every line's checksum, number and key, that the file belongs to this ledger, and every line against the one of
that number in the ledger's outbox. And that the lines make the balances: of each user they have no gap, each balance is the
last one and the line's cents, and the last one is the account's. Lines that are not settled yet are counted as backlog, and
are no difference. Writes nothing; the agent may be running. Files of version 1 (credits only) are read with their ledgers.

Of a ledger in PostgreSQL its table outbox is what payment reads. That is checked by itself: the lines of each part have no gap, and
those of each user make the balance in the account. With --file the directory of `settlement run`, each file is compared with it.

Exit codes: 0 agrees, 1 does not agree (each difference is named), 2 could not verify.

Examples:
  shake-agent settlement verify --config agent.toml
  shake-agent settlement verify --file settlement.log --ledger ledger.db --json | jq .backlog.cents
  shake-agent settlement verify --ledger postgres://auditor@standby/event --ca-file ca.pem
  shake-agent settlement verify --ledger postgres://auditor@standby/event --ca-file ca.pem --file settlement")]
pub struct SettlementVerifyArgs {
    #[command(flatten)]
    pub at: WhichSettlement,
    #[command(flatten)]
    pub server: OnServer,
    /// Print as JSON
    #[arg(long)]
    pub json: bool,
}
