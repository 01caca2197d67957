use super::packets::{CROWDED_NS, EARLY_MAX};
use super::user::UNRULY_ANSWERS;
use super::*;
use crate::counters::Shed;
use quic_shard::tls::MAX_ACK_DELAY;
use rate_limit::Limit;

const SECOND_NS: u64 = 1_000_000_000;

/// Limits by which users may shake once a second, and a user who just did.
fn at_work() -> (Limits, UserLimits) {
    let mut limits = Limits::new(1);
    limits.present.user = UserLimit::Rules(Limit::every(SECOND_NS, 1));
    limits.present.now_ns = 100 * SECOND_NS;
    let mut user = UserLimits {
        is_named: true,
        ..UserLimits::default()
    };
    shake(&mut limits, &mut user);
    (limits, user)
}

fn shake(limits: &mut Limits, user: &mut UserLimits) {
    let now_ns = limits.present.now_ns;
    limits.present.user.take(&mut user.shakes, 0, now_ns).expect("in time");
    user.answered(&limits.present);
}

#[test]
fn the_kernel_drops_nothing_before_a_user_is_known() {
    let (mut limits, mut user) = at_work();
    for _ in 0..10 {
        limits.present.now_ns += SECOND_NS / 100;
        limits.packets.shed(&limits.present, &mut user);
        assert_eq!(limits.packets.hold_ns(&limits.present, &user), 0);
    }
}

#[test]
fn the_kernel_drops_what_is_over_the_rate_when_packets_wait() {
    let (mut limits, mut user) = at_work();
    limits.packets.begin_batch(CROWDED_NS + 1);
    assert_eq!(limits.packets.hold_ns(&limits.present, &user), SECOND_NS);
    assert_eq!(
        limits.packets.hold_ns(&limits.present, &UserLimits::default()),
        0,
        "who has not shaken"
    );
    user.is_named = false;
    assert_eq!(
        limits.packets.hold_ns(&limits.present, &user),
        0,
        "before Hello nothing is shed"
    );
    user.is_named = true;
    user.won(&limits.present);
    assert_eq!(
        limits.packets.hold_ns(&limits.present, &user),
        0,
        "a claim may be under way"
    );
}

#[test]
fn the_kernel_drops_what_an_unruly_user_sends_too_early() {
    let (mut limits, mut user) = at_work();
    user.unruly = UNRULY_ANSWERS;
    assert_eq!(limits.packets.hold_ns(&limits.present, &user), SECOND_NS);
    limits.present.now_ns += SECOND_NS / 4;
    assert_eq!(limits.packets.hold_ns(&limits.present, &user), SECOND_NS * 3 / 4);
    limits.present.now_ns += SECOND_NS;
    assert_eq!(
        limits.packets.hold_ns(&limits.present, &user),
        0,
        "the next shake is in time"
    );
    limits.present.now_ns -= SECOND_NS;
    user.won(&limits.present);
    assert_eq!(
        limits.packets.hold_ns(&limits.present, &user),
        0,
        "a claim may be under way"
    );
}

#[test]
fn what_was_answered_weeks_ago_is_not_still_to_come() {
    const DAY_NS: u64 = 86_400 * SECOND_NS;
    for days in [0, 24, 25, 30, 49, 50, 99, 365] {
        let (mut limits, mut user) = at_work();
        limits.present.now_ns += days * DAY_NS + SECOND_NS / 10;
        limits.packets.begin_batch(CROWDED_NS);
        limits.packets.shed_after_ns = 0;
        assert_eq!(
            limits.packets.shed(&limits.present, &mut user),
            None,
            "day {days}: the acknowledgement"
        );
    }
}

#[test]
fn who_shakes_again_after_any_rest_counts_among_those_who_shake() {
    for spans in [1, 2, 255, 256, 257, 512, 1_024] {
        let (mut limits, mut user) = at_work();
        assert!(limits.shakes.count_shaker(&mut user), "the first shake");
        assert!(!limits.shakes.count_shaker(&mut user), "once a span");
        limits.shakes.span = limits.shakes.span.wrapping_add(spans);
        assert!(limits.shakes.count_shaker(&mut user), "{spans} spans later");
    }
}

