//! `audit` and `ledger export`: both read a ledger and write nothing to it.

use super::seed::read_keys;
use super::{Progress, ledger_path, print, read_config};
use crate::cli::{AuditArgs, By, ExportArgs};
use anyhow::bail;
use host::console;
use shake_agent::audit;
use shake_agent::audit::fleet::{self, Books};
use shake_agent::export::{self, ExportError};
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
    let (ledger, seed) = match (args.ledgers.first(), &args.seed) {
        (Some(ledger), Some(seed)) => (ledger.clone(), seed.clone()),
        (ledger, seed) => {
            let config = read_config(args.config.as_deref())?;
            (
                ledger.cloned().unwrap_or(config.ledger),
                seed.clone().unwrap_or(config.seed),
            )
        }
    };
    let mut progress = Progress::begin();
    let report = audit::audit_in(&ledger, &seed, &args.time_zone, |what, done| {
        progress.say(|| format!("{done} {what} read"))
    })?;
    if args.json {
        print(&serde_json::to_string(&report)?)?;
    } else {
        if args.verbose {
            for packet in &report.void_packets {
                print(&format!("void: packet {packet}"))?;
            }
            for packet in &report.lost_packets {
                print(&format!("lost: packet {packet}"))?;
            }
        }
        match args.by {
            Some(By::Phase) => print(&report.by_phase())?,
            Some(By::Day) => print(&report.by_day())?,
            None => {}
        }
        print(&report.to_string())?;
    }
    Ok(ExitCode::from(u8::from(!report.balanced)))
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
    if args.json {
        print(&serde_json::to_string(&report)?)?;
    } else {
        print(&report.to_string())?;
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
