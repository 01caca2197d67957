//! `run` and `check-config`.

use super::{print, read_config};
use anyhow::Context;
use host::log;
use shake_agent::run;
use shake_agent::signals::Stop;
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
    let checked = read_config(config)?;
    let name = config.map_or("the built-in configuration".to_owned(), |path| {
        path.display().to_string()
    });
    print(&format!("{checked}\n{name} is in order"))?;
    Ok(ExitCode::SUCCESS)
}
