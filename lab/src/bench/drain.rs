//! `cargo xtask bench drain`: a fleet of two gateways, each with an agent and a part of the seed of its own. In the middle
//! of the run the operator drains the first, and names the second as the alternative; phones, both ledgers and both
//! audits must agree in the end.

use crate::demo::reports::Tally;
use crate::demo::verdict::{Evidence, UNANSWERED_MAX, sum};
use crate::demo::{self, books, plan};
use crate::report::{Bench, Line, Report, Table};
use crate::testbed::{self, Build, Patience, Place, Programs, Stage, files, phones_with_credits, run_to_file};
use anyhow::{Context, ensure};
use clap::Args;
use client_sim::tally::Shakes;
use host::console;
use shake_rules::money::{grouped, money};
use std::fs;
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};
use xtask::interrupt::Interrupt;

/// How long the phones shake: some time at the first gateway, the window, and some time at the second.
const SECONDS: u32 = 45;
/// From the end of the ramp to the drain.
const BEFORE: Duration = Duration::from_secs(12);
/// The window over which sessions leave.
const WINDOW: Duration = Duration::from_secs(15);
/// How long after the window the drained gateway may take to close connections and let claims finish.
const GRACE: Duration = Duration::from_secs(20);
const COMMAND: Duration = Duration::from_secs(20);
const SEEDS: &str = "seeds";

#[derive(Args)]
#[command(after_long_help = "\
Starts two gateways with the same keys and an agent each, which have half of the
seed each; connects the phones to the first; has the operator drain it over 15 s
with the second as the alternative, while they shake. Everything is in
target/bench-drain-first and target/bench-drain-second until the next run.

Exits with 0 only if the drained gateway ended by itself with 0, every phone was
told and shakes at the second gateway in the end, every packet that was won was
opened, fewer than 0.1 % of the shakes that were sent went unanswered, both audits
balance, and the phones agree with both ledgers together to the cent.

Examples:
  cargo xtask bench drain
  cargo xtask bench drain --sessions 20000 --shakes-per-second 10000")]
pub struct Options {
    /// Phones, one QUIC session each
    #[arg(long, default_value_t = 5_000, value_name = "N", value_parser = clap::value_parser!(u32).range(100..=100_000))]
    sessions: u32,
    /// Shakes per second over all phones
    #[arg(long, default_value_t = 5_000, value_name = "N", value_parser = clap::value_parser!(u32).range(100..=50_000))]
    shakes_per_second: u32,
}

pub const BENCH: Bench = Bench {
    name: "drain",
    title: "A drain",
    about: "\
Two gateways with the same keys, an agent and half of the seed each. Phones shake at the first; the operator drains it over 15 s and names
the second as the alternative. A shake that is due while its phone is on its way is not sent.",
};

/// Runs it.
///
/// # Errors
/// When something could not run.
pub fn run(options: &Options, interrupt: &Interrupt) -> anyhow::Result<Report> {
    say("building the programs (release)");
    let programs = Programs::build(Build::Release, interrupt)?;
    let size = demo::Options::of_size(options.sessions, options.shakes_per_second, SECONDS);
    let (first, second) = (Place::fresh("bench-drain-first")?, Place::fresh("bench-drain-second")?);
    prepare([&first, &second], &programs, &size, interrupt)?;
    let (phones_succeeded, took) = play(&first, &second, &programs, &size, interrupt)?;
    say("auditing the ledgers");
    let left = books(&first, &programs, interrupt)?;
    let right = books(&second, &programs, interrupt)?;
    let drained = Drained {
        phones: options.sessions.into(),
        took,
        credits: [sum(&left.credits), sum(&right.credits)],
        in_both: left
            .credits
            .keys()
            .filter(|key| right.credits.contains_key(key))
            .count(),
        evidence: demo::evidence(&first, phones_succeeded, left.join(right))?,
    };
    let what = "no phone, shake or cent is lost, and both audits balance";
    Ok(Report {
        tables: vec![drained.table()],
        lines: vec![Line::without(what, &drained.failures())],
    })
}

