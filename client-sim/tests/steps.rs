//! Steps, changes of the rate, parts of the users and the control socket, on both engines alike; and that both engines
//! count the same.

mod support;

use client_sim::control;
use client_sim::engine::{Stage, Stop};
use client_sim::report::Report;
use client_sim::run::{Outcome, Verdict, Watch, run};
use client_sim::scenario::{Overrides, Scenario};
use shake_proto::wire::v1;
use std::os::unix::fs::PermissionsExt;
use support::{Answer, Back, Script, Server, opened, packet_of, reply, win};

const ENGINES: [&str; 2] = ["quinn", "lean"];

/// Answers by user and sequence alone, so that each engine meets the same.
struct ByNumber;

impl Script for ByNumber {
    fn shake(&self, user: u64, sequence: u32) -> Vec<Back> {
        vec![match (user + u64::from(sequence) * 7) % 20 {
            0 => Back::Reply(win(sequence, user << 32 | u64::from(sequence), 7)),
            1..6 => Back::Reply(reply(sequence, v1::Outcome::Nothing)),
            6 => Back::Silence,
            _ => Back::Reply(reply(sequence, v1::Outcome::Greeting)),
        }]
    }

    fn claim(&self, _: u64, claim: &v1::Claim) -> Answer {
        opened(packet_of(claim), 100, 7, false)
    }
}

const STEPS: &str = "
[load]
sessions = 300
connects_per_second = 1000
settle_s = 5
[[steps]]
name = \"slow\"
shakes_per_second = 300
seconds = 1
[[steps]]
name = \"hold\"
shakes_per_second = 0
seconds = 1
[[steps]]
name = \"fast\"
shakes_per_second = 900
seconds = 1
[behaviour]
obey_pace = false
claim_delay_ms = [5, 20]
[limits]
shake_timeout_ms = 2000
[engine]
kind = \"ENGINE\"
";

fn scenario(engine: &str, overrides: &Overrides) -> Scenario {
    Scenario::parse(&STEPS.replace("ENGINE", engine), overrides).expect("a good scenario")
}

fn play(engine: &str, overrides: &Overrides) -> Report {
    let outcome = run(
        scenario(engine, overrides),
        &Watch::default(),
        &Stop::default(),
        &mut |_| {},
    )
    .expect("the run begins");
    assert_eq!(outcome.verdict, Verdict::Fine, "{}", outcome.report.to_text());
    outcome.report
}

/// Name, scheduled, sent, unanswered of each step.
fn figures(report: &Report) -> Vec<(&str, u64, u64, u64)> {
    let steps = report.steps.iter();
    steps
        .map(|step| (&step.name[..], step.scheduled, step.counts.sent, step.counts.unanswered))
        .collect()
}

#[test]
fn both_engines_play_the_same_steps_and_count_the_same_outcomes() {
    let server = Server::start(ByNumber);
    let reports = ENGINES.map(|engine| play(engine, &server.overrides()));
    // What the script answers to each user's shakes 1 to 4: the schedule gives one in the first step, three in the last.
    let count = |sequences: std::ops::Range<u64>, wanted: &dyn Fn(u64) -> bool| {
        let numbers = (1..=300).flat_map(|user| sequences.clone().map(move |sequence| (user + sequence * 7) % 20));
        numbers.filter(|number| wanted(*number)).count() as u64
    };
    for report in &reports {
        let text = report.to_text();
        let silent = |sequences| count(sequences, &|number| number == 6);
        let wanted = [
            ("slow", 300, 300, silent(1..2)),
            ("hold", 0, 0, 0),
            ("fast", 900, 900, silent(2..5)),
        ];
        assert_eq!(figures(report), wanted, "{text}");
        assert_eq!(
            report.outcomes["red_packet"],
            count(1..5, &|number| number == 0),
            "{text}"
        );
        assert_eq!(
            report.outcomes["nothing"],
            count(1..5, &|number| (1..6).contains(&number)),
            "{text}"
        );
        assert_eq!(report.outcomes["greeting"], count(1..5, &|number| number > 6), "{text}");
        assert_eq!(report.claims.counts.opened, report.claims.counts.wins, "{text}");
        let began: Vec<u64> = report.steps.iter().map(|step| step.began_unix_ms).collect();
        assert_eq!((began[1] - began[0], began[2] - began[0]), (1_000, 2_000));
    }
    let [quinn, lean] = reports;
    assert_eq!(
        (&quinn.scenario.engine[..], &lean.scenario.engine[..]),
        ("quinn", "lean")
    );
    assert_eq!(quinn.outcomes, lean.outcomes);
}

