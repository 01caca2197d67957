//! The command lines of `close` and `ledger copy`, which collects what an audit needs.

use super::WhichFile;
use clap::Args;
use std::path::PathBuf;

#[derive(Args)]
#[command(after_long_help = "\
For after the event, in the place of the agent: stop that one, drain the gateway, and run this as the agent's user. It takes the
ledger's lock and the agent's side of the mapping, releases nothing more, serves what the rings hold, and waits until the last
ticket, code and share has ended. Then what is with shards, void, lost, or was never released goes back to who funded it; the closing
line is written, also into the settlement file; and the mapping is removed. From then on `run` refuses the ledger.

Time in which neither the agent nor this runs counts for nobody's end, so let it run until it is done. It may be interrupted or die
at any step, and is simply run again. A closed ledger is proved and told again, so the statement can be had as often as needed.

Nothing is closed while anything differs: the audit must balance, and the settlement file must agree.

Exit codes: 0 closed (with --dry-run: could be closed at once); 1 failed, or the books differ; 2 wrong command line; 3 the ledger must
not be served (it lost commits, or is another); 4 not closed yet: it was asked to end while it waited, or with --dry-run, something is
in the way or still runs.

Examples:
  shake-agent close --config agent.toml --dry-run
  shake-agent close --config agent.toml --page closing.html
  shake-agent close --config agent.toml --json > closing.json")]
pub struct CloseArgs {
    /// Configuration file that names ledger, seed, settlement file, mapping and show
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Tell what would be done and what is waited for, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Print the statement as JSON, amounts in cents
    #[arg(long)]
    pub json: bool,
    /// Also write the statement as a page to print: one HTML file that needs nothing else
    #[arg(long, value_name = "FILE", conflicts_with = "dry_run")]
    pub page: Option<PathBuf>,
}

#[derive(Args)]
#[command(after_long_help = "\
The copy is the ledger of one moment, in one file of mode 0600: no log belongs to it, so carry just that file to where the audit is
made. A copy that was made before and is older is replaced, with any log that lies beside it; nothing else is. Never carry ledger.db by
other means: commits lie in ledger.db-wal, and a log that is left from an earlier time beside a newer file makes it malformed.

Exit codes: 0 copied, 1 not copied, 2 wrong command line.

Examples:
  shake-agent ledger copy /tmp/gw1.db --config agent.toml
  scp gw1:/tmp/gw1.db books/ && shake-agent audit --fleet seeds --ledger books/gw1.db --ledger books/gw2.db")]
pub struct CopyArgs {
    /// The copy
    #[arg(value_name = "TO")]
    pub to: PathBuf,
    #[command(flatten)]
    pub ledger: WhichFile,
}
