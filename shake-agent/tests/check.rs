//! `check-config`, `print-config` and the help, as a person meets them before the night.
#![allow(missing_docs, clippy::unwrap_used)]

mod process;
mod support;

use process::agent;
use shake_agent::config;
use shake_agent::ledger::Ledger;
use shake_agent::seed_file::SeedFile;
use shake_rules::seed::{PacketKind, SeedRecord};
use shake_rules::{Cents, PacketId, SponsorId, UnixMillis};
use shm_queue::{Mapping, Owner, Side};
use std::collections::BTreeSet;
use std::fs;
use support::{Event, geometry};

fn run(event: &Event, arguments: &[&str]) -> (Option<i32>, String) {
    let output = agent(event).args(arguments).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

fn check(event: &Event) -> (Option<i32>, String) {
    run(event, &["check-config", "--config", "agent.toml"])
}

fn names(event: &Event) -> BTreeSet<String> {
    let entries = fs::read_dir(event.directory.path()).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

#[test]
fn what_is_good_is_printed_and_nothing_is_made() {
    let event = Event::new(4);
    let before = names(&event);
    let (code, text) = check(&event);
    assert_eq!(code, Some(0), "{text}");
    assert!(
        text.contains("batch_max      = 512") && text.contains("in order"),
        "{text}"
    );
    assert_eq!(
        names(&event),
        before,
        "no ledger, no settlement file, no state directory"
    );
}

#[test]
fn all_that_is_wrong_is_told_in_one_pass_by_its_key() {
    let event = Event::new(4);
    let text = fs::read_to_string(event.path("agent.toml")).unwrap();
    fs::write(event.path("agent.toml"), text + "grants = 9\n[commit]\nbatch_max = 0\n").unwrap();
    fs::remove_file(event.seed()).unwrap();
    fs::write(event.path("certs/ticket.key.toml"), "purpose = \"cookie\"\n").unwrap();
    fs::write(event.path("show.toml"), "[event]\nname = 3\n").unwrap();
    fs::write(event.ledger(), "no ledger at all, but some text that is long enough").unwrap();
    fs::create_dir(event.path("state")).unwrap();
    fs::write(event.path("state/ledger-witness.toml"), "ledger = 1\n").unwrap();
    fs::write(event.path("rings"), "no mapping").unwrap();
    let before = names(&event);
    let (code, text) = check(&event);
    assert_eq!(code, Some(1), "{text}");
    for word in [
        "grants",
        "batch_max = 0 must be",
        "[seed] file",
        "ticket.key.toml",
        "show.toml",
        "[ledger] path",
        "[state] directory",
        "[queue] path",
    ] {
        assert!(text.contains(word), "{word} in {text}");
    }
    // No hint makes anything refused that is out there.
    for word in ["seed generate", "certs generate", "--force", "remove"] {
        assert!(!text.contains(word), "{word} in {text}");
    }
    assert_eq!(names(&event), before);
}

/// What a wrong line ought to say nobody knows: what hangs on it is not judged by the default.
#[test]
fn of_a_table_with_an_error_only_that_is_told() {
    let event = Event::new(4);
    let text = fs::read_to_string(event.path("agent.toml")).unwrap();
    let text = text.replace("[seed]\nfile", "[seed]\nfiel");
    fs::write(event.path("agent.toml"), text).unwrap();
    let (code, text) = check(&event);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("1 error(s)") && text.contains("fiel"), "{text}");
}

#[test]
fn what_does_not_belong_together_is_told() {
    let event = Event::new(4);
    let seed = SeedFile::open(&event.seed()).unwrap();
    Ledger::open(&event.ledger())
        .unwrap()
        .bind_seed(&seed, Cents(0), UnixMillis(1))
        .unwrap();
    assert_eq!(check(&event).0, Some(0), "{}", check(&event).1);
    // Another seed than the ledger's.
    let good = fs::read(event.seed()).unwrap();
    event.put_seed(&[SeedRecord {
        packet: PacketId(5),
        amount: Cents(70),
        sponsor: SponsorId(1),
        kind: PacketKind::Plain,
    }]);
    let (code, text) = check(&event);
    assert!(
        code == Some(1) && text.contains("is not the seed of the ledger"),
        "{text}"
    );
    assert!(!text.contains("begin a new ledger"), "{text}");
    fs::write(event.seed(), good).unwrap();
    // A show of another event than the seed's.
    let show = fs::read_to_string(event.path("show.toml")).unwrap();
    fs::write(event.path("show.toml"), show.replace("id = 7", "id = 8")).unwrap();
    let (code, text) = check(&event);
    assert!(code == Some(1) && text.contains("those of one event"), "{text}");
    fs::write(event.path("show.toml"), show).unwrap();
    // A witness of another ledger for this seed.
    fs::create_dir(event.path("state")).unwrap();
    let witness = format!(
        "ledger = \"{}\"\nincarnation = \"{}\"\nstamp = 9\nevent = 7\npart = 0\n",
        "ab".repeat(16),
        "cd".repeat(8)
    );
    fs::write(event.path("state/ledger-witness.toml"), witness).unwrap();
    let (code, text) = check(&event);
    assert!(code == Some(1) && text.contains("two ledgers would pay"), "{text}");
}

/// A ledger from a backup, as a start finds it: by the witness, and by the mapping.
#[test]
fn a_ledger_that_lost_commits_is_told_by_whoever_has_seen_them() {
    let event = Event::new(4);
    let seed = SeedFile::open(&event.seed()).unwrap();
    let mut ledger = Ledger::open(&event.ledger()).unwrap();
    ledger.bind_seed(&seed, Cents(0), UnixMillis(1)).unwrap();
    let (identity, incarnation, stamp) = (ledger.identity().unwrap(), ledger.incarnation(), ledger.stamp());
    fs::create_dir(event.path("state")).unwrap();
    let witness = |incarnation: &str, stamp: u64| {
        let text =
            format!("ledger = \"{identity}\"\nincarnation = \"{incarnation}\"\nstamp = {stamp}\nevent = 7\npart = 0\n");
        fs::write(event.path("state/ledger-witness.toml"), text).unwrap();
    };
    let seen = Mapping::open_or_create(&event.path("rings"), &geometry(1)).unwrap();
    let back = seen.attach(Side::Back, 1).unwrap();
    let (identity, part) = (identity.0, 0);
    back.name_owner(&Owner { identity, part }).unwrap();
    let check_both = |of_witness: (&str, u64), of_mapping: u64, code: i32, words: &[&str]| {
        witness(of_witness.0, of_witness.1);
        back.set_stamp(of_mapping).unwrap();
        let (found, text) = check(&event);
        assert_eq!(found, Some(code), "{text}");
        for word in words {
            assert!(text.contains(word), "{word} in {text}");
        }
        text
    };
    let known = incarnation.to_string();
    // The agent runs, and holds the ledger's lock: nothing is taken, and all is in order.
    check_both((&known, stamp), stamp, 0, &["in order"]);
    let lost = ["[state] directory: the ledger", "lost commits"];
    check_both((&known, stamp + 1), stamp, 1, &lost);
    check_both(
        (&"cd".repeat(8), stamp),
        stamp,
        1,
        &["an opening that it does not know"],
    );
    check_both(
        (&known, stamp),
        stamp + 1,
        1,
        &["[queue] path: the ledger", "lost commits"],
    );
    let text = check_both((&known, stamp + 1), stamp + 1, 1, &["2 error(s)"]);
    assert_eq!(text.matches("lost commits").count(), 2, "{text}");
    // A start says the same, and its unit does not start it again.
    drop(ledger);
    drop(back);
    let (code, text) = run(&event, &["run", "--config", "agent.toml"]);
    assert!(code == Some(3) && text.contains("lost commits"), "{text}");
}

#[test]
fn a_closed_ledger_and_a_seed_that_no_ledger_takes_are_told() {
    let event = Event::new(4);
    let record = |packet, sponsor| SeedRecord {
        packet: PacketId(packet),
        amount: Cents(70),
        sponsor: SponsorId(sponsor),
        kind: PacketKind::Plain,
    };
    for (seed, word) in [(record(1 << 63, 1), "bit 63"), (record(5, 0), "sponsor 0")] {
        event.put_seed(&[seed]);
        for command in ["check-config", "run"] {
            let (code, text) = run(&event, &[command, "--config", "agent.toml"]);
            assert!(code == Some(1) && text.contains(word), "{command}: {text}");
        }
        for end in ["", "-wal", "-shm", ".lock"] {
            let _ = fs::remove_file(event.path(&format!("ledger.db{end}")));
        }
    }
    event.put_seed(&[record(5, 1)]);
    let mut ledger = Ledger::open(&event.ledger()).unwrap();
    let seed = SeedFile::open(&event.seed()).unwrap();
    ledger.bind_seed(&seed, Cents(0), UnixMillis(1)).unwrap();
    ledger.close(UnixMillis(2)).unwrap();
    drop(ledger);
    let (code, text) = check(&event);
    assert!(code == Some(1) && text.contains("was closed at"), "{text}");
}

/// Each of a file's errors is one, with the file and its line, whatever else is wrong.
#[test]
fn errors_in_several_files_are_each_told_with_file_and_line() {
    let event = Event::new(4);
    let show = fs::read_to_string(event.path("show.toml")).unwrap();
    // A time without quotes is none of TOML's.
    let wrong = show.replace("name = \"test\"", "name = \"test\"\nstarts = 20:00");
    let wrong = wrong.replace(
        "weights = { red_packet = 1 }",
        "weights = { red_packet = 1 }\npace_ms = \"slow\"",
    );
    fs::write(event.path("show.toml"), wrong).unwrap();
    fs::write(event.path("certs/ticket.key.toml"), "purpose = \"cookie\"\n").unwrap();
    fs::remove_file(event.seed()).unwrap();
    let (code, text) = check(&event);
    assert_eq!(code, Some(1), "{text}");
    let lines: Vec<&str> = text.lines().collect();
    let told = |words: &[&str]| lines.iter().any(|line| words.iter().all(|word| line.contains(word)));
    for words in [
        ["show.toml: line 5", ""],
        ["show.toml: line", "expected"],
        ["ticket.key.toml: ", ""],
        ["[seed] file", "seed.bin"],
    ] {
        assert!(told(&words), "{words:?} in {text}");
    }
}

#[test]
fn a_missing_file_is_named_with_its_key_by_a_start_too() {
    for (file, key) in [
        ("seed.bin", "[seed] file"),
        ("certs/ticket.key.toml", "[certs] directory"),
        ("show.toml", "[show] file"),
    ] {
        let event = Event::new(4);
        fs::remove_file(event.path(file)).unwrap();
        for command in ["run", "check-config"] {
            let (code, text) = run(&event, &[command, "--config", "agent.toml"]);
            assert_eq!(code, Some(1), "{text}");
            assert!(text.contains(key) && text.contains(file), "{key} in {text}");
        }
        assert!(!event.ledger().exists(), "a start that fails leaves nothing behind");
    }
}

/// For root, whom `cargo test` in a container often is: a start by hand must not shut the service out of its own ledger.
#[test]
fn root_makes_nothing_beside_a_ledger_of_another_user() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let event = Event::new(4);
    fs::write(event.ledger(), "").unwrap();
    std::os::unix::fs::chown(event.ledger(), Some(12_345), Some(12_345)).unwrap();
    let before = names(&event);
    for command in ["run", "check-config"] {
        let (code, text) = run(&event, &[command, "--config", "agent.toml"]);
        assert!(code == Some(1) && text.contains("belongs to user 12345"), "{text}");
        assert_eq!(names(&event), before, "after {command}");
    }
}

