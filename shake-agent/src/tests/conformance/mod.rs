//! What every store must do, run against each; and what the judge does on any of them.

mod ends;
mod judge;
pub(super) mod memory;
mod postgres;
mod scene;

use crate::ledger::{
    Held, LedgerError, Listing, Look, Needed, Numbers, Offer, Origin, Packet, Seen, Standing, State, Store,
};
use crate::requests::EXPIRY_GRACE_MS;
use ends::{
    a_closed_ledger_has_its_closing_line_and_takes_no_more, a_time_without_commits_is_a_span_while_something_is_out,
    numbers_go_on_after_what_was_lost,
};
use scene::{GIFT_BUDGET, Kind, LIFETIME_MS, PACKETS, Scene, record};
use shake_rules::{Cents, PacketId, SponsorId, UnixMillis, UserId};

/// Runs each of these against each kind of store.
macro_rules! conformance {
    ($($name:ident,)*) => {
        mod sqlite {
            $(
                #[test]
                fn $name() {
                    super::$name(&super::scene::OnDisk::new());
                }
            )*
        }
        mod in_postgres {
            #[test]
            fn conforms() {
                let server = super::postgres::server();
                $(
                    println!("{}", stringify!($name));
                    super::$name(&super::postgres::OnPostgres::new(&server, stringify!($name)));
                )*
            }
        }
        mod in_memory {
            $(
                #[test]
                fn $name() {
                    super::$name(&super::scene::InMemory::new());
                }
            )*
        }
    };
}

conformance! {
    a_new_ledger_stands_at_nothing,
    what_is_committed_is_there_at_the_next_opening,
    what_fails_leaves_no_trace_and_no_gap,
    what_is_not_there_is_known_not_to_be,
    what_the_book_did_is_not_read_over,
    listings_are_in_order_and_bounded,
    ids_from_2_63_on_are_as_good,
    offers_come_gifts_first_and_newest_first,
    the_store_tells_what_is_out,
    what_was_released_elsewhere_is_lost_and_found,
    a_closed_ledger_has_its_closing_line_and_takes_no_more,
    numbers_go_on_after_what_was_lost,
    a_time_without_commits_is_a_span_while_something_is_out,
}

fn scene<K: Kind>(kind: &K) -> Scene<K::Store> {
    Scene::of(kind.open(), &kind.seed())
}

fn packet<S: Store>(scene: &Scene<S>, id: PacketId) -> Packet {
    scene.ledger.packet(id).unwrap().expect("it is there")
}

/// User 1 has opened packets 0 and 1 (which is split), user 2 has grabbed of that, 3 is issued to user 3, 2 and 4 are released.
fn played<K: Kind>(kind: &K) -> Scene<K::Store> {
    let mut scene = scene(kind);
    scene.release(5);
    let requests = [
        scene.issue(0, 1),
        scene.claim(0, 1),
        scene.claim(1, 1),
        scene.issue(3, 3),
    ];
    scene.hear(&requests);
    scene.hear(&[scene.grab(record(1).packet, 2)]);
    scene
}

fn a_new_ledger_stands_at_nothing<K: Kind>(kind: &K) {
    let ledger = kind.open();
    let expected = Standing {
        gifts: ledger.is_shared().then_some(0),
        ..Standing::default()
    };
    assert_eq!(*ledger.standing(), expected);
    assert_eq!(ledger.packet(PacketId(1)).unwrap(), None);
    assert_eq!(ledger.user_balance(UserId(1)).unwrap(), None);
    assert!(!ledger.are_out().unwrap());
    drop(ledger);
    // An opening that commits nothing leaves nothing.
    assert_eq!(*kind.open().standing(), expected);
}

