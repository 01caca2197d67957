//! The agent's turns on real rings, in one process.

use super::back::{BATCH_MAX, Back, NOW};
use super::support::{Crowd, EVENT, Event, FAR, Front, ask, claim, claimed, ring, ticket};
use crate::lanes::LanesError;
use crate::ledger::LedgerError;
use crate::requests::EXPIRY_GRACE_MS;
use crate::turn::Turn;
use rusqlite::Connection;
use shake_proto::handoff::record::{Issued, Notice, Request, What};
use shake_proto::handoff::topology::Ring;
use shake_proto::reply::{ClaimResult, Reason};
use shake_proto::request::Send;
use shake_proto::wire::v1::reply::Kind;
use shake_rules::ticket::TicketKeys;
use shake_rules::{PacketId, UserId};
use shm_queue::Mapping;

#[test]
fn every_packet_is_won_once() {
    let event = Event::new(100);
    let mut crowd = Crowd::new(Front::new(&event, 3));
    let mut back = Back::open(&event).unwrap();
    crowd.until("all won", |crowd| {
        back.work();
        crowd.is_done(100)
    });
    assert_eq!(back.counters.issued_inconsistent.value(), 0);
    crowd.assert_in_ledger(&event);
    assert_eq!(event.assert_balanced().total.opened.packets, 100);
}

#[test]
fn a_ticket_of_a_key_that_was_not_read_yet_is_busy_and_opens_when_it_was() {
    let event = Event::new(20);
    let mut front = Front::new(&event, 1);
    let mut back = Back::open(&event).unwrap();
    back.work();
    let rotated = ring().with_waiting([8; 32]).unwrap().activated().unwrap();
    front.keys.keys = TicketKeys::new(&rotated);
    let packet = front.take_grants(0)[0].packet;
    let sealed = ticket(&front.keys, EVENT, packet, UserId(4), FAR);
    let mut asked = || {
        front.push(0, &claim(6, UserId(4), sealed.clone(), NOW));
        back.work();
        let result = claimed(&front.reply(0));
        back.agent.take_keys(&rotated);
        result
    };
    assert!(matches!(asked(), ClaimResult::Busy { .. }));
    assert!(matches!(asked(), ClaimResult::Opened { repeat: false, .. }));
    assert_eq!(back.counters.claims_key_unknown.value(), 1);
    event.assert_balanced();
}

#[test]
fn garbage_is_passed_over_and_disturbs_nobody() {
    let event = Event::new(20);
    let mut front = Front::new(&event, 1);
    let mut back = Back::open(&event).unwrap();
    back.work();
    let packet = front.take_grants(0)[0].packet;
    front.push_bytes(0, b"no record at all");
    front.push(
        0,
        &Request::ShardStarted {
            epoch: 2,
            grants_taken: u64::MAX,
        },
    );
    for (user, seal_for, expected) in [
        (UserId(1), UserId(2), Reason::TicketForeign),
        (UserId(2), UserId(2), Reason::PacketUnknown),
    ] {
        let sealed = ticket(&front.keys, EVENT, PacketId(99), seal_for, FAR);
        front.push(0, &claim(1, user, sealed, NOW));
        back.work();
        assert_eq!(claimed(&front.reply(0)), ClaimResult::Refused(expected));
    }
    front.push(0, &claim(5, UserId(3), b"forged".to_vec(), NOW));
    back.work();
    assert_eq!(claimed(&front.reply(0)), ClaimResult::Refused(Reason::TicketForged));
    let sealed = ticket(&front.keys, EVENT, packet, UserId(4), FAR);
    front.push(0, &claim(6, UserId(4), sealed, NOW));
    back.work();
    assert!(matches!(
        claimed(&front.reply(0)),
        ClaimResult::Opened { repeat: false, .. }
    ));
    assert_eq!(
        (
            back.counters.records_bad.value(),
            back.counters.shards_started_inconsistent.value()
        ),
        (1, 1)
    );
    event.assert_balanced();
}

#[test]
fn a_shard_that_starts_anew_loses_only_what_it_took() {
    let event = Event::new(100);
    let mut front = Front::new(&event, 1);
    let mut back = Back::open(&event).unwrap();
    back.work();
    let taken = front.take_grants(0);
    assert_eq!(taken.len(), 8);
    let issued = |at: usize| {
        let (packet, user) = (taken[at].packet, UserId(1));
        Request::Issued(Issued {
            packet,
            user,
            stage: 0,
            at: NOW,
            ends: None,
        })
    };
    front.push(0, &issued(0));
    drop(front);
    let mut front = Front::new(&event, 1);
    back.work();
    let report = event.assert_balanced();
    assert_eq!((report.total.issued.packets, report.total.void.packets), (1, 7));
    // Sponsors take turns; the report goes by id.
    let mut lost: Vec<_> = taken[1..].iter().map(|grant| grant.packet).collect();
    lost.sort_unstable();
    assert_eq!(report.void_packets, lost);
    // What is void stays so, whoever comes.
    front.push(0, &issued(1));
    front.push(
        0,
        &claim(
            9,
            UserId(1),
            ticket(&front.keys, EVENT, taken[1].packet, UserId(1), FAR),
            NOW,
        ),
    );
    back.work();
    assert_eq!(claimed(&front.reply(0)), ClaimResult::Refused(Reason::PacketVoid));
    assert_eq!(back.counters.issued_inconsistent.value(), 1);
}

