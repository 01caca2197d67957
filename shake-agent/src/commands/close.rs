//! `close`: the end of the books, and the statement about it.

use super::{file_config, print};
use crate::cli::close::CloseArgs;
use anyhow::Context;
use host::{console, log};
use jiff::Timestamp;
use serde::Serialize;
use shake_agent::closing::{self, Statement};
use shake_agent::config::Config;
use shake_agent::run::{self, Closing};
use shake_agent::signals::Stop;
use shake_rules::UnixMillis;
use std::fmt::Display;
use std::path::Path;
use std::process::ExitCode;

/// Not closed yet, and nothing is wrong.
const EXIT_NOT_YET: u8 = 4;

pub fn close(args: &CloseArgs) -> anyhow::Result<ExitCode> {
    let config = file_config(args.config.as_deref())?;
    if args.dry_run {
        return dry_run(&config, args.json);
    }
    host::secrecy::keep().context("cannot keep this process's memory to itself")?;
    let stop = Stop::on_signals().context("cannot wait for signals")?;
    let _log = log::start("warn").context("cannot start the log")?;
    let closed = run::close(&config, &stop, console::tell);
    let statement = match closed {
        Ok(Closing::Closed(statement)) => statement,
        Ok(Closing::Waiting(outlook)) => {
            console::tell("not closed yet, and nothing lost: run it again, and let it run until it is done");
            tell(&*outlook, args.json)?;
            return Ok(ExitCode::from(EXIT_NOT_YET));
        }
        Err(error) => {
            console::tell(&format!("error: {error}"));
            return Ok(ExitCode::from(error.exit_code()));
        }
    };
    tell_closed(&statement, args.page.as_deref(), args.json)
}

/// Tells a closing statement, and writes its page.
pub fn tell_closed(statement: &Statement, page: Option<&Path>, as_json: bool) -> anyhow::Result<ExitCode> {
    if let Some(path) = page {
        let closed = || {
            format!(
                "the books are closed, but the page {} cannot be written",
                path.display()
            )
        };
        std::fs::write(path, statement.to_page()).with_context(closed)?;
    }
    tell(statement, as_json)?;
    Ok(ExitCode::SUCCESS)
}

fn dry_run(config: &Config, as_json: bool) -> anyhow::Result<ExitCode> {
    let now = UnixMillis(Timestamp::now().as_millisecond().cast_unsigned());
    let outlook = closing::outlook(config, now)?;
    tell(&outlook, as_json)?;
    let is_clear = outlook.closed_ms.is_some() || outlook.is_clear(now);
    Ok(if is_clear {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(EXIT_NOT_YET)
    })
}

fn tell(what: &(impl Serialize + Display), as_json: bool) -> anyhow::Result<()> {
    if as_json {
        print(&serde_json::to_string(what)?)?;
    } else {
        print(what.to_string().trim_end())?;
    }
    Ok(())
}
