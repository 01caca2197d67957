//! `ledger show`: the story of one packet or user.

use super::{print, read_config};
use crate::cli::{ShowArgs, ShowCommand};
use serde::Serialize;
use shake_agent::story;
use shake_rules::{PacketId, UserId};
use std::fmt::Display;
use std::path::PathBuf;
use std::process::ExitCode;

pub fn show(command: &ShowCommand) -> anyhow::Result<ExitCode> {
    match command {
        ShowCommand::Packet(args) => tell(args, &story::packet(&ledger(args)?, PacketId(args.id))?),
        ShowCommand::User(args) => tell(args, &story::user(&ledger(args)?, UserId(args.id))?),
    }
}

fn ledger(args: &ShowArgs) -> anyhow::Result<PathBuf> {
    match &args.ledger {
        Some(ledger) => Ok(ledger.clone()),
        None => Ok(read_config(args.config.as_deref())?.ledger),
    }
}

fn tell(args: &ShowArgs, story: &(impl Serialize + Display)) -> anyhow::Result<ExitCode> {
    if args.json {
        print(&serde_json::to_string(story)?)?;
    } else {
        print(story.to_string().trim_end())?;
    }
    Ok(ExitCode::SUCCESS)
}
