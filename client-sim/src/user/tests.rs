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
        silences_max: 0,
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
mod sessions;
mod shaking;
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
