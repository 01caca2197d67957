//! The ledger and the judgement of requests, against a map.

use super::support::{EVENT, Event, claim, ring, ticket};
use crate::counters::Counters;
use crate::ledger::{Ledger, Release};
use crate::requests::{Judge, Origin};
use crate::seed_file::SeedFile;
use proptest::prelude::*;
use shake_proto::handoff::record::{Issued, Reply, Request};
use shake_proto::reply::{ClaimResult, Reason};
use shake_rules::seed::SeedRecord;
use shake_rules::ticket::TicketKeys;
use shake_rules::{EventId, UnixMillis, UserId};
use std::collections::BTreeMap;

const PACKETS: u64 = 8;
const EXPIRY: UnixMillis = UnixMillis(1_000);

#[derive(Clone, Debug)]
enum Op {
    Release,
    Issue { packet: usize, user: u64 },
    Claim { packet: usize, user: u64, late: bool },
    Foreign { packet: usize, user: u64 },
    OtherEvent { packet: usize, user: u64 },
    Forged { user: u64 },
    ShardStarted { taken: u64 },
    NewMapping,
    Restart,
}

fn op() -> impl Strategy<Value = Op> {
    let (packet, user) = (0..PACKETS as usize, 1..4_u64);
    prop_oneof![
        4 => Just(Op::Release),
        4 => (packet.clone(), user.clone()).prop_map(|(packet, user)| Op::Issue { packet, user }),
        8 => (packet.clone(), user.clone(), prop::bool::weighted(0.2))
            .prop_map(|(packet, user, late)| Op::Claim { packet, user, late }),
        1 => (packet.clone(), user.clone()).prop_map(|(packet, user)| Op::Foreign { packet, user }),
        1 => (packet, user.clone()).prop_map(|(packet, user)| Op::OtherEvent { packet, user }),
        1 => user.prop_map(|user| Op::Forged { user }),
        1 => (0..PACKETS + 2).prop_map(|taken| Op::ShardStarted { taken }),
        1 => Just(Op::NewMapping),
        2 => Just(Op::Restart),
    ]
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Known {
    Released { mapping: u64 },
    Issued(u64),
    Opened(u64),
    Void,
}

/// What ought to be, as plainly as it can be said.
#[derive(Default)]
struct Oracle {
    packets: BTreeMap<usize, Known>,
    released: usize,
    mapping: u64,
    wallets: BTreeMap<u64, i64>,
}

impl Oracle {
    fn claim(&mut self, record: &SeedRecord, packet: usize, user: u64, late: bool) -> ClaimResult {
        let opened = |repeat| ClaimResult::Opened {
            packet: record.packet,
            amount: record.amount,
            sponsor: record.sponsor,
            code: Default::default(),
            repeat,
        };
        match self.packets.get(&packet) {
            None => ClaimResult::Refused(Reason::PacketUnknown),
            Some(Known::Void) => ClaimResult::Refused(Reason::PacketVoid),
            Some(Known::Opened(owner)) if *owner == user => opened(true),
            Some(Known::Opened(_)) => ClaimResult::Refused(Reason::PacketTaken),
            Some(Known::Issued(owner)) if *owner != user => ClaimResult::Refused(Reason::PacketTaken),
            Some(_) if late => ClaimResult::Refused(Reason::TicketExpired),
            Some(_) => {
                self.packets.insert(packet, Known::Opened(user));
                *self.wallets.entry(user).or_default() += record.amount.0 as i64;
                opened(false)
            }
        }
    }
}

struct Real {
    event: Event,
    records: Vec<SeedRecord>,
    ledger: Option<Ledger>,
    judge: Judge,
    keys: TicketKeys,
    mapping: u64,
    lane: i64,
    grants: u64,
}

impl Real {
    fn new() -> Self {
        let event = Event::new(PACKETS);
        let mut real = Self {
            records: event.records(),
            event,
            ledger: None,
            judge: Judge::new(EVENT, TicketKeys::new(&ring()), Default::default()),
            keys: TicketKeys::new(&ring()),
            mapping: 0,
            lane: 0,
            grants: 0,
        };
        real.restart();
        real
    }

    fn restart(&mut self) {
        self.ledger = None;
        let mut ledger = Ledger::open(&self.event.ledger()).unwrap();
        ledger
            .bind_seed(&SeedFile::open(&self.event.seed()).unwrap(), UnixMillis(1))
            .unwrap();
        let record = ledger
            .transaction(UnixMillis(1), |batch| batch.lane(self.mapping, 0))
            .unwrap();
        (self.lane, self.grants) = (record.lane, record.grants_released);
        self.ledger = Some(ledger);
    }

    fn release(&mut self, index: u64) {
        let release = Release {
            seed_index: index,
            record: self.records[index as usize],
            lane: self.lane,
            grant_position: self.grants,
        };
        self.grants += 1;
        let grants = self.grants;
        let mapping = self.mapping;
        let work = |batch: &mut crate::ledger::Batch<'_>| {
            batch.release([&release], index + 1)?;
            let mut record = batch.lane(mapping, 0)?;
            record.grants_released = grants;
            batch.store_lane(&record)
        };
        self.ledger.as_mut().unwrap().transaction(UnixMillis(1), work).unwrap();
    }

    fn new_mapping(&mut self) {
        self.mapping += 1;
        let mapping = self.mapping;
        let work = |batch: &mut crate::ledger::Batch<'_>| {
            let old = batch.held_of_other_mappings(mapping)?;
            batch.void_packets(&old)?;
            batch.lane(mapping, 0)
        };
        let record = self.ledger.as_mut().unwrap().transaction(UnixMillis(1), work).unwrap();
        (self.lane, self.grants) = (record.lane, record.grants_released);
    }

    fn ask(&mut self, request: &Request) -> Option<Reply> {
        let origin = Origin {
            lane: self.lane,
            grants_pushed: self.grants,
        };
        let judge = &mut self.judge;
        let work = |batch: &mut crate::ledger::Batch<'_>| judge.handle(batch, origin, request, UnixMillis(1));
        self.ledger.as_mut().unwrap().transaction(UnixMillis(1), work).unwrap()
    }

    fn claim(&mut self, event: EventId, packet: usize, user: u64, asking: u64, at: UnixMillis) -> ClaimResult {
        let sealed = ticket(&self.keys, event, self.records[packet].packet, UserId(user), EXPIRY);
        self.ask(&claim(1, UserId(asking), sealed, at)).unwrap().result
    }
}

