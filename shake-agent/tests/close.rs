//! `shake-agent close` as a program: what is in its way, what it serves while it waits, its exit codes, and what it leaves behind.
#![allow(missing_docs, clippy::unwrap_used)]

mod process;
mod support;

use nix::sys::signal::Signal;
use process::{Running, agent};
use serde_json::Value;
use shake_agent::ledger;
use std::fs;
use std::process::{Output, Stdio};
use support::{Crowd, Event, Front, SHOW};

const PACKETS: u64 = 300;

fn command(event: &Event, args: &[&str]) -> Output {
    let output = agent(event).args(args).args(["--config", "agent.toml"]).output();
    output.unwrap()
}

fn assert_says(output: &Output, code: i32, words: &[&str]) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{text}");
    for word in words {
        assert!(text.contains(word), "{word:?}: {text}");
    }
    text
}

/// Tickets of the crowd never end, so each must be opened; shares live for a second.
fn event() -> Event {
    let event = Event::new(PACKETS);
    let show = SHOW.replace("[limits]", "[limits]\nticket_lifetime_s = 1\nshare_lifetime_s = 1");
    fs::write(event.path("show.toml"), show).unwrap();
    event
}

/// The process that closes, in the event's directory.
fn closing(event: &Event) -> Running {
    let mut command = agent(event);
    command
        .args(["close", "--config", "agent.toml", "--json", "--page", "closing.html"])
        .stdout(fs::File::create(event.path("closing.json")).unwrap())
        .stderr(Stdio::null());
    Running::of(command)
}

fn is_waiting(crowd: &Crowd) -> bool {
    use shake_proto::handoff::topology::SILENT_MS_MAX;
    let peer = crowd.front.attachment.mapping().peer(shm_queue::Side::Back);
    peer.is_alive(host::clock::monotonic_ms(), SILENT_MS_MAX)
}

#[test]
fn it_waits_for_the_gateway_serves_claims_meanwhile_and_gives_nothing_out() {
    let event = event();
    let none = command(&event, &["close"]);
    assert_says(&none, 1, &["there is no ledger"]);
    assert!(!event.ledger().exists(), "closing makes nothing");

    let mut crowd = Crowd::new(Front::new(&event, 1));
    let mut running = Running::start(&event);
    crowd.until("a third is won", |crowd| crowd.won.len() > PACKETS as usize / 3);
    // The agent serves: it is named, and nothing is changed.
    assert_says(&command(&event, &["close"]), 1, &["in use by another agent"]);
    assert_says(
        &command(&event, &["close", "--dry-run"]),
        4,
        &["in the way", "stop it", "nothing was changed"],
    );
    running.signal(Signal::SIGTERM);
    assert_eq!(running.wait().code(), Some(0));
    let unreleased = event.assert_balanced().total.unreleased.packets;
    assert!(unreleased > 0);

    // The gateway lives. It is waited for, and who claims is served.
    let mut closes = closing(&event);
    crowd.until("it serves, and all that was granted is won", |crowd| {
        is_waiting(crowd) && crowd.waiting.is_empty()
    });
    assert_eq!(
        event.assert_balanced().total.unreleased.packets,
        unreleased,
        "nothing was given out"
    );
    assert_eq!(ledger::closed_at(&event.ledger()).unwrap(), None);
    // Asked to end, it has closed nothing and lost nothing.
    closes.signal(Signal::SIGTERM);
    assert_eq!(closes.wait().code(), Some(4));
    assert_eq!(ledger::closed_at(&event.ledger()).unwrap(), None);

    let mut closes = closing(&event);
    let won = crowd.won.len();
    drop(crowd);
    assert_eq!(closes.wait().code(), Some(0));
    let report = event.assert_balanced();
    assert!(report.closed_ms.is_some() && report.total.void.packets == 0, "{report}");
    assert_eq!(report.total.opened.packets, won as u64);

    let statement: Value = serde_json::from_slice(&fs::read(event.path("closing.json")).unwrap()).unwrap();
    assert_eq!(statement["owed_cents"], report.total.opened.cents);
    assert_eq!(statement["total"]["back_cents"], report.total.refunded.cents);
    assert!(
        fs::read_to_string(event.path("closing.html"))
            .unwrap()
            .contains("Closing statement of test")
    );
    assert!(!event.path("rings").exists());
    let names: Vec<_> = fs::read_dir(event.directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("rings"))
        .collect();
    assert!(names.is_empty(), "{names:?}");
}

#[test]
fn a_closed_ledger_is_told_by_every_tool_and_served_by_none() {
    let event = event();
    let mut crowd = Crowd::new(Front::new(&event, 1));
    let mut running = Running::start(&event);
    crowd.until("some are won", |crowd| crowd.won.len() > 20);
    running.signal(Signal::SIGTERM);
    assert_eq!(running.wait().code(), Some(0));
    crowd.step();
    drop(crowd);
    assert_says(&command(&event, &["ledger", "backup", "before.db"]), 0, &[]);
    assert_says(
        &command(&event, &["close"]),
        0,
        &["Closing statement of test (event 7)", "By sponsor", "one", "all"],
    );
    assert_says(
        &command(&event, &["close", "--dry-run"]),
        0,
        &["closed at", "nothing is left to do"],
    );
    let first = command(&event, &["close", "--json"]);
    let again = command(&event, &["close", "--json"]);
    assert_eq!(first.stdout, again.stdout, "told again, the same");

    assert_says(&command(&event, &["run"]), 3, &["was closed at", "shake-agent close"]);
    assert_says(&command(&event, &["audit"]), 0, &["closed at", "balanced"]);
    assert_says(
        &command(&event, &["settlement", "verify"]),
        0,
        &["closed: every user's last balance is owed, once"],
    );
    let args = ["ledger", "export", "--what", "outbox", "--format", "csv"];
    let rows = assert_says(&command(&event, &args), 0, &[]);
    let last: Vec<&str> = rows.lines().last().unwrap().split(',').collect();
    assert_eq!((last[2], last[6], last[7]), ("", "close", ""), "{last:?}");

    // A ledger from before the closing goes on nowhere: what the closing line says may be paid.
    for end in ["-wal", "-shm"] {
        let _ = fs::remove_file(event.path(&format!("ledger.db{end}")));
    }
    fs::copy(event.path("before.db"), event.ledger()).unwrap();
    assert_says(&command(&event, &["run"]), 3, &[]);
    assert_says(
        &command(&event, &["ledger", "accept-loss", "--yes"]),
        1,
        &["closing line", "Bring back the closed"],
    );
    assert_says(&command(&event, &["close"]), 3, &[]);
}