/// What came of it.
struct Drained {
    phones: u64,
    /// From the operator's command to the end of the drained gateway.
    took: Duration,
    /// What each ledger credited.
    credits: [Tally; 2],
    /// Credits that stand in both.
    in_both: usize,
    /// With the books of both together.
    evidence: Evidence,
}

impl Drained {
    fn table(&self) -> Table {
        let (shakes, claims) = (&self.evidence.phones.shakes.counts, &self.evidence.phones.claims.counts);
        let [first, second] = self.credits;
        let credits = |of: Tally| format!("{} of {}", grouped(of.packets), money(of.cents));
        let mut table = Table::new("", ["", "figure"]);
        let mut row = |what: &str, figure: String| table.row([what.to_owned(), figure]);
        row("phones sent from one gateway to the other", grouped(self.phones));
        let took_s = self.took.as_secs_f64();
        row(
            "from the command to the end of the drained gateway, s",
            format!("{took_s:.1}"),
        );
        row("shakes sent", grouped(shakes.sent));
        row("without an answer", grouped(shakes.unanswered));
        row("due while their phone was on its way", grouped(shakes.skipped_offline));
        row("packets won", grouped(claims.wins));
        row("packets opened", grouped(claims.opened));
        row("credits by the first ledger", credits(first));
        row("credits by the second", credits(second));
        row("credits by the phones", credits(sum(&self.evidence.phones_credits)));
        table
    }

    /// Every reason why it is not as it must be.
    fn failures(&self) -> Vec<String> {
        let mut failures = self.evidence.money_failures();
        failures.extend(self.evidence.abuse_failures());
        let sessions = &self.evidence.phones.sessions;
        for (what, count) in [
            ("were connected", sessions.counts.connected),
            ("were told to go away", sessions.counts.told_to_go_away),
            ("came to the second gateway", sessions.counts.reconnected),
            ("were online at the end", sessions.online_at_end.into()),
        ] {
            if count != self.phones {
                failures.push(format!("{count} of {} phones {what}", self.phones));
            }
        }
        if self.in_both > 0 {
            failures.push(format!("{} credits are in both ledgers", self.in_both));
        }
        if self.credits.iter().any(|part| part.packets == 0) {
            failures.push("one gateway gave nothing, so there was nothing to compare".into());
        }
        let Shakes { sent, unanswered, .. } = self.evidence.phones.shakes.counts;
        if unanswered as f64 >= sent as f64 * UNANSWERED_MAX {
            failures.push(format!("{unanswered} of {sent} shakes went unanswered"));
        }
        failures
    }
}

fn say(line: &str) {
    console::tell(&format!("drain: {line}"));
}

/// Certificates and keys for both, half of the seed for each, and all configurations.
fn prepare(
    places: [&Place; 2],
    programs: &Programs,
    size: &demo::Options,
    interrupt: &Interrupt,
) -> anyhow::Result<()> {
    let [first, second] = places;
    testbed::make_certs(first, programs, interrupt)?;
    let certs = first.file(files::CERTS);
    symlink(&certs, second.file(files::CERTS)).context("cannot link the certificates")?;
    let mut flags = plan::seed_flags(size);
    flags.extend([
        "--parts".into(),
        "2".into(),
        "--certs".into(),
        certs.display().to_string(),
    ]);
    testbed::make_seed(first, SEEDS, programs, &flags, interrupt)?;
    for (at, place) in places.into_iter().enumerate() {
        let part = first.file(SEEDS).join(format!("seed-{at}.bin"));
        fs::rename(&part, place.file(files::SEED)).with_context(|| format!("cannot move {}", part.display()))?;
        place.write(files::SHOW, &plan::show(size))?;
        place.write(files::GATEWAY, &plan::gateway(place))?;
        place.write(files::AGENT, &plan::agent(place.queue(), &place.directory))?;
    }
    first.write(files::SCENARIO, &plan::scenario(size, first.gateway, &certs))
}

