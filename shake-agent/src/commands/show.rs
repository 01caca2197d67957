//! `ledger show`: the story of one packet or user.

use super::{place, print, read_config};
use crate::cli::{ShowArgs, ShowCommand, WhichLedger};
use anyhow::Context;
use serde::Serialize;
use shake_agent::ledger::{Place, Reader};
use shake_agent::names::Names;
use shake_agent::story;
use shake_rules::{PacketId, UserId};
use std::process::ExitCode;

pub fn show(command: &ShowCommand) -> anyhow::Result<ExitCode> {
    match command {
        ShowCommand::Packet(args) => {
            let packet = PacketId::parse(&args.id).with_context(|| format!("{:?} is no packet's number", args.id))?;
            let ledger = place(&args.ledger, false)?.for_a_glance();
            let story = story::packet(&ledger, packet)?;
            tell(args, &story, || Ok(story.told(&names(&args.ledger, &ledger)?)))
        }
        ShowCommand::User(args) => {
            let user = UserId::parse(&args.id).with_context(|| format!("{:?} is no user's number", args.id))?;
            let story = story::user(&place(&args.ledger, false)?.for_a_glance(), user)?;
            tell(args, &story, || Ok(story.to_string()))
        }
    }
}

/// What sponsors and phases are called, where a configuration tells.
fn names(which: &WhichLedger, ledger: &Place) -> anyhow::Result<Names> {
    if which.ledger.is_some() && which.config.is_none() {
        return Ok(Names::default());
    }
    let config = read_config(which.config.as_deref())?;
    let parts = Reader::open(ledger)?.parts()?;
    let event = parts.first().map(|books| books.bound.header.event);
    Ok(event.map_or_else(Names::default, |event| Names::read(&config, event)))
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
