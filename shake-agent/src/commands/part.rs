//! `part status`, `part retire` and `part adopt`.

use super::{print, read_config};
use crate::cli::part::{PartAdoptArgs, PartRetireArgs, PartStatusArgs, WhichServer};
use anyhow::{Context, anyhow, bail};
use jiff::Timestamp;
use serde::Serialize;
use shake_agent::config::{Config, Server};
use shake_agent::ledger::{self, Installation, PartRow, SEEN_MS, when};
use shake_agent::seed_file::SeedFile;
use shake_rules::{PacketId, UnixMillis};
use std::fmt::Write;
use std::path::Path;
use std::process::ExitCode;

pub fn status(args: &PartStatusArgs) -> anyhow::Result<ExitCode> {
    let parts = ledger::parts(server(&args.server)?.access()?)?;
    if args.json {
        let parts: Vec<PartJson> = parts.iter().map(PartJson::of).collect();
        print(&serde_json::to_string(&parts)?)?;
    } else {
        print(&table(&parts))?;
    }
    Ok(ExitCode::SUCCESS)
}

pub fn retire(args: &PartRetireArgs) -> anyhow::Result<ExitCode> {
    let access = server(&args.server)?.access()?;
    let now = UnixMillis(Timestamp::now().as_millisecond().cast_unsigned());
    let lost = ledger::retire(access, args.part, args.force, now)?;
    let names: Vec<String> = lost.iter().copied().map(PacketId::lettered).collect();
    print(&format!(
        "part {} is retired; {} packets are lost until a ticket is shown {}",
        args.part,
        names.len(),
        names.join(" ")
    ))?;
    Ok(ExitCode::SUCCESS)
}

pub fn adopt(args: &PartAdoptArgs) -> anyhow::Result<ExitCode> {
    let seed = *SeedFile::open(&args.seed)?.header();
    if seed.part != args.part {
        bail!(
            "{} is the seed of part {}, and not of part {}",
            args.seed.display(),
            seed.part,
            args.part
        );
    }
    let by_installation = Installation::parse(&args.by);
    let by_config = match by_installation {
        Some(_) => None,
        None => Some(
            read_config(Some(Path::new(&args.by)))
                .context("--by: neither 32 hexadecimal digits nor a configuration")?,
        ),
    };
    let is_named = args.server.config.is_some() || args.server.url.is_some();
    let server = match &by_config {
        Some(config) if !is_named => server_of(config, &args.by)?,
        _ => server(&args.server)?,
    };
    let by = match (by_installation, &by_config) {
        (Some(by), _) => by,
        (None, config) => installation(config.as_ref())?,
    };
    ledger::adopt(server.access()?, &seed, by, args.force)?;
    print(&format!(
        "part {} of {server} is that of the agent of installation {by}; start it with [seed] file = {}",
        args.part,
        args.seed.display()
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// What says in an agent's state directory whose parts are its own; made when there is none.
fn installation(config: Option<&Config>) -> anyhow::Result<Installation> {
    let state = config.and_then(|config| config.state.as_deref());
    let state = state.ok_or_else(|| {
        anyhow!("--by: [state] directory is empty; an agent keeps there what says that a part is its own")
    })?;
    Installation::of(state).with_context(|| format!("--by: [state] directory {}", state.display()))
}

fn server(which: &WhichServer) -> anyhow::Result<Server> {
    match &which.url {
        Some(url) => {
            let server = Server::parse(url, which.password_file.clone(), which.ca_file.clone());
            server.map_err(|fault| anyhow!("--url: {fault}"))
        }
        None => {
            let config = which.config.as_deref();
            let name = config.map_or("the built-in configuration".to_owned(), |path| {
                path.display().to_string()
            });
            server_of(&read_config(config)?, &name)
        }
    }
}

fn server_of(config: &Config, name: &str) -> anyhow::Result<Server> {
    let server = config.server.clone();
    server.ok_or_else(|| anyhow!("{name} has no [ledger] url: parts are of a ledger in PostgreSQL; give --url, or the configuration of an agent of it"))
}

/// What stands with a part, in a word.
fn state(part: &PartRow) -> &'static str {
    match part {
        PartRow { closed: Some(_), .. } => "closed",
        PartRow { retired: Some(_), .. } => "retired",
        PartRow { installation: None, .. } => "unused",
        PartRow {
            seen: Some((_, ago_ms)),
            ..
        } if *ago_ms < SEEN_MS => "served",
        _ => "silent",
    }
}

fn table(parts: &[PartRow]) -> String {
    let mut text = format!(
        "{:>5} {:<8} {:>9} {:>12} {:>12} {:>8} {:>8} {:>6} {:>12}  {:<32} {}",
        "part", "state", "seen", "packets", "released", "held", "lost", "epoch", "commits", "installation", "machine"
    );
    for part in parts {
        let seen = part
            .seen
            .map_or("never".to_owned(), |(_, ago_ms)| format!("{} s ago", ago_ms / 1_000));
        let installation = part
            .installation
            .map_or("-".to_owned(), |installation| installation.to_string());
        let _ = write!(
            text,
            "\n{:>5} {:<8} {:>9} {:>12} {:>12} {:>8} {:>8} {:>6} {:>12}  {:<32} {}",
            part.part,
            state(part),
            seen,
            part.packets,
            part.released,
            part.held,
            part.lost,
            part.epoch,
            part.stamp,
            installation,
            part.machine.as_deref().unwrap_or("-")
        );
    }
    for part in parts {
        for (what, at) in [("retired", part.retired), ("closed", part.closed)] {
            if let Some(at) = at {
                let _ = write!(text, "\npart {} was {what} at {}", part.part, when(at));
            }
        }
    }
    text
}

#[derive(Serialize)]
struct PartJson<'a> {
    part: u16,
    state: &'static str,
    seen_ms: Option<u64>,
    seen_ms_ago: Option<u64>,
    packets: u64,
    released: u64,
    held: u64,
    lost: u64,
    epoch: u64,
    commits: u64,
    installation: Option<String>,
    machine: Option<&'a str>,
    retired_ms: Option<u64>,
    closed_ms: Option<u64>,
}

impl<'a> PartJson<'a> {
    fn of(part: &'a PartRow) -> Self {
        Self {
            part: part.part,
            state: state(part),
            seen_ms: part.seen.map(|(at, _)| at.0),
            seen_ms_ago: part.seen.map(|(_, ago_ms)| ago_ms),
            packets: part.packets,
            released: part.released,
            held: part.held,
            lost: part.lost,
            epoch: part.epoch,
            commits: part.stamp,
            installation: part.installation.map(|installation| installation.to_string()),
            machine: part.machine.as_deref(),
            retired_ms: part.retired.map(|at| at.0),
            closed_ms: part.closed.map(|at| at.0),
        }
    }
}
