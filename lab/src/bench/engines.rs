//! `cargo xtask bench engines`: plays one scenario through both engines of the simulator, each against a gateway and an
//! agent of its own, and lets `client-sim report --within` say whether the outcomes differ by more than chance.

use crate::demo::{books, evidence, plan, verdict::Evidence};
use crate::testbed::{self, Build, Patience, Place, Programs, Stage, files, run_to_file};
use anyhow::{Context, bail};
use clap::Args;
use host::console;
use std::fs;
use std::time::Duration;
use xtask::interrupt::Interrupt;
use xtask::workspace;

/// More than a tenth of all shakes, so that the seed is never what decides.
const PACKETS: u64 = 40_000;
/// Shakes of each phone are so many seconds apart, as in the scenario.
const SECONDS_BETWEEN_SHAKES: u32 = 25;
/// Fewer give counts too small to compare.
const SHAKES_PER_SECOND_MIN: u32 = 100;
/// As in the scenario.
const CONNECTS_PER_SECOND: u32 = 1_000;
/// A bound on one run, beside its ramp and its shaking.
const RUN: Duration = Duration::from_secs(120);
const REPORT: Duration = Duration::from_secs(30);
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

/// Plays both and prints the comparison.
///
/// # Errors
/// When something could not run, or the outcomes differ.
pub fn run(options: &Options, interrupt: &Interrupt) -> anyhow::Result<()> {
    say("building the programs (release)");
    let programs = Programs::build(Build::Release, interrupt)?;
    let mut failures = Vec::new();
    let mut reports = Vec::new();
    for engine in ENGINES {
        let place = Place::fresh(&format!("bench-engines-{engine}"))?;
        let evidence = play(&place, &programs, engine, options, interrupt)?;
        failures.extend(
            faults(&evidence, options.sessions)
                .into_iter()
                .map(|fault| format!("{engine}: {fault}")),
        );
        reports.push(place.file(files::REPORT));
    }
    let mut compare = programs.command("client-sim");
    compare
        .arg("report")
        .args(&reports)
        .args(["--within", &options.within.to_string()]);
    let output = workspace::target().join("bench-engines.txt");
    let patience = Patience {
        at_most: REPORT,
        interrupt,
    };
    let agree = run_to_file("client-sim report", compare, &output, &patience, || Ok(()))?;
    let table = fs::read_to_string(&output).with_context(|| format!("cannot read {}", output.display()))?;
    console::print(&format!("A is the lean engine, B is quinn\n{table}"))?;
    if !agree.is_success() {
        failures.push("the outcomes differ by more than chance; the last line of the table names them".into());
    }
    if !failures.is_empty() {
        bail!("{}", failures.join("; "));
    }
    Ok(())
}

fn say(line: &str) {
    console::tell(&format!("engines: {line}"));
}

/// One run: its own gateway, agent, ledger and seed.
fn play(
    place: &Place,
    programs: &Programs,
    engine: &str,
    options: &Options,
    interrupt: &Interrupt,
) -> anyhow::Result<Evidence> {
    let ramp_s = u64::from(options.sessions / CONNECTS_PER_SECOND);
    let budget_cents = PACKETS * 2_090;
    let mut seed_flags = plan::seed_flags_of(PACKETS, budget_cents);
    seed_flags.extend(plan::named::SPLIT_FLAGS.map(str::to_owned));
    testbed::make_certs_and_seed(place, programs, &seed_flags, interrupt)?;
    prepare(place)?;
    let mut stage = Stage::start(place, programs, interrupt)?;
    say(&format!("{} phones on the {engine} engine", options.sessions));
    let rate = (options.sessions / SECONDS_BETWEEN_SHAKES).max(SHAKES_PER_SECOND_MIN);
    let mut phones = programs.command("client-sim");
    phones
        .arg("run")
        .arg(place.file(files::SCENARIO))
        .args([
            "--json",
            "--engine",
            engine,
            "--sessions",
            &options.sessions.to_string(),
        ])
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
        .args(["--watch-pid", &format!("gateway={}", stage.gateway.pid())]);
    let patience = Patience {
        at_most: RUN + Duration::from_secs(ramp_s * 3 + u64::from(options.seconds) * 2),
        interrupt,
    };
    let ended = run_to_file("client-sim", phones, &place.file(files::REPORT), &patience, || {
        stage.check()
    })?;
    stage.end()?;
    evidence(place, ended.is_success(), books(place, programs, interrupt)?)
}

/// The show and the configurations.
fn prepare(place: &Place) -> anyhow::Result<()> {
    place.write(files::SHOW, &workspace::deployed("shows", "engines")?)?;
    place.write(files::THROTTLE, &workspace::deployed("throttles", "rehearsal")?)?;
    let gateway = format!(
        "{}\n[sessions]\nidle_timeout_s = 180\n\n[throttle]\nfile = \"{}\"\n",
        plan::gateway(place),
        files::THROTTLE
    );
    place.write(files::GATEWAY, &gateway)?;
    place.write(files::AGENT, &plan::agent(place.queue(), &place.directory))?;
    place.write(files::SCENARIO, &workspace::deployed("scenarios", "fifty-thousand")?)
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
