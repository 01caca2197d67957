//! Grants that shards give back, because nobody wants them any more.

use super::back::{Back, Setting};
use super::support::{EVENT, Event, FAR, Front, claim, claimed, ticket};
use crate::ledger::{NO_LANE, State};
use shake_proto::handoff::record::{Grant, Issued, Request, Returned};
use shake_proto::reply::ClaimResult;
use shake_rules::show::Show;
use shake_rules::{PacketId, SponsorId, UnixMillis, UserId};
use shm_queue::Mapping;

/// Phases of ten seconds: sponsor 1, sponsor 2, 1 again, 2 again.
const SHOW: &str = r#"
[event]
id = 7
starts = "1970-01-01T00:00:00Z"
[limits]
packets_per_user = 8
packets_per_sponsor = 8
[[sponsors]]
id = 1
name = "one"
[[sponsors]]
id = 2
name = "two"
[[phases]]
start_s = 0
end_s = 10
weights = { red_packet = 1 }
sponsors = { 1 = 1 }
[[phases]]
start_s = 10
end_s = 20
weights = { red_packet = 1 }
sponsors = { 2 = 1 }
[[phases]]
start_s = 20
end_s = 30
weights = { red_packet = 1 }
sponsors = { 1 = 1 }
[[phases]]
start_s = 30
end_s = 40
weights = { red_packet = 1 }
sponsors = { 2 = 1 }
"#;

fn open(event: &Event, now: UnixMillis) -> Back {
    let mapping = Mapping::open(&event.path("rings")).unwrap();
    let show = Show::parse(SHOW, UnixMillis(0)).unwrap();
    Back::open_on(&mapping, event, Setting { show, now, rng: 7 }).unwrap()
}

/// Gives everything back, and what the agent has put into the ring then.
fn exchange(front: &mut Front, back: &mut Back) -> (Vec<Returned>, Vec<Grant>) {
    let returned: Vec<_> = std::iter::from_fn(|| front.give_back(0)).collect();
    back.work();
    (returned, front.grants(0))
}

fn packets(grants: &[Grant]) -> Vec<PacketId> {
    grants.iter().map(|grant| grant.packet).collect()
}

fn lane_of(back: &Back, packet: PacketId) -> i64 {
    let found = back.agent.ledger().packet(packet).unwrap().unwrap();
    assert_eq!(found.state, State::Released);
    found.granted.unwrap().lane
}

/// Each comes back once, goes out again when its sponsor's turn comes, at a new place, and is nobody's loss.
#[test]
fn what_comes_back_goes_out_again_when_its_sponsor_is_on() {
    let event = Event::in_memory(200);
    let mut front = Front::new(&event, 1);
    let mut back = open(&event, UnixMillis(1));
    back.work();
    let first = front.grants(0);
    assert!(first.len() == 8 && first.iter().all(|grant| grant.sponsor == SponsorId(1)));

    back.live_for(10_000);
    let (gave, second) = exchange(&mut front, &mut back);
    assert_eq!(gave.len(), 8);
    assert!(second.len() == 8 && second.iter().all(|grant| grant.sponsor == SponsorId(2)));
    assert!(gave.iter().all(|returned| lane_of(&back, returned.packet) == NO_LANE));
    assert_eq!(back.counters.packets_returned.value(), 8);

    // A record that comes twice changes nothing: not now, and not when the packet stands elsewhere.
    front.push(0, &Request::Returned(gave[0]));
    back.live_for(10_000);
    let (also_gave, third) = exchange(&mut front, &mut back);
    assert_eq!(packets(&third), packets(&first), "the same, in their order");
    front.push(0, &Request::Returned(gave[0]));
    back.work();
    assert_ne!(lane_of(&back, gave[0].packet), NO_LANE);
    assert_eq!(back.counters.packets_returned.value(), 16);
    assert_eq!(back.counters.packets_returned_repeat.value(), 2);
    assert_eq!(back.counters.packets_released_again.value(), 8);

    // One of them is won, and comes back by mistake.
    let position = 16;
    let (packet, user) = (third[0].packet, UserId(5));
    front.take_grant(0);
    front.push(
        0,
        &Request::Issued(Issued {
            packet,
            user,
            stage: 2,
            at: back.now,
            ends: Some(FAR),
        }),
    );
    front.push(0, &Request::Returned(Returned { packet, position }));
    let sealed = ticket(&front.keys, EVENT, packet, user, FAR);
    front.push(0, &claim(1, user, sealed, back.now));
    back.work();
    assert!(matches!(claimed(&front.reply(0)), ClaimResult::Opened { .. }));

    // Another life of the agent knows what came back.
    let now = back.now;
    drop(back);
    let mut back = open(&event, now);
    back.live_for(10_000);
    let (_, fourth) = exchange(&mut front, &mut back);
    let expected: Vec<_> = also_gave.iter().map(|returned| returned.packet).collect();
    assert_eq!(packets(&fourth), expected);
    let report = event.assert_balanced();
    assert_eq!((report.total.void.packets, report.total.opened.packets), (0, 1));
}

#[test]
fn nothing_is_given_to_a_gateway_that_drains_nor_after_the_show() {
    let event = Event::in_memory(200);
    let mut front = Front::new(&event, 1);
    let mut back = open(&event, UnixMillis(1));
    back.work();
    front.say_draining(true);
    let (gave, grants) = exchange(&mut front, &mut back);
    assert_eq!((gave.len(), grants.len()), (8, 0));
    front.say_draining(false);
    back.work();
    let given = front.grants(0);
    assert_eq!(
        packets(&given),
        gave.iter().map(|returned| returned.packet).collect::<Vec<_>>()
    );
    back.live_for(40_000);
    let (_, grants) = exchange(&mut front, &mut back);
    assert_eq!(grants, []);
    assert_eq!(event.assert_balanced().total.void.packets, 0);
}
