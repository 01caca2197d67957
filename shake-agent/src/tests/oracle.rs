//! The ledger and the judgement of requests, against a map.

use super::play::{DAY, EXPIRY, PACKETS, Real, USERS};
use super::support::{EVENT, claim};
use crate::counters::Counters;
use crate::ledger::SPAN_OVER_MS;
use proptest::prelude::*;
use shake_proto::handoff::record::{Issued, Request};
use shake_proto::reply::{ClaimResult, Reason, SendResult};
use shake_rules::{EventId, PacketId, UnixMillis, UserId};
use std::collections::{BTreeMap, BTreeSet};

mod model;

use model::{Known, Oracle, Stage};

#[derive(Clone, Debug)]
enum Op {
    Release,
    Issue {
        packet: usize,
        user: u64,
    },
    Claim {
        packet: usize,
        user: u64,
        late: bool,
    },
    Foreign {
        packet: usize,
        user: u64,
    },
    OtherEvent {
        packet: usize,
        user: u64,
    },
    Forged {
        user: u64,
    },
    Send {
        user: u64,
        key: u8,
        cents: u64,
        shares: u16,
        named: bool,
    },
    Gift {
        key: u8,
        cents: u64,
        recipients: u64,
    },
    Grab {
        packet: usize,
        user: u64,
    },
    Pass {
        ms: u64,
        /// The agent commits meanwhile.
        lives: bool,
    },
    ShardStarted {
        taken: u64,
    },
    NewMapping,
    Restart,
    Crash,
}

fn op() -> impl Strategy<Value = Op> {
    let (packet, user) = (0..PACKETS as usize, 1..=USERS);
    prop_oneof![
        4 => Just(Op::Release),
        4 => (packet.clone(), user.clone()).prop_map(|(packet, user)| Op::Issue { packet, user }),
        8 => (packet.clone(), user.clone(), prop::bool::weighted(0.1))
            .prop_map(|(packet, user, late)| Op::Claim { packet, user, late }),
        1 => (packet.clone(), user.clone()).prop_map(|(packet, user)| Op::Foreign { packet, user }),
        1 => (packet, user.clone()).prop_map(|(packet, user)| Op::OtherEvent { packet, user }),
        1 => user.clone().prop_map(|user| Op::Forged { user }),
        6 => (user.clone(), 0..6_u8, 0..60_u64, 0..4_u16, any::<bool>())
            .prop_map(|(user, key, cents, shares, named)| Op::Send { user, key, cents, shares, named }),
        3 => (0..6_u8, 0..40_u64, 1..=USERS).prop_map(|(key, cents, recipients)| Op::Gift { key, cents, recipients }),
        12 => (0..2 * PACKETS as usize, user).prop_map(|(packet, user)| Op::Grab { packet, user }),
        2 => (0..DAY, any::<bool>()).prop_map(|(ms, lives)| Op::Pass { ms, lives }),
        1 => (0..PACKETS + 2).prop_map(|taken| Op::ShardStarted { taken }),
        1 => Just(Op::NewMapping),
        2 => Just(Op::Restart),
        2 => Just(Op::Crash),
    ]
}

