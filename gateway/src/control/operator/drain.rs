//! `drain`: sends a gateway's sessions away and lets it end.

use super::client::{Answer, Client};
use super::{DrainArgs, Line, ask_all, connect};
use anyhow::{Context, Result};
use shake_proto::admin_v1::{self as v1, reply, request::Kind};
use std::process::ExitCode;

pub async fn drain(args: &DrainArgs) -> Result<ExitCode> {
    let over_ms = u32::try_from(args.over.as_millis())
        .ok()
        .filter(|ms| shake_proto::admin::DRAIN_MS.contains(ms))
        .context("--over must be 1s to 1h")?;
    let connected = connect(&args.targets).await?;
    let request = |_: &Client| {
        let drain = v1::Drain {
            over_ms,
            alternatives: args.alternatives.clone(),
        };
        v1::Request {
            kind: Some(Kind::Drain(drain)),
        }
    };
    ask_all(connected, args.targets.json, request, line).await
}

fn line(client: &Client, answer: &Answer) -> Line {
    let target = &client.target;
    let reply::Result::Draining(draining) = &answer.result else {
        return Line::failed(
            target,
            &anyhow::anyhow!("the gateway answered something else than was asked"),
        );
    };
    let sessions = draining.sessions;
    Line {
        text: format!("{target}  draining  {sessions} sessions are sent away; it ends by itself"),
        json: serde_json::json!({ "target": target, "result": "draining", "sessions": sessions }),
        is_good: true,
    }
}
