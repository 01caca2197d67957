//! `blocks list` and `blocks lift`.

use super::{print, read_config};
use crate::cli::{BlocksCommand, BlocksFileArgs, BlocksLiftArgs, BlocksListArgs, LiftKind};
use anyhow::{Context, anyhow, bail};
use jiff::Timestamp;
use shake_agent::abuse::{KeptFile, request_lift};
use shake_proto::handoff::abuse::Subject;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Exit code of a lift that was asked for, and that no agent has carried out.
const ASKED: u8 = 3;
/// How long a running agent may take to lift a block; it looks each second.
const LIFT_MAX: Duration = Duration::from_secs(4);

pub fn run(command: &BlocksCommand) -> anyhow::Result<ExitCode> {
    match command {
        BlocksCommand::List(args) => list(args),
        BlocksCommand::Lift(args) => lift(args),
    }
}

fn list(args: &BlocksListArgs) -> anyhow::Result<ExitCode> {
    let mut kept = read(&path(&args.at)?)?;
    // An agent that was stopped forgets no block while it is.
    let now_ms = Timestamp::now().as_millisecond().cast_unsigned();
    kept.blocks.retain(|block| block.until_ms > now_ms);
    if args.json {
        print(&serde_json::to_string(&kept)?)?;
    } else {
        print(&table(&kept, now_ms))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn table(kept: &KeptFile, now_ms: u64) -> String {
    let mut text = String::new();
    if !kept.blocks.is_empty() {
        let _ = writeln!(
            text,
            "{:<7} {:<20} {:<10} {:>8} {:>8} {:>9}",
            "kind", "name", "rule", "value", "earlier", "ends in"
        );
    }
    for block in &kept.blocks {
        let _ = writeln!(
            text,
            "{:<7} {:<20} {:<10} {:>8} {:>8} {:>7} s",
            block.kind,
            block.name,
            block.rule,
            block.value,
            block.earlier,
            (block.until_ms - now_ms).div_ceil(1_000)
        );
    }
    let made: u64 = kept.made.values().sum();
    let _ = write!(text, "{} blocked now, {made} ever", kept.blocks.len());
    if kept.held_back > 0 {
        let _ = write!(text, "; {} held back, because so many were blocked", kept.held_back);
    }
    text
}

fn lift(args: &BlocksLiftArgs) -> anyhow::Result<ExitCode> {
    let path = path(&args.at)?;
    let name = args.name.as_deref().unwrap_or_default();
    let subject = match args.kind {
        LiftKind::All => None,
        LiftKind::User => Some(subject("user", name)?),
        LiftKind::Device => Some(subject("device", name)?),
        LiftKind::Prefix => Some(subject("prefix", name)?),
    };
    if !is_listed(&path, subject)? {
        if subject.is_none() {
            print("nobody is blocked")?;
            return Ok(ExitCode::SUCCESS);
        }
        bail!("nothing of that name is blocked; `shake-agent blocks list` shows who is");
    }
    request_lift(&path, subject).with_context(|| format!("cannot ask for it beside {}", path.display()))?;
    let begun = Instant::now();
    while begun.elapsed() < LIFT_MAX {
        if !is_listed(&path, subject)? {
            print("lifted")?;
            return Ok(ExitCode::SUCCESS);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    print("asked for, but no agent took it yet (does one run, with a gateway?); the next one lifts it when it starts")?;
    Ok(ExitCode::from(ASKED))
}

fn subject(kind: &str, name: &str) -> anyhow::Result<Subject> {
    Subject::parse(kind, name).ok_or_else(|| {
        let example = match kind {
            "user" => "a number, such as 10023",
            "device" => "16 hexadecimal digits, such as 00c0ffee00c0ffee",
            _ => "an address prefix, such as 203.0.113.0/24",
        };
        anyhow!("{name:?} is no {kind}; give {example}")
    })
}

/// Whether the subject is blocked, or anybody.
fn is_listed(path: &Path, subject: Option<Subject>) -> anyhow::Result<bool> {
    let kept = read(path)?;
    Ok(match subject {
        None => !kept.blocks.is_empty(),
        Some(subject) => kept
            .blocks
            .iter()
            .any(|block| (block.kind.as_str(), &block.name) == (subject.kind(), &subject.name())),
    })
}

fn read(path: &Path) -> anyhow::Result<KeptFile> {
    KeptFile::read(path).with_context(|| format!("cannot read {}", path.display()))
}

fn path(at: &BlocksFileArgs) -> anyhow::Result<PathBuf> {
    match &at.file {
        Some(file) => Ok(file.clone()),
        None => read_config(at.config.as_deref())?
            .blocks
            .ok_or_else(|| anyhow!("the configuration has no [abuse] file; give one with --file")),
    }
}
