//! `cargo xtask bench hostile`: for each attack a fresh gateway and agent, honest phones alone, then the same phones with the
//! attack beside them; and what the attack cost, against its stated bounds.

mod look;
mod plan;
mod table;

use crate::demo::books;
use crate::demo::plan::seed_flags_of;
use crate::report::{Bench, Report};
use crate::testbed::{self, Build, Patience, Place, Programs, Stage, Usage, files, run_to_file, unix_ms};
use anyhow::{Context, bail, ensure};
use client_sim::report::Report as Phones;
use host::console;
use look::Look;
use plan::{ALL, Attack};
use serde::Deserialize;
use serde_json::Value;
use shake_agent::abuse::{KeptBlock, KeptFile};
use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};
use table::{Blocked, Row};
use xtask::interrupt::Interrupt;

/// How long the honest phones shake, each time.
const HONEST_SECONDS: u32 = 6;
/// How long the attack goes on before they come.
const AHEAD: Duration = Duration::from_secs(2);
/// How long it lasts: until they have shaken, and a little more.
const ATTACK_SECONDS: u32 = HONEST_SECONDS + 5;
/// How long a simulator may run.
const RUN: Duration = Duration::from_secs(120);
/// The first user of the honest phones under attack; those of the run before have others.
const SECOND_FIRST_USER: u64 = 1_000_001;

/// The first user of the attackers, as `client-sim hostile --help` says.
const FIRST_ATTACKER: u64 = 9_000_000_000_000;

/// What the attackers report.
#[derive(Debug, Deserialize)]
struct Findings {
    connections: u64,
    sent: u64,
    answers: std::collections::BTreeMap<String, u64>,
    breaches: Vec<String>,
}

/// Shakes answered in time, of all that were due: also those of phones that did not get in.
fn success_share(honest: &Phones) -> f64 {
    honest.shakes.counts.answered as f64 / honest.shakes.scheduled.max(1) as f64
}

pub const BENCH: Bench = Bench {
    name: "hostile",
    title: "Attacks",
    about: "\
For each attack of `client-sim hostile` a fresh gateway and agent: 500 honest phones shake once a second, alone and then with the attack
beside them. Honest shakes are those answered in time, of all that were due; CPU is the gateway's, of one core, while the attack goes on.
The bounds stand in the [security notes](security.md#what-each-attack-costs).",
};

/// Runs the named attacks, or all.
///
/// # Errors
/// When something could not run.
pub fn run(names: &[String], interrupt: &Interrupt) -> anyhow::Result<Report> {
    let chosen = chosen(names)?;
    console::tell("hostile: building the programs (release)");
    let programs = Programs::build(Build::Release, interrupt)?;
    let mut rows = Vec::new();
    for (index, attack) in chosen.iter().enumerate() {
        console::tell(&format!("hostile: {} ({} of {})", attack.name, index + 1, chosen.len()));
        let row = play(attack, &programs, interrupt).with_context(|| attack.name)?;
        let broken = row.broken();
        if !broken.is_empty() {
            console::tell(&format!("hostile:   broken: {}", broken.join("; ")));
        }
        rows.push(row);
    }
    Ok(table::report(&rows))
}

fn chosen(names: &[String]) -> anyhow::Result<Vec<&'static Attack>> {
    let known = || ALL.iter().map(|attack| attack.name).collect::<Vec<_>>().join(", ");
    for name in names {
        ensure!(
            ALL.iter().any(|attack| attack.name == name),
            "no attack has the name {name}; there are: {}",
            known()
        );
    }
    let wanted = |attack: &&Attack| names.is_empty() || names.iter().any(|name| name == attack.name);
    Ok(ALL.iter().filter(wanted).collect())
}

/// One attack, from certificates to audit.
fn play(attack: &'static Attack, programs: &Programs, interrupt: &Interrupt) -> anyhow::Result<Row> {
    let place = Place::fresh("bench-hostile")?;
    prepare(&place, programs, attack, interrupt)?;
    let mut stage = Stage::start(&place, programs, interrupt)?;
    let alone = honest(&place, programs, 1, "alone", interrupt, &mut || stage.check())?;

    let gateway = stage.gateway.pid();
    let before = Look::at(gateway, place.metrics)?;
    let mut resident_max = before.usage.resident_bytes;
    let (began, began_ms) = (Instant::now(), unix_ms());
    let (under, findings) = thread::scope(|scope| {
        let attacking = scope.spawn(|| attackers(&place, programs, attack, interrupt));
        thread::sleep(AHEAD);
        let under = honest(&place, programs, SECOND_FIRST_USER, "under", interrupt, &mut || {
            resident_max = resident_max.max(Usage::of(gateway)?.resident_bytes);
            stage.check()
        });
        let findings = attacking.join().expect("the thread does not panic");
        (under, findings)
    });
    let (under, findings) = (under?, findings?);
    let after = Look::at(gateway, place.metrics)?;
    let took = began.elapsed();
    stage.end()?;
    let books = books(&place, programs, interrupt)?;
    Ok(Row {
        attack,
        success_alone: success_share(&alone),
        success_under: success_share(&under),
        p99_alone_us: alone.latency.p99_us,
        p99_under_us: under.latency.p99_us,
        growth_bytes: resident_max
            .max(after.usage.resident_bytes)
            .saturating_sub(before.usage.resident_bytes),
        cpu_share: (after.usage.cpu - before.usage.cpu).as_secs_f64() / took.as_secs_f64(),
        connections: findings.connections,
        sent: findings.sent,
        answers: findings.answers,
        breaches: findings.breaches,
        counters: after.grown_since(&before),
        counted: attack
            .counted_max
            .iter()
            .map(|(name, _)| after.more_than(&before, name))
            .collect(),
        is_balanced: books.audit.balanced,
        blocks: blocked(books.blocks, began_ms),
    })
}

