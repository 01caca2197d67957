//! The command line of the simulator: reads flags and files, runs, prints.

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand};
use client_sim::control::{self, Status};
use client_sim::engine::Stop;
use client_sim::progress::Progress;
use client_sim::report::{Comparison, Report, Watched, page, write_credits, write_opened};
use client_sim::run::{self, Verdict, Watch};
use client_sim::scenario::{DEFAULT, Overrides, Scenario, Start, Users};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Simulates the phones of a shake event: real QUIC sessions that shake, win, claim and share.
#[derive(Parser)]
#[command(version, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
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
struct Ctl {
    /// The socket of the run, when it is not the usual one.
    #[arg(long, value_name = "PATH", global = true)]
    control: Option<PathBuf>,
    #[command(subcommand)]
    request: Request,
}

#[derive(Subcommand)]
enum Request {
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
struct Run {
    /// The scenario file; without it, the built-in one: 1,000 sessions, 1,000 shakes/s, 20 s (see `client-sim scenario`).
    scenario: Option<PathBuf>,
    /// Prints the report as one JSON object on stdout, and nothing else there.
    #[arg(long)]
    json: bool,
    /// Writes each packet that a client opened as a line packet,user,sponsor,cents, to compare with the ledger.
    #[arg(long, value_name = "FILE.csv")]
    opened: Option<PathBuf>,
    /// Writes all money that moved as lines kind,packet,user,sponsor,cents; kind is open, grab or send (money spent).
    #[arg(long, value_name = "FILE.csv")]
    credits: Option<PathBuf>,
    /// Writes the same as it happens, each line at once, with the time and the number of shakes served; a run that is
    /// killed leaves what its phones had heard. Needs the lean engine.
    #[arg(long, value_name = "FILE.csv")]
    journal: Option<PathBuf>,
    /// Instead of load.sessions: how many sessions, one user each.
    #[arg(long, value_name = "N")]
    sessions: Option<u32>,
    /// Instead of load.shakes_per_second: the rate over all sessions.
    #[arg(long, value_name = "N")]
    shakes_per_second: Option<u32>,
    /// Instead of load.seconds: how long the shaking lasts.
    #[arg(long, value_name = "N")]
    seconds: Option<u32>,
    /// Plays only these of the scenario's users, both included, with their share of its rates: for several processes
    /// or hosts that together play all.
    #[arg(long, value_name = "FIRST..LAST", conflicts_with = "sessions")]
    users: Option<Users>,
    /// When the first step begins: a Unix time in seconds, or next-minute, the first full minute after the ramp. Several
    /// processes that start at one time play their steps side by side, so that their reports can be added up.
    #[arg(long, value_name = "TIME")]
    start_at: Option<Start>,
    /// Where the run listens to `client-sim ctl`, instead of the usual socket.
    #[arg(long, value_name = "PATH")]
    control: Option<PathBuf>,
    /// Instead of target.address: where the gateway listens.
    #[arg(long, value_name = "HOST:PORT")]
    target: Option<String>,
    /// Instead of target.ca and users.token_key: a directory that `certs generate` made.
    #[arg(long, value_name = "DIR")]
    certs: Option<PathBuf>,
    /// Instead of engine.kind: quinn or lean. The same scenario through both gives the same outcomes but for chance; see
    /// `client-sim report --within`.
    #[arg(long, value_name = "KIND")]
    engine: Option<String>,
    /// Writes the report as one page with curves, for a browser; it fetches nothing.
    #[arg(long, value_name = "FILE.html")]
    html: Option<PathBuf>,
    /// Also shows CPU and memory of this process; may be given several times.
    #[arg(long, value_name = "NAME=PID")]
    watch_pid: Vec<Watched>,
    /// Also shows what the gateway counts: its shakes, packets released and gifts; read once a second.
    #[arg(long, value_name = "URL")]
    metrics: Option<String>,
    /// No progress on stderr.
    #[arg(long, short)]
    quiet: bool,
}

#[derive(Args)]
struct Compare {
    /// A run.
    a: PathBuf,
    /// Another run to compare it with.
    b: Option<PathBuf>,
    /// Prints each figure as {a, b, difference, ratio, sigmas} by its name, as one JSON object; for one run, its report.
    #[arg(long)]
    json: bool,
    /// Tells whether both runs gave the same outcomes: looks only at counts that are drawn (greetings, wins, packets
    /// opened, grabs, ...), and fails when one lies further apart than so many standard deviations.
    #[arg(long, value_name = "SIGMAS", requires = "b", value_parser = sigmas)]
    within: Option<f64>,
    /// Writes a page: of one run with its curves, of two with their figures.
    #[arg(long, value_name = "FILE.html")]
    html: Option<PathBuf>,
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

JSON, one object: scenario, stopped_early, sessions, shakes, steps, outcomes, phases, slow_downs, refusals, latency, \
claims, packets, cents, packages, hellos_again, pushes, cues, resources, environment, series, errors, checks, remarks. \
Field names are stable; *_s are seconds, *_us microseconds, *_share run from 0 to 1, money is whole cents.

Exit codes:
  0  the run went through
  1  no run: a bad scenario or file, or no session could connect
  2  the run went through, but the gateway did what no correct one does: a packet opened twice, an answer that
     changed, a wallet or view that does not add up, a malformed reply, ... (see `checks` in the report)

Examples:
  client-sim run --certs certs
  client-sim run deploy/scenarios/twenty-thousand.toml --target 10.0.0.5:4433 --json > run.json
  client-sim run --sessions 200 --shakes-per-second 200 --seconds 5 --opened opened.csv
  client-sim run deploy/scenarios/million.toml --users 1..500000 --start-at next-minute
  client-sim run --html run.html --metrics http://127.0.0.1:9433/metrics --watch-pid gateway=$(pidof gateway)
  client-sim run deploy/scenarios/gala.toml --certs certs --credits credits.csv";

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Run(flags) => simulate(&flags),
        Command::Report(flags) => compare(&flags),
        Command::Hostile(options) => client_sim::hostile::run(&options).map_err(Into::into),
        Command::Ctl(flags) => steer(&flags),
        Command::Check { scenario } => check(&scenario),
        Command::Scenario => print(DEFAULT).map(|()| 0),
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("client-sim: {error:#}");
            ExitCode::from(1)
        }
    }
}

