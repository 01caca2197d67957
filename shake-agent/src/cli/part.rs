//! The command lines of `part`.

use clap::{Args, Subcommand};
use std::path::PathBuf;

#[derive(Subcommand)]
pub enum PartCommand {
    /// Tells of each part who has it, when its agent was seen, and how far its seed is released
    Status(PartStatusArgs),
    /// Ends a part whose machine is gone: what was released there is lost until a ticket is shown
    Retire(PartRetireArgs),
    /// Gives a part to another agent, which hands out what is unreleased
    Adopt(PartAdoptArgs),
}

/// The server that the ledger is on.
#[derive(Args)]
pub struct WhichServer {
    /// Configuration file of an agent of the ledger; --url goes before it
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The server and its database: postgres://user@host/database
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// The file with the user's password; without one, for servers that ask for none
    #[arg(long, value_name = "FILE", requires = "url")]
    pub password_file: Option<PathBuf>,
    /// The certificate of the authority that the server's own is of; on another machine it is reached over TLS alone
    #[arg(long, value_name = "FILE", requires = "url")]
    pub ca_file: Option<PathBuf>,
}

#[derive(Args)]
#[command(after_long_help = "\
Writes nothing; the agents may be running. `seen` is how long ago the part's agent made a commit, by the server's clock: a running
agent makes one at least each second.

Exit codes: 0 told, 1 the server does not answer, 2 wrong command line.

Examples:
  shake-agent part status --config agent.toml
  shake-agent part status --url postgres://agent@localhost/event --json | jq '.[] | select(.seen_ms_ago > 10000).part'")]
pub struct PartStatusArgs {
    #[command(flatten)]
    pub server: WhichServer,
    /// Print as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
#[command(after_long_help = "\
For a machine that does not come back. Its agent, should it be alive all the same, ends at its next transaction, with exit code 3,
and its gateway has nothing more to give. What was released there and is in no ticket that the ledger knows of is lost: its money
lies in the void, and an authentic ticket in its time opens it from there, at any gateway. What the part had drawn for gifts goes
back to the event. What is unreleased stays so, until `part adopt`. It may be done again.

Exit codes: 0 retired; 1 not: the agent was seen in the last ten seconds, or the server does not answer; 2 wrong command line.

Example:
  shake-agent part retire 3 --config agent.toml")]
pub struct PartRetireArgs {
    /// Its number, as `part status` shows it: 0 for the first
    #[arg(value_name = "PART")]
    pub part: u16,
    #[command(flatten)]
    pub server: WhichServer,
    /// Also when its agent was seen in the last ten seconds
    #[arg(long)]
    pub force: bool,
}

#[derive(Args)]
#[command(after_long_help = "\
An agent serves the part of its [seed], and only a part that is its own, so that a copied machine takes away nobody's. This makes
a part the other agent's, also one that was retired. Start that agent with the part's seed file then: it hands out what is unreleased,
and what was released into another mapping than its gateway's is lost until a ticket is shown. Whoever had the part before ends at its
next transaction, with exit code 3.

Exit codes: 0 it is the other agent's; 1 not: its agent was seen in the last ten seconds, the seed is another part's, or the server does
not answer; 2 wrong command line.

Examples:
  shake-agent part adopt 3 --seed seed-3.bin --by agent.toml
  shake-agent part adopt 3 --seed seed-3.bin --by 0f1e2d3c4b5a69788796a5b4c3d2e1f0 --url postgres://agent@localhost/event")]
pub struct PartAdoptArgs {
    /// Its number, as `part status` shows it: 0 for the first
    #[arg(value_name = "PART")]
    pub part: u16,
    /// The part's seed file
    #[arg(long, value_name = "FILE")]
    pub seed: PathBuf,
    /// Who gets it: the configuration of an agent of this machine, or the 32 digits of an installation
    #[arg(long, value_name = "AGENT")]
    pub by: String,
    #[command(flatten)]
    pub server: WhichServer,
    /// Also when its agent was seen in the last ten seconds
    #[arg(long)]
    pub force: bool,
}
