//! Time: a clock that jumps, lifetimes that are pushed, outages that cost nobody a packet.

use super::back::{Back, NOW};
use super::support::{EVENT, Event, Front, ask, claim, claimed};
use crate::ledger::State;
use crate::requests::EXPIRY_GRACE_MS;
use host::steady::Steady;
use shake_proto::handoff::record::{Issued, Request, What};
use shake_proto::reply::{ClaimResult, GrabResult, Reason};
use shake_proto::request::Send;
use shake_proto::wire::v1::reply::Kind;
use shake_rules::ticket::Ticket;
use shake_rules::{PacketId, SponsorId, UnixMillis, UserId};

const USER: UserId = UserId(4);
const LIFETIME_MS: u64 = 45_000;
/// Between two turns of an agent that lives.
const TURN_MS: u64 = 500;

struct Scene {
    event: Event,
    front: Front,
    back: Back,
}

impl Scene {
    fn new() -> Self {
        let event = Event::new(40);
        let front = Front::new(&event, 1);
        let mut back = Back::open(&event).unwrap();
        back.agent.judge.rules.ticket_lifetime_ms = LIFETIME_MS;
        back.agent.judge.rules.share_lifetime_ms = LIFETIME_MS;
        back.work();
        Self { event, front, back }
    }

    /// The gateway gives a packet out for so long; what its ticket is.
    fn win(&mut self, lifetime_ms: u64, tells_the_end: bool) -> (PacketId, Vec<u8>) {
        let now = self.back.now;
        let packet = self.front.next_grant(0).expect("in hand").packet;
        self.front.take_grant(0);
        let ticket = Ticket {
            event: EVENT,
            packet,
            user: USER,
            sponsor: SponsorId(1),
            stage: 0,
            issued_at: now,
            expires_at: now.plus_ms(lifetime_ms),
        };
        let issued = Issued {
            packet,
            user: USER,
            stage: 0,
            at: now,
            ends: tells_the_end.then_some(ticket.expires_at),
        };
        self.front.push(0, &Request::Issued(issued));
        self.back.work();
        (packet, self.front.keys.seal(&ticket))
    }

    fn claim(&mut self, sealed: &[u8]) -> ClaimResult {
        self.front.push(0, &claim(1, USER, sealed.to_vec(), self.back.now));
        self.back.work();
        claimed(&self.front.reply(0))
    }

    fn state(&self, packet: PacketId) -> State {
        self.back.agent.ledger().packet(packet).unwrap().unwrap().state
    }

    /// The agent is away for so long.
    fn restart_after(&mut self, ms: u64) {
        let now = self.back.now.plus_ms(ms);
        // Its side of the rings is free first.
        let Self { event, back, .. } = self;
        let rules = back.agent.judge.rules;
        take_away(back);
        let mut next = Back::open_at(event, now).unwrap();
        next.agent.judge.rules = rules;
        *back = next;
        back.work();
    }
}

/// Ends an agent before its place is taken by the next.
fn take_away(back: &mut Back) {
    let elsewhere = Event::new(1);
    let front = Front::new(&elsewhere, 1);
    *back = Back::open(&elsewhere).unwrap();
    drop(front);
}

/// Five minutes ahead for three seconds, with lifetimes of 45 s: nothing goes back, and the ticket opens.
#[test]
fn a_clock_that_is_ahead_for_a_moment_takes_nothing_back() {
    let mut scene = Scene::new();
    let start = Steady::start(0, NOW.0);
    let mut clock = start.clone();
    let (packet, sealed) = scene.win(LIFETIME_MS, true);
    let mut boot_ms = 0;
    while boot_ms < 13_000 {
        boot_ms += TURN_MS;
        let ahead_ms = if (5_000..8_000).contains(&boot_ms) { 300_000 } else { 0 };
        clock.look(boot_ms, NOW.0 + boot_ms + ahead_ms);
        scene.back.now = UnixMillis(clock.at(boot_ms));
        scene.back.work();
    }
    assert_eq!((scene.state(packet), &clock), (State::Issued, &start));
    assert!(matches!(
        scene.claim(&sealed),
        ClaimResult::Opened { repeat: false, .. }
    ));
    scene.event.assert_balanced();
}

/// A clock that was behind is set right for good while tickets are out: the step counts against nobody.
#[test]
fn a_clock_that_is_set_forward_takes_nothing_back() {
    let mut scene = Scene::new();
    let mut clock = Steady::start(0, NOW.0);
    let (packet, sealed) = scene.win(LIFETIME_MS, true);
    let (mut boot_ms, mut step) = (0, None);
    while boot_ms < 30_000 {
        boot_ms += TURN_MS;
        step = step.or(clock.look(boot_ms, NOW.0 + boot_ms + 3_600_000));
        scene.back.now = UnixMillis(clock.at(boot_ms));
        scene.back.work();
    }
    assert_eq!(step, Some(3_600_000), "it was followed");
    assert_eq!(scene.state(packet), State::Issued);
    assert!(matches!(scene.claim(&sealed), ClaimResult::Opened { .. }));
    // What is served afterwards counts again.
    let (late, sealed) = scene.win(LIFETIME_MS, true);
    scene.back.live_for(LIFETIME_MS + EXPIRY_GRACE_MS);
    assert_eq!(scene.state(late), State::Refunded);
    assert_eq!(scene.claim(&sealed), ClaimResult::Refused(Reason::TicketExpired));
    scene.event.assert_balanced();
}

