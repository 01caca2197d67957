//! A ledger of any store, a judge, and what users ask.

use super::super::support::{EVENT, Tickets, ask, claim, ring, ticket};
use super::memory::Memory;
use crate::ledger::{Ledger, Look, Release, Seen, Sqlite, Standing, Store};
use crate::requests::{Answer, Judge, Origin, Rules};
use crate::seed_file::SeedFile;
use crate::tests::support::Event;
use rand::SeedableRng;
use rand::rngs::StdRng;
use shake_proto::handoff::record::{Gift, Issued, Request, What};
use shake_proto::request::{Grab, Send};
use shake_rules::code::CodeKeys;
use shake_rules::seed::{PacketKind, SeedRecord};
use shake_rules::winnings::WinLimits;
use shake_rules::{Cents, PacketId, SponsorId, UnixMillis, UserId};
use std::collections::BTreeMap;

/// How long tickets and shares live.
pub const LIFETIME_MS: u64 = 10_000;
/// When tickets end by themselves; the tests' time stays before it.
const FAR: UnixMillis = UnixMillis(1_000_000_000);
pub const PACKETS: u64 = 10;
pub const GIFT_BUDGET: Cents = Cents(70);

/// A kind of store, and where one of it lies.
pub trait Kind {
    type Store: Store;

    /// Opens what is there.
    fn open(&self) -> Ledger<Self::Store>;

    /// The seed of its event.
    fn seed(&self) -> SeedFile;
}

/// SQLite, on a disk that is none.
pub struct OnDisk(Event);

/// Maps.
pub struct InMemory(Event, pub Memory);

fn event() -> Event {
    let event = Event::in_memory(1);
    event.put_seed(&(0..PACKETS).map(record).collect::<Vec<_>>());
    event
}

impl OnDisk {
    pub fn new() -> Self {
        Self(event())
    }
}

impl InMemory {
    pub fn new() -> Self {
        Self(event(), Memory::default())
    }
}

impl Kind for OnDisk {
    type Store = Sqlite;

    fn open(&self) -> Ledger {
        Ledger::open(&self.0.ledger()).unwrap()
    }

    fn seed(&self) -> SeedFile {
        SeedFile::open(&self.0.seed()).unwrap()
    }
}

impl Kind for InMemory {
    type Store = Memory;

    fn open(&self) -> Ledger<Memory> {
        Ledger::on(self.1.clone()).unwrap()
    }

    fn seed(&self) -> SeedFile {
        SeedFile::open(&self.0.seed()).unwrap()
    }
}

/// Those of even index are plain, the others are split.
pub fn record(index: u64) -> SeedRecord {
    SeedRecord {
        packet: PacketId(500 + index),
        amount: Cents(30 + index),
        sponsor: SponsorId(1 + (index % 3 == 2) as u16),
        kind: if index.is_multiple_of(2) {
            PacketKind::Plain
        } else {
            PacketKind::Split { shares: 3 }
        },
    }
}

pub struct Scene<S> {
    pub ledger: Ledger<S>,
    pub judge: Judge,
    pub now: u64,
    keys: Tickets,
    codes: CodeKeys,
    pub lane: i64,
    pub released: u64,
}

impl<S: Store> Scene<S> {
    /// With its seed bound, and the rings of one shard.
    pub fn of(mut ledger: Ledger<S>, seed: &SeedFile) -> Self {
        let now = 1_000;
        ledger.bind_seed(seed, GIFT_BUDGET, UnixMillis(now)).unwrap();
        ledger.draw_gifts(i64::MAX, 0, UnixMillis(now)).unwrap();
        let record = ledger
            .transaction(UnixMillis(now), |batch| batch.load_lane(1, 0))
            .unwrap();
        let identity = ledger.identity().unwrap();
        let rules = Rules {
            event: EVENT,
            part: 2,
            limits: WinLimits {
                packets_per_user: 3,
                packets_per_sponsor: 2,
            },
            ticket_lifetime_ms: LIFETIME_MS,
            share_lifetime_ms: LIFETIME_MS,
        };
        Self {
            ledger,
            judge: Judge::new(rules, identity, &ring(), StdRng::seed_from_u64(5), Default::default()),
            now,
            keys: Tickets::of(identity),
            codes: CodeKeys::new(&ring()),
            lane: record.lane,
            released: record.grants_released,
        }
    }

    pub fn at(&self) -> UnixMillis {
        UnixMillis(self.now)
    }

