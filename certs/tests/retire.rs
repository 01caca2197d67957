//! `certs rotate --retire`: a key goes when nothing hangs on it, as the gateways say.
#![allow(clippy::unwrap_used, reason = "tests")]

use certs::generate::{Request, generate};
use jiff::Timestamp;
use std::fs;
use std::process::{Command, Output};
use tempfile::TempDir;

fn certs(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_certs")).args(args).output().unwrap()
}

/// A key goes when nothing hangs on it, as all gateways say, or when somebody says that it may go regardless.
#[test]
fn keys_are_retired_by_what_the_gateways_count() {
    let place = TempDir::new().unwrap();
    generate(place.path(), &Request::default(), Timestamp::now()).unwrap();
    let directory = place.path().to_str().unwrap();
    let rotate = |more: &[&str]| {
        let output = certs(&[&["rotate", directory, "--keys", "ticket"][..], more].concat());
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        (output.status.code(), text)
    };
    rotate(&[]);
    rotate(&["--activate"]);
    let path = place.path().join("counts.json");
    let counts = path.to_str().unwrap();
    let gateway = |target: &str, hangs: bool| {
        serde_json::json!({
            "target": target, "result": "status",
            "keys": [{ "purpose": "ticket", "id": 1, "hangs": hangs, "says": format!("{target} says so") }],
        })
    };
    let write = |second: serde_json::Value| {
        fs::write(&path, format!("{}\n{second}\n", gateway("gw1:4434", false))).unwrap();
    };
    let before = fs::read(place.path().join("ticket.key.toml")).unwrap();
    let retire = ["--retire", "--kept", "0"];
    let with = |more: &[&'static str]| [&retire[..], more].concat();
    let counted = [&retire[..], &["--counts", counts]].concat();
    // Nobody asked; a gateway was silent; something hangs on it.
    let (code, said) = rotate(&retire);
    assert_eq!(code, Some(1), "{said}");
    for words in [
        "ticket key 1 would go",
        "gateway status --json",
        "--counts counts.json",
        "No file was changed",
    ] {
        assert!(said.contains(words), "{words} in {said}");
    }
    write(serde_json::json!({ "target": "gw2:4434", "result": "failed", "message": "silent" }));
    let (code, said) = rotate(&counted);
    assert!(code == Some(1) && said.contains("gw2:4434 did not answer"), "{said}");
    write(gateway("gw2:4434", true));
    let (code, said) = rotate(&counted);
    assert!(
        code == Some(1) && said.contains("ticket key 1 goes, TOO EARLY: gw2:4434: gw2:4434 says so"),
        "{said}"
    );
    assert_eq!(fs::read(place.path().join("ticket.key.toml")).unwrap(), before);
    // Nothing does, and it is told what was counted.
    write(gateway("gw2:4434", false));
    let (code, said) = rotate(&counted);
    assert!(
        code == Some(0) && said.contains("ticket key 1 goes: gw1:4434: gw1:4434 says so"),
        "{said}"
    );
    // No key goes now, and nobody need be asked.
    assert_eq!(rotate(&retire).0, Some(0));
    rotate(&[]);
    rotate(&["--activate"]);
    let (code, said) = rotate(&with(&["--unchecked"]));
    assert!(code == Some(0) && said.contains("accepts 3; 3 makes"), "{said}");
}
