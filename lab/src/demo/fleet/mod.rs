//! `cargo xtask demo --fleet`: the gala before two gateways, each with an agent, and one ledger in PostgreSQL. In the middle of
//! it one machine is destroyed; its phones go on at the other, what was won at one opens at the other, and in the end the ledger
//! and the phones must agree credit by credit.

mod machines;
mod verdict;

use super::{Options, build, evidence, judge, longest_run, plan, ramp, say, table};
use crate::testbed::{Patience, Programs, deployed, files, metrics, phones_of_scenario, run_to_file, with_credits};
use host::console;
use machines::Fleet;
use std::time::{Duration, Instant};
use verdict::Played;
use xtask::interrupt::Interrupt;

const NAME: &str = "demo-fleet";
/// The show, and the scenario of its phones.
const SHOW: &str = "gala";
const MACHINES: usize = 2;
/// Which of them is destroyed, and which is left.
const DESTROYED: usize = 0;
const LEFT: usize = 1;
const PHONES: u32 = 4_000;
/// Every other second a shake of each, as in the scenario.
const SHAKES_PER_SECOND: u32 = PHONES / 2;
/// From the end of the ramp to the end of the machine: the phase with the most packets, and the gifts, is under way.
const BEFORE: Duration = Duration::from_secs(68);
/// Between two looks at where the phones are.
const LOOK: Duration = Duration::from_millis(500);
/// Two silences of this length, and a phone goes to the other gateway.
const PATIENCE_MS: u32 = 3_000;

/// Runs it and prints its result.
///
/// # Errors
/// When something could not run, or the result is not as it must be.
pub fn run(options: &Options, interrupt: &Interrupt) -> anyhow::Result<()> {
    let scenario = deployed("scenarios", SHOW)?;
    let (_, _, seconds) = plan::named::size(&scenario)?;
    let size = Options {
        show: Some(SHOW.to_owned()),
        ..Options::of_size(PHONES, SHAKES_PER_SECOND, seconds)
    };
    let programs = build(options, interrupt)?;
    say("certificates, seeds, a PostgreSQL with the ledger, and two machines");
    let show = deployed("shows", SHOW)?;
    let mut fleet = Fleet::prepare(NAME, MACHINES, &programs, &seed_flags(&size), &show, interrupt)?;
    fleet
        .ground
        .base
        .write(files::SCENARIO, &(scenario + &told(&fleet, &programs)))?;
    let (phones_succeeded, moved) = play(&mut fleet, &programs, &size, interrupt)?;
    say("auditing the ledger");
    let machines::FleetBooks { books, crossed } = fleet.books(&programs, interrupt)?;
    let played = Played {
        phones: PHONES,
        evidence: evidence(&fleet.ground.base, phones_succeeded, books)?,
        crossed,
        moved,
    };
    let failures = played.failures();
    if options.json {
        let mut json = table::json(&size, &played.evidence, &failures);
        json["fleet"] = played.json();
        console::line(&serde_json::to_string_pretty(&json)?)?;
    } else {
        console::print(&table::text(&size, &played.evidence, &played.lines(), &failures))?;
    }
    judge(&fleet.ground.base, &failures)
}

/// A seed for as many gateways, each of which gives out at the show's rates.
fn seed_flags(size: &Options) -> Vec<String> {
    let gateways = MACHINES as u64;
    let mut flags = plan::seed_flags_of(plan::packets(size) * gateways, plan::budget_cents(size) * gateways);
    flags.extend(plan::named::SPLIT_FLAGS.map(str::to_owned));
    flags
}

/// What the phones must know beside the show's scenario: who gives the cues, where the gateways are, and when one is silent.
fn told(fleet: &Fleet, programs: &Programs) -> String {
    let places = || fleet.ground.places.iter();
    let operators: Vec<_> = places().map(|place| place.admin).collect();
    let mut text = plan::operator(&operators, &fleet.ground.base.file(files::CERTS), programs);
    text.push_str(&format!(
        "\n[limits]\nshake_timeout_ms = {PATIENCE_MS}\nrequest_timeout_ms = {PATIENCE_MS}\n"
    ));
    for place in places() {
        text.push_str(&format!("\n[[targets]]\naddress = \"{}\"\n", place.gateway));
    }
    text
}

/// Plays the phones, and destroys a machine on the way. Tells whether the phones succeeded, and how long it took until all of
/// them were at the other; `None` when they never were.
fn play(
    fleet: &mut Fleet,
    programs: &Programs,
    size: &Options,
    interrupt: &Interrupt,
) -> anyhow::Result<(bool, Option<Duration>)> {
    fleet.start(programs, interrupt)?;
    for place in &fleet.ground.places {
        say(&format!(
            "gateway on {}, metrics at http://{}/metrics",
            place.gateway, place.metrics
        ));
    }
    let mut phones = phones_of_scenario(&fleet.ground.base, programs);
    phones
        .args(["--sessions", &size.sessions.to_string()])
        .args(["--shakes-per-second", &size.shakes_per_second.to_string()]);
    with_credits(&mut phones, &fleet.ground.base);
    let patience = Patience {
        at_most: longest_run(size),
        interrupt,
    };
    let report = fleet.ground.base.file(files::REPORT);
    let (began, mut look_at) = (Instant::now(), Instant::now());
    let (mut destroyed, mut moved) = (None, None);
    let ended = run_to_file("client-sim", phones, &report, &patience, || {
        fleet.check()?;
        if destroyed.is_none() && began.elapsed() >= ramp(size) + BEFORE {
            say("destroying a machine: gateway, agent, mapping and disk");
            fleet.destroy(DESTROYED)?;
            destroyed = Some(Instant::now());
        }
        if moved.is_none()
            && let Some(since) = destroyed.filter(|_| look_at <= Instant::now())
        {
            look_at = Instant::now() + LOOK;
            let sessions = metrics(fleet.ground.places[LEFT].metrics)?.sum("gateway_sessions");
            moved = (sessions >= f64::from(size.sessions)).then(|| since.elapsed());
        }
        Ok(())
    })?;
    say("ending the other machine");
    fleet.end()?;
    Ok((ended.is_success(), moved))
}
