//! `cargo xtask bench cost`: CPU per shake and memory per session of the gateway, between a floor (a raw UDP echo with
//! AES-128-GCM) and a plain server on the `quinn` crate, at several numbers of sessions, in one run.

mod table;

use super::example::{self, Examples};
use crate::million::play;
use crate::report::{self, Line, Report};
use crate::testbed::{self, Build, Patience, Place, Programs, Sampler, Samples, files, phones, run_to_file, unix_ms};
use anyhow::{Context, ensure};
use clap::Args;
use client_sim::report::Report as Phones;
use host::console;
use serde::Deserialize;
use shake_rules::money::grouped;
use std::fs;
use std::net::SocketAddr;
use std::time::Duration;
use xtask::interrupt::Interrupt;

#[derive(Args)]
#[command(after_long_help = "\
Exits with 0 only if a shake costs at most 2.5 times the floor with 1,000
sessions, and 4 times with 1,000,000, at every rate; other numbers of sessions
are told and not judged. Run nothing beside it.

Examples:
  cargo xtask bench cost
  cargo xtask bench cost --tuned --sessions 1000 --shakes-per-second 20000,40000 --rounds 3
  cargo xtask bench cost --tuned --sessions 1000,100000,1000000")]
pub struct Options {
    /// Numbers of sessions
    #[arg(long, value_delimiter = ',', default_values_t = [1_000, 20_000, 100_000])]
    sessions: Vec<u32>,
    /// Shakes per second; each rate is measured with each number of sessions
    #[arg(long, value_delimiter = ',', default_values_t = [20_000])]
    shakes_per_second: Vec<u32>,
    /// How long they shake
    #[arg(long, default_value_t = 10)]
    seconds: u32,
    /// Times that each server is measured, in turns; the table has the median of each
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=99))]
    rounds: u32,
    /// The most sessions for the plain server, which takes over 30 KB for each
    #[arg(long, default_value_t = 200_000)]
    plain_sessions_max: u32,
    /// With the gateway that `cargo xtask tune` prepared; floor and plain server stay as they are
    #[arg(long)]
    tuned: bool,
}

/// The most that a shake may cost, as a multiple of the floor, with so many sessions.
const TIMES_FLOOR_MAX: [(u32, f64); 2] = [(1_000, 2.5), (1_000_000, 4.0)];

/// Pauses of the floor's generator, in microseconds: from one datagram at a time to batches of a millisecond. A server
/// spends less on packets that come together, so the floor with the gateway's own batches is the one that counts.
const FLOOR_TICKS_US: [u32; 3] = [0, 200, 1_000];

/// Between the last handshake and the first shake; meanwhile the gateway puts its heap on huge pages.
const REST_S: u32 = 10;

/// One server under one load.
struct Measured {
    cpu_us_per_shake: f64,
    shakes_per_sleep: f64,
    resident_bytes: u64,
    unanswered_share: f64,
    p99_us: u64,
    stolen_share: f64,
}

/// One number of sessions at one rate.
struct Row {
    sessions: u32,
    rate: u32,
    floor: Measured,
    gateway: Measured,
    plain: Option<Measured>,
}

pub const BENCH: report::Bench = report::Bench {
    name: "cost",
    title: "CPU per shake between a floor and a plain server",
    about: "\
The floor is a raw UDP echo that opens and seals AES-128-GCM (`gateway/examples/floor.rs`), with that pause of its generator whose packets
per wake-up are most like the gateway's. The plain server is on the `quinn` crate (`gateway/examples/plain_quinn.rs`). Packets are won and
claimed at 83/s; gifts, which neither of them has, are left out.",
};

/// Runs all servers.
///
/// # Errors
/// When something could not run.
pub fn run(options: &Options, interrupt: &Interrupt) -> anyhow::Result<Report> {
    let build = if options.tuned { Build::Tuned } else { Build::Release };
    let programs = Programs::build(build, interrupt)?;
    let examples = Examples::build(build)?;
    let mut rows = Vec::new();
    let rates = |sessions| options.shakes_per_second.iter().map(move |&rate| (sessions, rate));
    for (sessions, rate) in options.sessions.iter().copied().flat_map(rates) {
        let bench = Bench {
            options,
            programs: &programs,
            examples: &examples,
            interrupt,
            sessions,
            rate,
        };
        rows.push(bench.row()?);
    }
    Ok(Report {
        tables: vec![table::table(options, &rows)],
        lines: rows.iter().filter_map(Row::line).collect(),
    })
}

