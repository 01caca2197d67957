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
use std::collections::BTreeSet;
use std::fs;
use support::Event;

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
