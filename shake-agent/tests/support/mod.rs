//! An event in a directory of its own, and the gateway's side of the rings with a crowd of users behind it.
#![allow(
    dead_code,
    missing_docs,
    clippy::unwrap_used,
    reason = "each test binary uses a part of it"
)]

use rand::SeedableRng;
use rand::rngs::StdRng;
use shake_agent::audit::{self, Report};
use shake_agent::config::Config;
use shake_agent::counters::Counters;
use shake_agent::requests::{Judge, Rules};
use shake_agent::seed_file::SeedFile;
use shake_agent::seed_generate::{self, Request as Seed};
use shake_proto::handoff::record::{Ask, Grant, Issued, Notice, Reply, ReplyTo, Request, What};
use shake_proto::handoff::topology::{Direction, Ring};
use shake_proto::reply::{ClaimResult, Reason};
use shake_proto::request::Claim;
use shake_proto::wire::v1::reply::Kind;
use shake_rules::keys::{Key, KeyRing, Purpose};
use shake_rules::seed::{SeedRecord, SeedSum};
use shake_rules::show::Show;
use shake_rules::ticket::{Ticket, TicketKeys};
use shake_rules::{Cents, EventId, PacketId, SponsorId, UnixMillis, UserId};
use shm_queue::{Attachment, Consumer, Geometry, Mapping, Producer, RingGeometry, Side, Sleeper};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

pub const EVENT: EventId = EventId(7);
pub const FAR: UnixMillis = UnixMillis(u64::MAX);
/// Longer than anything here takes, and the end of what hangs.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub struct Event {
    pub directory: TempDir,
}

impl Event {
    pub fn new(packets: u64) -> Self {
        let directory = tempfile::tempdir().unwrap();
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
        let mut sum = SeedSum::default();
        records.iter().for_each(|record| sum.add(record));
        let mut bytes = sum.header(EVENT, 0, 1).encode().to_vec();
        records.iter().for_each(|record| bytes.extend(record.encode()));
        std::fs::write(event.seed(), bytes).unwrap();
        event
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
            "[queue]\npath = {:?}\n[ledger]\npath = {:?}\n[seed]\nfile = {:?}\n[certs]\ndirectory = {:?}\n[show]\nfile = {:?}\n[settlement]\nfile = {:?}\n[feed]\ngrants_in_hand = 8\n",
            path("rings"),
            path("ledger.db"),
            path("seed.bin"),
            path("certs"),
            path("show.toml"),
            path("settlement.log")
        )
    }

    pub fn config(&self) -> Config {
        Config::parse(&self.config_text(), std::path::Path::new("")).unwrap()
    }

    pub fn audit(&self) -> Report {
        audit::audit(&self.ledger(), &self.seed(), |_, _| {}).unwrap()
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

/// A judge whose draws are the same in each run.
pub fn judge(counters: Arc<Counters>) -> Judge {
    Judge::new(Rules::new(&show(), 0), &ring(), StdRng::seed_from_u64(7), counters)
}

pub fn ring() -> KeyRing {
    KeyRing::of(Key::new(3, [7; 32]))
}

pub fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb)
}

/// A ticket of ours.
pub fn ticket(keys: &TicketKeys, event: EventId, packet: PacketId, user: UserId, expires_at: UnixMillis) -> Vec<u8> {
    let content = Ticket {
        event,
        packet,
        user,
        sponsor: SponsorId(1),
        stage: 2,
        expires_at,
    };
    let mut sealed = Vec::new();
    keys.seal(&content, [5; 12], &mut sealed);
    sealed
}

pub fn claim(request_id: u64, user: UserId, ticket: Vec<u8>, at: UnixMillis) -> Request {
    let claim = Claim {
        ticket: ticket.into(),
        cookie: Default::default(),
    };
    ask(request_id, user, at, What::Claim(claim))
}

pub fn ask(request_id: u64, user: UserId, at: UnixMillis, what: What) -> Request {
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
        rings: (0..shards).flat_map(|_| Ring::ALL.map(ring)).collect(),
        bells: shards,
        sleepers: 1,
    }
}

