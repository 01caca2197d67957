//! `cargo xtask bench engines`: plays one scenario through both engines of the simulator, each against a gateway and an
//! agent of its own, and tells whether the outcomes differ by more than chance, as `client-sim report --within` does.

use super::errands::{self, Size};
use crate::demo::verdict::Evidence;
use crate::report::{Bench, Line, Report, Table};
use crate::testbed::{Build, Place, Programs, deployed};
use clap::Args;
use client_sim::report::Comparison;
use host::console;
use shake_rules::money::grouped;
use xtask::interrupt::Interrupt;

const ENGINES: [&str; 2] = ["lean", "quinn"];

#[derive(Args)]
#[command(after_long_help = "\
Plays deploy/scenarios/fifty-thousand.toml in the show deploy/shows/engines.toml,
first through the lean engine, then through quinn: greetings, photos, cards, rest
pages, wins, claims, splits, sends, grabs, views, wallets. Everything is in
target/bench-engines-lean and target/bench-engines-quinn until the next run.

Takes five minutes and 3 GB with 50,000 sessions; run nothing beside it.
Exits with 0 only if every count agrees, all sessions were established and none
was lost, and in both runs the phones agree with the ledger to the cent.

Examples:
  cargo xtask bench engines
  cargo xtask bench engines --sessions 2000      two minutes
  cargo xtask bench engines --within 3           stricter: fails by chance once in some ten runs")]
pub struct Options {
    /// Phones, one QUIC session each
    #[arg(long, default_value_t = 50_000, value_name = "N", value_parser = clap::value_parser!(u32).range(300..=200_000))]
    sessions: u32,
    /// How long they shake
    #[arg(long, default_value_t = 60, value_name = "N", value_parser = clap::value_parser!(u32).range(5..=600))]
    seconds: u32,
    /// Standard deviations that a count may lie apart
    #[arg(long, default_value_t = 4.0, value_name = "SIGMAS")]
    within: f64,
}

pub const BENCH: Bench = Bench {
    name: "engines",
    title: "One scenario through both engines",
    about: "\
`deploy/scenarios/fifty-thousand.toml` through the lean engine and through `quinn`, each with a gateway, an agent and a ledger of its own.
Sigma is the difference of two counts in standard deviations.",
};

/// Plays both.
///
/// # Errors
/// When something could not run.
pub fn run(options: &Options, interrupt: &Interrupt) -> anyhow::Result<Report> {
    say("building the programs (release)");
    let programs = Programs::build(Build::Release, interrupt)?;
    let scenario = deployed("scenarios", "fifty-thousand")?;
    let mut lines = Vec::new();
    let mut reports = Vec::new();
    for engine in ENGINES {
        let place = Place::fresh(&format!("bench-engines-{engine}"))?;
        say(&format!("{} phones on the {engine} engine", options.sessions));
        let size = Size {
            sessions: options.sessions,
            seconds: options.seconds,
        };
        let flags = ["--engine", engine];
        let played = errands::play(&place, &programs, &scenario, size, &flags, interrupt)?;
        let what = format!("{engine}: every session is established, and phones and ledger agree");
        lines.push(Line::without(what, &faults(&played.evidence, options.sessions)));
        reports.push(serde_json::to_value(&played.evidence.phones)?);
    }
    let drawn = Comparison::of(&reports[0], &reports[1]).drawn();
    let beyond: Vec<_> = drawn.beyond(options.within).map(|(name, _)| name.to_owned()).collect();
    lines.push(Line {
        what: "counts that differ by more than chance".to_owned(),
        figure: if beyond.is_empty() {
            "none".to_owned()
        } else {
            beyond.join(", ")
        },
        bound: format!("none by more than {} sigma", options.within),
        holds: beyond.is_empty(),
    });
    let mut table = Table::new("", ["count", ENGINES[0], ENGINES[1], "sigma"]);
    for (name, pair) in &drawn.0 {
        let sigmas = pair.sigmas.map_or("-".to_owned(), |sigmas| format!("{sigmas:+.1}"));
        table.row([name.clone(), grouped(pair.a as u64), grouped(pair.b as u64), sigmas]);
    }
    Ok(Report {
        tables: vec![table],
        lines,
    })
}

fn say(line: &str) {
    console::tell(&format!("engines: {line}"));
}

/// What makes a run no basis for a comparison.
fn faults(evidence: &Evidence, sessions: u32) -> Vec<String> {
    let mut faults = evidence.money_failures();
    let counts = &evidence.phones.sessions.counts;
    if counts.connected != u64::from(sessions) || counts.lost > 0 {
        let (connected, lost) = (counts.connected, counts.lost);
        faults.push(format!(
            "{connected} of {sessions} sessions were established, and {lost} lost"
        ));
    }
    faults
}
