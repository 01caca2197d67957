//! Shared packets one by one: each refusal, hammering, views, wallets, offers, expiry.

use super::play::{DAY, Real, grabbed, sent};
use super::support::{EVENT, claimed};
use crate::requests::{EXPIRY_GRACE_MS, OFFERS_MAX, OFFERS_OF_SENDER_MAX};
use shake_proto::handoff::record::{Request, What};
use shake_proto::reply::{ClaimResult, GrabResult, Reason, SendResult, ViewResult, WalletResult, WalletTransfer};
use shake_proto::request::Grab;
use shake_rules::{Cents, PacketId, UnixMillis, UserId};
use std::collections::BTreeSet;

mod sends;

const HAMMERS: usize = 50;

/// User 1 has opened packet 0, of 30 cents.
fn rich() -> Real {
    let mut real = Real::new();
    real.release(0);
    let now = UnixMillis(real.now);
    assert!(matches!(real.claim(EVENT, 0, 1, 1, now), ClaimResult::Opened { .. }));
    real
}

fn send(real: &mut Real, key: u8, cents: u64, shares: u16, named: &[u64]) -> SendResult {
    real.send(1, key, cents, shares, &named.iter().copied().collect()).0
}

fn packet(result: &SendResult) -> PacketId {
    match result {
        SendResult::Sent { packet, .. } => *packet,
        other => panic!("{other:?}"),
    }
}