struct FrontLane {
    requests: Producer,
    replies: Consumer,
    grants: Consumer,
    notices: Consumer,
}

/// The gateway's side of the rings.
pub struct Front {
    lanes: Vec<FrontLane>,
    sleeper: Sleeper,
    pub attachment: Attachment,
    pub keys: TicketKeys,
}

impl Front {
    pub fn new(event: &Event, shards: u16) -> Self {
        let mapping = Mapping::open_or_create(&event.path("rings"), &geometry(shards)).unwrap();
        let attachment = mapping.attach(Side::Front, 1).unwrap();
        let lane = |shard| FrontLane {
            requests: attachment.producer(Ring::Request.index(shard)).unwrap(),
            replies: attachment.consumer(Ring::Reply.index(shard)).unwrap(),
            grants: attachment.consumer(Ring::Grant.index(shard)).unwrap(),
            notices: attachment.consumer(Ring::Notice.index(shard)).unwrap(),
        };
        let mut front = Self {
            lanes: (0..shards).map(lane).collect(),
            sleeper: attachment.sleeper(0).unwrap(),
            attachment,
            keys: TicketKeys::new(&ring()),
        };
        for shard in 0..front.lanes.len() {
            let grants_taken = front.lanes[shard].grants.position();
            front.push(shard, &Request::ShardStarted { epoch: 1, grants_taken });
        }
        front
    }

    pub fn shards(&self) -> usize {
        self.lanes.len()
    }

    pub fn push(&mut self, shard: usize, request: &Request) {
        let mut bytes = Vec::new();
        request.encode(&mut bytes);
        self.push_bytes(shard, &bytes);
    }

    pub fn push_bytes(&mut self, shard: usize, bytes: &[u8]) {
        self.lanes[shard].requests.push(bytes).unwrap();
        self.sleeper.notify();
    }

    /// Takes every grant there is, as a shard does before it issues them.
    pub fn take_grants(&mut self, shard: usize) -> Vec<Grant> {
        let ring = &mut self.lanes[shard].grants;
        let mut grants = Vec::new();
        ring.read_batch(usize::MAX, |_, bytes| grants.push(Grant::decode(bytes).unwrap()))
            .unwrap();
        ring.commit(ring.read_position()).unwrap();
        grants
    }

    pub fn replies(&mut self, shard: usize) -> Vec<Reply> {
        let ring = &mut self.lanes[shard].replies;
        let mut replies = Vec::new();
        ring.read_batch(usize::MAX, |_, bytes| replies.push(Reply::decode(bytes).unwrap()))
            .unwrap();
        ring.commit(ring.read_position()).unwrap();
        replies
    }

    pub fn notices(&mut self, shard: usize) -> Vec<Notice> {
        let ring = &mut self.lanes[shard].notices;
        let mut notices = Vec::new();
        ring.read_batch(usize::MAX, |_, bytes| notices.push(Notice::decode(bytes).unwrap()))
            .unwrap();
        ring.commit(ring.read_position()).unwrap();
        notices
    }

