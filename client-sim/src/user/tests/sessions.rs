//! Sessions: how a phone comes back, and how it leaves.

use super::*;

#[test]
fn sessions_retry_within_bounds_and_give_up() {
    let habits = habits();
    let mut user = User::new(0, 1, &habits);
    let mut tally = Tally::default();
    let next = user.on_connect_failed(ms(0), "timed_out", &habits, &mut tally);
    assert!(matches!(next, ConnectNext::At(at) if at >= ms(50) && at <= ms(100)));
    let failed = user.on_hello(ms(0), Err(RequestFailure::Timeout), &habits, &mut tally);
    assert!(matches!(failed, Err(ConnectNext::At(at)) if at >= ms(100) && at <= ms(200)));
    assert_eq!(
        user.on_connect_failed(ms(0), "timed_out", &habits, &mut tally),
        ConnectNext::GiveUp
    );
    assert_eq!(
        (tally.sessions.connect_failures["timed_out"], tally.sessions.failed),
        (2, 1)
    );

    let mut user = User::new(0, 1, &habits);
    let forged = Err(RequestFailure::Reset(Code::TokenForged.number().into()));
    assert_eq!(
        user.on_hello(ms(0), forged, &habits, &mut tally),
        Err(ConnectNext::GiveUp)
    );
    assert_eq!(tally.sessions.hello_failures["token_forged"], 1);
}

#[test]
fn a_phone_whose_place_another_took_does_not_come_back_by_itself() {
    let habits = habits();
    let displaced = format!("closed_{}", Code::TooMany);
    let (mut user, mut tally) = online(&habits);
    let next = user.on_connection_lost(ms(150), &displaced, &habits, &mut tally);
    assert_eq!(next, ConnectNext::GiveUp);
    assert_eq!((tally.sessions.lost, tally.sessions.failed), (1, 1));
    // Nor in the middle of its Hello; but a stream that is refused so is tried again, and so is any other end.
    let number = u64::from(Code::TooMany.number());
    for (failure, is_final) in [
        (RequestFailure::Closed(number), true),
        (RequestFailure::Reset(number), false),
    ] {
        let mut user = User::new(0, 1, &habits);
        let next = user.on_hello(ms(1), Err(failure), &habits, &mut tally);
        assert_eq!(next == Err(ConnectNext::GiveUp), is_final);
    }
    let (mut user, mut tally) = online(&habits);
    let ended = format!("closed_{}", Code::TokenExpired);
    let next = user.on_connection_lost(ms(150), &ended, &habits, &mut tally);
    assert!(
        matches!(next, ConnectNext::At(at) if at > ms(150)),
        "with another token"
    );
}

#[test]
fn going_away_is_spread_and_not_before_told() {
    let habits = habits();
    let go_away = v1::GoAway {
        reconnect_after_ms: 500,
        alternatives: Vec::new(),
    };
    let notice = v1::Notice {
        kind: Some(v1::notice::Kind::GoAway(go_away)),
    };
    let (mut user, mut tally) = online(&habits);
    let Some(Action::Leave { at, to: None }) = user.on_notice(ms(100), &notice, &habits, &mut tally) else {
        panic!("it leaves");
    };
    assert!(at >= ms(600) && at <= ms(1_100));
    let next = user.on_connection_lost(ms(150), "closed_done", &habits, &mut tally);
    assert_eq!(next, ConnectNext::At(at));
    user.on_hello(at, Ok(hello_reply(0)), &habits, &mut tally)
        .expect("good");
    assert_eq!(
        (
            tally.sessions.connected,
            tally.sessions.reconnected,
            tally.sessions.lost
        ),
        (1, 1, 1)
    );
}

/// What was won here is opened here, whatever the time to leave.
#[test]
fn a_phone_opens_what_it_holds_before_it_leaves() {
    let habits = habits();
    let (mut user, mut tally) = online(&habits);
    assert_eq!(user.leaves_later(ms(5)), None);
    user.on_shake_due(ms(0), ms(0), 0, &habits, &mut tally);
    let claim = errand(user.on_shake_reply(ms(5), win(0), &habits, &mut tally));
    for at in [ms(10), claim.at, ms(60_000)] {
        assert!(user.leaves_later(at).is_some_and(|again| again > at));
    }
    user.on_errand(ms(60_001), claim.id, opened(1, 4, false), &habits, &mut tally);
    assert_eq!(user.leaves_later(ms(60_002)), None);
}
