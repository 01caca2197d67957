//! `settlement verify` and `settlement begin`.

use super::{Progress, file_config, is_url, place_in, place_of, print, read_config};
use crate::cli::{SettlementBeginArgs, SettlementVerifyArgs, WhichSettlement};
use anyhow::{anyhow, bail};
use shake_agent::ledger::Place;
use shake_agent::settlement;
use std::path::PathBuf;
use std::process::ExitCode;

/// The settlement file and its ledger: by themselves, or by a configuration.
fn places(which: &WhichSettlement) -> anyhow::Result<(PathBuf, PathBuf)> {
    if let (Some(file), Some(ledger)) = (&which.file, &which.ledger) {
        return Ok((file.clone(), ledger.clone()));
    }
    let config = file_config(which.config.as_deref())?;
    let file = which.file.clone().or(config.settlement);
    let none = || anyhow!("the configuration has no [settlement] file; give one with --file");
    Ok((file.ok_or_else(none)?, which.ledger.clone().unwrap_or(config.ledger)))
}

pub fn begin(args: &SettlementBeginArgs) -> anyhow::Result<ExitCode> {
    if args.at.ledger.as_deref().is_some_and(is_url) {
        bail!("a ledger in PostgreSQL has no settlement file: its table outbox is what payment reads");
    }
    let (file, ledger) = places(&args.at)?;
    settlement::begin(&file, &ledger)?;
    print(&format!(
        "{} is begun; the agent writes it from line {} on, the same bytes as before",
        file.display(),
        args.from
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// The server whose table is asked for, by itself or by a configuration; `None` for a file.
fn server(args: &SettlementVerifyArgs) -> anyhow::Result<Option<Place>> {
    let on_primary = args.server.on_primary;
    let place = match &args.at.ledger {
        Some(ledger) => place_of(ledger, &args.server.files, on_primary)?,
        None => place_in(&read_config(args.at.config.as_deref())?, on_primary)?,
    };
    Ok(matches!(place, Place::Server { .. }).then_some(place))
}

pub fn verify(args: &SettlementVerifyArgs) -> anyhow::Result<ExitCode> {
    let Some(server) = server(args)? else {
        return verify_file(args);
    };
    if args.at.file.is_some() {
        bail!("a ledger in PostgreSQL has no settlement file to compare: leave --file out, and its table is verified");
    }
    let mut progress = Progress::begin();
    let report = settlement::verify_table(&server, |done| progress.say(|| format!("{done} lines read")))?;
    if args.json {
        print(&serde_json::to_string(&report)?)?;
    } else {
        print(&report.to_string())?;
    }
    Ok(ExitCode::from(u8::from(!report.agrees)))
}

fn verify_file(args: &SettlementVerifyArgs) -> anyhow::Result<ExitCode> {
    let (file, ledger) = places(&args.at)?;
    let mut progress = Progress::begin();
    let report = settlement::verify(&file, &ledger, |done| {
        progress.say(|| format!("{done} lines compared"));
    })?;
    if args.json {
        print(&serde_json::to_string(&report)?)?;
    } else {
        print(&report.to_string())?;
    }
    Ok(ExitCode::from(u8::from(!report.agrees)))
}
