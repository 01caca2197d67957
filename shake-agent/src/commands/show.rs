//! `ledger show`: the story of one packet or user.

use super::{file_config, ledger_path, print};
use crate::cli::{ShowArgs, ShowCommand, WhichLedger};
use anyhow::Context;
use serde::Serialize;
use shake_agent::names::Names;
use shake_agent::{ledger, story};
use shake_rules::{PacketId, UserId};
use std::process::ExitCode;

pub fn show(command: &ShowCommand) -> anyhow::Result<ExitCode> {
    match command {
        ShowCommand::Packet(args) => {
            let packet = PacketId::parse(&args.id).with_context(|| format!("{:?} is no packet's number", args.id))?;
            let story = story::packet(&ledger_path(&args.ledger)?, packet)?;
            tell(args, &story, || Ok(story.told(&names(&args.ledger)?)))
        }
        ShowCommand::User(args) => {
            let user = UserId::parse(&args.id).with_context(|| format!("{:?} is no user's number", args.id))?;
            let story = story::user(&ledger_path(&args.ledger)?, user)?;
            tell(args, &story, || Ok(story.to_string()))
        }
    }
}

/// What sponsors and phases are called, where a configuration tells.
fn names(which: &WhichLedger) -> anyhow::Result<Names> {
    if which.ledger.is_some() && which.config.is_none() {
        return Ok(Names::default());
    }
    let config = file_config(which.config.as_deref())?;
    let bound = ledger::bound_seed(&ledger::open_read_only(&ledger_path(which)?)?)?;
    Ok(bound.map_or_else(Names::default, |bound| Names::read(&config, bound.header.event)))
}

fn tell(
    args: &ShowArgs,
    story: &impl Serialize,
    text: impl FnOnce() -> anyhow::Result<String>,
) -> anyhow::Result<ExitCode> {
    if args.json {
        print(&serde_json::to_string(story)?)?;
    } else {
        print(text()?.trim_end())?;
    }
    Ok(ExitCode::SUCCESS)
}
