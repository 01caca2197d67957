use super::*;

const SECOND_NS: u64 = 1_000_000_000;

/// An admission whose users may shake once a second, and a user who just did.
fn at_work() -> (Admission, Gate) {
    let mut admission = Admission::new(1);
    admission.user = UserLimit::Rules(Limit::every(SECOND_NS, 1));
    admission.now_ns = 100 * SECOND_NS;
    let mut gate = Gate {
        is_named: true,
        ..Gate::default()
    };
    shake(&mut admission, &mut gate);
    (admission, gate)
}

fn shake(admission: &mut Admission, gate: &mut Gate) {
    let now_ns = admission.now_ns;
    admission.user.take(&mut gate.shakes, 0, now_ns).expect("in time");
    admission.answered(gate);
}

#[test]
fn the_kernel_drops_nothing_before_a_user_is_known() {
    let (mut admission, mut gate) = at_work();
    for _ in 0..10 {
        admission.now_ns += SECOND_NS / 100;
        admission.shed(&mut gate);
        assert_eq!(admission.hold_ns(&gate), 0);
    }
}

#[test]
fn the_kernel_drops_what_is_over_the_rate_when_packets_wait() {
    let (mut admission, mut gate) = at_work();
    admission.begin_batch(CROWDED_NS + 1);
    assert_eq!(admission.hold_ns(&gate), SECOND_NS);
    assert_eq!(admission.hold_ns(&Gate::default()), 0, "who has not shaken");
    gate.is_named = false;
    assert_eq!(admission.hold_ns(&gate), 0, "before Hello nothing is shed");
    gate.is_named = true;
    admission.won(&mut gate);
    assert_eq!(admission.hold_ns(&gate), 0, "a claim may be under way");
}

#[test]
fn the_kernel_drops_what_an_unruly_user_sends_too_early() {
    let (mut admission, mut gate) = at_work();
    gate.unruly = UNRULY_ANSWERS;
    assert_eq!(admission.hold_ns(&gate), SECOND_NS);
    admission.now_ns += SECOND_NS / 4;
    assert_eq!(admission.hold_ns(&gate), SECOND_NS * 3 / 4);
    admission.now_ns += SECOND_NS;
    assert_eq!(admission.hold_ns(&gate), 0, "the next shake is in time");
    admission.now_ns -= SECOND_NS;
    admission.won(&mut gate);
    assert_eq!(admission.hold_ns(&gate), 0, "a claim may be under way");
}

#[test]
fn what_was_answered_weeks_ago_is_not_still_to_come() {
    const DAY_NS: u64 = 86_400 * SECOND_NS;
    for days in [0, 24, 25, 30, 49, 50, 99, 365] {
        let (mut admission, mut gate) = at_work();
        admission.now_ns += days * DAY_NS + SECOND_NS / 10;
        admission.begin_batch(CROWDED_NS);
        admission.shed_after_ns = 0;
        assert_eq!(admission.shed(&mut gate), None, "day {days}: the acknowledgement");
    }
}

#[test]
fn who_shakes_again_after_any_rest_counts_among_those_who_shake() {
    for spans in [1, 2, 255, 256, 257, 512, 1_024] {
        let (mut admission, mut gate) = at_work();
        assert!(admission.count_shaker(&mut gate), "the first shake");
        assert!(!admission.count_shaker(&mut gate), "once a span");
        admission.span = admission.span.wrapping_add(spans);
        assert!(admission.count_shaker(&mut gate), "{spans} spans later");
    }
}

#[test]
fn what_a_rider_sends_too_early_is_no_acknowledgement_unless_the_pace_is_long() {
    let (mut admission, mut gate) = at_work();
    gate.delays_acks = true;
    admission.now_ns += SECOND_NS / 10;
    assert_eq!(admission.shed(&mut gate), Some(Shed::OverRate));
    admission.now_ns += SECOND_NS;
    shake(&mut admission, &mut gate);
    assert!(admission.hold_ns(&gate) > 0, "unruly");
    admission.pace_ms = MAX_ACK_DELAY.as_millis() as u32 * 3 / 4 + 1;
    admission.now_ns += SECOND_NS / 10;
    assert_eq!(admission.shed(&mut gate), None);
}