/// A shorter lifetime that is pushed while a ticket is out holds for the next one, whether or not the gateway tells ends.
#[test]
fn a_shorter_lifetime_takes_nothing_back_that_was_promised() {
    let mut scene = Scene::new();
    scene.back.agent.judge.rules.ticket_lifetime_ms = 5_000;
    let (told, opens) = scene.win(LIFETIME_MS, true);
    let (untold, closed) = scene.win(5_000, false);
    scene.back.live_for(40_000);
    assert_eq!(
        (scene.state(told), scene.state(untold)),
        (State::Issued, State::Refunded)
    );
    assert!(matches!(scene.claim(&opens), ClaimResult::Opened { .. }));
    assert_eq!(scene.claim(&closed), ClaimResult::Refused(Reason::TicketExpired));
    // And a longer one gives nothing: the end is the ticket's.
    scene.back.agent.judge.rules.ticket_lifetime_ms = 1_000_000;
    let (short, sealed) = scene.win(5_000, true);
    scene.back.live_for(5_000 + EXPIRY_GRACE_MS);
    assert_eq!(scene.state(short), State::Refunded);
    assert_eq!(scene.claim(&sealed), ClaimResult::Refused(Reason::TicketExpired));
    scene.event.assert_balanced();
}

/// The agent is away three times, each for longer than the ticket lives; what it was promised is what it has, and once.
#[test]
fn an_outage_costs_no_winner_the_packet() {
    let mut scene = Scene::new();
    let (packet, sealed) = scene.win(LIFETIME_MS, true);
    let (other, late) = scene.win(LIFETIME_MS, true);
    for _ in 0..3 {
        scene.back.live_for(10_000);
        scene.restart_after(600_000);
        assert_eq!(scene.state(packet), State::Issued);
    }
    scene.back.live_for(5_000);
    assert!(matches!(
        scene.claim(&sealed),
        ClaimResult::Opened { repeat: false, .. }
    ));
    // 35 of 45 seconds are served. Nothing was added twice: ten more, and the other goes back.
    scene.back.live_for(8_000);
    assert_eq!(scene.state(other), State::Issued);
    scene.back.live_for(2_000 + EXPIRY_GRACE_MS);
    assert_eq!(scene.state(other), State::Refunded);
    assert_eq!(scene.claim(&late), ClaimResult::Refused(Reason::TicketExpired));
    scene.event.assert_balanced();
}

/// Shares likewise, also those of a packet that a user sent.
#[test]
fn an_outage_costs_nobody_a_share() {
    let mut scene = Scene::new();
    let (_, sealed) = scene.win(LIFETIME_MS, true);
    let ClaimResult::Opened { amount, .. } = scene.claim(&sealed) else {
        panic!("not opened");
    };
    let send = Send {
        key: [1; 16],
        total: amount,
        shares: 1,
        recipients: vec![],
    };
    scene.front.push(0, &ask(2, USER, scene.back.now, What::Send(send)));
    scene.back.work();
    let Some(Kind::Send(reply)) = scene.front.reply(0).kind else {
        panic!("no answer to a send");
    };
    let shake_proto::reply::SendResult::Sent { code, .. } = reply.try_into().unwrap() else {
        panic!("not sent");
    };
    scene.back.live_for(30_000);
    scene.restart_after(86_400_000);
    scene.back.live_for(10_000);
    let grab = What::Grab(shake_proto::request::Grab { code });
    scene.front.push(0, &ask(3, UserId(9), scene.back.now, grab));
    scene.back.work();
    let Some(Kind::Grab(reply)) = scene.front.reply(0).kind else {
        panic!("no answer to a grab");
    };
    assert!(matches!(reply.try_into().unwrap(), GrabResult::Grabbed { .. }));
    scene.event.assert_balanced();
}

/// Minutes without anything to do are served time: they make no span, also not when the gateway is away.
#[test]
fn idle_time_counts() {
    let mut scene = Scene::new();
    let (packet, _) = scene.win(LIFETIME_MS, true);
    scene.back.live_for(LIFETIME_MS + EXPIRY_GRACE_MS);
    assert_eq!(scene.state(packet), State::Refunded);
    let (packet, _) = scene.win(LIFETIME_MS, true);
    let end = scene.back.now.plus_ms(LIFETIME_MS + EXPIRY_GRACE_MS);
    while scene.back.now < end {
        scene.back.now = scene.back.now.plus_ms(100);
        scene.back.agent.turn_without_rings(scene.back.now).unwrap();
    }
    assert_eq!(scene.state(packet), State::Refunded);
    scene.event.assert_balanced();
}