fn what_is_committed_is_there_at_the_next_opening<K: Kind>(kind: &K) {
    let mut scene = played(kind);
    let requests = [scene.send(1, 1, 20, 2, &[2, 3]), scene.gift(1, 10, &[1, 4])];
    scene.hear(&requests);
    scene.hear(&[scene.grab(Scene::<K::Store>::made(1), 3)]);
    let (standing, seen) = scene.seen(1..=4);
    let expected = Numbers {
        // Funded three times; released, opened, grabbed, sent, given.
        transfer: 3 + 5 + 2 + 1 + 1 + 1 + 1,
        outbox: 2 + 1 + 1 + 1,
        made: 2,
        lane: 1,
        incarnation: 1,
    };
    assert_eq!(standing.numbers, expected);
    assert_eq!(standing.bound.as_ref().unwrap().gift_budget, GIFT_BUDGET);
    assert_eq!(
        standing.bound.as_ref().unwrap().released,
        [(SponsorId(1), 4), (SponsorId(2), 1)].into()
    );
    let codes = (scene.lane, scene.released);
    drop(scene);
    let ledger = kind.open();
    let reopened = ledger.standing().clone();
    assert_eq!(reopened.incarnation_row, None, "another opening");
    let expected = Standing {
        incarnation_row: None,
        ..standing
    };
    assert_eq!(reopened, expected);
    let scene = Scene::of(ledger, &kind.seed());
    assert_eq!(scene.seen(1..=4).1, seen);
    assert_eq!((scene.lane, scene.released), codes);
    assert_eq!(scene.ledger.standing().numbers.incarnation, 2);
}

fn what_fails_leaves_no_trace_and_no_gap<K: Kind>(kind: &K) {
    let mut scene = played(kind);
    let before = scene.seen(1..=4);
    let (origin, now) = (scene.origin(), scene.at());
    let requests = [
        scene.claim(2, 1),
        scene.send(1, 1, 20, 1, &[4]),
        scene.gift(1, 10, &[1]),
    ];
    let (ledger, judge) = (&mut scene.ledger, &mut scene.judge);
    let outcome = ledger.transaction(now, |batch| {
        let requests = requests.iter().map(|request| (0, origin, request));
        judge.hear(batch, requests, now, &mut Vec::new())?;
        Err::<(), _>(LedgerError::StillOut("somewhere".into()))
    });
    assert!(outcome.is_err() && scene.ledger.failure().is_none());
    assert_eq!(scene.seen(1..=4), before);
    scene.hear(&requests[..1]);
    let numbers = scene.ledger.standing().numbers;
    let expected = Numbers {
        transfer: before.0.numbers.transfer + 1,
        outbox: before.0.numbers.outbox + 1,
        ..before.0.numbers
    };
    assert_eq!(numbers, expected);
}

fn what_is_not_there_is_known_not_to_be<K: Kind>(kind: &K) {
    let mut scene = played(kind);
    let (there, absent) = (record(1).packet, PacketId(9));
    let needed = Needed {
        packets: vec![there, absent, absent],
        claimed: vec![there, absent],
        grabbed: vec![(absent, UserId(2)), (there, UserId(2))],
        users: vec![UserId(1), UserId(9)],
        shares: vec![(there, UserId(2)), (there, UserId(9)), (absent, UserId(1))],
        offers: vec![(there, UserId(2)), (absent, UserId(2))],
        sends: vec![(Origin::Gift, [1; 16]), (Origin::Sent(UserId(1)), [1; 16])],
        lanes: vec![(1, 0), (1, 1)],
    };
    let now = scene.at();
    scene
        .ledger
        .transaction(now, |batch| {
            batch.load(&needed)?;
            assert!(batch.packet(there).is_some() && batch.packet(absent).is_none());
            assert!(batch.user(UserId(1)).is_some() && batch.user(UserId(9)).is_none());
            let share = |packet, user| batch.share_of(packet, UserId(user));
            assert!(share(there, 2).is_some() && share(there, 9).is_none() && share(absent, 1).is_none());
            assert!(!batch.is_offered(there, UserId(2)) && !batch.is_offered(absent, UserId(2)));
            assert_eq!(batch.made_with(Origin::Gift, &[1; 16]), None);
            assert_eq!(batch.made_with(Origin::Sent(UserId(1)), &[1; 16]), None);
            assert_eq!((batch.lane(1, 0).lane, batch.lane(1, 1).lane), (1, 2));
            Ok(())
        })
        .unwrap();
}

