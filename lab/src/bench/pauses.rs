//! `cargo xtask bench pauses`: the phones or the gateway stand still for a moment (SIGSTOP) near the machine's full load.
//! Who waits for an acknowledgement meanwhile probes; a gateway that is not patient enough with its phones then sends
//! packets that need answers, and what the moment began feeds itself. Decision 3 has the bounds' origin.

mod table;

use crate::million::play;
use crate::report::{Bench, Report};
use crate::testbed::{self, Build, Patience, Place, Programs, Service, Stage, Usage, files, phones, stolen};
use anyhow::{Context, ensure};
use clap::Args;
use client_sim::report::Report as Phones;
use host::console;
use std::fmt::{self, Display};
use std::fs;
use std::thread;
use std::time::{Duration, Instant};
use xtask::interrupt::Interrupt;

/// All are connected, and at rest, before the first shake.
const REST: Duration = Duration::from_secs(5);
/// From the first shake to the moment.
const BEFORE: Duration = Duration::from_secs(3);
/// From the last shake to the end, so that packets are counted before the sessions close.
const AFTER: Duration = Duration::from_secs(4);
/// Between two looks at the gateway while the first shake is awaited.
const LOOK: Duration = Duration::from_millis(50);
/// A show with a longer pace asks no phone to acknowledge with its next shake.
const PACE_WITHOUT_RIDING_MS: u32 = 5_000;

#[derive(Args)]
#[command(after_long_help = "\
Phones of the quinn engine shake near the machine's full load; 3 s later the phones or
the gateway stand still, for 60 or 300 ms; once with phones that acknowledge by themselves,
once with phones that let acknowledgements ride on their next shakes.
Everything is in target/bench-pauses until the next run.

Takes some five minutes; run nothing beside it. Lower the rate on a slower machine: what
it cannot serve without a moment's rest says nothing of one.
Exits with 0 only if
- after 60 ms nothing goes unanswered, and the gateway sends at most 1.05 packets a shake;
- after 300 ms the p99 is below 700 ms, and the gateway sends at most 1.15 packets a shake.

Examples:
  cargo xtask bench pauses
  cargo xtask bench pauses --tuned
  cargo xtask bench pauses --shakes-per-second 20000")]
pub struct Options {
    /// Phones, one QUIC session each
    #[arg(long, default_value_t = 20_000, value_name = "N", value_parser = clap::value_parser!(u32).range(100..=32_000))]
    sessions: u32,
    /// Shakes per second of all phones
    #[arg(long, default_value_t = 36_000, value_name = "N", value_parser = clap::value_parser!(u32).range(100..=200_000))]
    shakes_per_second: u32,
    /// How long they shake
    #[arg(long, default_value_t = 8, value_name = "N", value_parser = clap::value_parser!(u32).range(5..=60))]
    seconds: u32,
    /// With the programs that `cargo xtask tune` prepared
    #[arg(long)]
    tuned: bool,
}

/// Who stands still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whom {
    Nobody,
    Phones,
    Gateway,
}

/// One run: who stands still, for how long, and whether the phones' acknowledgements ride.
#[derive(Clone, Copy, Debug)]
struct Case {
    whom: Whom,
    pause: Duration,
    rides: bool,
}

/// What came of it.
#[derive(Debug)]
struct Outcome {
    sent: u64,
    unanswered: u64,
    p99_us: u64,
    /// Packets that the gateway received and sent, for each shake that was sent.
    packets_in: f64,
    packets_out: f64,
    /// Packets lost because the socket's buffer was full.
    overflowed: u64,
    /// Of one processor, while they shook.
    gateway_cpu_share: f64,
    /// The share of the machine's CPU time that its host gave to others while they shook.
    stolen_share: f64,
}

impl Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let manner = if self.rides { "riding" } else { "by themselves" };
        let ms = self.pause.as_millis();
        match self.whom {
            Whom::Nobody => write!(f, "{manner}, nobody"),
            Whom::Phones => write!(f, "{manner}, phones {ms} ms"),
            Whom::Gateway => write!(f, "{manner}, gateway {ms} ms"),
        }
    }
}

pub const BENCH: Bench = Bench {
    name: "pauses",
    title: "Pauses",
    about: "\
Phones of the `quinn` engine shake near the machine's full load; after three seconds the phones or the gateway stand still for a moment.
Who waits for an acknowledgement meanwhile probes, and a gateway that is not patient enough sets off a storm of probes that feeds itself
([decision](decisions/0003-patience.md)). Once with phones that acknowledge by themselves, once with acknowledgements that ride.",
};

/// Plays all cases.
///
/// # Errors
/// When something could not run.
pub fn run(options: &Options, interrupt: &Interrupt) -> anyhow::Result<Report> {
    let build = if options.tuned { Build::Tuned } else { Build::Release };
    let programs = Programs::build(build, interrupt)?;
    let mut played = Vec::new();
    for case in cases() {
        console::tell(&format!("pauses: {case}"));
        let outcome = Run {
            options,
            programs: &programs,
            interrupt,
            case,
        }
        .play()
        .with_context(|| case.to_string())?;
        played.push((case, outcome));
    }
    Ok(Report {
        tables: vec![table::table(options, &played)],
        lines: table::lines(&played),
    })
}

/// Without a pause first, so that the table tells what the machine can do.
fn cases() -> Vec<Case> {
    let stops = [
        (Whom::Nobody, 0),
        (Whom::Phones, 60),
        (Whom::Gateway, 60),
        (Whom::Phones, 300),
        (Whom::Gateway, 300),
    ];
    let case = |rides| {
        stops.map(|(whom, ms)| Case {
            whom,
            pause: Duration::from_millis(ms),
            rides,
        })
    };
    [case(false), case(true)].concat()
}

