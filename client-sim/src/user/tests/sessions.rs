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

/// Of a gateway that is silent: (how many silences are borne, whether it then leaves).
#[test]
fn who_knows_another_gateway_leaves_one_that_is_silent() {
    for (silences_max, leaves) in [(2, true), (0, false)] {
        let habits = Habits {
            silences_max,
            ..habits()
        };
        let (mut user, mut tally) = online(&habits);
        user.on_shake_due(ms(0), ms(0), 0, &habits, &mut tally);
        let claim = errand(user.on_shake_reply(ms(5), win(0), &habits, &mut tally));
        claim_request(&mut user, claim.at, claim.id);
        let (again, actions) = user.on_errand(ms(5_000), claim.id, Err(RequestFailure::Timeout), &habits, &mut tally);
        assert!(
            matches!(again, ErrandNext::At(_)) && actions.is_empty(),
            "one is no silence: {actions:?}"
        );
        // Shakes stay unanswered, too; the first due after that is not sent.
        let sent = user.on_shake_due(ms(6_000), ms(6_000), 1, &habits, &mut tally);
        assert!(matches!(sent, ShakeNext::Send(_)), "{sent:?}");
        let next = user.on_shake_due(ms(8_001), ms(8_001), 2, &habits, &mut tally);
        let ShakeNext::Instead(Action::Leave { at, to: None }) = next else {
            assert!(!leaves, "{next:?}");
            continue;
        };
        assert!(leaves && at == ms(8_001), "at once");
        assert_eq!(user.leaves_later(at), None, "the claim goes on elsewhere");
        assert_eq!(user.forsake(ms(8_002), &habits), None, "it leaves once");
        let next = user.on_connection_lost(ms(8_003), "left_as_told", &habits, &mut tally);
        assert!(
            matches!(next, ConnectNext::At(at) if at >= ms(8_003) && at <= ms(9_001)),
            "{next:?}"
        );
        assert_eq!(tally.errors["connection_silent"].count, 1);
        user.on_hello(ms(9_500), Ok(hello_reply(0)), &habits, &mut tally)
            .expect("good");
        let request = claim_request(&mut user, ms(9_600), claim.id);
        assert_eq!(
            (&request.ticket[..], &request.cookie[..]),
            (&[9; 74][..], &b"cookie"[..])
        );
        let (done, _) = user.on_errand(ms(9_700), claim.id, opened(1, 4, false), &habits, &mut tally);
        assert_eq!((done, tally.claims.opened), (ErrandNext::Done, 1));
        assert_eq!(user.forsake(ms(9_800), &habits), None, "it was heard");
    }
}

/// Whatever is heard in between ends a silence.
#[test]
fn a_gateway_that_says_anything_is_not_silent() {
    let habits = Habits {
        silences_max: 2,
        ..habits()
    };
    let (mut user, mut tally) = online(&habits);
    user.on_shake_due(ms(0), ms(0), 0, &habits, &mut tally);
    let claim = errand(user.on_shake_reply(ms(5), win(0), &habits, &mut tally));
    let phase = v1::Notice {
        kind: Some(v1::notice::Kind::PhaseChanged(v1::PhaseChanged::default())),
    };
    for round in 0..3 {
        let at = ms(1_000 * (round + 1));
        let (_, actions) = user.on_errand(at, claim.id, Err(RequestFailure::Timeout), &habits, &mut tally);
        assert!(actions.is_empty(), "{round}: {actions:?}");
        user.on_notice(at, &phase, &habits, &mut tally);
    }
}

/// A connection that ends by itself, and a Hello that fails: the gateway may be gone.
#[test]
fn who_knows_another_gateway_goes_there_when_its_own_has_gone() {
    let several = Habits {
        silences_max: 1,
        ..habits()
    };
    for reason in ["reset", "timed_out", "closed_going_away"] {
        let (mut user, mut tally) = online(&several);
        let next = user.on_connection_lost(ms(5), reason, &several, &mut tally);
        assert!(matches!(next, ConnectNext::Elsewhere(_)), "{reason}: {next:?}");
        let next = user.on_hello(ms(10), Err(RequestFailure::Timeout), &several, &mut tally);
        assert!(matches!(next, Err(ConnectNext::Elsewhere(_))), "{reason}: {next:?}");
    }
    // Who was told when to come back, and where, goes there.
    let (mut user, mut tally) = online(&several);
    let go_away = v1::GoAway {
        reconnect_after_ms: 500,
        alternatives: vec!["there:1".into()],
    };
    let notice = v1::Notice {
        kind: Some(v1::notice::Kind::GoAway(go_away)),
    };
    let Some(Action::Leave { to, .. }) = user.on_notice(ms(100), &notice, &several, &mut tally) else {
        panic!("it leaves");
    };
    assert_eq!(to.as_deref(), Some("there:1"));
    let next = user.on_connection_lost(ms(150), "closed_done", &several, &mut tally);
    assert!(matches!(next, ConnectNext::At(_)), "{next:?}");
}