/// Certificates, seed and configurations.
fn prepare(place: &Place, programs: &Programs, attack: &Attack, interrupt: &Interrupt) -> anyhow::Result<()> {
    testbed::make_certs_and_seed(
        place,
        programs,
        &seed_flags_of(plan::PACKETS, plan::BUDGET_CENTS),
        interrupt,
    )?;
    place.write(files::SHOW, plan::SHOW)?;
    let throttle = attack.throttle.map(|text| {
        place.write(files::THROTTLE, &text())?;
        anyhow::Ok(place.file(files::THROTTLE))
    });
    let throttle = throttle.transpose()?;
    place.write(
        files::GATEWAY,
        &plan::gateway(place.gateway, place.metrics, place.queue(), throttle.as_deref()),
    )?;
    place.write(files::AGENT, &plan::agent(place.queue()))
}

/// The honest phones, from their first connection to their last answer.
fn honest(
    place: &Place,
    programs: &Programs,
    first_user: u64,
    name: &str,
    interrupt: &Interrupt,
    meanwhile: &mut dyn FnMut() -> anyhow::Result<()>,
) -> anyhow::Result<Phones> {
    let scenario = format!("{name}.toml");
    place.write(
        &scenario,
        &plan::scenario(place.gateway, &place.file(files::CERTS), first_user),
    )?;
    let mut command = programs.command("client-sim");
    command
        .arg("run")
        .arg(place.file(&scenario))
        .args(["--json", "--quiet"]);
    let output = place.file(&format!("{name}.json"));
    let patience = Patience {
        at_most: RUN,
        interrupt,
    };
    let ended = run_to_file("client-sim run", command, &output, &patience, meanwhile)?;
    // It fails as well when nobody got in; that is a finding, and its report is there.
    let report = read(&output);
    if report.is_err() {
        ended.success()?;
    }
    let report: Phones = serde_json::from_value(report?).context("the simulator's report is not what was expected")?;
    if !report.checks.passed {
        bail!("honest phones saw what no correct gateway does: {:?}", report.checks);
    }
    Ok(report)
}

/// Whom the agent blocked.
fn blocked(file: KeptFile, began_ms: u64) -> Blocked {
    // Devices are the honest phones' alone; a prefix is shared, and its block shows in what they are answered.
    let is_honest = |block: &&KeptBlock| match block.kind.as_str() {
        "user" => block.name.parse().is_ok_and(|user: u64| user < FIRST_ATTACKER),
        kind => kind == "device",
    };
    let first_ms = file.blocks.iter().map(|block| block.since_ms).min();
    Blocked {
        held_back: file.held_back,
        honest: file.blocks.iter().filter(is_honest).count(),
        first_s: first_ms.map(|first_ms| first_ms.saturating_sub(began_ms) as f64 / 1_000.0),
        made: file.made,
    }
}

fn attackers(place: &Place, programs: &Programs, attack: &Attack, interrupt: &Interrupt) -> anyhow::Result<Findings> {
    let mut command = programs.command("client-sim");
    command
        .args(["hostile", attack.name, "--json", "--target"])
        .arg(place.gateway.to_string())
        .arg("--certs")
        .arg(place.file(files::CERTS))
        .args(["--seconds", &ATTACK_SECONDS.to_string()])
        .args(["--rate", &attack.rate.to_string()])
        .args(["--size", &attack.size.to_string()])
        .args(["--packets-per-user", &plan::PACKETS_PER_USER.to_string()]);
    let output = place.file("attack.json");
    let patience = Patience {
        at_most: RUN,
        interrupt,
    };
    let ended = run_to_file("client-sim hostile", command, &output, &patience, || Ok(()))?;
    let findings = read(&output);
    if findings.is_err() {
        ended.success()?;
    }
    serde_json::from_value(findings?).context("the attackers' findings are not what was expected")
}

fn read(path: &Path) -> anyhow::Result<Value> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} holds no JSON", path.display()))
}
