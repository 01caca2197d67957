//! Claims per second through ticket check, ledger and commit, at 64 and 512 claims per commit, with the disk's own sync time
//! beside them.
//!
//! `claims`: packets are released and issued before the clock starts; each claim is a record as a shard sends it.
//! `lives`: the whole life of a packet: release, issue and claim of as many packets in one commit.
//!
//! `open`: a ledger of so many claims is closed and opened again.
//!
//! Environment: `SHAKE_BENCH_DIRECTORY` (default: the target directory, because /tmp may be memory), `SHAKE_BENCH_USERS`
//! (users present before, default 0), `SHAKE_BENCH_CLAIMS` (claims of the ledger to open, default 0: not measured; 10,000,000
//! take some three minutes and 5 GB).
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a bench prints, and may end with its reader"
)]
#![allow(missing_docs, clippy::unwrap_used)]

use criterion::{Criterion, Throughput};
use hdrhistogram::Histogram;
use local_postgres::Server;
use rand::SeedableRng;
use rand::rngs::StdRng;
use shake_agent::counters::Counters;
use shake_agent::ledger::{Checkpointer, Installation, Ledger, Postgres, Release, Sqlite, Store, init};
use shake_agent::requests::{Answer, Judge, Origin, Rules};
use shake_agent::seed_file::SeedFile;
use shake_agent::seed_generate::{self, Request as Seed};
use shake_proto::handoff::record::{Ask, Issued, ReplyTo, Request, What};
use shake_proto::request::Claim;
use shake_rules::keys::{Key, KeyRing};
use shake_rules::seed::SeedRecord;
use shake_rules::ticket::{Ticket, TicketKeys};
use shake_rules::winnings::WinLimits;
use shake_rules::{Cents, EventId, LedgerId, SponsorId, UnixMillis, UserId};
use std::fs::OpenOptions;
use std::hint::black_box;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const EVENT: EventId = EventId(1);
const NOW: UnixMillis = UnixMillis(1_800_000_000_000);
const RULES: Rules = Rules {
    event: EVENT,
    part: 0,
    limits: WinLimits {
        packets_per_user: 8,
        packets_per_sponsor: 8,
    },
    ticket_lifetime_ms: 86_400_000,
    share_lifetime_ms: 86_400_000,
};
const SEED_PACKETS: u64 = 20_000_000;
const MEASURE: Duration = Duration::from_secs(8);

struct Bench<S> {
    ledger: Ledger<S>,
    /// What works beside the ledger, until that is dropped.
    _beside: Beside,
    judge: Judge,
    keys: TicketKeys,
    identity: LedgerId,
    lane: i64,
    next: u64,
    users: u64,
    random: u64,
    ticket: Vec<u8>,
    answers: Vec<(usize, Answer)>,
}

enum Beside {
    Checkpoints { _of: Checkpointer },
    Server { _it: Server },
}

impl Bench<Sqlite> {
    fn new(directory: &Path, users: u64) -> Self {
        let seed = make_seed(directory);
        let path = directory.join("ledger.db");
        let mut ledger = Ledger::open(&path).unwrap();
        ledger.bind_seed(&seed, Cents(0), NOW).unwrap();
        if users > 0 {
            drop(ledger);
            add_users(&path, users);
            ledger = Ledger::open(&path).unwrap();
        }
        let _of = ledger.checkpointer().unwrap();
        Self::of(ledger, Beside::Checkpoints { _of }, users)
    }
}

impl Bench<Postgres> {
    /// A server with its defaults.
    fn new(directory: &Path, users: u64) -> Self {
        let seed = make_seed(directory);
        let server = Server::start(directory, &[]).unwrap();
        let config = server.database("ledger").unwrap();
        init(&config, LedgerId([1; 16]), &[*seed.header()], None).unwrap();
        if users > 0 {
            eprintln!("adding {users} users to PostgreSQL …");
            let add =
                "INSERT INTO users SELECT i, 0, 0, '', 0 FROM generate_series(0, {} - 1) AS i; ANALYZE; CHECKPOINT";
            server.run("ledger", &add.replace("{}", &users.to_string())).unwrap();
        }
        let mut ledger = Ledger::on(Postgres::open(&config, 0, Installation([1; 16])).unwrap()).unwrap();
        ledger.bind_seed(&seed, Cents(0), NOW).unwrap();
        Self::of(ledger, Beside::Server { _it: server }, users)
    }
}

fn make_seed(directory: &Path) -> SeedFile {
    let path = directory.join("seed.bin");
    let seed = Seed {
        event: EVENT,
        budget: Cents(100 * 1_000),
        count: 1_000,
        sponsors: [(SponsorId(1), 1), (SponsorId(2), 1)].into(),
        min: Cents(1),
        max: Cents(1_000),
        splits: seed_generate::Splits::default(),
    };
    let mut state = 1;
    seed_generate::generate(&seed, &path, false, || splitmix(&mut state), |_| {}).unwrap();
    SeedFile::open(&path).unwrap()
}

