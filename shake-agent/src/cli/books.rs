//! The command lines of `audit` and `ledger export`, which read the books.

use super::{ServerFiles, WhichLedger};
use clap::Args;
use shake_agent::export::{Format, What};
use std::path::PathBuf;

#[derive(Args)]
#[command(after_long_help = "\
Reads one snapshot of the ledger and the whole seed file, and writes nothing; agents may be running. Checked are:
every packet against the seed's record, that it has exactly the transfers that its state says, all balances against the
transfers, the zero sum, that each movement of a user's balance stands once in the outbox, with the user's next number and
the balance after it, that each share has its transfer, and per
sponsor seed + gifts = unreleased + held + opened + refunded + void + lost + paid (sponsor 0 is the event with its budget for gifts).
Which machines wrote the ledger stands in its second line.

With --fleet, the whole seed in that directory is verified as `shake-agent seed verify` does, each ledger is audited against
the file of its part, and their figures are merged. A part without a ledger is a difference, unless --unused names it. Whose
manifest it is stands first: proved, UNKNOWN (without --certs, or its key was retired since; that changes no exit code) or FALSE.

A ledger in PostgreSQL, --ledger postgres://…, is that of all parts: --fleet audits all of it at one moment. It is read at a standby:
a snapshot makes agents slow that commit meanwhile. At the server that they write to, --on-primary reads for half a minute at the
most, and then gives up (exit code 2). A user who may read the tables is enough. Users and packets are the event's, and proved over
all parts; journals, outbox and house accounts are proved part by part.

With --statement, the whole fleet's closing statement is told in place of the figures, in the form that `shake-agent close` gives it
for one ledger. Every part must be closed or unused, and nothing may differ; else the parts that are wanting are named.

Sponsors and phases stand by name where a show tells: the one of --show, else what --config names and the gateway ran last.

Exit codes: 0 balanced, 1 not balanced (each difference is named) or no statement yet, 2 could not audit.

Examples:
  shake-agent audit --config agent.toml
  shake-agent audit --by day --time-zone Asia/Shanghai
  shake-agent audit --fleet seeds --certs certs --ledger a.db --ledger b.db --settlement a.log --settlement b.log
  shake-agent audit --fleet seeds --show show.toml --ledger a.db --ledger b.db --statement --page closing.html
  shake-agent audit --fleet seeds --ledger postgres://auditor@standby/event --ca-file ca.pem --password-file auditor.password
  shake-agent audit --fleet seeds --config agent.toml --on-primary
  shake-agent audit --ledger ledger.db --seed seed.bin --json | jq '.total.opened.cents'")]
pub struct AuditArgs {
    /// Configuration file that names ledger and seed; --ledger and --seed go before it
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The ledger: a file, with --fleet once for each agent, or postgres://user@host/database
    #[arg(id = "ledger", long, value_name = "LEDGER")]
    pub ledgers: Vec<PathBuf>,
    #[command(flatten)]
    pub server: OnServer,
    /// The seed file
    #[arg(long, value_name = "FILE")]
    pub seed: Option<PathBuf>,
    /// Audit the ledgers of many agents against the whole seed, in the directory that `seed generate --parts` made
    #[arg(long, value_name = "DIR", conflicts_with_all = ["seed", "by", "verbose"])]
    pub fleet: Option<PathBuf>,
    /// Also check who made the fleet's manifest, with the ticket keys of this directory
    #[arg(long, value_name = "DIR", requires = "fleet")]
    pub certs: Option<PathBuf>,
    /// With --fleet, compare this settlement file with the ledger that it names; once for each
    #[arg(long = "settlement", value_name = "FILE", requires = "fleet")]
    pub settlements: Vec<PathBuf>,
    /// With --fleet, no agent ever served this part (seed-3.bin): it has no ledger
    #[arg(long, value_name = "NAME", requires = "fleet")]
    pub unused: Vec<String>,
    /// With --fleet, tell its closing statement
    #[arg(long, requires = "fleet")]
    pub statement: bool,
    /// Also write the statement as a page to print: one HTML file that needs nothing else
    #[arg(long, value_name = "FILE", requires = "statement")]
    pub page: Option<PathBuf>,
    /// The show file that names sponsors and phases
    #[arg(long, value_name = "FILE")]
    pub show: Option<PathBuf>,
    /// Print as JSON, amounts in cents
    #[arg(long)]
    pub json: bool,
    /// Also print what was credited to users, by phase or by day (JSON always has both)
    #[arg(long, value_enum)]
    pub by: Option<By>,
    /// Where days begin: an IANA name (Asia/Shanghai) or an offset from UTC (+08:00)
    #[arg(long, value_name = "ZONE", default_value = "UTC", value_parser = shake_agent::audit::time_zone)]
    pub time_zone: jiff::tz::TimeZone,
    /// Also name each void and each lost packet (JSON always does)
    #[arg(long)]
    pub verbose: bool,
}

