//! `run`, `check-config` and `print-config`.

use super::{config_text, print, read_config};
use anyhow::{Context, bail};
use host::clock::wall_ms;
use host::{console, log};
use shake_agent::config::DEFAULT;
use shake_agent::signals::Stop;
use shake_agent::{check, run};
use shake_rules::UnixMillis;
use std::path::Path;
use std::process::ExitCode;

pub fn run(config: Option<&Path>) -> anyhow::Result<ExitCode> {
    host::secrecy::keep().context("cannot keep this process's memory to itself")?;
    let config = read_config(config)?;
    let stop = Stop::on_signals().context("cannot wait for signals")?;
    let _log = log::start(&config.log_level.as_str().to_lowercase()).context("cannot start the log")?;
    match run::run(&config, &stop) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) if error.exit_code() == run::EXIT_REFUSED => {
            tracing::error!(%error, "the ledger is not served");
            Ok(ExitCode::from(run::EXIT_REFUSED))
        }
        Err(error) => Err(error.into()),
    }
}

pub fn check_config(config: Option<&Path>) -> anyhow::Result<ExitCode> {
    let (name, text, directory) = config_text(config)?;
    let faults = check::check(&name, &text, &directory, UnixMillis(wall_ms()));
    if !faults.is_empty() {
        bail!("{} error(s)\n{}", faults.len(), faults.join("\n"));
    }
    let checked = read_config(config)?;
    print(&format!("{checked}\n{name} is in order, and so is all that it names"))?;
    Ok(ExitCode::SUCCESS)
}

pub fn print_config() -> anyhow::Result<ExitCode> {
    console::print(DEFAULT)?;
    Ok(ExitCode::SUCCESS)
}