fn apply(op: &Op, real: &mut Real, oracle: &mut Oracle) {
    match *op {
        Op::Release if oracle.released < PACKETS as usize => {
            real.release(oracle.released as u64);
            let record = real.records[oracle.released];
            let known = Known {
                id: record.packet,
                stage: Stage::Released {
                    mapping: oracle.mapping,
                },
                owner: None,
                sender: None,
                left: record.amount.0,
                shares_left: crate::ledger::shares_of(&record),
                named: BTreeSet::new(),
                taken: BTreeMap::new(),
                due: u64::MAX,
            };
            oracle.seed.insert(oracle.released, known);
            oracle.released += 1;
        }
        Op::Release => {}
        Op::Issue { packet, user } => {
            let issued = Issued {
                packet: real.records[packet].packet,
                user: UserId(user),
                stage: 1,
                at: UnixMillis(real.now),
                ends: Some(UnixMillis(real.now + DAY)),
            };
            assert_eq!(real.ask(&Request::Issued(issued)).reply, None);
            if let Some(known) = oracle.seed.get_mut(&packet)
                && matches!(known.stage, Stage::Released { .. } | Stage::Lost)
            {
                known.stage = Stage::Issued(user);
                known.due = oracle.served + DAY;
            }
        }
        Op::Claim { packet, user, late } => {
            let at = UnixMillis(if late { u64::MAX } else { real.now });
            let result = real.claim(EVENT, packet, user, user, at);
            oracle.claim(packet, user, late, &result);
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
            let answer = real.ask(&claim(1, UserId(user), vec![1; 74], UnixMillis(1)));
            let result = super::support::claimed(&answer.reply.unwrap());
            assert_eq!(result, ClaimResult::Refused(Reason::TicketForged));
        }
        Op::Send {
            user,
            key,
            cents,
            shares,
            named,
        } => {
            let named: BTreeSet<u64> = if named {
                (1..=u64::from(shares) + 1).collect()
            } else {
                BTreeSet::new()
            };
            let (result, notices) = real.send(user, key, cents, shares, &named);
            let is_new = matches!(result, SendResult::Sent { repeat: false, .. });
            assert_eq!(notices.len(), if is_new { named.len() } else { 0 });
            oracle.send((user, key, cents, shares, named), &result);
        }
        Op::Gift { key, cents, recipients } => {
            let named: BTreeSet<u64> = (1..=recipients).collect();
            let notices = real.gift(key, cents, &named);
            let affordable = cents >= recipients && cents <= oracle.gift_budget;
            if affordable && !oracle.keys.contains_key(&(0, key)) {
                let id = real.packet_of(&notices[0].code);
                assert_eq!(notices.len() as u64, recipients);
                oracle.gift_budget -= cents;
                oracle.make(0, key, id, cents, recipients as u16, named);
            } else {
                assert!(notices.is_empty());
            }
        }
        Op::Grab { packet, user } => {
            let id = match oracle.known(packet) {
                Some(known) => known.id,
                None => PacketId(1 << 63 | 999),
            };
            let result = real.grab(id, user);
            oracle.grab(packet, user, &result);
        }
        Op::Pass { ms, lives } => {
            if lives {
                real.pass(ms);
            } else {
                real.now += ms;
            }
            if lives || ms <= SPAN_OVER_MS {
                oracle.served += ms;
            }
            real.expire();
            oracle.expire(real.now);
        }
        Op::ShardStarted { taken } => {
            let pushed = real.grants;
            real.ask(&Request::ShardStarted {
                epoch: 1,
                grants_taken: taken,
            });
            if taken <= pushed {
                let first = oracle.released - pushed as usize;
                for (packet, known) in &mut oracle.seed {
                    let ours = matches!(known.stage, Stage::Released { mapping } if mapping == oracle.mapping);
                    if ours && *packet < first + taken as usize {
                        known.stage = Stage::Void;
                    }
                }
            }
        }
        Op::NewMapping => {
            real.new_mapping();
            oracle.mapping += 1;
            for known in oracle.seed.values_mut() {
                if matches!(known.stage, Stage::Released { .. }) {
                    known.stage = Stage::Lost;
                }
            }
        }
        Op::Restart => real.restart(),
        Op::Crash => real.crash(),
    }
}

fn compare(real: &mut Real, oracle: &Oracle) {
    for (user, cents) in &oracle.wallets {
        assert!(*cents >= 0);
        assert_eq!(real.balance(*user), *cents, "user {user}");
    }
    real.event
        .assert_lines_make(|user| oracle.wallets.get(&user).copied().unwrap_or(0));
    let lines = real.event.lines();
    assert!(lines.keys().all(|user| oracle.lines.contains_key(user)));
    for (user, expected) in &oracle.lines {
        let found = lines.get(user).into_iter().flatten();
        let found: Vec<_> = found.map(|line| (line.kind.as_str(), line.cents)).collect();
        assert_eq!(found, *expected, "user {user}");
    }
    for known in oracle.seed.values().chain(&oracle.made) {
        let packet = real.ledger().packet(known.id).unwrap().unwrap();
        let expected = match known.stage {
            Stage::Released { .. } => "released",
            Stage::Issued(_) => "issued",
            Stage::Open => "open",
            Stage::Done => "opened",
            Stage::Void => "void",
            Stage::Lost => "lost",
            Stage::Refunded => "refunded",
        };
        assert_eq!(packet.state.name(), expected, "{known:?}");
        if matches!(known.stage, Stage::Open) {
            assert_eq!((packet.left.0, packet.shares_left), (known.left, known.shares_left));
        }
    }
    let unreleased = real.records.len() - oracle.seed.len();
    let report = real.event.assert_balanced();
    assert_eq!(report.total.unreleased.packets, unreleased as u64);
    assert!(oracle.opened.values().all(|&opened| opened <= 3));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn any_sequence_with_repeats_expiries_restarts_and_crashes(ops in prop::collection::vec((op(), any::<bool>()), 1..120)) {
        let mut real = Real::new();
        let mut oracle = Oracle { gift_budget: real.gift_budget, ..Oracle::default() };
        for (op, twice) in &ops {
            apply(op, &mut real, &mut oracle);
            // A ring is handled at least once.
            if *twice && !matches!(op, Op::Release | Op::NewMapping) {
                apply(op, &mut real, &mut oracle);
            }
        }
        compare(&mut real, &oracle);
    }
}

#[test]
fn counters_name_what_happened() {
    let mut real = Real::new();
    real.release(0);
    let now = UnixMillis(real.now);
    real.claim(EVENT, 0, 1, 1, now);
    real.claim(EVENT, 0, 1, 1, EXPIRY);
    real.claim(EVENT, 0, 2, 2, now);
    let counters: &Counters = &real.judge.counters;
    let counted: BTreeMap<_, _> = counters.all().into_iter().filter(|(_, n)| *n > 0).collect();
    let expected = [("claims_opened", 1), ("claims_repeat", 1), ("refused_packet_taken", 1)];
    assert_eq!(counted, expected.map(|(name, n)| (name.to_owned(), n)).into());
}
