//! Several targets, of which one cannot be had: it hangs, is not there, has no address, or is of another authority. Whatever
//! it is, it is named with its reason, and the others are served at once.

mod support;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use shake_rules::kept::Kept;
use std::net::UdpSocket;
use support::{Ended, Operated, Stand, wait};

const SHOW: &str =
    "[cues]\ngo = \"\"\n[[phases]]\nname = \"cued\"\ncue = \"go\"\nend_s = 3600\nweights = { greeting = 1 }\n";

fn kept(stand: &Stand) -> Kept {
    let text = std::fs::read_to_string(stand.path("state/live.toml")).expect("kept");
    Kept::parse(&text).expect("whole")
}

/// A process that stands still until this is dropped.
struct Hung(Pid);

impl Hung {
    fn of(stand: &Stand) -> Self {
        let process = Pid::from_raw(stand.gateway_id() as i32);
        kill(process, Signal::SIGSTOP).expect("it runs");
        Self(process)
    }
}

impl Drop for Hung {
    fn drop(&mut self) {
        let _ = kill(self.0, Signal::SIGCONT);
    }
}

#[test]
fn a_gateway_that_hangs_stops_no_other_and_the_mend_that_is_told_mends() {
    let (stand, show) = (Stand::new(SHOW, ""), SHOW.replace("3600", "3601"));
    let hangs = stand.beside(SHOW);
    let (here, there) = (stand.admin.to_string(), hangs.admin.to_string());
    let targets = ["--target", &there, "--target", &here];
    let hung = Hung::of(&hangs);

    let status = stand.operate(&[&["status"], &targets[..]].concat());
    assert_eq!(status.code, Some(1));
    let first = status.text.lines().next().expect("a line");
    assert_eq!(first, format!("DIFFERS  {there} does not answer"));
    assert!(status.text.contains(&format!("\n{here} (host ")), "{}", status.text);
    let status = stand.operate(&[&["status", "--json"], &targets[..]].concat()).json();
    let results: Vec<_> = status.iter().map(|line| (&line["target"], &line["result"])).collect();
    assert_eq!(
        results,
        [
            (&here.clone().into(), &"status".into()),
            (&there.clone().into(), &"failed".into())
        ]
    );

    let file = stand.path("next.toml");
    std::fs::write(&file, &show).expect("written");
    let file = file.display().to_string();
    let push = stand.begin_to_operate(&[&["push", "show", &file], &targets[..]].concat());
    wait("the other one has the show", || kept(&stand).show == show);
    let cue = stand.begin_to_operate(&[&["cue", "go"], &targets[..]].concat());
    wait("the other one has the cue", || kept(&stand).cues.contains_key("go"));
    assert!(!cue.is_finished(), "it waits for the one that hangs");
    let mend = format!("gateway push --from {here} --target {there}");
    for operated in [push, cue] {
        let operated: Operated = operated.join().expect("it ends");
        assert_eq!(operated.code, Some(1), "{operated:?}");
        for word in ["SPLIT", "no answer in 10 s", &mend] {
            assert!(operated.text.contains(word), "{word} in {}", operated.text);
        }
    }
    assert_eq!(kept(&hangs).show, SHOW, "nothing was done there");

    drop(hung);
    let mended = stand.operate(&["push", "--from", &here, "--target", &there]);
    assert!(mended.is_good, "{mended:?}");
    let both = (kept(&stand), kept(&hangs));
    assert_eq!((&both.0.show, &both.0.cues), (&both.1.show, &both.1.cues));
}

#[test]
fn a_watch_says_which_gateway_hangs_and_finds_it_again() {
    let stand = Stand::new(SHOW, "");
    let hangs = stand.beside(SHOW);
    let (here, there) = (stand.admin.to_string(), hangs.admin.to_string());
    let seen = stand.path("seen");
    let mut command = stand.operator(
        &stand.path("certs"),
        &["status", "--watch", "--target", &there, "--target", &here],
    );
    command.stdout(std::fs::File::create(&seen).expect("a file"));
    let mut watch = Ended(command.spawn().expect("it runs"));
    let text = || std::fs::read_to_string(&seen).expect("its output");
    wait("both are seen", || text().contains("2 gateways agree"));
    let hung = Hung::of(&hangs);
    wait("one is lost", || text().contains(&format!("{there}  LOST")));
    let rows = |text: &str| {
        text.lines()
            .filter(|line| line.contains(&here) && line.contains("cued waits"))
            .count()
    };
    let before = rows(&text());
    wait("the other is seen on", || rows(&text()) > before);
    drop(hung);
    wait("it is found again", || {
        text().contains(&format!("{there}  FOUND again"))
    });
    kill(Pid::from_raw(watch.0.id() as i32), Signal::SIGINT).expect("it runs");
    assert_eq!(watch.0.wait().expect("it ends").code(), Some(0));
}