impl<S: Store> Bench<S> {
    fn of(mut ledger: Ledger<S>, beside: Beside, users: u64) -> Self {
        let lane = ledger.transaction(NOW, |batch| batch.load_lane(1, 0)).unwrap().lane;
        let ring = KeyRing::of(Key::new(1, [7; 32]));
        let identity = ledger.identity().unwrap();
        let rng = StdRng::seed_from_u64(1);
        Self {
            ledger,
            _beside: beside,
            judge: Judge::new(RULES, identity, &ring, rng, Arc::new(Counters::default())),
            identity,
            keys: TicketKeys::new(&ring),
            lane,
            next: 0,
            users: users.max(5_000_000),
            random: 9,
            ticket: Vec::new(),
            answers: Vec::new(),
        }
    }

    /// The next packets, each with a user who is to get it.
    fn packets(&mut self, count: u64) -> Vec<(Release, UserId)> {
        let make = |index: u64| {
            let release = Release {
                seed_index: index,
                record: SeedRecord {
                    packet: seed_generate::packet_id(EVENT, 0, index),
                    amount: Cents(100),
                    sponsor: SponsorId(1),
                    kind: shake_rules::seed::PacketKind::Plain,
                },
                lane: self.lane,
                grant_position: index,
            };
            (release, UserId(splitmix(&mut self.random) % self.users))
        };
        let packets = (self.next..self.next + count).map(make).collect();
        self.next += count;
        assert!(self.next < SEED_PACKETS, "the ids of one part are used up");
        packets
    }

    fn claim(&mut self, release: &Release, user: UserId) -> Request {
        let ticket = Ticket {
            event: EVENT,
            packet: release.record.packet,
            user,
            sponsor: release.record.sponsor,
            stage: 1,
            issued_at: NOW,
            expires_at: NOW.plus_ms(1),
        };
        let mut nonce = [0; 12];
        nonce[..8].copy_from_slice(&release.seed_index.to_le_bytes());
        self.keys.seal(&self.identity, &ticket, nonce, &mut self.ticket);
        Request::Ask(Ask {
            reply_to: ReplyTo {
                request_id: release.seed_index,
                epoch: 1,
            },
            user,
            at: NOW,
            what: What::Claim(Claim {
                ticket: self.ticket.clone().into(),
                cookie: Default::default(),
            }),
        })
    }

    fn commit(&mut self, releases: &[Release], requests: &[Request]) {
        let origin = Origin {
            lane: self.lane,
            grants_pushed: 0,
            is_whole: true,
        };
        let (judge, answers) = (&mut self.judge, &mut self.answers);
        self.ledger
            .transaction(NOW, |batch| {
                if !releases.is_empty() {
                    batch.release(releases);
                }
                let requests = requests.iter().enumerate();
                let requests = requests.map(|(at, request)| (at, origin, request));
                judge.hear(batch, requests, NOW, answers)
            })
            .unwrap();
        black_box(&mut self.answers).clear();
    }

    /// Time of one commit of `count` claims.
    fn claims(&mut self, count: u64) -> Duration {
        let packets = self.packets(count);
        let releases: Vec<Release> = packets.iter().map(|packet| packet.0).collect();
        self.commit(&releases, &packets.iter().map(issued).collect::<Vec<_>>());
        let claims: Vec<Request> = packets
            .iter()
            .map(|(release, user)| self.claim(release, *user))
            .collect();
        let begun = Instant::now();
        self.commit(&[], &claims);
        begun.elapsed()
    }

    /// Time of one commit of `count` releases, as many issues and as many claims.
    fn lives(&mut self, count: u64) -> Duration {
        let packets = self.packets(count);
        let releases: Vec<Release> = packets.iter().map(|packet| packet.0).collect();
        let mut requests: Vec<Request> = packets.iter().map(issued).collect();
        requests.extend(packets.iter().map(|(release, user)| self.claim(release, *user)));
        let begun = Instant::now();
        self.commit(&releases, &requests);
        begun.elapsed()
    }
}

impl Bench<Sqlite> {
    /// Makes a ledger of so many claims, and opens it again: as after a clean end, and as after a kill, with the
    /// last changes still in the write-ahead log.
    fn open(directory: &Path, users: u64, claims: u64) -> Vec<(&'static str, Duration)> {
        const PER_COMMIT: u64 = 512;
        let mut bench = Self::new(directory, users);
        eprintln!("making a ledger of {claims} claims …");
        for _ in 0..claims.div_ceil(PER_COMMIT) {
            bench.lives(PER_COMMIT);
        }
        let path = directory.join("ledger.db");
        let killed = directory.join("killed.db");
        for end in ["", "-wal"] {
            let name = |path: &Path| PathBuf::from(format!("{}{end}", path.display()));
            std::fs::copy(name(&path), name(&killed)).unwrap();
        }
        drop(bench);
        let opened = |path: &Path| {
            let begun = Instant::now();
            drop(Ledger::open(path).unwrap());
            begun.elapsed()
        };
        vec![("after a kill", opened(&killed)), ("after a clean end", opened(&path))]
    }
}