fn simulate(flags: &Run) -> Result<u8> {
    let overrides = Overrides {
        sessions: flags.sessions,
        shakes_per_second: flags.shakes_per_second,
        seconds: flags.seconds,
        users: flags.users.clone(),
        start: flags.start_at.unwrap_or_default(),
        control: flags.control.clone().or_else(usual_control),
        journal: flags.journal.clone(),
        target: flags.target.clone(),
        certs: flags.certs.clone(),
        engine: flags.engine.clone(),
    };
    let scenario = read_scenario(flags.scenario.as_deref(), &overrides)?;
    let mut opened = flags.opened.as_deref().map(create).transpose()?;
    let mut html = flags.html.as_deref().map(create).transpose()?;
    let mut credits = flags.credits.as_deref().map(create).transpose()?;

    let watch = Watch {
        processes: flags.watch_pid.clone(),
        metrics: flags.metrics.clone(),
    };
    let stop = Arc::new(Stop::default());
    run::stop_on_signals(stop.clone()).context("cannot wait for signals")?;
    let mut progress = (!flags.quiet).then(|| Progress::new(scenario.sessions, scenario.seconds()));
    let outcome = run::run(scenario, &watch, &stop, &mut |snapshot| {
        if let Some(progress) = &mut progress {
            progress.show(snapshot);
        }
    })?;

    if let Some(out) = &mut opened {
        write_opened(&outcome.opened, out)
            .and_then(|()| out.flush())
            .context("cannot write the opened packets")?;
    }
    if let Some(out) = &mut credits {
        write_credits(&outcome.opened, &outcome.credits, out)
            .and_then(|()| out.flush())
            .context("cannot write the credits")?;
    }
    if let Some(out) = &mut html {
        out.write_all(page(&outcome.report).as_bytes())
            .and_then(|()| out.flush())
            .context("cannot write the page")?;
    }
    if flags.json {
        print(&format!("{}\n", serde_json::to_string_pretty(&outcome.report)?))?;
    } else {
        print(&outcome.report.to_text())?;
    }
    if outcome.verdict == Verdict::NobodyConnected {
        let target = &outcome.report.scenario.target;
        eprintln!(
            "client-sim: no session got through to {target}; is the gateway up, with certificates of the same CA?"
        );
    }
    Ok(outcome.verdict.exit_code())
}

