//! The real program on a ledger in PostgreSQL: agents of two parts, for guests who go to either gateway.
#![allow(missing_docs, clippy::unwrap_used)]

mod books;
mod frozen;
mod older;
mod parts;
#[path = "../process/mod.rs"]
mod process;
#[path = "../support/mod.rs"]
mod support;

use local_postgres::{AGENT, Server};
use nix::sys::signal::Signal;
use process::{Running, agent};
use shake_agent::seed_draw::{Request, Splits};
use shake_agent::seed_fleet;
use shake_proto::handoff::record::{Gift, Grant, Issued, Request as Record};
use shake_proto::reply::ClaimResult;
use shake_rules::{Cents, PacketId, SponsorId, UnixMillis, UserId};
use std::time::{Duration, Instant};
use support::{EVENT, Event, FAR, Front, PATIENCE, claim, claimed, splitmix, ticket};
use tempfile::TempDir;

/// In each part.
const PACKETS: u64 = 20;
/// That of the tests' show, in cents.
const BUDGET: i64 = 1_000;

/// An event of two parts, whose tables are made. The server ends last.
struct Fleet {
    events: [Event; 2],
    /// The directory with that of the whole seed.
    seeds: TempDir,
    server: Server,
}

/// The seed of two parts, in a directory of its own.
fn seeds() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let request = Request {
        event: EVENT,
        budget: Cents(PACKETS * 2 * 20),
        count: PACKETS * 2,
        sponsors: [(SponsorId(1), 1)].into(),
        min: Cents(10),
        max: Cents(50),
        splits: Splits::default(),
    };
    let mut state = 1;
    let random = || splitmix(&mut state);
    seed_fleet::generate(
        &request,
        2,
        &directory.path().join("seeds"),
        false,
        None,
        random,
        |_| {},
    )
    .unwrap();
    directory
}

fn init(fleet: &Fleet) -> Option<i32> {
    let mut init = agent(&fleet.events[0]);
    init.args(["ledger", "init", "--agents", AGENT, "--url", &fleet.server.url("event")]);
    init.args(fleet.events.iter().map(Event::seed));
    init.output().unwrap().status.code()
}

impl Fleet {
    fn new() -> Self {
        let server = Server::start(&std::env::temp_dir(), &["fsync=off"]).unwrap();
        server.database("event").unwrap();
        let seeds = seeds();
        let events = [0, 1].map(|part| {
            let event = Event::new(1);
            std::fs::copy(seeds.path().join(format!("seeds/seed-{part}.bin")), event.seed()).unwrap();
            event.put_on_server(&server.agent_url("event"));
            event
        });
        let fleet = Self { events, seeds, server };
        assert_eq!(init(&fleet), Some(0));
        fleet
    }
}

