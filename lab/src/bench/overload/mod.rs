//! `cargo xtask bench overload`: gateway and agent on one core, simulated phones on another, and more load than can be
//! served. Finds the peak first, then offers parts and multiples of it, with phones that obey and with phones that do
//! not; then measures what a refusal costs. Draws a curve beside its tables.

mod run;
mod samples;
mod table;

use crate::report::{Bench, Report};
use crate::testbed::{Build, Programs};
use anyhow::{bail, ensure};
use clap::Args;
use host::console;
use run::{Place, Played};
use samples::Step;
use xtask::interrupt::Interrupt;

/// What is offered, as parts of the peak; the last is the load's fall.
const FACTORS: [f64; 6] = [0.5, 1.0, 1.5, 2.0, 3.0, FALL];
/// The load after its fall, as a part of the peak.
const FALL: f64 = 0.1;
/// The least length of the fall: the grade has ten seconds to be back at 0.
const FALL_SECONDS_MIN: u32 = 14;

#[derive(Args, Clone, Debug)]
#[command(after_long_help = "\
Gateway and agent are pinned to core 0, the phones to core 1; nothing else should
run meanwhile. Everything is in target/bench-overload until the next run.
So that so many phones make the load of a million, each shakes a few times a second,
and the throttle's smallest paces and users' rates are scaled alike. With fewer phones
their acknowledgements ride on their next shakes, which is more than real ones spare.

Examples:
  cargo xtask bench overload
  cargo xtask bench overload --tuned                       as on the night, after cargo xtask tune
  cargo xtask bench overload --seconds 5 --peak 30000      shorter, without looking for the peak")]
pub struct Options {
    /// Phones, one QUIC session each
    #[arg(long, default_value_t = 50_000, value_name = "N", value_parser = clap::value_parser!(u32).range(100..=200_000))]
    pub sessions: u32,
    /// Length of each step
    #[arg(long, default_value_t = 12, value_name = "N", value_parser = clap::value_parser!(u32).range(3..=600))]
    pub seconds: u32,
    /// Shakes per second that can be served, instead of looking for it
    #[arg(long, value_name = "N")]
    pub peak: Option<f64>,
    /// With the programs that `cargo xtask tune` prepared
    #[arg(long)]
    tuned: bool,
}

/// One run with all of its steps.
pub struct Series {
    pub name: &'static str,
    pub steps: Vec<Step>,
    pub played: Played,
}

pub const BENCH: Bench = Bench {
    name: "overload",
    title: "Overload",
    about: "\
Gateway and agent share one core, the phones have the other. The peak is the most that is served with every limit off. Then parts and
multiples of it are offered: to phones of which all obey the pace that they are told, and to phones of which 30 % do not. Offered is what
the phones would send before they obey. The grade is the highest of a step, the way into it included; the last step is the fall of the load.",
};

/// Runs it all.
///
/// # Errors
/// When something could not run.
pub fn run(options: &Options, interrupt: &Interrupt) -> anyhow::Result<Report> {
    let build = if options.tuned { Build::Tuned } else { Build::Release };
    say("building the programs (release)");
    let place = Place::fresh(Programs::build(build, interrupt)?, options.sessions)?;
    place.prepare(interrupt)?;
    let peak = match options.peak {
        Some(peak) => peak,
        None => find_peak(&place, options, interrupt)?,
    };
    say(&format!("the peak is {peak:.0} shakes/s"));
    let mut all = Vec::new();
    for (name, obeying) in [("all obey", 1.0), ("30 % do not obey", 0.7)] {
        let steps: Vec<_> = FACTORS
            .iter()
            .map(|&factor| {
                let seconds = if factor == FALL {
                    options.seconds.max(FALL_SECONDS_MIN)
                } else {
                    options.seconds
                };
                (format!("{factor}x"), (peak * factor) as u32, seconds)
            })
            .collect();
        say(&format!("{name}: 0.5 to 3 times the peak"));
        let played = place.play(&place.scaled_throttle()?, obeying, &steps, interrupt)?;
        let steps = samples::steps(&played)?;
        all.push(Series { name, steps, played });
    }
    say("the cost of a refusal at grade 4");
    let (served_us, refused_us) = refusal_cost(&place, options, interrupt)?;
    place.write("curve.svg", &table::curve(peak, &all))?;
    say(&format!("the curve is in {}", place.file("curve.svg").display()));
    Ok(table::report(peak, &all, served_us, refused_us))
}

/// The most that is served per second when nothing is refused, over steps of growing load.
fn find_peak(place: &Place, options: &Options, interrupt: &Interrupt) -> anyhow::Result<f64> {
    say("looking for the peak, with every limit off");
    let steps: Vec<_> = [40_000, 55_000, 65_000, 75_000, 90_000, 130_000]
        .into_iter()
        .map(|rate| (format!("{rate}/s"), rate, options.seconds.min(6)))
        .collect();
    let played = place.play(&run::open_throttle(), 0.0, &steps, interrupt)?;
    let steps = samples::steps(&played)?;
    for step in &steps {
        let stolen = step.stolen_share * 100.0;
        say(&format!(
            "{}: {:.0} served, {stolen:.1} % of the CPU stolen",
            step.name, step.served_per_second
        ));
    }
    let peak = steps.iter().map(|step| step.served_per_second).fold(0.0, f64::max);
    ensure!(
        peak > 0.0,
        "the gateway served nothing; see {}",
        place.file("gateway.log").display()
    );
    Ok(peak)
}

/// CPU time of the gateway per shake served and per shake refused, in microseconds, from two steps of one run in which
/// grade 4 holds throughout: at the first rate nobody is over the pace, at the second most are.
fn refusal_cost(place: &Place, options: &Options, interrupt: &Interrupt) -> anyhow::Result<(f64, f64)> {
    // Each user is let through once in nine tenths of the pace of `forced_throttle`.
    let admitted = f64::from(options.sessions) / (run::FORCED_PACE_MS * 0.9 / 1e3);
    let seconds = options.seconds.max(8);
    let steps = [
        ("served".to_owned(), (admitted * 0.6) as u32, seconds),
        ("refused".to_owned(), (admitted * 5.0) as u32, seconds),
    ];
    let played = place.play(&run::forced_throttle(), 0.0, &steps, interrupt)?;
    let steps = samples::steps(&played)?;
    let [serving, refusing] = &steps[..] else {
        bail!("the run had {} steps, not two", steps.len());
    };
    let served_us = serving.cpu_s * 1e6 / serving.served.max(1.0);
    // What is dropped unread is packets, and phones repeat those that are not acknowledged; what is refused is shakes.
    // What the full socket lost cost the gateway nothing; some of it were acknowledgements, so this is the least refused.
    let span_s = refusing.served / refusing.served_per_second.max(1e-9);
    let refused = (refusing.sent_per_second - refusing.overflowed_per_second) * span_s - refusing.served;
    let refused_us = (refusing.cpu_s * 1e6 - refusing.served * served_us) / refused.max(1.0);
    say(&format!(
        "served step: {:.0} shakes served, {:.0} packets kept out, {:.2} s of CPU; refused step: {:.0}, {:.0}, {:.2} s",
        serving.served, serving.refused, serving.cpu_s, refusing.served, refusing.refused, refusing.cpu_s
    ));
    ensure!(
        refused > refusing.served,
        "fewer were refused than served; nothing can be said of the cost"
    );
    Ok((served_us, refused_us))
}

/// A line on stderr, so that stdout holds the result alone.
fn say(line: &str) {
    console::tell(&format!("overload: {line}"));
}
