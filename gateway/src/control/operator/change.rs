//! `push`: a change on all targets under one version. What `push` and `cue` have in common: the version, the attempt before
//! the change, and what to do when it holds on some targets only.

use super::client::{Answer, Client, Operator};
use super::fleet::{self, Fleet, Line, STRAGGLERS};
use super::{CERTS, ChangeArgs, Push, PushArgs, Targets, get};
use anyhow::{Context, Result};
use host::clock::wall_ms;
use host::console;
use shake_proto::admin_v1::{self as v1, reply, request::Kind};
use shake_rules::UnixMillis;
use shake_rules::kept::{self, WAITS_MS, sha256};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

pub async fn push(args: &PushArgs) -> Result<ExitCode> {
    match (&args.what, &args.from) {
        (Some(Push::Show(file)), _) => push_file(v1::Kind::Show, &file.file, &file.change).await,
        (Some(Push::Throttle(file)), _) => push_file(v1::Kind::Throttle, &file.file, &file.change).await,
        (None, Some(from)) => push_from(from, &args.change).await,
        (None, None) => unreachable!("the command line asks for one of them"),
    }
}

async fn push_file(kind: v1::Kind, file: &Path, args: &ChangeArgs) -> Result<ExitCode> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read the file {}", file.display()))?;
    let hash = sha256(&text);
    let mut fleet = Fleet::begin(&args.targets)?;
    fleet.gather(STRAGGLERS).await?;
    let has_it = |status: &v1::Status| match kind {
        v1::Kind::Show => status.show_sha256 == hash,
        _ => status.throttle_sha256 == hash,
    };
    let version = version(args, fleet.clients(), &has_it);
    let now = moment_of_now(version, fleet.clients(), &has_it);
    let request = |client: &Client, dry_run| {
        let push = v1::Push {
            kind: kind as i32,
            text: text.clone(),
            version,
            dry_run,
            now_ms: client.its_time(now),
        };
        v1::Request {
            kind: Some(Kind::Push(push)),
        }
    };
    make(fleet, args, request, line).await
}

/// Has all targets run what another gateway runs. That one is asked too: where a new number is needed, all have it.
async fn push_from(from: &str, args: &ChangeArgs) -> Result<ExitCode> {
    let source = Client::connect(&Operator::read(&args.targets.certs)?, from).await;
    let source = source.with_context(|| from.to_owned())?;
    let running = get::running(&source).await?;
    let mut targets = args.targets.targets.clone();
    targets.push(from.to_owned());
    let mut fleet = Fleet::begin(&Targets {
        targets,
        certs: args.targets.certs.clone(),
        json: args.targets.json,
    })?;
    fleet.gather(STRAGGLERS).await?;
    let hashes = (sha256(&running.show), sha256(&running.throttle));
    let has_it = |status: &v1::Status| {
        let same = (&status.show_sha256, &status.throttle_sha256) == (&hashes.0, &hashes.1);
        same && status.version == running.version
    };
    let version = version(args, fleet.clients(), &has_it);
    let request = |client: &Client, dry_run| {
        let there = |ms: u64| match ms {
            WAITS_MS => WAITS_MS,
            _ if client.target == source.target => ms,
            ms => client.its_time(source.our_time(ms)),
        };
        let running = v1::Running {
            version,
            started_at_ms: there(running.started_at_ms),
            cues: running
                .cues
                .iter()
                .map(|(name, &ms)| (name.clone(), there(ms)))
                .collect(),
            cuts: running
                .cuts
                .iter()
                .map(|(name, &ms)| (name.clone(), there(ms)))
                .collect(),
            ..running.clone()
        };
        let adopt = v1::Adopt {
            running: Some(running),
            dry_run,
        };
        v1::Request {
            kind: Some(Kind::Adopt(adopt)),
        }
    };
    let made = make(fleet, args, request, line).await;
    source.close().await;
    made
}

/// Makes a change on all targets, and tells what became of each.
pub async fn make(
    mut fleet: Fleet,
    args: &ChangeArgs,
    request: impl Fn(&Client, bool) -> v1::Request,
    line: fn(&Client, &Answer) -> Line,
) -> Result<ExitCode> {
    let is_json = args.targets.json;
    if args.all_or_none && !args.dry_run {
        fleet.gather(Duration::MAX).await?;
        let tried = fleet.try_all(|client| request(client, true), line).await?;
        let bad: Vec<_> = tried.iter().filter(|line| !line.is_good).collect();
        if !bad.is_empty() {
            fleet::tell_together(&bad, is_json)?;
            let message = format!("nothing was changed: {} of {} could not", bad.len(), tried.len());
            summary(
                is_json,
                &message,
                serde_json::json!({ "result": "none", "message": message }),
            )?;
            fleet.close().await;
            return Ok(ExitCode::FAILURE);
        }
    }
    let lines = fleet.ask(|client| request(client, args.dry_run), line).await?;
    if !args.dry_run {
        tell_split(&lines, args)?;
    }
    Ok(fleet::code(&lines))
}

