use super::roles::is_among;
use super::*;
use proptest::prelude::*;
use shake_proto::reply::{ClaimResult, Reason};
use shake_proto::wire::v1;
use shake_rules::{Cents, PacketId, SponsorId};

fn habits() -> Habits {
    Habits {
        seed: 3,
        run: 0,
        sessions: 10,
        obey_pace: 1.0,
        use_streams: 0.0,
        claim_delay_ms: [100, 200],
        shake_timeout: Micros::from_ms(2_000),
        connect_tries_max: 3,
        claim_tries_max: 4,
        backoff: Backoff {
            first_ms: 100,
            max_ms: 1_000,
        },
        silence: Backoff {
            first_ms: 1_000,
            max_ms: 8_000,
        },
        hello_delay_ms: [100, 300],
        packets: PacketHabits {
            share_split: 0.0,
            friends_told: 2,
            send_share: 0.0,
            send_min_cents: 40,
            view_share: 0.0,
            wallet_share: 0.0,
            hoard_share: 0.0,
            grab_share: 1.0,
            repeat_share: 0.0,
            delay_ms: [10, 50],
        },
        packages: PackageHabits {
            fetch_share: 0.0,
            sample: 5,
            within: Micros::from_s(60),
        },
        networks: Default::default(),
    }
}

/// The errand among these; there must be exactly one.
fn errand(actions: impl IntoIterator<Item = Action>) -> ErrandStart {
    let starts: Vec<_> = actions
        .into_iter()
        .filter_map(|action| match action {
            Action::Errand(start) => Some(start),
            _ => None,
        })
        .collect();
    assert_eq!(starts.len(), 1, "one errand");
    starts[0]
}

fn claim_request(user: &mut User, now: Micros, id: ErrandId) -> v1::Claim {
    match user.errand_request(now, id, token) {
        Some(v1::request::Kind::Claim(claim)) => claim,
        other => panic!("a claim, not {other:?}"),
    }
}

fn token(user: u64) -> Bytes {
    Bytes::from(format!("token {user}"))
}

fn ms(ms: u64) -> Micros {
    Micros::from_ms(ms)
}

fn hello_reply(pace_ms: u32) -> v1::Reply {
    let hello = v1::HelloReply {
        pace_ms,
        ..Default::default()
    };
    v1::Reply {
        kind: Some(v1::reply::Kind::Hello(hello)),
    }
}

fn claim_reply(result: ClaimResult) -> Result<v1::Reply, RequestFailure> {
    Ok(v1::Reply {
        kind: Some(v1::reply::Kind::Claim(result.into())),
    })
}

fn opened(packet: u64, sponsor: u16, repeat: bool) -> Result<v1::Reply, RequestFailure> {
    claim_reply(ClaimResult::Opened {
        packet: PacketId(packet),
        amount: Cents(50),
        sponsor: SponsorId(sponsor),
        code: Bytes::new(),
        repeat,
    })
}

fn reply(sequence: u32, outcome: v1::Outcome, pace_ms: u32) -> v1::ShakeReply {
    v1::ShakeReply {
        sequence,
        outcome: outcome as i32,
        pace_ms,
        ..Default::default()
    }
}

fn win(sequence: u32) -> v1::ShakeReply {
    v1::ShakeReply {
        red_packet: Some(v1::RedPacket {
            ticket: Bytes::from_static(&[9; 74]),
            sponsor_id: 4,
            cookie: Bytes::from_static(b"cookie"),
        }),
        ..reply(sequence, v1::Outcome::RedPacket, 0)
    }
}

/// A user with a connection, and the tally that counted it.
fn online(habits: &Habits) -> (User, Tally) {
    let mut user = User::new(0, 77, habits);
    let mut tally = Tally::default();
    user.on_hello(ms(0), Ok(hello_reply(0)), habits, &mut tally)
        .expect("a good reply");
    (user, tally)
}

#[test]
fn latency_counts_from_the_intended_time() {
    let habits = habits();
    let (mut user, mut tally) = online(&habits);
    // The engine came round to it 30 ms late; the answer took 5 ms more.
    assert!(matches!(
        user.on_shake_due(ms(1_030), ms(1_000), 0, &habits, &mut tally),
        ShakeNext::Send(_)
    ));
    user.on_shake_reply(ms(1_035), reply(0, v1::Outcome::Greeting, 0), &habits, &mut tally);
    assert_eq!(tally.shakes.answered, 1);
    assert!(
        (34_900..=35_100).contains(&tally.latency.max()),
        "{}",
        tally.latency.max()
    );
}

