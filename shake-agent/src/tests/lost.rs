//! What was released into a mapping that is gone: lost until a ticket is shown. And what is void: never to be opened.

use super::back::{Back, NOW};
use super::support::{EVENT, Event, FAR, Front, claim, claimed, ticket};
use crate::lanes::LanesError;
use crate::ledger::State;
use crate::requests::EXPIRY_GRACE_MS;
use shake_proto::handoff::record::{Grant, Issued, Request};
use shake_proto::reply::{ClaimResult, Reason};
use shake_rules::ticket::Ticket;
use shake_rules::{LedgerId, PacketId, SponsorId, UserId};
use shm_queue::{Mapping, Owner, Side};

const USER: UserId = UserId(4);

fn issued(packet: PacketId) -> Request {
    Request::Issued(Issued {
        packet,
        user: USER,
        stage: 0,
        at: NOW,
        ends: Some(NOW.plus_ms(45_000)),
    })
}

/// An agent that granted eight packets, of which the gateway took some and issued one; then the machine went down.
fn reboot() -> (Event, Front, Back, Vec<Grant>) {
    let event = Event::new(100);
    let mut front = Front::new(&event, 1);
    let mut back = Back::open(&event).unwrap();
    back.work();
    let grants = front.take_grants(0);
    assert_eq!(grants.len(), 8);
    front.push(0, &issued(grants[0].packet));
    drop((front, back));
    Mapping::remove(&event.path("rings")).unwrap();
    let front = Front::new(&event, 1);
    let mut back = Back::open(&event).unwrap();
    back.work();
    (event, front, back, grants)
}

fn state(back: &Back, packet: PacketId) -> State {
    back.agent.ledger().packet(packet).unwrap().unwrap().state
}

fn ask(front: &mut Front, back: &mut Back, user: UserId, sealed: Vec<u8>) -> ClaimResult {
    front.push(0, &claim(1, user, sealed, back.now));
    back.work();
    claimed(&front.reply(0))
}

/// `Issued` was not read when the machine went down, and the winner has the ticket.
#[test]
fn a_ticket_opens_what_was_lost_in_a_reboot() {
    let (event, mut front, mut back, grants) = reboot();
    let report = event.assert_balanced();
    assert_eq!((report.total.lost.packets, report.total.void.packets), (8, 0));
    let mut lost: Vec<PacketId> = grants.iter().map(|grant| grant.packet).collect();
    lost.sort_unstable();
    assert_eq!((report.lost_packets, report.void_packets), (lost, vec![]));
    let packet = grants[0].packet;
    let sealed = ticket(&front.keys, EVENT, packet, USER, FAR);
    let first = ask(&mut front, &mut back, USER, sealed.clone());
    assert!(matches!(first, ClaimResult::Opened { repeat: false, .. }), "{first:?}");
    let again = ask(&mut front, &mut back, USER, sealed);
    assert!(matches!(again, ClaimResult::Opened { repeat: true, .. }), "{again:?}");
    let other = ticket(&front.keys, EVENT, packet, UserId(5), FAR);
    let other = ask(&mut front, &mut back, UserId(5), other);
    assert_eq!(other, ClaimResult::Refused(Reason::PacketTaken));
    let total = event.assert_balanced().total;
    assert_eq!((total.lost.packets, total.opened.packets + total.open.packets), (7, 1));
    // What is lost is not handed out again.
    let again = front.take_grants(0);
    assert!(
        again
            .iter()
            .all(|grant| grants.iter().all(|old| old.packet != grant.packet))
    );
}

/// Its record, read late from wherever it was kept, makes it issued, and then it goes back in its time.
#[test]
fn a_record_makes_what_was_lost_issued() {
    let (event, mut front, mut back, grants) = reboot();
    let packet = grants[1].packet;
    front.push(0, &issued(packet));
    front.push(0, &issued(packet));
    back.work();
    assert_eq!(state(&back, packet), State::Issued);
    assert_eq!(
        (
            back.counters.packets_found.value(),
            back.counters.issued.value(),
            back.counters.issued_repeat.value()
        ),
        (1, 1, 1)
    );
    event.assert_balanced();
    back.live_for(45_000 + EXPIRY_GRACE_MS);
    assert_eq!(state(&back, packet), State::Refunded);
    event.assert_balanced();
}

