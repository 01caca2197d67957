//! What the judge does on any store: the same, however requests are cut into transactions; and no cent comes or goes.

use super::memory::{Content, Fault, Memory};
use super::scene::{InMemory, Kind, OnDisk, PACKETS, Scene};
use crate::ledger::{Account, Ledger, LedgerError, State, Store};
use crate::requests::Answer;
use proptest::prelude::*;
use shake_proto::handoff::record::Request;
use shake_rules::{PacketId, UserId};
use std::collections::BTreeMap;

const USERS: u64 = 4;

#[derive(Clone, Debug)]
pub enum Op {
    Issue(u64, u64),
    Claim(u64, u64),
    /// Of the seed, or of what was made.
    Grab(Result<u64, u64>, u64),
    Send(u64, u8, u64, u16, Vec<u64>),
    Gift(u8, u64, Vec<u64>),
    ShardStarted(u64),
}

/// What happens in one go.
#[derive(Clone, Debug)]
pub struct Round {
    release: u64,
    ops: Vec<Op>,
    /// So much time passes after it.
    passes_ms: u64,
    /// The mapping is lost after it.
    loses: bool,
}

fn op() -> impl Strategy<Value = Op> {
    let (packet, user) = (0..PACKETS, 1..=USERS);
    let named = prop::collection::btree_set(1..=USERS, 0..3).prop_map(|named| named.into_iter().collect::<Vec<_>>());
    let grabbed = prop_oneof![(0..PACKETS).prop_map(Ok), (1..6_u64).prop_map(Err)];
    prop_oneof![
        3 => (packet.clone(), user.clone()).prop_map(|(packet, user)| Op::Issue(packet, user)),
        6 => (packet, user.clone()).prop_map(|(packet, user)| Op::Claim(packet, user)),
        6 => (grabbed, user.clone()).prop_map(|(packet, user)| Op::Grab(packet, user)),
        4 => (user, 0..4_u8, 0..40_u64, 0..4_u16, named.clone())
            .prop_map(|(user, key, cents, shares, named)| Op::Send(user, key, cents, shares, named)),
        2 => (0..4_u8, 0..40_u64, named).prop_map(|(key, cents, named)| Op::Gift(key, cents, named)),
        1 => (0..PACKETS).prop_map(Op::ShardStarted),
    ]
}

pub fn rounds() -> impl Strategy<Value = Vec<Round>> {
    let passes = prop_oneof![3 => 0..900_u64, 1 => 0..20_000_u64];
    let round = (
        0..4_u64,
        prop::collection::vec(op(), 0..30),
        passes,
        prop::bool::weighted(0.05),
    );
    let round = round.prop_map(|(release, ops, passes_ms, loses)| Round {
        release,
        ops,
        passes_ms,
        loses,
    });
    prop::collection::vec(round, 1..8)
}

fn request<S: Store>(scene: &Scene<S>, op: &Op) -> Request {
    match op {
        Op::Issue(packet, user) => scene.issue(*packet, *user),
        Op::Claim(packet, user) => scene.claim(*packet, *user),
        Op::Grab(Ok(index), user) => scene.grab(super::record(*index).packet, *user),
        Op::Grab(Err(number), user) => scene.grab(Scene::<S>::made(*number), *user),
        Op::Send(user, key, cents, shares, named) => scene.send(*user, *key, *cents, *shares, named),
        Op::Gift(key, cents, named) => scene.gift(*key, *cents, named),
        Op::ShardStarted(grants_taken) => Request::ShardStarted {
            epoch: 1,
            grants_taken: *grants_taken,
        },
    }
}

/// Plays rounds, with so many requests in a transaction.
pub fn play<S: Store>(scene: &mut Scene<S>, rounds: &[Round], at_once: usize) -> Vec<Answer> {
    let mut answers = Vec::new();
    for round in rounds {
        scene.release(round.release);
        let requests: Vec<Request> = round.ops.iter().map(|op| request(scene, op)).collect();
        for requests in requests.chunks(at_once) {
            answers.extend(scene.hear(requests));
        }
        if round.loses {
            let now = scene.at();
            let lose = |batch: &mut crate::ledger::Batch<'_, S>| {
                let held = batch.held_of_other_mappings(0)?;
                batch.lose_packets(&held);
                Ok(())
            };
            scene.ledger.transaction(now, lose).unwrap();
        }
        scene.now += round.passes_ms;
        scene.expire();
    }
    answers
}

