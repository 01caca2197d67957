//! `cargo xtask chaos`: gateway, agent and simulator for real, killed, stopped, and robbed of disk, clock and network at
//! random, round after round on one ledger; after each round phones, ledger, seed and settlement must agree to the cent.
//! With `--fleet` two gateways with agents, and PostgreSQL, which is struck as well.

mod books;
mod cast;
mod control;
mod fault;
mod fleet;
mod journal;
pub mod link;
mod lookout;
mod plan;
pub mod proxy;
mod report;
mod round;
mod schedule;
mod shim;
mod stage;
mod way;

use crate::testbed::{Build, Programs};
use anyhow::{Context, bail};
use clap::Args;
use fault::Kind;
use fleet::Fleet;
use host::console;
use report::Campaign;
use round::Outcome;
use schedule::Deck;
use stage::Stage;
use std::fs;
use std::io::{IsTerminal, stderr};
use std::rc::Rc;
use std::time::{Duration, Instant};
use xtask::interrupt::Interrupt;

#[derive(Args, Clone, Debug)]
#[command(after_long_help = "\
A round: 800 phones shake, claim, split, send and grab through a UDP proxy, and one
to three faults strike at times drawn from the seed. When they are over, service
must be back within 5 s: a tenth of the usual shakes served for two whole seconds
(being told to slow down is no service), and a claim answered. Then the phones finish, and
it is checked that
  every gain and every packet sent that a phone was told of stands in the ledger,
  also those of all earlier rounds; nothing stands there that no phone heard of
  (unless its simulator was killed); no packet was opened twice; the audit balances
  seed and ledger; the settlement file agrees with the outbox.
The next round goes on with the same ledger and new users. The schedule depends on
seed, faults and round alone, so that a failed round can be repeated:
  cargo xtask chaos --seed 7 --round 12          round 12 alone, on a fresh ledger
  cargo xtask chaos --seed 7 --rounds 12         all up to it, on one ledger

Disk and clock are spoiled by a library that is loaded into gateway and agent
(lab/faults); nothing needs rights, and nothing outside of target/chaos
and the run's own mapping in /dev/shm is touched. A fault that never took effect
fails the campaign, too.

Everything is in target/chaos until the next run: summary.txt, summary.json, ledger,
logs of every life, and a directory for each round that was not good.

With --fleet there are two gateways with an agent each, PostgreSQL (the machine's, 15 or
newer, or else one that is fetched from the Python package index), a TCP link from each
agent to it, and phones that know both gateways. PostgreSQL is killed, stopped and shut
down, links are cut, also in a commit, a second agent wants a part, machines are
destroyed, and a server comes back without its last commits. It is in target/chaos-fleet.

Exits with 0 only if every round was good; 1 when one was not (the last lines say
which, and how to repeat it); 130 when interrupted.

Examples:
  cargo xtask chaos                                     2 minutes, seed 1
  cargo xtask chaos --minutes 30 --seed 42
  cargo xtask chaos --faults kill-agent,sync-fails --minutes 5
  cargo xtask chaos --fleet --minutes 30 --seed 42
  cargo xtask chaos --schedule --rounds 20              prints the schedule alone")]
pub struct Options {
    /// Begin no round after so many minutes
    #[arg(long, default_value_t = 2.0, value_name = "N", conflicts_with_all = ["rounds", "round"])]
    minutes: f64,
    /// What the schedule is drawn from
    #[arg(long, default_value_t = 1, value_name = "S")]
    seed: u64,
    /// Only these kinds of faults
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_enum)]
    faults: Vec<Kind>,
    /// Play this round of the schedule alone
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    round: Option<u32>,
    /// Play the first so many rounds, however long they take
    #[arg(long, value_name = "N", conflicts_with = "round", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rounds: Option<u32>,
    /// Two machines with one ledger in PostgreSQL
    #[arg(long)]
    fleet: bool,
    /// How long service may be away after faults are over, in milliseconds
    #[arg(long, default_value_t = 5_000, value_name = "MS")]
    back_ms_max: u64,
    /// Print the result as JSON on stdout
    #[arg(long)]
    json: bool,
    /// Print the schedule, and play nothing
    #[arg(long)]
    schedule: bool,
    /// With the programs as the tests build them
    #[arg(long, hide = true)]
    dev: bool,
}

impl Options {
    /// What the schedule is drawn from.
    fn deck(&self) -> anyhow::Result<Deck> {
        let all = Kind::all(self.fleet);
        let foreign = self.faults.iter().find(|kind| !all.contains(kind));
        if let Some(kind) = foreign {
            let names: Vec<_> = all.iter().map(|kind| kind.name()).collect();
            let with = if self.fleet { "with" } else { "without" };
            bail!(
                "--faults: {} does not strike {with} --fleet; there are {}",
                kind.name(),
                names.join(", ")
            );
        }
        let kinds = if self.faults.is_empty() {
            all
        } else {
            self.faults.clone()
        };
        Ok(Deck {
            seed: self.seed,
            kinds,
            machines: if self.fleet { Fleet::machines() } else { 1 },
        })
    }

    /// The command that plays the rounds up to this one again, or this one alone.
    fn repeat(&self, round: u32) -> String {
        let names: Vec<_> = self.faults.iter().map(|kind| kind.name()).collect();
        let faults = if names.is_empty() {
            String::new()
        } else {
            format!(" --faults {}", names.join(","))
        };
        let rounds = if self.round.is_some() { "--round" } else { "--rounds" };
        let fleet = if self.fleet { " --fleet" } else { "" };
        format!("cargo xtask chaos{fleet} --seed {}{faults} {rounds} {round}", self.seed)
    }

