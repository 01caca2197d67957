//! What wallets must say.

use super::*;

#[test]
fn the_wallet_is_asked_for_last_and_must_agree() {
    type Count = fn(&Tally) -> u64;
    let cases: [(u64, &[i64], Count); 6] = [
        (30, &[30], |tally| tally.packets.wallets_equal),
        (29, &[29], |tally| tally.violations.wallets_wrong),
        (31, &[31], |tally| tally.violations.wallets_wrong),
        (30, &[20], |tally| tally.violations.wallets_wrong),
        (30, &[1; 20], |tally| tally.packets.wallets_equal),
        (30, &[1; 21], |tally| tally.violations.wallets_wrong),
    ];
    for (cents, transfers, count) in cases {
        let mut habits = lively();
        (habits.packets.send_share, habits.packets.view_share) = (0.0, 0.0);
        let (mut user, mut tally) = online(&habits);
        let grab = errand(user.on_told(ms(0), &CODE, &habits, &mut tally));
        assert_eq!(
            user.on_winding_up(ms(5), &habits, &mut tally),
            None,
            "a grab is under way"
        );
        let ask = errand(run(&mut user, grab, grabbed(5, 30, false), &habits, &mut tally));
        assert_eq!(
            user.errand_request(ask.at, ask.id, token),
            Some(v1::request::Kind::Wallet(v1::Wallet {}))
        );
        assert_eq!(
            run(&mut user, ask, wallet(cents, transfers), &habits, &mut tally),
            [],
            "asked once"
        );
        assert_eq!(count(&tally), 1, "{cents} {transfers:?}");
    }
}

#[test]
fn refunds_explain_no_more_than_was_sent_and_doubt_is_not_compared() {
    let mut habits = lively();
    habits.packets.view_share = 0.0;
    for (end_of_send, more, found) in [
        (sent(6, CODE), 0, (1, 0, 0, 0)),
        (sent(6, CODE), 1, (0, 1, 0, 0)),
        (sent(6, CODE), 1_000, (0, 0, 0, 1)),
        (
            Err(RequestFailure::Reset(Code::Malformed.number().into())),
            0,
            (0, 0, 1, 0),
        ),
    ] {
        let (mut user, mut tally) = online(&habits);
        let grab = errand(user.on_told(ms(0), &CODE, &habits, &mut tally));
        let send = errand(run(&mut user, grab, grabbed(5, 40, false), &habits, &mut tally));
        run(&mut user, send, end_of_send, &habits, &mut tally);
        let ask = errand(user.on_winding_up(ms(500), &habits, &mut tally));
        let balance = 40 - tally.sent.iter().map(|moved| moved.cents).sum::<u64>() + more;
        run(&mut user, ask, wallet(balance, &[balance as i64]), &habits, &mut tally);
        let packets = &tally.packets;
        assert_eq!(
            (
                packets.wallets_equal,
                packets.wallets_with_refunds,
                packets.wallets_not_compared,
                tally.violations.wallets_wrong
            ),
            found
        );
    }
}

/// What a phone did not ask for is credited to nobody, so that phones and ledger end alike.
#[test]
fn who_winds_up_begins_nothing_new() {
    let mut habits = lively();
    habits.packets.wallet_share = 0.0;
    let (mut user, mut tally) = online(&habits);
    let grab = errand(user.on_told(ms(0), &CODE, &habits, &mut tally));
    assert_eq!(user.on_winding_up(ms(1), &habits, &mut tally), None);
    assert_eq!(user.on_notice(ms(2), &offer(), &habits, &mut tally), None);
    assert_eq!(
        user.on_told(ms(2), &Bytes::from_static(&[8; 20]), &habits, &mut tally),
        None
    );
    assert_eq!(tally.packets.ignored, 2);
    assert!(user.is_waiting() && tally.has_open_ends(), "what is under way goes on");
    let after = run(&mut user, grab, grabbed(5, 4_000, false), &habits, &mut tally);
    assert_eq!(after, [], "neither a send nor a look, although there is money for one");
    assert!(!user.is_waiting() && !tally.has_open_ends());
    assert_eq!(tally.grabbed.len(), 1);
}
