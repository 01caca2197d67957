//! `ledger init`, `ledger backup`, `ledger copy` and `ledger accept-loss`.

use super::{Progress, file_config, ledger_file, print};
use crate::cli::close::CopyArgs;
use crate::cli::{AcceptLossArgs, BackupArgs, InitArgs};
use anyhow::{anyhow, bail};
use jiff::Timestamp;
use shake_agent::backup;
use shake_agent::config::Server;
use shake_agent::ledger;
use shake_agent::loss::{self, Places};
use shake_agent::seed_file::SeedFile;
use shake_agent::settlement::Line;
use shake_rules::money::{money, signed};
use shake_rules::seed::SeedHeader;
use shake_rules::{LedgerId, PacketId, UnixMillis};
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

pub fn accept_loss(args: &AcceptLossArgs) -> anyhow::Result<ExitCode> {
    let config = file_config(args.config.as_deref())?;
    let places = Places {
        ledger: &config.ledger,
        seed: &config.seed,
        settlement: config.settlement.as_deref(),
        state: config.state.as_deref(),
        machine: config.machine.as_deref(),
    };
    let unknown = loss::look(&places)?;
    for line in &unknown.lines {
        print(&shown(line))?;
    }
    print(&format!(
        "{} lines of the settlement target are not in the ledger",
        unknown.lines.len()
    ))?;
    if let Some(stamp) = unknown.stamp {
        print(&format!("the witness in the state directory has seen commit {stamp}"))?;
    }
    if !args.yes {
        print("nothing was changed; with --yes the ledger goes on without what it lost")?;
        return Ok(ExitCode::SUCCESS);
    }
    let now = UnixMillis(Timestamp::now().as_millisecond().cast_unsigned());
    let accepted = loss::accept(&places, &unknown, now)?;
    for (packets, what) in [
        (&accepted.paid, "paid: the target has them"),
        (&accepted.closed, "gone back: the target has more of them"),
        (&accepted.lost, "lost: released since, and tickets for them may be out"),
    ] {
        let names: Vec<String> = packets.iter().copied().map(PacketId::lettered).collect();
        print(&format!("{} packets are {what} {}", names.len(), names.join(" ")))?;
    }
    if let Some(aside) = &accepted.aside {
        print(&format!(
            "the settlement file is now {}, and a new one is begun; tell whoever pays",
            aside.display()
        ))?;
    }
    print("the ledger may be served again")?;
    Ok(ExitCode::SUCCESS)
}

fn shown(line: &Line) -> String {
    format!(
        "line {}: {} of user {}, {} of packet {}, balance {}",
        line.seq,
        signed(line.cents),
        line.user,
        line.kind.name(),
        line.packet,
        money(line.balance.0)
    )
}
