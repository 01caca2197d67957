use super::*;
use std::time::Duration;

const USER: UserId = UserId(7);
const SESSIONS: usize = 100;

fn session_ref(shard: u16, index: u32) -> SessionRef {
    SessionRef {
        index,
        serial: index + 1_000,
        shard,
    }
}

/// Two shards, and what time it is a second after they began, two seconds after, and so on.
fn users() -> (Presence, impl Fn(u64) -> Instant) {
    let users = Presence::new(2, SESSIONS);
    let began = users.began;
    (users, move |second| began + Duration::from_secs(second))
}

fn displaced(users: &Presence, shard: u16) -> Vec<SessionRef> {
    let mut displaced = Vec::new();
    users.take_displaced(shard, &mut displaced);
    displaced
}

#[test]
fn the_longest_silent_session_gives_way_whatever_its_shard() {
    let (users, at) = users();
    let old = [
        session_ref(0, 1),
        session_ref(1, 1),
        session_ref(0, 2),
        session_ref(1, 40),
    ];
    for (second, session) in (1..).zip(old) {
        users.join(USER, session, at(second));
    }
    assert!(
        old.iter().all(|session| users.is_present(USER, *session)),
        "four may be"
    );
    // The first and the third went on, so the second is silent for the longest.
    users.hear(0, 1, at(10));
    users.hear(0, 2, at(11));
    users.join(USER, session_ref(0, 3), at(12));
    assert_eq!(
        (displaced(&users, 0), displaced(&users, 1)),
        (vec![], vec![session_ref(1, 1)])
    );
    assert!(!users.is_present(USER, session_ref(1, 1)) && users.is_present(USER, session_ref(0, 3)));
    users.join(USER, session_ref(0, 4), at(13));
    assert_eq!(
        (displaced(&users, 0), displaced(&users, 1)),
        (vec![], vec![session_ref(1, 40)])
    );
    users.join(USER, session_ref(1, 5), at(14));
    assert_eq!(displaced(&users, 0), [session_ref(0, 1)]);
    // Others have sessions of their own.
    users.join(UserId(8), session_ref(1, 6), at(1));
    assert!(users.is_present(UserId(8), session_ref(1, 6)) && displaced(&users, 1).is_empty());
}

#[test]
fn another_hello_adds_no_second_session() {
    let (users, at) = users();
    for second in 1..10 {
        users.join(USER, session_ref(0, 1), at(second));
        users.join(USER, session_ref(1, 1), at(second));
    }
    assert!(displaced(&users, 0).is_empty() && displaced(&users, 1).is_empty());
    users.leave(USER, session_ref(0, 1));
    assert!(users.is_first(USER, session_ref(1, 1)));
    users.leave(USER, session_ref(1, 1));
    assert_eq!(users.users.len(), 0);
}

#[test]
fn a_user_has_one_first_session_and_a_shard_the_share_of_its_own() {
    let (users, at) = users();
    assert_eq!(users.share_of(0), 0.0, "nobody is here");
    for (index, shard) in (0..4).zip([0, 1, 1, 0]) {
        users.join(USER, session_ref(shard, index), at(1));
    }
    users.join(UserId(8), session_ref(1, 9), at(1));
    users.join(UserId(9), session_ref(1, 10), at(1));
    let firsts = (0..4).zip([0, 1, 1, 0]).map(|(index, shard)| session_ref(shard, index));
    assert_eq!(firsts.filter(|session| users.is_first(USER, *session)).count(), 1);
    assert_eq!(users.share_of(0), 1.0 / 3.0);
    assert_eq!(users.newest_in(0, USER), Some(session_ref(0, 3)));
    assert_eq!(users.newest_in(1, USER), Some(session_ref(1, 2)));
    assert_eq!(users.newest_in(0, UserId(8)), None);
    users.leave(USER, session_ref(0, 0));
    assert!(users.is_first(USER, session_ref(1, 1)), "the next oldest");
    assert_eq!((users.share_of(0), users.share_of(1)), (0.0, 1.0));
    // A session of the same index that came later is another.
    users.leave(
        UserId(8),
        SessionRef {
            serial: 1,
            ..session_ref(1, 9)
        },
    );
    assert!(users.is_present(UserId(8), session_ref(1, 9)));
}

#[test]
fn the_shares_stay_right_while_many_threads_come_and_go() {
    let users = Presence::new(2, SESSIONS);
    std::thread::scope(|scope| {
        for shard in [0, 1] {
            let users = &users;
            scope.spawn(move || {
                for round in 0..2_000 {
                    let session = session_ref(shard, round % 50);
                    users.join(UserId(u64::from(round % 7)), session, Instant::now());
                    if round % 3 == 0 {
                        users.leave(UserId(u64::from(round % 7)), session);
                    }
                    displaced(users, shard);
                }
            });
        }
    });
    let firsts: usize = users.shards.iter().map(|shard| shard.firsts.load(Relaxed)).sum();
    assert_eq!(firsts, users.users.len());
    assert!(
        users
            .users
            .iter()
            .all(|sessions| (1..=SESSIONS_MAX).contains(&sessions.all().count))
    );
}
