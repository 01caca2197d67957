//! Shakes: when they are sent, what their answers count as, and what they wait for.

use super::*;

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
                ShakeNext::Instead(action) => panic!("there is no other gateway: {action:?}"),
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
