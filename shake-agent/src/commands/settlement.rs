//! `settlement verify` and `settlement begin`.

use super::{Progress, file_config, print};
use crate::cli::{SettlementBeginArgs, SettlementVerifyArgs, WhichSettlement};
use anyhow::anyhow;
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
    let (file, ledger) = places(&args.at)?;
    settlement::begin(&file, &ledger)?;
    print(&format!(
        "{} is begun; the agent writes it from line {} on, the same bytes as before",
        file.display(),
        args.from
    ))?;
    Ok(ExitCode::SUCCESS)
}

pub fn verify(args: &SettlementVerifyArgs) -> anyhow::Result<ExitCode> {
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