/// Says that a change holds on some targets and not on others, and how to mend it.
fn tell_split(lines: &[Line], args: &ChangeArgs) -> Result<()> {
    // Where a phase runs already it is not to begin anew: those that began it later go by it.
    let runs_already = lines.iter().any(|line| line.runs_already);
    let has_it = |line: &Line| match runs_already {
        true => line.runs_already,
        false => line.version.is_some(),
    };
    let of = |has: bool| {
        let those = lines.iter().filter(|line| has_it(line) == has);
        those.map(|line| line.target.as_str()).collect::<Vec<_>>()
    };
    let is_split = lines.iter().any(|line| line.version.is_some()) && lines.iter().any(|line| line.version.is_none());
    let (on, not_on) = (of(true), of(false));
    let (Some(first), true) = (on.first(), is_split) else {
        return Ok(());
    };
    let what = match lines.iter().find_map(|line| line.version) {
        Some(version) if !runs_already => format!("version {version} holds on"),
        _ => "the phase ran already on".to_owned(),
    };
    let mut mend = format!("gateway push --from {first} --target {}", not_on.join(" --target "));
    if args.targets.certs != Path::new(CERTS) {
        mend.push_str(&format!(" --certs {}", args.targets.certs.display()));
    }
    let kept = match args.all_or_none {
        true => " although all could when they were tried",
        false => "",
    };
    let text = format!(
        "SPLIT  {what} {}, and not as far as is known on {}{kept}. When these answer:\n    {mend}",
        on.join(", "),
        not_on.join(", ")
    );
    let json = serde_json::json!({ "result": "split", "on": on, "not_on": not_on, "mend": mend });
    summary(args.targets.json, &text, json)
}

fn summary(is_json: bool, text: &str, json: serde_json::Value) -> Result<()> {
    console::line(&if is_json { json.to_string() } else { text.to_owned() })?;
    Ok(())
}

/// The version that a change makes: one that follows the clock, above the highest of all targets; or the highest itself where
/// it has this content already, so that a repeated push brings up those behind and leaves the others alone.
pub fn version(args: &ChangeArgs, clients: &[Client], has_it: &dyn Fn(&v1::Status) -> bool) -> u64 {
    if let Some(version) = args.version {
        return version;
    }
    let statuses = || clients.iter().map(|client| &client.status);
    let highest = statuses().map(|status| status.version).max().unwrap_or(0);
    let is_there = statuses().any(|status| status.version == highest && has_it(status));
    let all_good = statuses().all(|status| has_it(status) || status.version < highest);
    if is_there && all_good {
        highest
    } else {
        kept::new_version(highest, UnixMillis(wall_ms()))
    }
}

/// What `starts = "now"` is to mean on all targets, by our clock: for those that are only brought up to a version what it
/// means where that version is; where a phase has begun already, what it means there, or the others would play apart from
/// it; and else this moment.
fn moment_of_now(version: u64, clients: &[Client], has_it: &dyn Fn(&v1::Status) -> bool) -> u64 {
    let is_holder = |client: &&Client| client.status.version == version && has_it(&client.status);
    let begun = || {
        let begun = clients.iter().filter(|client| client.status.has_begun);
        begun.max_by_key(|client| client.status.version)
    };
    let holder = clients.iter().find(is_holder).or_else(begun);
    holder.map_or_else(wall_ms, |client| client.our_time(client.status.started_at_ms))
}

/// What a target says of a change.
pub fn line(client: &Client, answer: &Answer) -> Line {
    let target = &client.target;
    let reply::Result::Changed(changed) = &answer.result else {
        return Line::senseless(target);
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
    let mut text = format!("{result}  {rest}; clock {}", client.offset);
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
        target: target.clone(),
        text,
        json: serde_json::json!({
            "target": target, "result": result, "version": changed.version,
            "differences": changed.differences, "remarks": changed.remarks,
            "shards": changed.shards, "shards_applied": changed.shards_applied,
            "applied_after_us": changed.applied_after_us, "not_kept": changed.not_kept,
            "clock": client.offset.json(),
        }),
        is_good: is_everywhere && changed.not_kept.is_empty(),
        version: Some(changed.version),
        runs_already: false,
    }
}
