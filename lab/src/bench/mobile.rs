//! `cargo xtask bench mobile`: the phones of `deploy/scenarios/mobile.toml` on its networks, and the same phones without them,
//! each against a gateway and an agent of its own: what a phone's network costs the phone and the gateway.

mod verdict;

use super::errands::{self, GATEWAY, Size};
use crate::demo::verdict::Evidence;
use crate::report::{Bench, Report};
use crate::testbed::{Build, Place, Programs, deployed};
use anyhow::Context;
use clap::Args;
use host::console;
use xtask::interrupt::Interrupt;

#[derive(Args)]
#[command(after_long_help = "\
Plays deploy/scenarios/mobile.toml in the show deploy/shows/engines.toml, first
without its [network] tables, then with them, and prints both side by side.
Everything is in target/bench-mobile-loopback and target/bench-mobile-networks
until the next run.

Takes some six minutes with 50,000 phones; run nothing beside it.
Exits with 0 only if
- no phone was refused: none gave up, and the gateway closed no beginning;
- of each network's beginnings over paths that were alive, 99 of 100 had their
  HelloReply within three of its longest round trips and one probe of a client that
  has measured nothing yet (1 s);
- a shake costs the gateway at most a quarter more CPU time than on the loopback;
- without networks all is as in the demo, and with them no money is made up.

Examples:
  cargo xtask bench mobile
  cargo xtask bench mobile --sessions 5000 --seconds 20
  cargo xtask bench mobile --tuned               as on the night, after cargo xtask tune
  cargo xtask bench mobile --dev --sessions 300 --seconds 5     tries the bench itself; its figures say nothing")]
pub struct Options {
    /// Phones, one QUIC session each
    #[arg(long, default_value_t = 50_000, value_name = "N", value_parser = clap::value_parser!(u32).range(300..=200_000))]
    sessions: u32,
    /// How long they shake
    #[arg(long, default_value_t = 60, value_name = "N", value_parser = clap::value_parser!(u32).range(5..=600))]
    seconds: u32,
    /// With the programs that `cargo xtask tune` prepared
    #[arg(long)]
    tuned: bool,
    /// With the programs as the tests build them
    #[arg(long, conflicts_with = "tuned")]
    dev: bool,
}

/// One of the two runs.
struct Run {
    evidence: Evidence,
    /// CPU time of the gateway per shake answered while they shook, in microseconds.
    gateway_us_per_shake: f64,
    /// What the gateway's resident memory grew by from its start to the end of the shaking, per session.
    bytes_per_session: f64,
    /// The share of the machine's CPU time that its host gave to others while they shook.
    stolen_share: f64,
}

pub const BENCH: Bench = Bench {
    name: "mobile",
    title: "Phones on a city's networks",
    about: "\
The phones of `deploy/scenarios/mobile.toml` on its networks, and the same phones without them, each against a gateway and an agent of its
own. A phone connects at 1,000 a second and shakes every 25 s; one win in ten is claimed, split, sent and grabbed. Three round trips to the
HelloReply are handshake, Retry and Hello; the second on top is the probe of a client that has measured no round trip yet (RFC 9002, section
6.2.2). Beginnings over a path that was dead for a while, so that the phone had no network, are counted apart. Memory is what the gateway's resident memory grew by until the end of the shaking.",
};

/// Plays both.
///
/// # Errors
/// When something could not run.
pub fn run(options: &Options, interrupt: &Interrupt) -> anyhow::Result<Report> {
    let build = match options {
        Options { tuned: true, .. } => Build::Tuned,
        Options { dev: true, .. } => Build::Dev,
        _ => Build::Release,
    };
    say("building the programs");
    let programs = Programs::build(build, interrupt)?;
    let scenario = deployed("scenarios", "mobile")?;
    let play = |name: &str, scenario: &str| {
        let place = Place::fresh(&format!("bench-mobile-{name}"))?;
        say(&format!("{} phones, {name}", options.sessions));
        play(&place, &programs, scenario, options, interrupt)
    };
    let loopback = play("loopback", &without_networks(&scenario)?)?;
    let mobile = play("networks", &scenario)?;
    Ok(Report {
        tables: vec![
            verdict::table(options, &loopback, &mobile),
            verdict::networks(&mobile.evidence.phones.networks),
        ],
        lines: verdict::lines(&loopback, &mobile),
    })
}

fn say(line: &str) {
    console::tell(&format!("mobile: {line}"));
}

fn without_networks(scenario: &str) -> anyhow::Result<String> {
    let mut table: toml::Table = scenario.parse().context("the scenario is no TOML")?;
    table.remove("network").context("the scenario has no networks")?;
    Ok(toml::to_string(&table)?)
}

/// One run.
fn play(
    place: &Place,
    programs: &Programs,
    scenario: &str,
    options: &Options,
    interrupt: &Interrupt,
) -> anyhow::Result<Run> {
    let size = Size {
        sessions: options.sessions,
        seconds: options.seconds,
    };
    let played = errands::play(place, programs, scenario, size, &[], interrupt)?;
    let (evidence, samples) = (played.evidence, played.samples);
    let step = evidence.phones.steps.first().context("the run had no step")?;
    let spell = samples.between(GATEWAY, step.began_unix_ms, step.ends_unix_ms());
    let spell = spell.context("the shaking was too short to be measured")?;
    let grown = samples
        .resident_bytes_at(GATEWAY, step.ends_unix_ms())
        .saturating_sub(played.resident_bytes_before);
    Ok(Run {
        gateway_us_per_shake: spell.cpu.as_secs_f64() * 1e6 / step.counts.answered.max(1) as f64,
        bytes_per_session: grown as f64 / f64::from(options.sessions),
        stolen_share: spell.stolen_share,
        evidence,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_has_the_same_phones_and_no_networks() {
        let mobile = deployed("scenarios", "mobile").unwrap();
        let table = |text: &str| text.parse::<toml::Table>().unwrap();
        let mut expected = table(&mobile);
        expected.remove("network");
        assert_eq!(table(&without_networks(&mobile).unwrap()), expected);
        assert!(without_networks("[load]\n").is_err());
    }
}
