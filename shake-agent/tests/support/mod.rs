//! An event in a directory of its own, and the gateway's side of the rings with a crowd of users behind it.
#![allow(
    dead_code,
    missing_docs,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "each test binary uses a part of it"
)]

mod crowd;
mod front;
pub mod party;
pub mod proxy;

#[allow(unused_imports, reason = "each test binary uses a part of it")]
pub use crowd::Crowd;
pub use front::Front;

use rand::SeedableRng;
use rand::rngs::StdRng;
use shake_agent::audit::{self, Report};
use shake_agent::config::Config;
use shake_agent::counters::Counters;
use shake_agent::export::{self, Format, What};
use shake_agent::requests::{Judge, Rules};
use shake_agent::seed_file::SeedFile;
use shake_agent::seed_generate::{self, Request as Seed};
use shake_proto::handoff::record::{Ask, Reply, ReplyTo, Request, What as Asked};
use shake_proto::handoff::topology::{Direction, RECORDS_VERSION, Ring};
use shake_proto::reply::ClaimResult;
use shake_proto::request::Claim;
use shake_proto::wire::v1::reply::Kind;
use shake_rules::keys::{Key, KeyRing, Purpose};
use shake_rules::seed::{SeedRecord, SeedSum};
use shake_rules::show::Show;
use shake_rules::ticket::{Ticket, TicketKeys};
use shake_rules::{Cents, EventId, LedgerId, PacketId, SponsorId, UnixMillis, UserId};
use shm_queue::{Geometry, Mapping, RingGeometry, Side};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use strum::VariantArray as _;
use tempfile::TempDir;

pub const EVENT: EventId = EventId(7);
pub const FAR: UnixMillis = UnixMillis(u64::MAX);
/// Longer than anything here takes, and the end of what hangs.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub struct Event {
    pub directory: TempDir,
}

/// A movement of one user's balance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserLine {
    pub kind: String,
    pub cents: i64,
    pub balance: i64,
    pub number: u64,
}

impl Event {
    pub fn new(packets: u64) -> Self {
        Self::at(tempfile::tempdir().unwrap(), packets)
    }

    /// In a directory that no disk slows down; for tests with a simulated disk.
    pub fn in_memory(packets: u64) -> Self {
        Self::at(tempfile::tempdir_in("/dev/shm").unwrap(), packets)
    }

    fn at(directory: TempDir, packets: u64) -> Self {
        let event = Self { directory };
        let seed = Seed {
            event: EVENT,
            budget: Cents(packets * 50),
            count: packets,
            sponsors: [(SponsorId(1), 2), (SponsorId(2), 1)].into(),
            min: Cents(1),
            max: Cents(300),
            splits: seed_generate::Splits::default(),
        };
        let mut state = 3;
        seed_generate::generate(&seed, &event.seed(), false, || splitmix(&mut state), |_| {}).unwrap();
        std::fs::create_dir(event.path("certs")).unwrap();
        let file = event.path("certs").join(Purpose::Ticket.file_name());
        std::fs::write(file, ring().to_file(Purpose::Ticket)).unwrap();
        std::fs::write(event.path("agent.toml"), event.config_text()).unwrap();
        std::fs::write(event.path("show.toml"), SHOW).unwrap();
        event
    }

    /// With a seed of these records.
    pub fn with_records(records: &[SeedRecord]) -> Self {
        let event = Self::new(1);
        event.put_seed(records);
        event
    }

    /// Puts a seed of these records in the place of the one that was generated.
    pub fn put_seed(&self, records: &[SeedRecord]) {
        self.put_part(records, 0, 1);
    }

