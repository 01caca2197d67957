//! The command line of `ledger accept-loss`.

use super::WhichLedger;
use clap::Args;
use std::path::PathBuf;

#[derive(Args)]
#[command(after_long_help = "\
For when a ledger was restored from a backup and there is no newer one. Lists every line that the settlement file has and the
ledger has not, and the commits that the witness in the state directory has seen. Without --yes nothing is changed.

With --yes, each packet of the seed that is named there is closed: paid when the ledger had paid nothing of it, gone back when it
waited to be grabbed. Packets before them in their sponsor's order were released since: they are lost, and an authentic ticket
opens them. The settlement file is put aside under another name, and a new one is begun: the same lines up to what the ledger
has, then new keys. Users' numbers repeat there under other keys, so whoever pays stops for those users, and looks at both
files. The agent must not be running, and a mapping of the gateway with anything unread must be gone.

A ledger in PostgreSQL is that of all parts, and halted: whichever agent saw that the server came back older has stopped them all. Each
has said what it knows of its part; one that did not run says it when it is started, and is refused. Of a machine that does not come
back say --gone: all that was left of its seed may have been released there, so it is lost until a ticket is shown, and the part is
retired. Of an agent that did not run since, say --idle. With --yes, and once each part is accounted for, what was released by lost
commits is lost, numbers go on far behind those that were seen, and agents may be started. Gateways and their mappings stay as they
are. Seeds are those of all parts.

Exit codes: 0 listed or accepted, 1 could not, 2 wrong command line.

Examples:
  shake-agent ledger accept-loss --config agent.toml --yes
  shake-agent ledger accept-loss --config agent.toml --fleet seeds --gone 3
  shake-agent ledger accept-loss --ledger postgres://agent@db.example/event --ca-file ca.pem --fleet seeds --gone 3 --yes")]
pub struct AcceptLossArgs {
    #[command(flatten)]
    pub ledger: WhichLedger,
    /// Of a ledger in PostgreSQL, the directory with the seed files of all parts
    #[arg(long, value_name = "DIR")]
    pub fleet: Option<PathBuf>,
    /// The machine of this part is gone, and nobody knows what it had released; once for each
    #[arg(long, value_name = "PART", requires = "fleet")]
    pub gone: Vec<u16>,
    /// The agent of this part did not run since the last commit that the ledger has; once for each
    #[arg(long, value_name = "PART", requires = "fleet")]
    pub idle: Vec<u16>,
    /// Go on without what is listed
    #[arg(long)]
    pub yes: bool,
}