    /// Releases the next packets of the seed.
    pub fn release(&mut self, count: u64) {
        let (lane, first) = (self.lane, self.released);
        self.released = (first + count).min(PACKETS);
        let releases: Vec<Release> = (first..self.released)
            .map(|index| Release {
                seed_index: index,
                record: record(index),
                lane,
                grant_position: index,
            })
            .collect();
        let released = self.released;
        let store = |batch: &mut crate::ledger::Batch<'_, S>| {
            batch.release(&releases);
            let mut record = batch.load_lane(1, 0)?;
            record.grants_released = released;
            batch.store_lane(&record);
            Ok(())
        };
        self.ledger.transaction(UnixMillis(self.now), store).unwrap();
    }

    /// All requests in one transaction, and those that wait for another agent in as many more as it takes.
    pub fn hear(&mut self, requests: &[Request]) -> Vec<Answer> {
        let (mut answers, mut waiting) = self.hear_once(requests, 0..requests.len());
        while !waiting.is_empty() {
            std::thread::sleep(std::time::Duration::from_millis(1));
            let (more, left) = self.hear_once(requests, waiting);
            answers.extend(more);
            waiting = left;
        }
        answers.into_values().collect()
    }

    /// These of the requests in one transaction. Gives the answers, and which wait.
    pub fn hear_once(
        &mut self,
        requests: &[Request],
        which: impl IntoIterator<Item = usize>,
    ) -> (BTreeMap<usize, Answer>, Vec<usize>) {
        let (origin, now) = (self.origin(), self.at());
        let (ledger, judge, mut answers) = (&mut self.ledger, &mut self.judge, Vec::new());
        let heard = which.into_iter().map(|at| (at, origin, &requests[at]));
        let waiting = ledger.transaction(now, |batch| judge.hear(batch, heard, now, &mut answers));
        (answers.into_iter().collect(), waiting.unwrap())
    }

    pub fn expire(&mut self) -> usize {
        let (now, judge) = (self.at(), &mut self.judge);
        self.ledger.transaction(now, |batch| judge.expire(batch, now)).unwrap()
    }

    pub fn origin(&self) -> Origin {
        Origin {
            lane: self.lane,
            grants_pushed: self.released,
            is_whole: true,
        }
    }

    pub fn issue(&self, packet: u64, user: u64) -> Request {
        Request::Issued(Issued {
            packet: record(packet).packet,
            user: UserId(user),
            stage: 1,
            at: self.at(),
            ends: Some(self.at().plus_ms(LIFETIME_MS)),
        })
    }

    pub fn claim(&self, packet: u64, user: u64) -> Request {
        let sealed = ticket(&self.keys, EVENT, record(packet).packet, UserId(user), FAR);
        claim(1, UserId(user), sealed, self.at())
    }

    pub fn grab(&self, packet: PacketId, user: u64) -> Request {
        let code = self.codes.code(&self.keys.ledger(), packet).to_vec().into();
        ask(1, UserId(user), self.at(), What::Grab(Grab { code }))
    }

    pub fn send(&self, user: u64, key: u8, cents: u64, shares: u16, named: &[u64]) -> Request {
        let send = Send {
            key: [key; 16],
            total: Cents(cents),
            shares,
            recipients: named.iter().copied().map(UserId).collect(),
        };
        ask(1, UserId(user), self.at(), What::Send(send))
    }

    pub fn gift(&self, key: u8, cents: u64, named: &[u64]) -> Request {
        Request::Gift(Gift {
            key: [key; 16],
            total: Cents(cents),
            recipients: named.iter().copied().map(UserId).collect(),
            stage: 1,
            at: self.at(),
        })
    }

    /// The id of the packet of this number that users and the event made.
    pub fn made(number: u64) -> PacketId {
        PacketId(1 << 63 | 2 << 47 | number)
    }

    /// All that can be seen of these users, and of all packets that there may be.
    pub fn seen(&self, users: impl Iterator<Item = u64>) -> (Standing, Vec<Seen>) {
        let packets = (0..PACKETS).map(|index| record(index).packet);
        let packets = packets.chain((1..=self.ledger.standing().numbers.made).map(Self::made));
        let mut looks: Vec<Look> = packets.map(Look::Packet).collect();
        for user in users.map(UserId) {
            looks.push(Look::Wallet(user, 20));
            looks.push(Look::Offers(user, self.at()));
        }
        let seen = looks.iter().map(|look| self.ledger.look(look).unwrap());
        (self.ledger.standing().clone(), seen.collect())
    }
}
