use super::*;
use std::time::Duration;

const USER: UserId = UserId(7);
const SESSIONS: usize = 100;

fn seat(shard: u16, session: u32) -> SessionRef {
    SessionRef {
        session,
        serial: session + 1_000,
        shard,
    }
}

/// Two shards, and what time it is a second after they began, two seconds after, and so on.
fn users() -> (Presence, impl Fn(u64) -> Instant) {
    let users = Presence::new(2, SESSIONS);
    let began = users.began;
    (users, move |second| began + Duration::from_secs(second))
}

fn taken(users: &Presence, shard: u16) -> Vec<SessionRef> {
    let mut taken = Vec::new();
    users.take_taken(shard, &mut taken);
    taken
}

#[test]
fn the_longest_silent_session_gives_way_whatever_its_shard() {
    let (users, at) = users();
    let old = [seat(0, 1), seat(1, 1), seat(0, 2), seat(1, 40)];
    for (second, seat) in (1..).zip(old) {
        users.sit(USER, seat, at(second));
    }
    assert!(old.iter().all(|seat| users.sits(USER, *seat)), "four may be");
    // The first and the third went on, so the second is silent for the longest.
    users.hear(0, 1, at(10));
    users.hear(0, 2, at(11));
    users.sit(USER, seat(0, 3), at(12));
    assert_eq!((taken(&users, 0), taken(&users, 1)), (vec![], vec![seat(1, 1)]));
    assert!(!users.sits(USER, seat(1, 1)) && users.sits(USER, seat(0, 3)));
    users.sit(USER, seat(0, 4), at(13));
    assert_eq!((taken(&users, 0), taken(&users, 1)), (vec![], vec![seat(1, 40)]));
    users.sit(USER, seat(1, 5), at(14));
    assert_eq!(taken(&users, 0), [seat(0, 1)]);
    // Others have seats of their own.
    users.sit(UserId(8), seat(1, 6), at(1));
    assert!(users.sits(UserId(8), seat(1, 6)) && taken(&users, 1).is_empty());
}

#[test]
fn another_hello_takes_no_second_seat() {
    let (users, at) = users();
    for second in 1..10 {
        users.sit(USER, seat(0, 1), at(second));
        users.sit(USER, seat(1, 1), at(second));
    }
    assert!(taken(&users, 0).is_empty() && taken(&users, 1).is_empty());
    users.leave(USER, seat(0, 1));
    assert!(users.sits_first(USER, seat(1, 1)));
    users.leave(USER, seat(1, 1));
    assert_eq!(users.seats.len(), 0);
}

#[test]
fn a_user_has_one_first_seat_and_a_shard_the_share_of_its_own() {
    let (users, at) = users();
    assert_eq!(users.share_of(0), 0.0, "nobody is here");
    for (session, shard) in (0..4).zip([0, 1, 1, 0]) {
        users.sit(USER, seat(shard, session), at(1));
    }
    users.sit(UserId(8), seat(1, 9), at(1));
    users.sit(UserId(9), seat(1, 10), at(1));
    let firsts = (0..4).zip([0, 1, 1, 0]).map(|(session, shard)| seat(shard, session));
    assert_eq!(firsts.filter(|seat| users.sits_first(USER, *seat)).count(), 1);
    assert_eq!(users.share_of(0), 1.0 / 3.0);
    assert_eq!(users.newest_in(0, USER), Some(seat(0, 3)));
    assert_eq!(users.newest_in(1, USER), Some(seat(1, 2)));
    assert_eq!(users.newest_in(0, UserId(8)), None);
    users.leave(USER, seat(0, 0));
    assert!(users.sits_first(USER, seat(1, 1)), "the next oldest");
    assert_eq!((users.share_of(0), users.share_of(1)), (0.0, 1.0));
    // A session of the same index that came later is another.
    users.leave(
        UserId(8),
        SessionRef {
            serial: 1,
            ..seat(1, 9)
        },
    );
    assert!(users.sits(UserId(8), seat(1, 9)));
}

#[test]
fn the_shares_stay_right_while_many_threads_come_and_go() {
    let users = Presence::new(2, SESSIONS);
    std::thread::scope(|scope| {
        for shard in [0, 1] {
            let users = &users;
            scope.spawn(move || {
                for round in 0..2_000 {
                    let session = seat(shard, round % 50);
                    users.sit(UserId(u64::from(round % 7)), session, Instant::now());
                    if round % 3 == 0 {
                        users.leave(UserId(u64::from(round % 7)), session);
                    }
                    taken(users, shard);
                }
            });
        }
    });
    let firsts: usize = users.shards.iter().map(|shard| shard.firsts.load(Relaxed)).sum();
    assert_eq!(firsts, users.seats.len());
    assert!(users.seats.iter().all(|seats| (1..=SEATS).contains(&seats.all().count)));
}
