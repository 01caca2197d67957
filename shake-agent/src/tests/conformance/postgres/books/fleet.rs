//! An event of two parts whose agents do all that agents do.

use super::super::{IDENTITY, INSTALLATION, PARTS};
use crate::audit::fleet::{Report, audit_shared};
use crate::ledger::{Batch, Ledger, PRIMARY_MAX, Place, Postgres, Release, init};
use crate::requests::{Judge, Origin, Rules};
use crate::seed_draw::{Request as Draw, Splits};
use crate::seed_file::SeedFile;
use crate::seed_fleet::{self, file_name};
use crate::tests::support::{EVENT, FAR, Tickets, ask, claim, ring, show, splitmix, ticket};
use local_postgres::{AGENT, Server};
use rand::SeedableRng;
use rand::rngs::StdRng;
use shake_proto::handoff::record::{Gift, Issued, Request, What as Asked};
use shake_proto::request::{Grab, Send};
use shake_rules::code::CodeKeys;
use shake_rules::seed::{PacketKind, SeedRecord};
use shake_rules::{Cents, PacketId, SponsorId, UnixMillis, UserId};
use std::path::PathBuf;
use tempfile::TempDir;
use tokio_postgres::Config;

const NOW: UnixMillis = UnixMillis(1_000);
pub const GIFTS: Cents = Cents(100);
/// In the whole seed.
pub const COUNT: u64 = 240;

/// The seed of an event of two parts, in a directory with its manifest, and a database with the tables for it.
pub struct Fleet {
    seeds: TempDir,
    /// Of who may do all.
    pub config: Config,
    agents: Config,
}

impl Fleet {
    pub fn new(server: &Server, name: &str) -> Self {
        let seeds = tempfile::tempdir().unwrap();
        let draw = Draw {
            event: EVENT,
            budget: Cents(90 * COUNT),
            count: COUNT,
            sponsors: [(SponsorId(1), 2), (SponsorId(2), 1)].into(),
            min: Cents(20),
            max: Cents(300),
            splits: Splits {
                packets: COUNT / 4,
                shares: 3..=3,
            },
        };
        let mut state = 5;
        let random = || splitmix(&mut state);
        seed_fleet::generate(&draw, PARTS, &seeds.path().join("seeds"), false, None, random, |_| {}).unwrap();
        let config = server.database(name).unwrap();
        let agents = server.agent_config(name);
        let fleet = Self { seeds, config, agents };
        let headers: Vec<_> = (0..PARTS).map(|part| *fleet.seed(part).header()).collect();
        init(&fleet.config, IDENTITY, &headers, AGENT).unwrap();
        fleet
    }

    pub fn directory(&self) -> PathBuf {
        self.seeds.path().join("seeds")
    }

    fn seed(&self, part: u16) -> SeedFile {
        SeedFile::open(&self.directory().join(file_name(part))).unwrap()
    }

    pub fn agent(&self, part: u16) -> Agent {
        Agent::of(
            Ledger::on(Postgres::open(&self.agents, part, INSTALLATION).unwrap()).unwrap(),
            &self.seed(part),
        )
    }

    pub fn audit(&self) -> Report {
        self.audit_of(&self.config)
    }

    pub fn audit_of(&self, config: &Config) -> Report {
        audit_shared(&self.directory(), &place(config), None, |_, _, _| {}).unwrap()
    }

    /// Agents of both parts have done all that agents do, each also with packets and users of the other.
    pub fn played(server: &Server, name: &str) -> Self {
        let fleet = Self::new(server, name);
        let [mut a, mut b] = [fleet.agent(0), fleet.agent(1)];
        a.release(20);
        b.release(20);
        let (of_a, of_b) = (a.packets.clone(), b.packets.clone());
        let split = |packets: &[SeedRecord]| {
            packets
                .iter()
                .position(|packet| packet.kind != PacketKind::Plain)
                .unwrap()
        };
        let (shared_a, shared_b) = (of_a[split(&of_a)].packet, of_b[split(&of_b)].packet);
        // Every user's lines lie in both parts.
        for user in 1..=3_u64 {
            let (at_a, at_b) = (b.plain(user as usize), a.plain(user as usize));
            a.hear(&[a.claim(at_a, user)]);
            b.hear(&[b.claim(at_b, user)]);
        }
        a.hear(&[a.claim(shared_b, 7), a.gift(1, 9, &[1, 2])]);
        b.hear(&[b.claim(shared_a, 8), b.grab(shared_b, 1), b.gift(2, 4, &[3])]);
        a.hear(&[a.grab(shared_b, 2), a.send(1, 1, 5, 2)]);
        b.hear(&[b.grab(a.made(2), 3), b.send(2, 1, 6, 1), b.grab(a.made(1), 2)]);
        a.hear(&[a.grab(b.made(1), 3), a.issue(a.plain(5), 9)]);
        b.void(b.plain(6));
        b.lose(b.plain(7));
        fleet
    }
}

pub fn place(config: &Config) -> Place {
    Place::Server {
        access: Box::new(config.into()),
        primary_max: Some(PRIMARY_MAX),
    }
}

