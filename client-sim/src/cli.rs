//! What the command line takes, and what it says of itself with `--help`.

use clap::{Args, Parser, Subcommand};
use client_sim::report::Watched;
use client_sim::scenario::{Start, Users};
use std::path::PathBuf;

/// Simulates the phones of a shake event: real QUIC sessions that shake, win, claim and share.
#[derive(Parser)]
#[command(version)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// Connects, shakes, claims, sends, grabs, and reports.
    #[command(after_long_help = RUN_HELP)]
    Run(Box<Run>),
    /// Compares two runs, or draws one again, from the JSON that `run --json` printed.
    #[command(after_long_help = REPORT_HELP)]
    Report(Compare),
    /// Attacks a gateway in one named way, and tells what it answered.
    Hostile(client_sim::hostile::Options),
    /// Steers a run that is going on this machine: tells how it stands, changes its rate, ends it.
    #[command(after_long_help = CTL_HELP)]
    Ctl(Ctl),
    /// Reads a scenario and prints every error with its line; opens no socket.
    Check {
        /// The scenario file.
        scenario: PathBuf,
    },
    /// Prints the built-in scenario, with every key explained; a good start for one of your own.
    Scenario,
}

#[derive(Args)]
pub struct Ctl {
    /// The socket of the run, when it is not the usual one.
    #[arg(long, value_name = "PATH", global = true)]
    pub control: Option<PathBuf>,
    #[command(subcommand)]
    pub request: Request,
}

