//! What the command line takes, and what it says of itself with `--help`.

use clap::{Args, Parser, Subcommand, ValueEnum};
use jiff::Timestamp;
use shake_rules::keys::Purpose;
use std::net::IpAddr;
use std::path::PathBuf;

/// Makes and checks the certificates and secret keys of the event.
#[derive(Parser)]
#[command(version, after_long_help = EXAMPLES)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

const EXAMPLES: &str = "\
Examples:
  certs generate --out certs         for one machine: localhost and loopback
  certs generate --out certs --name gw1.example.com --address 192.0.2.7
  certs issue server certs           the server's certificate anew, for the same names
  certs issue operator certs --name ann
  certs inspect certs                is everything there, private and valid?
  certs token --dir certs --user 7   a token for user 7, as hex
  certs rotate certs                 a new key of each kind, to be used later

Exit codes:
  0  done; for inspect: all in order
  1  failed, and nothing was changed; for inspect: something is wrong
  2  the command line is wrong
  3  inspect only: nothing is wrong, but something expires soon";

#[derive(Subcommand)]
pub enum Command {
    /// Makes a directory of certificates and secret keys.
    Generate(GenerateArgs),
    /// Makes one certificate under the authority that is there: the server's anew, or an operator's.
    #[command(subcommand)]
    Issue(IssueCommand),
    /// Prints what a directory holds, and what is wrong with it.
    Inspect(InspectArgs),
    /// Prints a user token.
    Token(TokenArgs),
    /// Replaces secret keys, step by step, while everything runs.
    Rotate(RotateArgs),
}

#[derive(Args)]
#[command(after_long_help = "\
Writes into a directory of mode 0700:
  ca.pem server.pem operator.pem              certificates, mode 0644
  ca.key.pem server.key.pem operator.key.pem  their keys (ECDSA P-256), mode 0600
  user-token.key.toml ticket.key.toml
  cookie.key.toml stateless-reset.key.toml    secret keys, mode 0600

Who needs what:
  gateway      ca.pem server.pem server.key.pem and the four key files
  shake-agent  ticket.key.toml
  phones       ca.pem
  operators    ca.pem operator.pem operator.key.pem
Keep ca.key.pem off the servers: it is needed only to sign.

--force begins a new installation: another authority, and other keys. What the old keys made, tokens, tickets and cookies that
are out there, is refused from then on, and phones trust another ca.pem. For a certificate there is `certs issue`, for keys
`certs rotate`; both keep all of it good.

Examples:
  certs generate --out certs
  certs generate --out certs --name gw1.example.com --name '*.gw.example.com' \\
      --address 192.0.2.7 --days 90")]
pub struct GenerateArgs {
    /// Directory to write to; made when it is not there
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// DNS name of the gateway; give it once per name
    #[arg(long = "name", value_name = "NAME", default_value = "localhost")]
    pub names: Vec<String>,
    /// IP address of the gateway; give it once per address
    #[arg(long = "address", value_name = "ADDRESS", default_values = ["127.0.0.1", "::1"])]
    pub addresses: Vec<IpAddr>,
    /// Validity of the server and operator certificates, at most the authority's own 3650
    #[arg(long, value_name = "N", default_value_t = 365)]
    pub days: u32,
    /// Replace what is there, keys and authority included; see below what that ends
    #[arg(long)]
    pub force: bool,
}

#[derive(Subcommand)]
pub enum IssueCommand {
    /// Makes the server's certificate anew, before or after it expires.
    Server(IssueServerArgs),
    /// Makes a certificate for one operator, with the name that the audit log shows.
    Operator(IssueOperatorArgs),
}

