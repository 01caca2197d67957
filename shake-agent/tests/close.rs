//! `shake-agent close` as a program: what is in its way, what it serves while it waits, its exit codes, and what it leaves behind.
#![allow(missing_docs, clippy::unwrap_used)]

mod process;
mod support;

use nix::sys::signal::Signal;
use process::{Running, agent};
use serde_json::Value;
use shake_agent::ledger::{self, Commits as _};
use shake_agent::seed_file::SeedFile;
use shake_rules::{Cents, UnixMillis};
use std::fs;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};
use support::{Crowd, Event, Front, PATIENCE, SHOW};

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

/// One of which the agent has served some, and ended. With a state directory, for the witness.
fn served() -> Event {
    let event = event();
    fs::create_dir(event.path("state")).unwrap();
    let mut crowd = Crowd::new(Front::new(&event, 1));
    let mut running = Running::start(&event);
    crowd.until("some are won", |crowd| crowd.won.len() > 20);
    running.signal(Signal::SIGTERM);
    assert_eq!(running.wait().code(), Some(0));
    crowd.step();
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
    let event = served();
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

/// A rehearsal beside the event: it cannot take the event's state directory while the event's books are open.
#[test]
fn another_event_has_a_state_directory_of_its_own() {
    let event = served();

    let rehearsal = Event::new(10);
    fs::write(rehearsal.path("show.toml"), SHOW.replace("id = 7", "id = 8")).unwrap();
    let args = "seed generate --out seed.bin --force --event 8 --budget 100 --count 10 --sponsor 1 --min 1 --max 50";
    let made = agent(&rehearsal).args(args.split(' ')).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    let config = fs::read_to_string(rehearsal.path("agent.toml")).unwrap();
    let (own, others) = (rehearsal.path("state"), event.path("state"));
    let config = config.replace(&own.display().to_string(), &others.display().to_string());
    fs::write(rehearsal.path("agent.toml"), config).unwrap();
    let witness = || fs::read_to_string(event.path("state/ledger-witness.toml")).unwrap();
    let before = witness();
    assert_says(
        &command(&rehearsal, &["run"]),
        3,
        &["of event 7", "this seed is of event 8", "a state directory of its own"],
    );
    assert_eq!(witness(), before, "the event's witness stays");

    // Once the event's books are closed, the place is free.
    assert_says(&command(&event, &["close"]), 0, &["Closing statement"]);
    assert!(witness().contains("closed = true"), "{}", witness());
    let mut running = Running::start(&rehearsal);
    // No crowd: what it would be granted is of the other event.
    let _front = Front::new(&rehearsal, 1);
    let begun = Instant::now();
    while !witness().contains("event = 8") {
        assert!(begun.elapsed() < PATIENCE, "it is not served: {}", witness());
        std::thread::sleep(Duration::from_millis(5));
    }
    running.signal(Signal::SIGTERM);
    assert_eq!(running.wait().code(), Some(0));
}

#[test]
fn a_copy_is_one_file_replaces_an_older_one_and_knows_a_foreign_log() {
    let event = event();
    let mut crowd = Crowd::new(Front::new(&event, 1));
    let mut running = Running::start(&event);
    crowd.until("some are won", |crowd| crowd.won.len() > 20);
    let audit = || command_alone(&event, &["audit", "--ledger", "gw1.db", "--seed", "seed.bin", "--json"]);
    let opened = |output: &Output| -> u64 {
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["balanced"], true);
        report["total"]["opened"]["packets"].as_u64().unwrap()
    };
    // While the agent writes, with most of it in the log.
    assert_says(&command(&event, &["ledger", "copy", "gw1.db"]), 0, &["at its commit"]);
    let first = opened(&audit());
    assert!(first > 0);
    // A log of the ledger, left beside the copy by hand, would be read as the copy's own.
    fs::copy(event.path("ledger.db-wal"), event.path("gw1.db-wal")).unwrap();
    assert_says(&audit(), 2, &["gw1.db is a copy", "gw1.db-wal", "ledger copy"]);
    crowd.until("more are won", |crowd| crowd.won.len() as u64 > first + 20);
    assert_says(&command(&event, &["ledger", "copy", "gw1.db"]), 0, &[]);
    assert!(!event.path("gw1.db-wal").exists());
    assert!(opened(&audit()) > first);
    // It replaces nothing but an older copy of this ledger: not the ledger itself, nor another file, nor what is newer.
    assert_says(
        &command(&event, &["ledger", "copy", "ledger.db"]),
        1,
        &["the ledger itself"],
    );
    assert_says(&command(&event, &["ledger", "copy", "show.toml"]), 1, &["not a ledger"]);
    let stamp = |name: &str| {
        let path = event.path(name);
        let connection = ledger::open_read_only(&path).unwrap();
        ledger::FileCommits::of(&connection, &path).stamp().unwrap()
    };
    crowd.until("the ledger is ahead of its copy", |_| {
        stamp("ledger.db") > stamp("gw1.db")
    });
    running.signal(Signal::SIGTERM);
    assert_eq!(running.wait().code(), Some(0));
    assert_says(
        &command_alone(&event, &["ledger", "copy", "ledger.db", "--ledger", "gw1.db"]),
        1,
        &["at commit"],
    );
    event.assert_balanced();
    // A backup that is put in the ledger's place beside the ledger's old log is not served either.
    assert_says(&command(&event, &["ledger", "backup", "kept.db"]), 0, &[]);
    fs::copy(event.path("kept.db"), event.ledger()).unwrap();
    fs::write(event.path("ledger.db-wal"), b"pages of before").unwrap();
    assert_says(&command(&event, &["run"]), 1, &["is a copy", "remove that log"]);
}