/// Of a file of another kind every key is unknown, and only one thing is worth telling.
#[test]
fn a_file_that_is_no_configuration_is_called_what_it_is() {
    let event = Event::new(1);
    let files = [
        (include_str!("../../deploy/show.toml"), "a show"),
        (include_str!("../../deploy/throttle.toml"), "a throttle"),
        (include_str!("../../deploy/gateway.toml"), "a gateway's configuration"),
    ];
    for (text, kind) in files {
        fs::write(event.directory.path().join("other.toml"), text).unwrap();
        for command in ["run", "check-config", "audit"] {
            let (code, said) = run(&event, &[command, "--config", "other.toml"]);
            let told = format!("this is {kind}, and an agent's configuration is wanted here");
            assert!(
                code != Some(0) && said.contains(&told) && !said.contains("unknown"),
                "{command}: {said}"
            );
        }
    }
}

#[test]
fn the_default_configuration_is_printed() {
    let event = Event::new(1);
    assert_eq!(run(&event, &["print-config"]), (Some(0), config::DEFAULT.to_owned()));
    assert!(run(&event, &["--help"]).1.contains("print-config"));
}

#[test]
fn help_is_wrapped_once_at_any_width() {
    let commands = host::help_check::wrapped_once(env!("CARGO_BIN_EXE_shake-agent"));
    assert!(commands.contains("ledger accept-loss"), "{commands:?}");
}
