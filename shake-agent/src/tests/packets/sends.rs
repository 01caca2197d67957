//! Sends: what may be sent to whom, and once for each key.

use super::*;

#[test]
fn what_is_sent_and_to_whom() {
    let mut real = rich();
    for (cents, shares, named, reason) in [
        (31, 1, &[][..], Reason::Balance),
        (u64::MAX >> 1, 1, &[], Reason::Balance),
        (3, 4, &[], Reason::Amount),
        (10, 2, &[3, 3], Reason::Amount),
        (10, 3, &[2, 3], Reason::Amount),
    ] {
        let request = real.send_request(1, 1, cents, shares, named);
        assert_eq!(
            sent(&real.ask(&request)),
            SendResult::Refused(reason),
            "{cents} {shares} {named:?}"
        );
    }
    let first = send(&mut real, 1, 20, 1, &[2, 3]);
    let id = packet(&first);
    assert_eq!((id.0 >> 63, real.balance(1)), (1, 10));
    // The first answer, though the balance is gone.
    let again = send(&mut real, 1, 20, 1, &[2, 3]);
    assert!(matches!(again, SendResult::Sent { packet, repeat: true, .. } if packet == id));
    assert_eq!(refused(&real.grab(id, 4)), Reason::NotEntitled);
    assert_eq!(
        refused(&real.grab(id, 1)),
        Reason::NotEntitled,
        "the sender is not named"
    );
    let offered = real.offers(3);
    assert_eq!((offered.notices.len(), offered.notices[0].from), (1, Some(UserId(1))));
    assert_eq!(offered.reply.unwrap().kind, None);
    assert!(matches!(
        real.grab(id, 2),
        GrabResult::Grabbed { amount: Cents(20), .. }
    ));
    // Nothing is left for the other one, and nothing waits.
    assert_eq!(real.grab(id, 3), GrabResult::Empty);
    assert!(real.offers(3).notices.is_empty() && real.offers(2).notices.is_empty());
    // A sender may take part in what is for anyone.
    let open = packet(&send(&mut real, 2, 10, 2, &[]));
    assert!(matches!(real.grab(open, 1), GrabResult::Grabbed { repeat: false, .. }));
    let WalletResult::State { balance, transfers } = real.wallet(1) else {
        panic!("no wallet");
    };
    assert_eq!(
        balance.0 as i64,
        transfers.iter().map(|transfer| transfer.cents).sum::<i64>()
    );
    let at = UnixMillis(real.now);
    let won = WalletTransfer {
        cents: 30,
        packet: real.records[0].packet,
        at,
    };
    assert_eq!((transfers.len(), transfers[3]), (4, won));
    assert_eq!(transfers[2].cents, -20);
    real.event.assert_balanced();
}

#[test]
fn a_cent_for_each_who_is_named_is_asked_for_after_the_repeat() {
    let mut real = rich();
    let amount = SendResult::Refused(Reason::Amount);
    assert_eq!(send(&mut real, 1, 1, 1, &[2, 3]), amount);
    let first = send(&mut real, 1, 2, 1, &[2, 3]);
    let again = send(&mut real, 1, 2, 1, &[2, 3]);
    assert!(matches!(again, SendResult::Sent { packet: id, repeat: true, .. } if id == packet(&first)));
    assert_eq!(send(&mut real, 2, 99, 1, &(2..=101).collect::<Vec<_>>()), amount);
}

#[test]
fn a_key_of_other_content_is_refused_by_name() {
    let mut real = rich();
    let (first, _) = real.send(1, 1, 10, 2, &[3, 4].into());
    let SendResult::Sent { packet, .. } = first else {
        panic!("{first:?}");
    };
    let ask = |real: &mut Real, cents, shares, named: &[u64]| {
        let request = real.send_request(1, 1, cents, shares, named);
        sent(&real.ask(&request))
    };
    // The same, also with the recipients in another order, and when there is no money for it any more.
    for named in [&[3, 4], &[4, 3]] {
        let again = ask(&mut real, 10, 2, named);
        assert!(
            matches!(again, SendResult::Sent { packet: found, repeat: true, .. } if found == packet),
            "{again:?}"
        );
    }
    for (cents, shares, named) in [
        (11, 2, &[3, 4][..]),
        (10, 1, &[3, 4]),
        (10, 2, &[3, 5]),
        (10, 2, &[3, 4, 5]),
        (10, 2, &[]),
        // Senseless, and of a key that was used: the key comes first.
        (0, 0, &[]),
    ] {
        let refused = ask(&mut real, cents, shares, named);
        assert_eq!(
            refused,
            SendResult::Refused(Reason::KeyUsed),
            "{cents} {shares} {named:?}"
        );
    }
    assert_eq!(real.balance(1), 20);
    // Somebody else's key is another one.
    assert_eq!(
        real.send(2, 1, 10, 2, &[3, 4].into()).0,
        SendResult::Refused(Reason::Balance)
    );
    // A gift's key likewise: the first gift stands.
    assert_eq!(real.gift(9, 40, &[1, 2].into()).len(), 2);
    assert!(real.gift(9, 30, &[1, 2].into()).is_empty());
    assert_eq!(real.judge.counters.gifts_inconsistent.value(), 1);
    real.event.assert_balanced();
}

#[test]
fn a_send_that_waited_too_long_is_never_carried_out() {
    let mut real = rich();
    let request = real.send_request(1, 1, 10, 1, &[2]);
    let other = real.send_request(1, 2, 10, 1, &[2]);
    real.now += 30_000;
    assert!(matches!(
        sent(&real.ask(&request)),
        SendResult::Sent { repeat: false, .. }
    ));
    real.now += 1;
    assert!(matches!(sent(&real.ask(&other)), SendResult::Busy { .. }));
    // The key first, then the age: what it made is told at any time.
    assert!(matches!(
        sent(&real.ask(&request)),
        SendResult::Sent { repeat: true, .. }
    ));
    assert_eq!(real.balance(1), 20);
    assert_eq!(real.judge.counters.sends_too_old.value(), 1);
    let anew = real.send_request(1, 2, 10, 1, &[2]);
    assert!(matches!(sent(&real.ask(&anew)), SendResult::Sent { repeat: false, .. }));
    real.event.assert_balanced();
}
