//! `run` and `check-config`.

use super::{print, read_config};
use anyhow::Context;
use shake_agent::run;
use shake_agent::signals::Stop;
use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

pub fn run(config: Option<&Path>) -> anyhow::Result<ExitCode> {
    host::secrecy::keep().context("cannot keep this process's memory to itself")?;
    let config = read_config(config)?;
    let filter = match std::env::var("RUST_LOG") {
        Ok(filter) if !filter.is_empty() => {
            EnvFilter::try_new(&filter).with_context(|| format!("RUST_LOG={filter:?} is no log filter"))?
        }
        _ => EnvFilter::new(config.log_level.as_str()),
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
    let stop = Stop::on_signals().context("cannot wait for signals")?;
    run::run(&config, &stop)?;
    Ok(ExitCode::SUCCESS)
}

pub fn check_config(config: Option<&Path>) -> anyhow::Result<ExitCode> {
    let checked = read_config(config)?;
    let name = config.map_or("the built-in configuration".to_owned(), |path| {
        path.display().to_string()
    });
    print(&format!("{checked}\n{name} is in order"))?;
    Ok(ExitCode::SUCCESS)
}
