//! `cargo xtask bench mobile`: the phones of `deploy/scenarios/mobile.toml` on its networks, and the same phones without them,
//! each against a gateway and an agent of its own: what a phone's network costs the phone and the gateway.

mod verdict;

use super::lines;
use crate::demo::{books, evidence, plan, verdict::Evidence};
use crate::testbed::{self, Build, Patience, Place, Programs, Sampler, Stage, Usage, files, run_to_file};
use anyhow::Context;
use clap::Args;
use host::console;
use std::time::Duration;
use xtask::interrupt::Interrupt;
use xtask::workspace;

/// More than a tenth of all shakes of the longest run, so that the seed is never what decides.
const PACKETS: u64 = 40_000;
/// Shakes of each phone are so many seconds apart, as in the scenario.
const SECONDS_BETWEEN_SHAKES: u32 = 25;
const SHAKES_PER_SECOND_MIN: u32 = 100;
/// As in the scenario.
const CONNECTS_PER_SECOND: u32 = 1_000;
/// A bound on one run, beside its ramp and its shaking.
const RUN: Duration = Duration::from_secs(180);
/// The gateway's place among the samples.
const GATEWAY: usize = 0;

#[derive(Args)]
#[command(after_long_help = "\
Plays deploy/scenarios/mobile.toml in the show deploy/shows/engines.toml, first
without its [network] tables, then with them, and prints both side by side.
Everything is in target/bench-mobile-loopback and target/bench-mobile-networks
until the next run.

Takes some six minutes with 50,000 phones; run nothing beside it.
Exits with 0 only if
- no phone was refused: none gave up, and the gateway closed no beginning;
- of each network's beginnings, 99 of 100 had their HelloReply within three of its
  longest round trips and one probe of a client that has measured nothing yet (1 s);
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

/// Plays both and prints the table and the verdict.
///
/// # Errors
/// When something could not run, or a bound was broken.
pub fn run(options: &Options, interrupt: &Interrupt) -> anyhow::Result<()> {
    let build = match options {
        Options { tuned: true, .. } => Build::Tuned,
        Options { dev: true, .. } => Build::Dev,
        _ => Build::Release,
    };
    say("building the programs");
    let programs = Programs::build(build, interrupt)?;
    let scenario = workspace::deployed("scenarios", "mobile")?;
    let play = |name: &str, scenario: &str| {
        let place = Place::fresh(&format!("bench-mobile-{name}"))?;
        say(&format!("{} phones, {name}", options.sessions));
        play(&place, &programs, scenario, options, interrupt)
    };
    let loopback = play("loopback", &without_networks(&scenario)?)?;
    let mobile = play("networks", &scenario)?;
    let lines = verdict::lines(&loopback, &mobile);
    lines::print(verdict::table(options, &loopback, &mobile), &lines)
}

fn say(line: &str) {
    console::tell(&format!("mobile: {line}"));
}

fn without_networks(scenario: &str) -> anyhow::Result<String> {
    let mut table: toml::Table = scenario.parse().context("the scenario is no TOML")?;
    table.remove("network").context("the scenario has no networks")?;
    Ok(toml::to_string(&table)?)
}

/// One run: its own gateway, agent, ledger and seed.
fn play(
    place: &Place,
    programs: &Programs,
    scenario: &str,
    options: &Options,
    interrupt: &Interrupt,
) -> anyhow::Result<Run> {
    prepare(place, programs, scenario, interrupt)?;
    let mut stage = Stage::start(place, programs, interrupt)?;
    let gateway = stage.gateway.pid();
    let before = Usage::of(gateway)?.resident_bytes;
    let sampler = Sampler::watch(vec![gateway]);
    let rate = (options.sessions / SECONDS_BETWEEN_SHAKES).max(SHAKES_PER_SECOND_MIN);
    let mut phones = programs.command("client-sim");
    phones
        .arg("run")
        .arg(place.file(files::SCENARIO))
        .args(["--json", "--sessions", &options.sessions.to_string()])
        .args(["--shakes-per-second", &rate.to_string()])
        .args(["--seconds", &options.seconds.to_string()])
        .args(["--target", &place.gateway.to_string(), "--certs"])
        .arg(place.file(files::CERTS))
        .arg("--credits")
        .arg(place.file(files::CREDITS))
        .arg("--control")
        .arg(place.file("control.sock"))
        .arg("--html")
        .arg(place.file("report.html"))
        .args(["--metrics", &format!("http://{}/metrics", place.metrics)])
        .args(["--watch-pid", &format!("gateway={gateway}")]);
    let ramp_s = u64::from(options.sessions / CONNECTS_PER_SECOND);
    let patience = Patience {
        at_most: RUN + Duration::from_secs(ramp_s * 3 + u64::from(options.seconds) * 2),
        interrupt,
    };
    let ended = run_to_file("client-sim", phones, &place.file(files::REPORT), &patience, || {
        stage.check()
    })?;
    let samples = sampler.finish();
    stage.end()?;
    let evidence = evidence(place, ended.is_success(), books(place, programs, interrupt)?)?;
    let step = evidence.phones.steps.first().context("the run had no step")?;
    let spell = samples.between(GATEWAY, step.began_unix_ms, step.ends_unix_ms());
    let spell = spell.context("the shaking was too short to be measured")?;
    let grown = samples
        .resident_bytes_at(GATEWAY, step.ends_unix_ms())
        .saturating_sub(before);
    Ok(Run {
        gateway_us_per_shake: spell.cpu.as_secs_f64() * 1e6 / step.counts.answered.max(1) as f64,
        bytes_per_session: grown as f64 / f64::from(options.sessions),
        stolen_share: spell.stolen_share,
        evidence,
    })
}

/// Certificates, seed, the show and the configurations.
fn prepare(place: &Place, programs: &Programs, scenario: &str, interrupt: &Interrupt) -> anyhow::Result<()> {
    let mut seed_flags = plan::seed_flags_of(PACKETS, PACKETS * 2_090);
    seed_flags.extend(plan::named::SPLIT_FLAGS.map(str::to_owned));
    testbed::make_certs_and_seed(place, programs, &seed_flags, interrupt)?;
    place.write(files::SHOW, &workspace::deployed("shows", "engines")?)?;
    place.write(files::THROTTLE, &workspace::deployed("throttles", "rehearsal")?)?;
    let gateway = format!(
        "{}\n[sessions]\nidle_timeout_s = 180\n\n[throttle]\nfile = \"{}\"\n",
        plan::gateway(place),
        files::THROTTLE
    );
    place.write(files::GATEWAY, &gateway)?;
    place.write(files::AGENT, &plan::agent(place.queue(), &place.directory))?;
    place.write(files::SCENARIO, scenario)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_has_the_same_phones_and_no_networks() {
        let mobile = workspace::deployed("scenarios", "mobile").unwrap();
        let table = |text: &str| text.parse::<toml::Table>().unwrap();
        let mut expected = table(&mobile);
        expected.remove("network");
        assert_eq!(table(&without_networks(&mobile).unwrap()), expected);
        assert!(without_networks("[load]\n").is_err());
    }
}