fn compare(flags: &Compare) -> Result<u8> {
    let read = |path: &Path| -> Result<serde_json::Value> {
        let text = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_slice(&text)
            .with_context(|| format!("{} is not what `client-sim run --json` prints", path.display()))
    };
    let a = read(&flags.a)?;
    let mut differs = false;
    let (html, json, text) = match &flags.b {
        Some(path) => {
            let b = read(path)?;
            let mut comparison = Comparison::of(&a, &b);
            let (first, second) = (report(a, &flags.a)?, report(b, path)?);
            let mut verdict = String::new();
            if let Some(within) = flags.within {
                comparison = comparison.drawn();
                let beyond: Vec<_> = comparison.beyond(within).map(|(name, _)| name).collect();
                differs = !beyond.is_empty();
                verdict = match &beyond[..] {
                    [] => format!("every count agrees within {within} standard deviations\n"),
                    names => format!(
                        "further apart than {within} standard deviations: {}\n",
                        names.join(", ")
                    ),
                };
            }
            let names = [&flags.a, path].map(|path| path.display().to_string());
            let html = comparison.to_html([&names[0], &names[1]], [&first, &second]);
            let text = comparison.to_text() + &verdict;
            (html, serde_json::to_string_pretty(&comparison)?, text)
        }
        None => {
            let report = report(a, &flags.a)?;
            (page(&report), serde_json::to_string_pretty(&report)?, report.to_text())
        }
    };
    if let Some(path) = &flags.html {
        std::fs::write(path, html).with_context(|| format!("cannot write {}", path.display()))?;
    }
    print(&if flags.json { format!("{json}\n") } else { text })?;
    Ok(if differs { 2 } else { 0 })
}

fn report(value: serde_json::Value, path: &Path) -> Result<Report> {
    serde_json::from_value(value).with_context(|| format!("{} is not a report of `client-sim run`", path.display()))
}

fn sigmas(text: &str) -> Result<f64, String> {
    let wrong = || format!("{text:?} must be a number above 0, such as 4");
    text.parse()
        .ok()
        .filter(|sigmas| *sigmas > 0.0 && f64::is_finite(*sigmas))
        .ok_or_else(wrong)
}

/// The usual socket; none when another run has it, which is told.
fn usual_control() -> Option<PathBuf> {
    let path = control::default_path();
    if control::is_taken(&path) {
        eprintln!(
            "client-sim: another run listens at {}; `client-sim ctl` will not reach this one without a --control of its own",
            path.display()
        );
        return None;
    }
    Some(path)
}

fn steer(flags: &Ctl) -> Result<u8> {
    let path = flags.control.clone().unwrap_or_else(control::default_path);
    let (request, is_table) = match &flags.request {
        Request::Rate { shakes_per_second } => (format!("rate {shakes_per_second}"), false),
        Request::Status { json } => ("status".to_owned(), !json),
        Request::Stop => ("stop".to_owned(), false),
    };
    let mut answer = control::ask(&path, &request)?;
    if is_table {
        let status: Status = serde_json::from_str(&answer).context("the run speaks another version's language")?;
        answer = format!(
            "{} for {} s · step {} at {} shakes/s · {} online · {} sent, {} answered, {} unanswered, p99 {:.1} ms · {} packets opened",
            status.stage,
            status.stage_ms / 1_000,
            status.step,
            status.shakes_per_second,
            status.online,
            status.sent,
            status.answered,
            status.unanswered,
            status.p99_us as f64 / 1e3,
            status.opened
        );
    }
    print(&format!("{answer}\n")).map(|()| 0)
}

fn check(path: &Path) -> Result<u8> {
    let scenario = read_scenario(Some(path), &Overrides::default())?;
    print(&format!(
        "{}: good: {} sessions to {}, up to {} shakes/s for {} s in {}\n",
        path.display(),
        scenario.sessions,
        scenario.address,
        scenario.shakes_per_second(),
        scenario.seconds(),
        if scenario.steps.len() == 1 {
            "one step".to_owned()
        } else {
            format!("{} steps", scenario.steps.len())
        }
    ))?;
    Ok(0)
}

fn read_scenario(path: Option<&Path>, overrides: &Overrides) -> Result<Scenario> {
    let (name, text) = match path {
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("cannot read the scenario {}", path.display()))?;
            (path.display().to_string(), text)
        }
        None => ("the built-in scenario".to_owned(), DEFAULT.to_owned()),
    };
    match Scenario::parse(&text, overrides) {
        Ok(scenario) => Ok(scenario),
        Err(problems) => bail!("{name} has errors:\n{problems}"),
    }
}

/// Opened before the run, so that a bad path does not cost a run's figures.
fn create(path: &Path) -> Result<BufWriter<File>> {
    let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(BufWriter::new(file))
}

fn print(text: &str) -> Result<()> {
    std::io::stdout()
        .write_all(text.as_bytes())
        .context("cannot write to stdout")
}