/// Plays the phones and drains the first gateway. Tells whether the phones succeeded, and how long the gateway took to end.
fn play(
    first: &Place,
    second: &Place,
    programs: &Programs,
    size: &demo::Options,
    interrupt: &Interrupt,
) -> anyhow::Result<(bool, Duration)> {
    let mut leaving = Stage::start(first, programs, interrupt)?;
    let mut staying = Stage::start(second, programs, interrupt)?;
    let drain_after = demo::ramp(size) + BEFORE;
    let began = Instant::now();
    let mut drained_at = None;
    let mut took = None;
    let patience = Patience {
        at_most: demo::longest_run(size),
        interrupt,
    };
    let ended = run_to_file(
        "client-sim",
        phones_with_credits(first, programs),
        &first.file(files::REPORT),
        &patience,
        || {
            staying.check()?;
            leaving.agent.check()?;
            let Some(since) = drained_at else {
                leaving.gateway.check()?;
                if began.elapsed() >= drain_after {
                    drained_at = Some(Instant::now());
                    drain(first, second, programs, interrupt)?;
                }
                return Ok(());
            };
            if took.is_none()
                && let Some(status) = leaving.gateway.ended()?
            {
                ensure!(
                    status.success(),
                    "the drained gateway ended with {status}; {}",
                    leaving.gateway.log_end()
                );
                took = Some(since.elapsed());
            }
            ensure!(
                took.is_some() || since.elapsed() < WINDOW + GRACE,
                "the drained gateway did not end by itself; {}",
                leaving.gateway.log_end()
            );
            Ok(())
        },
    )?;
    let took = took.context("the phones ended before the drained gateway did")?;
    staying.end()?;
    leaving.agent.end(testbed::END)?;
    Ok((ended.is_success(), took))
}

fn drain(first: &Place, second: &Place, programs: &Programs, interrupt: &Interrupt) -> anyhow::Result<()> {
    say("draining the first gateway");
    let mut drain = programs.command("gateway");
    drain
        .args(["drain", "--over", &format!("{}s", WINDOW.as_secs())])
        .args(["--alternative", &second.gateway.to_string()])
        .args(["--target", &first.admin.to_string(), "--certs"])
        .arg(first.file(files::CERTS));
    let patience = Patience {
        at_most: COMMAND,
        interrupt,
    };
    run_to_file("gateway drain", drain, &first.file("drain.log"), &patience, || Ok(()))?.success()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::verdict::tests::good;

    /// Two phones of which each gained something at another gateway.
    fn drained() -> Drained {
        let mut evidence = good();
        let sessions = &mut evidence.phones.sessions;
        (sessions.counts.reconnected, sessions.counts.told_to_go_away) = (2, 2);
        sessions.online_at_end = 2;
        let part = |packets, cents| Tally { packets, cents };
        Drained {
            phones: 2,
            took: Duration::from_secs(14),
            credits: [part(2, 340), part(1, 1_000)],
            in_both: 0,
            evidence,
        }
    }

    #[test]
    fn what_is_not_as_it_must_be_is_named() {
        assert_eq!(drained().failures(), Vec::<String>::new());
        let table = drained().table().to_string();
        assert!(table.contains("credits by the first ledger"), "{table}");
        let check = |spoil: fn(&mut Drained), expected: &str| {
            let mut drained = drained();
            spoil(&mut drained);
            let failures = drained.failures();
            assert!(failures.len() == 1 && failures[0].contains(expected), "{failures:?}");
        };
        check(
            |it| it.evidence.phones.sessions.counts.reconnected = 1,
            "1 of 2 phones came",
        );
        check(
            |it| it.evidence.phones.sessions.online_at_end = 0,
            "0 of 2 phones were online",
        );
        check(|it| it.in_both = 1, "in both ledgers");
        check(|it| it.credits[1] = Tally::default(), "gave nothing");
        check(
            |it| it.evidence.phones.shakes.counts.unanswered = 10,
            "10 of 10000 shakes",
        );
        check(|it| it.evidence.books.blocks.held_back = 1, "taken for abusers");
        check(|it| it.evidence.books.audit.balanced = false, "the audit has");
    }
}