fn issued((release, user): &(Release, UserId)) -> Request {
    Request::Issued(Issued {
        packet: release.record.packet,
        user: *user,
        stage: 1,
        at: NOW,
        ends: Some(NOW.plus_ms(1)),
    })
}

fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn add_users(path: &Path, users: u64) {
    eprintln!("adding {users} users …");
    let connection = rusqlite::Connection::open(path).unwrap();
    connection
        .execute(
            "INSERT INTO users (user, balance_cents, packets_opened, sponsors_opened, lines)
             WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < ?1) SELECT i, 0, 0, x'', 0 FROM n",
            [i64::try_from(users).unwrap()],
        )
        .unwrap();
}

/// What one sync of a page written to an existing file costs here.
fn disk_sync(directory: &Path) -> Histogram<u64> {
    let mut times = Histogram::new(3).unwrap();
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(directory.join("sync"))
        .unwrap();
    file.write_all_at(&vec![1; 200 * 4096], 0).unwrap();
    file.sync_all().unwrap();
    for page in 0..200 {
        file.write_all_at(&[2; 4096], page * 4096).unwrap();
        let begun = Instant::now();
        file.sync_data().unwrap();
        times.record(begun.elapsed().as_micros() as u64).unwrap();
    }
    times
}

fn ms(times: &Histogram<u64>, quantile: f64) -> f64 {
    times.value_at_quantile(quantile) as f64 / 1e3
}

/// All kinds of commits, 64 and 512 claims each.
fn measure<S: Store>(
    criterion: &mut Criterion,
    store: &str,
    summary: &mut Vec<String>,
    make: impl Fn() -> (Bench<S>, TempDir),
) {
    type Measure<S> = fn(&mut Bench<S>, u64) -> Duration;
    let kinds: [(&str, Measure<S>); 2] = [("claims", Bench::claims), ("lives", Bench::lives)];
    for (kind, measure) in kinds {
        for per_commit in [64, 512] {
            let mut bench = None;
            let mut times: Histogram<u64> = Histogram::new(3).unwrap();
            let mut group = criterion.benchmark_group(format!("ledger/{store}/{kind}"));
            group.throughput(Throughput::Elements(per_commit));
            group.bench_function(format!("{per_commit} per commit"), |bencher| {
                let (bench, _) = bench.get_or_insert_with(&make);
                bencher.iter_custom(|commits| {
                    let spent = (0..commits).map(|_| measure(bench, per_commit));
                    spent
                        .inspect(|time| times.record(time.as_micros() as u64).unwrap())
                        .sum()
                });
            });
            group.finish();
            if !times.is_empty() {
                let rate = per_commit as f64 * 1e6 / times.mean();
                let (p50, p99) = (ms(&times, 0.5), ms(&times, 0.99));
                summary.push(format!(
                    "{store:>8}  {kind:>6}  {per_commit:>4}  {rate:>9.0}/s  {p50:>9.2}  {p99:>9.2}"
                ));
            }
        }
    }
}

fn main() {
    let mut criterion = Criterion::default()
        .configure_from_args()
        .sample_size(10)
        .measurement_time(MEASURE);
    let root = std::env::var_os("SHAKE_BENCH_DIRECTORY")
        .map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
    let users = std::env::var("SHAKE_BENCH_USERS").map_or(0, |users| users.parse().unwrap());
    let mut summary = Vec::new();
    measure(&mut criterion, "sqlite", &mut summary, || {
        let directory = tempfile::tempdir_in(&root).unwrap();
        (Bench::<Sqlite>::new(directory.path(), users), directory)
    });
    measure(&mut criterion, "postgres", &mut summary, || {
        let directory = tempfile::tempdir_in(&root).unwrap();
        (Bench::<Postgres>::new(directory.path(), users), directory)
    });
    let claims = std::env::var("SHAKE_BENCH_CLAIMS").map_or(0, |claims| claims.parse().unwrap());
    if claims > 0 {
        let directory = tempfile::tempdir_in(&root).unwrap();
        for (when, time) in Bench::<Sqlite>::open(directory.path(), users, claims) {
            summary.push(format!(
                "   open  {claims} claims, {when}: {:.0} ms",
                time.as_secs_f64() * 1e3
            ));
        }
    }
    let sync = disk_sync(tempfile::tempdir_in(&root).unwrap().path());
    println!("\n{users} users present before\n   kind  size       rate  commit p50  p99, ms");
    summary.iter().for_each(|line| println!("{line}"));
    println!(
        "the disk's own sync of one page: p50 {:.2} ms, p99 {:.2} ms",
        ms(&sync, 0.5),
        ms(&sync, 0.99)
    );
}
