//! `audit` and `ledger export`: both read a ledger and write nothing to it.

use super::seed::read_keys;
use super::{Progress, is_url, place, place_in, place_of, print, read_config};
use crate::cli::books::{AuditArgs, By, ExportArgs};
use anyhow::{anyhow, bail};
use host::console;
use shake_agent::audit;
use shake_agent::audit::fleet::{self, Books};
use shake_agent::closing;
use shake_agent::config::Config;
use shake_agent::export::{self, ExportError};
use shake_agent::ledger::Place;
use shake_agent::names::Names;
use shake_rules::EventId;
use std::io::{self, BufWriter};
use std::path::Path;
use std::process::ExitCode;

pub fn audit(args: &AuditArgs) -> anyhow::Result<ExitCode> {
    if let Some(directory) = &args.fleet {
        return audit_fleet(directory, args);
    }
    if args.ledgers.len() > 1 {
        bail!(
            "--ledger stands {} times; give one ledger, or --fleet with the directory of the whole seed",
            args.ledgers.len()
        );
    }
    let config = match (args.ledgers.first(), &args.seed, &args.config) {
        (Some(_), Some(_), None) => None,
        (_, _, config) => Some(read_config(config.as_deref())?),
    };
    let ledger = ledger_of(args, config.as_ref())?;
    let of_config = || config.as_ref().map(|config| config.seed.clone());
    let seed = args
        .seed
        .clone()
        .or_else(of_config)
        .expect("it is named, or a configuration is read");
    let mut progress = Progress::begin();
    let report = audit::audit_in(&ledger, &seed, &args.time_zone, |what, done| {
        progress.say(|| format!("{done} {what} read"))
    })?;
    if args.json {
        print(&serde_json::to_string(&report)?)?;
    } else {
        let names = names(args, config.as_ref(), report.event)?;
        if args.verbose {
            for packet in &report.void_packets {
                print(&format!("void: packet {packet}"))?;
            }
            for packet in &report.lost_packets {
                print(&format!("lost: packet {packet}"))?;
            }
        }
        match args.by {
            Some(By::Phase) => print(&report.by_phase(&names))?,
            Some(By::Day) => print(&report.by_day())?,
            None => {}
        }
        print(&report.told(&names))?;
    }
    Ok(ExitCode::from(u8::from(!report.balanced)))
}

/// The one ledger that is given, by itself or by a configuration.
fn ledger_of(args: &AuditArgs, config: Option<&Config>) -> anyhow::Result<Place> {
    let on_primary = args.server.on_primary;
    match (args.ledgers.first(), config) {
        (Some(ledger), _) => place_of(ledger, &args.server.files, on_primary),
        (None, Some(config)) => place_in(config, on_primary),
        (None, None) => bail!("give --ledger, or --config the agent's configuration"),
    }
}

/// What sponsors and phases are called: by the show that is given, else by what the configuration names.
fn names(args: &AuditArgs, config: Option<&Config>, event: u32) -> anyhow::Result<Names> {
    let event = EventId(event);
    match (&args.show, config) {
        (Some(show), _) => Names::of_file(show, event).map_err(|fault| anyhow!("--show: {fault}")),
        (None, Some(config)) => Ok(Names::read(config, event)),
        (None, None) => Ok(Names::default()),
    }
}

fn audit_fleet(directory: &Path, args: &AuditArgs) -> anyhow::Result<ExitCode> {
    let keys = args.certs.as_deref().map(read_keys).transpose()?;
    let config = args.config.as_deref().map(|path| read_config(Some(path))).transpose()?;
    let mut progress = Progress::begin();
    let progress = |file: &Path, what: &'static str, done: u64| {
        progress.say(|| format!("{}: {done} {what} read", file.display()));
    };
    let is_shared = match &args.ledgers[..] {
        [] => true,
        ledgers => ledgers.iter().any(|ledger| is_url(ledger)),
    };
    let report = if is_shared {
        let ledger = ledger_of(args, config.as_ref())?;
        if args.ledgers.len() > 1 || !args.settlements.is_empty() || !args.unused.is_empty() {
            bail!(
                "a ledger in PostgreSQL is that of all parts: give --fleet just the one, without --settlement and --unused"
            );
        }
        if matches!(ledger, Place::File(_)) {
            bail!("--fleet wants the ledger of each part: give --ledger once for each, or the one in PostgreSQL");
        }
        fleet::audit_shared(directory, &ledger, keys.as_ref(), progress)?
    } else {
        let books = Books {
            ledgers: &args.ledgers,
            settlements: &args.settlements,
            unused: &args.unused,
        };
        fleet::audit(directory, books, keys.as_ref(), progress)?
    };
    let names = names(args, config.as_ref(), report.event)?;
    if args.statement {
        return match closing::of_fleet(&report, &names) {
            Ok(statement) => super::close::tell_closed(&statement, args.page.as_deref(), args.json),
            Err(error) => {
                console::tell(&format!("error: {error}"));
                Ok(ExitCode::FAILURE)
            }
        };
    }
    if args.json {
        print(&serde_json::to_string(&report)?)?;
    } else {
        print(&report.told(&names))?;
    }
    Ok(ExitCode::from(u8::from(!report.balanced)))
}

pub fn export(args: &ExportArgs) -> anyhow::Result<ExitCode> {
    let ledger = place(&args.ledger, args.on_primary)?;
    let mut out = BufWriter::new(io::stdout().lock());
    match export::export(&ledger, args.what, args.format, &mut out) {
        Ok(_) => {}
        Err(ExportError::Output(error)) => drop(console::gone_is_good(Err(error))?),
        Err(error) => return Err(error.into()),
    }
    Ok(ExitCode::SUCCESS)
}
