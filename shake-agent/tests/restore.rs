//! A ledger that was restored from a backup, in the real program: refused while anybody has seen more of it, and gone on with
//! once the loss is accepted. Nothing is paid twice, and no key of a line repeats.
#![allow(missing_docs, clippy::unwrap_used)]

mod process;
mod support;

use nix::sys::signal::Signal;
use process::{Running, agent};
use shake_agent::audit::audit;
use shake_agent::ledger::{Ledger, State};
use shake_agent::settlement;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;
use support::{Crowd, Event, Front};

const PACKETS: usize = 300;

fn command(event: &Event, args: &[&str]) -> Output {
    let output = agent(event).args(args).args(["--config", "agent.toml"]).output();
    output.unwrap()
}

/// The agent does not serve the ledger, says why and what to do, and its unit does not start it again.
fn assert_refused(event: &Event, words: &[&str]) {
    let output = command(event, &["run"]);
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{told}");
    for word in words {
        assert!(told.contains(word), "{word:?}: {told}");
    }
}

fn play_until(event: &Event, crowd: &mut Crowd, what: &str, is_done: impl Fn(&Crowd) -> bool) {
    let mut agent = Running::start(event);
    crowd.until(what, |crowd| is_done(crowd));
    agent.signal(Signal::SIGTERM);
    assert_eq!(agent.wait().code(), Some(0));
    crowd.step();
}

fn restore(event: &Event, backup: &Path) {
    for end in ["-wal", "-shm"] {
        let _ = fs::remove_file(event.path(&format!("ledger.db{end}")));
    }
    fs::copy(backup, event.ledger()).unwrap();
}

fn keys(file: &Path) -> Vec<String> {
    let text = fs::read_to_string(file).unwrap();
    let key = |line: &str| line.split(',').nth(1).unwrap().to_owned();
    text.lines().skip(1).map(key).collect()
}