struct Run<'a> {
    options: &'a Options,
    programs: &'a Programs,
    interrupt: &'a Interrupt,
    case: Case,
}

/// What the gateway has counted and used so far.
struct Totals {
    shakes: f64,
    received: f64,
    sent: f64,
    overflowed: f64,
    usage: Usage,
    stolen: Duration,
    at: Instant,
}

impl Totals {
    fn of(place: &Place, gateway: &Service) -> anyhow::Result<Self> {
        let metrics = testbed::metrics(place.metrics)?;
        Ok(Self {
            shakes: metrics.sum("gateway_shakes_total"),
            received: metrics.sum("gateway_packets_received_total"),
            sent: metrics.sum("gateway_packets_sent_total"),
            overflowed: metrics.sum("gateway_packets_overflowed_total"),
            usage: Usage::of(gateway.pid())?,
            stolen: stolen(),
            at: Instant::now(),
        })
    }
}

impl Run<'_> {
    fn play(&self) -> anyhow::Result<Outcome> {
        let place = Place::fresh("bench-pauses")?;
        let between_ms = u64::from(self.options.sessions) * 900 / u64::from(self.options.shakes_per_second);
        let pace_ms = if self.case.rides {
            between_ms.clamp(1, 1_000) as u32
        } else {
            PACE_WITHOUT_RIDING_MS
        };
        let mut stage = play::stage_at_pace(&place, self.programs, pace_ms, &self.scenario(), self.interrupt)?;
        let report = place.file(files::REPORT);
        let mut command = phones(&place, self.programs, place.gateway);
        command.arg("--quiet");
        let service = Service::start_with_output("client-sim", command, place.file("client-sim.log"), &report)?;
        let (began, ended) = self.watch(&place, &mut stage, &service)?;
        service.wait_end(&self.patience(Duration::from_secs(60)))?;
        stage.end()?;
        let text = fs::read_to_string(&report).context("cannot read the simulator's report")?;
        let report: Phones = serde_json::from_str(&text).context("the simulator's report is not what was expected")?;
        let sessions = report.sessions.counts.connected;
        ensure!(
            sessions == u64::from(self.options.sessions),
            "{sessions} sessions connected"
        );
        let shakes = report.shakes.counts.sent;
        let took = ended.at - began.at - AFTER + LOOK;
        let each = |before: f64, after: f64| (after - before) / shakes.max(1) as f64;
        let share = |before: Duration, after: Duration| (after - before).as_secs_f64() / took.as_secs_f64();
        Ok(Outcome {
            sent: shakes,
            unanswered: report.shakes.counts.unanswered,
            p99_us: report.latency.p99_us,
            packets_in: each(began.received, ended.received),
            packets_out: each(began.sent, ended.sent),
            overflowed: (ended.overflowed - began.overflowed) as u64,
            gateway_cpu_share: share(began.usage.cpu, ended.usage.cpu),
            stolen_share: share(began.stolen, ended.stolen),
        })
    }

    /// Awaits the first shake, lets one of both stand still, and gives the totals before the first shake and after the last.
    fn watch(&self, place: &Place, stage: &mut Stage, phones: &Service) -> anyhow::Result<(Totals, Totals)> {
        let ramp = Duration::from_secs(u64::from(self.options.sessions / 1_000) + 60);
        let deadline = Instant::now() + ramp + REST;
        let mut began = Totals::of(place, &stage.gateway)?;
        let first = loop {
            self.interrupt.check()?;
            stage.check()?;
            ensure!(Instant::now() < deadline, "nobody has shaken yet; {}", phones.log_end());
            let totals = Totals::of(place, &stage.gateway)?;
            if totals.shakes > 0.0 {
                break totals.at;
            }
            began = totals;
            thread::sleep(LOOK);
        };
        self.sleep_until(first + BEFORE)?;
        let whom = match self.case.whom {
            Whom::Nobody => None,
            Whom::Phones => Some(phones),
            Whom::Gateway => Some(&stage.gateway),
        };
        if let Some(whom) = whom {
            let stopped = whom.stop();
            thread::sleep(self.case.pause);
            whom.resume()?;
            ensure!(stopped?, "it did not stand still");
        }
        self.sleep_until(first + Duration::from_secs(u64::from(self.options.seconds)) + AFTER / 2)?;
        Ok((began, Totals::of(place, &stage.gateway)?))
    }

    fn sleep_until(&self, at: Instant) -> anyhow::Result<()> {
        while let Some(left) = at.checked_duration_since(Instant::now()) {
            self.interrupt.check()?;
            thread::sleep(left.min(LOOK));
        }
        Ok(())
    }

    fn patience(&self, at_most: Duration) -> Patience<'_> {
        Patience {
            at_most,
            interrupt: self.interrupt,
        }
    }

    fn scenario(&self) -> String {
        let Options {
            sessions,
            shakes_per_second,
            seconds,
            ..
        } = self.options;
        let (rest, after) = (REST.as_secs(), AFTER.as_secs());
        format!(
            "# Made by `cargo xtask bench pauses`.\n[load]\nsessions = {sessions}\nconnects_per_second = 2000\n\n\
             [[steps]]\nname = \"rest\"\nshakes_per_second = 0\nseconds = {rest}\n\n\
             [[steps]]\nname = \"shake\"\nshakes_per_second = {shakes_per_second}\nseconds = {seconds}\n\n\
             [[steps]]\nname = \"after\"\nshakes_per_second = 0\nseconds = {after}\n\n\
             [behaviour]\nobey_pace = false\n\n[engine]\nkind = \"quinn\"\nidle_timeout_s = 120\nkeep_alive_s = 0\n"
        )
    }
}