#[test]
fn lost_late_and_unexpected_are_told_apart() {
    let habits = habits();
    let (mut user, mut tally) = online(&habits);
    for sequence in 0..3 {
        user.on_shake_due(ms(0), ms(0), sequence, &habits, &mut tally);
    }
    let mut answer = |at, sequence, tally: &mut Tally| {
        user.on_shake_reply(at, reply(sequence, v1::Outcome::Nothing, 0), &habits, tally);
    };
    answer(ms(10), 2, &mut tally);
    answer(ms(20), 2, &mut tally); // a second answer
    answer(ms(30), 8, &mut tally); // never sent
    answer(ms(2_001), 1, &mut tally); // its time was over at 2,000
    let shakes = &tally.shakes;
    assert_eq!(
        (shakes.answered, shakes.unexpected, shakes.unanswered, shakes.late),
        (1, 2, 2, 1)
    );
    assert_eq!(tally.open_ends(), (0, 0));
}

/// Plays a schedule with a shake each 100 ms for 10 s, answered at once with this pace; gives when shakes were sent.
fn played(obey_pace: f64, pace_ms: u32) -> (Vec<u64>, Tally) {
    let habits = Habits { obey_pace, ..habits() };
    let (mut user, mut tally) = online(&habits);
    let mut due_again: Option<(Micros, u32)> = None;
    let mut sent = Vec::new();
    for at_ms in 100..10_100 {
        let slot = (at_ms % 100 == 0).then(|| (ms(at_ms), at_ms as u32 / 100));
        for (due, sequence) in due_again.take_if(|(at, _)| *at <= ms(at_ms)).into_iter().chain(slot) {
            match user.on_shake_due(ms(at_ms), due, sequence, &habits, &mut tally) {
                ShakeNext::Send(_) => {
                    sent.push(due.0 / 1_000);
                    user.on_shake_reply(due, reply(sequence, v1::Outcome::Nothing, pace_ms), &habits, &mut tally);
                }
                ShakeNext::At(at) => assert_eq!(due_again.replace((at, sequence)), None, "one waits"),
                ShakeNext::LeftOut => {}
            }
        }
    }
    user.finish(&mut tally);
    (sent, tally)
}

/// Who is held back shakes just at the pace, whatever the schedule's own distances; who is not, by the schedule.
#[test]
fn a_phone_that_was_held_back_shakes_as_soon_as_it_may() {
    for (obey_pace, pace_ms, interval_ms) in [(1.0, 150, 150), (1.0, 310, 310), (1.0, 99, 100), (0.0, 150, 100)] {
        let (sent, tally) = played(obey_pace, pace_ms);
        assert!(
            sent.windows(2).all(|pair| pair[1] - pair[0] == interval_ms),
            "{pace_ms}: {sent:?}"
        );
        let shakes = &tally.shakes;
        assert_eq!(
            shakes.sent + shakes.held_back,
            100,
            "{pace_ms}: no slot is lost or sent twice"
        );
        assert_eq!(shakes.postponed > 0, interval_ms > 100, "{pace_ms}");
        assert!(tally.latency.max() <= 1, "counted from when the phone might shake");
    }
}

#[test]
fn slow_down_holds_for_the_told_time() {
    let habits = habits();
    let (mut user, mut tally) = online(&habits);
    user.on_shake_due(ms(0), ms(0), 0, &habits, &mut tally);
    let slow = v1::ShakeReply {
        slow_down: Some(v1::SlowDown {
            grade: 2,
            retry_after_ms: 1_000,
            blocked: false,
        }),
        ..reply(0, v1::Outcome::SlowDown, 0)
    };
    user.on_shake_reply(ms(10), slow, &habits, &mut tally);
    let ShakeNext::At(at) = user.on_shake_due(ms(500), ms(500), 1, &habits, &mut tally) else {
        panic!("it may not shake yet");
    };
    assert!(at >= ms(1_010) && at <= ms(1_510));
    assert_eq!(
        user.on_shake_due(ms(1_000), ms(1_000), 2, &habits, &mut tally),
        ShakeNext::LeftOut
    );
    assert!(matches!(
        user.on_shake_due(at, at, 1, &habits, &mut tally),
        ShakeNext::Send(_)
    ));
    assert_eq!((tally.shakes.held_back, tally.outcomes[7]), (1, 1));
    user.on_shake_reply(ms(1_520), reply(1, v1::Outcome::SlowDown, 0), &habits, &mut tally);
    assert_eq!(
        tally.violations.malformed_replies, 1,
        "a slow down that does not say how"
    );
}

