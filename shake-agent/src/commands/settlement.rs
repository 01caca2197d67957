//! `settlement run`, `settlement verify` and `settlement begin`.

use super::{Progress, file_config, is_url, place, place_in, place_of, print, read_config};
use crate::cli::settlement::{SettlementBeginArgs, SettlementRunArgs, SettlementVerifyArgs, WhichSettlement};
use anyhow::{Context, anyhow, bail};
use host::{console, log};
use shake_agent::ledger::Place;
use shake_agent::run::EXIT_REFUSED;
use shake_agent::settlement::{self, Copying};
use shake_agent::signals::Stop;
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

pub fn run(args: &SettlementRunArgs) -> anyhow::Result<ExitCode> {
    let place = place(&args.ledger, true)?;
    if matches!(place, Place::File(_)) {
        bail!("a ledger in a file is settled by its agent: [settlement] file says where to");
    }
    let stop = Stop::on_signals().context("cannot wait for signals")?;
    let _log = log::start("warn").context("cannot start the log")?;
    let copying = Copying {
        place: &place,
        directory: &args.out,
        from_the_beginning: args.from_the_beginning,
        once: args.once,
    };
    let copied = match settlement::copy(&copying, &stop, console::tell) {
        Ok(copied) => copied,
        Err(fault) if fault.is_for_a_person() => {
            console::tell(&format!("error: {fault}"));
            return Ok(ExitCode::from(EXIT_REFUSED));
        }
        Err(fault) => return Err(fault.into()),
    };
    print(&format!(
        "{} lines were added to the files of {} parts{}",
        copied.lines,
        copied.parts,
        if copied.is_closed {
            "; the ledger is closed, and nothing follows"
        } else {
            ""
        }
    ))?;
    Ok(ExitCode::SUCCESS)
}

pub fn begin(args: &SettlementBeginArgs) -> anyhow::Result<ExitCode> {
    if args.at.ledger.as_deref().is_some_and(is_url) {
        bail!("the files of a ledger in PostgreSQL are begun by `shake-agent settlement run --from-the-beginning`");
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
    let mut progress = Progress::begin();
    let say = |done| progress.say(|| format!("{done} lines read"));
    let report = settlement::verify_table(&server, args.at.file.as_deref(), say)?;
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