fn apply(op: &Op, real: &mut Real, oracle: &mut Oracle) {
    match *op {
        Op::Release if oracle.released < PACKETS as usize => {
            real.release(oracle.released as u64);
            let mapping = oracle.mapping;
            oracle.packets.insert(oracle.released, Known::Released { mapping });
            oracle.released += 1;
        }
        Op::Release => {}
        Op::Issue { packet, user } => {
            let issued = Issued {
                packet: real.records[packet].packet,
                user: UserId(user),
                stage: 1,
                at: UnixMillis(2),
            };
            assert_eq!(real.ask(&Request::Issued(issued)), None);
            if let Some(known @ Known::Released { .. }) = oracle.packets.get_mut(&packet) {
                *known = Known::Issued(user);
            }
        }
        Op::Claim { packet, user, late } => {
            let at = if late { EXPIRY } else { UnixMillis(EXPIRY.0 - 1) };
            let record = real.records[packet];
            let expected = oracle.claim(&record, packet, user, late);
            assert_eq!(real.claim(EVENT, packet, user, user, at), expected);
        }
        Op::Foreign { packet, user } => {
            let result = real.claim(EVENT, packet, user, user + 1, UnixMillis(1));
            assert_eq!(result, ClaimResult::Refused(Reason::TicketForeign));
        }
        Op::OtherEvent { packet, user } => {
            let result = real.claim(EventId(EVENT.0 + 1), packet, user, user, UnixMillis(1));
            assert_eq!(result, ClaimResult::Refused(Reason::TicketOtherEvent));
        }
        Op::Forged { user } => {
            let reply = real.ask(&claim(1, UserId(user), vec![1; 62], UnixMillis(1))).unwrap();
            assert_eq!(reply.result, ClaimResult::Refused(Reason::TicketForged));
        }
        Op::ShardStarted { taken } => {
            let pushed = real.grants;
            real.ask(&Request::ShardStarted {
                epoch: 1,
                grants_taken: taken,
            });
            if taken <= pushed {
                let first = oracle.released - pushed as usize;
                for (packet, known) in &mut oracle.packets {
                    let ours = matches!(known, Known::Released { mapping } if *mapping == oracle.mapping);
                    if ours && *packet < first + taken as usize {
                        *known = Known::Void;
                    }
                }
            }
        }
        Op::NewMapping => {
            real.new_mapping();
            oracle.mapping += 1;
            for known in oracle.packets.values_mut() {
                if matches!(known, Known::Released { .. }) {
                    *known = Known::Void;
                }
            }
        }
        Op::Restart => real.restart(),
    }
}

fn compare(real: &Real, oracle: &Oracle) {
    let ledger = real.ledger.as_ref().unwrap();
    for (user, cents) in &oracle.wallets {
        assert_eq!(ledger.user_balance(UserId(*user)).unwrap(), Some(*cents));
    }
    for (index, record) in real.records.iter().enumerate() {
        let state = ledger.packet(record.packet).unwrap().map(|packet| packet.state.name());
        let expected = oracle.packets.get(&index).map(|known| match known {
            Known::Released { .. } => "released",
            Known::Issued(_) => "issued",
            Known::Opened(_) => "opened",
            Known::Void => "void",
        });
        assert_eq!(state, expected, "packet {index}");
    }
    real.event.assert_balanced();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]
    #[test]
    fn any_sequence_with_repeats_and_restarts(ops in prop::collection::vec((op(), any::<bool>()), 1..60)) {
        let (mut real, mut oracle) = (Real::new(), Oracle::default());
        for (op, twice) in &ops {
            apply(op, &mut real, &mut oracle);
            // A ring is handled at least once.
            if *twice && !matches!(op, Op::Release | Op::NewMapping) {
                apply(op, &mut real, &mut oracle);
            }
        }
        compare(&real, &oracle);
    }
}

#[test]
fn counters_name_what_happened() {
    let mut real = Real::new();
    real.release(0);
    real.claim(EVENT, 0, 1, 1, UnixMillis(1));
    real.claim(EVENT, 0, 1, 1, EXPIRY);
    real.claim(EVENT, 0, 2, 2, UnixMillis(1));
    let counters: &Counters = &real.judge.counters;
    let counted: BTreeMap<_, _> = counters.all().into_iter().filter(|(_, n)| *n > 0).collect();
    let expected = [
        ("claims_opened", 1),
        ("claims_repeat", 1),
        ("claims_refused_packet_taken", 1),
    ];
    assert_eq!(counted, expected.map(|(name, n)| (name.to_owned(), n)).into());
}
