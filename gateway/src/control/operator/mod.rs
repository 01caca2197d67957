//! The operator's side: `gateway push`, `cue`, `status`, `drain`, `reload`. Every command goes to all its targets at once, says a line
//! for each, and succeeds only when all of them did.

mod change;
mod client;
mod clock;
mod drain;
pub mod here;
mod reload;
mod status;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use client::{Answer, Client, Operator};
use host::console;
use shake_proto::admin_v1::{self as v1, reply};
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Args)]
pub struct Targets {
    /// Control port of a gateway; give it once for each gateway
    #[arg(long = "target", value_name = "HOST:PORT", default_value = "127.0.0.1:4434")]
    targets: Vec<String>,
    /// Directory with ca.pem, operator.pem and operator.key.pem
    #[arg(long, value_name = "DIR", default_value = "certs")]
    certs: PathBuf,
    /// One JSON object for each gateway and line
    #[arg(long)]
    json: bool,
}

#[derive(Subcommand)]
pub enum Push {
    /// Replace the show
    Show(PushArgs),
    /// Replace the limits and grades
    Throttle(PushArgs),
}

#[derive(Args)]
pub struct PushArgs {
    /// The file; all of it is pushed
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    change: ChangeArgs,
}

#[derive(Args)]
struct ChangeArgs {
    /// Tell the difference and every error, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// The version that this makes; without it, one above the highest of all targets
    #[arg(long, value_name = "N")]
    version: Option<u64>,
    #[command(flatten)]
    targets: Targets,
}

#[derive(Args)]
pub struct CueArgs {
    /// The cue, as [cues] of the show names it
    name: String,
    /// So long from now, such as 10s or 1m30s; the same moment on every gateway, whatever their clocks say
    #[arg(long = "in", value_name = "DURATION", conflicts_with = "at", value_parser = clock::duration)]
    delay: Option<std::time::Duration>,
    /// At this time by each gateway's own clock, such as 2027-02-05T20:00:00+08:00
    #[arg(long, value_name = "TIME", value_parser = clock::timestamp)]
    at: Option<u64>,
    #[command(flatten)]
    change: ChangeArgs,
}

#[derive(Args)]
pub struct StatusArgs {
    /// A line for each gateway every second, until Ctrl-C
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    targets: Targets,
}

#[derive(Args)]
pub struct ReloadArgs {
    /// Check every file and tell the difference, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Signal this process of the same machine instead, and wait for what it says; needs no certificate. For ExecReload=
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(i32).range(1..), conflicts_with_all = ["targets", "certs", "json", "dry_run"])]
    pub pid: Option<i32>,
    /// Its configuration, which names its state directory
    #[arg(long, value_name = "FILE", requires = "pid")]
    pub config: Option<PathBuf>,
    #[command(flatten)]
    targets: Targets,
}

#[derive(Args)]
pub struct DrainArgs {
    /// The window over which sessions leave, 1s to 1h
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = clock::duration)]
    over: std::time::Duration,
    /// Another gateway that phones may go to; give it once for each
    #[arg(long = "alternative", value_name = "HOST:PORT", value_parser = clock::host_and_port)]
    alternatives: Vec<String>,
    #[command(flatten)]
    targets: Targets,
}

/// What became of one target: a line for people, an object for programs, and whether it went well.
struct Line {
    text: String,
    json: serde_json::Value,
    is_good: bool,
}

impl Line {
    fn failed(target: &str, error: &anyhow::Error) -> Self {
        Self {
            text: format!("{target}  FAILED  {error:#}"),
            json: serde_json::json!({ "target": target, "result": "failed", "message": format!("{error:#}") }),
            is_good: false,
        }
    }

    fn refused(target: &str, refused: &v1::Refused) -> Self {
        let name = client::refusal_name(refused);
        let problems: Vec<_> = refused
            .problems
            .iter()
            .map(|problem| match problem.line {
                0 => format!("\n    {}", problem.message),
                line => format!("\n    line {line}: {}", problem.message),
            })
            .collect();
        let list: Vec<_> = refused
            .problems
            .iter()
            .map(|problem| serde_json::json!({ "line": problem.line, "message": problem.message }))
            .collect();
        Self {
            text: format!("{target}  REFUSED  {name}: {}{}", refused.message, problems.concat()),
            json: serde_json::json!({
                "target": target, "result": "refused", "refusal": name, "message": refused.message, "problems": list,
            }),
            is_good: false,
        }
    }
}

pub fn push(push: &Push) -> Result<ExitCode> {
    run(change::push(push))
}

pub fn cue(args: &CueArgs) -> Result<ExitCode> {
    run(change::cue(args))
}

pub fn status(args: &StatusArgs) -> Result<ExitCode> {
    run(status::status(args))
}

pub fn drain(args: &DrainArgs) -> Result<ExitCode> {
    run(drain::drain(args))
}

pub fn reload(args: &ReloadArgs) -> Result<ExitCode> {
    run(reload::reload(args))
}

fn run(command: impl Future<Output = Result<ExitCode>>) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("cannot start the network runtime")?.block_on(command)
}

/// A target, and the connection to it or why there is none.
type Connected = (String, Result<Client>);

/// Connects to all targets at once; they come back in the order in which they were given.
async fn connect(targets: &Targets) -> Result<Vec<Connected>> {
    let operator = Operator::read(&targets.certs)?;
    let connecting = targets.targets.iter().map(|target| {
        let (operator, target) = (operator.clone(), target.clone());
        tokio::spawn(async move {
            let client = Client::connect(&operator, &target).await;
            (target, client)
        })
    });
    join(connecting.collect()).await
}

/// Asks every connected target for one thing, all at once, and says a line for each.
async fn ask_all(
    connected: Vec<Connected>,
    is_json: bool,
    request: impl Fn(&Client) -> v1::Request,
    line: fn(&Client, &Answer) -> Line,
) -> Result<ExitCode> {
    let asking = connected.into_iter().map(|(target, client)| {
        let request = client.as_ref().ok().map(&request);
        tokio::spawn(async move {
            let (client, request) =
                match client.and_then(|client| Ok((client, request.context("one for each client")?))) {
                    Ok(both) => both,
                    Err(error) => return Line::failed(&target, &error),
                };
            let line = match client.ask(request).await {
                Err(error) => Line::failed(&target, &error),
                Ok(answer) => match &answer.result {
                    reply::Result::Refused(refused) => Line::refused(&target, refused),
                    _ => line(&client, &answer),
                },
            };
            client.close().await;
            line
        })
    });
    let lines = join(asking.collect()).await?;
    say(&lines, is_json)
}

/// Ends the connections in good order, all at once.
async fn close_all(clients: impl IntoIterator<Item = Client>) -> Result<()> {
    let closing = clients.into_iter().map(|client| tokio::spawn(client.close()));
    join(closing.collect()).await.map(drop)
}

async fn join<T>(tasks: Vec<tokio::task::JoinHandle<T>>) -> Result<Vec<T>> {
    let mut results = Vec::with_capacity(tasks.len());
    for task in tasks {
        results.push(task.await.context("a task of this program panicked; this is a bug")?);
    }
    Ok(results)
}

/// Says a line for each target. Whoever closed the pipe still gets the right exit code.
fn say(lines: &[Line], is_json: bool) -> Result<ExitCode> {
    for line in lines {
        console::line(&if is_json {
            line.json.to_string()
        } else {
            line.text.clone()
        })?;
    }
    Ok(if lines.iter().all(|line| line.is_good) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
