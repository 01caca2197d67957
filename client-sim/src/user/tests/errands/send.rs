//! Packets that users send.

use super::*;

#[test]
fn who_has_enough_sends_once_and_half_of_them_to_names() {
    let habits = lively();
    let mut named = 0;
    for index in 0..200 {
        let mut user = User::new(
            index % 10,
            100 + u64::from(index % 10),
            &Habits {
                seed: index.into(),
                ..habits.clone()
            },
        );
        let mut tally = Tally::default();
        user.on_hello(ms(0), Ok(hello_reply(0)), &habits, &mut tally)
            .expect("good");
        let grab = errand(user.on_told(ms(0), &CODE, &habits, &mut tally));
        let actions = run(&mut user, grab, grabbed(5, 45, false), &habits, &mut tally);
        let starts = actions.into_iter().map(|action| errand([action])).collect::<Vec<_>>();
        let (send, request) = starts
            .iter()
            .find_map(|start| match user.errand_request(start.at, start.id, token) {
                Some(v1::request::Kind::Send(send)) => Some((*start, send)),
                _ => None,
            })
            .expect("45 cents are enough");
        assert!((2..=5).contains(&request.shares) && (2..=45).contains(&request.total_cents));
        assert_eq!(request.idempotency_key.len(), 16);
        assert!(
            request
                .recipients
                .iter()
                .all(|id| (100..110).contains(id) && *id != user.id())
        );
        let is_named = !request.recipients.is_empty();
        assert!(!is_named || request.recipients.len() == request.shares as usize);
        named += u32::from(is_named);

        let (next, _) = user.on_errand(send.at, send.id, Err(RequestFailure::Timeout), &habits, &mut tally);
        assert!(matches!(next, ErrandNext::At(_)));
        let again = user.errand_request(ms(900), send.id, token).expect("still");
        assert_eq!(
            again,
            v1::request::Kind::Send(request.clone()),
            "the same key, amount and names"
        );
        let (_, actions) = user.on_errand(ms(900), send.id, sent(6, CODE), &habits, &mut tally);
        let told = actions
            .iter()
            .filter(|action| matches!(action, Action::Tell { .. }))
            .count();
        assert_eq!(told, if is_named { 0 } else { 2 });
        assert_eq!(tally.sent[0].cents, request.total_cents);

        let more = errand(user.on_told(ms(1_000), &Bytes::from_static(&[8; 20]), &habits, &mut tally));
        run(&mut user, more, grabbed(9, 500, false), &habits, &mut tally);
        assert_eq!(tally.packets.sends.begun, 1, "once");
        assert!(tally.violations.is_clean());
    }
    assert!((70..130).contains(&named), "{named} of 200");
}

#[test]
fn a_send_refused_although_it_is_covered_is_a_violation() {
    for (reply, violations) in [
        (
            answer(v1::reply::Kind::Send(SendResult::Refused(Reason::Balance).into())),
            (1, 0),
        ),
        (sent(6, Bytes::new()), (0, 1)),
    ] {
        let mut habits = lively();
        habits.packets.view_share = 0.0;
        let (mut user, mut tally) = online(&habits);
        let grab = errand(user.on_told(ms(0), &CODE, &habits, &mut tally));
        let send = errand(run(&mut user, grab, grabbed(5, 40, false), &habits, &mut tally));
        run(&mut user, send, reply, &habits, &mut tally);
        let found = (tally.violations.sends_refused, tally.violations.malformed_replies);
        assert_eq!((found, tally.packets.open_ends()), (violations, 0));
    }
}

/// Whoever plays a seed twice on one ledger must not ask under the keys of the first time.
#[test]
fn a_second_run_of_one_seed_has_other_keys() {
    let sent = |number: u64| {
        let habits = Habits {
            run: number,
            ..lively()
        };
        let mut user = User::new(0, 100, &habits);
        let mut tally = Tally::default();
        user.on_hello(ms(0), Ok(hello_reply(0)), &habits, &mut tally)
            .expect("good");
        let grab = errand(user.on_told(ms(0), &CODE, &habits, &mut tally));
        let actions = run(&mut user, grab, grabbed(5, 45, false), &habits, &mut tally);
        let starts = actions.into_iter().map(|action| errand([action]));
        let mut sends = starts.filter_map(|start| match user.errand_request(start.at, start.id, token) {
            Some(v1::request::Kind::Send(send)) => Some(send),
            _ => None,
        });
        sends.next().expect("45 cents are enough")
    };
    let (first, second) = (sent(1), sent(2));
    assert_ne!(first.idempotency_key, second.idempotency_key);
    let idempotency_key = first.idempotency_key.clone();
    let second = v1::Send {
        idempotency_key,
        ..second
    };
    assert_eq!(first, second, "all else is the seed's");
}
