//! `settlement verify`.

use super::{Progress, print, read_config};
use crate::cli::SettlementVerifyArgs;
use anyhow::anyhow;
use shake_agent::settlement;
use std::process::ExitCode;

pub fn verify(args: &SettlementVerifyArgs) -> anyhow::Result<ExitCode> {
    let (file, ledger) = match (&args.file, &args.ledger) {
        (Some(file), Some(ledger)) => (file.clone(), ledger.clone()),
        (file, ledger) => {
            let config = read_config(args.config.as_deref())?;
            let file = file.clone().or(config.settlement);
            let none = || anyhow!("the configuration has no [settlement] file; give one with --file");
            (file.ok_or_else(none)?, ledger.clone().unwrap_or(config.ledger))
        }
    };
    let mut progress = Progress::begin();
    let report = settlement::verify(&file, &ledger, |done| {
        progress.say(|| format!("{done} credits compared"));
    })?;
    if args.json {
        print(&serde_json::to_string(&report)?)?;
    } else {
        print(&report.to_string())?;
    }
    Ok(ExitCode::from(u8::from(!report.agrees)))
}
