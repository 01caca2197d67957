//! The real program in its degraded modes: each is entered and left by itself, and the gateway is told.
#![allow(missing_docs, clippy::unwrap_used)]

mod process;
mod support;

use nix::sys::signal::Signal;
use process::Running;
use shake_agent::ledger::{Ledger, State, open_read_only};
use shake_agent::settlement;
use shake_proto::handoff::status::AgentStatus;
use shake_rules::PacketId;
use shm_queue::Mapping;
use std::time::{Duration, Instant};
use support::{Crowd, Event, Front, PATIENCE};

const WELL: AgentStatus = AgentStatus {
    ledger_read_only: false,
    ledger_away: false,
    ledger_is_common: false,
    part_lost: false,
    ledger_halted: false,
    settlement_down: false,
    feed_stopped: false,
    show_version: 0,
};

/// Ends the agent, and finds every packet opened once and settled once.
fn assert_whole(event: &Event, mut crowd: Crowd, mut agent: Running, packets: u64) {
    agent.signal(Signal::SIGTERM);
    assert_eq!(agent.wait().code(), Some(0));
    crowd.step();
    crowd.assert_in_ledger(event);
    let report = event.assert_balanced();
    assert_eq!((report.total.opened.packets, report.total.void.packets), (packets, 0));
    let report = settlement::verify(&event.path("settlement.log"), &event.ledger(), |_| {}).unwrap();
    assert!(report.agrees, "{report}");
    assert_eq!((report.settled.count, report.backlog.count), (packets, 0), "{report}");
}

#[test]
fn a_full_disk_makes_the_ledger_read_only_until_there_is_room() {
    const PACKETS: usize = 1_500;
    let event = Event::new(PACKETS as u64);
    let mut crowd = Crowd::new(Front::new(&event, 2));
    // Less than what the write-ahead log grows to, and more than the settlement file does.
    let agent = Running::start_with_room(&event, 1_000_000);
    crowd.until("the ledger is read-only", |crowd| {
        crowd.front.agent_status().ledger_read_only
    });
    let before = crowd.won.len();
    assert!(before > 0 && before < PACKETS, "{before}");
    crowd.assert_in_ledger(&event);
    event.assert_balanced();
    agent.make_room();
    crowd.until("all is won", |crowd| {
        crowd.is_done(PACKETS) && crowd.front.agent_status() == WELL
    });
    assert_whole(&event, crowd, agent, PACKETS as u64);
}

/// The rings of a mapping that was replaced are nobody's once the agent leaves them. It does not while it cannot write down
/// what was issued there.
#[test]
fn a_mapping_that_is_replaced_while_the_disk_is_full_is_read_to_its_end() {
    let event = Event::new(1_500);
    let mut crowd = Crowd::new(Front::new(&event, 2));
    let mut agent = Running::start_with_room(&event, 1_000_000);
    crowd.until("something is won", |crowd| !crowd.won.is_empty());
    // Somebody reads the ledger as it is now. So no checkpoint makes room by letting the log begin anew.
    let reader = open_read_only(&event.ledger()).unwrap();
    let look = "BEGIN; SELECT count(*) FROM transfers;";
    reader.execute_batch(look).unwrap();
    crowd.until("wins wait in the rings", |crowd| {
        crowd.front.agent_status().ledger_read_only && !crowd.waiting.is_empty()
    });
    let waiting: Vec<PacketId> = crowd.waiting.keys().copied().collect();
    Mapping::remove(&event.path("rings")).unwrap();
    let front = Front::new(&event, 2);
    // The agent looks once a second whether its mapping is still there.
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(front.ledger(), None, "it is with the old one");
    agent.make_room();
    drop(reader);
    let begun = Instant::now();
    while front.ledger().is_none() {
        assert!(begun.elapsed() < PATIENCE, "the agent does not come to the new mapping");
        std::thread::sleep(Duration::from_millis(10));
    }
    agent.signal(Signal::SIGTERM);
    assert_eq!(agent.wait().code(), Some(0));
    let ledger = Ledger::open(&event.ledger()).unwrap();
    for packet in waiting {
        let state = ledger.packet(packet).unwrap().map(|found| found.state);
        assert!(
            matches!(state, Some(State::Issued | State::Opened)),
            "{packet} was issued, and is {state:?}"
        );
    }
    drop(ledger);
    event.assert_balanced();
}

/// Once the witness has seen the ledger. (A ledger that nobody vouches for waits: see `restore.rs`.)
#[test]
fn a_settlement_target_that_is_down_holds_nothing_up_and_gets_everything_later() {
    const PACKETS: usize = 300;
    let event = Event::new(PACKETS as u64);
    std::fs::create_dir(event.path("state")).unwrap();
    let mut crowd = Crowd::new(Front::new(&event, 1));
    let mut agent = Running::start(&event);
    crowd.until("a part is won", |crowd| crowd.won.len() > PACKETS / 3);
    agent.signal(Signal::SIGTERM);
    assert_eq!(agent.wait().code(), Some(0));
    std::fs::rename(event.path("settlement.log"), event.path("away.log")).unwrap();
    std::fs::create_dir(event.path("settlement.log")).unwrap();
    let agent = Running::start(&event);
    crowd.until("all is won, and settlement down", |crowd| {
        crowd.is_done(PACKETS) && crowd.front.agent_status().settlement_down
    });
    assert!(!crowd.front.agent_status().ledger_read_only);
    std::fs::remove_dir(event.path("settlement.log")).unwrap();
    std::fs::rename(event.path("away.log"), event.path("settlement.log")).unwrap();
    crowd.until("settlement goes on", |crowd| crowd.front.agent_status() == WELL);
    assert_whole(&event, crowd, agent, PACKETS as u64);
}
