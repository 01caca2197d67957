//! Gateway, agent and phones of the million in one place, from the configurations to the end of the scenario.

use crate::demo::plan;
use crate::testbed::{
    self, Patience, Place, Programs, Sampler, Samples, Stage, deployed, files, phones_with_credits, run_to_file,
    with_page,
};
use anyhow::Context;
use client_sim::metrics::Metrics;
use host::console;
use std::time::Duration;
use xtask::interrupt::Interrupt;

/// Packets of the seed: 83 a second for an hour and a half.
pub const PACKETS: u64 = 450_000;
/// No session may go for want of packets while the last ones connect.
pub const IDLE_TIMEOUT_S: u32 = 900;
/// What a turn that lasts some tens of milliseconds needs at 60,000 packets/s; capped by net.core.rmem_max.
const SOCKET_BUFFER_BYTES: u32 = 32 << 20;
/// A bound on the whole simulation.
const RUN: Duration = Duration::from_secs(3_600);

/// Gateway and agent, in the order of the samples; the simulator tells of itself.
pub const GATEWAY: usize = 0;
pub const AGENT: usize = 1;

/// Gateway and agent in a show without gifts, for these phones: they are asked to shake at this pace.
///
/// # Errors
/// When a program failed, or a file could not be written.
pub fn stage_at_pace(
    place: &Place,
    programs: &Programs,
    pace_ms: u32,
    scenario: &str,
    interrupt: &Interrupt,
) -> anyhow::Result<Stage> {
    let show = show_without_gifts(Some(pace_ms))?;
    prepare(place, programs, PACKETS, &show, scenario, interrupt)?;
    Stage::start(place, programs, interrupt)
}

/// The show of the million without its gifts, with another pace if one is given.
///
/// # Errors
/// When `deploy/shows/million.toml` is not what it was.
pub fn show_without_gifts(pace_ms: Option<u32>) -> anyhow::Result<String> {
    let text = deployed("shows", "million")?;
    let mut show: toml::Table = text.parse().context("the show is no TOML")?;
    show.remove("gifts");
    let phases = show.get_mut("phases").and_then(toml::Value::as_array_mut);
    for phase in phases.context("the show has no [[phases]]")? {
        let phase = phase.as_table_mut().context("a phase is no table")?;
        phase.remove("gifts");
        if let Some(pace_ms) = pace_ms {
            phase.insert("pace_ms".to_owned(), i64::from(pace_ms).into());
        }
    }
    Ok(toml::to_string(&show)?)
}

/// Certificates, a seed of so many packets, and the configurations for this show and this scenario.
///
/// # Errors
/// When a program failed, or a file could not be written.
pub fn prepare(
    place: &Place,
    programs: &Programs,
    packets: u64,
    show: &str,
    scenario: &str,
    interrupt: &Interrupt,
) -> anyhow::Result<()> {
    let (least, most) = plan::AMOUNT_CENTS;
    let budget_cents = packets * (least + (most - least) / 10);
    let mut seed_flags: Vec<String> = plan::seed_flags_of(packets, budget_cents);
    seed_flags.extend(plan::named::SPLIT_FLAGS.map(str::to_owned));
    testbed::make_certs_and_seed(place, programs, &seed_flags, interrupt)?;
    let gateway = plan::gateway(place);
    let gateway = format!(
        "{gateway}\n[sessions]\nidle_timeout_s = {IDLE_TIMEOUT_S}\n\n[throttle]\nfile = \"{}\"\n",
        files::THROTTLE
    )
    .replace(
        "[listen]\n",
        &format!("[listen]\nbuffer_bytes = {SOCKET_BUFFER_BYTES}\n"),
    );
    place.write(files::SHOW, show)?;
    place.write(files::THROTTLE, &deployed("throttles", "rehearsal")?)?;
    place.write(files::GATEWAY, &gateway)?;
    place.write(files::AGENT, &plan::agent(place.queue(), &place.directory))?;
    place.write(files::SCENARIO, scenario)
}

/// What was seen while the phones played.
pub struct Played {
    /// The phones had what they wanted.
    pub ended_well: bool,
    /// What gateway and agent used.
    pub samples: Samples,
    /// The gateway's metrics after the last shake.
    pub metrics: Metrics,
}

/// Lets so many phones play the scenario, and ends gateway and agent.
///
/// # Errors
/// When a program could not run to its end.
pub fn play(place: &Place, programs: &Programs, sessions: u32, interrupt: &Interrupt) -> anyhow::Result<Played> {
    let mut stage = Stage::start(place, programs, interrupt)?;
    console::tell(&format!(
        "gateway on {}, metrics at http://{}/metrics",
        place.gateway, place.metrics
    ));
    let (gateway, agent) = (stage.gateway.pid(), stage.agent.pid());
    let mut phones = phones_with_credits(place, programs);
    phones.args(["--sessions", &sessions.to_string()]);
    with_page(&mut phones, place, &[("gateway", gateway), ("shake-agent", agent)]);
    let patience = Patience {
        at_most: RUN,
        interrupt,
    };
    let sampler = Sampler::watch(vec![gateway, agent]);
    let ended = run_to_file("client-sim", phones, &place.file(files::REPORT), &patience, || {
        stage.check()
    })?;
    let samples = sampler.finish();
    let metrics = testbed::metrics(place.metrics)?;
    console::tell("ending gateway and agent");
    stage.end()?;
    Ok(Played {
        ended_well: ended.is_success(),
        samples,
        metrics,
    })
}
