//! Tired hands and several gateways: who is dead stops nobody, who is late joins, and what is pressed twice is asked back.

mod support;

use nix::sys::signal::Signal;
use shake_proto::code::Code;
use shake_rules::kept::Kept;
use std::fs::File;
use std::io::Write;
use std::net::UdpSocket;
use std::process::{Command, Stdio};
use support::{Ended, Operated, Stand, wait};

/// A long phase and a short one, each at its cue.
const SHOW: &str = "[cues]\ngo = \"\"\nnext = \"\"\n[[phases]]\nname = \"long\"\ncue = \"go\"\nend_s = 3600\n\
    weights = { greeting = 1 }\n[[phases]]\nname = \"short\"\ncue = \"next\"\nend_s = 2\nweights = { nothing = 1 }\n";

fn kept(stand: &Stand) -> Kept {
    let text = std::fs::read_to_string(stand.path("state/live.toml")).expect("kept");
    Kept::parse(&text).expect("whole")
}

fn phase(stand: &Stand) -> String {
    let status = stand.status();
    status["current_phase"]["name"].as_str().unwrap_or("(none)").to_owned()
}

/// A port where nobody answers.
fn dead() -> (UdpSocket, String) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let address = socket.local_addr().expect("bound").to_string();
    (socket, address)
}

