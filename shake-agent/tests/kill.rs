//! The real program as a process of its own: killed with SIGKILL in the middle and started again, ended by SIGTERM, and its
//! commands' exit codes.
#![allow(missing_docs, clippy::unwrap_used)]

mod process;
mod support;

use nix::sys::signal::Signal;
use process::{Running, agent};
use shake_agent::ledger::Ledger;
use shake_agent::seed_file::SeedFile;
use shake_agent::settlement;
use shake_rules::money::money;
use shake_rules::{Cents, UnixMillis};
use shm_queue::Mapping;
use std::process::Output;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use support::party::{self, Party};
use support::{Crowd, Event, Front, PATIENCE, geometry};

fn audit(event: &Event) -> Output {
    agent(event)
        .args(["audit", "--config", "agent.toml", "--json"])
        .output()
        .unwrap()
}

#[test]
fn killed_three_times_nothing_acknowledged_is_lost() {
    const PACKETS: usize = 4_000;
    let event = Event::new(PACKETS as u64);
    let mut crowd = Crowd::new(Front::new(&event, 2));
    for part in 1..=3 {
        let mut agent = Running::start(&event);
        crowd.until("a part is won", |crowd| crowd.won.len() > part * PACKETS / 5);
        agent.signal(Signal::SIGKILL);
        agent.wait();
        crowd.step();
        crowd.assert_in_ledger(&event);
    }
    let mut agent = Running::start(&event);
    crowd.until("all is won", |crowd| crowd.is_done(PACKETS));
    // While it runs.
    assert_eq!(audit(&event).status.code(), Some(0));
    agent.signal(Signal::SIGTERM);
    assert_eq!(agent.wait().code(), Some(0));
    crowd.step();
    crowd.assert_in_ledger(&event);
    let report = event.assert_balanced();
    assert_eq!(
        (report.total.opened.packets, report.total.void.packets),
        (PACKETS as u64, 0)
    );
    // Every credit is settled once, over all the deaths.
    let report = settlement::verify(&event.path("settlement.log"), &event.ledger(), |_| {}).unwrap();
    assert!(report.agrees, "{report}");
    assert_eq!(
        (report.settled.count, report.backlog.count),
        (PACKETS as u64, 0),
        "{report}"
    );
}

#[test]
fn killed_among_splits_sends_grabs_and_gifts_nothing_acknowledged_is_lost() {
    const PACKETS: u64 = 900;
    let event = Event::new(1);
    event.put_seed(&(0..PACKETS).map(party::record).collect::<Vec<_>>());
    std::fs::write(event.path("show.toml"), party::SHOW).unwrap();
    let rings = Mapping::create(&event.path("rings"), &geometry(2)).unwrap();
    let mut party = Party::new(9, 250, 2);
    party.start_gate(&rings);
    let play = |party: &mut Party, what: &str, done: &dyn Fn(&Party) -> bool| {
        let begun = Instant::now();
        while !done(party) {
            assert!(begun.elapsed() < PATIENCE, "not in time: {what}; {:?}", party.tally);
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
            party.now = UnixMillis(since.as_millis() as u64);
            (0..20).for_each(|_| party.shake_and_live());
            party.run_an_errand();
            party.deliver(true);
            std::thread::sleep(Duration::from_millis(1));
        }
    };
    let count = |party: &Party, kind: &str| party.tally.get(kind).copied().unwrap_or(0);
    for part in 1..=4 {
        let mut agent = Running::start(&event);
        party.give();
        play(&mut party, "a part is played", &|party| {
            count(party, "claim") >= 100 * part
                && count(party, "send") >= 10 * part
                && count(party, "grab") >= 20 * part
        });
        agent.signal(Signal::SIGKILL);
        agent.wait();
        party.deliver(false);
        party.assert_kept(&Ledger::open(&event.ledger()).unwrap());
        event.assert_balanced();
    }
    let mut agent = Running::start(&event);
    let begun = Instant::now();
    while !party.is_done() {
        assert!(begun.elapsed() < PATIENCE, "not everything is answered");
        party.ask_for_everything();
        std::thread::sleep(Duration::from_millis(50));
        party.deliver(false);
    }
    agent.signal(Signal::SIGTERM);
    assert_eq!(agent.wait().code(), Some(0));
    party.deliver(false);
    let ledger = Ledger::open(&event.ledger()).unwrap();
    party.assert_kept(&ledger);
    for phone in &party.phones {
        let found = ledger.user_balance(phone.user).unwrap().unwrap_or(0);
        assert_eq!(
            found,
            party.truth.balance(phone.user) as i64,
            "balance of {}",
            phone.user
        );
    }
    let report = event.assert_balanced();
    assert!(
        report.total.gifts.packets > 0 && report.sent.sent.packets > 0,
        "{report}"
    );
    let report = settlement::verify(&event.path("settlement.log"), &event.ledger(), |_| {}).unwrap();
    assert!(report.agrees && report.backlog.count == 0, "{report}");
}

