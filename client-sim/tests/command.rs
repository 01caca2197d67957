//! The command line as a user meets it.

#[path = "support/program.rs"]
mod program;
mod support;

use program::{client_sim, text};

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use support::{Back, Script, Server, opened, packet_of, reply, win};

use shake_proto::wire::v1;

struct Winning;

impl Script for Winning {
    fn shake(&self, user: u64, sequence: u32) -> Vec<Back> {
        let outcome = if sequence == 1 {
            win(sequence, user, 3)
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
        lines.starts_with("kind,packet,user,sponsor,cents\nopen,p1,u1,3,250\n"),
        "{lines}"
    );
    let lines = std::fs::read_to_string(csv).expect("written");
    assert_eq!(
        lines,
        "packet,user,sponsor,cents\np1,u1,3,250\np2,u2,3,250\np3,u3,3,250\np4,u4,3,250\np5,u5,3,250\n"
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

/// How long a test waits for what another process does.
const PATIENCE: Duration = Duration::from_secs(60);

/// A run that goes on beside the test.
fn start(server: &Server, flags: &[&str]) -> Child {
    let (target, certs) = (server.address.to_string(), server.certs());
    let mut command = Command::new(env!("CARGO_BIN_EXE_client-sim"));
    command
        .args(["run", "--json", "--quiet", "--target", &target, "--certs"])
        .arg(certs)
        .args(flags);
    command.stdout(Stdio::piped()).spawn().expect("it starts")
}

fn report(run: Child) -> serde_json::Value {
    let output = run.wait_with_output().expect("it ends by itself");
    assert_eq!(output.status.code(), Some(0));
    serde_json::from_slice(&output.stdout).expect("one JSON object")
}

/// Asks a run again and again until it says what is wanted.
fn ctl(control: &Path, arguments: &[&str], is_wanted: impl Fn(&str) -> bool) -> String {
    let control = control.to_string_lossy();
    let arguments: Vec<&str> = ["ctl", "--control", &control]
        .iter()
        .chain(arguments)
        .copied()
        .collect();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let output = client_sim(&arguments);
        let said = text(&output.stdout);
        if output.status.success() && is_wanted(&said) {
            return said;
        }
        assert!(Instant::now() < deadline, "{said}{}", text(&output.stderr));
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_run_is_steered_from_another_terminal() {
    let server = Server::start(Winning);
    let control = server.certs().join("run.sock");
    let flags = [
        "--sessions",
        "40",
        "--shakes-per-second",
        "0",
        "--seconds",
        "600",
        "--engine",
        "lean",
    ];
    let path = control.to_string_lossy();
    let run = start(&server, &[&flags[..], &["--control", &path]].concat());
    let told = ctl(&control, &["rate", "200"], |_| true);
    assert!(told.contains("from 0 to 200 shakes/s"), "{told}");
    let status = ctl(&control, &["status", "--json"], |status| {
        let status: serde_json::Value = serde_json::from_str(status).expect("one JSON object");
        status["answered"].as_u64() > Some(100)
    });
    assert!(status.contains("\"shakes_per_second\":200"), "{status}");
    assert!(ctl(&control, &["status"], |_| true).contains("40 online"));
    ctl(&control, &["stop"], |_| true);
    let report = report(run);
    assert_eq!(report["stopped_early"], true);
    let steps: Vec<_> = report["steps"]
        .as_array()
        .expect("steps")
        .iter()
        .map(|step| &step["name"])
        .collect();
    assert_eq!(steps, ["0/s", "0/s, set to 200/s"]);
}

#[test]
fn several_processes_play_their_parts_of_the_users_at_one_time() {
    let server = Server::start(Winning);
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970")
        .as_secs();
    let at = now + 6;
    let start_at = at.to_string();
    let scenario = server.certs().join("parts.toml");
    std::fs::write(
        &scenario,
        "[load]\nsessions = 30\nshakes_per_second = 90\nseconds = 2\n",
    )
    .expect("written");
    let scenario = scenario.to_string_lossy();
    let runs = [("1..10", "lean"), ("11..30", "quinn")].map(|(users, engine)| {
        let control = server.certs().join(format!("{engine}.sock"));
        let control = control.to_string_lossy();
        let flags = [
            &scenario,
            "--users",
            users,
            "--start-at",
            &start_at,
            "--engine",
            engine,
            "--control",
            &control,
        ];
        start(&server, &flags)
    });
    let reports = runs.map(report);
    for (report, (sessions, sent)) in reports.iter().zip([(10, 60), (20, 120)]) {
        assert_eq!(report["sessions"]["connected"], sessions);
        assert_eq!(report["shakes"]["sent"], sent);
        // One user each, so each wins the packet of its own number.
        assert_eq!(report["claims"]["opened"], sessions);
        assert_eq!(report["steps"][0]["began_unix_ms"], at * 1_000, "{}", report["remarks"]);
    }
}

#[test]
fn two_runs_are_told_apart_from_chance() {
    let folder = tempfile::tempdir().expect("a directory");
    let write = |name: &str, greetings: u64| {
        let path = folder.path().join(name);
        let report = serde_json::json!({"outcomes": {"greeting": greetings, "nothing": 10_000 - greetings}});
        std::fs::write(&path, report.to_string()).expect("written");
        path.display().to_string()
    };
    let (a, like, unlike) = (write("a", 5_000), write("like", 5_080), write("unlike", 5_500));
    let html = folder.path().join("both.html").display().to_string();
    let same = client_sim(&["report", &a, &like, "--within", "4", "--html", &html]);
    assert_eq!(same.status.code(), Some(0), "{}", text(&same.stderr));
    assert!(text(&same.stdout).contains("every count agrees within 4"));
    assert!(
        std::fs::read_to_string(html)
            .expect("written")
            .contains("outcomes.greeting")
    );
    let other = client_sim(&["report", &a, &unlike, "--within", "4"]);
    assert_eq!(other.status.code(), Some(2));
    assert!(text(&other.stdout).contains("further apart than 4 standard deviations: outcomes.greeting"));
    let senseless = client_sim(&["report", &a, &like, "--within", "0"]);
    assert!(text(&senseless.stderr).contains("must be a number above 0"));
}

#[test]
fn it_ends_quietly_when_its_reader_goes_and_says_so_when_the_disk_is_full() {
    let full_disk = || {
        std::fs::File::options()
            .write(true)
            .open("/dev/full")
            .expect("Linux has it")
    };
    let run = |out: Stdio, err: Stdio| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_client-sim"));
        command
            .arg("scenario")
            .stdout(out)
            .stderr(err)
            .output()
            .expect("it starts")
    };
    let (reader, closed) = std::io::pipe().expect("a pipe");
    drop(reader);
    let output = run(closed.into(), Stdio::piped());
    assert_eq!((output.status.code(), &*text(&output.stderr)), (Some(0), ""));
    let output = run(full_disk().into(), Stdio::piped());
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("cannot write the output"), "{said}");
    let output = run(full_disk().into(), full_disk().into());
    assert_eq!(
        output.status.code(),
        Some(1),
        "nobody is told, and it ends in good order"
    );
}

/// Nobody got through: nothing was checked, and the hint says what the certificate had to be for.
#[test]
fn checks_over_no_phone_have_not_passed() {
    let server = Server::start(Winning);
    let (target, certs) = (server.address.to_string(), server.certs());
    let certs = certs.to_string_lossy();
    let flags = [
        "--sessions",
        "2",
        "--shakes-per-second",
        "10",
        "--seconds",
        "1",
        "--quiet",
    ];
    let mut arguments = vec![
        "run",
        "--target",
        &target,
        "--certs",
        &certs,
        "--server-name",
        "gw1.example",
    ];
    arguments.extend(flags);
    let output = client_sim(&arguments);
    assert_eq!(output.status.code(), Some(1));
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(out.contains("no phone connected, so nothing was checked"), "{out}");
    assert!(!out.contains("passed: no packet"), "{out}");
    assert!(err.contains("gw1.example") && err.contains("--server-name"), "{err}");
    arguments.push("--json");
    let report: serde_json::Value = serde_json::from_slice(&client_sim(&arguments).stdout).expect("one JSON object");
    assert_eq!(report["checks"]["passed"], false);
}

#[test]
fn a_cue_that_was_not_given_is_an_exit_code_of_its_own() {
    let server = Server::start(Winning);
    let scenario = server.certs().join("cue.toml");
    for (program, code) in [("false", 3), ("true", 0)] {
        let cue = format!("[[cues]]\nat_s = 0.1\nname = \"main\"\ncommand = [\"{program}\"]\n");
        std::fs::write(&scenario, cue).expect("written");
        let (target, certs) = (server.address.to_string(), server.certs());
        let (certs, scenario) = (certs.to_string_lossy(), scenario.to_string_lossy());
        let flags = [
            "--sessions",
            "2",
            "--shakes-per-second",
            "10",
            "--seconds",
            "1",
            "--quiet",
            "--json",
        ];
        let mut arguments = vec!["run", &scenario, "--target", &target, "--certs", &certs];
        arguments.extend(flags);
        let output = client_sim(&arguments);
        assert_eq!(output.status.code(), Some(code), "{}", text(&output.stderr));
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
        assert_eq!(report["checks"]["passed"], true, "{program}: the phones were served");
        assert_eq!(report["cues"][0]["error"].is_null(), code == 0);
    }
}
