//! The command line as a user meets it.

mod support;

use std::process::{Command, Output};
use support::{Back, Script, Server, opened, packet_of, reply, win};

use shake_proto::wire::v1;

fn client_sim(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_client-sim"))
        .args(arguments)
        .output()
        .expect("it starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

struct Winning;

impl Script for Winning {
    fn shake(&self, user: u64, sequence: u32) -> Vec<Back> {
        let outcome = if sequence == 0 {
            win(0, user, 3)
        } else {
            reply(sequence, v1::Outcome::Greeting)
        };
        vec![Back::Reply(outcome)]
    }

    fn claim(&self, _user: u64, claim: &v1::Claim) -> support::Answer {
        opened(packet_of(claim), 250, 3, false)
    }
}

#[test]
fn json_stands_alone_on_stdout_and_opened_packets_in_their_file() {
    let server = Server::start(Winning);
    let csv = server.certs().join("opened.csv");
    let (target, certs) = (server.address.to_string(), server.certs());
    let (certs, csv_name) = (certs.to_string_lossy(), csv.to_string_lossy());
    let credits = server.certs().join("credits.csv");
    let credits_name = credits.to_string_lossy();
    let flags = ["--sessions", "5", "--shakes-per-second", "50", "--seconds", "1"];
    let mut arguments = vec![
        "run",
        "--json",
        "--target",
        &target,
        "--certs",
        &certs,
        "--opened",
        &csv_name,
        "--credits",
        &credits_name,
    ];
    arguments.extend(flags);
    let output = client_sim(&arguments);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    assert_eq!(report["shakes"]["answered"], 50);
    assert_eq!(report["claims"]["cents_by_sponsor"]["3"], 1_250);
    assert_eq!(report["checks"]["passed"], true);
    assert!(text(&output.stderr).contains("shaking"), "progress on stderr");
    let lines = std::fs::read_to_string(credits).expect("written");
    assert!(
        lines.starts_with("kind,packet,user,sponsor,cents\nopen,1,1,3,250\n"),
        "{lines}"
    );
    let lines = std::fs::read_to_string(csv).expect("written");
    assert_eq!(
        lines,
        "packet,user,sponsor,cents\n1,1,3,250\n2,2,3,250\n3,3,3,250\n4,4,3,250\n5,5,3,250\n"
    );
}

#[test]
fn a_bad_scenario_is_refused_with_every_line() {
    let folder = tempfile::tempdir().expect("a directory");
    let path = folder.path().join("bad.toml");
    std::fs::write(&path, "[load]\nsessions = 0\nshake = 1\n[engine]\nkind = \"warp\"\n").expect("written");
    for command in ["check", "run"] {
        let output = client_sim(&[command, &path.to_string_lossy()]);
        assert_eq!(output.status.code(), Some(1));
        let said = text(&output.stderr);
        for words in [
            "bad.toml",
            "line 2: sessions = 0",
            "line 3: unknown field `shake`",
            "line 5: kind = \"warp\"",
        ] {
            assert!(said.contains(words), "{command}: no {words:?} in {said}");
        }
    }
}

#[test]
fn the_built_in_scenario_checks_and_missing_files_are_named() {
    let folder = tempfile::tempdir().expect("a directory");
    let path = folder.path().join("copy.toml");
    std::fs::write(&path, client_sim(&["scenario"]).stdout).expect("written");
    assert_eq!(client_sim(&["check", &path.to_string_lossy()]).status.code(), Some(0));
    let nowhere = folder.path().join("none");
    let output = client_sim(&["run", "--certs", &nowhere.to_string_lossy()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("certs generate"),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn help_teaches() {
    let help = text(&client_sim(&["run", "--help"]).stdout);
    for words in [
        "Exit codes",
        "Examples",
        "--opened",
        "--credits",
        "open-loop",
        "--certs",
    ] {
        assert!(help.contains(words), "no {words:?}");
    }
}

#[test]
fn ctl_says_when_nobody_listens() {
    let folder = tempfile::TempDir::new().expect("a temporary directory");
    let path = folder.path().join("nobody.sock");
    for request in [&["ctl", "status"][..], &["ctl", "rate", "5"], &["ctl", "stop"]] {
        let mut arguments = request.to_vec();
        let path = path.to_string_lossy();
        arguments.extend(["--control", &path]);
        let output = client_sim(&arguments);
        assert_eq!(output.status.code(), Some(1));
        let told = text(&output.stderr);
        assert!(
            told.contains("no run listens at") && told.contains("nobody.sock"),
            "{told}"
        );
    }
}