/// How a ledger on a server is read.
#[derive(Args)]
pub struct OnServer {
    #[command(flatten)]
    pub files: ServerFiles,
    /// Read it at the server that agents write to, for half a minute at the most
    #[arg(long)]
    pub on_primary: bool,
}

/// How credits are broken down.
#[derive(Clone, Copy, clap::ValueEnum)]
pub enum By {
    /// By the phase that the packet was won or given in
    Phase,
    /// By the day, in the time zone of --time-zone
    Day,
}

#[derive(Args)]
#[command(after_long_help = "\
packets: packet origin sponsor sender cents shares balance_cents shares_left state seed_index user stage shard made_ms issued_ms
opened_ms due_ms ends_ms closed_ms. Origin is seed, sent or gift; state is released, issued, open (shares wait to be grabbed),
opened (all of it is with users), refunded (what was left went back), void (in no ticket), lost (released into a mapping that
is gone) or paid (opened by commits that were lost: see `ledger accept-loss`); user is who won it; due_ms is when what is left goes back at the earliest, ends_ms the end that was promised;
closed_ms is since when nothing is left in it.

transfers: transfer at_ms debit_kind debit credit_kind credit cents packet. Money goes from debit to credit; kinds are bank,
sponsor (0 is the event), packet, user, refunded and void.

shares: transfer packet user cents at_ms. The shares taken of shared packets, each with the transfer that paid it.

outbox: seq at_ms user number cents balance_cents kind packet transfer incarnation. Each movement of a user's balance, as it goes
to settlement; kind is open, grab, gift, refund, or send, whose cents are negative; number counts the user's lines,
balance_cents is the balance after it. The last row of a closed ledger has kind close and no user: number users are owed
balance_cents together.

users: user balance_cents lines packets_opened.

Of a ledger in PostgreSQL, all but users have one more column at the end, part: numbers of transfers and seq are counted in each part,
number and balance_cents of a user over all of them. It is read at a standby, or with --on-primary for half a minute at the most.

Ids of packets and users have a letter before them (p1970324836974592, u10023), in CSV and JSON: spreadsheets and many JSON
readers change the last digits of numbers that long. Times are milliseconds since 1970 UTC. What is not there is empty in CSV
and null in JSON.

Examples:
  shake-agent ledger export --what packets --format csv > packets.csv
  shake-agent ledger export --ledger ledger.db --what packets --format jsonl | jq 'select(.state == \"opened\")'
  shake-agent ledger export --ledger postgres://auditor@localhost/event --what outbox --format csv > outbox.csv")]
pub struct ExportArgs {
    #[command(flatten)]
    pub ledger: WhichLedger,
    /// Read it at the server that agents write to, for half a minute at the most
    #[arg(long)]
    pub on_primary: bool,
    /// Which rows
    #[arg(long, value_enum)]
    pub what: What,
    /// How they are written
    #[arg(long, value_enum)]
    pub format: Format,
}