#[test]
fn what_it_writes_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let event = Event::new(100);
    let mut agent = Running::start(&event);
    let begun = Instant::now();
    let files = || ["ledger.db", "ledger.db-wal", "settlement.log"].map(|name| event.path(name));
    while !files().iter().all(|path| path.exists()) {
        assert!(begun.elapsed() < PATIENCE, "not all of {:?} are there", files());
        std::thread::sleep(Duration::from_millis(10));
    }
    for path in files() {
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{}", path.display());
    }
    agent.signal(Signal::SIGTERM);
    assert_eq!(agent.wait().code(), Some(0));
}

#[test]
fn it_waits_for_the_gateway_follows_a_new_mapping_and_ends_on_a_signal() {
    let event = Event::new(20_000);
    let mut agent = Running::start(&event);
    std::thread::sleep(Duration::from_millis(200));
    let mut crowd = Crowd::new(Front::new(&event, 1));
    crowd.until("the first mapping", |crowd| crowd.won.len() >= 50);
    let beat = |crowd: &Crowd| {
        crowd
            .front
            .attachment
            .mapping()
            .peer(shm_queue::Side::Back)
            .heartbeat_ms
    };
    let before = beat(&crowd);
    crowd.until("the heart beats on", |crowd| beat(crowd) > before + 100);
    let won = std::mem::take(&mut crowd.won);
    drop(crowd);
    shm_queue::Mapping::remove(&event.path("rings")).unwrap();
    let mut crowd = Crowd::new(Front::new(&event, 2));
    crowd.until("the second mapping", |crowd| crowd.won.len() >= 20);
    assert!(crowd.won.keys().all(|packet| !won.contains_key(packet)));
    agent.signal(Signal::SIGINT);
    assert_eq!(agent.wait().code(), Some(0));
    event.assert_balanced();
}

#[test]
fn exit_codes_and_messages() {
    let event = Event::new(10);
    let run = |args: &[&str]| {
        let output = agent(&event).args(args).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (output.status.code(), text)
    };
    let check = |args: &[&str], code: i32, word: &str| {
        let (found, text) = run(args);
        assert_eq!(found, Some(code), "{args:?}: {text}");
        assert!(text.contains(word), "{args:?}: {text}");
    };
    std::fs::write(event.path("bad.toml"), "[feed]\ngrants_in_hand = 0\nspeed = 9\n").unwrap();
    check(
        &["check-config", "--config", "bad.toml"],
        1,
        "line 2: grants_in_hand = 0 must be 1 to 4096",
    );
    check(&["check-config", "--config", "bad.toml"], 1, "line 3: ");
    check(&["run", "--config", "none.toml"], 1, "none.toml");
    check(&["audit", "--config", "agent.toml"], 2, "there is no ledger");
    check(&["seed", "inspect", "seed.bin"], 0, "total");
    check(&["seed", "inspect", "agent.toml"], 1, "not a seed file");
    let generate = [
        "seed", "generate", "--out", "seed.bin", "--event", "1", "--budget", "9", "--count", "3", "--min", "1",
    ];
    check(&[&generate[..], &["--max", "5"]].concat(), 2, "--sponsor");
    check(
        &[&generate[..], &["--max", "5", "--sponsor", "1"]].concat(),
        1,
        "exists already",
    );
    check(
        &[&generate[..], &["--max", "2", "--sponsor", "1", "--force"]].concat(),
        1,
        "the budget is 9",
    );
    check(
        &[
            "ledger",
            "export",
            "--config",
            "agent.toml",
            "--what",
            "packets",
            "--format",
            "csv",
        ],
        1,
        "no ledger",
    );
}

