//! What the command line takes, and what it says of itself with `--help`.

pub mod books;
pub mod close;
pub mod loss;
pub mod part;
pub mod seed;
pub mod settlement;

use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

/// Feeds packets to the gateway, opens the packets that users claim, and keeps the ledger.
#[derive(Parser)]
#[command(version, after_long_help = EXAMPLES)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

const EXAMPLES: &str = "\
From nothing to a running agent, beside a gateway that runs with its defaults:
  certs generate --out certs
  shake-agent seed generate --out seed.bin --event 1 --budget 1000000 --count 10000 --sponsor 1 --min 1 --max 5000
  shake-agent run
  shake-agent audit                                  at any time, also while the agent runs

All amounts that are given, and those of JSON, CSV and files, are whole cents; what people read is in money.

Exit codes: 0 done (audit and verify: in order); 1 failed (audit and verify: differences, each named);
2 wrong command line (audit and verify: nothing could be compared).";

#[derive(Subcommand)]
pub enum Command {
    /// Runs the agent until SIGTERM or SIGINT
    Run(ConfigArgs),
    /// Tells in one pass all that keeps a start from working: errors with their lines, seed, keys, ledger, directories, mapping
    CheckConfig(CheckArgs),
    /// Prints the commented default configuration
    PrintConfig,
    /// Makes and checks seed files: the packets of an event, prepared in advance
    #[command(subcommand)]
    Seed(seed::SeedCommand),
    /// Proves to the cent where the seed's money is, or names each difference
    Audit(books::AuditArgs),
    /// Closes the books after the event: what nobody won goes back, and a statement says where all money is
    Close(close::CloseArgs),
    /// Reads a ledger, copies it while it is served, and accepts what a restored one has lost
    #[command(subcommand)]
    Ledger(LedgerCommand),
    /// Shows the parts of a ledger in PostgreSQL, ends one whose machine is gone, and gives it to another agent
    #[command(subcommand)]
    Part(part::PartCommand),
    /// Shows and lifts the blocks of users, devices and address prefixes
    #[command(subcommand)]
    Blocks(BlocksCommand),
    /// Writes what is handed to payment, checks it, and begins it anew
    #[command(subcommand)]
    Settlement(settlement::SettlementCommand),
}

#[derive(Args)]
#[command(after_long_help = "\
Without --config the built-in defaults hold, which are those of deploy/agent.toml.
RUST_LOG, when set, says what is logged, for example RUST_LOG=info,shake_agent::ledger=debug.

The agent waits for the gateway's mapping for as long as it takes, and for a new one when the gateway replaces it.
The first SIGTERM or SIGINT lets it finish what the rings hold; a second one ends it at once, which loses nothing either.
After a failed write or sync of the ledger it answers every claim \"busy\" until it is started anew.

Before the ledger is served, the settlement file and the witness in the state directory are asked whether they have seen more
of it than it knows: then it was restored from a backup, and would pay again what was paid.