#[derive(Subcommand)]
pub enum Request {
    /// Changes the rate until the step that is being played ends.
    Rate {
        /// Shakes per second over all sessions of that run; 0 to hold.
        shakes_per_second: u32,
    },
    /// Tells how the run stands.
    Status {
        /// As one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Ends the shaking; the run still waits for the last answers and reports. A second time it does not wait.
    Stop,
}

const CTL_HELP: &str = "\
A run listens on a Unix socket that only its user can open: client-sim.sock in $XDG_RUNTIME_DIR, or else \
/tmp/client-sim-<uid>.sock. Of several runs on one machine the first has it; give the others a --control of their own.

A changed rate ends the step there, and the rest of its time is a step of its own in the report.

Exit codes: 0 done; 1 no run listens, or it refuses.

Examples:
  client-sim ctl status
  client-sim ctl rate 60000
  client-sim ctl rate 60000 --control /tmp/second.sock";

#[derive(Args)]
pub struct Run {
    /// The scenario file; without it, the built-in one: 1,000 sessions, 1,000 shakes/s, 20 s (see `client-sim scenario`).
    pub scenario: Option<PathBuf>,
    /// Prints the report as one JSON object on stdout, and nothing else there.
    #[arg(long)]
    pub json: bool,
    /// Writes each packet that a client opened as a line packet,user,sponsor,cents, to compare with the ledger.
    #[arg(long, value_name = "FILE.csv")]
    pub opened: Option<PathBuf>,
    /// Writes all money that moved as lines kind,packet,user,sponsor,cents; kind is open, grab or send (money spent).
    #[arg(long, value_name = "FILE.csv")]
    pub credits: Option<PathBuf>,
    /// Writes the same as it happens, each line at once, with the time and the number of shakes served; a run that is
    /// killed leaves what its phones had heard. Needs the lean engine.
    #[arg(long, value_name = "FILE.csv")]
    pub journal: Option<PathBuf>,
    /// Instead of load.sessions: how many sessions, one user each.
    #[arg(long, value_name = "N")]
    pub sessions: Option<u32>,
    /// Instead of load.shakes_per_second: the rate over all sessions.
    #[arg(long, value_name = "N")]
    pub shakes_per_second: Option<u32>,
    /// Instead of load.seconds: how long the shaking lasts.
    #[arg(long, value_name = "N")]
    pub seconds: Option<u32>,
    /// Plays only these of the scenario's users, both included, with their share of its rates: for several processes
    /// or hosts that together play all.
    #[arg(long, value_name = "FIRST..LAST", conflicts_with = "sessions")]
    pub users: Option<Users>,
    /// When the first step begins: a Unix time in seconds, or next-minute, the first full minute after the ramp. Several
    /// processes that start at one time play their steps side by side, so that their reports can be added up.
    #[arg(long, value_name = "TIME")]
    pub start_at: Option<Start>,
    /// Where the run listens to `client-sim ctl`, instead of the usual socket.
    #[arg(long, value_name = "PATH")]
    pub control: Option<PathBuf>,
    /// Instead of target.address: where the one gateway listens. When the host is a name, the certificate must be for it, and the
    /// scenario's cues are given there.
    #[arg(long, value_name = "HOST:PORT")]
    pub target: Option<String>,
    /// Instead of target.server_name: the name that the gateway's certificate is for.
    #[arg(long, value_name = "NAME")]
    pub server_name: Option<String>,
    /// Instead of target.ca and users.token_key: a directory that `certs generate` made.
    #[arg(long, value_name = "DIR")]
    pub certs: Option<PathBuf>,
    /// Instead of engine.kind: quinn or lean. The same scenario through both gives the same outcomes but for chance; see
    /// `client-sim report --within`.
    #[arg(long, value_name = "KIND")]
    pub engine: Option<String>,
    /// Writes the report as one page with curves, for a browser; it fetches nothing.
    #[arg(long, value_name = "FILE.html")]
    pub html: Option<PathBuf>,
    /// Also shows CPU and memory of this process; may be given several times.
    #[arg(long, value_name = "NAME=PID")]
    pub watch_pid: Vec<Watched>,
    /// Also shows what the gateway counts: its shakes, packets released and gifts; read once a second.
    #[arg(long, value_name = "URL")]
    pub metrics: Option<String>,
    /// No progress on stderr.
    #[arg(long, short)]
    pub quiet: bool,
}

#[derive(Args)]
pub struct Compare {
    /// A run.
    pub a: PathBuf,
    /// Another run to compare it with.
    pub b: Option<PathBuf>,
    /// Prints each figure as {a, b, difference, ratio, sigmas} by its name, as one JSON object; for one run, its report.
    #[arg(long)]
    pub json: bool,
    /// Tells whether both runs gave the same outcomes: looks only at counts that are drawn (greetings, wins, packets
    /// opened, grabs, ...), and fails when one lies further apart than so many standard deviations.
    #[arg(long, value_name = "SIGMAS", requires = "b", value_parser = sigmas)]
    pub within: Option<f64>,
    /// Writes a page: of one run with its curves, of two with their figures.
    #[arg(long, value_name = "FILE.html")]
    pub html: Option<PathBuf>,
}

const REPORT_HELP: &str = "\
Sigmas tell how far a count of the second run lies from the first, in standard deviations of what chance makes of it: \
greetings are so many of all outcomes, packets opened so many of those won. Of equal runs one count in 370 lies 3 \
apart, and one in 16,000 lies 4 apart.

Exit codes:
  0  all is well
  1  no report: a file that cannot be read or written
  2  with --within, a count lies further apart

Examples:
  client-sim report run.json --html run.html
  client-sim report before.json after.json --html both.html
  client-sim report lean.json quinn.json --within 4";

const RUN_HELP: &str = "\
A run has four stages: all sessions connect and say Hello; they shake by an open-loop schedule, even over users and \
time, in one step or several with a rate each, and claim, send, grab and look as [packets] says; they go on listening until \
nothing has been under way for a second, then begin nothing new, some ask for their wallets, and the last answers are \
waited for, so that phones and ledger agree to the cent; the connections are closed. Ctrl-C ends the shaking early and still \
reports; a second Ctrl-C does not wait for the last answers.

Latency counts from the moment at which a shake was due, not from when it was sent, so a stall shows in full.

With [network.NAME] tables a simulated network stands between shares of the phones and the gateway: round trip, jitter, \
loss, reordering, duplication, NATs that rebind, paths that die. The report has figures for each. The quinn engine then \
takes a socket for each phone (see `ulimit -n`); the lean engine needs two or more for phones that move.

JSON, one object: scenario, stopped_early, sessions, shakes, steps, networks, outcomes, phases, slow_downs, refusals, latency, \
claims, packets, cents, packages, hellos_again, pushes, cues, resources, environment, series, errors, checks, remarks. \
Field names are stable; *_s are seconds, *_us microseconds, *_share run from 0 to 1, money is whole cents.

Exit codes:
  0  the run went through
  1  no run: a bad scenario or file, or no session could connect
  2  the run went through, but the gateway did what no correct one does: a packet opened twice, an answer that
     changed, a wallet or view that does not add up, a malformed reply, ... (see `checks` in the report)
  3  the run went through, but a cue could not be given (see `cues` in the report)

Examples:
  client-sim run --certs certs
  client-sim run deploy/scenarios/twenty-thousand.toml --target 10.0.0.5:4433 --json > run.json
  client-sim run --sessions 200 --shakes-per-second 200 --seconds 5 --opened opened.csv
  client-sim run deploy/scenarios/million.toml --users 1..500000 --start-at next-minute
  client-sim run --html run.html --metrics http://127.0.0.1:9433/metrics --watch-pid gateway=$(pidof gateway)
  client-sim run deploy/scenarios/gala.toml --certs certs --credits credits.csv
  client-sim run deploy/scenarios/mobile.toml --certs certs --sessions 2000 --html run.html";

/// A number of standard deviations.
fn sigmas(text: &str) -> Result<f64, String> {
    let wrong = || format!("{text:?} must be a number above 0, such as 4");
    text.parse()
        .ok()
        .filter(|sigmas| *sigmas > 0.0 && f64::is_finite(*sigmas))
        .ok_or_else(wrong)
}
