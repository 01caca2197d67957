use super::*;

const SECOND_NS: u64 = 1_000_000_000;

/// An admission whose users may shake once a second, and a user who just did.
fn at_work() -> (Admission, Gate) {
    let mut admission = Admission::new(1);
    admission.user_paced = Quota::every(SECOND_NS, 1);
    admission.now_ns = 100 * SECOND_NS;
    let mut gate = Gate {
        is_named: true,
        ..Gate::default()
    };
    shake(&mut admission, &mut gate);
    (admission, gate)
}

fn shake(admission: &mut Admission, gate: &mut Gate) {
    gate.shakes
        .take(admission.user_paced, admission.now_ns)
        .expect("in time");
    admission.answered(gate);
}

#[test]
fn the_kernel_drops_for_as_long_as_a_user_is_over_the_rate() {
    let (mut admission, gate) = at_work();
    assert_eq!(admission.hold_ns(&gate, true), SECOND_NS);
    assert_eq!(admission.hold_ns(&gate, false), 0, "nothing is known of this user");
    admission.now_ns += SECOND_NS / 4;
    assert_eq!(admission.hold_ns(&gate, true), SECOND_NS * 3 / 4);
    admission.now_ns += SECOND_NS;
    assert_eq!(admission.hold_ns(&gate, true), 0, "the next shake is in time");
}

#[test]
fn who_shakes_on_is_dropped_from_the_acknowledgement_on_for_some_answers() {
    let (mut admission, mut gate) = at_work();
    for _ in 0..2 {
        // After the answer: its acknowledgement, and a shake that is shed.
        admission.now_ns += SECOND_NS / 10;
        assert_eq!(admission.shed(&mut gate), None);
        assert_eq!(admission.shed(&mut gate), Some(Shed::OverRate));
        admission.now_ns += SECOND_NS;
        shake(&mut admission, &mut gate);
        assert!(admission.hold_ns(&gate, false) > 0);
    }
    for _ in 0..UNRULY_ANSWERS {
        assert!(admission.hold_ns(&gate, false) > 0);
        admission.now_ns += SECOND_NS;
        shake(&mut admission, &mut gate);
    }
    assert_eq!(admission.hold_ns(&gate, false), 0);
}

#[test]
fn the_kernel_drops_nothing_of_who_has_just_won() {
    let (admission, mut gate) = at_work();
    admission.won(&mut gate);
    assert_eq!(admission.hold_ns(&gate, true), 0);
}
