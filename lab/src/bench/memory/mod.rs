//! `cargo xtask bench memory`: what a session costs the gateway in memory, and who holds it.
//!
//! Two gateways are measured one after the other, each with the same phones of `client-sim`'s lean engine: the one that
//! is served with, for resident memory and page tables; and one with the feature `heap-profile`, for the live heap by
//! owner. Each is measured when it is ready and again with all sessions there; the difference is divided by them.

mod owners;
mod profile;
mod run;

use crate::report::{Bench, Report, Table};
use crate::testbed::{Build, Programs};
use anyhow::Context;
use clap::Args;
use host::console;
use run::{Measured, Place};
use shake_rules::money::grouped;
use std::path::PathBuf;
use xtask::interrupt::Interrupt;

#[derive(Args)]
#[command(after_long_help = "\
The phones say Hello and then are idle, unless they are told to shake. The agent
does not run: no packets are won. Everything is in target/bench-memory until the
next run.

Examples:
  cargo xtask bench memory
  cargo xtask bench memory --sessions 100000 --totals
  cargo xtask bench memory --shakes-per-second 20000 --seconds 20
  cargo xtask bench memory --totals --gateway /elsewhere/gateway   an older build, to compare")]
pub struct Options {
    /// Phones, one QUIC session each
    #[arg(long, default_value_t = 20_000, value_name = "N", value_parser = clap::value_parser!(u32).range(100..=1_000_000))]
    sessions: u32,
    /// Shakes per second over all phones; with them CPU time per shake is measured as well
    #[arg(long, default_value_t = 0, value_name = "N")]
    shakes_per_second: u32,
    /// How long the phones are left alone, or shake, before memory is measured
    #[arg(long, default_value_t = 10, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=3_600))]
    seconds: u32,
    /// Without the table of owners
    #[arg(long)]
    totals: bool,
    /// Measure this gateway instead of building one; for totals
    #[arg(long, value_name = "FILE", requires = "totals")]
    gateway: Option<PathBuf>,
}

pub const BENCH: Bench = Bench {
    name: "memory",
    title: "Memory of a session",
    about: "\
What a gateway grows by from its start until all its sessions are there, by session: resident memory, page tables, and, from a second run
with a gateway that profiles its heap, the live blocks by owner. The phones are those of the lean engine; no agent runs, and nothing is won.",
};

/// Measures.
///
/// # Errors
/// When something cannot be built or run, or not all phones get a session.
pub fn run(options: &Options, interrupt: &Interrupt) -> anyhow::Result<Report> {
    let place = Place::fresh()?;
    // The profiled gateway first: both have the same file name, and what stays under it is the one to serve with.
    let profiled = if options.totals {
        None
    } else {
        Some(place.build_profiled(interrupt)?)
    };
    say("building the programs (release)");
    let programs = Programs::build(Build::Release, interrupt)?;
    place.prepare(&programs, options, interrupt)?;
    let gateway = options.gateway.clone().unwrap_or_else(|| programs.path("gateway"));
    say("measuring resident memory");
    let plain = place.measure(&gateway, &programs, options, interrupt)?;
    let profile = match profiled {
        None => None,
        Some(gateway) => {
            say("measuring the live heap by owner");
            let measured = place.measure(&gateway, &programs, options, interrupt)?;
            measured.profile
        }
    };
    let mut tables = vec![totals(options, &plain)];
    if let Some(profile) = &profile {
        tables.extend(owners::tables(profile, options.sessions, plain.resident_bytes));
    }
    let lines = Vec::new();
    Ok(Report { tables, lines })
}

/// A line on stderr, so that stdout holds the result alone.
fn say(line: &str) {
    console::tell(&format!("bench memory: {line}"));
}

fn totals(options: &Options, plain: &Measured) -> Table {
    let sessions = f64::from(options.sessions);
    let per_session = |bytes: i64| format!("{:.0}", bytes as f64 / sessions);
    let title = format!("{} sessions, {}", grouped(options.sessions.into()), plain.state);
    let mut table = Table::new(title, ["", "figure"]);
    let mut row = |what: &str, figure: String| table.row([what.to_owned(), figure]);
    row("resident bytes", per_session(plain.resident_bytes));
    row("bytes of page tables", per_session(plain.page_table_bytes));
    let huge = 100.0 * plain.huge_bytes as f64 / plain.resident_bytes.max(1) as f64;
    row("resident memory in huge pages", format!("{huge:.0} %"));
    let growth_ms = plain.growth_ms_max.map_or("-".to_owned(), |ms| format!("{ms:.2}"));
    row("longest growth of a table or page, ms of CPU", growth_ms);
    row(
        "resident bytes of the simulator",
        per_session(plain.phones_resident_bytes),
    );
    if let Some(cpu_us) = plain.cpu_us_per_shake {
        let what = format!("us of CPU a shake, over {} shakes", grouped(plain.shakes));
        row(&what, format!("{cpu_us:.2}"));
    }
    table
}

/// Reads a file, naming it in the error.
fn read(path: &std::path::Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}