/// An agent of a part, and the packets that it released.
pub struct Agent {
    pub ledger: Ledger<Postgres>,
    judge: Judge,
    keys: Tickets,
    codes: CodeKeys,
    seed: SeedFile,
    pub part: u16,
    lane: i64,
    pub packets: Vec<SeedRecord>,
}

impl Agent {
    fn of(mut ledger: Ledger<Postgres>, seed: &SeedFile) -> Self {
        ledger.bind_seed(seed, GIFTS, NOW).unwrap();
        // Half of what the first of them funded, for the gifts of each.
        ledger.draw_gifts(GIFTS.0 as i64 / 2, 0, NOW).unwrap();
        let part = seed.header().part;
        let lane = ledger.transaction(NOW, |batch| batch.load_lane(1, 0)).unwrap().lane;
        let rules = Rules::new(&show(), part);
        let draws = StdRng::seed_from_u64(part.into());
        Self {
            ledger,
            judge: Judge::new(rules, IDENTITY, &ring(), draws, Default::default()),
            keys: Tickets::of(IDENTITY),
            codes: CodeKeys::new(&ring()),
            seed: SeedFile::open(seed.path()).unwrap(),
            part,
            lane,
            packets: Vec::new(),
        }
    }

    /// Releases so many packets more, of each sponsor in the order of the seed.
    pub fn release(&mut self, count: u64) {
        let first = self.packets.len() as u64;
        let records = self.seed.read(first, count).unwrap();
        let releases = (first..).zip(&records).map(|(index, record)| Release {
            seed_index: index,
            record: *record,
            lane: self.lane,
            grant_position: index,
        });
        let releases: Vec<Release> = releases.collect();
        let lane = self.lane;
        let release = |batch: &mut Batch<'_, Postgres>| {
            batch.release(&releases);
            let mut record = batch.load_lane(1, 0)?;
            assert_eq!(record.lane, lane);
            record.grants_released = first + count;
            batch.store_lane(&record);
            Ok(())
        };
        self.ledger.transaction(NOW, release).unwrap();
        self.packets.extend(records);
    }

    /// One of its packets that is not shared.
    fn plain(&self, nth: usize) -> PacketId {
        let mut plain = self.packets.iter().filter(|record| record.kind == PacketKind::Plain);
        plain.nth(nth).unwrap().packet
    }

    /// The packet of this number that users sent or the event gave here.
    pub fn made(&self, number: u64) -> PacketId {
        PacketId(1 << 63 | u64::from(self.part) << 47 | number)
    }

    /// All requests, those that wait for the other agent as often as it takes.
    pub fn hear(&mut self, requests: &[Request]) {
        let origin = Origin {
            lane: self.lane,
            grants_pushed: self.packets.len() as u64,
            is_whole: true,
        };
        let mut waiting: Vec<usize> = (0..requests.len()).collect();
        while !waiting.is_empty() {
            let (ledger, judge) = (&mut self.ledger, &mut self.judge);
            let heard = waiting.iter().map(|&at| (at, origin, &requests[at]));
            let left = ledger.transaction(NOW, |batch| judge.hear(batch, heard, NOW, &mut Vec::new()));
            waiting = left.unwrap();
        }
    }

    pub fn claim(&self, packet: PacketId, user: u64) -> Request {
        claim(
            1,
            UserId(user),
            ticket(&self.keys, EVENT, packet, UserId(user), FAR),
            NOW,
        )
    }

    pub fn grab(&self, packet: PacketId, user: u64) -> Request {
        let code = self.codes.code(&IDENTITY, packet).to_vec().into();
        ask(1, UserId(user), NOW, Asked::Grab(Grab { code }))
    }

    pub fn send(&self, user: u64, key: u64, cents: u64, shares: u16) -> Request {
        let send = Send {
            key: (u128::from(self.part) << 64 | u128::from(key)).to_be_bytes(),
            total: Cents(cents),
            shares,
            recipients: Vec::new(),
        };
        ask(1, UserId(user), NOW, Asked::Send(send))
    }

    fn gift(&self, key: u8, cents: u64, named: &[u64]) -> Request {
        Request::Gift(Gift {
            key: [key; 16],
            total: Cents(cents),
            recipients: named.iter().copied().map(UserId).collect(),
            stage: 1,
            at: NOW,
        })
    }

    fn issue(&self, packet: PacketId, user: u64) -> Request {
        Request::Issued(Issued {
            packet,
            user: UserId(user),
            stage: 1,
            at: NOW,
            ends: None,
        })
    }

    fn void(&mut self, packet: PacketId) {
        let void = |batch: &mut Batch<'_, Postgres>| {
            batch.load_packet(packet)?;
            let held = batch.held(&[packet]);
            batch.void_packets(&held);
            Ok(())
        };
        self.ledger.transaction(NOW, void).unwrap();
    }

    fn lose(&mut self, packet: PacketId) {
        let lose = |batch: &mut Batch<'_, Postgres>| {
            batch.load_packet(packet)?;
            let held = batch.held(&[packet]);
            batch.lose_packets(&held);
            Ok(())
        };
        self.ledger.transaction(NOW, lose).unwrap();
    }
}
