//! A ledger and a judge to play with, without rings: packets of even index are plain, the others are split.

use super::support::{EVENT, Event, Tickets, ask, claim, claimed, ring, ticket};
use crate::ledger::{Batch, Ledger, LedgerError, Release, SPAN_OVER_MS};
use crate::requests::{Answer, Judge, Origin, Rules};
use crate::seed_file::SeedFile;
use rand::SeedableRng;
use rand::rngs::StdRng;
use shake_proto::handoff::record::{Gift, Notice, Request, What};
use shake_proto::reply::{ClaimResult, GrabResult, SendResult, ViewResult, WalletResult};
use shake_proto::request::{Grab, PacketView, Send};
use shake_proto::wire::v1::reply::Kind;
use shake_rules::code::CodeKeys;
use shake_rules::seed::{PacketKind, SeedRecord};
use shake_rules::winnings::WinLimits;
use shake_rules::{Cents, EventId, PacketId, SponsorId, UnixMillis, UserId};
use std::collections::{BTreeMap, BTreeSet};

pub const PACKETS: u64 = 12;
pub const USERS: u64 = 5;
/// How long tickets and shares live.
pub const DAY: u64 = 10_000;
/// When tickets end; the tests' time stays before it.
pub const EXPIRY: UnixMillis = UnixMillis(1_000_000_000);

pub struct Real {
    pub event: Event,
    pub records: Vec<SeedRecord>,
    pub judge: Judge,
    pub now: u64,
    /// Grants pushed in this mapping.
    pub grants: u64,
    pub gift_budget: u64,
    ledger: Option<Ledger>,
    keys: Tickets,
    codes: CodeKeys,
    mapping: u64,
    lane: i64,
}

fn bind(event: &Event, gift_budget: u64) -> Ledger {
    let mut ledger = Ledger::open(&event.ledger()).unwrap();
    let seed = SeedFile::open(&event.seed()).unwrap();
    ledger.bind_seed(&seed, Cents(gift_budget), UnixMillis(1)).unwrap();
    ledger
}

fn record(index: u64) -> SeedRecord {
    SeedRecord {
        packet: PacketId(500 + index),
        amount: Cents(30 + index),
        sponsor: SponsorId(1),
        kind: if index.is_multiple_of(2) {
            PacketKind::Plain
        } else {
            PacketKind::Split { shares: 3 }
        },
    }
}

impl Real {
    pub fn new() -> Self {
        let records: Vec<_> = (0..PACKETS).map(record).collect();
        let rules = Rules {
            event: EVENT,
            part: 0,
            limits: WinLimits {
                packets_per_user: 3,
                packets_per_sponsor: 8,
            },
            ticket_lifetime_ms: DAY,
            share_lifetime_ms: DAY,
        };
        let event = Event::with_records(&records);
        let identity = bind(&event, 70).identity().unwrap();
        let judge = Judge::new(rules, identity, &ring(), StdRng::seed_from_u64(5), Default::default());
        let mut real = Self {
            event,
            records,
            judge,
            now: 1_000,
            grants: 0,
            gift_budget: 70,
            ledger: None,
            keys: Tickets::of(identity),
            codes: CodeKeys::new(&ring()),
            mapping: 0,
            lane: 0,
        };
        real.restart();
        real
    }

    pub fn restart(&mut self) {
        self.ledger = None;
        let mut ledger = bind(&self.event, self.gift_budget);
        let record = ledger
            .transaction(UnixMillis(self.now), |batch| batch.load_lane(self.mapping, 0))
            .unwrap();
        (self.lane, self.grants) = (record.lane, record.grants_released);
        self.ledger = Some(ledger);
    }

    pub fn close(&mut self) {
        self.ledger = None;
    }

