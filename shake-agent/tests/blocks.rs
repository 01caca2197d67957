//! `shake-agent blocks` as a program: the list for people and for programs, and a lift that a running agent carries out.
#![allow(missing_docs, clippy::unwrap_used)]

mod process;
mod support;

use process::{Running, agent};
use serde_json::{Value, json};
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};
use support::{Event, Front};

fn blocks(event: &Event, arguments: &[&str]) -> (Option<i32>, String) {
    let output = agent(event)
        .arg("blocks")
        .args(arguments)
        .args(["--config", "agent.toml"])
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

fn block(kind: &str, name: &str, for_ms: i64) -> Value {
    let now_ms = jiff::Timestamp::now().as_millisecond();
    json!({"kind": kind, "name": name, "rule": "forgery", "value": 21, "earlier": 0,
           "since_ms": now_ms - 1_000, "until_ms": now_ms + for_ms})
}

#[test]
fn blocks_are_listed_and_lifted() {
    let event = Event::new(4);
    let file = event.path("blocks.json");
    assert_eq!(blocks(&event, &["list"]), (Some(0), "0 blocked now, 0 ever\n".into()));
    let kept = json!({"made": {"forgery": 7}, "held_back": 2, "dry_run": {}, "blocks": [
        block("user", "10023", 600_000), block("prefix", "203.0.113.0/24", 600_000), block("user", "5", -1)]});
    std::fs::write(&file, kept.to_string()).unwrap();
    let (code, text) = blocks(&event, &["list"]);
    assert_eq!(code, Some(0));
    for part in [
        "10023",
        "203.0.113.0/24",
        "forgery",
        "2 blocked now, 7 ever; 2 held back",
    ] {
        assert!(text.contains(part), "{part} in\n{text}");
    }
    let (_, text) = blocks(&event, &["list", "--json"]);
    let listed: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(listed["blocks"].as_array().unwrap().len(), 2, "one is over");
    assert_eq!(blocks(&event, &["lift", "user", "6"]).0, Some(1), "not blocked");
    assert_eq!(blocks(&event, &["lift", "prefix", "here"]).0, Some(1), "no prefix");
    assert_eq!(blocks(&event, &["lift", "user"]).0, Some(2), "who?");
    let (code, text) = blocks(&event, &["lift", "user", "10023"]);
    assert_eq!(code, Some(3), "nobody did it");
    assert!(text.contains("no agent took it"), "{text}");

    // The next agent does it, and then what it is asked while it runs.
    let _front = Front::new(&event, 1);
    let _running = Running::start(&event);
    let begun = Instant::now();
    while blocks(&event, &["list"]).1.contains("10023") {
        assert!(begun.elapsed() < Duration::from_secs(20), "not lifted");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(blocks(&event, &["lift", "all"]), (Some(0), "lifted\n".into()));
    let nobody = "nobody is blocked\n".into();
    assert_eq!(
        blocks(&event, &["lift", "all"]),
        (Some(0), nobody),
        "it is as it should be"
    );
    let (_, text) = blocks(&event, &["list"]);
    assert!(text.starts_with("0 blocked now, 7 ever"), "{text}");
}

/// As root, with the agent's directory another user's, as `sudo shake-agent blocks lift` has it.
#[test]
fn what_another_user_asks_for_belongs_to_the_directorys_owner() {
    const NOBODY: u32 = 65_534;
    let event = Event::new(4);
    let kept = json!({"made": {}, "held_back": 0, "dry_run": {}, "blocks": [block("user", "10023", 600_000)]});
    std::fs::write(event.path("blocks.json"), kept.to_string()).unwrap();
    let is_root = nix::unistd::geteuid().is_root();
    if is_root {
        std::os::unix::fs::chown(event.directory.path(), Some(NOBODY), Some(NOBODY)).unwrap();
        // Left by a version that kept it.
        std::fs::write(event.path("blocks.json.lifts"), "user 10023\n").unwrap();
    }
    let (code, text) = blocks(&event, &["lift", "user", "10023"]);
    assert_eq!(code, Some(3), "{text}");
    let of = |path: &std::path::Path| {
        let metadata = std::fs::metadata(path).unwrap();
        (metadata.uid(), metadata.gid())
    };
    let lifts = event.path("blocks.json.lifts");
    if is_root {
        assert_eq!(of(&lifts), (NOBODY, NOBODY));
    }
    assert_eq!(std::fs::metadata(&lifts).unwrap().mode() & 0o777, 0o600);
    // Root must not be led elsewhere by whose directory it is.
    let other = event.path("other");
    std::fs::write(&other, "").unwrap();
    std::fs::remove_file(&lifts).unwrap();
    std::os::unix::fs::symlink(&other, &lifts).unwrap();
    assert_eq!(blocks(&event, &["lift", "all"]).0, Some(1));
    std::fs::remove_file(&lifts).unwrap();
    std::fs::hard_link(&other, &lifts).unwrap();
    assert_eq!(blocks(&event, &["lift", "all"]).0, Some(1));
    assert_eq!(std::fs::read(&other).unwrap(), b"");
}