impl Row {
    fn times_floor(&self, measured: &Measured) -> f64 {
        measured.cpu_us_per_shake / self.floor.cpu_us_per_shake
    }

    /// What must hold, if this number of sessions has a bound.
    fn line(&self) -> Option<Line> {
        let Self { sessions, rate, .. } = self;
        let (_, most) = TIMES_FLOOR_MAX.iter().find(|(of, _)| of == sessions)?;
        let times = self.times_floor(&self.gateway);
        Some(Line {
            what: format!(
                "CPU of a shake, {} sessions at {}/s",
                grouped((*sessions).into()),
                grouped((*rate).into())
            ),
            figure: format!("{times:.2} times the floor"),
            bound: format!("{most} times"),
            holds: times <= *most,
        })
    }
}

struct Bench<'a> {
    options: &'a Options,
    programs: &'a Programs,
    examples: &'a Examples,
    interrupt: &'a Interrupt,
    sessions: u32,
    rate: u32,
}

impl Bench<'_> {
    /// All servers, one after the other and round after round, so that a slow spell of the machine meets each of them.
    fn row(&self) -> anyhow::Result<Row> {
        let (mut floors, mut gateways, mut plains) = (Vec::new(), Vec::new(), Vec::new());
        for round in 1..=self.options.rounds {
            let title = format!(
                "cost: {} sessions, {} shakes/s, round {round}",
                self.sessions, self.rate
            );
            console::tell(&format!("{title}: the gateway"));
            let gateway = self.gateway()?;
            console::tell(&format!("{title}: the floor"));
            floors.push(self.floor(gateway.shakes_per_sleep)?);
            gateways.push(gateway);
            if self.sessions <= self.options.plain_sessions_max {
                console::tell(&format!("{title}: the plain quinn server"));
                plains.push(self.plain()?);
            }
        }
        let no_round = "there is at least one round";
        Ok(Row {
            sessions: self.sessions,
            rate: self.rate,
            floor: median(floors).context(no_round)?,
            gateway: median(gateways).context(no_round)?,
            plain: median(plains),
        })
    }

    fn gateway(&self) -> anyhow::Result<Measured> {
        let place = self.place()?;
        // Neither floor nor plain server have gifts. The phones do as the show asks them.
        let pace_ms = u64::from(self.sessions) * 900 / u64::from(self.rate.max(1));
        let pace_ms = pace_ms.clamp(1, 60_000) as u32;
        let mut stage = play::stage_at_pace(&place, self.programs, pace_ms, &self.scenario(), self.interrupt)?;
        let sampler = Sampler::watch(vec![stage.gateway.pid()]);
        let measured = self.phones(&place, place.gateway, sampler, || stage.check())?;
        stage.end()?;
        Ok(measured)
    }

    fn plain(&self) -> anyhow::Result<Measured> {
        let place = self.place()?;
        testbed::make_certs(&place, self.programs, self.interrupt)?;
        place.write(files::SCENARIO, &self.scenario())?;
        let mut command = self.examples.command("plain_quinn");
        command.arg("--certs").arg(place.file(files::CERTS));
        let (server, address) = example::start("plain_quinn", command, &place, self.interrupt)?;
        let sampler = Sampler::watch(vec![server.pid()]);
        self.phones(&place, address, sampler, || Ok(()))
    }

    /// A fresh directory of this bench.
    fn place(&self) -> anyhow::Result<Place> {
        Place::fresh("bench-cost")
    }

    /// Lets lean phones shake, and looks at the server while they do.
    fn phones(
        &self,
        place: &Place,
        target: SocketAddr,
        sampler: Sampler,
        check: impl FnMut() -> anyhow::Result<()>,
    ) -> anyhow::Result<Measured> {
        let command = phones(place, self.programs, target);
        let report = place.file(files::REPORT);
        let ended = run_to_file("client-sim", command, &report, &self.patience(), check)?;
        let samples = sampler.finish();
        ended.success()?;
        let text = fs::read_to_string(&report).context("cannot read the simulator's report")?;
        let phones: Phones = serde_json::from_str(&text).context("the simulator's report is not what was expected")?;
        let connected = phones.sessions.counts.connected;
        ensure!(
            connected == u64::from(self.sessions),
            "{connected} of {} sessions connected",
            self.sessions
        );
        let step = phones.steps.last().context("the simulator's report has no steps")?;
        let measured = measured(
            &samples,
            step.began_unix_ms,
            step.ends_unix_ms(),
            step.answered_per_second,
        );
        Ok(Measured {
            unanswered_share: step.missed_share(),
            p99_us: step.latency.p99_us,
            ..measured.context("the run was too short to be measured")?
        })
    }

    /// The floor, with that pause of its generator whose batches are most like the gateway's.
    fn floor(&self, shakes_per_sleep: f64) -> anyhow::Result<Measured> {
        let mut found = Vec::new();
        for tick_us in FLOOR_TICKS_US {
            found.push(self.floor_with(tick_us)?);
        }
        let distance = |one: &Measured| (one.shakes_per_sleep / shakes_per_sleep).ln().abs();
        let nearest = found.into_iter().min_by(|a, b| distance(a).total_cmp(&distance(b)));
        nearest.context("there is at least one pause")
    }

    fn floor_with(&self, tick_us: u32) -> anyhow::Result<Measured> {
        let place = self.place()?;
        let sessions = self.sessions.to_string();
        let mut command = self.examples.command("floor");
        command.args(["serve", "--sessions", &sessions]);
        let (server, address) = example::start("floor", command, &place, self.interrupt)?;
        let sampler = Sampler::watch(vec![server.pid()]);
        let mut load = self.examples.command("floor");
        load.args(["load", "--sessions", &sessions, "--target", &address.to_string()])
            .args(["--per-second", &self.rate.to_string()])
            .args(["--seconds", &self.options.seconds.to_string()])
            .args(["--tick-us", &tick_us.to_string()]);
        let began_ms = unix_ms();
        let output = place.file("floor.json");
        let ended = run_to_file("floor load", load, &output, &self.patience(), || Ok(()))?;
        let samples = sampler.finish();
        ended.success()?;
        #[derive(Deserialize)]
        struct Sent {
            sent: u64,
            answered: u64,
        }
        let counts: Sent = serde_json::from_str(&fs::read_to_string(&output)?)?;
        let rate = counts.answered as f64 / f64::from(self.options.seconds);
        let to_ms = began_ms + u64::from(self.options.seconds) * 1_000;
        let measured = measured(&samples, began_ms + 1_000, to_ms, rate).context("the run was too short")?;
        Ok(Measured {
            unanswered_share: 1.0 - counts.answered as f64 / counts.sent.max(1) as f64,
            ..measured
        })
    }

    /// All connect, rest for a while as in the scenario of the million, and shake.
    fn scenario(&self) -> String {
        format!(
            "# Made by `cargo xtask bench cost`.\n[load]\nsessions = {}\nconnects_per_second = 5000\n\
             connects_at_once = 512\n\n[[steps]]\nname = \"rest\"\nshakes_per_second = 0\nseconds = {REST_S}\n\n\
             [[steps]]\nname = \"shake\"\nshakes_per_second = {}\nseconds = {}\n\n[behaviour]\nobey_pace = false\n\n\
             [engine]\nkind = \"lean\"\nidle_timeout_s = {}\nkeep_alive_s = 0\n",
            self.sessions,
            self.rate,
            self.options.seconds,
            play::IDLE_TIMEOUT_S
        )
    }

    fn patience(&self) -> Patience<'_> {
        let ramp_s = self.sessions / 500 + REST_S;
        Patience {
            at_most: Duration::from_secs(u64::from(ramp_s + self.options.seconds) * 2 + 120),
            interrupt: self.interrupt,
        }
    }
}

/// The one that costs neither more nor less than most others; of two, the dearer.
fn median(mut rounds: Vec<Measured>) -> Option<Measured> {
    rounds.sort_by(|a, b| a.cpu_us_per_shake.total_cmp(&b.cpu_us_per_shake));
    let middle = rounds.len() / 2;
    rounds.into_iter().nth(middle)
}

fn measured(samples: &Samples, from_ms: u64, to_ms: u64, shakes_per_second: f64) -> Option<Measured> {
    let spell = samples.between(0, from_ms, to_ms)?;
    let shakes = shakes_per_second * spell.length.as_secs_f64();
    Some(Measured {
        cpu_us_per_shake: spell.cpu.as_secs_f64() * 1e6 / shakes,
        shakes_per_sleep: shakes / spell.sleeps.max(1) as f64,
        resident_bytes: samples.resident_bytes_at(0, to_ms),
        unanswered_share: 0.0,
        p99_us: 0,
        stolen_share: spell.stolen_share,
    })
}
