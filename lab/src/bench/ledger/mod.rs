//! `cargo xtask bench ledger`: claims per second through ticket check, judge and commit, into SQLite and into PostgreSQL, with the
//! disk's own sync time beside them. Agents are threads of this program, PostgreSQL is a server of its own on loopback.

mod agent;
mod load;
mod table;

use crate::report::{Bench, Report};
use agent::{Agent, EVENT};
use anyhow::Context;
use clap::Args;
use hdrhistogram::Histogram;
use host::console;
use load::{Load, Offer, Outcome};
use local_postgres::{AGENT, Server};
use shake_agent::ledger::{Installation, Ledger, Postgres, Sqlite, init};
use shake_agent::seed_file::SeedFile;
use shake_agent::seed_fleet;
use shake_agent::seed_generate::{Request as Seed, Splits};
use shake_rules::{Cents, LedgerId, PacketId, SponsorId};
use std::fs::{self, OpenOptions};
use std::ops::RangeInclusive;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};
use xtask::interrupt::Interrupt;
use xtask::workspace::target;

#[derive(Args)]
#[command(after_long_help = "\
Takes some five minutes; run nothing beside it. PostgreSQL is the machine's (15 or newer), or one that is
fetched. Its settings are its own, but for those that docs/fleet.md asks for.

Exits with 0 only if
- PostgreSQL opens 40,000 claims/s of the agents that do it best, with 512 in a commit, and half of what SQLite
  does in the same run;
- 16 agents with 8 to 32 in a commit open 15,000/s, and at half of that 99 of 100 wait for less than 50 ms;
- none of their commits has to be tried anew: nobody waits in a circle, nor for long;
- a packet that each of their batches grabs of leaves them four fifths of it;
- 200 agents with 1 to 3 claims a commit open twice as many when twice as many come.

Examples:
  cargo xtask bench ledger
  cargo xtask bench ledger --users 1000000 --claims 50000
  cargo xtask bench ledger --only sqlite            the cases whose name has this word")]
pub struct Options {
    /// Users that are there before
    #[arg(long, default_value_t = 5_000_000, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    users: u64,
    /// Claims of a case, where it does not say how many come a second
    #[arg(long, default_value_t = 200_000, value_name = "N", value_parser = clap::value_parser!(u64).range(1_000..=10_000_000))]
    claims: u64,
    /// How long claims come, where it says how many come a second
    #[arg(long, default_value_t = 8, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=600))]
    seconds: u32,
    /// Only the cases whose name has this word
    #[arg(long, value_name = "WORD")]
    only: Option<String>,
}

pub const BENCH: Bench = Bench {
    name: "ledger",
    title: "Ledger",
    about: "\
Claims through ticket check, judge and commit, of packets that were released and issued before; winners are drawn from the users that are
there. A wait is that of a commit, and where claims come at a rate it begins when the first of them came. *Tried anew*: agents stood in
each other's way, and a commit was begun again. Agents and server share the machine.",
};

/// Which ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Sqlite,
    Postgres,
}

/// One measurement.
#[derive(Clone, Debug)]
struct Case {
    name: &'static str,
    kind: Kind,
    agents: u16,
    sizes: RangeInclusive<u64>,
    /// Claims a second, and whether the agents pace themselves; `None`: as many as go.
    rate: Option<(u32, bool)>,
    /// Whether each batch grabs of one and the same packet.
    everybodys: bool,
}

/// Claims a second that 16 agents are to open.
const SMALL_BATCHES: u32 = 15_000;
/// Claims a second of 200 agents.
const MANY_AGENTS: u32 = 2_000;