/// Every balance is what the journal makes of it; all of them sum to zero; and each line is its user's next.
pub fn assert_books(content: &Content) {
    let mut balances: BTreeMap<Account, i64> = BTreeMap::new();
    for entry in &content.transfers {
        let cents = entry.transfer.amount.0 as i64;
        *balances.entry(entry.transfer.debit).or_default() -= cents;
        *balances.entry(entry.transfer.credit).or_default() += cents;
    }
    assert_eq!(balances.values().sum::<i64>(), 0);
    let of = |account| balances.get(&account).copied().unwrap_or(0);
    for (&id, packet) in &content.packets {
        assert_eq!(of(Account::Packet(id)), packet.left.0 as i64, "{packet:?}");
        let is_waiting = matches!(packet.state, State::Issued | State::Open);
        assert_eq!(packet.due.is_some(), is_waiting, "{packet:?}");
    }
    for (&user, account) in &content.users {
        assert_eq!(of(Account::User(user)), account.balance, "{user}");
    }
    for (&account, &cents) in &content.standing.house {
        assert_eq!(of(account), cents, "{account}");
        assert!(cents >= 0 || account == Account::Bank, "{account} has {cents}");
    }
    let mut lines: BTreeMap<UserId, (i64, i64)> = BTreeMap::new();
    for row in &content.outbox {
        let (number, balance) = lines.entry(row.user).or_default();
        (*number, *balance) = (*number + 1, *balance + row.cents);
        assert_eq!((row.number, row.balance), (*number, *balance), "{row:?}");
        assert!(row.balance >= 0, "{row:?}");
    }
}

/// The same event once more, in a content of its own.
fn twin(kind: &InMemory) -> Memory {
    let twin = Memory::default();
    *twin.content() = kind.1.content().clone();
    twin
}

/// What is not told apart by how often it was committed.
fn without_stamp(content: &Content) -> Content {
    let mut content = content.clone();
    content.standing.stamp = 0;
    content.openings.clear();
    content
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn how_requests_are_cut_into_transactions_changes_nothing(rounds in rounds(), at_once in 2..12_usize) {
        let kind = InMemory::new();
        drop(Scene::of(kind.open(), &kind.seed()));
        let other = twin(&kind);
        let mut one_by_one = Scene::of(kind.open(), &kind.seed());
        let mut together = Scene::of(Ledger::on(other.clone()).unwrap(), &kind.seed());
        let expected = play(&mut one_by_one, &rounds, 1);
        prop_assert_eq!(play(&mut together, &rounds, at_once), expected);
        prop_assert_eq!(without_stamp(&other.content()), without_stamp(&kind.1.content()));
        assert_books(&other.content());
    }

    #[test]
    fn sqlite_and_maps_are_the_same_ledger(rounds in rounds(), at_once in 1..40_usize) {
        let on_disk = OnDisk::new();
        let maps = Memory::default();
        let identity = Scene::of(on_disk.open(), &on_disk.seed()).ledger.identity();
        drop(Scene::of(Ledger::on(maps.clone()).unwrap(), &on_disk.seed()));
        // So that codes are the same.
        maps.content().standing.bound.as_mut().unwrap().identity = identity;
        let mut found = Scene::of(on_disk.open(), &on_disk.seed());
        let mut expected = Scene::of(Ledger::on(maps.clone()).unwrap(), &on_disk.seed());
        for round in rounds.chunks(1) {
            prop_assert_eq!(play(&mut found, round, at_once), play(&mut expected, round, at_once));
            prop_assert_eq!(found.seen(1..=USERS), expected.seen(1..=USERS));
        }
        assert_books(&maps.content());
    }
}

/// Whatever becomes of a commit, what is asked again takes effect once, and gets one answer.
#[test]
fn a_commit_that_is_lost_or_not_heard_of_takes_effect_once() {
    for fault in [Fault::Lost, Fault::AnswerLost] {
        let kind = InMemory::new();
        let mut scene = Scene::of(kind.open(), &kind.seed());
        scene.release(3);
        let requests = [scene.claim(0, 1), scene.claim(1, 1), scene.gift(1, 9, &[1, 2, 3])];
        let (origin, now) = (scene.origin(), scene.at());
        *kind.1.fault.lock().unwrap() = fault;
        let (ledger, judge) = (&mut scene.ledger, &mut scene.judge);
        let outcome = ledger.transaction(now, |batch| {
            let requests = requests.iter().map(|request| (0, origin, request));
            judge.hear(batch, requests, now, &mut Vec::new())
        });
        assert!(matches!(outcome, Err(LedgerError::Failed(_))));
        let refused = scene.ledger.transaction(now, |_| Ok(()));
        assert!(
            matches!(refused, Err(LedgerError::Failed(_))),
            "until it is reached anew"
        );
        scene.ledger.recover().unwrap();
        let first = scene.hear(&requests);
        let again = scene.hear(&requests);
        let opened = scene.judge.counters.claims_opened.value();
        let made = scene.ledger.standing().numbers.made;
        assert_eq!(
            (opened, made),
            (if fault == Fault::Lost { 4 } else { 2 }, 1),
            "{fault:?}"
        );
        // Once it is there every answer is a repeat of the first.
        if fault == Fault::AnswerLost {
            assert_eq!(first, again);
        }
        let balance = scene.ledger.user_balance(UserId(1)).unwrap().unwrap();
        assert!((31..=60).contains(&balance), "{balance}");
        assert_books(&kind.1.content());
        assert!(kind.1.content().packets.contains_key(&PacketId(500)));
    }
}