#[test]
fn who_shakes_before_the_pace_is_over_is_unruly_until_the_pace_is_kept() {
    let (mut admission, mut gate) = at_work();
    // After the answer: its acknowledgement, and a shake that is shed.
    admission.now_ns += SECOND_NS / 10;
    assert_eq!(admission.shed(&mut gate), None);
    assert_eq!(admission.shed(&mut gate), Some(Shed::OverRate));
    for _ in 0..UNRULY_ANSWERS {
        admission.now_ns += SECOND_NS;
        shake(&mut admission, &mut gate);
        assert!(admission.hold_ns(&gate) > 0);
        admission.now_ns += SECOND_NS / 10;
        assert_eq!(admission.shed(&mut gate), None);
    }
    admission.now_ns += SECOND_NS;
    shake(&mut admission, &mut gate);
    assert_eq!(admission.hold_ns(&gate), 0);
}

/// An admission with the default budget, and a session that has said Hello.
fn budgeted() -> (Admission, Gate) {
    let mut admission = Admission::new(1);
    let budget = shake_rules::throttle::Rate {
        per_second: 100.0,
        burst: 250,
    };
    (admission.packets, admission.packets_over) = (budget.part(1), budget::over(budget));
    admission.now_ns = 100 * SECOND_NS;
    let gate = Gate {
        is_named: true,
        ..Gate::default()
    };
    (admission, gate)
}

/// How many of a flood are opened that goes on for so long, ten thousand packets a second.
fn flood(admission: &mut Admission, gate: &mut Gate, seconds: u64) -> usize {
    let mut opened = 0;
    for _ in 0..seconds * 10_000 {
        admission.now_ns += SECOND_NS / 10_000;
        let is_open = admission.shed(gate).is_none() && admission.spend(gate) == Spending::Open;
        opened += usize::from(is_open);
    }
    opened
}

#[test]
fn before_hello_sixty_four_datagrams_are_opened_and_then_the_session_is_closed() {
    let (mut admission, _) = budgeted();
    let mut gate = Gate::default();
    for _ in 0..budget::EARLY_MAX {
        assert_eq!((admission.shed(&mut gate), admission.hold_ns(&gate)), (None, 0));
        assert_eq!(admission.spend(&mut gate), Spending::Open);
    }
    assert_eq!(admission.shed(&mut gate), None, "whose it is is not known yet");
    assert_eq!(admission.spend(&mut gate), Spending::Close);
    for _ in 0..1_000 {
        assert_eq!(admission.shed(&mut gate), Some(Shed::BeforeHello));
        assert_eq!(admission.spend(&mut gate), Spending::Shed(Shed::BeforeHello));
        assert_eq!(admission.hold_ns(&gate), SECOND_NS, "the kernel drops them");
    }
}

#[test]
fn over_the_budget_four_packets_a_second_are_opened_until_it_is_silent() {
    let (mut admission, mut gate) = budgeted();
    let opened = flood(&mut admission, &mut gate, 10);
    // The burst, what its first seconds brought, the trickle's burst, and four a second.
    assert!((280..=310).contains(&opened), "{opened}");
    assert!(admission.is_over_budget(&gate) && admission.is_over_trickle(&gate));
    assert_eq!(admission.spend(&mut gate), Spending::Shed(Shed::OverBudget));
    let hold_ns = admission.hold_ns(&gate);
    assert!(
        (1..=SECOND_NS / 4).contains(&hold_ns),
        "until the next is due: {hold_ns}"
    );
    let opened = flood(&mut admission, &mut gate, 10);
    assert!((39..=41).contains(&opened), "{opened}");
    admission.now_ns += 5 * SECOND_NS;
    assert!(!admission.is_over_budget(&gate));
    // Who keeps to it is never over it.
    for _ in 0..10_000 {
        admission.now_ns += SECOND_NS / 100;
        assert_eq!(admission.spend(&mut gate), Spending::Open);
    }
}

#[test]
fn the_blocked_have_a_trickle_from_the_first_moment_and_their_claims_go_on() {
    let (mut admission, mut gate) = budgeted();
    flood(&mut admission, &mut gate, 10);
    admission.shut(&mut gate, 600_000);
    let opened = flood(&mut admission, &mut gate, 10);
    assert!(
        (55..=57).contains(&opened),
        "sixteen at once and four a second: {opened}"
    );
    assert_eq!(admission.shed(&mut gate), Some(Shed::Blocked));
    let hold_ns = admission.hold_ns(&gate);
    assert!((1..=SECOND_NS / 4).contains(&hold_ns), "{hold_ns}");
    // However great the flood and whatever the grade, one comes through in a quarter of a second.
    admission.grade = Grade::new(4);
    assert!(flood(&mut admission, &mut gate, 1) >= 4);
    // A fresh win lifts the block, never the budget.
    admission.won(&mut gate);
    let opened = flood(&mut admission, &mut gate, 10);
    assert!((40..=310).contains(&opened), "{opened}");
    admission.readmit(&mut gate);
    assert!(!admission.is_shut(&gate));
}