/// A shake that waits for the pace when the connection ends was not offered, and does not stand in the way of later ones.
#[test]
fn a_shake_that_waits_ends_with_the_connection_or_the_run() {
    let habits = habits();
    let (mut user, mut tally) = online(&habits);
    user.on_shake_due(ms(5), ms(5), 0, &habits, &mut tally);
    user.on_shake_reply(ms(6), reply(0, v1::Outcome::Nothing, 995), &habits, &mut tally);
    let held = user.on_shake_due(ms(500), ms(500), 1, &habits, &mut tally);
    assert_eq!(held, ShakeNext::At(ms(1_000)));
    user.on_connection_lost(ms(600), "reset", &habits, &mut tally);
    let offline = user.on_shake_due(ms(1_000), ms(1_000), 1, &habits, &mut tally);
    assert_eq!((offline, tally.shakes.skipped_offline), (ShakeNext::LeftOut, 1));
    user.on_hello(ms(1_100), Ok(hello_reply(1_000)), &habits, &mut tally)
        .expect("good");
    user.on_shake_due(ms(1_200), ms(1_200), 2, &habits, &mut tally);
    let held = user.on_shake_due(ms(1_300), ms(1_300), 3, &habits, &mut tally);
    assert!(matches!(held, ShakeNext::At(_)), "{held:?}");
    user.finish(&mut tally);
    assert_eq!((tally.shakes.sent, tally.shakes.held_back), (2, 1));
}

#[test]
fn a_claim_is_retried_with_the_same_ticket_until_it_ends() {
    let habits = habits();
    let (mut user, mut tally) = online(&habits);
    user.on_shake_due(ms(0), ms(0), 0, &habits, &mut tally);
    let start = errand(user.on_shake_reply(ms(5), win(0), &habits, &mut tally));
    assert!(start.at >= ms(105) && start.at <= ms(205));
    let request = claim_request(&mut user, start.at, start.id);
    assert_eq!(
        (&request.ticket[..], &request.cookie[..]),
        (&[9; 74][..], &b"cookie"[..])
    );

    let busy = claim_reply(ClaimResult::Busy { retry_after_ms: 400 });
    let (ErrandNext::At(at), _) = user.on_errand(ms(300), start.id, busy, &habits, &mut tally) else {
        panic!("busy is no end");
    };
    assert!(at >= ms(700) && at <= ms(900));
    let (offline, _) = user.on_errand(ms(900), start.id, Err(RequestFailure::Offline), &habits, &mut tally);
    assert!(matches!(offline, ErrandNext::At(_)));
    assert_eq!(claim_request(&mut user, ms(950), start.id).ticket, request.ticket);
    let (done, _) = user.on_errand(ms(1_000), start.id, opened(1, 4, true), &habits, &mut tally);
    assert_eq!(done, ErrandNext::Done);
    assert!(user.errand_request(ms(1_001), start.id, token).is_none() && !user.is_waiting());
    let claims = &tally.claims;
    assert_eq!(
        (
            claims.wins,
            claims.opened,
            claims.course.repeats,
            claims.course.busy,
            claims.course.retries
        ),
        (1, 1, 1, 1, 1)
    );
    assert_eq!((tally.cents(), tally.opened[0].user), (50, 77));
    assert!(tally.violations.is_clean());
}