    /// The same for one part of several.
    pub fn put_part(&self, records: &[SeedRecord], part: u16, parts: u16) {
        let mut sum = SeedSum::default();
        records.iter().for_each(|record| sum.add(record));
        let mut bytes = sum.header(EVENT, part, parts).encode().to_vec();
        records.iter().for_each(|record| bytes.extend(record.encode()));
        std::fs::write(self.seed(), bytes).unwrap();
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn seed(&self) -> PathBuf {
        self.path("seed.bin")
    }

    pub fn ledger(&self) -> PathBuf {
        self.path("ledger.db")
    }

    pub fn records(&self) -> Vec<SeedRecord> {
        SeedFile::open(&self.seed()).unwrap().read(0, u64::MAX).unwrap()
    }

    fn config_text(&self) -> String {
        let path = |name| self.path(name).display().to_string();
        format!(
            "[queue]\npath = {:?}\n[ledger]\npath = {:?}\n[seed]\nfile = {:?}\n[certs]\ndirectory = {:?}\n[show]\nfile = {:?}\n[settlement]\nfile = {:?}\n[state]\ndirectory = {:?}\n[abuse]\nfile = {:?}\n[feed]\ngrants_in_hand = 8\n",
            path("rings"),
            path("ledger.db"),
            path("seed.bin"),
            path("certs"),
            path("show.toml"),
            path("settlement.log"),
            path("state"),
            path("blocks.json")
        )
    }

    /// Its ledger is on this server, and its agent has a state directory.
    pub fn put_on_server(&self, url: &str) {
        let settlement = self.path("settlement.log").display().to_string();
        let text = self
            .config_text()
            .replace("[ledger]\n", &format!("[ledger]\nurl = {url:?}\n"));
        std::fs::write(self.path("agent.toml"), text.replace(&settlement, "")).unwrap();
        std::fs::create_dir(self.path("state")).unwrap();
    }

    pub fn config(&self) -> Config {
        Config::parse(&self.config_text(), std::path::Path::new("")).unwrap()
    }

    pub fn audit(&self) -> Report {
        audit::audit(&self.ledger(), &self.seed(), |_, _| {}).unwrap()
    }

    /// Every user's lines in the outbox, in order.
    pub fn lines(&self) -> BTreeMap<u64, Vec<UserLine>> {
        let mut csv = Vec::new();
        export::export(&self.ledger().into(), What::Outbox, Format::Csv, &mut csv).unwrap();
        let csv = String::from_utf8(csv).unwrap();
        let mut rows = csv.lines().map(|row| row.split(',').collect::<Vec<_>>());
        let names = rows.next().unwrap();
        let mut lines: BTreeMap<u64, Vec<UserLine>> = BTreeMap::new();
        for row in rows {
            let field = |name| row[names.iter().position(|found| *found == name).unwrap()];
            let line = UserLine {
                kind: field("kind").to_owned(),
                cents: field("cents").parse().unwrap(),
                balance: field("balance_cents").parse().unwrap(),
                number: field("number").parse().unwrap(),
            };
            let user = field("user").trim_start_matches('u').parse().unwrap();
            lines.entry(user).or_default().push(line);
        }
        lines
    }

    /// Each user's lines have no gap, each balance is the last one and the line's cents, and the last one is what the user
    /// has.
    pub fn assert_lines_make(&self, balance_of: impl Fn(u64) -> i64) {
        for (user, lines) in self.lines() {
            let mut sum = 0;
            for (number, line) in (1..).zip(&lines) {
                sum += line.cents;
                assert_eq!((line.number, line.balance), (number, sum), "user {user}: {line:?}");
                assert!(line.balance >= 0, "user {user}: {line:?}");
            }
            assert_eq!(sum, balance_of(user), "the lines of user {user}: {lines:?}");
        }
    }

    pub fn assert_balanced(&self) -> Report {
        let report = self.audit();
        assert!(report.balanced, "{report}");
        report
    }
}

/// Everybody may win as much as there is room for.
pub const SHOW: &str = r#"
[event]
id = 7
name = "test"
[limits]
packets_per_user = 8
packets_per_sponsor = 8
[gifts]
budget_cents = 1000
[[sponsors]]
id = 1
name = "one"
[[sponsors]]
id = 2
name = "two"
[[phases]]
name = "all"
end_s = 1000000
weights = { red_packet = 1 }
"#;

pub fn show() -> Show {
    Show::parse(SHOW, UnixMillis(0)).unwrap()
}

/// A judge of this ledger whose draws are the same in each run.
pub fn judge(ledger: LedgerId, counters: Arc<Counters>) -> Judge {
    Judge::new(
        Rules::new(&show(), 0),
        ledger,
        &ring(),
        StdRng::seed_from_u64(7),
        counters,
    )
}

pub fn ring() -> KeyRing {
    KeyRing::of(Key::new(3, [7; 32]))
}

pub fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb)
}

/// What seals tickets of one ledger.
pub struct Tickets {
    pub keys: TicketKeys,
    ledger: Box<dyn Fn() -> LedgerId + Send>,
}

impl Tickets {
    pub fn of(ledger: LedgerId) -> Self {
        Self {
            keys: TicketKeys::new(&ring()),
            ledger: Box::new(move || ledger),
        }
    }

    /// Of the ledger that is named in the mapping once a ticket is made.
    pub fn of_mapping(mapping: Mapping) -> Self {
        Self {
            keys: TicketKeys::new(&ring()),
            ledger: Box::new(move || LedgerId(mapping.owner().expect("the agent has named it").identity)),
        }
    }

    pub fn ledger(&self) -> LedgerId {
        (self.ledger)()
    }

    pub fn seal(&self, ticket: &Ticket) -> Vec<u8> {
        let mut sealed = Vec::new();
        self.keys.seal(&self.ledger(), ticket, [5; 12], &mut sealed);
        sealed
    }
}

/// A ticket of ours.
pub fn ticket(keys: &Tickets, event: EventId, packet: PacketId, user: UserId, expires_at: UnixMillis) -> Vec<u8> {
    keys.seal(&Ticket {
        event,
        packet,
        user,
        sponsor: SponsorId(1),
        stage: 2,
        issued_at: UnixMillis(1),
        expires_at,
    })
}

pub fn claim(request_id: u64, user: UserId, ticket: Vec<u8>, at: UnixMillis) -> Request {
    let claim = Claim {
        ticket: ticket.into(),
        cookie: Default::default(),
    };
    ask(request_id, user, at, Asked::Claim(claim))
}

pub fn ask(request_id: u64, user: UserId, at: UnixMillis, what: Asked) -> Request {
    Request::Ask(Ask {
        reply_to: ReplyTo { request_id, epoch: 1 },
        user,
        at,
        what,
    })
}

/// What a reply says to a claim.
pub fn claimed(reply: &Reply) -> ClaimResult {
    match reply.kind.clone() {
        Some(Kind::Claim(reply)) => reply.try_into().unwrap(),
        other => panic!("no answer to a claim: {other:?}"),
    }
}

/// The geometry that a gateway with so many shards makes.
pub fn geometry(shards: u16) -> Geometry {
    let ring = |ring: Ring| RingGeometry {
        slots: ring.slots(),
        payload_bytes_max: ring.record_bytes_max(),
        producer: match ring.direction() {
            Direction::ToAgent => Side::Front,
            Direction::ToShard => Side::Back,
        },
    };
    Geometry {
        records: RECORDS_VERSION,
        rings: (0..shards)
            .flat_map(|_| Ring::VARIANTS.iter().copied().map(ring))
            .collect(),
        bells: shards,
        sleepers: 1,
    }
}
