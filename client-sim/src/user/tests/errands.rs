//! Every kind of errand: what begins it, what it asks, and what the answers are checked against.

use super::*;
use crate::tally::Violations;
use shake_proto::reply::{GrabResult, PacketState, SendResult, ShareTaken, ViewResult, WalletResult, WalletTransfer};
use shake_rules::{UnixMillis, UserId};

mod send;
mod wallet;

const CODE: Bytes = Bytes::from_static(&[7; 20]);

/// Everybody does everything but hoard.
fn lively() -> Habits {
    let mut habits = habits();
    habits.packets = PacketHabits {
        share_split: 1.0,
        send_share: 1.0,
        view_share: 1.0,
        wallet_share: 1.0,
        ..habits.packets
    };
    habits
}

pub(super) type Answer = Result<v1::Reply, RequestFailure>;

pub(super) fn answer(kind: v1::reply::Kind) -> Answer {
    Ok(v1::Reply { kind: Some(kind) })
}

fn grabbed(packet: u64, cents: u64, repeat: bool) -> Answer {
    let result = GrabResult::Grabbed {
        packet: PacketId(packet),
        amount: Cents(cents),
        repeat,
    };
    answer(v1::reply::Kind::Grab(result.into()))
}

fn grab_refused(reason: Reason) -> Answer {
    answer(v1::reply::Kind::Grab(GrabResult::Refused(reason).into()))
}

fn sent(packet: u64, code: Bytes) -> Answer {
    let result = SendResult::Sent {
        packet: PacketId(packet),
        code,
        repeat: false,
    };
    answer(v1::reply::Kind::Send(result.into()))
}

fn wallet(cents: u64, transfers: &[i64]) -> Answer {
    let result = WalletResult::State {
        balance: Cents(cents),
        transfers: transfers
            .iter()
            .map(|&cents| WalletTransfer {
                cents,
                packet: PacketId(1),
                at: UnixMillis(1),
            })
            .collect(),
    };
    answer(v1::reply::Kind::Wallet(result.into()))
}

fn offer() -> v1::Notice {
    let offered = v1::PacketOffered {
        code: CODE,
        from_user_id: 0,
    };
    v1::Notice {
        kind: Some(v1::notice::Kind::PacketOffered(offered)),
    }
}

/// One try of an errand, and its answer; gives what follows. The errand must end.
fn run(user: &mut User, start: ErrandStart, answer: Answer, habits: &Habits, tally: &mut Tally) -> Vec<Action> {
    assert!(user.errand_request(start.at, start.id, token).is_some());
    let (next, actions) = user.on_errand(start.at, start.id, answer, habits, tally);
    assert_eq!(next, ErrandNext::Done);
    actions
}

#[test]
fn a_split_packet_is_told_of_and_looked_at() {
    let mut habits = lively();
    habits.packets.send_share = 0.0;
    let (mut user, mut tally) = online(&habits);
    user.on_shake_due(ms(0), ms(0), 0, &habits, &mut tally);
    let claim = errand(user.on_shake_reply(ms(5), win(0), &habits, &mut tally));
    let split = claim_reply(ClaimResult::Opened {
        packet: PacketId(5),
        amount: Cents(30),
        sponsor: SponsorId(4),
        code: CODE,
        repeat: false,
    });
    let actions = run(&mut user, claim, split, &habits, &mut tally);
    let told: Vec<_> = actions
        .iter()
        .filter_map(|action| match action {
            Action::Tell { friend_index, code } => Some((*friend_index, code.clone())),
            _ => None,
        })
        .collect();
    assert_eq!((told.len(), tally.packets.codes_told, tally.claims.split), (2, 2, 1));
    assert!(
        told.iter()
            .all(|(friend, code)| (1..10).contains(friend) && *code == CODE)
    );
    let look = errand(actions);
    let request = user.errand_request(look.at, look.id, token).expect("a view");
    assert_eq!(request, v1::request::Kind::PacketView(v1::PacketView { code: CODE }));
}

#[test]
fn what_a_view_must_say() {
    let good = PacketState {
        packet: PacketId(5),
        total: Cents(100),
        shares: 3,
        left: Cents(60),
        shares_left: 1,
        taken: [(77, 30), (1, 10)]
            .map(|(user, cents)| ShareTaken {
                user: UserId(user),
                amount: Cents(cents),
                at: UnixMillis(1),
                is_best: false,
            })
            .into(),
    };
    let check = |change: fn(&mut PacketState), wrong: u64| {
        let mut habits = lively();
        habits.packets.send_share = 0.0;
        let (mut user, mut tally) = online(&habits);
        let grab = errand(user.on_told(ms(0), &CODE, &habits, &mut tally));
        let look = errand(run(&mut user, grab, grabbed(5, 30, false), &habits, &mut tally));
        let mut state = good.clone();
        change(&mut state);
        let view = answer(v1::reply::Kind::PacketView(ViewResult::State(state.clone()).into()));
        run(&mut user, look, view, &habits, &mut tally);
        assert_eq!(tally.violations.views_wrong, wrong, "{state:?}");
        assert_eq!(tally.packets.open_ends(), 0);
    };
    check(|_| {}, 0);
    check(|state| state.left.0 += 1, 1);
    check(|state| state.taken[0].amount.0 -= 1, 1);
    check(|state| state.taken[0].user.0 = 78, 1);
    check(|state| state.taken[1].user.0 = 77, 1);
    check(|state| state.packet.0 = 6, 1);
    check(|state| state.shares_left = 2, 1);
    check(|state| state.taken[0].is_best = true, 1);
    // The rest went back to who funded it.
    check(|state| (state.left, state.shares_left) = (Cents(0), 0), 0);
    check(
        |state| {
            (state.left, state.shares_left, state.shares, state.total) = (Cents(0), 0, 2, Cents(40));
            state.taken[0].is_best = true;
        },
        0,
    );
    check(
        |state| {
            (state.left, state.shares_left, state.shares, state.total) = (Cents(0), 0, 2, Cents(40));
            state.taken[1].is_best = true;
        },
        1,
    );
}

