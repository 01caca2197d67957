//! `cargo xtask million`: a million phones on this machine, gateway, agent and simulator together: all connect and say
//! Hello, then shake at rates in steps, and in the end the books are compared as in the demo.

pub mod play;
mod table;

use crate::demo::{books, evidence, verdict::Evidence};
use crate::report::{Bench, Line};
use crate::testbed::{Build, Latency, Place, Programs, Samples, deployed};
use clap::Args;
use client_sim::report::StepReport;
use host::console;
use play::{GATEWAY, Played};
use shake_rules::money::grouped;
use xtask::interrupt::Interrupt;

/// Most resident bytes of the gateway, of a million sessions.
const GATEWAY_BYTES_MAX: u64 = 11_000_000_000;
/// Most resident bytes of the simulator.
const PHONES_BYTES_MAX: u64 = 1_500_000_000;
const HANDSHAKES_PER_SECOND_MIN: f64 = 3_000.0;
/// The largest 99th percentile at a rate that counts as held.
const P99_US_MAX: u64 = 100_000;
/// The rates that must be held; what the steps after them show is only told.
const RATES: [u32; 3] = [30_000, 40_000, 60_000];
/// Memory that ten idle minutes may add, of what there was: what the kernel's and the allocator's own housekeeping may.
const GROWTH_MAX: f64 = 0.001;
/// Packets of the idle million: 83 a second for the greater part of the first minute.
const IDLE_PACKETS: u64 = 4_000;
/// The longest that a shard may stand still because a table or the sessions' pages grow, in milliseconds of CPU time.
const STILL_MS_MAX: f64 = 10.0;

#[derive(Args)]
#[command(after_long_help = "\
Takes some ten minutes and all of a machine with 2 cores and 24 GiB; run nothing
beside it. Everything is in target/million until the next run: configurations,
logs, ledger, report.json, report.html.

Exits with 0 only if every session was established at 3,000 handshakes/s or
better, the rates were held (under 0.1 % unanswered, 99th percentile under
100 ms at 60,000/s), no session was lost, memory stayed within its bounds (11 GB
and 1.5 GB), the gateway never stood still for over 10 ms because a table grew,
and the audit balances and agrees with the phones.

Examples:
  cargo xtask million
  cargo xtask million --sessions 100000
  cargo xtask million --tuned               with profile-guided programs, after cargo xtask tune
  cargo xtask million --search              then 70,000/s and more, in search of the highest rate
  cargo xtask million --idle                10 minutes with a shake each 30 s")]
pub struct Options {
    /// Phones, one QUIC session each
    #[arg(long, default_value_t = 1_000_000, value_name = "N")]
    sessions: u32,
    /// Ten minutes with a shake of each phone every 30 s, instead of the rates
    #[arg(long)]
    idle: bool,
    /// Go on after the rates that must be held, to 100,000/s; overload then leaves claims and memory without a bound
    #[arg(long, conflicts_with = "idle")]
    search: bool,
    /// With the programs that `cargo xtask tune` prepared, as they should run on the night
    #[arg(long)]
    tuned: bool,
    /// Write the run to bench-results/million.json as well
    #[arg(long)]
    publish: bool,
}

pub const BENCH: Bench = Bench {
    name: "million",
    title: "A million sessions",
    about: "\
Every session is a whole TLS 1.3 QUIC connection that has said Hello. Packets are released at 83/s, gifts at 200/s to three users each. The
phones obey nothing, and the throttle is the one for measurements (`deploy/throttles/rehearsal.toml`), which hardly sheds. What a million
sessions cost depends on how quick the machine's memory is: the time of a random read tells.",
};

/// What was seen of the run.
struct Seen {
    evidence: Evidence,
    played: Played,
    /// Of the machine before the run and after it.
    latencies: [Latency; 2],
}

/// Runs it.
///
/// # Errors
/// When something could not run, or a bound was broken.
pub fn run(options: &Options, interrupt: &Interrupt) -> anyhow::Result<()> {
    let build = if options.tuned { Build::Tuned } else { Build::Release };
    say("building the programs (release)");
    let programs = Programs::build(build, interrupt)?;
    let place = Place::fresh("million")?;
    let (packets, show) = show(options)?;
    play::prepare(&place, &programs, packets, &show, &scenario(options)?, interrupt)?;
    let before = Latency::measure();
    say(&format!("a random read of memory takes {before}"));
    let played = play::play(&place, &programs, options.sessions, interrupt)?;
    say("auditing the ledger");
    let books = books(&place, &programs, interrupt)?;
    let evidence = evidence(&place, played.ended_well, books)?;
    let seen = Seen {
        evidence,
        played,
        latencies: [before, Latency::measure()],
    };
    say(&format!("all of the run is in {}", place.directory.display()));
    table::report(options, &seen).conclude(&BENCH, options.publish)
}

fn say(line: &str) {
    console::tell(&format!("million: {line}"));
}