#[test]
fn what_a_rider_sends_too_early_is_no_acknowledgement_unless_the_pace_is_long() {
    let (mut limits, mut user) = at_work();
    user.delays_acks = true;
    limits.present.now_ns += SECOND_NS / 10;
    assert_eq!(limits.packets.shed(&limits.present, &mut user), Some(Shed::OverRate));
    limits.present.now_ns += SECOND_NS;
    shake(&mut limits, &mut user);
    assert!(limits.packets.hold_ns(&limits.present, &user) > 0, "unruly");
    limits.present.pace_ms = MAX_ACK_DELAY.as_millis() as u32 * 3 / 4 + 1;
    limits.present.now_ns += SECOND_NS / 10;
    assert_eq!(limits.packets.shed(&limits.present, &mut user), None);
}

#[test]
fn who_shakes_before_the_pace_is_over_is_unruly_until_the_pace_is_kept() {
    let (mut limits, mut user) = at_work();
    // After the answer: its acknowledgement, and a shake that is shed.
    limits.present.now_ns += SECOND_NS / 10;
    assert_eq!(limits.packets.shed(&limits.present, &mut user), None);
    assert_eq!(limits.packets.shed(&limits.present, &mut user), Some(Shed::OverRate));
    for _ in 0..UNRULY_ANSWERS {
        limits.present.now_ns += SECOND_NS;
        shake(&mut limits, &mut user);
        assert!(limits.packets.hold_ns(&limits.present, &user) > 0);
        limits.present.now_ns += SECOND_NS / 10;
        assert_eq!(limits.packets.shed(&limits.present, &mut user), None);
    }
    limits.present.now_ns += SECOND_NS;
    shake(&mut limits, &mut user);
    assert_eq!(limits.packets.hold_ns(&limits.present, &user), 0);
}

/// Limits with the default budget, and a session that has said Hello.
fn budgeted() -> (Limits, UserLimits) {
    let mut limits = Limits::new(1);
    let budget = shake_rules::throttle::Rate {
        per_second: 100.0,
        burst: 250,
    };
    limits.packets.take_budget(budget);
    limits.present.now_ns = 100 * SECOND_NS;
    let user = UserLimits {
        is_named: true,
        ..UserLimits::default()
    };
    (limits, user)
}

/// How many of a flood are opened that goes on for so long, ten thousand packets a second.
fn flood(limits: &mut Limits, user: &mut UserLimits, seconds: u64) -> usize {
    let mut opened = 0;
    for _ in 0..seconds * 10_000 {
        limits.present.now_ns += SECOND_NS / 10_000;
        let is_open = limits.packets.shed(&limits.present, user).is_none()
            && limits.packets.spend(&limits.present, user) == Spending::Open;
        opened += usize::from(is_open);
    }
    opened
}

#[test]
fn before_hello_sixty_four_datagrams_are_opened_and_then_the_session_is_closed() {
    let (limits, _) = budgeted();
    let mut user = UserLimits::default();
    for _ in 0..EARLY_MAX {
        assert_eq!(
            (
                limits.packets.shed(&limits.present, &mut user),
                limits.packets.hold_ns(&limits.present, &user)
            ),
            (None, 0)
        );
        assert_eq!(limits.packets.spend(&limits.present, &mut user), Spending::Open);
    }
    assert_eq!(
        limits.packets.shed(&limits.present, &mut user),
        None,
        "whose it is is not known yet"
    );
    assert_eq!(limits.packets.spend(&limits.present, &mut user), Spending::Close);
    for _ in 0..1_000 {
        assert_eq!(limits.packets.shed(&limits.present, &mut user), Some(Shed::BeforeHello));
        assert_eq!(
            limits.packets.spend(&limits.present, &mut user),
            Spending::Shed(Shed::BeforeHello)
        );
        assert_eq!(
            limits.packets.hold_ns(&limits.present, &user),
            SECOND_NS,
            "the kernel drops them"
        );
    }
}

#[test]
fn over_the_budget_four_packets_a_second_are_opened_until_it_is_silent() {
    let (mut limits, mut user) = budgeted();
    let opened = flood(&mut limits, &mut user, 10);
    // The burst, what its first seconds brought, the trickle's burst, and four a second.
    assert!((280..=310).contains(&opened), "{opened}");
    assert!(
        limits.packets.is_over_budget(&limits.present, &user) && limits.packets.is_over_trickle(&limits.present, &user)
    );
    assert_eq!(
        limits.packets.spend(&limits.present, &mut user),
        Spending::Shed(Shed::OverBudget)
    );
    let hold_ns = limits.packets.hold_ns(&limits.present, &user);
    assert!(
        (1..=SECOND_NS / 4).contains(&hold_ns),
        "until the next is due: {hold_ns}"
    );
    let opened = flood(&mut limits, &mut user, 10);
    assert!((39..=41).contains(&opened), "{opened}");
    limits.present.now_ns += 5 * SECOND_NS;
    assert!(!limits.packets.is_over_budget(&limits.present, &user));
    // Who keeps to it is never over it.
    for _ in 0..10_000 {
        limits.present.now_ns += SECOND_NS / 100;
        assert_eq!(limits.packets.spend(&limits.present, &mut user), Spending::Open);
    }
}