fn cases() -> Vec<Case> {
    let case = |name, kind, agents, sizes, rate, everybodys| Case {
        name,
        kind,
        agents,
        sizes,
        rate,
        everybodys,
    };
    use Kind::{Postgres, Sqlite};
    vec![
        case("sqlite-512", Sqlite, 1, 512..=512, None, false),
        case("postgres-512", Postgres, 1, 512..=512, None, false),
        case("postgres-512-by-2", Postgres, 2, 512..=512, None, false),
        case("postgres-512-by-4", Postgres, 4, 512..=512, None, false),
        case("sqlite-64", Sqlite, 1, 64..=64, None, false),
        case("postgres-64", Postgres, 1, 64..=64, None, false),
        case("postgres-64-by-4", Postgres, 4, 64..=64, None, false),
        case("small-batches", Postgres, 16, 8..=32, None, false),
        case(
            "small-batches-at-half",
            Postgres,
            16,
            8..=32,
            Some((SMALL_BATCHES / 2, false)),
            false,
        ),
        case("small-batches-and-a-code", Postgres, 16, 8..=32, None, true),
        case("many-agents", Postgres, 200, 1..=1, Some((MANY_AGENTS, true)), false),
        case(
            "many-agents-twice",
            Postgres,
            200,
            1..=1,
            Some((2 * MANY_AGENTS, true)),
            false,
        ),
    ]
}

/// Plays all cases.
///
/// # Errors
/// When something could not run.
pub fn run(options: &Options, interrupt: &Interrupt) -> anyhow::Result<Report> {
    let wanted = |case: &Case| options.only.as_deref().is_none_or(|word| case.name.contains(word));
    let cases: Vec<Case> = cases().into_iter().filter(wanted).collect();
    anyhow::ensure!(!cases.is_empty(), "no case has such a name");
    let place = tempfile::Builder::new().prefix("bench-ledger-").tempdir_in(target())?;
    let sync = disk_sync(place.path())?;
    let mut played = Vec::new();
    let mut fleet = None;
    for case in cases {
        console::tell(&format!("ledger: {}", case.name));
        let outcome = match case.kind {
            Kind::Sqlite => on_sqlite(options, &case, interrupt),
            Kind::Postgres => {
                let fleet = match &mut fleet {
                    Some(fleet) => fleet,
                    none => none.insert(Fleet::new(place.path(), options.users)?),
                };
                fleet.play(options, &case, interrupt)
            }
        };
        played.push((case.clone(), outcome.with_context(|| case.name)?));
    }
    Ok(Report {
        tables: vec![table::table(options, &played, &sync)],
        lines: table::lines(&played),
    })
}

impl Case {
    fn load(&self, options: &Options, everybodys: Option<PacketId>) -> Load {
        let claims = options.claims / u64::from(self.agents);
        let time = Duration::from_secs(options.seconds.into());
        let at_rate = |(per_second, paced)| Offer::Rate {
            per_second,
            time,
            paced,
        };
        Load {
            agents: self.agents,
            sizes: self.sizes.clone(),
            offer: self.rate.map_or(Offer::Full { claims }, at_rate),
            everybodys,
        }
    }
}

/// Small ones: the bench makes packets of its own.
fn seeds(place: &Path, parts: u16) -> anyhow::Result<Vec<SeedFile>> {
    let seed = Seed {
        event: EVENT,
        budget: Cents(100 * 100 * u64::from(parts)),
        count: 100 * u64::from(parts),
        sponsors: [(SponsorId(1), 1)].into(),
        min: Cents(1),
        max: Cents(1_000),
        splits: Splits::default(),
    };
    let directory = place.join(format!("seeds-{parts}"));
    seed_fleet::generate(&seed, parts, &directory, false, None, rand::random, |_| {})?;
    (0..parts)
        .map(|part| Ok(SeedFile::open(&directory.join(seed_fleet::file_name(part)))?))
        .collect()
}

fn on_sqlite(options: &Options, case: &Case, interrupt: &Interrupt) -> anyhow::Result<Outcome> {
    let place = tempfile::Builder::new().prefix("bench-ledger-").tempdir_in(target())?;
    let seed = seeds(place.path(), 1)?.remove(0);
    let path = place.path().join("ledger.db");
    let mut ledger = Ledger::<Sqlite>::open(&path)?;
    ledger.bind_seed(&seed, Cents(0), agent::NOW)?;
    drop(ledger);
    add_users(&path, options.users)?;
    let ledger = Ledger::<Sqlite>::open(&path)?;
    let _beside = ledger.checkpointer()?;
    let agent = Agent::new(ledger, &seed, options.users)?;
    load::play(&case.load(options, None), vec![agent], interrupt)
}