#[test]
fn who_shakes_too_fast_is_shed_by_rate_and_has_a_budget_too() {
    let (mut admission, mut gate) = budgeted();
    admission.user = UserLimit::Rules(Limit::new(20.0, 100));
    let mut opened = 0;
    for _ in 0..100_000 {
        admission.now_ns += SECOND_NS / 10_000;
        if admission.shed(&mut gate).is_none() && admission.spend(&mut gate) == Spending::Open {
            opened += 1;
            let _ = admission.user.take(&mut gate.shakes, 0, admission.now_ns);
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
        let (mut admission, mut gate) = budgeted();
        (admission.packets, admission.packets_over) = (budget.part(1), budget::over(budget));
        let opened = flood(&mut admission, &mut gate, 10);
        assert!(opened >= at_once, "{opened}");
        if at_once > 0 {
            assert!(opened <= at_once + 16 + 10 * 16, "{opened}");
            assert!(flood(&mut admission, &mut gate, 10) <= 41);
        }
    }
    let unlimited = Rate {
        per_second: f64::INFINITY,
        burst: 128,
    };
    let (mut admission, mut gate) = budgeted();
    (admission.packets, admission.packets_over) = (unlimited.part(1), budget::over(unlimited));
    assert_eq!(flood(&mut admission, &mut gate, 1), 10_000);
}

#[test]
fn a_connection_charges_nobody_before_its_address_is_proven() {
    let live = live();
    let mut admission = Admission::new(1);
    admission.prefix = Limit::new(1.0, 2);
    admission.connections.limit = Limit::new(1.0, 3);
    let [one, other] = ["192.0.2.1", "198.51.100.1"].map(|text| text.parse().expect("an address"));
    for _ in 0..10_000 {
        assert_eq!(admission.connection(one, &live), Ok(()));
    }
    admission.charge_connection(one, &live);
    admission.charge_connection(one, &live);
    assert_eq!(admission.connection(one, &live), Err(Turned::PrefixRate));
    assert_eq!(admission.connection(other, &live), Ok(()));
    admission.charge_connection(other, &live);
    assert_eq!(admission.connection(other, &live), Err(Turned::GradeRate));
    // Who was refused for the grade has not been charged to the prefix.
    admission.connections.limit = Limit::new(f64::INFINITY, 1);
    assert_eq!(admission.connection(other, &live), Ok(()));
}

#[test]
fn so_many_are_let_in_unproven() {
    let mut admission = Admission::new(1);
    admission.now_ns = SECOND_NS;
    let let_in = (0..10_000).filter(|_| admission.unproven()).count();
    assert_eq!(let_in, UNPROVEN_AT_ONCE as usize);
    admission.now_ns += SECOND_NS;
    let let_in = (0..10_000).filter(|_| admission.unproven()).count();
    assert_eq!(let_in, UNPROVEN_PER_SECOND as usize);
}

/// The default throttle, and a show.
fn live() -> Live {
    use shake_rules::show::Show;
    use shake_rules::throttle::{DEFAULT, Throttle};
    let text = "[[phases]]\nstart_s = 0\nend_s = 9\nweights = { nothing = 1 }\n";
    let show = Show::parse(text, shake_rules::UnixMillis(1_000_000)).expect("a show");
    Live {
        version: 1,
        stages: vec![0; show.phases.len()],
        show: show.into(),
        throttle: Throttle::parse(DEFAULT).expect("the default").into(),
    }
}

/// How many shakes are held against a user who shakes so often for a minute, and wins all along or never.
fn held_against(per_second: u64, wins: bool) -> u64 {
    let (mut admission, mut gate) = budgeted();
    admission.user = UserLimit::Rules(Limit::new(20.0, 100));
    gate.delays_acks = true;
    let mut held = 0;
    for _ in 0..60 * per_second {
        admission.now_ns += SECOND_NS / per_second;
        if wins {
            admission.won(&mut gate);
        }
        if admission.shed(&mut gate).is_some() || admission.spend(&mut gate) != Spending::Open {
            continue;
        }
        if admission.over_rate_ns(&gate) == 0 {
            shake(&mut admission, &mut gate);
        } else {
            held += u64::from(admission.stands_for(&gate));
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