#[test]
fn what_differs_is_told_to_programs_too() {
    let stand = Stand::new(SHOW, "");
    let (same, other) = (stand.beside(SHOW), stand.beside(&SHOW.replace("3600", "60")));
    let targets = [stand.admin, same.admin, other.admin].map(|admin| admin.to_string());
    let mut arguments = vec!["status", "--json"];
    arguments.extend(targets.iter().flat_map(|target| ["--target", target.as_str()]));
    let told: Vec<_> = stand
        .operate(&arguments)
        .json()
        .iter()
        .map(|line| line["differs"].clone())
        .collect();
    assert_eq!(
        told,
        [
            serde_json::json!([]),
            serde_json::json!([]),
            serde_json::json!(["another show"])
        ]
    );
    assert!(stand.operate(&["cue", "go", "--in", "1h"]).is_good);
    let told: Vec<_> = stand
        .operate(&arguments)
        .json()
        .iter()
        .map(|line| line["differs"].to_string())
        .collect();
    // No two are alike now, and all are held against the highest version.
    assert_eq!(told[0], "[]");
    for (at, words) in [
        (1, &["version 1 instead of", "cue go waits instead of at"][..]),
        (2, &["another show"]),
    ] {
        for word in words {
            assert!(told[at].contains(word), "{word} in {}", told[at]);
        }
    }
}

/// Runs each command with a second target that cannot be had, and those that have one alone with that one.
fn operates_beside(stand: &Stand, target: &str, reason: &str, commands: &[(&[&str], &str)]) {
    let here = stand.admin.to_string();
    for (command, done) in commands {
        let operated = stand.operate(&[command, &["--target", &here, "--target", target][..]].concat());
        for word in [target, reason, &here, done] {
            assert!(
                operated.code == Some(1) && operated.text.contains(word),
                "{word} of {command:?} in {operated:?}"
            );
        }
    }
    for command in [
        &["get", "show", "--target", target][..],
        &["push", "--from", target, "--target", &here],
    ] {
        let operated = stand.operate(command);
        for word in [target, reason] {
            assert!(
                operated.code == Some(1) && operated.text.contains(word),
                "{word} of {command:?} in {operated:?}"
            );
        }
    }
}

#[test]
fn whoever_cannot_be_reached_is_named_with_the_reason_and_the_others_are_served() {
    let stand = Stand::new(SHOW, "");
    let foreign = Stand::new(SHOW, "");
    let refused = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
    // The socket is gone, and the port refuses.
    let refused = refused.expect("a free port").to_string();
    let file = stand.path("show.toml").display().to_string();
    let commands: [(&[&str], &str); 6] = [
        (&["push", "show", &file], "already_there"),
        (&["status"], "show      "),
        (&["cue", "go", "--in", "1h", "--dry-run"], "dry_run"),
        (&["reload", "--dry-run"], "dry_run"),
        (&["drain", "--dry-run"], "dry_run"),
        (&["drain", "--cancel"], "stays"),
    ];
    std::thread::scope(|scope| {
        let foreign = foreign.admin.to_string();
        for (target, reason, commands) in [
            // Names under `invalid` are nobody's (RFC 6761).
            ("no-gateway.invalid:4434", "cannot resolve", &commands[..]),
            ("gw2", "a target is HOST:PORT", &commands),
            (&foreign, "of another authority than ca.pem", &commands),
            // Each waits for its patience.
            (&refused, "is [admin] address right", &commands[..1]),
        ] {
            let (stand, target) = (&stand, target.to_owned());
            scope.spawn(move || operates_beside(stand, &target, reason, commands));
        }
    });
    assert_eq!(kept(&stand).version, 1, "nothing was changed");
}
