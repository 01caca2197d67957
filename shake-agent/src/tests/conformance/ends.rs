//! How a ledger ends, goes on after a loss, and counts time in which it was not written.

use super::scene::{Kind, Scene};
use super::{packet, played, scene};
use crate::ledger::LedgerError;
use shake_rules::Cents;

pub fn a_closed_ledger_has_its_closing_line_and_takes_no_more<K: Kind>(kind: &K) {
    let mut scene = played(kind);
    let early = scene.ledger.close(scene.at());
    assert!(matches!(early, Err(LedgerError::StillOut(_))), "{early:?}");
    while scene.ledger.first_due().unwrap().is_some() {
        scene.now += 500;
        scene.expire();
    }
    let outbox = scene.ledger.standing().numbers.outbox;
    scene.ledger.close(scene.at()).unwrap();
    let at = scene.at();
    for reopened in [false, true] {
        if reopened {
            drop(scene.ledger);
            scene.ledger = kind.open();
        }
        let standing = scene.ledger.standing();
        assert_eq!((standing.closed, standing.numbers.outbox), (Some(at), outbox + 1));
        let house = standing.house.iter();
        let unreleased = house.filter(|(account, _)| matches!(account, crate::ledger::Account::Sponsor(_)));
        assert_eq!(unreleased.map(|(_, cents)| cents).sum::<i64>(), 0);
        let refused = scene.ledger.transaction(at, |_| Ok(()));
        assert!(matches!(refused, Err(LedgerError::Closed { .. })));
    }
}

pub fn numbers_go_on_after_what_was_lost<K: Kind>(kind: &K) {
    let mut scene = played(kind);
    let (now, made) = (scene.at(), Scene::<K::Store>::made);
    let stamp = scene.ledger.standing().stamp;
    scene
        .ledger
        .transaction(now, |batch| {
            batch.stamp_at_least(stamp + 1_000);
            batch.skip_made(made(5), 100);
            batch.note_settlement();
            Ok(())
        })
        .unwrap();
    drop(scene.ledger);
    scene.ledger = kind.open();
    let standing = scene.ledger.standing();
    assert_eq!((standing.stamp, standing.numbers.made), (stamp + 1_001, 105));
    scene.hear(&[scene.send(1, 1, 3, 1, &[])]);
    assert_eq!(packet(&scene, made(106)).amount, Cents(3));
}

pub fn a_time_without_commits_is_a_span_while_something_is_out<K: Kind>(kind: &K) {
    let mut scene = scene(kind);
    scene.now += 5_000;
    scene.release(1);
    assert_eq!(scene.ledger.standing().spans, Default::default(), "nothing was out");
    scene.now += 5_000;
    scene.hear(&[scene.issue(0, 1)]);
    let spans = scene.ledger.standing().spans.clone();
    assert_ne!(spans, Default::default());
    drop(scene.ledger);
    scene.ledger = kind.open();
    assert_eq!(scene.ledger.standing().spans, spans);
}