fn what_the_book_did_is_not_read_over<K: Kind>(kind: &K) {
    let mut scene = played(kind);
    let (lane, now) = (scene.lane, scene.at());
    let (id, other) = (record(2).packet, record(4).packet);
    let held = |packets: &[Held]| packets.iter().map(|held| held.packet).collect::<Vec<_>>();
    scene
        .ledger
        .transaction(now, |batch| {
            assert_eq!(held(&batch.held_of_lane(lane, 0..99)?), [id, other]);
            let found = batch.held(&[id]);
            batch.void_packets(&found);
            assert_eq!(batch.load_packet(id)?.unwrap().state, State::Void);
            assert_eq!(held(&batch.held_of_lane(lane, 0..99)?), [other]);
            Ok(())
        })
        .unwrap();
    assert_eq!(packet(&scene, id).state, State::Void);
}

fn listings_are_in_order_and_bounded<K: Kind>(kind: &K) {
    let mut scene = scene(kind);
    scene.release(PACKETS);
    for packet in [5, 1, 3, 0] {
        scene.now += 10;
        scene.hear(&[scene.issue(packet, packet + 1)]);
    }
    let ids = |indexes: &[u64]| indexes.iter().map(|&index| record(index).packet).collect::<Vec<_>>();
    let first_due = UnixMillis(1_010 + LIFETIME_MS);
    let (lane, now) = (scene.lane, scene.at());
    let due = |by: UnixMillis, max| Listing::Due { by, max };
    let held = |lane, positions| Listing::HeldOfLane { lane, positions };
    scene
        .ledger
        .transaction(now, |batch| {
            for (listing, expected) in [
                (due(first_due, 9), &[5][..]),
                (due(first_due.plus_ms(20), 9), &[5, 1, 3]),
                (due(UnixMillis(u64::MAX), 3), &[5, 1, 3]),
                (due(UnixMillis(first_due.0 - 1), 9), &[]),
                (held(lane, 0..u64::MAX >> 1), &[2, 4, 6, 7, 8, 9]),
                (held(lane, 4..7), &[4, 6]),
                (held(lane + 1, 0..99), &[]),
                (Listing::HeldOfOtherMappings(1), &[]),
                (Listing::HeldOfOtherMappings(2), &[2, 4, 6, 7, 8, 9]),
                (Listing::OfState(State::Released), &[2, 4, 6, 7, 8, 9]),
                (Listing::OfState(State::Void), &[]),
            ] {
                assert_eq!(batch.list(&listing)?, ids(expected), "{listing:?}");
            }
            Ok(())
        })
        .unwrap();
}

fn ids_from_2_63_on_are_as_good<K: Kind>(kind: &K) {
    let mut scene = scene(kind);
    scene.release(7);
    let users = [1, i64::MAX as u64, 1 << 63, u64::MAX];
    let claims: Vec<_> = [0, 2, 4, 6]
        .into_iter()
        .zip(users)
        .map(|(packet, user)| scene.claim(packet, user))
        .collect();
    scene.hear(&claims);
    let sends: Vec<_> = users.iter().map(|&user| scene.send(user, 1, 4, 4, &users)).collect();
    scene.hear(&sends);
    let made = (1..=4).map(Scene::<K::Store>::made);
    let grabs: Vec<_> = made.flat_map(|id| users.map(|user| (id, user))).collect();
    let grabs: Vec<_> = grabs.iter().map(|&(id, user)| scene.grab(id, user)).collect();
    scene.hear(&grabs);
    for user in users {
        let Seen::Wallet { balance, movements } = scene.ledger.look(&Look::Wallet(UserId(user), 9)).unwrap() else {
            panic!("a wallet was asked for");
        };
        // What is sent comes back from four: a cent each.
        assert_eq!(movements.len(), 1 + 1 + 4, "{user}");
        assert_eq!(movements.iter().map(|one| one.cents).sum::<i64>(), balance.unwrap());
        assert!(balance.unwrap() > 0);
    }
}