/// Packets, and the show. In the idle one nothing new happens while it is measured whether anything grows: it has no gifts, and
/// its packets are all won in the first minute. A phone's first wins and gifts take memory.
fn show(options: &Options) -> anyhow::Result<(u64, String)> {
    Ok(if options.idle {
        (IDLE_PACKETS, play::show_without_gifts(None)?)
    } else {
        (play::PACKETS, deployed("shows", "million")?)
    })
}

/// What the phones do.
fn scenario(options: &Options) -> anyhow::Result<String> {
    let name = if options.idle { "million-idle" } else { "million" };
    let mut scenario = deployed("scenarios", name)?;
    if options.search {
        scenario.push_str(&search_steps());
    }
    Ok(scenario)
}

/// Steps past the rates that must be held, in search of the highest.
fn search_steps() -> String {
    let step = |rate: u32| {
        let thousands = rate / 1_000;
        format!("\n[[steps]]\nname = \"{thousands},000/s\"\nshakes_per_second = {rate}\nseconds = 20\n")
    };
    (70_000..=100_000).step_by(10_000).map(step).collect()
}

/// What must hold.
fn lines(options: &Options, seen: &Seen) -> Vec<Line> {
    let phones = &seen.evidence.phones;
    let audit = &seen.evidence.books.audit;
    let money = if options.search {
        let differences = audit.difference_count;
        let is_unbalanced = (!audit.balanced).then(|| format!("the audit has {differences} differences"));
        is_unbalanced.into_iter().collect()
    } else {
        seen.evidence.money_failures()
    };
    let mut lines = vec![Line::without("phones and ledger agree, and the audit balances", &money)];
    let mut line = |what: String, figure: String, bound: String, holds: bool| {
        lines.push(Line {
            what,
            figure,
            bound,
            holds,
        });
    };
    let wanted = u64::from(options.sessions);
    let (connected, lost) = (phones.sessions.counts.connected, phones.sessions.counts.lost);
    line(
        "sessions established".into(),
        grouped(connected),
        grouped(wanted),
        connected >= wanted,
    );
    line("sessions lost".into(), grouped(lost), "0".into(), lost == 0);
    let rate = phones.sessions.handshakes_per_second;
    line(
        "handshakes".into(),
        format!("{rate:.0}/s"),
        format!("{HANDSHAKES_PER_SECOND_MIN:.0}/s at the least"),
        rate >= HANDSHAKES_PER_SECOND_MIN,
    );
    let gateway_bytes = seen.played.samples.resident_bytes_max(GATEWAY);
    let phones_bytes = phones.resources.memory_peak_bytes;
    let memory = [
        ("gateway", gateway_bytes, GATEWAY_BYTES_MAX),
        ("simulator", phones_bytes, PHONES_BYTES_MAX),
    ];
    // Past what can be served, claims pile up.
    for (who, bytes, most) in memory.into_iter().filter(|_| !options.search) {
        line(
            format!("memory of the {who} at the most"),
            format!("{:.2} GB", gb(bytes)),
            format!("{:.2} GB", gb(most)),
            bytes <= most,
        );
    }
    for step in phones.steps.iter().filter(|step| must_hold(options, step)) {
        let (share, p99_us) = (step.missed_share(), step.latency.p99_us);
        line(
            format!("{}: unanswered; p99", step.name),
            format!("{:.3} %; {:.1} ms", share * 100.0, p99_us as f64 / 1e3),
            "under 0.1 %; 100 ms".into(),
            is_held(step),
        );
    }
    let still_ms = still_ms(seen);
    line(
        "longest growth of a table or page".into(),
        format!("{still_ms:.1} ms of CPU time"),
        format!("{STILL_MS_MAX:.0} ms"),
        still_ms <= STILL_MS_MAX,
    );
    // Before the last step each phone has shaken, and has what its first shake makes, and the packets are won.
    if let Some(step) = phones.steps.last().filter(|_| options.idle) {
        let growth = growth(&seen.played.samples, step);
        line(
            format!("{}: growth of the gateway's memory", step.name),
            format!("{:+.2} %", growth * 100.0),
            format!("{:.1} %", GROWTH_MAX * 100.0),
            growth <= GROWTH_MAX,
        );
    }
    lines
}

/// Whether the step is one of those whose figures have bounds.
fn must_hold(options: &Options, step: &StepReport) -> bool {
    options.idle || RATES.contains(&step.shakes_per_second)
}

/// Whether a rate counts as held.
fn is_held(step: &StepReport) -> bool {
    step.missed_share() < 0.001 && step.latency.p99_us <= P99_US_MAX
}

/// The longest that a table or the sessions' pages took to grow, in milliseconds of CPU time.
fn still_ms(seen: &Seen) -> f64 {
    seen.played.metrics.sum("gateway_growth_ns_max") / 1e6
}

/// What the gateway's memory grew by during a step, of what it was.
fn growth(samples: &Samples, step: &StepReport) -> f64 {
    let at = |unix_ms| samples.resident_bytes_at(GATEWAY, unix_ms) as f64;
    at(step.ends_unix_ms()) / at(step.began_unix_ms).max(1.0) - 1.0
}

fn gb(bytes: u64) -> f64 {
    bytes as f64 / 1e9
}
