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
fn what_a_rider_sends_too_early_is_no_acknowledgement_unless_the_pace_is_long() {
    let (mut admission, mut gate) = at_work();
    gate.rides = true;
    admission.now_ns += SECOND_NS / 10;
    assert_eq!(admission.shed(&mut gate), Some(Shed::OverRate));
    admission.now_ns += SECOND_NS;
    shake(&mut admission, &mut gate);
    assert!(admission.hold_ns(&gate) > 0, "unruly");
    admission.pace_ms = PATIENCE.as_millis() as u32 * 3 / 4 + 1;
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
