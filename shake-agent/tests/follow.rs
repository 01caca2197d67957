//! The real program and the show of its gateway: what it follows, what it tells of it, and how its service unit starts it.
#![allow(missing_docs, clippy::unwrap_used)]

mod process;
mod support;

use nix::sys::signal::Signal;
use process::Running;
use shake_rules::kept::{Configured, FILES, Kept, instance_name};
use shake_rules::{EventId, UnixMillis};
use shm_queue::Side;
use std::time::Instant;
use support::{Event, Front, PATIENCE, SHOW};

fn wait(what: &str, mut until: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !until() {
        assert!(begun.elapsed() < PATIENCE, "not in time: {what}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

/// Keeps a show with this gift budget, as the gateway of `front` does in this epoch.
fn keep(event: &Event, front: &Front, version: u64, epoch: u32, budget_cents: u64) {
    let configured = Configured {
        show: SHOW.replace("budget_cents = 1000", &format!("budget_cents = {budget_cents}")),
        throttle: String::new(),
        event: EventId(7),
        now: UnixMillis(1_000),
        forget_pushed: false,
    };
    let (mut kept, _) = Kept::at_start(None, configured);
    kept.version = version;
    kept.mapping_instance = instance_name(front.attachment.mapping().instance());
    kept.mapping_epoch = epoch;
    for name in FILES {
        std::fs::write(event.path("new"), kept.to_text()).unwrap();
        std::fs::rename(event.path("new"), event.path("state").join(name)).unwrap();
    }
}

fn funded(event: &Event) -> u64 {
    let ledger = rusqlite::Connection::open(event.ledger()).unwrap();
    let sum = "SELECT gift_budget_cents FROM seed";
    ledger
        .query_row(sum, [], |row| row.get::<_, i64>(0))
        .unwrap()
        .cast_unsigned()
}

#[test]
fn what_a_gateway_of_an_earlier_life_kept_funds_nothing() {
    let event = Event::new(10);
    std::fs::create_dir(event.path("state")).unwrap();
    let mut front = Front::new(&event, 1);
    let epoch = front.attachment.epoch();
    keep(&event, &front, 5, epoch - 1, 999_999);
    let mut agent = Running::start(&event);
    // It looks before it releases anything.
    wait("it serves", || front.next_grant(0).is_some());
    assert_eq!((front.agent_status().show_version, funded(&event)), (0, 1_000));
    keep(&event, &front, 6, epoch, 2_000);
    wait("it follows", || front.agent_status().show_version == 6);
    assert_eq!(funded(&event), 2_000);
    agent.signal(Signal::SIGTERM);
    assert_eq!(agent.wait().code(), Some(0));
}

#[test]
fn a_state_directory_that_comes_late_is_followed() {
    let event = Event::new(10);
    let front = Front::new(&event, 1);
    let mut agent = Running::start(&event);
    wait("it has attached", || {
        front.attachment.mapping().peer(Side::Back).heartbeat_ms > 0
    });
    std::fs::create_dir(event.path("state")).unwrap();
    keep(&event, &front, 3, front.attachment.epoch(), 1_000);
    wait("it follows", || front.agent_status().show_version == 3);
    agent.signal(Signal::SIGTERM);
    assert_eq!(agent.wait().code(), Some(0));
}

/// The very command line of the unit, with a show whose phases are over.
#[test]
fn the_unit_starts_it_in_the_middle_of_a_show_and_after() {
    const UNIT: &str = include_str!("../../deploy/systemd/shake-agent.service");
    let event = Event::new(10);
    let over = SHOW.replace("[limits]", "starts = \"2020-01-01T00:00:00Z\"\n[limits]");
    std::fs::write(event.path("show.toml"), over.replace("end_s = 1000000", "end_s = 10")).unwrap();
    let front = Front::new(&event, 1);
    assert!(!UNIT.lines().any(|line| line.starts_with("ExecStartPre=")));
    let start = UNIT.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
    let config = event.path("agent.toml").display().to_string();
    let start = start.replace("/etc/shake/agent.toml", &config);
    let mut words = start.split_whitespace();
    assert_eq!(words.next(), Some("/usr/bin/shake-agent"));
    let mut agent = Running::start_as(&event, words);
    wait("it serves", || {
        front.attachment.mapping().peer(Side::Back).heartbeat_ms > 0
    });
    agent.signal(Signal::SIGTERM);
    assert_eq!(agent.wait().code(), Some(0));
}