#[derive(Args)]
pub struct IssueArgs {
    /// The directory with ca.pem and ca.key.pem
    pub directory: PathBuf,
    /// Validity; without it 365, or what is left of the authority's own
    #[arg(long, value_name = "N")]
    pub days: Option<u32>,
    /// Where to write; made when it is not there
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
#[command(after_long_help = "\
Writes server.pem and server.key.pem, a new key, both or neither, to the directory or to --out. The key files are not touched.
Names and addresses are those of the certificate that is there, also of one that has expired, unless some are given. One of
another authority is never replaced: phones may trust that authority.

Then bring both files to the gateway, and run `gateway reload`; when the old one has expired already, send SIGHUP there
(`systemctl reload gateway`), because operators cannot connect either.

Examples:
  certs issue server certs
  certs issue server authority --name gw1.example.com --address 192.0.2.7 --out gw1")]
pub struct IssueServerArgs {
    #[command(flatten)]
    pub issue: IssueArgs,
    /// DNS name of the gateway; give it once per name
    #[arg(long = "name", value_name = "NAME")]
    pub names: Vec<String>,
    /// IP address of the gateway; give it once per address
    #[arg(long = "address", value_name = "ADDRESS")]
    pub addresses: Vec<IpAddr>,
}

#[derive(Args)]
#[command(after_long_help = "\
Writes ca.pem, operator.pem and operator.key.pem to operators/NAME in the directory, or to --out: all that an operator needs,
for `gateway ... --certs`. The same name again renews it. The certificate before stays good until it expires: to end it
sooner, write its SHA-256, which is printed, into refused-operators.txt of the gateways.

Examples:
  certs issue operator certs --name ann
  certs issue operator certs --name ben --days 30 --out laptop-of-ben")]
pub struct IssueOperatorArgs {
    #[command(flatten)]
    pub issue: IssueArgs,
    /// The operator's name: letters, digits, and any of .-_@
    #[arg(long, value_name = "NAME")]
    pub name: String,
}

#[derive(Args)]
#[command(after_long_help = "\
Errors are: a file missing or unreadable, a secret that others may read, a
certificate that is expired, not yet valid, or does not chain to ca.pem for each
of its names, a private key that is not the certificate's. A gateway's files and
an operator's may each be without the other's, and ca.key.pem may be absent.
Secrets are never printed.

Exit codes:
  0  all in order
  1  something is wrong
  2  the command line is wrong
  3  nothing is wrong, but something expires within --warn-days

Examples:
  certs inspect certs
  certs inspect certs --json | jq '.certificates[] | {file, days_left}'")]
pub struct InspectArgs {
    /// The certificate directory
    pub directory: PathBuf,
    /// Warn about what expires within so many days
    #[arg(long, value_name = "N", default_value_t = 14)]
    pub warn_days: u32,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
#[command(after_long_help = "\
Three steps, each for all key files named or for none:
  certs rotate certs                     adds a key that is accepted and not used yet
  certs rotate certs --activate          the new key makes from now on
  certs rotate certs --retire --kept 1 --counts counts.json
                                         drops old keys, all but one

After each step, bring the directory to every machine that has it, and run
  gateway reload --target GW1 --target GW2 ...
before the next: whatever a key makes must be accepted everywhere by then.
shake-agent follows its directory by itself. An account service that signs user
tokens reads its new key after --activate.

Retire a key only when nothing that it made is valid any more: tickets and packet
codes live as long as the show says, tokens as long as they were given for, limit
cookies until the event ends. How many sessions, tokens, tickets and cookies hang on a
key only the gateways know:
  gateway status --json --target GW1 --target GW2 ... > counts.json
--retire --counts counts.json tells it of each key that goes, and drops none while
something hangs on one of them, at any gateway of the file; so name all gateways.
--unchecked drops them regardless. --retire also tells since when the active key
makes. `gateway reload --dry-run` tells the same once more before it counts.

stateless-reset takes effect at the gateway's next start. --retire leaves it alone unless --keys names it: without the key that
a gateway began with, its phones do not learn of a crash.

Examples:
  certs rotate certs --keys ticket,cookie
  certs rotate certs --keys user-token --activate --json
  certs rotate certs --keys ticket --retire --kept 0 --counts counts.json")]
pub struct RotateArgs {
    /// The certificate directory
    pub directory: PathBuf,
    /// Which keys; without it, all
    #[arg(long, value_name = "KIND", value_delimiter = ',')]
    pub keys: Vec<Kind>,
    /// Have the key that waits make from now on
    #[arg(long, conflicts_with = "retire")]
    pub activate: bool,
    /// Drop old keys
    #[arg(long)]
    pub retire: bool,
    /// How many old keys --retire keeps
    #[arg(long, value_name = "N", default_value_t = 1, requires = "retire")]
    pub kept: usize,
    /// What `gateway status --json` of all gateways says; --retire goes by it
    #[arg(long, value_name = "FILE", requires = "retire")]
    pub counts: Option<PathBuf>,
    /// Have --retire drop keys whatever hangs on them
    #[arg(long, requires = "retire")]
    pub unchecked: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum Kind {
    UserToken,
    Ticket,
    Cookie,
    StatelessReset,
}

impl From<Kind> for Purpose {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::UserToken => Self::UserToken,
            Kind::Ticket => Self::Ticket,
            Kind::Cookie => Self::Cookie,
            Kind::StatelessReset => Self::StatelessReset,
        }
    }
}

#[derive(Args)]
#[command(after_long_help = "\
The token is a credential: whoever shows it is that user until it expires.

Examples:
  certs token --dir certs --user 7
  certs token --dir certs --user 7 --expires-at 2027-02-06T23:59:00+08:00 --json")]
pub struct TokenArgs {
    /// The certificate directory
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,
    /// The user's number
    #[arg(long, value_name = "N")]
    pub user: u64,
    /// Validity from now
    #[arg(long, value_name = "N", default_value_t = 30, conflicts_with = "expires_at")]
    pub days: u32,
    /// When it ends, instead of --days
    #[arg(long, value_name = "RFC3339")]
    pub expires_at: Option<Timestamp>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}
