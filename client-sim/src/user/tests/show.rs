//! Versions, countdowns and the Hello that follows a change.

use super::*;
use crate::tally::Tally;

fn phase(name: &str, starts_in_ms: u64, ends_in_ms: u64) -> v1::Phase {
    v1::Phase {
        name: name.into(),
        starts_in_ms,
        ends_in_ms,
    }
}

fn told(version: u64, current: Option<v1::Phase>, next: Option<v1::Phase>) -> v1::HelloReply {
    v1::HelloReply {
        // Far from this machine's clock: countdowns need neither.
        server_time_ms: 1,
        config_version: version,
        current_phase: current,
        next_phase: next,
        ..Default::default()
    }
}

fn as_reply(hello: v1::HelloReply) -> v1::Reply {
    v1::Reply {
        kind: Some(v1::reply::Kind::Hello(hello)),
    }
}

fn greeting(sequence: u32, config_version: u64) -> v1::ShakeReply {
    v1::ShakeReply {
        config_version,
        ..reply(sequence, v1::Outcome::Greeting, 0)
    }
}

#[test]
fn outcomes_are_counted_in_the_phase_of_the_countdown() {
    let habits = habits();
    let mut user = User::new(0, 1, &habits);
    let mut tally = Tally::default();
    let hello = told(5, Some(phase("warm", 0, 1_000)), Some(phase("main", 2_000, 3_000)));
    user.on_hello(ms(100), Ok(as_reply(hello)), &habits, &mut tally)
        .expect("good");
    for (sequence, at) in [1_099, 1_100, 2_099, 2_100, 3_099, 3_100].into_iter().enumerate() {
        let sequence = sequence as u32;
        user.on_shake_due(ms(at), ms(at), sequence, &habits, &mut tally);
        user.on_shake_reply(ms(at), greeting(sequence, 5), &habits, &mut tally);
    }
    let phases = tally.phases.by_name();
    let count = |phase: &str| phases[phase]["greeting"];
    assert_eq!((count("warm"), count("main"), count("no_phase")), (1, 2, 3));
}

#[test]
fn a_grown_version_brings_one_hello_and_the_new_countdown() {
    let habits = habits();
    let mut user = User::new(0, 1, &habits);
    let mut tally = Tally::default();
    user.on_hello(ms(0), Ok(as_reply(told(5, None, None))), &habits, &mut tally)
        .expect("good");
    for sequence in 0..5 {
        user.on_shake_due(ms(1_000), ms(1_000), sequence, &habits, &mut tally);
    }
    let hear = |user: &mut User, sequence, version, tally: &mut Tally| {
        user.on_shake_reply(ms(1_010), greeting(sequence, version), &habits, tally)
    };
    assert!(hear(&mut user, 0, 5, &mut tally).is_empty(), "nothing new");
    let start = errand(hear(&mut user, 1, 6, &mut tally));
    assert!(
        start.at >= ms(1_110) && start.at <= ms(1_310),
        "spread as the habits say"
    );
    assert!(hear(&mut user, 2, 7, &mut tally).is_empty(), "one Hello is enough");
    assert!(hear(&mut user, 3, 4, &mut tally).is_empty(), "an older one is no news");

    let request = user.errand_request(start.at, start.id, token);
    let Some(v1::request::Kind::Hello(hello)) = request else {
        panic!("a Hello, not {request:?}");
    };
    assert_eq!(hello.token, "token 1");
    let answer = Ok(as_reply(told(7, Some(phase("main", 0, 9_000)), None)));
    let (next, actions) = user.on_errand(start.at, start.id, answer, &habits, &mut tally);
    assert_eq!((next, actions.len()), (ErrandNext::Done, 0));
    hear(&mut user, 4, 7, &mut tally);
    assert_eq!(tally.phases.by_name()["main"]["greeting"], 1);
    assert_eq!((tally.hellos_again.begun, tally.hellos_again.done), (1, 1));
    let versions: Vec<_> = tally
        .versions
        .iter()
        .map(|(number, seen)| (number, seen.sessions))
        .collect();
    assert_eq!(versions, [(5, 0), (6, 0), (7, 1)]);
}

#[test]
fn a_notice_of_a_phase_is_followed_and_brings_a_hello_when_the_version_grew() {
    let habits = habits();
    let (mut user, mut tally) = online(&habits);
    let changed = |config_version| v1::Notice {
        kind: Some(v1::notice::Kind::PhaseChanged(v1::PhaseChanged {
            current_phase: None,
            next_phase: Some(phase("main", 500, 1_500)),
            config_version,
        })),
    };
    assert!(
        user.on_notice(ms(0), &changed(1), &habits, &mut tally).is_none(),
        "the first version heard of"
    );
    let start = errand(user.on_notice(ms(0), &changed(2), &habits, &mut tally));
    user.on_shake_due(ms(500), ms(500), 0, &habits, &mut tally);
    user.on_shake_reply(ms(500), greeting(0, 2), &habits, &mut tally);
    assert_eq!(tally.phases.by_name()["main"]["greeting"], 1);
    assert_eq!(tally.sessions.phase_notices, 2);

    assert!(!user.is_waiting(), "a run does not wait for another Hello");
    let lost = Err(RequestFailure::Reset(Code::TooMany.number().into()));
    let (next, _) = user.on_errand(start.at, start.id, lost, &habits, &mut tally);
    assert!(matches!(next, ErrandNext::At(_)));
    user.finish(&mut tally);
    assert_eq!(tally.hellos_again.course.unfinished, 1);
}

#[test]
fn those_who_are_told_to_go_elsewhere_pick_each_place() {
    let habits = Habits {
        obey_pace: 0.5,
        ..habits()
    };
    let alternatives = ["a:1", "b:2", "c:3"].map(str::to_owned);
    let go_away = v1::GoAway {
        reconnect_after_ms: 1_000,
        alternatives: alternatives.to_vec(),
    };
    let notice = v1::Notice {
        kind: Some(v1::notice::Kind::GoAway(go_away)),
    };
    let mut tally = Tally::default();
    let mut picked = [0; 3];
    for index in 0..300 {
        let mut user = User::new(index, 1, &habits);
        user.on_hello(ms(0), Ok(hello_reply(0)), &habits, &mut tally)
            .expect("good");
        let action = user.on_notice(ms(100), &notice, &habits, &mut tally);
        let Some(Action::Leave { at, to: Some(to) }) = action else {
            panic!("it leaves for somewhere");
        };
        let obeys = is_among(index, 0.5);
        let told = if obeys {
            ms(1_100)..=ms(2_100)
        } else {
            ms(100)..=ms(100)
        };
        assert!(told.contains(&at), "{at:?}");
        picked[alternatives.iter().position(|one| *one == to).expect("one of them")] += 1;
        assert!(
            user.on_notice(ms(200), &notice, &habits, &mut tally).is_none(),
            "told twice, it leaves once"
        );
    }
    assert!(picked.iter().all(|&count| count > 60), "{picked:?}");
}