fn offers_come_gifts_first_and_newest_first<K: Kind>(kind: &K) {
    let mut scene = played(kind);
    let requests = [
        scene.gift(1, 4, &[2, 3]),
        scene.send(1, 1, 3, 1, &[2]),
        scene.gift(2, 4, &[3, 2]),
        scene.send(1, 2, 3, 1, &[2, 3]),
    ];
    scene.hear(&requests);
    let made = Scene::<K::Store>::made;
    let offers = |scene: &Scene<K::Store>, user, at| match scene.ledger.look(&Look::Offers(UserId(user), at)).unwrap() {
        Seen::Offers(offers) => offers,
        other => panic!("{other:?}"),
    };
    let offer = |number, from: Option<u64>| Offer {
        packet: made(number),
        from: from.map(UserId),
    };
    let expected = [offer(3, None), offer(1, None), offer(4, Some(1)), offer(2, Some(1))];
    assert_eq!(offers(&scene, 2, scene.at()), expected);
    assert!(offers(&scene, 2, scene.at().plus_ms(LIFETIME_MS)).is_empty());
    assert!(offers(&scene, 4, scene.at()).is_empty());
    // What was grabbed waits no more; what is empty waits for nobody.
    scene.hear(&[scene.grab(made(3), 2), scene.grab(made(4), 3)]);
    assert_eq!(offers(&scene, 2, scene.at()), [expected[1], expected[3]]);
    assert_eq!(offers(&scene, 3, scene.at()), [expected[0], expected[1]]);
}

fn the_store_tells_what_is_out<K: Kind>(kind: &K) {
    let mut scene = scene(kind);
    assert_eq!(
        (scene.ledger.are_out().unwrap(), scene.ledger.first_due().unwrap()),
        (false, None)
    );
    scene.release(1);
    assert_eq!(
        (scene.ledger.are_out().unwrap(), scene.ledger.first_due().unwrap()),
        (true, None)
    );
    scene.hear(&[scene.issue(0, 1)]);
    let due = scene.at().plus_ms(LIFETIME_MS);
    assert_eq!(scene.ledger.first_due().unwrap(), Some(due));
    while scene.at() < due.plus_ms(EXPIRY_GRACE_MS) {
        assert_eq!(scene.expire(), 0);
        scene.now += 500;
    }
    assert_eq!(scene.expire(), 1);
    assert_eq!(packet(&scene, record(0).packet).state, State::Refunded);
    assert_eq!(
        (scene.ledger.are_out().unwrap(), scene.ledger.first_due().unwrap()),
        (false, None)
    );
}

fn what_was_released_elsewhere_is_lost_and_found<K: Kind>(kind: &K) {
    let mut scene = played(kind);
    let lost = scene
        .ledger
        .transaction(UnixMillis(1_500), |batch| {
            let held = batch.held_of_other_mappings(7)?;
            batch.lose_packets(&held);
            Ok(held)
        })
        .unwrap();
    assert_eq!(lost.len(), 2);
    scene.now = 2_000;
    assert_eq!(
        scene.ledger.lost_end(100).unwrap(),
        Some(UnixMillis(1_600)),
        "a ticket's time after it was lost"
    );
    assert_eq!(packet(&scene, record(4).packet).left, Cents(0));
    scene.hear(&[scene.claim(4, 4)]);
    assert_eq!(packet(&scene, record(4).packet).state, State::Opened);
    assert_eq!(scene.ledger.user_balance(UserId(4)).unwrap(), Some(34));
    let void = crate::ledger::Account::Void;
    assert_eq!(scene.ledger.standing().house[&void], 32, "packet 2 lies there still");
}