/// Whoever forgot --config is told where was looked, in full, and never to make another seed.
#[test]
fn what_is_not_there_is_named_in_full() {
    let event = event();
    let full = fs::canonicalize(event.directory.path()).unwrap().display().to_string();
    for (args, code) in [
        (&["audit"][..], 2),
        (&["settlement", "verify"], 2),
        (&["close"], 1),
        (&["close", "--dry-run"], 1),
        (&["ledger", "export", "--what", "users", "--format", "csv"], 1),
        (&["ledger", "copy", "to.db"], 1),
    ] {
        let output = command_alone(&event, args);
        let told = assert_says(&output, code, &[&full, "--config"]);
        assert!(!told.contains("seed generate"), "{told}");
    }
    fs::remove_file(event.seed()).unwrap();
    let told = assert_says(&command(&event, &["run"]), 1, &[&full, "seed.bin", "--config"]);
    assert!(!told.contains("seed generate"), "{told}");
}

/// Two parts of a seed, each with a ledger that nobody has served.
#[test]
fn a_fleet_has_one_statement_or_is_told_which_part_is_wanting() {
    let event = event();
    let seeds =
        "seed generate --out seeds --parts 2 --event 7 --budget 100000 --count 20 --sponsor 1 --min 1 --max 10000";
    assert_says(
        &command_alone(&event, &seeds.split(' ').collect::<Vec<_>>()),
        0,
        &["1,000.00"],
    );
    let ledger = |part: u16| {
        let mut ledger = ledger::Ledger::open(&event.path(&format!("{part}.db"))).unwrap();
        let seed = SeedFile::open(&event.path(&format!("seeds/seed-{part}.bin"))).unwrap();
        ledger.write_as(&format!("gw{part}"));
        ledger.bind_seed(&seed, Cents(0), UnixMillis(1)).unwrap();
        ledger
    };
    ledger(0).close(UnixMillis(2)).unwrap();
    let mut second = ledger(1);
    let fleet = [
        "audit",
        "--fleet",
        "seeds",
        "--show",
        "show.toml",
        "--ledger",
        "0.db",
        "--ledger",
        "1.db",
    ];
    let statement = |more: &[&str]| {
        command_alone(
            &event,
            &[&fleet[..], &["--statement", "--page", "page.html"], more].concat(),
        )
    };
    assert_says(
        &command_alone(&event, &fleet),
        0,
        &["written by gw0 (1 opening)", "closed at", "1,000.00", "one", "balanced"],
    );
    assert_says(&statement(&[]), 1, &["part 2 of 2 (seed-1.bin) is not closed in 1.db"]);
    assert!(!event.path("page.html").exists());
    second.close(UnixMillis(3)).unwrap();
    drop(second);
    assert_says(
        &statement(&[]),
        0,
        &[
            "test (event 7), all 2 parts",
            "Part 2 of 2",
            "written by gw1",
            "one",
            "1,000.00",
        ],
    );
    assert!(
        fs::read_to_string(event.path("page.html"))
            .unwrap()
            .contains("all 2 parts")
    );
    let json: Value = serde_json::from_slice(&statement(&["--json"]).stdout).unwrap();
    assert_eq!(json["total"]["back_cents"], 100_000);
    assert_eq!(json["ledgers"][1]["machines"][0]["name"], "gw1");
}

fn command_alone(event: &Event, args: &[&str]) -> Output {
    agent(event).args(args).output().unwrap()
}
