//! A run in which phones do all that phones do, at the pace of an evening: the show `deploy/shows/engines.toml`, a shake of each
//! phone every 25 s, and wins that are claimed, split, sent and grabbed. The benches `engines` and `mobile` play it twice each.

use crate::demo::{books, evidence, plan, verdict::Evidence};
use crate::testbed::{
    self, Patience, Place, Programs, Sampler, Samples, Stage, Usage, deployed, files, phones_with_credits, run_to_file,
    with_page,
};
use std::time::Duration;
use xtask::interrupt::Interrupt;

/// More than a tenth of all shakes of the longest run, so that the seed is never what decides.
const PACKETS: u64 = 40_000;
/// Shakes of each phone are so many seconds apart, as in the scenarios.
const SECONDS_BETWEEN_SHAKES: u32 = 25;
/// Fewer give counts too small to compare.
const SHAKES_PER_SECOND_MIN: u32 = 100;
/// As in the scenarios.
const CONNECTS_PER_SECOND: u32 = 1_000;
/// A bound on one run, beside its ramp and its shaking.
const RUN: Duration = Duration::from_secs(180);
/// The gateway's place among the samples.
pub const GATEWAY: usize = 0;

/// How many phones shake, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    pub sessions: u32,
    pub seconds: u32,
}

/// What came of a run.
pub struct Played {
    pub evidence: Evidence,
    pub samples: Samples,
    /// The gateway's, when it was ready.
    pub resident_bytes_before: u64,
}

/// Plays this scenario with a gateway, an agent, a ledger and a seed of its own. `flags` are more of the simulator's.
///
/// # Errors
/// When something could not run.
pub fn play(
    place: &Place,
    programs: &Programs,
    scenario: &str,
    size: Size,
    flags: &[&str],
    interrupt: &Interrupt,
) -> anyhow::Result<Played> {
    prepare(place, programs, scenario, interrupt)?;
    let mut stage = Stage::start(place, programs, interrupt)?;
    let gateway = stage.gateway.pid();
    let resident_bytes_before = Usage::of(gateway)?.resident_bytes;
    let sampler = Sampler::watch(vec![gateway]);
    let rate = (size.sessions / SECONDS_BETWEEN_SHAKES).max(SHAKES_PER_SECOND_MIN);
    let mut phones = phones_with_credits(place, programs);
    phones
        .args(["--sessions", &size.sessions.to_string()])
        .args(["--shakes-per-second", &rate.to_string()])
        .args(["--seconds", &size.seconds.to_string()])
        .arg("--control")
        .arg(place.file(files::CONTROL))
        .args(flags);
    with_page(&mut phones, place, &[("gateway", gateway)]);
    let ramp_s = u64::from(size.sessions / CONNECTS_PER_SECOND);
    let patience = Patience {
        at_most: RUN + Duration::from_secs(ramp_s * 3 + u64::from(size.seconds) * 2),
        interrupt,
    };
    let ended = run_to_file("client-sim", phones, &place.file(files::REPORT), &patience, || {
        stage.check()
    })?;
    let samples = sampler.finish();
    stage.end()?;
    Ok(Played {
        evidence: evidence(place, ended.is_success(), books(place, programs, interrupt)?)?,
        samples,
        resident_bytes_before,
    })
}

/// Certificates, seed, the show and the configurations.
fn prepare(place: &Place, programs: &Programs, scenario: &str, interrupt: &Interrupt) -> anyhow::Result<()> {
    let mut seed_flags = plan::seed_flags_of(PACKETS, PACKETS * 2_090);
    seed_flags.extend(plan::named::SPLIT_FLAGS.map(str::to_owned));
    testbed::make_certs_and_seed(place, programs, &seed_flags, interrupt)?;
    place.write(files::SHOW, &deployed("shows", "engines")?)?;
    place.write(files::THROTTLE, &deployed("throttles", "rehearsal")?)?;
    let gateway = format!(
        "{}\n[sessions]\nidle_timeout_s = 180\n\n[throttle]\nfile = \"{}\"\n",
        plan::gateway(place),
        files::THROTTLE
    );
    place.write(files::GATEWAY, &gateway)?;
    place.write(files::AGENT, &plan::agent(place.queue(), &place.directory))?;
    place.write(files::SCENARIO, scenario)
}