    /// Everything is asked for at once, and the machine dies before the commit.
    pub fn crash(&mut self) {
        let (now, origin) = (UnixMillis(self.now), self.origin());
        let mut requests = Vec::new();
        for user in 1..=USERS {
            for record in &self.records {
                let sealed = ticket(&self.keys, EVENT, record.packet, UserId(user), EXPIRY);
                requests.push(claim(1, UserId(user), sealed, now));
                requests.push(self.grab_request(record.packet, user));
            }
        }
        let judge = &mut self.judge;
        let outcome = self.ledger.as_mut().unwrap().transaction(now, |batch| {
            judge.hear(
                batch,
                requests.iter().map(|request| (0, origin, request)),
                now,
                &mut Vec::new(),
            )?;
            Err::<(), _>(LedgerError::Failed("the power is gone".into()))
        });
        assert!(outcome.is_err());
        self.restart();
    }

    pub fn ledger(&self) -> &Ledger {
        self.ledger.as_ref().unwrap()
    }

    fn origin(&self) -> Origin {
        Origin {
            lane: self.lane,
            grants_pushed: self.grants,
            is_whole: true,
        }
    }

    pub fn transaction<T>(&mut self, work: impl FnOnce(&mut Batch<'_>, &mut Judge) -> T) -> T {
        let (ledger, judge) = (self.ledger.as_mut().unwrap(), &mut self.judge);
        ledger
            .transaction(UnixMillis(self.now), |batch| Ok(work(batch, judge)))
            .unwrap()
    }

    pub fn release(&mut self, index: u64) {
        let release = Release {
            seed_index: index,
            record: self.records[index as usize],
            lane: self.lane,
            grant_position: self.grants,
        };
        self.grants += 1;
        let (grants, mapping) = (self.grants, self.mapping);
        self.transaction(|batch, _| {
            batch.release([&release]);
            let mut record = batch.load_lane(mapping, 0).unwrap();
            record.grants_released = grants;
            batch.store_lane(&record);
        });
    }

    pub fn new_mapping(&mut self) {
        self.mapping += 1;
        let mapping = self.mapping;
        let record = self.transaction(|batch, _| {
            let old = batch.held_of_other_mappings(mapping).unwrap();
            batch.lose_packets(&old);
            batch.load_lane(mapping, 0).unwrap()
        });
        (self.lane, self.grants) = (record.lane, record.grants_released);
    }

    pub fn ask(&mut self, request: &Request) -> Answer {
        self.ask_all(std::slice::from_ref(request)).remove(0)
    }

    /// All in one commit. What is asked later than now is judged then.
    pub fn ask_all(&mut self, requests: &[Request]) -> Vec<Answer> {
        let (origin, now) = (self.origin(), UnixMillis(self.now));
        let judged_at = |request: &Request| match request {
            Request::Ask(ask) => ask.at.max(now),
            _ => now,
        };
        let mut answers = Vec::new();
        self.transaction(|batch, judge| {
            let mut first = 0;
            for requests in requests.chunk_by(|one, next| judged_at(one) == judged_at(next)) {
                let of_batch = (first..).zip(requests).map(|(at, request)| (at, origin, request));
                judge
                    .hear(batch, of_batch, judged_at(&requests[0]), &mut answers)
                    .unwrap();
                first += requests.len();
            }
        });
        let mut answers: BTreeMap<usize, Answer> = answers.into_iter().collect();
        for (at, request) in requests.iter().enumerate() {
            if let Request::Ask(ask) = request
                && ask.what.kind().only_reads()
            {
                let ledger = self.ledger.as_ref().unwrap();
                answers.insert(at, self.judge.show(ledger, ask, judged_at(request)).unwrap());
            }
        }
        answers.into_values().collect()
    }

    /// So much time passes with a commit now and then.
    pub fn pass(&mut self, ms: u64) {
        let end = self.now + ms;
        while self.now < end {
            self.now = (self.now + SPAN_OVER_MS).min(end);
            self.transaction(|_, _| ());
        }
    }

    pub fn expire(&mut self) -> usize {
        let now = UnixMillis(self.now);
        self.transaction(|batch, judge| judge.expire(batch, now).unwrap())
    }

    pub fn claim(&mut self, event: EventId, packet: usize, user: u64, asking: u64, at: UnixMillis) -> ClaimResult {
        let sealed = ticket(&self.keys, event, self.records[packet].packet, UserId(user), EXPIRY);
        claimed(&self.ask(&claim(1, UserId(asking), sealed, at)).reply.unwrap())
    }

    pub fn claim_request(&self, packet: usize, user: u64) -> Request {
        let sealed = ticket(&self.keys, EVENT, self.records[packet].packet, UserId(user), EXPIRY);
        claim(1, UserId(user), sealed, UnixMillis(self.now))
    }

    pub fn request(&self, user: u64, what: What) -> Request {
        ask(1, UserId(user), UnixMillis(self.now), what)
    }

    pub fn send_request(&self, user: u64, key: u8, cents: u64, shares: u16, named: &[u64]) -> Request {
        let send = Send {
            key: [key; 16],
            total: Cents(cents),
            shares,
            recipients: named.iter().copied().map(UserId).collect(),
        };
        self.request(user, What::Send(send))
    }

    pub fn send(
        &mut self,
        user: u64,
        key: u8,
        cents: u64,
        shares: u16,
        named: &BTreeSet<u64>,
    ) -> (SendResult, Vec<Notice>) {
        let named: Vec<u64> = named.iter().copied().collect();
        let answer = self.ask(&self.send_request(user, key, cents, shares, &named));
        (sent(&answer), answer.notices)
    }

    pub fn gift(&mut self, key: u8, cents: u64, named: &BTreeSet<u64>) -> Vec<Notice> {
        let gift = Gift {
            key: [key; 16],
            total: Cents(cents),
            recipients: named.iter().copied().map(UserId).collect(),
            stage: 1,
            at: UnixMillis(self.now),
        };
        self.ask(&Request::Gift(gift)).notices
    }

    pub fn grab_request(&self, packet: PacketId, user: u64) -> Request {
        let code = self.codes.code(&self.keys.ledger(), packet).to_vec().into();
        self.request(user, What::Grab(Grab { code }))
    }

    pub fn grab(&mut self, packet: PacketId, user: u64) -> GrabResult {
        let request = self.grab_request(packet, user);
        grabbed(&self.ask(&request))
    }

    pub fn view(&mut self, code: Vec<u8>, user: u64) -> ViewResult {
        let request = self.request(user, What::PacketView(PacketView { code: code.into() }));
        match self.ask(&request).reply.unwrap().kind {
            Some(Kind::PacketView(reply)) => reply.try_into().unwrap(),
            other => panic!("no answer to a view: {other:?}"),
        }
    }

    pub fn wallet(&mut self, user: u64) -> WalletResult {
        let request = self.request(user, What::Wallet);
        match self.ask(&request).reply.unwrap().kind {
            Some(Kind::Wallet(reply)) => reply.try_into().unwrap(),
            other => panic!("no answer to a wallet: {other:?}"),
        }
    }

    pub fn offers(&mut self, user: u64) -> Answer {
        let request = self.request(user, What::Offers);
        self.ask(&request)
    }

    pub fn balance(&self, user: u64) -> i64 {
        self.ledger().user_balance(UserId(user)).unwrap().unwrap_or(0)
    }

    pub fn packet_of(&self, code: &[u8]) -> PacketId {
        self.codes.packet(&self.keys.ledger(), code).unwrap()
    }

    pub fn code(&self, packet: PacketId) -> Vec<u8> {
        self.codes.code(&self.keys.ledger(), packet).to_vec()
    }
}

pub fn sent(answer: &Answer) -> SendResult {
    match answer.reply.clone().unwrap().kind {
        Some(Kind::Send(reply)) => reply.try_into().unwrap(),
        other => panic!("no answer to a send: {other:?}"),
    }
}

pub fn grabbed(answer: &Answer) -> GrabResult {
    match answer.reply.clone().unwrap().kind {
        Some(Kind::Grab(reply)) => reply.try_into().unwrap(),
        other => panic!("no answer to a grab: {other:?}"),
    }
}
