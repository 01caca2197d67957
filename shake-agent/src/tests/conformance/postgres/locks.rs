//! What another agent has at the moment.

use super::{OnPostgres, balance, both_at_once, movements, server, two_agents};
use crate::ledger::{Needed, Postgres};
use crate::tests::conformance::scene::{Scene, record};
use local_postgres::AGENT;
use shake_rules::UserId;
use std::thread;

/// A row that another agent has holds up only who wants to change it. What can change no more is answered.
#[test]
fn what_another_agent_has_is_waited_for_and_holds_up_nobody_else() {
    let server = server();
    let [first, second] = &mut two_agents(&server, "others");
    let split = record(1).packet;
    // All users are there: one that another agent is making is waited for.
    first.hear(&[
        first.claim(1, 3),
        first.grab(split, 4),
        first.claim(5, 9),
        first.grab(split, 7),
    ]);
    first.hear(&[first.claim(7, 8)]);
    let requests = [
        first.claim(0, 7),
        first.claim(2, 8),
        first.claim(4, 9),
        first.claim(1, 3),
        first.grab(split, 4),
        first.grab(record(5).packet, 4),
        first.send(8, 1, 1, 1, &[]),
    ];
    let needed = Needed {
        claimed: vec![record(0).packet],
        grabbed: vec![(record(5).packet, UserId(6))],
        users: vec![UserId(9)],
        ..Needed::default()
    };
    let now = second.at();
    second
        .ledger
        .transaction(now, |batch| {
            batch.load(&needed)?;
            let (answers, waiting) = first.hear_once(&requests, 0..requests.len());
            assert_eq!(waiting, [0, 2, 5], "a packet's, a user's, a share's");
            assert_eq!(answers.into_keys().collect::<Vec<_>>(), [1, 3, 4, 6]);
            Ok(())
        })
        .unwrap();
    let (answers, waiting) = first.hear_once(&requests, 0..requests.len());
    assert_eq!((answers.len(), waiting.len()), (requests.len(), 0));
    for (user, lines) in [(3, 1), (4, 2), (7, 2), (8, 3), (9, 2)] {
        assert_eq!(movements(first, user).len(), lines, "user {user}");
    }
}

/// Who may not grab, or has grabbed, keeps nobody from a packet.
#[test]
fn a_packet_is_locked_only_for_who_can_change_it() {
    let server = server();
    let [first, second] = &mut two_agents(&server, "entitled");
    first.hear(&[first.claim(0, 1), first.send(1, 1, 6, 2, &[2, 3])]);
    let made = Scene::<Postgres>::made(1);
    first.hear(&[first.grab(made, 2)]);
    let needed = Needed {
        claimed: vec![record(0).packet, made],
        grabbed: vec![(made, UserId(2)), (made, UserId(99))],
        ..Needed::default()
    };
    let now = second.at();
    second
        .ledger
        .transaction(now, |batch| {
            batch.load(&needed)?;
            assert!(!batch.may_change_packet(made) && !batch.may_change_packet(record(0).packet));
            let (answers, waiting) = first.hear_once(&[first.grab(made, 3)], [0]);
            assert_eq!((answers.len(), waiting.len()), (1, 0));
            Ok(())
        })
        .unwrap();
    assert_eq!(movements(first, 3).len(), 1);
}

/// Ids are signed at the server: those from 2^63 on come first there. Whoever makes the same users at the same time makes them in one
/// order, or a deadlock would end one of the transactions.
#[test]
fn users_on_both_sides_of_2_63_are_made_by_two_agents_at_once() {
    let server = server();
    for round in 0..8 {
        let mut agents = two_agents(&server, &format!("sides{round}"));
        let users = [1, i64::MAX.cast_unsigned(), 1 << 63, (1 << 63) + 1, u64::MAX];
        let claims = |agent: &Scene<Postgres>, first: u64| {
            let packets = (first..).step_by(2).zip(users);
            packets
                .map(|(packet, user)| agent.claim(packet, user))
                .collect::<Vec<_>>()
        };
        let mut requests = [claims(&agents[0], 0), claims(&agents[1], 1)];
        requests[1].reverse();
        both_at_once(&mut agents, &requests);
        for user in users {
            assert_eq!(movements(&agents[0], user).len(), 2, "user {user} in round {round}");
        }
    }
}

/// What another session has for too long is no fault of the disk: nothing is there of the transaction, and it may be tried again.
#[test]
fn a_lock_that_takes_too_long_is_a_conflict() {
    let server = server();
    let kind = OnPostgres::new(&server, "conflict");
    server
        .run("conflict", &format!("ALTER ROLE {AGENT} SET lock_timeout = '100ms'"))
        .unwrap();
    let mut agent = kind.agent(0);
    agent.release(1);
    let now = agent.at();
    let hold = "BEGIN; SELECT * FROM parts WHERE part = 0 FOR UPDATE; SELECT pg_sleep(1); COMMIT";
    thread::scope(|scope| {
        let holding = scope.spawn(|| server.run("conflict", hold).unwrap());
        let refused = loop {
            match agent.ledger.transaction(now, |_| Ok(())) {
                Err(fault) => break fault,
                // Nobody holds it yet.
                Ok(()) => assert!(!holding.is_finished(), "the lock stood in nobody's way"),
            }
        };
        assert!(refused.is_conflict(), "{refused}");
        assert_eq!(agent.ledger.failure(), None);
        holding.join().unwrap();
    });
    agent.hear(&[agent.claim(0, 1)]);
    assert_eq!(balance(&agent, 1), 30);
}
