//! The command line of `certs`. Reads the clock, prints, and chooses the exit code; the work is in the library.

#![forbid(unsafe_code)]

use anyhow::Context;
use certs::generate::{self, Request};
use certs::issue::{self, Issued, Subject};
use certs::rotate::{self, Step};
use certs::{inspect, token};
use clap::{Args, Parser, Subcommand, ValueEnum};
use host::{cli, console};
use jiff::{SignedDuration, Timestamp};
use shake_rules::UserId;
use shake_rules::keys::Purpose;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Makes and checks the certificates and secret keys of the event.
#[derive(Parser)]
#[command(version, after_long_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
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
enum Command {
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
struct GenerateArgs {
    /// Directory to write to; made when it is not there
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// DNS name of the gateway; give it once per name
    #[arg(long = "name", value_name = "NAME", default_value = "localhost")]
    names: Vec<String>,
    /// IP address of the gateway; give it once per address
    #[arg(long = "address", value_name = "ADDRESS", default_values = ["127.0.0.1", "::1"])]
    addresses: Vec<IpAddr>,
    /// Validity of the server and operator certificates, at most the authority's own 3650
    #[arg(long, value_name = "N", default_value_t = 365)]
    days: u32,
    /// Replace what is there, keys and authority included; see below what that ends
    #[arg(long)]
    force: bool,
}

#[derive(Subcommand)]
enum IssueCommand {
    /// Makes the server's certificate anew, before or after it expires.
    Server(IssueServerArgs),
    /// Makes a certificate for one operator, with the name that the audit log shows.
    Operator(IssueOperatorArgs),
}

#[derive(Args)]
struct IssueArgs {
    /// The directory with ca.pem and ca.key.pem
    directory: PathBuf,
    /// Validity; without it 365, or what is left of the authority's own
    #[arg(long, value_name = "N")]
    days: Option<u32>,
    /// Where to write; made when it is not there
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
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
struct IssueServerArgs {
    #[command(flatten)]
    issue: IssueArgs,
    /// DNS name of the gateway; give it once per name
    #[arg(long = "name", value_name = "NAME")]
    names: Vec<String>,
    /// IP address of the gateway; give it once per address
    #[arg(long = "address", value_name = "ADDRESS")]
    addresses: Vec<IpAddr>,
}

#[derive(Args)]
#[command(after_long_help = "\
Writes ca.pem, operator.pem and operator.key.pem to operators/NAME in the directory, or to --out: all that an operator needs,
for `gateway ... --certs`. The same name again renews it. The certificate before stays good until it expires: to end it
sooner, write its SHA-256, which is printed, into refused-operators.txt of the gateways.

Examples:
  certs issue operator certs --name ann
  certs issue operator certs --name ben --days 30 --out laptop-of-ben")]
struct IssueOperatorArgs {
    #[command(flatten)]
    issue: IssueArgs,
    /// The operator's name: letters, digits, and any of .-_@
    #[arg(long, value_name = "NAME")]
    name: String,
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
struct InspectArgs {
    /// The certificate directory
    directory: PathBuf,
    /// Warn about what expires within so many days
    #[arg(long, value_name = "N", default_value_t = 14)]
    warn_days: u32,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
#[command(after_long_help = "\
Three steps, each for all key files named or for none:
  certs rotate certs                     adds a key that is accepted and not used yet
  certs rotate certs --activate          the new key makes from now on
  certs rotate certs --retire --kept 1   drops old keys, all but one

After each step, bring the directory to every machine that has it, and run
  gateway reload --target GW1 --target GW2 ...
before the next: whatever a key makes must be accepted everywhere by then.
shake-agent follows its directory by itself. An account service that signs user
tokens reads its new key after --activate.

Retire a key only when nothing that it made is valid any more: tickets and packet
codes live as long as the show says, tokens as long as they were given for, limit
cookies until the event ends. Bring the directory to a gateway first and ask it:
`gateway reload --dry-run` tells how many sessions and tokens hang on what would go.

stateless-reset takes effect at the gateway's next start. --retire leaves it alone unless --keys names it: without the key that
a gateway began with, its phones do not learn of a crash.

Examples:
  certs rotate certs --keys ticket,cookie
  certs rotate certs --keys user-token --activate --json")]
struct RotateArgs {
    /// The certificate directory
    directory: PathBuf,
    /// Which keys; without it, all
    #[arg(long, value_name = "KIND", value_delimiter = ',')]
    keys: Vec<Kind>,
    /// Have the key that waits make from now on
    #[arg(long, conflicts_with = "retire")]
    activate: bool,
    /// Drop old keys
    #[arg(long)]
    retire: bool,
    /// How many old keys --retire keeps
    #[arg(long, value_name = "N", default_value_t = 1, requires = "retire")]
    kept: usize,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
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
struct TokenArgs {
    /// The certificate directory
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// The user's number
    #[arg(long, value_name = "N")]
    user: u64,
    /// Validity from now
    #[arg(long, value_name = "N", default_value_t = 30, conflicts_with = "expires_at")]
    days: u32,
    /// When it ends, instead of --days
    #[arg(long, value_name = "RFC3339")]
    expires_at: Option<Timestamp>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let now = Timestamp::now();
    let done = match cli::parse::<Cli>().command {
        Command::Generate(args) => generate_to(&args, now),
        Command::Issue(IssueCommand::Server(args)) => {
            let IssueServerArgs {
                issue,
                names,
                addresses,
            } = args;
            issue_one(&issue, &Subject::Server { names, addresses }, now)
        }
        Command::Issue(IssueCommand::Operator(args)) => {
            issue_one(&args.issue, &Subject::Operator { name: args.name }, now)
        }
        Command::Inspect(args) => inspect_directory(&args, now),
        Command::Token(args) => mint_token(&args, now),
        Command::Rotate(args) => rotate_keys(&args),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            console::tell(&format!("certs: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn generate_to(args: &GenerateArgs, now: Timestamp) -> anyhow::Result<ExitCode> {
    let request = Request {
        names: args.names.clone(),
        addresses: args.addresses.clone(),
        days: args.days,
        replace: args.force,
    };
    let mut text = String::new();
    for path in generate::generate(&args.out, &request, now)? {
        text.push_str(&format!("wrote {}\n", path.display()));
    }
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn issue_one(args: &IssueArgs, subject: &Subject, now: Timestamp) -> anyhow::Result<ExitCode> {
    let issued = issue::issue(&args.directory, args.out.as_deref(), subject, args.days, now)?;
    if args.json {
        print(&format!("{}\n", serde_json::to_string_pretty(&issued)?))?;
        return Ok(ExitCode::SUCCESS);
    }
    let Issued {
        files,
        sha256,
        not_after,
        before,
    } = issued;
    let mut text: String = files.iter().map(|path| format!("wrote {}\n", path.display())).collect();
    text.push_str(&format!("certificate {sha256}, valid until {not_after}\n"));
    match (subject, before) {
        (Subject::Server { .. }, _) => {
            text.push_str(
                "now bring both files to the gateway, and `gateway reload`, or SIGHUP when the old one has expired\n",
            );
        }
        (Subject::Operator { .. }, Some(before)) => text.push_str(&format!(
            "the one before is good until {}, unless refused-operators.txt of the gateways names it: {}\n",
            before.not_after, before.sha256
        )),
        (Subject::Operator { .. }, None) => {}
    }
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn inspect_directory(args: &InspectArgs, now: Timestamp) -> anyhow::Result<ExitCode> {
    let report = inspect::inspect(&args.directory, args.warn_days, now);
    if args.json {
        print(&format!("{}\n", serde_json::to_string_pretty(&report)?))?;
    } else {
        print(&report.to_string())?;
    }
    Ok(match (report.good, report.has_warnings()) {
        (false, _) => ExitCode::from(1),
        (true, true) => ExitCode::from(3),
        (true, false) => ExitCode::SUCCESS,
    })
}

fn mint_token(args: &TokenArgs, now: Timestamp) -> anyhow::Result<ExitCode> {
    let in_days = || {
        let seconds = i64::from(args.days) * 86_400;
        now.checked_add(SignedDuration::from_secs(seconds))
            .with_context(|| format!("--days {} is too far", args.days))
    };
    let expires_at = args.expires_at.map_or_else(in_days, Ok)?;
    let directory: &Path = &args.dir;
    let minted = token::mint(directory, UserId(args.user), expires_at, now)?;
    if args.json {
        print(&format!("{}\n", serde_json::to_string_pretty(&minted)?))?;
    } else {
        print(&format!("{}\n", minted.token))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn rotate_keys(args: &RotateArgs) -> anyhow::Result<ExitCode> {
    let purposes: Vec<Purpose> = match args.keys.as_slice() {
        // A gateway that runs has told its phones tokens of the key that it began with.
        [] if args.retire => Purpose::ALL
            .into_iter()
            .filter(|&purpose| purpose != Purpose::StatelessReset)
            .collect(),
        [] => Purpose::ALL.into(),
        kinds => Purpose::ALL
            .into_iter()
            .filter(|&purpose| kinds.iter().any(|&kind| Purpose::from(kind) == purpose))
            .collect(),
    };
    let (step, next) = match (args.activate, args.retire) {
        (true, _) => (Step::Activate, "once nothing older is valid any more, --retire"),
        (_, true) => (Step::Retire { kept: args.kept }, "no step is left"),
        _ => (Step::Add, "once every gateway has read it, --activate"),
    };
    let rotated = rotate::rotate(&args.directory, &purposes, step)?;
    if args.json {
        print(&format!("{}\n", serde_json::to_string_pretty(&rotated)?))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut text = String::new();
    for keys in &rotated {
        let accepted: Vec<_> = keys.accepted.iter().map(u8::to_string).collect();
        let waits = keys.waiting.map_or_else(String::new, |id| format!(", {id} waits"));
        text.push_str(&format!(
            "{:<16} accepts {}; {} makes{waits}\n",
            keys.purpose,
            accepted.join(", "),
            keys.active
        ));
    }
    if args.retire {
        text.push_str(
            "before it holds: `gateway reload --dry-run` tells how many sessions and tokens hang on what goes\n",
        );
    }
    text.push_str(&format!("now `gateway reload` on every gateway; then {next}\n"));
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// Writes to stdout; a reader that went away (`certs inspect … | head -1`) is no failure.
fn print(text: &str) -> anyhow::Result<()> {
    console::print(text)?;
    Ok(())
}
