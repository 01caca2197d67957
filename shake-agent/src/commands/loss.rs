//! `ledger accept-loss`.

use super::{place, print, read_config};
use crate::cli::loss::AcceptLossArgs;
use anyhow::{Context, bail};
use jiff::Timestamp;
use shake_agent::ledger::{Access, PartRow, Place, when};
use shake_agent::loss::fleet::{self, Fate, Said};
use shake_agent::loss::{self, Places};
use shake_agent::settlement::Line;
use shake_rules::money::{money, signed};
use shake_rules::{PacketId, UnixMillis};
use std::process::ExitCode;

pub fn accept(args: &AcceptLossArgs) -> anyhow::Result<ExitCode> {
    match place(&args.ledger, false)? {
        Place::Server { access, .. } => accept_on_server(*access, args),
        Place::File(_) if args.ledger.ledger.is_some() => {
            bail!("a ledger in a file has seed, settlement file and state directory besides: give the agent's --config")
        }
        Place::File(_) => accept_in_file(args),
    }
}

fn accept_on_server(access: Access, args: &AcceptLossArgs) -> anyhow::Result<ExitCode> {
    let seeds = args.fleet.as_deref();
    let seeds =
        seeds.context("a ledger in PostgreSQL is that of all parts: give --fleet the directory of their seed files")?;
    let said = Said {
        gone: &args.gone,
        idle: &args.idle,
    };
    let unknown = fleet::look(access, said)?;
    let halt = unknown.halt();
    print(&format!(
        "ledger {} is halted since {}: the agent of part {} found commit {} where it knew of {}",
        unknown.identity(),
        when(halt.at),
        halt.part,
        halt.found,
        halt.known
    ))?;
    for (row, fate) in &unknown.parts {
        print(&told(row, fate))?;
    }
    if !args.yes {
        print("nothing was changed; with --yes the ledger goes on without what it lost")?;
        return Ok(ExitCode::SUCCESS);
    }
    for (part, accepted) in fleet::accept(unknown, seeds, now())? {
        let names: Vec<String> = accepted.lost.iter().copied().map(PacketId::lettered).collect();
        let count = names.len();
        let names = names.join(" ");
        print(&format!(
            "part {part}: {count} packets are lost until a ticket is shown {names}"
        ))?;
    }
    print("the ledger may be served again: start its agents, and tell whoever pays")?;
    Ok(ExitCode::SUCCESS)
}

/// What is known of a part.
fn told(row: &PartRow, fate: &Fate) -> String {
    let what = match fate {
        Fate::Told(known) => format!(
            "its agent knows of commit {}, and of {} packets that were released",
            known.stamp,
            known.released.values().sum::<u64>()
        ),
        Fate::Idle => "nothing of it was lost".to_owned(),
        Fate::Gone => "its machine is gone: the rest of its seed is lost, and the part retired".to_owned(),
        Fate::Untold => "nobody has said anything of it: start its agent once, or say --gone or --idle".to_owned(),
    };
    let PartRow {
        part, stamp, released, ..
    } = row;
    format!("part {part}: here commit {stamp}, and {released} packets released; {what}")
}

fn now() -> UnixMillis {
    UnixMillis(Timestamp::now().as_millisecond().cast_unsigned())
}

fn accept_in_file(args: &AcceptLossArgs) -> anyhow::Result<ExitCode> {
    let config = read_config(args.ledger.config.as_deref())?;
    let places = Places {
        ledger: &config.ledger,
        seed: &config.seed,
        settlement: config.settlement.as_deref(),
        state: config.state.as_deref(),
        machine: config.machine.as_deref(),
    };
    let unknown = loss::look(&places)?;
    for line in &unknown.lines {
        print(&shown(line))?;
    }
    print(&format!(
        "{} lines of the settlement target are not in the ledger",
        unknown.lines.len()
    ))?;
    if let Some(stamp) = unknown.stamp {
        print(&format!("the witness in the state directory has seen commit {stamp}"))?;
    }
    if !args.yes {
        print("nothing was changed; with --yes the ledger goes on without what it lost")?;
        return Ok(ExitCode::SUCCESS);
    }
    let accepted = loss::accept(&places, &unknown, now())?;
    for (packets, what) in [
        (&accepted.paid, "paid: the target has them"),
        (&accepted.closed, "gone back: the target has more of them"),
        (&accepted.lost, "lost: released since, and tickets for them may be out"),
    ] {
        let names: Vec<String> = packets.iter().copied().map(PacketId::lettered).collect();
        print(&format!("{} packets are {what} {}", names.len(), names.join(" ")))?;
    }
    if let Some(aside) = &accepted.aside {
        print(&format!(
            "the settlement file is now {}, and a new one is begun; tell whoever pays",
            aside.display()
        ))?;
    }
    print("the ledger may be served again")?;
    Ok(ExitCode::SUCCESS)
}

fn shown(line: &Line) -> String {
    format!(
        "line {}: {} of user {}, {} of packet {}, balance {}",
        line.seq,
        signed(line.cents),
        line.user,
        line.kind.name(),
        line.packet,
        money(line.balance.0)
    )
}