fn add_users(path: &Path, users: u64) -> anyhow::Result<()> {
    let connection = rusqlite::Connection::open(path)?;
    connection.execute(
        "INSERT INTO users (user, balance_cents, packets_opened, sponsors_opened, lines)
         WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < ?1) SELECT i, 0, 0, x'', 0 FROM n",
        [i64::try_from(users)?],
    )?;
    Ok(())
}

/// A server with the users, and parts that no case had yet.
struct Fleet {
    server: Server,
    seeds: Vec<SeedFile>,
    users: u64,
}

/// What docs/fleet.md asks of a server, and connections for all agents.
const SETTINGS: [&str; 5] = [
    "shared_buffers=2GB",
    "max_wal_size=16GB",
    "checkpoint_timeout=30min",
    "autovacuum_vacuum_scale_factor=0.02",
    "max_connections=300",
];
const DATABASE: &str = "event";

impl Fleet {
    fn new(place: &Path, users: u64) -> anyhow::Result<Self> {
        let parts: u16 = cases().iter().map(|case| case.agents).sum();
        let seeds = seeds(place, parts)?;
        let headers: Vec<_> = seeds.iter().map(|seed| *seed.header()).collect();
        let server = Server::start(place, &SETTINGS)?;
        let owner = server.database(DATABASE)?;
        init(&owner, LedgerId(rand::random()), &headers, AGENT)?;
        console::tell(&format!("ledger: adding {users} users to PostgreSQL"));
        let add = format!("INSERT INTO users SELECT i, 0, 0, '', 0 FROM generate_series(0, {users} - 1) AS i");
        server.run(DATABASE, &add)?;
        Ok(Self { server, seeds, users })
    }

    fn play(&mut self, options: &Options, case: &Case, interrupt: &Interrupt) -> anyhow::Result<Outcome> {
        let config = self.server.agent_config(DATABASE);
        let mut agents = Vec::new();
        for _ in 0..case.agents {
            let seed = self.seeds.pop().context("each case has parts of its own")?;
            let part = seed.header().part;
            let store = Postgres::open(&config, part, Installation(rand::random()))?;
            agents.push(Agent::new(Ledger::on(store)?, &seed, self.users)?);
        }
        let everybodys = case.everybodys.then(|| self.everybodys()).transpose()?;
        self.server.run(DATABASE, "ANALYZE")?;
        self.server.run(DATABASE, "CHECKPOINT")?;
        load::play(&case.load(options, everybodys), agents, interrupt)
    }

    /// A packet that outlasts every case.
    fn everybodys(&self) -> anyhow::Result<PacketId> {
        let packet = PacketId(1 << 63 | 1);
        let insert = format!(
            "INSERT INTO packets (packet, part, origin, sponsor, cents, shares, balance_cents, shares_left, recipients, state, made_ms,
                 opened_ms, due_ms, ends_ms)
             VALUES ({}, 0, 3, 0, 6000000, 60000, 6000000, 60000, 0, 5, {now}, {now}, {end}, {end})",
            packet.0.cast_signed(),
            now = agent::NOW.0,
            end = agent::NOW.plus_ms(86_400_000).0,
        );
        self.server.run(DATABASE, &insert)?;
        Ok(packet)
    }
}

/// What one sync of a page written to an existing file costs here, in microseconds.
fn disk_sync(place: &Path) -> anyhow::Result<Histogram<u64>> {
    let mut times = Histogram::new(3)?;
    let path = place.join("sync");
    let file = OpenOptions::new().write(true).create_new(true).open(&path)?;
    file.write_all_at(&vec![1; 200 * 4096], 0)?;
    file.sync_all()?;
    for page in 0..200 {
        file.write_all_at(&[2; 4096], page * 4096)?;
        let begun = Instant::now();
        file.sync_data()?;
        times.record(begun.elapsed().as_micros() as u64)?;
    }
    fs::remove_file(path)?;
    Ok(times)
}
