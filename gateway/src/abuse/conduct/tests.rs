//! What a session's behaviour is found to be.

use super::*;

const USER: UserId = UserId(5);

fn behaviour() -> AbuseCounters {
    let mut behaviour = AbuseCounters::new(Prefix::parse("10.0.0.0/24").expect("a prefix"));
    behaviour.said_hello(DeviceId::from_wire(9), true);
    assert!(behaviour.is_due(0), "its Hello");
    let Some(Event::Conduct(told)) = behaviour.take(USER, 0) else {
        panic!("nothing told");
    };
    assert!(told.opened && told.device == Some(DeviceId(9)) && told.counts == Counts::default());
    behaviour
}

#[test]
fn an_honest_session_is_told_of_once_a_thousand_shakes() {
    let mut behaviour = behaviour();
    let served = v1::ShakeReply::default();
    let mut records = 0;
    for shake in 1..=5_000_u64 {
        behaviour.shook(Some(&served), 25);
        if behaviour.is_due(shake * 1_000_000_000) {
            let Some(Event::Conduct(told)) = behaviour.take(USER, shake) else {
                panic!("nothing told");
            };
            assert_eq!((told.counts.shakes, told.opened), (1_000, false));
            records += 1;
        }
    }
    assert_eq!(records, 5);
    assert_eq!(behaviour.take(USER, 0), None, "nothing is left to tell");
}

#[test]
fn misdeeds_are_told_soon_but_four_times_a_second_at_most() {
    let mut behaviour = behaviour();
    let (mut records, mut forged) = (0, 0);
    for ms in 0..1_000_u64 {
        behaviour.forged();
        if behaviour.is_due(ms * 1_000_000) {
            let Some(Event::Conduct(told)) = behaviour.take(USER, ms * 1_000_000) else {
                panic!("nothing told");
            };
            records += 1;
            forged += told.counts.forged;
        }
    }
    assert!((2..=4).contains(&records), "{records}");
    assert!(forged >= 500, "{forged}");
    let mut few = self::behaviour();
    few.forged();
    assert!(!few.is_due(u64::MAX / 2), "a single one waits for the end");
    few.shook(None, 25);
    let Some(Event::Conduct(told)) = few.take(USER, 0) else {
        panic!("nothing told");
    };
    assert_eq!(
        (told.counts.forged, told.counts.refused),
        (1, 25),
        "it stands for those dropped unread"
    );
}

#[test]
fn only_ill_will_is_counted_of_refusals() {
    let mut behaviour = behaviour();
    for reason in [
        v1::Reason::LimitReached,
        v1::Reason::PacketTaken,
        v1::Reason::TicketExpired,
        // Of a rehearsal, of a key that was retired: whoever shows what is forged is told of by who found it so.
        v1::Reason::TicketOtherEvent,
        v1::Reason::PacketUnknown,
    ] {
        let refused = v1::Refused { reason: reason as i32 };
        behaviour.asked(Some(&Kind::Claim(v1::ClaimReply {
            result: Some(v1::claim_reply::Result::Refused(refused)),
        })));
    }
    assert_eq!((behaviour.requests, behaviour.forged, behaviour.foreign), (5, 0, 0));
    let foreign = v1::Refused {
        reason: v1::Reason::TicketForeign as i32,
    };
    behaviour.asked(Some(&Kind::Claim(v1::ClaimReply {
        result: Some(v1::claim_reply::Result::Refused(foreign)),
    })));
    assert_eq!((behaviour.requests, behaviour.foreign), (6, 1));
}