#[test]
fn each_end_of_a_claim_is_counted_once() {
    let reset = |code: Code| Err(RequestFailure::Reset(code.number().into()));
    let silent = || vec![Err(RequestFailure::Timeout); 4];
    let refused = claim_reply(ClaimResult::Refused(Reason::TicketExpired));
    let shake_instead = Ok(v1::Reply {
        kind: Some(v1::reply::Kind::Shake(v1::ShakeReply::default())),
    });
    type Case = (Vec<Result<v1::Reply, RequestFailure>>, fn(&Tally) -> bool);
    let cases: Vec<Case> = vec![
        (vec![refused], |t| t.claims.course.refused["ticket_expired"] == 1),
        (silent(), |t| {
            t.claims.course.gave_up == 1 && t.claims.course.retries == 3 && t.errors["claim_timeout"].count == 4
        }),
        (vec![reset(Code::TooMany), opened(1, 4, false)], |t| {
            t.claims.opened == 1
        }),
        (vec![reset(Code::Malformed)], |t| {
            t.claims.course.failed == 1 && t.violations.is_clean()
        }),
        (vec![shake_instead], |t| {
            t.claims.course.failed == 1 && t.violations.malformed_replies == 1
        }),
        (vec![opened(1, 5, false)], |t| t.violations.wrong_sponsor == 1),
    ];
    for (index, (answers, good)) in cases.into_iter().enumerate() {
        let habits = habits();
        let (mut user, mut tally) = online(&habits);
        user.on_shake_due(ms(0), ms(0), 0, &habits, &mut tally);
        let start = errand(user.on_shake_reply(ms(5), win(0), &habits, &mut tally));
        let mut next = ErrandNext::At(start.at);
        for answer in answers {
            assert!(matches!(next, ErrandNext::At(_)), "case {index} ended early");
            (next, _) = user.on_errand(ms(500), start.id, answer, &habits, &mut tally);
        }
        assert_eq!(next, ErrandNext::Done, "case {index}");
        assert!(good(&tally), "case {index}: {tally:?}");
        assert_eq!(tally.open_ends(), (0, 0), "case {index}");
    }
}

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

proptest! {
    /// Whatever happens in whatever order, every shake and every win ends in exactly one count.
    #[test]
    fn nothing_is_lost_or_counted_twice(events in proptest::collection::vec((0_u8..8, 0_u32..6), 1..200)) {
        let habits = Habits { obey_pace: 0.0, ..habits() };
        let (mut user, mut tally) = online(&habits);
        let mut claims = Vec::new();
        let mut sequence = 0;
        let mut now = ms(0);
        for (event, pick) in events {
            now = now.plus(ms(u64::from(pick) * 150));
            match event {
                0..=2 => {
                    user.on_shake_due(now, now, sequence, &habits, &mut tally);
                    sequence += 1;
                }
                3 => {
                    let won = user.on_shake_reply(now, win(sequence.saturating_sub(pick)), &habits, &mut tally);
                    if !won.is_empty() {
                        claims.push(errand(won));
                    }
                },
                4 => {
                    let nothing = reply(sequence.saturating_sub(pick), v1::Outcome::Nothing, 0);
                    user.on_shake_reply(now, nothing, &habits, &mut tally);
                }
                5 => {
                    user.on_connection_lost(now, "reset", &habits, &mut tally);
                    let _ = user.on_hello(now, Ok(hello_reply(0)), &habits, &mut tally);
                }
                6 => user.on_shake_failed(sequence.saturating_sub(pick), "refused", &mut tally),
                _ => if let Some(claim) = claims.get(pick as usize) {
                    let answer = [opened(1, 4, false), Err(RequestFailure::Timeout)][(pick % 2) as usize].clone();
                    user.on_errand(now, claim.id, answer, &habits, &mut tally);
                },
            }
        }
        user.finish(&mut tally);
        prop_assert_eq!(tally.open_ends(), (0, 0));
        let shakes = &tally.shakes;
        prop_assert_eq!(shakes.sent, shakes.answered + shakes.unanswered);
        let outcomes: u64 = tally.outcomes.iter().sum();
        prop_assert_eq!(outcomes, shakes.answered + shakes.late);
        prop_assert_eq!(shakes.sent + shakes.skipped_offline, u64::from(sequence));
        prop_assert_eq!(tally.opened.len() as u64, tally.claims.opened);
    }
}

mod errands;
mod packages;
mod show;

#[test]
fn shares_are_even_and_exact() {
    for share in [0.0, 0.1, 0.25, 0.5, 1.0] {
        let among = (0..1_000).filter(|&index| is_among(index, share)).count();
        assert!(
            (among as f64 - share * 1_000.0).abs() <= 1.0,
            "{among} of 1000 for {share}"
        );
    }
}

/// A million users are to fit into one process beside their connections: what is rare is on the heap while it lasts.
#[test]
fn a_user_is_small() {
    const USER_BYTES_MAX: usize = 296;
    assert!(size_of::<User>() <= USER_BYTES_MAX, "{}", size_of::<User>());
}
