//! `drain`: sends a gateway's sessions away and lets it end. When no other gateway is named that phones may go to, it asks.

use super::DrainArgs;
use super::client::{Answer, Client};
use super::fleet::{self, Fleet, Line, STRAGGLERS};
use anyhow::{Context, Result, bail};
use host::console;
use shake_proto::admin_v1::{self as v1, reply, request::Kind};
use std::io::{IsTerminal, stdin};
use std::process::ExitCode;

pub async fn drain(args: &DrainArgs) -> Result<ExitCode> {
    let over_ms = u32::try_from(args.over.as_millis())
        .ok()
        .filter(|ms| shake_proto::admin::DRAIN_MS.contains(ms))
        .context("--over must be 1s to 1h")?;
    let mut fleet = Fleet::begin(&args.targets)?;
    if args.cancel {
        let request = |_: &Client| v1::Request {
            kind: Some(Kind::CancelDrain(v1::CancelDrain {})),
        };
        return Ok(fleet::code(&fleet.ask(request, cancelled).await?));
    }
    fleet.gather(STRAGGLERS).await?;
    let is_last = !leaves_one(args, &fleet);
    if is_last && !args.dry_run && !args.yes && !fleet.clients().is_empty() {
        let question = question(args, fleet.clients());
        if !stdin().is_terminal() {
            fleet.close().await;
            bail!("{question}; name another by --alternative, or give --yes");
        }
        console::tell(&format!("{question}. Type yes to drain:"));
        let mut answer = String::new();
        stdin().read_line(&mut answer).context("cannot read the answer")?;
        if answer.trim() != "yes" {
            fleet.close().await;
            bail!("not drained");
        }
        // Whoever thinks it over for long finds the connections ended.
        fleet.close().await;
        fleet = Fleet::begin(&args.targets)?;
    }
    let request = |_: &Client| {
        let drain = v1::Drain {
            over_ms,
            alternatives: args.alternatives.clone(),
            dry_run: args.dry_run,
        };
        v1::Request {
            kind: Some(Kind::Drain(drain)),
        }
    };
    let line = if args.dry_run { would_drain } else { draining };
    let lines = fleet.ask(request, line).await?;
    if is_last && args.dry_run && !args.targets.json {
        console::line("no gateway would be left that is named: without --dry-run this asks")?;
    }
    Ok(fleet::code(&lines))
}

/// Whether an alternative is named that is there and not to be drained itself. Of a target that does not answer, or not yet,
/// nobody knows the port for phones, so all of its host may be it.
fn leaves_one(args: &DrainArgs, fleet: &Fleet) -> bool {
    let ports = fleet.clients().iter();
    let drained: Vec<_> = ports
        .map(|client| format!("{}:{}", host(&client.target), client.status.phones_port))
        .collect();
    let failed = fleet.failed().iter().map(|line| line.target.as_str());
    let absent: Vec<_> = fleet.silent().chain(failed).map(host).collect();
    args.alternatives
        .iter()
        .any(|other| !drained.contains(other) && !absent.contains(&host(other)))
}

fn host(target: &str) -> &str {
    target.rsplit_once(':').map_or("", |(host, _)| host)
}

fn question(args: &DrainArgs, clients: &[Client]) -> String {
    let sessions: u64 = clients.iter().map(|client| sessions(&client.status)).sum();
    let them = match args.alternatives.is_empty() {
        true => "no other gateway is named",
        false => "every gateway that is named is drained with it",
    };
    let (count, names) = (clients.len(), args.targets.targets.join(", "));
    format!("this ends {count} gateway(s), {names}, with {sessions} sessions, and {them} that phones may go to")
}

fn sessions(status: &v1::Status) -> u64 {
    let sessions = status.metrics.iter().find(|metric| metric.name == "gateway_sessions");
    sessions.map_or(0, |metric| metric.value)
}

fn draining(client: &Client, answer: &Answer) -> Line {
    line(client, answer, "draining", "sessions are sent away; it ends by itself")
}

fn would_drain(client: &Client, answer: &Answer) -> Line {
    line(
        client,
        answer,
        "dry_run",
        "sessions would be sent away, and it would end",
    )
}

fn cancelled(client: &Client, answer: &Answer) -> Line {
    line(client, answer, "stays", "sessions are here; others are let in")
}

fn line(client: &Client, answer: &Answer, result: &str, rest: &str) -> Line {
    let target = &client.target;
    let reply::Result::Draining(draining) = &answer.result else {
        return Line::senseless(target);
    };
    let sessions = draining.sessions;
    Line {
        target: target.clone(),
        text: format!("{result}  {sessions} {rest}"),
        json: serde_json::json!({ "target": target, "result": result, "sessions": sessions }),
        is_good: true,
        version: None,
        runs_already: false,
    }
}