#[test]
fn what_an_old_mapping_held_is_lost_with_it() {
    let event = Event::new(100);
    let front = Front::new(&event, 2);
    let mut back = Back::open(&event).unwrap();
    back.work();
    drop((front, back));
    Mapping::remove(&event.path("rings")).unwrap();
    let mut front = Front::new(&event, 1);
    let mut back = Back::open(&event).unwrap();
    back.work();
    let report = event.assert_balanced();
    let total = report.total;
    assert_eq!(
        (total.lost.packets, total.void.packets, total.released.packets),
        (16, 0, 8)
    );
    assert_eq!(report.lost_packets.len(), 16);
    assert_eq!(front.take_grants(0).len(), 8);
}

#[test]
fn a_ledger_that_lost_commits_is_refused() {
    let event = Event::new(100);
    let mut front = Front::new(&event, 1);
    let mut back = Back::open(&event).unwrap();
    back.work();
    front.push(
        0,
        &Request::ShardStarted {
            epoch: 1,
            grants_taken: 0,
        },
    );
    back.work();
    drop(back);
    let refused = |sql: &str, ring: &str| {
        Connection::open(event.ledger()).unwrap().execute(sql, []).unwrap();
        let error = Back::open(&event).err().unwrap();
        assert!(
            matches!(error, LanesError::Ledger(LedgerError::Behind { .. })),
            "{error}"
        );
        assert!(
            error.to_string().contains(ring) && error.to_string().contains("lost commits"),
            "{error}"
        );
    };
    refused("UPDATE lanes SET grants_released = grants_released - 1", "grant");
    refused("UPDATE lanes SET requests_done = requests_done - 1", "request");
    for suffix in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(event.path(&format!("ledger.db{suffix}")));
    }
    // A ledger that was begun anew is another one: the mapping is not its own.
    let error = Back::open(&event).err().unwrap();
    assert!(
        matches!(error, LanesError::Queue(shm_queue::Error::OtherOwner { .. })),
        "{error}"
    );
    assert!(
        error.is_for_a_person() && error.to_string().contains("put the file aside"),
        "{error}"
    );
}

#[test]
fn a_mapping_of_another_kind_is_refused() {
    let event = Event::new(10);
    let mut geometry = super::support::geometry(1);
    geometry.rings.pop();
    Mapping::create(&event.path("rings"), &geometry).unwrap();
    let error = Back::open(&event).err().unwrap();
    assert!(matches!(error, LanesError::Geometry { .. }), "{error}");
}

#[test]
fn a_damaged_seed_record_stops_the_feed_and_nothing_else() {
    let event = Event::new(20);
    let mut bytes = std::fs::read(event.seed()).unwrap();
    let mut front = Front::new(&event, 1);
    let mut back = Back::open(&event).unwrap();
    drop(back);
    let at = shake_rules::seed::HEADER_BYTES + 5 * shake_rules::seed::RECORD_BYTES;
    bytes[at] ^= 1;
    std::fs::write(event.seed(), &bytes).unwrap();
    back = Back::open(&event).unwrap();
    back.work();
    let grants = front.take_grants(0);
    assert_eq!(grants.len(), 5);
    let sealed = ticket(&front.keys, EVENT, grants[0].packet, UserId(1), FAR);
    front.push(0, &claim(1, UserId(1), sealed, NOW));
    back.work();
    assert!(matches!(claimed(&front.reply(0)), ClaimResult::Opened { .. }));
    assert_eq!(
        (
            back.counters.feed_stopped.value(),
            back.counters.packets_released.value()
        ),
        (1, 5)
    );
    // The file is mended; nobody restarts the agent. It is tried again each second, and not at each turn.
    bytes[at] ^= 1;
    std::fs::write(event.seed(), bytes).unwrap();
    back.work();
    assert_eq!(front.take_grants(0).len(), 0);
    back.work_after(1_000);
    let more = front.take_grants(0);
    assert!(!more.is_empty() && !back.agent.feed().is_stopped());
    assert_eq!(back.counters.feed_stopped.value(), 0);
    assert_eq!(back.counters.packets_released.value(), 5 + more.len() as u64);
}

