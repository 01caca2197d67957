//! `audit` and `ledger export`: both read a ledger and write nothing to it.

use super::seed::read_keys;
use super::{Progress, file_config, ledger_path, print};
use crate::cli::books::{AuditArgs, By, ExportArgs};
use anyhow::{anyhow, bail};
use host::console;
use shake_agent::audit;
use shake_agent::audit::fleet::{self, Books};
use shake_agent::closing;
use shake_agent::config::Config;
use shake_agent::export::{self, ExportError};
use shake_agent::names::Names;
use shake_rules::EventId;
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
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
        (_, _, config) => Some(file_config(config.as_deref())?),
    };
    let place = |given: Option<&PathBuf>, of: fn(&Config) -> &PathBuf| given.or(config.as_ref().map(of)).cloned();
    let ledger = place(args.ledgers.first(), |config| &config.ledger).expect("it is named, or a configuration is read");
    let seed = place(args.seed.as_ref(), |config| &config.seed).expect("it is named, or a configuration is read");
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
    let mut progress = Progress::begin();
    let books = Books {
        ledgers: &args.ledgers,
        settlements: &args.settlements,
        unused: &args.unused,
    };
    let report = fleet::audit(directory, books, keys.as_ref(), |file, what, done| {
        progress.say(|| format!("{}: {done} {what} read", file.display()))
    })?;
    let names = names(args, None, report.event)?;
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
    let ledger = ledger_path(&args.ledger)?;
    let mut out = BufWriter::new(io::stdout().lock());
    match export::export(&ledger, args.what, args.format, &mut out) {
        Ok(_) => {}
        Err(ExportError::Output(error)) => drop(console::gone_is_good(Err(error))?),
        Err(error) => return Err(error.into()),
    }
    Ok(ExitCode::SUCCESS)
}