#[test]
fn the_blocked_have_a_trickle_from_the_first_moment_and_their_claims_go_on() {
    let (mut limits, mut user) = budgeted();
    flood(&mut limits, &mut user, 10);
    user.shut(&limits.present, 600_000);
    let opened = flood(&mut limits, &mut user, 10);
    assert!(
        (55..=57).contains(&opened),
        "sixteen at once and four a second: {opened}"
    );
    assert_eq!(limits.packets.shed(&limits.present, &mut user), Some(Shed::Blocked));
    let hold_ns = limits.packets.hold_ns(&limits.present, &user);
    assert!((1..=SECOND_NS / 4).contains(&hold_ns), "{hold_ns}");
    // However great the flood and whatever the grade, one comes through in a quarter of a second.
    limits.present.grade = Grade::new(4);
    assert!(flood(&mut limits, &mut user, 1) >= 4);
    // A fresh win lifts the block, never the budget.
    user.won(&limits.present);
    let opened = flood(&mut limits, &mut user, 10);
    assert!((40..=310).contains(&opened), "{opened}");
    user.readmit();
    assert!(!user.is_shut(&limits.present));
}

#[test]
fn who_shakes_too_fast_is_shed_by_rate_and_has_a_budget_too() {
    let (mut limits, mut user) = budgeted();
    limits.present.user = UserLimit::Rules(Limit::new(20.0, 100));
    let mut opened = 0;
    for _ in 0..100_000 {
        limits.present.now_ns += SECOND_NS / 10_000;
        if limits.packets.shed(&limits.present, &mut user).is_none()
            && limits.packets.spend(&limits.present, &mut user) == Spending::Open
        {
            opened += 1;
            let _ = limits.present.user.take(&mut user.shakes, 0, limits.present.now_ns);
        }
    }
    assert!((280..=320).contains(&opened), "{opened}");
}

#[test]
fn the_largest_and_the_least_budget_have_a_trickle() {
    use shake_rules::throttle::{PACKETS_MIN, Rate};
    for (budget, at_once) in [
        (PACKETS_MIN, 128),
        (
            Rate {
                per_second: 16.0,
                burst: u32::MAX,
            },
            0,
        ),
    ] {
        let (mut limits, mut user) = budgeted();
        limits.packets.take_budget(budget);
        let opened = flood(&mut limits, &mut user, 10);
        assert!(opened >= at_once, "{opened}");
        if at_once > 0 {
            assert!(opened <= at_once + 16 + 10 * 16, "{opened}");
            assert!(flood(&mut limits, &mut user, 10) <= 41);
        }
    }
    let unlimited = Rate {
        per_second: f64::INFINITY,
        burst: 128,
    };
    let (mut limits, mut user) = budgeted();
    limits.packets.take_budget(unlimited);
    assert_eq!(flood(&mut limits, &mut user, 1), 10_000);
}

/// How many shakes are held against a user who shakes so often for a minute, and wins all along or never.
fn held_against(per_second: u64, wins: bool) -> u64 {
    let (mut limits, mut user) = budgeted();
    limits.present.user = UserLimit::Rules(Limit::new(20.0, 100));
    user.delays_acks = true;
    let mut held = 0;
    for _ in 0..60 * per_second {
        limits.present.now_ns += SECOND_NS / per_second;
        if wins {
            user.won(&limits.present);
        }
        if limits.packets.shed(&limits.present, &mut user).is_some()
            || limits.packets.spend(&limits.present, &mut user) != Spending::Open
        {
            continue;
        }
        if user.over_rate_ns(&limits.present) == 0 {
            shake(&mut limits, &mut user);
        } else {
            held += u64::from(limits.packets.stands_for(&limits.present, &user));
        }
    }
    held
}

#[test]
fn a_flood_is_judged_between_phases_as_in_them() {
    for per_second in [30, 40, 60, 90] {
        let (within, between) = (held_against(per_second, true), held_against(per_second, false));
        assert!(
            between * 10 >= within * 8 && between * 10 <= within * 12,
            "{per_second} a second: {between} between phases, {within} in them"
        );
    }
    // Who obeys, or is a thumb, has nothing held against them.
    assert_eq!((held_against(5, false), held_against(20, false)), (0, 0));
}