Exit codes: 0 ended in good order, 1 could not start or the ledger failed, 2 wrong command line, 3 the ledger must not be
served (it lost commits, or is another; starting again cannot help).")]
pub struct ConfigArgs {
    /// Configuration file (TOML)
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

#[derive(Args)]
#[command(after_long_help = "\
Writes nothing, and takes no lock: the agent may be running. Checked are the configuration, each error with its line; the seed
file, and the show that it is of one event with; the ticket keys; a ledger, a settlement file, a witness and a mapping that are
there already, and that they belong together; and that this user may write where the agent writes.

Exit codes: 0 in order, and printed; 1 something is wrong, each thing in a line; 2 wrong command line.

Example:
  shake-agent check-config --config agent.toml")]
pub struct CheckArgs {
    /// Configuration file (TOML)
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

#[derive(Subcommand)]
pub enum BlocksCommand {
    /// Lists who is blocked, for which rule, and until when
    List(BlocksListArgs),
    /// Lifts a block, or all
    Lift(BlocksLiftArgs),
}

#[derive(Args)]
pub struct BlocksFileArgs {
    /// Configuration file that names the file of blocks; --file goes before it
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The file of blocks
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
}

#[derive(Args)]
#[command(after_long_help = "\
The agent writes the file within a second of each change. `value` is what was counted when the rule was broken (its threshold
stands in agent.toml under [abuse]), `earlier` how many blocks went before.

Exit codes: 0 listed, also when nobody is blocked; 1 the file cannot be read; 2 wrong command line.

Examples:
  shake-agent blocks list
  shake-agent blocks list --config agent.toml --json | jq '.blocks[] | select(.rule == \"forgery\")'")]
pub struct BlocksListArgs {
    #[command(flatten)]
    pub at: BlocksFileArgs,
    /// Print as JSON, with the sums of all blocks that were made
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
#[command(after_long_help = "\
The running agent lifts it within a second, and tells every shard. When no agent runs beside a gateway, the next
one does. Whoever breaks the rule again is blocked again: see [abuse] in agent.toml. To be run as the agent's user, or as
root: what root writes belongs to the agent's user.

Exit codes: 0 lifted, as the agent's list shows, or nobody was blocked and all are to be lifted; 1 nobody of that name is blocked, or the wish cannot be written;
2 wrong command line; 3 asked for, but no agent took it within four seconds: the next one does.

Examples:
  shake-agent blocks lift user 10023
  shake-agent blocks lift prefix 203.0.113.0/24 --config agent.toml
  shake-agent blocks lift all")]
pub struct BlocksLiftArgs {
    /// What to lift
    #[arg(value_enum, value_name = "KIND")]
    pub kind: LiftKind,
    /// The user's number, the device's 16 hexadecimal digits, or the prefix
    #[arg(value_name = "NAME", required_if_eq_any = [("kind", "user"), ("kind", "device"), ("kind", "prefix")])]
    pub name: Option<String>,
    #[command(flatten)]
    pub at: BlocksFileArgs,
}

/// What a block is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LiftKind {
    /// One user
    User,
    /// One installation of the app
    Device,
    /// One address prefix
    Prefix,
    /// Every block
    All,
}

#[derive(Subcommand)]
pub enum LedgerCommand {
    /// Writes plain rows to standard output, for other programs
    Export(books::ExportArgs),
    /// Tells the story of one packet or user
    #[command(subcommand)]
    Show(ShowCommand),
    /// Copies the ledger while the agent runs, to keep
    Backup(BackupArgs),
    /// Copies the ledger while the agent runs, to collect it for an audit: replaces an older copy
    Copy(close::CopyArgs),
    /// Makes the tables of a ledger in PostgreSQL, for all agents of an event
    Init(InitArgs),
    /// Tells what a ledger that was restored from a backup, or came back older, has lost, and goes on without it
    AcceptLoss(loss::AcceptLossArgs),
}

#[derive(Args)]
#[command(after_long_help = "\
The copy is the ledger of one moment, whatever is committed meanwhile; it is whole and durable once it has its name. Its mode is
0600, and nothing is ever replaced. It reads the whole ledger: until it is done, the write-ahead log grows.

A ledger that is restored from a copy has lost all later commits, and the agent refuses to serve it: see `ledger accept-loss`.

Exit codes: 0 copied, 1 not copied, 2 wrong command line.

Example:
  shake-agent ledger backup /backup/ledger-$(date +%s).db --config agent.toml")]
pub struct BackupArgs {
    /// The copy
    #[arg(value_name = "TO")]
    pub to: PathBuf,
    #[command(flatten)]
    pub ledger: WhichFile,
}

#[derive(Args)]
#[command(after_long_help = "\
Once for each event, before the first agent starts, as a user who may make tables and change the agents' role. The database must
be empty. One part is made for each seed file; every agent then serves the part of its own seed, and whatever is won anywhere can
be opened anywhere. Agents need no right but to read and write these tables.

Exit codes: 0 made, 1 not made (nothing is there then), 2 wrong command line.

Examples:
  shake-agent ledger init --url postgres://owner@127.0.0.1/event --agents agent seeds/seed-*.bin
  shake-agent ledger init --url postgres://owner@localhost/event --password-file owner.password --agents agent seed.bin")]
pub struct InitArgs {
    /// The server and its database: postgres://user@host/database
    #[arg(long, value_name = "URL")]
    pub url: String,
    /// The file with the user's password; without one, for servers that ask for none
    #[arg(long, value_name = "FILE")]
    pub password_file: Option<PathBuf>,
    /// The certificate of the authority that the server's own is of; on another machine it is reached over TLS alone
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// The role that the agents connect as: it gets the rights that they need, time-outs, and settings for the planner
    #[arg(long, value_name = "ROLE")]
    pub agents: String,
    /// The seed files of the event, all of them
    #[arg(value_name = "SEED", required = true)]
    pub seeds: Vec<PathBuf>,
}

/// The ledger that is copied.
#[derive(Args)]
pub struct WhichFile {
    /// Configuration file that names the ledger; --ledger goes before it
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The ledger
    #[arg(long, value_name = "FILE")]
    pub ledger: Option<PathBuf>,
}

/// The ledger that is read.
#[derive(Args)]
pub struct WhichLedger {
    /// Configuration file that names the ledger; --ledger goes before it
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The ledger: a file, or postgres://user@host/database
    #[arg(long, value_name = "LEDGER")]
    pub ledger: Option<PathBuf>,
    #[command(flatten)]
    pub files: ServerFiles,
}

/// The files that a ledger on a server is reached with, when the command line names it.
#[derive(Args)]
pub struct ServerFiles {
    /// The file with the password for a ledger on a server
    #[arg(long, value_name = "FILE", requires = "ledger")]
    pub password_file: Option<PathBuf>,
    /// The certificate of the authority that the server's own is of; on another machine it is reached over TLS alone
    #[arg(long, value_name = "FILE", requires = "ledger")]
    pub ca_file: Option<PathBuf>,
}

#[derive(Subcommand)]
pub enum ShowCommand {
    /// Who funded it, who won it, who has how much of it, what went back, and when
    Packet(ShowArgs),
    /// Balance, packets, and the last movements of money
    User(ShowArgs),
}

#[derive(Args)]
#[command(after_long_help = "\
Writes nothing; the agent may be running.

Exit codes: 0 told, 1 not in the ledger, or it cannot be read, 2 wrong command line.

Examples:
  shake-agent ledger show packet 1970324836974592
  shake-agent ledger show user 10023 --ledger ledger.db --json | jq .balance_cents
  shake-agent ledger show user 10023 --ledger postgres://auditor@localhost/event")]
pub struct ShowArgs {
    /// Its number, with its letter (p1970324836974592, u10023) or without
    #[arg(value_name = "ID")]
    pub id: String,
    #[command(flatten)]
    pub ledger: WhichLedger,
    /// Print as JSON
    #[arg(long)]
    pub json: bool,
}
