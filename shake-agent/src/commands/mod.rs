//! The commands, by what they work on. Each gives the exit code, or the error to print.

pub mod blocks;
pub mod books;
pub mod close;
pub mod ledger;
pub mod loss;
pub mod part;
pub mod run;
pub mod seed;
pub mod settlement;
pub mod show;

use crate::cli::{ServerFiles, WhichFile, WhichLedger};
use anyhow::{Context, anyhow, bail};
use host::console;
use shake_agent::config::{self, Config, Server};
use shake_agent::ledger::{PRIMARY_MAX, Place};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The file that is asked for: by itself, or by a configuration.
fn ledger_file(which: &WhichFile) -> anyhow::Result<PathBuf> {
    match &which.ledger {
        Some(ledger) if is_url(ledger) => {
            bail!("a ledger in PostgreSQL is copied by what comes with PostgreSQL: pg_basebackup, or a standby")
        }
        Some(ledger) => Ok(ledger.clone()),
        None => Ok(file_config(which.config.as_deref())?.ledger),
    }
}

/// The ledger that is asked for: by itself, or by a configuration.
fn place(which: &WhichLedger, on_primary: bool) -> anyhow::Result<Place> {
    match &which.ledger {
        Some(ledger) => place_of(ledger, &which.files, on_primary),
        None => place_in(&read_config(which.config.as_deref())?, on_primary),
    }
}

/// A ledger that is given by itself.
fn place_of(ledger: &Path, files: &ServerFiles, on_primary: bool) -> anyhow::Result<Place> {
    if !is_url(ledger) {
        return Ok(Place::File(ledger.to_owned()));
    }
    let url = ledger.to_str().context("--ledger: this URL is no text")?;
    let server = Server::parse(url, files.password_file.clone(), files.ca_file.clone());
    on_server(&server.map_err(|fault| anyhow!("--ledger: {fault}"))?, on_primary)
}

/// The ledger of a configuration.
fn place_in(config: &Config, on_primary: bool) -> anyhow::Result<Place> {
    match &config.server {
        Some(server) => on_server(server, on_primary),
        None => Ok(Place::File(config.ledger.clone())),
    }
}

fn on_server(server: &Server, on_primary: bool) -> anyhow::Result<Place> {
    Ok(Place::Server {
        access: Box::new(server.access()?),
        primary_max: on_primary.then_some(PRIMARY_MAX),
    })
}

fn is_url(ledger: &Path) -> bool {
    let begins = |scheme: &str| ledger.as_os_str().as_encoded_bytes().starts_with(scheme.as_bytes());
    begins("postgres://") || begins("postgresql://")
}

/// Reads the configuration, or takes the built-in one. The error names the file and every line that is wrong.
fn read_config(path: Option<&Path>) -> anyhow::Result<Config> {
    let (name, text, directory) = config_text(path)?;
    Config::parse(&text, &directory).map_err(|problems| {
        let lines: Vec<String> = problems.0.iter().map(|problem| format!("  {problem}")).collect();
        anyhow!("{name} is wrong:\n{}", lines.join("\n"))
    })
}

/// The same, of a ledger in a file: for what is done with no other.
fn file_config(path: Option<&Path>) -> anyhow::Result<Config> {
    let config = read_config(path)?;
    if let Some(server) = &config.server {
        bail!("the ledger is in {server}, and this command is for ledgers in files only");
    }
    Ok(config)
}

/// What messages call a configuration, its text, and where relative paths in it start.
fn config_text(path: Option<&Path>) -> anyhow::Result<(String, String, PathBuf)> {
    let Some(path) = path else {
        let name = "the built-in configuration".to_owned();
        return Ok((name, config::DEFAULT.to_owned(), PathBuf::new()));
    };
    let text = std::fs::read_to_string(path).with_context(|| format!("--config: cannot read {}", path.display()))?;
    let directory = path.parent().unwrap_or(Path::new("")).to_owned();
    Ok((path.display().to_string(), text, directory))
}

/// A line on standard error now and then, once something takes over two seconds.
struct Progress {
    begun: Instant,
    said: Instant,
}

const PATIENCE: Duration = Duration::from_secs(2);

impl Progress {
    fn begin() -> Self {
        let now = Instant::now();
        Self { begun: now, said: now }
    }

    fn say(&mut self, line: impl FnOnce() -> String) {
        if self.said.elapsed() >= PATIENCE {
            self.said = Instant::now();
            console::tell(&format!("{} ({} s)", line(), self.begun.elapsed().as_secs()));
        }
    }
}

/// Prints a line, and JSON when asked for it.
fn print(text: &str) -> io::Result<()> {
    console::line(text).map(drop)
}
