//! `ledger init`, `ledger backup` and `ledger copy`.

use super::{Progress, ledger_file, print};
use crate::cli::close::CopyArgs;
use crate::cli::{BackupArgs, InitArgs};
use anyhow::{anyhow, bail};
use shake_agent::backup;
use shake_agent::config::Server;
use shake_agent::ledger;
use shake_agent::seed_file::SeedFile;
use shake_rules::LedgerId;
use shake_rules::seed::SeedHeader;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;

pub fn backup(args: &BackupArgs) -> anyhow::Result<ExitCode> {
    let ledger = ledger_file(&args.ledger)?;
    let mut progress = Progress::begin();
    let stamp = backup::backup(&ledger, &args.to, |done, of| say(&mut progress, done, of))?;
    copied(&ledger, &args.to, stamp)
}

pub fn copy(args: &CopyArgs) -> anyhow::Result<ExitCode> {
    let ledger = ledger_file(&args.ledger)?;
    let mut progress = Progress::begin();
    let stamp = backup::copy(&ledger, &args.to, |done, of| say(&mut progress, done, of))?;
    copied(&ledger, &args.to, stamp)
}

fn say(progress: &mut Progress, done: u64, of: u64) {
    progress.say(|| format!("{} of {} MiB copied", done >> 20, of >> 20));
}

fn copied(ledger: &Path, to: &Path, stamp: u64) -> anyhow::Result<ExitCode> {
    print(&format!(
        "{} is a copy of {}, at its commit {stamp}",
        to.display(),
        ledger.display()
    ))?;
    Ok(ExitCode::SUCCESS)
}

pub fn init(args: &InitArgs) -> anyhow::Result<ExitCode> {
    let server = Server::parse(&args.url, args.password_file.clone(), args.ca_file.clone());
    let server = server.map_err(|fault| anyhow!("--url: {fault}"))?;
    let seeds = args.seeds.iter().map(|seed| Ok(*SeedFile::open(seed)?.header()));
    let seeds = seeds.collect::<anyhow::Result<Vec<SeedHeader>>>()?;
    let (event, parts) = (seeds[0].event, seeds[0].parts);
    let named: BTreeSet<u16> = seeds.iter().map(|seed| seed.part).collect();
    let is_whole = seeds.iter().all(|seed| (seed.event, seed.parts) == (event, parts));
    if !is_whole || named.len() != seeds.len() || seeds.len() != usize::from(parts) {
        bail!(
            "an event's seed has each part once: {} files are given of {} parts, of {parts} that event {event} has",
            seeds.len(),
            named.len()
        );
    }
    let identity = LedgerId(rand::random());
    ledger::init(server.access()?, identity, &seeds, &args.agents)?;
    print(&format!(
        "{server} has the tables of ledger {identity}: event {event}, {parts} part{}",
        if parts == 1 { "" } else { "s" }
    ))?;
    Ok(ExitCode::SUCCESS)
}