#[test]
fn fleets_settlement_and_stories_from_the_command_line() {
    let event = Event::new(200);
    let run = |args: &str| {
        let output = agent(&event).args(args.split(' ')).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (output.status.code(), text)
    };
    let check = |args: &str, code: i32, word: &str| {
        let (found, text) = run(args);
        assert_eq!(found, Some(code), "{args}: {text}");
        assert!(text.contains(word), "{args}: {text}");
    };
    let make = "seed generate --out fleet --parts 3 --event 7 --budget 9000 --count 90 --sponsor 1 --min 20 --max 200";
    check(
        &format!("{make} --certs certs --split-share 0.5 --shares 2..9"),
        0,
        "authenticated with ticket key 3",
    );
    check(make, 1, "exists already");
    check(&format!("{make} --split-share 2"), 2, "0 to 1");
    check(
        &format!("{make} --force --split-share 0.5 --shares 2..900"),
        1,
        "2 to 100",
    );
    check("seed verify fleet --certs certs", 0, "whole: ");
    check("seed verify fleet --json", 0, "\"split_packets\":45");
    std::fs::copy(event.path("fleet/seed-0.bin"), event.path("fleet/seed-1.bin")).unwrap();
    check("seed verify fleet --certs certs", 1, "packet_twice");
    check("seed verify nowhere", 2, "manifest.json");

    let mut agent = Running::start(&event);
    let mut crowd = Crowd::new(Front::new(&event, 1));
    crowd.until("all is won", |crowd| crowd.is_done(200));
    let (packet, (user, cents)) = crowd.won.iter().next().unwrap();
    // While it runs.
    check(
        &format!("ledger show packet {packet} --config agent.toml"),
        0,
        &format!("{}, seed, opened", money(cents.0)),
    );
    check(
        &format!("ledger show user {user} --config agent.toml --json"),
        0,
        &format!("\"packet\":\"p{packet}\""),
    );
    check(
        "ledger show packet 5 --config agent.toml",
        1,
        "packet 5 is not in the ledger",
    );
    check(
        "ledger show user 5 --config agent.toml",
        1,
        "user 5 is not in the ledger",
    );
    agent.signal(Signal::SIGTERM);
    assert_eq!(agent.wait().code(), Some(0));
    check(
        "settlement verify --config agent.toml --json",
        0,
        "\"backlog\":{\"count\":0,",
    );
    check("settlement verify --config agent.toml --file none.log", 2, "none.log");
    let log = std::fs::read_to_string(event.path("settlement.log")).unwrap();
    std::fs::write(event.path("settlement.log"), log.replacen(",open,", ",grab,", 1)).unwrap();
    check("settlement verify --config agent.toml", 1, "line 2 ");
}

#[test]
fn the_ledgers_of_a_fleet_are_merged_from_the_command_line() {
    let event = Event::new(1);
    let check = |args: &str, code: i32, word: &str| {
        let output = agent(&event).args(args.split(' ')).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{args}: {text}");
        assert!(text.contains(word), "{args}: {text}");
    };
    let make = "seed generate --out fleet --parts 3 --certs certs --event 7 --budget 9000 --count 90 --sponsor 1";
    check(&format!("{make} --min 20 --max 200"), 0, "authenticated");
    for part in 0..2 {
        let seed = SeedFile::open(&event.path(&format!("fleet/seed-{part}.bin"))).unwrap();
        let mut ledger = Ledger::open(&event.path(&format!("{part}.db"))).unwrap();
        ledger.bind_seed(&seed, Cents(0), UnixMillis(1)).unwrap();
    }
    let audit = "audit --fleet fleet --ledger 0.db";
    check(
        &format!("{audit} --ledger 1.db --certs certs"),
        1,
        "ledger_missing: seed-2.bin",
    );
    check(
        &format!("{audit} --ledger 1.db --certs certs --unused seed-2.bin"),
        0,
        "\nbalanced",
    );
    check(
        &format!("{audit} --json"),
        1,
        "\"part\":2,\"ledger\":null,\"balanced\":false",
    );
    check(&format!("{audit} --ledger 0.db"), 1, "0.db: ledger_twice");
    check(&format!("{audit} --ledger 9.db"), 2, "9.db; give --config");
    check(&format!("{audit} --seed fleet/seed-0.bin"), 2, "cannot be used with");
    check("audit --fleet fleet", 2, "give --ledger");
    check("audit --ledger 0.db --ledger 1.db", 2, "--ledger stands 2 times");
    check("audit --ledger 0.db --seed fleet/seed-0.bin", 0, "part 1 of 3");
}