fn refused(result: &GrabResult) -> Reason {
    match result {
        GrabResult::Refused(reason) => *reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_split_packet_is_shared_by_code_until_it_is_empty() {
    let mut real = Real::new();
    real.release(0);
    real.release(1);
    let now = UnixMillis(real.now);
    let id = real.records[1].packet;
    assert_eq!(refused(&real.grab(id, 2)), Reason::PacketUnknown, "before it is opened");
    let ClaimResult::Opened { amount, code, .. } = real.claim(EVENT, 1, 1, 1, now) else {
        panic!("not opened");
    };
    assert_eq!(real.packet_of(&code), id);
    let again = real.claim(EVENT, 1, 1, 1, now);
    assert!(matches!(again, ClaimResult::Opened { amount: a, repeat: true, .. } if a == amount));
    // The winner has a share already.
    let winner = GrabResult::Grabbed {
        packet: id,
        amount,
        repeat: true,
    };
    assert_eq!(real.grab(id, 1), winner);
    let mut sum = amount.0;
    for user in [2, 3] {
        let GrabResult::Grabbed {
            amount, repeat: false, ..
        } = real.grab(id, user)
        else {
            panic!("no share");
        };
        sum += amount.0;
        assert_eq!(real.balance(user), amount.0 as i64);
    }
    assert_eq!(sum, real.records[1].amount.0);
    assert_eq!(real.grab(id, 4), GrabResult::Empty);
    let ViewResult::State(state) = real.view(code.to_vec(), 4) else {
        panic!("no view");
    };
    assert_eq!((state.left, state.shares_left, state.taken.len()), (Cents(0), 0, 3));
    let best: Vec<_> = state.taken.iter().filter(|share| share.is_best).collect();
    assert_eq!(best.len(), 1);
    assert_eq!(Some(best[0].amount), state.taken.iter().map(|share| share.amount).max());
    // The code of a packet that is not shared is nobody's to have.
    assert_eq!(refused(&real.grab(real.records[0].packet, 1)), Reason::PacketUnknown);
    let forged = real.request(
        2,
        What::Grab(Grab {
            code: vec![1; 24].into(),
        }),
    );
    assert_eq!(refused(&grabbed(&real.ask(&forged))), Reason::PacketUnknown);
    assert_eq!(real.view(vec![2; 24], 1), ViewResult::Refused(Reason::PacketUnknown));
    real.event.assert_balanced();
}

#[test]
fn fifty_at_once_get_one_effect_and_the_same_answer() {
    let mut real = rich();
    real.release(1);
    let claims: Vec<Request> = (0..HAMMERS).map(|_| real.claim_request(1, 2)).collect();
    let opened: Vec<_> = real
        .ask_all(&claims)
        .iter()
        .map(|answer| claimed(answer.reply.as_ref().unwrap()))
        .collect();
    let amounts: BTreeSet<_> = opened
        .iter()
        .map(|result| match result {
            ClaimResult::Opened { amount, repeat, .. } => (*amount, *repeat),
            other => panic!("{other:?}"),
        })
        .collect();
    let amount = amounts.first().unwrap().0;
    assert_eq!(amounts, BTreeSet::from([(amount, false), (amount, true)]));
    assert_eq!(real.balance(2), amount.0 as i64);

    let sends: Vec<Request> = (0..HAMMERS).map(|_| real.send_request(1, 9, 20, 4, &[])).collect();
    let packets: BTreeSet<_> = real
        .ask_all(&sends)
        .iter()
        .map(|answer| packet(&sent(answer)))
        .collect();
    assert_eq!((packets.len(), real.balance(1)), (1, 10));
    let id = *packets.first().unwrap();

    let grabs: Vec<Request> = (0..HAMMERS).map(|_| real.grab_request(id, 3)).collect();
    let shares: BTreeSet<_> = real
        .ask_all(&grabs)
        .iter()
        .map(|answer| match grabbed(answer) {
            GrabResult::Grabbed { amount, .. } => amount,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(shares.len(), 1);
    assert_eq!(real.balance(3), shares.first().unwrap().0 as i64);
    let report = real.event.assert_balanced();
    assert_eq!((report.sent.sent.packets, report.outbox["grab"].credits), (1, 1));
}

#[test]
fn limits_hold_at_the_claim_and_the_packet_goes_back() {
    let mut real = Real::new();
    let now = UnixMillis(real.now);
    for index in 0..5 {
        real.release(index);
        let issued = shake_proto::handoff::record::Issued {
            packet: real.records[index as usize].packet,
            user: UserId(1),
            stage: 0,
            at: now,
            ends: None,
        };
        real.ask(&Request::Issued(issued));
    }
    for packet in 0..3 {
        assert!(matches!(
            real.claim(EVENT, packet, 1, 1, now),
            ClaimResult::Opened { .. }
        ));
    }
    assert_eq!(
        real.claim(EVENT, 3, 1, 1, now),
        ClaimResult::Refused(Reason::LimitReached)
    );
    real.judge.rules.limits.packets_per_user = 8;
    real.judge.rules.limits.packets_per_sponsor = 3;
    assert_eq!(
        real.claim(EVENT, 3, 1, 1, now),
        ClaimResult::Refused(Reason::LimitReached)
    );
    real.pass(DAY + EXPIRY_GRACE_MS);
    assert_eq!(
        real.expire(),
        3,
        "two that were never opened, and the rest of the split one"
    );
    assert_eq!(
        real.claim(EVENT, 3, 1, 1, now),
        ClaimResult::Refused(Reason::TicketExpired)
    );
    let report = real.event.assert_balanced();
    assert_eq!((report.total.refunded.packets, report.total.opened.packets), (3, 2));
}

#[test]
fn what_is_left_goes_back_on_time_also_after_a_restart() {
    let mut real = rich();
    real.release(1);
    let now = UnixMillis(real.now);
    assert!(matches!(real.claim(EVENT, 1, 2, 2, now), ClaimResult::Opened { .. }));
    let split = real.records[1].packet;
    let sent = packet(&send(&mut real, 1, 30, 3, &[3, 4, 5]));
    let GrabResult::Grabbed { amount, .. } = real.grab(sent, 3) else {
        panic!("no share");
    };
    let gift = real.gift(1, 40, &BTreeSet::from([1, 2]));
    assert_eq!((gift.len(), gift[0].from), (2, None));
    assert!(real.gift(2, 31, &BTreeSet::from([1])).is_empty(), "the budget is 70");
    assert_eq!(real.judge.counters.gifts_unfunded.value(), 1);
    let gift = real.packet_of(&gift[0].code);
    assert!(matches!(real.grab(gift, 1), GrabResult::Grabbed { .. }));
    let before = real.balance(1);

    real.pass(DAY - 1 + EXPIRY_GRACE_MS);
    assert_eq!(real.expire(), 0);
    // Its time is over, though it has not gone back yet.
    assert_eq!(refused(&real.grab(sent, 4)), Reason::PacketExpired);
    assert!(real.offers(4).notices.is_empty());
    real.restart();
    real.now += 1;
    assert_eq!(real.expire(), 3);
    assert_eq!(real.expire(), 0);
    assert_eq!(real.balance(1), before + 30 - amount.0 as i64);
    for (id, taker) in [(sent, 3), (split, 2), (gift, 1)] {
        let late = if id == gift { 2 } else { 4 };
        assert_eq!(refused(&real.grab(id, late)), Reason::PacketExpired);
        assert!(matches!(real.grab(id, taker), GrabResult::Grabbed { repeat: true, .. }));
        let ViewResult::State(state) = real.view(real.code(id), late) else {
            panic!("no view");
        };
        assert_eq!((state.left, state.shares_left), (Cents(0), 0));
        assert!(state.taken.iter().all(|share| !share.is_best));
    }
    let report = real.event.assert_balanced();
    assert_eq!((report.sent.refunded.packets, report.total.refunded.packets), (1, 2));
    assert_eq!(report.outbox["refund"].cents, 30 - amount.0);
}

/// Who sends many packets of a cent hides neither the event's gift nor a friend's packet.
#[test]
fn dust_hides_no_gift() {
    let mut real = rich();
    let gift = real.gift(1, 70, &BTreeSet::from([2, 3]));
    let gift = real.packet_of(&gift[0].code);
    real.release(2);
    let now = UnixMillis(real.now);
    assert!(matches!(real.claim(EVENT, 2, 3, 3, now), ClaimResult::Opened { .. }));
    let friends = packet(&real.send(3, 1, 30, 1, &BTreeSet::from([2])).0);
    let mut dust = Vec::new();
    for key in 0..30 {
        dust.push(packet(&send(&mut real, key, 1, 1, &[2])));
    }
    let told = real.offers(2).notices;
    let told: Vec<_> = told.iter().map(|notice| real.packet_of(&notice.code)).collect();
    let newest: Vec<_> = dust.into_iter().rev().take(OFFERS_OF_SENDER_MAX).collect();
    assert_eq!(told, [vec![gift], newest, vec![friends]].concat());
    assert_eq!(real.offers(3).notices.len(), 1);
    // Once it is grabbed it is told no more.
    assert!(matches!(real.grab(gift, 2), GrabResult::Grabbed { .. }));
    assert_eq!(real.offers(2).notices.len(), OFFERS_OF_SENDER_MAX + 1);
}

#[test]
fn at_most_so_many_offers_are_told_at_once() {
    let mut real = rich();
    for key in 0..30 {
        assert_eq!(real.gift(key, 2, &BTreeSet::from([2, 3])).len(), 2);
    }
    for key in 0..10 {
        assert!(matches!(send(&mut real, key, 1, 1, &[2]), SendResult::Sent { .. }));
    }
    assert_eq!(real.offers(2).notices.len(), OFFERS_MAX);
    assert_eq!(real.offers(3).notices.len(), 30);
    let WalletResult::State { transfers, .. } = real.wallet(1) else {
        panic!("no wallet");
    };
    assert_eq!(transfers.len(), 11);
}

/// Money that goes round is paid once: what counts is the balance, and the lines sum to it at every moment.
#[test]
fn lines_sum_to_the_balance_however_often_money_goes_round() {
    let mut real = Real::new();
    real.release(0);
    let now = UnixMillis(real.now);
    real.claim(EVENT, 0, 1, 1, now);
    assert_eq!(real.balance(1), 30);
    for key in 0..10 {
        let (result, _) = real.send(1, key, 30, 1, &[1].into());
        let SendResult::Sent { packet, .. } = result else {
            panic!("{result:?}");
        };
        assert_eq!(real.balance(1), 0);
        real.event.assert_lines_make(|_| 0);
        real.grab(packet, 1);
        real.event.assert_lines_make(|_| 30);
    }
    // Once more, and nobody takes it: refused sends and repeats write nothing.
    real.send(1, 10, 30, 1, &[2].into());
    real.send(1, 10, 30, 1, &[2].into());
    real.send(1, 11, 30, 1, &[2].into());
    real.pass(DAY + EXPIRY_GRACE_MS);
    assert_eq!(real.expire(), 1);
    assert_eq!(real.balance(1), 30);
    real.event.assert_lines_make(|_| 30);
    let lines = &real.event.lines()[&1];
    assert_eq!(lines.len(), 1 + 2 * 10 + 2);
    assert_eq!(lines.iter().map(|line| line.cents).sum::<i64>(), 30);
    let report = real.event.assert_balanced();
    assert_eq!((report.outbox["send"].cents, report.outbox["send"].credits), (330, 11));
}