#[test]
fn parts_of_the_users_play_parts_of_the_rates() {
    let server = Server::start(ByNumber);
    let part = |engine, users: &str| {
        let overrides = Overrides {
            users: Some(users.parse().expect("a range")),
            ..server.overrides()
        };
        play(engine, &overrides)
    };
    let parts = [part("lean", "1..100"), part("quinn", "101..300")];
    let sent = |step: usize| parts.each_ref().map(|report| report.steps[step].counts.sent);
    assert_eq!((sent(0), sent(2)), ([100, 200], [300, 600]));
    assert_eq!(
        parts.each_ref().map(|report| report.sessions.counts.connected),
        [100, 200]
    );
}

#[test]
fn a_rate_set_while_it_runs_makes_a_step_of_its_own() {
    for engine in ENGINES {
        let server = Server::start(ByNumber);
        let path = server.certs().join("control.sock");
        let overrides = Overrides {
            control: Some(path.clone()),
            ..server.overrides()
        };
        let mut told = Vec::new();
        let mut was_held = false;
        let Outcome { report, .. } = run(
            scenario(engine, &overrides),
            &Watch::default(),
            &Stop::default(),
            &mut |snapshot| {
                let is_hold = snapshot.stage == Stage::Shaking && snapshot.step.name == "hold";
                if told.is_empty() {
                    let mode = std::fs::metadata(&path).expect("it listens").permissions().mode();
                    assert_eq!(mode & 0o777, 0o600);
                    assert!(control::is_taken(&path));
                    told.push(control::ask(&path, "rate 5"));
                } else if is_hold && !std::mem::replace(&mut was_held, true) {
                    told.extend(
                        ["status", "rate 1000001", "dance", "rate 400"].map(|request| control::ask(&path, request)),
                    );
                }
            },
        )
        .expect("the run begins");
        let [early, status, too_much, nonsense, changed] = &told[..] else {
            panic!("{told:?}");
        };
        assert!(
            early
                .as_ref()
                .is_err_and(|error| error.to_string().contains("while it is shaking")),
            "{early:?}"
        );
        let status: control::Status = serde_json::from_str(status.as_ref().expect("told")).expect("JSON");
        assert_eq!(
            (status.stage.as_str(), status.step.as_str(), status.online),
            ("shaking", "hold", 300)
        );
        assert!(
            too_much
                .as_ref()
                .is_err_and(|error| error.to_string().contains("0 to 1000000")),
            "{too_much:?}"
        );
        assert!(
            nonsense
                .as_ref()
                .is_err_and(|error| error.to_string().contains("status, stop and rate")),
            "{nonsense:?}"
        );
        assert!(
            changed
                .as_ref()
                .is_ok_and(|text| text.starts_with("from 0 to 400 shakes/s")),
            "{changed:?}"
        );
        let names: Vec<&str> = report.steps.iter().map(|step| &step.name[..]).collect();
        assert_eq!(names, ["slow", "hold", "hold, set to 400/s", "fast"], "{engine}");
        let set = &report.steps[2];
        let wanted = (set.seconds * 400.0).ceil() as u64;
        assert_eq!(
            (set.scheduled, set.counts.sent),
            (wanted, wanted),
            "{engine}: {}",
            report.to_text()
        );
        assert!(wanted > 0 && !path.exists(), "{engine}: the socket goes with the run");
        assert!(control::ask(&path, "status").is_err_and(|error| error.to_string().contains("no run listens")));
    }
}

#[test]
fn ctl_stop_ends_the_run_and_a_taken_socket_is_named() {
    let server = Server::start(ByNumber);
    let path = server.certs().join("control.sock");
    let overrides = Overrides {
        control: Some(path.clone()),
        ..server.overrides()
    };
    let mut second = None;
    let mut asked = false;
    let report = run(
        scenario("lean", &overrides),
        &Watch::default(),
        &Stop::default(),
        &mut |snapshot| {
            if snapshot.stage == Stage::Shaking && !std::mem::replace(&mut asked, true) {
                second = Some(
                    run(
                        scenario("lean", &overrides),
                        &Watch::default(),
                        &Stop::default(),
                        &mut |_| {},
                    )
                    .map(|_| ()),
                );
                control::ask(&path, "stop").expect("it listens");
            }
        },
    )
    .expect("the run begins")
    .report;
    assert!(
        report.stopped_early && report.shakes.not_sent > 0,
        "{}",
        report.to_text()
    );
    let refused = second.expect("tried").expect_err("taken").to_string();
    assert!(refused.contains("another run listens at"), "{refused}");
}