    /// The rounds to play, at the most.
    fn numbers(&self) -> std::ops::RangeInclusive<u32> {
        match (self.round, self.rounds) {
            (Some(round), _) => round..=round,
            (None, Some(rounds)) => 1..=rounds,
            (None, None) => 1..=100_000,
        }
    }

    /// About how long it takes, for the size of the seed.
    fn minutes_about(&self) -> f64 {
        match (self.round, self.rounds) {
            (Some(_), _) => 1.0,
            (None, Some(rounds)) => f64::from(rounds) / 2.0,
            (None, None) => self.minutes,
        }
    }
}

/// Runs the campaign, and prints its table.
///
/// # Errors
/// When something could not run, or a round was not as it must be.
pub fn run(options: &Options, interrupt: &Interrupt) -> anyhow::Result<()> {
    let deck = options.deck()?;
    if options.schedule {
        let rounds = options
            .numbers()
            .take(if options.rounds.is_some() { usize::MAX } else { 20 });
        for round in rounds {
            console::line(&scheduled(&deck, round))?;
        }
        return Ok(());
    }
    say("building the programs and the library of faults");
    let build = if options.dev { Build::Dev } else { Build::Release };
    let programs = Programs::build(build, interrupt)?;
    let library = shim::build(interrupt)?;
    let prepare = if options.fleet {
        Stage::of_a_fleet
    } else {
        Stage::of_one_machine
    };
    let (minutes, back_ms_max) = (options.minutes_about(), options.back_ms_max);
    let mut stage = prepare(minutes, &programs, &library, back_ms_max, interrupt)?;
    let place = Rc::clone(&stage.place);
    say(&format!(
        "seed {}; everything is in {}",
        options.seed,
        place.directory.display()
    ));
    let mut campaign = Campaign {
        deck,
        rounds: Vec::new(),
        wrong_at_end: Vec::new(),
        falls: 0,
    };
    let played = play(options, &mut stage, &mut campaign);
    let ended = played.and_then(|()| {
        say("ending all programs, and auditing once more");
        stage.end()?;
        let rounds = campaign.rounds.last().map_or(1, |round| round.round);
        campaign.wrong_at_end = round::compare_at_end(&stage, rounds)?;
        anyhow::Ok(())
    });
    campaign.falls = stage.falls();
    let text = campaign.text();
    place.write("summary.txt", &text)?;
    let json = serde_json::to_string_pretty(&campaign.json())?;
    place.write("summary.json", &json)?;
    if options.json {
        console::line(&json)?;
    } else {
        console::print(&text)?;
    }
    let last = campaign.rounds.last().map_or(1, |round| round.round);
    ended.with_context(|| {
        format!(
            "round {} broke off; to repeat it: {}",
            last + 1,
            options.repeat(last + 1)
        )
    })?;
    let failures = campaign.failures();
    if let Some(first) = failures.first() {
        let bad = campaign
            .rounds
            .iter()
            .find(|round| !round.wrong.is_empty() || !round.amiss.is_empty());
        let repeat = options.repeat(bad.map_or(last, |round| round.round));
        bail!("{first}; see {}; to repeat it: {repeat}", place.directory.display());
    }
    Ok(())
}

/// A line on stderr, so that stdout holds the result alone.
fn say(line: &str) {
    console::tell(&format!("chaos: {line}"));
}

fn scheduled(deck: &Deck, round: u32) -> String {
    let faults: Vec<_> = schedule::faults(deck, round).iter().map(ToString::to_string).collect();
    format!("round {round}: {}", faults.join(", "))
}

/// Plays round after round. Money that does not agree ends it; service that is late does not.
fn play(options: &Options, stage: &mut Stage<'_>, campaign: &mut Campaign) -> anyhow::Result<()> {
    let until = Instant::now() + Duration::from_secs_f64(options.minutes * 60.0);
    for number in options.numbers() {
        let is_bounded_by_time = options.rounds.is_none() && options.round.is_none();
        if is_bounded_by_time && Instant::now() >= until {
            break;
        }
        let faults = schedule::faults(&campaign.deck, number);
        say(&scheduled(&campaign.deck, number));
        let mut outcome = round::play(stage, number, options.seed, &faults)?;
        outcome.amiss.extend(late(&outcome, options.back_ms_max));
        let clear = if stderr().is_terminal() { "\x1b[2K" } else { "" };
        console::tell_bare(&format!("{clear}chaos: {}", report::line(&outcome)));
        let is_good = outcome.wrong.is_empty() && outcome.amiss.is_empty();
        let is_wrong = !outcome.wrong.is_empty();
        campaign.rounds.push(outcome);
        if is_good {
            let directory = stage.place.file(&format!("round-{number}"));
            fs::remove_dir_all(&directory).with_context(|| format!("cannot remove {}", directory.display()))?;
        }
        if is_wrong {
            break;
        }
    }
    Ok(())
}

/// Where service was not back in time.
fn late(outcome: &Outcome, back_ms_max: u64) -> Vec<String> {
    let late = |recovery: &journal::Recovery| {
        let told = |what: &str, back_ms: Option<u64>| match back_ms {
            Some(ms) if ms <= back_ms_max => None,
            Some(ms) => Some(format!("{what} were back only {ms} ms after {}", recovery.after)),
            None => Some(format!(
                "{what} were not back {back_ms_max} ms after {}",
                recovery.after
            )),
        };
        [told("shakes", recovery.shakes_ms), told("claims", recovery.claims_ms)]
    };
    outcome.recoveries.iter().flat_map(late).flatten().collect()
}
