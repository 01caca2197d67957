//! Records that the store refuses each time: they are put aside one by one, and nobody else notices.

use super::others::Play;
use crate::ledger::LedgerError;
use bytes::Bytes;
use shake_proto::handoff::record::{Issued, Request};
use shake_rules::{PacketId, UnixMillis, UserId};

fn refuse(play: &Play, packets: &[PacketId]) {
    *play.memory.refused.lock().unwrap() = packets.iter().copied().collect();
}

fn issued(packet: PacketId) -> Request {
    Request::Issued(Issued {
        packet,
        user: UserId(9),
        stage: 0,
        at: UnixMillis(1),
        ends: None,
    })
}

#[test]
fn what_the_store_refuses_is_put_aside_and_the_others_take_effect() {
    let mut play = Play::new();
    let (first, second) = (play.grants[1].packet, play.grants[4].packet);
    refuse(&play, &[first, second]);
    (0..7).for_each(|number| play.claim(number));
    play.back.work();
    let mut answers = play.answers();
    answers.sort_unstable();
    let how = |number| if [1, 4].contains(&number) { "busy" } else { "opened" };
    let expected: Vec<_> = (0..7).map(|number| (number, how(number))).collect();
    assert_eq!(answers, expected);
    assert!(!play.back.is_read_only());
    assert_eq!(play.back.counters.records_refused.value(), 2);
    let refused = play.memory.content().refused.clone();
    let named: Vec<_> = refused.iter().map(|row| (row.shard, row.position)).collect();
    // The first record of the ring says that the shard started.
    assert_eq!(named, [(0, 2), (0, 5)]);
    for (row, packet) in refused.iter().zip([first, second]) {
        assert!(row.reason.contains(&packet.to_string()), "{row:?}");
        let record = Request::decode(Bytes::from(row.record.clone())).unwrap();
        assert!(matches!(record, Request::Ask(_)), "{record:?}");
    }

    // Busy: nothing came of it, and asked again it may.
    play.back.work_after(500);
    assert_eq!(play.answers(), []);
    refuse(&play, &[]);
    play.claim(1);
    play.back.work();
    assert_eq!(play.answers(), [(1, "opened")]);
}

/// What became of packets is never passed over: the agent ends, and what stands behind it in the rings waits.
#[test]
fn the_agent_ends_when_the_store_refuses_what_was_issued() {
    let mut play = Play::new();
    let packet = play.grants[2].packet;
    refuse(&play, &[packet]);
    play.claim(0);
    play.front.push(0, &issued(packet));
    play.back.work();
    let end = play.back.agent.take_end();
    let Some(LedgerError::Unwritable { record, .. }) = end else {
        panic!("{end:?}");
    };
    assert!(record.starts_with("issued ("), "{record}");
    assert!(play.back.is_read_only() && play.memory.content().refused.is_empty());
    assert!(
        LedgerError::Unwritable {
            place: "".into(),
            record,
            reason: String::new()
        }
        .is_final()
    );
}

/// More of them than one turn tries: all are found in the end.
#[test]
fn all_may_be_refused() {
    let mut play = Play::new();
    let packets: Vec<PacketId> = play.grants.iter().map(|grant| grant.packet).collect();
    refuse(&play, &packets);
    for _ in 0..6 {
        (0..packets.len()).for_each(|number| play.claim(number));
    }
    play.back.work();
    let answers = play.answers();
    assert_eq!(answers.len(), 6 * packets.len());
    assert!(answers.iter().all(|(_, how)| *how == "busy"), "{answers:?}");
}

/// A seed whose ids are there already stops the feed, and not the ledger.
#[test]
fn the_feed_stops_when_the_store_refuses_a_release() {
    let mut play = Play::new();
    let granted: Vec<PacketId> = play.grants.iter().map(|grant| grant.packet).collect();
    let left = play.event.records().into_iter().map(|record| record.packet);
    refuse(
        &play,
        &left.filter(|packet| !granted.contains(packet)).collect::<Vec<_>>(),
    );
    play.claim(0);
    play.claim(1);
    play.back.work();
    let mut answers = play.answers();
    answers.sort_unstable();
    assert_eq!(answers, [(0, "opened"), (1, "opened")]);
    assert!(play.back.agent.feed().is_stopped());
    assert!(play.front.next_grant(0).is_none());
}
