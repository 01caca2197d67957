//! `ledger show`: the story of one packet or user.

use super::{ledger_path, print};
use crate::cli::{ShowArgs, ShowCommand};
use anyhow::Context;
use serde::Serialize;
use shake_agent::story;
use shake_rules::{PacketId, UserId};
use std::fmt::Display;
use std::process::ExitCode;

pub fn show(command: &ShowCommand) -> anyhow::Result<ExitCode> {
    match command {
        ShowCommand::Packet(args) => {
            let packet = PacketId::parse(&args.id).with_context(|| format!("{:?} is no packet's number", args.id))?;
            tell(args, &story::packet(&ledger_path(&args.ledger)?, packet)?)
        }
        ShowCommand::User(args) => {
            let user = UserId::parse(&args.id).with_context(|| format!("{:?} is no user's number", args.id))?;
            tell(args, &story::user(&ledger_path(&args.ledger)?, user)?)
        }
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