#[test]
fn an_offer_is_grabbed_and_a_repeat_must_say_the_same() {
    let habits = habits();
    type Count = fn(&Violations) -> u64;
    let cases: [(Answer, Count, u64); 6] = [
        (grabbed(5, 30, true), |_| 0, 0),
        (grabbed(5, 31, true), |violations| violations.answers_changed, 1),
        (grabbed(5, 30, false), |violations| violations.paid_twice, 1),
        (
            answer(v1::reply::Kind::Grab(GrabResult::Empty.into())),
            |violations| violations.answers_changed,
            1,
        ),
        (
            grab_refused(Reason::PacketExpired),
            |violations| violations.answers_changed,
            1,
        ),
        (Err(RequestFailure::Reset(Code::Malformed.number().into())), |_| 0, 0),
    ];
    for (again, violation, count) in cases {
        let (mut user, mut tally) = online(&habits);
        let grab = errand(user.on_notice(ms(0), &offer(), &habits, &mut tally));
        assert!(grab.at >= ms(10) && grab.at <= ms(50));
        assert_eq!(user.on_told(ms(1), &CODE, &habits, &mut tally), None, "it is at it");
        run(&mut user, grab, grabbed(5, 30, false), &habits, &mut tally);
        assert!(tally.violations.is_clean());
        let repeat = errand(user.on_told(ms(100), &CODE, &habits, &mut tally));
        run(&mut user, repeat, again.clone(), &habits, &mut tally);
        assert_eq!(
            (violation(&tally.violations), tally.violations.is_clean()),
            (count, count == 0),
            "{again:?}"
        );
        assert_eq!(
            tally.grabbed.iter().map(|moved| moved.cents).sum::<u64>(),
            30,
            "counted once"
        );
        assert_eq!(
            (tally.packets.offers, tally.packets.codes_heard, tally.packets.ignored),
            (1, 2, 1)
        );
        assert_eq!(tally.packets.open_ends(), 0);
    }
}

#[test]
fn who_repeats_grabs_once_more_and_no_more() {
    let mut habits = habits();
    habits.packets.repeat_share = 1.0;
    let (mut user, mut tally) = online(&habits);
    let grab = errand(user.on_told(ms(0), &CODE, &habits, &mut tally));
    let again = errand(run(&mut user, grab, grabbed(5, 30, false), &habits, &mut tally));
    assert_eq!(run(&mut user, again, grabbed(5, 30, true), &habits, &mut tally), []);
    assert_eq!((tally.grabbed.len(), tally.packets.grabs.course.repeats), (1, 1));
    assert!(tally.violations.is_clean());
}

#[test]
fn an_offer_that_is_not_good_is_a_violation_and_a_code_that_came_too_late_is_not() {
    let habits = habits();
    for (reason, offered, broken) in [
        (Reason::NotEntitled, true, 1),
        (Reason::PacketUnknown, true, 1),
        (Reason::PacketExpired, true, 0),
        (Reason::NotEntitled, false, 0),
    ] {
        let (mut user, mut tally) = online(&habits);
        let grab = if offered {
            errand(user.on_notice(ms(0), &offer(), &habits, &mut tally))
        } else {
            errand(user.on_told(ms(0), &CODE, &habits, &mut tally))
        };
        run(&mut user, grab, grab_refused(reason), &habits, &mut tally);
        assert_eq!(tally.violations.offers_broken, broken, "{reason:?} {offered}");
        assert_eq!(tally.packets.grabs.course.refused[reason.name()], 1);
    }
    let (mut user, mut tally) = online(&habits);
    let grab = errand(user.on_told(ms(0), &CODE, &habits, &mut tally));
    run(&mut user, grab, grabbed(5, 0, false), &habits, &mut tally);
    assert_eq!(tally.violations.empty_shares, 1);
}

#[test]
fn hoarders_never_claim_and_some_never_grab() {
    let mut habits = habits();
    (habits.packets.hoard_share, habits.packets.grab_share) = (1.0, 0.0);
    let (mut user, mut tally) = online(&habits);
    user.on_shake_due(ms(0), ms(0), 0, &habits, &mut tally);
    assert_eq!(user.on_shake_reply(ms(5), win(0), &habits, &mut tally), []);
    assert_eq!(user.on_notice(ms(6), &offer(), &habits, &mut tally), None);
    assert_eq!(
        (tally.claims.hoarded, tally.packets.ignored, tally.open_ends()),
        (1, 1, (0, 0))
    );
}
