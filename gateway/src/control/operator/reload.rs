//! `reload`: certificates, secret keys and refused operators are read anew on all targets.

use super::ReloadArgs;
use super::client::{Answer, Client};
use super::fleet::{self, Fleet, Line};
use anyhow::Result;
use host::clock::moment;
use shake_proto::admin_v1::{self as v1, reply, request::Kind};
use shake_rules::UnixMillis;
use std::process::ExitCode;

pub async fn reload(args: &ReloadArgs) -> Result<ExitCode> {
    let fleet = Fleet::begin(&args.targets)?;
    let reload = v1::Reload { dry_run: args.dry_run };
    let request = |_: &Client| v1::Request {
        kind: Some(Kind::Reload(reload)),
    };
    Ok(fleet::code(&fleet.ask(request, line).await?))
}

fn line(client: &Client, answer: &Answer) -> Line {
    let target = &client.target;
    let reply::Result::Reloaded(reloaded) = &answer.result else {
        return Line::senseless(target);
    };
    let is_dry = reloaded.shards == 0;
    let is_everywhere = reloaded.shards_applied == reloaded.shards;
    let (result, rest) = if is_dry {
        ("dry_run", "all files are good".to_owned())
    } else {
        let took_ms = reloaded.applied_after_us as f64 / 1e3;
        let (on, of) = (reloaded.shards_applied, reloaded.shards);
        ("reloaded", format!("on {on} of {of} shards after {took_ms:.1} ms"))
    };
    let until = moment(UnixMillis(reloaded.certificate_expires_at_ms));
    let mut text = format!("{result}  {rest}; certificate until {until}");
    for line in &reloaded.differences {
        text.push_str(&format!("\n    {line}"));
    }
    if reloaded.differences.is_empty() {
        text.push_str("\n    (no difference)");
    }
    for remark in &reloaded.remarks {
        text.push_str(&format!("\n    remark: {remark}"));
    }
    if !is_everywhere {
        text.push_str("\n    WARNING: not all shards run it yet; look with `gateway status`");
    }
    Line {
        target: target.clone(),
        version: None,
        runs_already: false,
        text,
        json: serde_json::json!({
            "target": target, "result": result, "differences": reloaded.differences, "remarks": reloaded.remarks,
            "shards": reloaded.shards, "shards_applied": reloaded.shards_applied,
            "applied_after_us": reloaded.applied_after_us,
            "certificate_expires_at_ms": reloaded.certificate_expires_at_ms,
        }),
        is_good: is_everywhere,
    }
}