/// After its time it opens nothing; its money stays where it is.
#[test]
fn a_late_ticket_opens_nothing_that_is_lost() {
    let (event, mut front, mut back, grants) = reboot();
    let packet = grants[0].packet;
    let sealed = front.keys.seal(&Ticket {
        event: EVENT,
        packet,
        user: USER,
        sponsor: SponsorId(1),
        stage: 0,
        issued_at: NOW,
        expires_at: NOW.plus_ms(10_000),
    });
    back.live_for(9_000);
    drop(back);
    // A day without an agent does not count against it, and a second more of service does.
    let now = NOW.plus_ms(9_000 + 86_400_000);
    let mut back = Back::open_at(&event, now).unwrap();
    back.work();
    back.live_for(1_000);
    let late = ask(&mut front, &mut back, USER, sealed);
    assert_eq!(late, ClaimResult::Refused(Reason::TicketExpired));
    assert_eq!(state(&back, packet), State::Lost);
    event.assert_balanced();
}

/// A gateway that began a new life proved that there is no ticket. One that is shown all the same is an alarm.
#[test]
fn a_ticket_for_what_is_void_is_refused_with_an_alarm() {
    let event = Event::new(100);
    let mut front = Front::new(&event, 1);
    let mut back = Back::open(&event).unwrap();
    back.work();
    let packet = front.take_grants(0)[0].packet;
    drop(front);
    let mut front = Front::new(&event, 1);
    back.work();
    assert_eq!(state(&back, packet), State::Void);
    let sealed = ticket(&front.keys, EVENT, packet, USER, FAR);
    let refused = ask(&mut front, &mut back, USER, sealed);
    assert_eq!(refused, ClaimResult::Refused(Reason::PacketVoid));
    assert_eq!(back.counters.tickets_void.value(), 1);
    event.assert_balanced();
    // Void stays void when the mapping goes, too.
    drop((front, back));
    Mapping::remove(&event.path("rings")).unwrap();
    let _front = Front::new(&event, 1);
    let mut back = Back::open(&event).unwrap();
    back.work();
    assert_eq!(state(&back, packet), State::Void);
    event.assert_balanced();
}

/// A record that cannot be read may have been an `Issued`: then a new life of the shard proves nothing.
#[test]
fn a_ring_with_holes_proves_nothing() {
    let event = Event::new(100);
    let mut front = Front::new(&event, 1);
    let mut back = Back::open(&event).unwrap();
    back.work();
    let packet = front.take_grants(0)[0].packet;
    front.push_bytes(0, b"what once was an Issued");
    drop(front);
    let mut front = Front::new(&event, 1);
    back.work();
    assert_eq!(state(&back, packet), State::Lost);
    let sealed = ticket(&front.keys, EVENT, packet, USER, FAR);
    let opened = ask(&mut front, &mut back, USER, sealed);
    assert!(matches!(opened, ClaimResult::Opened { .. }), "{opened:?}");
    event.assert_balanced();
}

/// The same keys, the same event, another ledger: its mapping is refused by name, and its tickets open nothing.
#[test]
fn another_ledgers_mapping_and_tickets_are_refused() {
    let event = Event::new(20);
    let mut front = Front::new(&event, 1);
    let mut back = Back::open(&event).unwrap();
    back.work();
    let ours = front.ledger().expect("named before the first grant");
    assert_eq!(back.agent.ledger().identity(), Some(ours));
    let packet = front.take_grants(0)[0].packet;
    let rehearsal = super::support::Tickets::of(LedgerId([9; 16]));
    let sealed = ticket(&rehearsal, EVENT, packet, USER, FAR);
    let refused = ask(&mut front, &mut back, USER, sealed);
    assert_eq!(refused, ClaimResult::Refused(Reason::TicketOtherEvent));
    event.assert_balanced();

    let other = Event::new(20);
    let mapping = Mapping::create(&other.path("rings"), &super::support::geometry(1)).unwrap();
    let agent = mapping.attach(Side::Back, 1).unwrap();
    let (identity, part) = (ours.0, 0);
    agent.name_owner(&Owner { identity, part }).unwrap();
    drop(agent);
    let error = Back::open(&other).err().unwrap();
    assert!(
        matches!(error, LanesError::Queue(shm_queue::Error::OtherOwner { .. })),
        "{error}"
    );
    assert!(error.to_string().contains(&ours.to_string()), "{error}");
}

/// Each commit shows its stamp in the mapping.
#[test]
fn the_mapping_shows_the_ledgers_stamp() {
    let event = Event::new(20);
    let mut front = Front::new(&event, 1);
    let mut back = Back::open(&event).unwrap();
    back.work();
    let stamp = front.attachment.mapping().stamp();
    assert_eq!(stamp, back.agent.ledger().stamp());
    let packet = front.take_grants(0)[0].packet;
    front.push(0, &issued(packet));
    back.work();
    assert!(front.attachment.mapping().stamp() > stamp);
    assert_eq!(front.attachment.mapping().stamp(), back.agent.ledger().stamp());
}
