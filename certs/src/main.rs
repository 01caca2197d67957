//! The command line of `certs`. Reads the clock, prints, and chooses the exit code; the work is in the library.

#![forbid(unsafe_code)]

mod cli;

use anyhow::{Context, ensure};
use certs::generate::{self, Request};
use certs::issue::{self, Issued, Subject};
use certs::rotate::{self, Rotated, Step};
use certs::{inspect, token};
use cli::{Cli, Command, GenerateArgs, InspectArgs, IssueArgs, IssueCommand, IssueServerArgs, RotateArgs, TokenArgs};
use host::console;
use jiff::{SignedDuration, Timestamp};
use shake_rules::UserId;
use shake_rules::keys::Purpose;
use std::path::Path;
use std::process::ExitCode;
use strum::VariantArray as _;

fn main() -> ExitCode {
    let now = Timestamp::now();
    let done = match host::cli::parse::<Cli>().command {
        Command::Generate(args) => generate_to(&args, now),
        Command::Issue(IssueCommand::Server(args)) => {
            let IssueServerArgs {
                issue,
                names,
                addresses,
            } = args;
            issue_one(&issue, &Subject::Server { names, addresses }, now)
        }
        Command::Issue(IssueCommand::Operator(args)) => {
            issue_one(&args.issue, &Subject::Operator { name: args.name }, now)
        }
        Command::Inspect(args) => inspect_directory(&args, now),
        Command::Token(args) => mint_token(&args, now),
        Command::Rotate(args) => rotate_keys(&args, now),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            console::tell(&format!("certs: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn generate_to(args: &GenerateArgs, now: Timestamp) -> anyhow::Result<ExitCode> {
    let request = Request {
        names: args.names.clone(),
        addresses: args.addresses.clone(),
        days: args.days,
        replace: args.force,
    };
    let mut text = String::new();
    for path in generate::generate(&args.out, &request, now)? {
        text.push_str(&format!("wrote {}\n", path.display()));
    }
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn issue_one(args: &IssueArgs, subject: &Subject, now: Timestamp) -> anyhow::Result<ExitCode> {
    let issued = issue::issue(&args.directory, args.out.as_deref(), subject, args.days, now)?;
    if args.json {
        print(&format!("{}\n", serde_json::to_string_pretty(&issued)?))?;
        return Ok(ExitCode::SUCCESS);
    }
    let Issued {
        files,
        sha256,
        not_after,
        before,
    } = issued;
    let mut text: String = files.iter().map(|path| format!("wrote {}\n", path.display())).collect();
    text.push_str(&format!("certificate {sha256}, valid until {not_after}\n"));
    match (subject, before) {
        (Subject::Server { .. }, _) => {
            text.push_str(
                "now bring both files to the gateway, and `gateway reload`, or SIGHUP when the old one has expired\n",
            );
        }
        (Subject::Operator { .. }, Some(before)) => text.push_str(&format!(
            "the one before is good until {}, unless refused-operators.txt of the gateways names it: {}\n",
            before.not_after, before.sha256
        )),
        (Subject::Operator { .. }, None) => {}
    }
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn inspect_directory(args: &InspectArgs, now: Timestamp) -> anyhow::Result<ExitCode> {
    let report = inspect::inspect(&args.directory, args.warn_days, now);
    if args.json {
        print(&format!("{}\n", serde_json::to_string_pretty(&report)?))?;
    } else {
        print(&report.to_string())?;
    }
    Ok(match (report.good, report.has_warnings()) {
        (false, _) => ExitCode::from(1),
        (true, true) => ExitCode::from(3),
        (true, false) => ExitCode::SUCCESS,
    })
}

fn mint_token(args: &TokenArgs, now: Timestamp) -> anyhow::Result<ExitCode> {
    let in_days = || {
        let seconds = i64::from(args.days) * 86_400;
        now.checked_add(SignedDuration::from_secs(seconds))
            .with_context(|| format!("--days {} is too far", args.days))
    };
    let expires_at = args.expires_at.map_or_else(in_days, Ok)?;
    let directory: &Path = &args.dir;
    let minted = token::mint(directory, UserId(args.user), expires_at, now)?;
    if args.json {
        print(&format!("{}\n", serde_json::to_string_pretty(&minted)?))?;
    } else {
        print(&format!("{}\n", minted.token))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn rotate_keys(args: &RotateArgs, now: Timestamp) -> anyhow::Result<ExitCode> {
    let purposes: Vec<Purpose> = match args.keys.as_slice() {
        // A gateway that runs has told its phones tokens of the key that it began with.
        [] if args.retire => Purpose::VARIANTS
            .iter()
            .copied()
            .filter(|&purpose| purpose != Purpose::StatelessReset)
            .collect(),
        [] => Purpose::VARIANTS.into(),
        kinds => Purpose::VARIANTS
            .iter()
            .copied()
            .filter(|&purpose| kinds.iter().any(|&kind| Purpose::from(kind) == purpose))
            .collect(),
    };
    let (step, next) = match (args.activate, args.retire) {
        (true, _) => (Step::Activate, "once nothing older is valid any more, --retire"),
        (_, true) => (Step::Retire { kept: args.kept }, "no step is left"),
        _ => (Step::Add, "once every gateway has read it, --activate"),
    };
    let counts = if args.retire {
        what_hangs(args, &purposes)?
    } else {
        Vec::new()
    };
    let rotated = rotate::rotate(&args.directory, &purposes, step, now)?;
    if args.json {
        print(&format!("{}\n", serde_json::to_string_pretty(&rotated)?))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut text = String::new();
    for keys in &rotated {
        let accepted: Vec<_> = keys.accepted.iter().map(u8::to_string).collect();
        let since = keys
            .makes_since
            .as_ref()
            .map_or_else(String::new, |at| format!(", since {at}"));
        let waits = keys.waiting.map_or_else(String::new, |id| format!(", {id} waits"));
        text.push_str(&format!(
            "{:<16} accepts {}; {} makes{since}{waits}\n",
            keys.purpose,
            accepted.join(", "),
            keys.active
        ));
        if !keys.retired.is_empty() {
            text.push_str(&format!("{:<16} {}\n", "", safe(keys)));
        }
    }
    for line in counts {
        text.push_str(&format!("{line}\n"));
    }
    if args.retire {
        text.push_str(
            "bring it to a gateway, and before you reload: `gateway reload --dry-run` tells what hangs on what goes\n",
        );
    }
    text.push_str(&format!("now `gateway reload` on every gateway; then {next}\n"));
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// What the gateways said that hangs on the keys that are to go, a line each.
///
/// # Errors
/// When something does, or nobody was asked; not with `--unchecked`.
fn what_hangs(args: &RotateArgs, purposes: &[Purpose]) -> anyhow::Result<Vec<String>> {
    let mut going = rotate::going(&args.directory, purposes, args.kept)?;
    // Gateways tell at their reload when they miss one of these; nothing of phones hangs on them.
    going.retain(|(purpose, _)| *purpose != Purpose::StatelessReset);
    let Some(counts) = &args.counts else {
        let keys: Vec<_> = going
            .iter()
            .map(|(purpose, id)| format!("{} key {id}", purpose.name()))
            .collect();
        ensure!(
            keys.is_empty() || args.unchecked,
            "{} would go, and what hangs on it only the gateways know. Ask all of them:\n  {}\nand give `--counts counts.json`; \
             --unchecked retires without it. No file was changed",
            keys.join(", "),
            certs::counts::COMMAND
        );
        return Ok(Vec::new());
    };
    let (lines, is_early) = certs::counts::judge(&going, &certs::counts::read(counts)?);
    ensure!(
        !is_early || args.unchecked,
        "something hangs on what would go:\n  {}\nWait until it is over, and count again; --unchecked retires regardless. No file was \
         changed",
        lines.join("\n  ")
    );
    Ok(lines)
}

/// From when on what was retired is missed by nobody, as far as the key file tells.
fn safe(keys: &Rotated) -> String {
    let retired: Vec<_> = keys.retired.iter().map(u8::to_string).collect();
    let good = match keys.purpose.parse() {
        Ok(Purpose::UserToken) => "as long as its tokens were given for",
        Ok(Purpose::Ticket) => "for the show's ticket_lifetime_s, codes for its share_lifetime_s",
        Ok(Purpose::Cookie) => "until the event ends",
        _ => "until each gateway has been started anew",
    };
    let since = match &keys.makes_since {
        Some(at) => format!("since the reload after {at}"),
        None => "since the reload after the last --activate".to_owned(),
    };
    format!(
        "{} made nothing {since}; what it made before is good {good}",
        retired.join(", ")
    )
}

/// Writes to stdout; a reader that went away (`certs inspect … | head -1`) is no failure.
fn print(text: &str) -> anyhow::Result<()> {
    console::print(text)?;
    Ok(())
}