/// The next grant, as soon as there is one.
fn offered(front: &mut Front) -> Grant {
    let begun = Instant::now();
    loop {
        if let Some(grant) = front.next_grant(0) {
            return grant;
        }
        assert!(begun.elapsed() < PATIENCE, "nothing is granted");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The same, taken out of the ring.
fn granted(front: &mut Front) -> Grant {
    let grant = offered(front);
    front.take_grant(0);
    grant
}

fn until(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "not yet: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn issued(packet: PacketId, user: UserId) -> Record {
    Record::Issued(Issued {
        packet,
        user,
        stage: 0,
        at: UnixMillis(1),
        ends: Some(FAR),
    })
}

fn claim_at(front: &mut Front, request: &Record) -> ClaimResult {
    front.push(0, request);
    claimed(&front.reply(0))
}

fn is_opened(result: &ClaimResult, again: bool) -> bool {
    matches!(result, ClaimResult::Opened { repeat, .. } if *repeat == again)
}

#[test]
fn what_is_won_at_one_gateway_opens_at_the_other() {
    let fleet = Fleet::new();
    let [here, there] = &fleet.events;
    for event in [here, there] {
        let checked = agent(event)
            .args(["check-config", "--config", "agent.toml"])
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&checked.stderr).into_owned();
        assert_eq!(checked.status.code(), Some(0), "{told}");
    }
    let mut fronts = [Front::new(here, 1), Front::new(there, 1)];
    let mut agents = [Running::start(here), Running::start(there)];
    let packet = granted(&mut fronts[0]).packet;
    granted(&mut fronts[1]);
    assert_eq!(fronts[0].ledger(), fronts[1].ledger(), "one ledger");
    let sealed = ticket(&fronts[0].keys, EVENT, packet, UserId(7), FAR);
    let request = claim(1, UserId(7), sealed, UnixMillis(1));
    let first = claim_at(&mut fronts[1], &request);
    assert!(is_opened(&first, false), "{first:?}");
    let again = claim_at(&mut fronts[0], &request);
    assert!(is_opened(&again, true), "{again:?}");

    // It dies, and what it answered stays answered.
    agents[1].signal(Signal::SIGKILL);
    agents[1].wait();
    agents[1] = Running::start(there);
    let again = claim_at(&mut fronts[1], &request);
    assert!(is_opened(&again, true), "{again:?}");
    let packet = granted(&mut fronts[1]).packet;
    let sealed = ticket(&fronts[1].keys, EVENT, packet, UserId(7), FAR);
    let other = claim_at(&mut fronts[0], &claim(2, UserId(7), sealed, UnixMillis(1)));
    assert!(is_opened(&other, false), "{other:?}");
    books::read_the_books(&fleet, packet);
    for agent in &mut agents {
        agent.signal(Signal::SIGTERM);
        assert_eq!(agent.wait().code(), Some(0));
    }
}

/// Nobody makes the tables a second time.
#[test]
fn what_is_there_is_not_made_again() {
    assert_eq!(init(&Fleet::new()), Some(1));
}

/// A machine that was copied: the agent that comes later has the part, and the one before ends, so that no service manager starts it
/// again.
#[test]
fn an_agent_that_lost_its_part_ends_for_good() {
    let fleet = Fleet::new();
    let first = &fleet.events[0];
    let mut front = Front::new(first, 1);
    let mut running = Running::start(first);
    granted(&mut front);
    let copy = Event::new(1);
    std::fs::copy(first.seed(), copy.seed()).unwrap();
    copy.put_on_server(&fleet.server.url("event").replace("shake@", "agent@"));
    let stranger = agent(&copy).args(["run", "--config", "agent.toml"]).output().unwrap();
    assert_eq!(stranger.status.code(), Some(3), "the part is another installation's");
    let file = "state/ledger-installation";
    std::fs::copy(first.path(file), copy.path(file)).unwrap();
    let _front = Front::new(&copy, 1);
    let mut second = Running::start(&copy);
    assert_eq!(running.wait().code(), Some(3));
    assert!(front.agent_status().part_lost && !front.agent_is_alive());
    second.signal(Signal::SIGTERM);
    assert_eq!(second.wait().code(), Some(0));
}

/// A record that breaks a constraint is put aside by name, and all others take effect; one that says what was issued ends the agent.
#[test]
fn what_the_server_refuses_each_time_is_put_aside() {
    let fleet = Fleet::new();
    let event = &fleet.events[0];
    let strange = "ALTER TABLE users ADD CONSTRAINT strange CHECK (usr <> 3);
                   ALTER TABLE packets ADD CONSTRAINT stranger CHECK (stage <> 9)";
    fleet.server.run("event", strange).unwrap();
    let mut front = Front::new(event, 1);
    let mut running = Running::start(event);
    let packets: Vec<PacketId> = (0..6).map(|_| granted(&mut front).packet).collect();
    let claims: Vec<Record> = (1..)
        .zip(&packets)
        .map(|(user, packet)| {
            let sealed = ticket(&front.keys, EVENT, *packet, UserId(user), FAR);
            claim(user, UserId(user), sealed, UnixMillis(1))
        })
        .collect();
    claims[..5].iter().for_each(|claim| front.push(0, claim));
    for _ in 0..5 {
        let reply = front.reply_one(0);
        let (user, result) = (reply.reply_to.request_id, claimed(&reply));
        match user {
            3 => assert!(matches!(result, ClaimResult::Busy { .. }), "{result:?}"),
            _ => assert!(is_opened(&result, false), "{user}: {result:?}"),
        }
    }
    assert!(!front.agent_status().ledger_read_only);
    let named = "SELECT count(*) FROM refused WHERE reason LIKE '%strange%' AND length(record) > 0";
    assert_eq!(fleet.server.number("event", named).unwrap(), 1);
    fleet
        .server
        .run("event", "ALTER TABLE users DROP CONSTRAINT strange")
        .unwrap();
    let result = claim_at(&mut front, &claims[2]);
    assert!(is_opened(&result, false), "{result:?}");

    front.push(
        0,
        &Record::Issued(Issued {
            packet: packets[5],
            user: UserId(6),
            stage: 9,
            at: UnixMillis(1),
            ends: None,
        }),
    );
    assert_eq!(running.wait().code(), Some(3));
}

/// An agent draws from the event's money for gifts what it gives, and puts the rest back when it ends.
#[test]
fn gifts_of_all_gateways_come_from_one_budget() {
    let fleet = Fleet::new();
    let number = |question| fleet.server.number("event", question).unwrap();
    let (pot, given) = (
        || number("SELECT gift_pot_cents FROM ledger"),
        || number("SELECT coalesce(sum(cents), 0)::bigint FROM packets WHERE origin = 3"),
    );
    let mut fronts = fleet.events.each_ref().map(|event| Front::new(event, 1));
    let mut agents = fleet.events.each_ref().map(Running::start);
    for front in &mut fronts {
        granted(front);
    }
    assert_eq!(pot(), BUDGET, "there once, and not once a part");
    for (key, front) in (1..).zip(&mut fronts) {
        let gift = Gift {
            key: [key; 16],
            total: Cents(300),
            recipients: vec![UserId(key.into())],
            stage: 0,
            at: UnixMillis(1),
        };
        front.push(0, &Record::Gift(gift));
    }
    until("both gifts are made", || given() == 600);
    for agent in &mut agents {
        agent.signal(Signal::SIGTERM);
        assert_eq!(agent.wait().code(), Some(0));
    }
    assert_eq!(pot(), BUDGET - 600);
}

/// The server crashes and comes back: what it had acknowledged is there, what was asked meanwhile was told busy, what was won
/// meanwhile opens, and nothing has to be started again.
#[test]
fn a_server_that_crashes_costs_nobody_anything() {
    let mut fleet = Fleet::new();
    let mut front = Front::new(&fleet.events[0], 1);
    let mut running = Running::start(&fleet.events[0]);
    let packets: Vec<PacketId> = (0..4).map(|_| granted(&mut front).packet).collect();
    let requests: Vec<Record> = (1..)
        .zip(&packets)
        .map(|(user, packet)| {
            let sealed = ticket(&front.keys, EVENT, *packet, UserId(user), FAR);
            claim(user, UserId(user), sealed, UnixMillis(1))
        })
        .collect();
    assert!(is_opened(&claim_at(&mut front, &requests[0]), false));
    fleet.server.crash();
    let busy = claim_at(&mut front, &requests[1]);
    assert!(matches!(busy, ClaimResult::Busy { .. }), "{busy:?}");
    until("the ledger is away", || front.agent_status().ledger_away);
    assert!(!front.agent_status().ledger_read_only);
    for (user, packet) in (1..).zip(&packets) {
        front.push(0, &issued(*packet, UserId(user)));
    }
    // What came before the gateway knew of it.
    for request in &requests[2..] {
        let busy = claim_at(&mut front, request);
        assert!(
            matches!(
                busy,
                ClaimResult::Busy {
                    retry_after_ms: 1_000..=2_000
                }
            ),
            "{busy:?}"
        );
    }
    assert!(front.agent_status().ledger_away && front.agent_is_alive());
    fleet.server.start_again().unwrap();
    until("the ledger is written again", || !front.agent_status().ledger_away);
    for (number, request) in requests.iter().enumerate() {
        let result = claim_at(&mut front, request);
        // What waited in the ring took effect meanwhile, as if it had been asked once more.
        assert!(is_opened(&result, true), "{number}: {result:?}");
    }
    running.signal(Signal::SIGTERM);
    assert_eq!(running.wait().code(), Some(0));
}
