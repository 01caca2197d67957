//! What the program does with a generated directory, and what it says.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod support;

use certs::files::{Identity, all_names};
use certs::inspect::inspect;
use certs::token;
use data_encoding::HEXLOWER;
use jiff::{SignedDuration, Timestamp};
use shake_rules::keys::{KeyRing, Purpose};
use shake_rules::token::{TokenError, TokenKeys};
use shake_rules::{UnixMillis, UserId};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use strum::VariantArray as _;
use support::{certs, made};
use tempfile::TempDir;

#[test]
fn tokens_are_checked_by_the_keys_of_the_directory() {
    let place = made();
    let directory = place.path().to_str().unwrap();
    let text = fs::read_to_string(place.path().join(Purpose::UserToken.file_name())).unwrap();
    let keys = TokenKeys::new(&KeyRing::parse(&text, Purpose::UserToken).unwrap());

    let printed = certs(&[
        "token",
        "--dir",
        directory,
        "--user",
        "7",
        "--expires-at",
        "2100-01-01T08:00:00+08:00",
    ]);
    assert!(printed.status.success(), "{printed:?}");
    let text = String::from_utf8(printed.stdout).unwrap();
    let bytes = HEXLOWER.decode(text.trim().as_bytes()).unwrap();
    let expires = UnixMillis(4_102_444_800_000);
    let checked = keys.check(&bytes, UnixMillis(expires.0 - 1)).unwrap();
    assert_eq!((checked.user, checked.expires_at), (UserId(7), expires));
    assert_eq!(keys.check(&bytes, expires), Err(TokenError::Expired));

    let printed = certs(&["token", "--dir", directory, "--user", "7", "--days", "1", "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&printed.stdout).unwrap();
    assert_eq!((&json["user"], &json["key_id"]), (&7.into(), &1.into()));
    assert!(
        keys.check(
            &HEXLOWER.decode(json["token"].as_str().unwrap().as_bytes()).unwrap(),
            UnixMillis(0)
        )
        .is_ok()
    );

    let now = Timestamp::now();
    assert!(matches!(
        token::mint(place.path(), UserId(7), now, now),
        Err(token::TokenFailure::Over { .. })
    ));
    let later = now + SignedDuration::from_secs(1);
    fs::remove_file(place.path().join(Purpose::UserToken.file_name())).unwrap();
    let error = token::mint(place.path(), UserId(7), later, now).unwrap_err();
    assert!(error.to_string().contains("user-token.key.toml"), "{error}");
}

#[test]
fn keys_rotate_in_three_steps_all_files_or_none() {
    let place = made();
    let directory = place.path().to_str().unwrap();
    let ring = |purpose: Purpose| {
        let text = fs::read_to_string(place.path().join(purpose.file_name())).unwrap();
        KeyRing::parse(&text, purpose).unwrap()
    };
    let ids = |purpose| {
        let ring = ring(purpose);
        let accepted: Vec<u8> = ring.iter().map(|key| key.id).collect();
        (accepted, ring.active().id)
    };
    let run = |more: &[&str]| certs(&[&["rotate", directory], more].concat());
    let first = ring(Purpose::Ticket);
    assert!(run(&[]).status.success());
    for &purpose in Purpose::VARIANTS {
        assert_eq!(ids(purpose), (vec![1, 2], 1));
        let mode = fs::metadata(place.path().join(purpose.file_name()))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    // One that waits already stops all of them.
    let refused = run(&[]);
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(
        said.contains("user-token.key.toml") && said.contains("activate"),
        "{said}"
    );
    assert!(run(&["--keys", "ticket,cookie", "--activate"]).status.success());
    assert_eq!(
        (ids(Purpose::Ticket), ids(Purpose::UserToken)),
        ((vec![1, 2], 2), (vec![1, 2], 1))
    );
    assert!(
        !run(&["--activate"]).status.success(),
        "ticket and cookie have none that waits"
    );
    assert_eq!(ids(Purpose::UserToken), (vec![1, 2], 1), "and so nothing changed");
    assert_eq!(ring(Purpose::Ticket).find(1), first.find(1), "the old key is the same");
    assert_ne!(ring(Purpose::Ticket).active().secret(), first.active().secret());
    let done = run(&["--keys", "ticket", "--retire", "--kept", "0", "--unchecked", "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(json[0]["accepted"], serde_json::json!([2]));
    assert_eq!(ids(Purpose::Ticket), (vec![2], 2));
    assert!(inspect(place.path(), 14, Timestamp::now()).good);
    let left = fs::read_dir(place.path()).unwrap().count();
    assert_eq!(left, all_names().len(), "nothing temporary stays");
}

#[test]
fn exit_codes_and_no_secret_in_any_output() {
    let place = TempDir::new().unwrap();
    let directory = place.path().to_str().unwrap();
    let run = |args: &[&str], code: i32| {
        let output = certs(args);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {output:?}");
        [output.stdout, output.stderr].concat()
    };
    let mut outputs = vec![
        run(&["generate", "--out", directory], 0),
        run(&["generate", "--out", directory], 1),
        run(&["generate", "--out", directory, "--days", "x"], 2),
        run(&["inspect", directory], 0),
        run(&["inspect", directory, "--json"], 0),
        run(&["inspect", directory, "--warn-days", "400"], 3),
        run(&["token", "--dir", directory, "--user", "1"], 0),
        run(&["rotate", directory], 0),
        run(&["rotate", directory], 1),
        run(&["rotate", directory, "--keys", "tickets"], 2),
        run(&["rotate", directory, "--activate", "--json"], 0),
        run(
            &[
                "token",
                "--dir",
                directory,
                "--user",
                "1",
                "--expires-at",
                "2000-01-01T00:00:00Z",
            ],
            1,
        ),
    ];
    let mut secrets = Vec::new();
    for name in all_names() {
        let text = fs::read_to_string(place.path().join(name)).unwrap();
        // Key files: the hex digits; PEM files: each line between the markers.
        let lines = text
            .lines()
            .filter(|line| line.len() >= 24 && !line.starts_with(['-', '#']));
        secrets.extend(lines.map(|line| line.trim_start_matches("secret = ").trim_matches('"').to_owned()));
    }
    assert!(secrets.len() > Purpose::VARIANTS.len() + Identity::VARIANTS.len());
    // Swapped key files: each is read as what it is not.
    let path = |name| place.path().join(name);
    fs::copy(path("ticket.key.toml"), path("server.key.pem")).unwrap();
    fs::copy(path("server.key.pem"), path("server.pem")).unwrap();
    fs::copy(path("operator.key.pem"), path("user-token.key.toml")).unwrap();
    outputs.push(run(&["inspect", directory], 1));
    outputs.push(run(&["token", "--dir", directory, "--user", "1"], 1));
    for output in outputs {
        let output = String::from_utf8(output).unwrap();
        for secret in &secrets {
            assert!(!output.contains(&secret[..24]), "{output}");
        }
    }
}

#[test]
fn it_ends_quietly_when_its_reader_goes_and_says_so_when_the_disk_is_full() {
    use std::process::Stdio;
    let place = made();
    let full_disk = || fs::File::options().write(true).open("/dev/full").unwrap();
    let inspect = |out: Stdio, err: Stdio| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_certs"));
        command
            .arg("inspect")
            .arg(place.path())
            .stdout(out)
            .stderr(err)
            .output()
            .unwrap()
    };
    let whole = inspect(Stdio::piped(), Stdio::piped()).status.code();
    let (reader, closed) = std::io::pipe().unwrap();
    drop(reader);
    let output = inspect(closed.into(), Stdio::piped());
    assert_eq!(
        (output.status.code(), output.stderr.len()),
        (whole, 0),
        "what was found is said by the code"
    );
    let output = inspect(full_disk().into(), Stdio::piped());
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot write the output"));
    assert_eq!(inspect(full_disk().into(), full_disk().into()).status.code(), Some(1));
}