/// A file system that fails for a moment, as one over a network does.
#[test]
fn a_seed_that_cannot_be_read_for_a_moment_stops_the_feed_for_a_moment() {
    let event = Event::new(200);
    let whole = std::fs::read(event.seed()).unwrap();
    let mut front = Front::new(&event, 1);
    let mut back = Back::open(&event).unwrap();
    back.work();
    let first = front.take_grants(0).len();
    assert!(first > 0);
    // Cut short under the agent: reads fail, and not the file's own checks.
    std::fs::File::options()
        .write(true)
        .open(event.seed())
        .unwrap()
        .set_len(100)
        .unwrap();
    for _ in 0..3 {
        back.work_after(1_000);
        assert!(front.take_grants(0).is_empty() && back.agent.feed().is_stopped());
    }
    std::fs::write(event.seed(), whole).unwrap();
    let mut released = first;
    while released < 200 {
        back.work_after(1_000);
        let more = front.take_grants(0).len();
        assert!(more > 0 && !back.agent.feed().is_stopped(), "{released}");
        released += more;
    }
}

#[test]
fn what_is_sent_is_told_to_every_shard_and_comes_back_after_a_restart() {
    let event = Event::new(4);
    let mut front = Front::new(&event, 2);
    let mut back = Back::open(&event).unwrap();
    back.agent.judge.rules.share_lifetime_ms = 10_000;
    back.work();
    let grant = front.take_grants(0)[0];
    let sealed = ticket(&front.keys, EVENT, grant.packet, UserId(1), FAR);
    front.push(0, &claim(1, UserId(1), sealed, NOW));
    back.work();
    let ClaimResult::Opened { amount, .. } = claimed(&front.reply(0)) else {
        panic!("not opened");
    };
    let send = What::Send(Send {
        key: [1; 16],
        total: amount,
        shares: 1,
        recipients: vec![UserId(8)],
    });
    front.push(1, &ask(2, UserId(1), NOW, send));
    back.work();
    assert!(matches!(front.reply(1).kind, Some(Kind::Send(_))));
    for shard in 0..2 {
        let notices = front.notices(shard);
        assert_eq!(
            (notices.len(), notices[0].user, notices[0].from),
            (1, UserId(8), Some(UserId(1)))
        );
    }
    // Who comes later asks, and only that shard hears it.
    front.push(1, &ask(3, UserId(8), NOW, What::Offers));
    back.work();
    assert_eq!(front.reply(1).kind, None);
    assert_eq!((front.notices(0).len(), front.notices(1).len()), (0, 1));
    assert_eq!(back.agent.ledger().user_balance(UserId(1)).unwrap(), Some(0));
    drop(back);
    let mut back = Back::open(&event).unwrap();
    back.live_for(10_000 + EXPIRY_GRACE_MS);
    assert_eq!(back.counters.refunds_sent.value(), 1);
    assert_eq!(
        back.agent.ledger().user_balance(UserId(1)).unwrap(),
        Some(amount.0 as i64)
    );
    event.assert_balanced();
}

/// Who asks while a commit is full does not wait for the next one's time.
#[test]
fn an_agent_is_behind_while_its_commits_are_full() {
    let event = Event::new(4);
    let mut front = Front::new(&event, 1);
    let mut back = Back::open(&event).unwrap();
    back.work();
    assert!(!back.agent.is_behind(), "nobody asked");
    for number in 0..BATCH_MAX as u64 + 1 {
        front.push(0, &ask(number, UserId(number), NOW, What::Offers));
    }
    let mut turn = || (back.agent.turn(&mut back.lanes, NOW), back.agent.is_behind());
    assert_eq!(turn(), (Turn::Worked, true));
    assert_eq!(turn(), (Turn::Worked, false), "one was left");
    assert_eq!(turn(), (Turn::Idle, false));
}

/// A full notice ring loses notices, and nothing else.
#[test]
fn notices_without_room_are_dropped_and_counted() {
    let event = Event::new(4);
    let mut front = Front::new(&event, 1);
    let mut back = Back::open(&event).unwrap();
    let slots = u64::from(Ring::Notice.slots());
    let notice = Notice {
        user: UserId(1),
        code: vec![0; 20].into(),
        from: None,
    };
    for _ in 0..slots + 3 {
        back.lanes.push_notice(None, &notice);
    }
    assert_eq!(
        (
            back.counters.notices_pushed.value(),
            back.counters.notices_dropped.value()
        ),
        (slots, 3)
    );
    assert_eq!(front.notices(0).len() as u64, slots);
}