    /// The one reply to come.
    pub fn reply(&mut self, shard: usize) -> Reply {
        let begun = Instant::now();
        loop {
            if let Some(reply) = self.replies(shard).pop() {
                return reply;
            }
            assert!(begun.elapsed() < PATIENCE, "no reply");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Those who come too late have numbers from here on.
const LATE_USERS: u64 = 1_000_000_000;

/// Users who win and claim all that is granted, never believe a second answer that differs, and ask again when there was
/// none.
pub struct Crowd {
    pub front: Front,
    next_request: u64,
    asked: BTreeMap<u64, (PacketId, UserId)>,
    /// Issued to this user, and no answer yet.
    pub waiting: BTreeMap<PacketId, UserId>,
    /// Acknowledged.
    pub won: BTreeMap<PacketId, (UserId, Cents)>,
    /// Came too late with a ticket for the same packet, and were not told yet.
    late: BTreeMap<PacketId, UserId>,
}

impl Crowd {
    pub fn new(front: Front) -> Self {
        Self {
            front,
            next_request: 0,
            asked: BTreeMap::new(),
            waiting: BTreeMap::new(),
            won: BTreeMap::new(),
            late: BTreeMap::new(),
        }
    }

    /// Wins and claims what is granted, and takes what is answered.
    pub fn step(&mut self) {
        for shard in 0..self.front.shards() {
            for grant in self.front.take_grants(shard) {
                assert_eq!(grant.event, EVENT);
                // Four packets each.
                let user = UserId((grant.packet.0 & 0xffff_ffff) / 4 + 100);
                assert_eq!(self.waiting.insert(grant.packet, user), None, "granted twice");
                assert!(!self.won.contains_key(&grant.packet), "granted again");
                let issued = Issued {
                    packet: grant.packet,
                    user,
                    stage: 2,
                    at: UnixMillis(1),
                };
                self.front.push(shard, &Request::Issued(issued));
                // Through another shard when there is one, so that some claims overtake the record.
                self.ask(shard + 1, grant.packet, user);
            }
        }
        for shard in 0..self.front.shards() {
            for reply in self.front.replies(shard) {
                self.take(&reply);
            }
        }
    }

    /// Claims again what was never answered.
    pub fn ask_again(&mut self) {
        let unanswered: Vec<_> = self
            .waiting
            .iter()
            .chain(&self.late)
            .map(|(&packet, &user)| (packet, user))
            .collect();
        for (packet, user) in unanswered {
            self.ask(packet.0 as usize, packet, user);
        }
    }

    fn ask(&mut self, shard: usize, packet: PacketId, user: UserId) {
        let sealed = ticket(&self.front.keys, EVENT, packet, user, FAR);
        self.next_request += 1;
        self.asked.insert(self.next_request, (packet, user));
        let shard = shard % self.front.shards();
        self.front
            .push(shard, &claim(self.next_request, user, sealed, UnixMillis(1)));
    }

    fn take(&mut self, reply: &Reply) {
        let (asked_packet, user) = self.asked[&reply.reply_to.request_id];
        match claimed(reply) {
            ClaimResult::Opened { packet, amount, .. } => {
                assert_eq!(packet, asked_packet);
                self.waiting.remove(&packet);
                let earlier = self.won.insert(packet, (user, amount));
                match earlier {
                    Some(earlier) => assert_eq!(earlier, (user, amount), "another answer for {packet}"),
                    // Somebody else, with a ticket for the same packet, comes too late for good.
                    None => {
                        let other = UserId(user.0 + LATE_USERS);
                        self.late.insert(packet, other);
                        self.ask(0, packet, other);
                    }
                }
            }
            ClaimResult::Refused(Reason::PacketTaken) => {
                assert!(user.0 >= LATE_USERS, "{asked_packet} was taken from {user}");
                self.late.remove(&asked_packet);
            }
            other => panic!("{asked_packet}: {other:?}"),
        }
    }

    /// So many packets are won, and everybody else who asked for them was told.
    pub fn is_done(&self, packets: usize) -> bool {
        self.won.len() == packets && self.late.is_empty()
    }

    /// Steps until `done`, asking again now and then.
    pub fn until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        let begun = Instant::now();
        let mut asked = Instant::now();
        loop {
            self.step();
            if done(self) {
                return;
            }
            if asked.elapsed() > Duration::from_millis(300) {
                asked = Instant::now();
                self.ask_again();
            }
            assert!(
                begun.elapsed() < PATIENCE,
                "not in time: {what}; won {}, waiting for {:?}",
                self.won.len(),
                self.waiting
            );
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Every answer that was given stands in the ledger.
    pub fn assert_in_ledger(&self, event: &Event) {
        let connection = shake_agent::ledger::open_read_only(&event.ledger()).unwrap();
        let sql = "SELECT packet, user, cents FROM packets WHERE state = 3";
        let mut statement = connection.prepare(sql).unwrap();
        let rows = statement.query_map([], |row| {
            let (packet, user, cents): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
            Ok((PacketId(packet as u64), (UserId(user as u64), Cents(cents as u64))))
        });
        let opened: BTreeMap<_, _> = rows.unwrap().collect::<Result<_, _>>().unwrap();
        for (packet, answer) in &self.won {
            assert_eq!(opened.get(packet), Some(answer), "{packet} was acknowledged");
        }
    }
}
