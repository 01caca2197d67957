//! `push` and `cue`: a change on all targets under one version.

use super::client::{Answer, Client};
use super::{ChangeArgs, Connected, CueArgs, Line, Push, ask_all, connect};
use anyhow::{Context, Result, bail};
use shake_proto::admin_v1::{self as v1, reply, request::Kind};
use shake_rules::UnixMillis;
use shake_rules::kept::{self, sha256};
use std::process::ExitCode;

pub async fn push(push: &Push) -> Result<ExitCode> {
    let (kind, args) = match push {
        Push::Show(args) => (v1::Kind::Show, args),
        Push::Throttle(args) => (v1::Kind::Throttle, args),
    };
    let text =
        std::fs::read_to_string(&args.file).with_context(|| format!("cannot read the file {}", args.file.display()))?;
    let hash = sha256(&text);
    let connected = connect(&args.change.targets).await?;
    let has_it = |status: &v1::Status| match kind {
        v1::Kind::Show => status.show_sha256 == hash,
        _ => status.throttle_sha256 == hash,
    };
    let version = version(&args.change, &connected, &has_it);
    let now = moment_of_now(version, &connected, &has_it);
    let request = |client: &Client| {
        let push = v1::Push {
            kind: kind as i32,
            text: text.clone(),
            version,
            dry_run: args.change.dry_run,
            now_ms: client.its_time(now),
        };
        v1::Request {
            kind: Some(Kind::Push(push)),
        }
    };
    ask_all(connected, args.change.targets.json, request, line).await
}

pub async fn cue(args: &CueArgs) -> Result<ExitCode> {
    let now_ms = super::clock::now_us() / 1_000;
    let (moment, is_ours) = match (args.delay, args.at) {
        (Some(delay), None) => (now_ms.saturating_add(delay.as_millis() as u64), true),
        (None, Some(at)) => (at, false),
        (None, None) => (now_ms, true),
        (Some(_), Some(_)) => bail!("--in and --at exclude each other"),
    };
    let connected = connect(&args.change.targets).await?;
    let version = version(&args.change, &connected, &|_| false);
    let request = |client: &Client| {
        let cue = v1::Cue {
            name: args.name.clone(),
            at_ms: if is_ours { client.its_time(moment) } else { moment },
            version,
            dry_run: args.change.dry_run,
        };
        v1::Request {
            kind: Some(Kind::Cue(cue)),
        }
    };
    ask_all(connected, args.change.targets.json, request, line).await
}

/// The version that a change makes: one that follows the clock, above the highest of all targets; or the highest itself where
/// it has this content already, so that a repeated push brings up those behind and leaves the others alone.
fn version(args: &ChangeArgs, connected: &[Connected], has_it: &dyn Fn(&v1::Status) -> bool) -> u64 {
    if let Some(version) = args.version {
        return version;
    }
    let statuses = || clients(connected).map(|client| &client.status);
    let highest = statuses().map(|status| status.version).max().unwrap_or(0);
    let is_there = statuses().any(|status| status.version == highest && has_it(status));
    let all_good = statuses().all(|status| has_it(status) || status.version < highest);
    if is_there && all_good {
        highest
    } else {
        kept::new_version(highest, UnixMillis(super::clock::now_us() / 1_000))
    }
}

/// What `starts = "now"` is to mean on all targets, by our clock: this moment, or for those that are only brought up to a
/// version what it means where that version is.
fn moment_of_now(version: u64, connected: &[Connected], has_it: &dyn Fn(&v1::Status) -> bool) -> u64 {
    let holder = clients(connected).find(|client| client.status.version == version && has_it(&client.status));
    holder.map_or_else(
        || super::clock::now_us() / 1_000,
        |client| client.our_time(client.status.started_at_ms),
    )
}

fn clients(connected: &[Connected]) -> impl Iterator<Item = &Client> {
    connected.iter().filter_map(|(_, client)| client.as_ref().ok())
}

fn line(client: &Client, answer: &Answer) -> Line {
    let target = &client.target;
    let reply::Result::Changed(changed) = &answer.result else {
        return Line::failed(
            target,
            &anyhow::anyhow!("the gateway answered something else than was asked"),
        );
    };
    let is_dry = changed.shards == 0;
    let is_everywhere = changed.shards_applied == changed.shards;
    let (result, rest) = if is_dry {
        ("dry_run", format!("would be version {}", changed.version))
    } else if changed.already_there {
        ("already_there", format!("version {} has this already", changed.version))
    } else {
        let took_ms = changed.applied_after_us as f64 / 1e3;
        let (on, of) = (changed.shards_applied, changed.shards);
        (
            "done",
            format!(
                "version {} on {on} of {of} shards after {took_ms:.1} ms",
                changed.version
            ),
        )
    };
    let mut text = format!("{target}  {result}  {rest}; clock {}", client.offset);
    for line in &changed.differences {
        text.push_str(&format!("\n    {line}"));
    }
    if is_dry && changed.differences.is_empty() {
        text.push_str("\n    (no difference)");
    }
    for remark in &changed.remarks {
        text.push_str(&format!("\n    {remark}"));
    }
    if !is_everywhere {
        text.push_str("\n    WARNING: not all shards run it yet; look with `gateway status`");
    }
    if !changed.not_kept.is_empty() {
        text.push_str(&format!(
            "\n    WARNING: it holds, but would not outlive a restart: {}",
            changed.not_kept
        ));
    }
    Line {
        text,
        json: serde_json::json!({
            "target": target, "result": result, "version": changed.version,
            "differences": changed.differences, "remarks": changed.remarks,
            "shards": changed.shards, "shards_applied": changed.shards_applied,
            "applied_after_us": changed.applied_after_us, "not_kept": changed.not_kept,
            "clock": client.offset.json(),
        }),
        is_good: is_everywhere && changed.not_kept.is_empty(),
    }
}