#[test]
fn a_dead_target_stops_no_other_and_the_split_is_told_with_its_mend() {
    let stand = Stand::new(SHOW, "");
    let ((_socket, dead), here) = (dead(), stand.admin.to_string());
    let both = ["--target", &dead, "--target", &here];
    let cue = [&["cue", "go", "--in", "1s", "--json"], &both[..]].concat();
    let cue = cue.into_iter().map(str::to_owned).collect::<Vec<_>>();
    let (program, certs) = (env!("CARGO_BIN_EXE_gateway"), stand.path("certs"));
    let mut command = Command::new(program);
    command.args(&cue).arg("--certs").arg(&certs);
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    let mut cueing = command.spawn().expect("it runs");
    wait("the phase runs here", || phase(&stand) == "long");
    assert!(
        cueing.try_wait().expect("its state").is_none(),
        "it waits for the dead one"
    );
    let ended = cueing.wait_with_output().expect("it ends");
    assert_eq!(ended.status.code(), Some(1));
    let lines: Vec<serde_json::Value> = String::from_utf8_lossy(&ended.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let results: Vec<_> = lines.iter().map(|line| line["result"].as_str()).collect();
    assert_eq!(results, [Some("done"), Some("failed"), Some("split")], "{lines:?}");
    let split = &lines[2];
    assert_eq!(
        (&split["on"][0], &split["not_on"][0]),
        (&here.clone().into(), &dead.clone().into())
    );
    let mend = format!("gateway push --from {here} --target {dead} --certs {}", certs.display());
    assert_eq!(split["mend"], mend.as_str());

    // Tried on all before: nothing is changed anywhere.
    let before = kept(&stand);
    let file = stand.path("next.toml");
    std::fs::write(&file, SHOW.replace("3600", "3601")).expect("written");
    let push = ["push", "show", file.to_str().expect("a path"), "--all-or-none"];
    let pushed = stand.operate(&[&push[..], &both].concat());
    assert!(
        !pushed.is_good && pushed.text.contains("nothing was changed: 1 of 2 could not"),
        "{pushed:?}"
    );
    assert_eq!(kept(&stand), before);
    // Where all can, it is done.
    let pushed = stand.operate(&push);
    assert!(pushed.is_good && pushed.text.contains("done"), "{pushed:?}");
    assert_eq!(kept(&stand).show, SHOW.replace("3600", "3601"));
}

#[test]
fn a_gateway_made_anew_joins_what_runs() {
    let first = Stand::new(SHOW, "");
    assert!(first.operate(&["cue", "go"]).is_good);
    assert_eq!(phase(&first), "long");
    // Another show in its file, and no cue.
    let second = first.beside(&SHOW.replace("3600", "60"));
    let (from, to) = (first.admin.to_string(), second.admin.to_string());
    let both = ["--target", &from, "--target", &to];
    let differs = first.operate(&[&["status"], &both[..]].concat());
    let line = differs.text.lines().next().expect("a line");
    assert!(
        line.starts_with("DIFFERS")
            && line.contains(&to)
            && line.contains("another show")
            && line.contains("cue go waits"),
        "{line}"
    );
    let joined = first.operate(&["push", "--from", &from, "--target", &to]);
    assert!(joined.is_good && joined.text.contains("already_there"), "{joined:?}");
    let (theirs, ours) = (kept(&first), kept(&second));
    assert_eq!((theirs.version, &theirs.show), (ours.version, &ours.show));
    assert_eq!(phase(&second), "long");
    let agree = first.operate(&[&["status"], &both[..]].concat());
    assert!(agree.text.starts_with("2 gateways agree"), "{}", agree.text);
    // One operator presses "now" for both; the second had not heard of the cue before.
    let third = first.beside(SHOW);
    let both = ["--target", &from, "--target", &third.admin.to_string()];
    let pressed = first.operate(&[&["cue", "go"], &both[..]].concat());
    let mend = format!("gateway push --from {from} --target {}", third.admin);
    assert!(!pressed.is_good && pressed.text.contains(&mend), "{}", pressed.text);
    let before = kept(&first);
    assert!(first.operate(&["push", "--from", &from, "--target", both[3]]).is_good);
    assert_eq!(
        kept(&first).cues,
        before.cues,
        "where it ran already nothing begins anew"
    );
    let agree = first.operate(&[&["status"], &both[..]].concat());
    assert!(agree.text.starts_with("2 gateways agree"), "{}", agree.text);
    // What runs can be had as a file.
    let got = second.operate(&["get", "show"]);
    assert!(got.is_good, "{got:?}");
    assert_eq!(got.text, SHOW);
}

#[test]
fn a_cue_is_played_again_cut_and_cancelled_only_when_that_is_said() {
    let stand = Stand::new(SHOW, "");
    let refused = |arguments: &[&str], refusal: &str| {
        let before = kept(&stand);
        let refused = stand.operate(arguments);
        assert!(
            !refused.is_good && refused.text.contains(refusal),
            "{arguments:?}: {refused:?}"
        );
        assert_eq!(kept(&stand), before, "{arguments:?}");
    };
    assert!(stand.operate(&["cue", "go"]).is_good);
    // Pressed again.
    refused(&["cue", "go"], "phase_runs");
    refused(&["cue", "go", "--again"], "phase_runs");
    refused(&["cue", "go", "--cancel"], "cue_past");
    // The one before it runs for an hour.
    refused(&["cue", "next", "--in", "10m"], "--cut ends it");
    let cut = stand.operate(&["cue", "next", "--in", "10m", "--cut"]);
    assert!(cut.is_good && cut.text.contains("phase \"long\" ends at"), "{cut:?}");
    assert_eq!(kept(&stand).cuts.get("long"), kept(&stand).cues.get("next"));
    let cancelled = stand.operate(&["cue", "next", "--cancel"]);
    assert!(cancelled.is_good, "{cancelled:?}");
    assert_eq!((kept(&stand).cuts.len(), kept(&stand).cues.len()), (0, 1));
    assert!(stand.operate(&["cue", "next", "--cut"]).is_good);
    wait("it is over", || phase(&stand) == "(none)");
    refused(&["cue", "next"], "cue_played");
    let stages = kept(&stand).stages;
    let again = stand.operate(&["cue", "next", "--again", "--in", "5m"]);
    assert!(again.is_good, "{again:?}");
    assert_eq!(kept(&stand).stages, stages);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_drain_asks_can_be_tried_and_cancelled_and_is_done_without_sessions() {
    let mut stand = Stand::new(SHOW, "");
    let phone = stand.user(1).await;
    let asked = stand.operate(&["drain"]);
    assert!(
        !asked.is_good && asked.text.contains("no other gateway is named") && asked.text.contains("--yes"),
        "{asked:?}"
    );
    let itself = stand.address.to_string();
    let asked = stand.operate(&["drain", "--alternative", &itself]);
    assert!(!asked.is_good && asked.text.contains("is drained with it"), "{asked:?}");
    let tried = stand.operate(&["drain", "--dry-run"]);
    assert!(
        tried.is_good && tried.text.contains("1 sessions would be sent away"),
        "{tried:?}"
    );
    assert!(stand.is_ready(), "nothing was done");
    assert!(stand.operate(&["drain", "--over", "10m", "--yes"]).is_good);
    assert!(!stand.is_ready());
    let stays = stand.operate(&["drain", "--cancel"]);
    assert!(stays.is_good && stays.text.contains("stays"), "{stays:?}");
    assert!(stand.is_ready());
    let other = stand.user(2).await;
    for phone in [&phone, &other] {
        phone.shake(1).await.expect("served");
        phone.connection.close(Code::Done.number().into(), b"");
    }
    wait("all have left", || stand.metric("gateway_sessions") == 0);
    let drained = stand.operate(&["drain", "--yes"]);
    assert!(drained.is_good && drained.text.contains("0 sessions"), "{drained:?}");
    assert_eq!(stand.gateway_ended(), Some(0));
}

/// Types this at a drain's question, at a terminal. Gives its exit code and what it said.
fn answered(stand: &Stand, answer: &str) -> Operated {
    let terminal = nix::pty::openpty(None, None).expect("a pseudo-terminal");
    let mut command = stand.operator(&stand.path("certs"), &["drain", "--over", "1s"]);
    command.stdin(Stdio::from(terminal.slave));
    File::from(terminal.master.try_clone().expect("it is open"))
        .write_all(answer.as_bytes())
        .expect("typed");
    Operated::of(&command.output().expect("it runs"))
}

#[test]
fn a_drain_at_a_terminal_goes_by_the_answer() {
    let mut stand = Stand::new(SHOW, "");
    let question = "no other gateway is named that phones may go to. Type yes to drain:";
    for answer in ["no\n", "\n", "y\n", "yes, but later\n", "\u{4}"] {
        let kept = answered(&stand, answer);
        assert_eq!(kept.code, Some(1), "{answer:?}: {kept:?}");
        assert!(
            kept.text.contains(question) && kept.text.contains("not drained"),
            "{answer:?}: {}",
            kept.text
        );
        assert_eq!(stand.status()["draining_for_ms"], serde_json::Value::Null, "{answer:?}");
    }
    let drained = answered(&stand, "yes\n");
    assert_eq!(drained.code, Some(0), "{drained:?}");
    assert!(
        drained.text.contains(question) && drained.text.contains("draining"),
        "{}",
        drained.text
    );
    assert_eq!(stand.gateway_ended(), Some(0));
}

#[test]
fn a_drain_with_a_target_that_does_not_answer_asks_before_it_empties_the_rest() {
    let stand = Stand::new(SHOW, "");
    let (_socket, dead) = dead();
    // Whoever was to take the phones is named as a target too, and is not there.
    let alternative = dead.rsplit_once(':').expect("host and port").0.to_owned() + ":4433";
    let asked = stand.operate(&[
        "drain",
        "--alternative",
        &alternative,
        "--target",
        &stand.admin.to_string(),
        "--target",
        &dead,
    ]);
    assert!(!asked.is_good && asked.text.contains("give --yes"), "{asked:?}");
    assert_eq!(stand.status()["draining_for_ms"], serde_json::Value::Null);
}

#[test]
fn a_file_of_the_wrong_kind_is_named_once_for_all_targets() {
    let first = Stand::new(SHOW, "");
    let second = first.beside(SHOW);
    let both = [first.admin.to_string(), second.admin.to_string()];
    let file = first.path("throttle.toml");
    std::fs::write(&file, include_str!("../../deploy/throttle.toml")).expect("written");
    let file = file.to_str().expect("a path");
    let pushed = first.operate(&["push", "show", file, "--target", &both[0], "--target", &both[1]]);
    assert!(!pushed.is_good, "{pushed:?}");
    let told = "this is a throttle, and a show is wanted here";
    assert_eq!(pushed.text.matches(told).count(), 1, "{}", pushed.text);
    let together = [both.join(", "), [&*both[1], &*both[0]].join(", ")];
    assert!(
        together.iter().any(|both| pushed.text.contains(both)),
        "{}",
        pushed.text
    );
    let show = first.path("show.toml");
    let pushed = first.operate(&["push", "throttle", show.to_str().expect("a path")]);
    assert!(
        pushed.text.contains("this is a show, and a throttle is wanted here"),
        "{pushed:?}"
    );
    assert_eq!(kept(&first).version, 1);
}

#[test]
fn a_watch_goes_on_without_a_gateway_that_is_lost_and_finds_it_again() {
    let mut lost = Stand::new(SHOW, "");
    let stays = lost.beside(SHOW);
    let seen = lost.path("seen");
    let mut command = Command::new(env!("CARGO_BIN_EXE_gateway"));
    let targets = [lost.admin.to_string(), stays.admin.to_string()];
    command.args([
        "status",
        "--watch",
        "--target",
        &targets[0],
        "--target",
        &targets[1],
        "--certs",
    ]);
    command
        .arg(lost.path("certs"))
        .stdout(std::fs::File::create(&seen).expect("a file"));
    let mut watch = Ended(command.spawn().expect("it runs"));
    let text = || std::fs::read_to_string(&seen).expect("its output");
    let rows = |target: &str, from: &str| {
        let text = text();
        let rest = text.split_once(from).map_or("", |(_, rest)| rest).to_owned();
        let is_row = |line: &&str| line.contains(target) && line.contains("long waits");
        rest.lines().filter(is_row).count()
    };
    wait("both are seen", || {
        targets.iter().all(|target| rows(target, "gateway") > 0)
    });
    lost.stop_gateway(Signal::SIGKILL);
    wait("one is lost", || text().contains(&format!("{}  LOST", targets[0])));
    wait("the other is seen on", || rows(&targets[1], "LOST") > 1);
    lost.start_gateway();
    wait("it is found again", || {
        text().contains(&format!("{}  FOUND again", targets[0]))
    });
    wait("and seen", || rows(&targets[0], "FOUND") > 0);
    let pid = nix::unistd::Pid::from_raw(watch.0.id() as i32);
    nix::sys::signal::kill(pid, Signal::SIGINT).expect("it runs");
    assert_eq!(watch.0.wait().expect("it ends").code(), Some(0));
}