/// An event half of which is in a backup, made while the agent ran; then the machine goes on, and its mapping is lost.
fn with_backup() -> (Event, std::path::PathBuf) {
    let event = Event::new(PACKETS as u64);
    fs::create_dir(event.path("state")).unwrap();
    let mut crowd = Crowd::new(Front::new(&event, 1));
    let mut running = Running::start(&event);
    crowd.until("a third is won", |crowd| crowd.won.len() >= PACKETS / 3);
    let backup = event.path("backup.db");
    let output = command(&event, &["ledger", "backup", "backup.db"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(fs::metadata(&backup).unwrap().permissions().mode() & 0o777, 0o600);
    let copy = audit(&backup, &event.seed(), |_, _| {}).unwrap();
    assert!(copy.balanced, "{copy}");
    let again = command(&event, &["ledger", "backup", "backup.db"]);
    assert_eq!(again.status.code(), Some(1), "a backup replaces nothing");
    crowd.until("two thirds are won", |crowd| crowd.won.len() >= PACKETS * 2 / 3);
    running.signal(Signal::SIGTERM);
    assert_eq!(running.wait().code(), Some(0));
    crowd.step();
    event.assert_balanced();
    fs::rename(event.path("rings"), event.path("rings-away")).unwrap();
    (event, backup)
}

#[test]
fn a_restored_ledger_is_refused_while_anybody_has_seen_more_of_it() {
    let (event, backup) = with_backup();
    let newest = fs::read(event.ledger()).unwrap();
    restore(&event, &backup);
    assert_refused(&event, &["lost commits", "ledger-witness.toml", "accept-loss"]);
    // Refusing writes nothing: it does not come nearer by being tried.
    assert_refused(&event, &["lost commits"]);
    // Without the witness the mapping knows, and without that the settlement file.
    let witness = fs::read(event.path("state/ledger-witness.toml")).unwrap();
    fs::remove_file(event.path("state/ledger-witness.toml")).unwrap();
    fs::rename(event.path("rings-away"), event.path("rings")).unwrap();
    assert_refused(&event, &["lost commits", "rings has seen", "accept-loss"]);
    fs::remove_file(event.path("rings")).unwrap();
    assert_refused(&event, &["was settled", "accept-loss"]);
    // Without both nobody can say it: a file was begun, and is gone.
    fs::rename(event.path("settlement.log"), event.path("away.log")).unwrap();
    assert_refused(&event, &["missing", "settlement begin --from 1"]);
    // A new ledger in the place of the lost one would pay the whole seed again.
    fs::rename(event.path("away.log"), event.path("settlement.log")).unwrap();
    fs::remove_file(event.ledger()).unwrap();
    assert_refused(&event, &["was never begun"]);
    fs::remove_file(event.path("settlement.log")).unwrap();
    fs::write(event.path("state/ledger-witness.toml"), &witness).unwrap();
    assert_refused(&event, &["two ledgers would pay", "ledger-witness.toml"]);
    fs::write(event.path("state/ledger-witness.toml"), "nonsense").unwrap();
    assert_refused(&event, &["makes no sense"]);
    // The newest one is served, and the file is what it was.
    fs::write(event.ledger(), &newest).unwrap();
    fs::write(event.path("state/ledger-witness.toml"), &witness).unwrap();
    assert_refused_not(&event);
}

/// It is served: with the witness that vouches, also while the settlement file is missing. That one is not begun again.
fn assert_refused_not(event: &Event) {
    let mut running = Running::start(event);
    let mut crowd = Crowd::new(Front::new(event, 1));
    crowd.until("settlement is down", |crowd| crowd.front.agent_status().settlement_down);
    assert!(!event.path("settlement.log").exists());
    let begun = command(event, &["settlement", "begin", "--from", "1"]);
    assert!(begun.status.success(), "{begun:?}");
    crowd.until("settlement goes on", |crowd| {
        !crowd.front.agent_status().settlement_down
    });
    running.signal(Signal::SIGTERM);
    assert_eq!(running.wait().code(), Some(0));
    let report = settlement::verify(&event.path("settlement.log"), &event.ledger(), |_| {}).unwrap();
    assert!(report.agrees && report.backlog.count == 0, "{report}");
}

#[test]
fn an_accepted_loss_pays_nothing_twice_and_repeats_no_key() {
    let (event, backup) = with_backup();
    restore(&event, &backup);
    let before = fs::read(event.ledger()).unwrap();
    let old_keys = keys(&event.path("settlement.log"));
    assert!(old_keys.len() >= PACKETS * 2 / 3);
    let listed = command(&event, &["ledger", "accept-loss"]);
    let text = String::from_utf8_lossy(&listed.stdout);
    assert!(
        listed.status.success() && text.contains("nothing was changed"),
        "{text}"
    );
    let unknown = text.lines().filter(|line| line.starts_with("line ")).count();
    assert!(unknown > 0 && unknown < old_keys.len(), "{text}");
    assert!(fs::read(event.ledger()).unwrap() == before);
    assert_refused(&event, &["lost commits"]);

    let accepted = command(&event, &["ledger", "accept-loss", "--yes"]);
    assert!(accepted.status.success(), "{accepted:?}");
    let report = event.assert_balanced();
    assert_eq!(report.total.paid.packets, unknown as u64, "{report}");
    assert_eq!(report.total.void.packets, 0, "{report}");
    let aside = event.path("settlement.log.before-loss-1");
    assert_eq!(keys(&aside), old_keys);

    // It is served again, with what is left of the seed; what was paid stays shut.
    let mut crowd = Crowd::new(Front::new(&event, 1));
    let known = old_keys.len() - unknown;
    play_until(&event, &mut crowd, "it is served", |crowd| {
        keys(&event.path("settlement.log")).len() > known && crowd.won.len() > 3
    });
    let report = event.assert_balanced();
    assert_eq!(
        (report.total.paid.packets, report.total.seed.packets),
        (unknown as u64, PACKETS as u64),
        "{report}"
    );
    let verified = settlement::verify(&event.path("settlement.log"), &event.ledger(), |_| {}).unwrap();
    assert!(verified.agrees && verified.backlog.count == 0, "{verified}");
    // Up to the backup the same bytes; after it no key of the other file.
    let new_keys = keys(&event.path("settlement.log"));
    assert_eq!(new_keys[..known], old_keys[..known]);
    let lost: BTreeSet<_> = old_keys[known..].iter().collect();
    assert!(new_keys[known..].iter().all(|key| !lost.contains(key)));
    let ledger = Ledger::open(&event.ledger()).unwrap();
    let paid = report
        .paid_packets
        .iter()
        .map(|&packet| ledger.packet(packet).unwrap().unwrap());
    assert!(
        paid.into_iter()
            .all(|packet| packet.state == State::Paid && !packet.is_opened())
    );
}

#[test]
fn a_target_that_gives_no_answer_is_waited_for() {
    let event = Event::new(5);
    fs::create_dir(event.path("settlement.log")).unwrap();
    let mut running = Running::start(&event);
    let mut crowd = Crowd::new(Front::new(&event, 1));
    // The ledger is there and has no seed: nothing was written to it.
    crowd.until("it waits", |_| event.ledger().exists());
    std::thread::sleep(std::time::Duration::from_millis(300));
    let held = Ledger::open(&event.ledger()).unwrap_err().to_string();
    assert!(held.contains("in use"), "{held}");
    assert!(!crowd.front.agent_status().settlement_down && crowd.won.is_empty());
    fs::remove_dir(event.path("settlement.log")).unwrap();
    crowd.until("all is won", |crowd| crowd.is_done(5));
    running.signal(Signal::SIGTERM);
    assert_eq!(running.wait().code(), Some(0));
    event.assert_balanced();
}
