//! Steering a live show: what a push does and does not, and what a restart holds on to.

mod support;

use shake_proto::admin::Refusal;
use shake_proto::admin_v1::reply;
use std::time::Duration;
use support::operator::Operator;
use support::{Phone, Stand, now_ms, wait};

/// One phase whose pace and resource are the same number, so that half of a change would show.
fn show(number: u64) -> String {
    format!(
        "[event]\nname = \"show {number}\"\n[cues]\nlater = \"\"\n[[phases]]\nname = \"on\"\nend_s = 3600\n\
         pace_ms = {number}\nweights = {{ greeting = 1 }}\nresources = {{ greeting = {number} }}\n\
         [[phases]]\nname = \"cued\"\ncue = \"later\"\nstart_s = 3600\nend_s = 7200\nweights = {{ nothing = 1 }}\n"
    )
}

/// Nothing until the cue.
const CUED: &str =
    "[cues]\ngo = \"\"\n[[phases]]\nname = \"cued\"\ncue = \"go\"\nend_s = 60\nweights = { greeting = 1 }\n";

async fn sees(phone: &Phone) -> (u64, u32, u32) {
    let reply = phone.shake(1).await.expect("a shake");
    (reply.config_version, reply.pace_ms, reply.resource_id)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn versions_only_grow_and_a_dry_run_changes_nothing() {
    let stand = Stand::new(&show(1_000), "");
    let phone = stand.user(1).await;
    assert_eq!(sees(&phone).await, (1, 1_000, 1_000));
    let file = stand.write("next.toml", &show(1_001));

    let before = (
        stand.status()["version"].clone(),
        std::fs::read(stand.path("state/live.toml")).expect("kept"),
    );
    let dry = stand.operate(&["push", "show", &file, "--dry-run"]);
    assert!(dry.is_good, "{dry:?}");
    for line in [
        "- phases[\"on\"].pace_ms = 1000",
        "+ phases[\"on\"].pace_ms = 1001",
        "phase \"on\" until",
    ] {
        assert!(dry.text.contains(line), "{line} in {}", dry.text);
    }
    let after = (
        stand.status()["version"].clone(),
        std::fs::read(stand.path("state/live.toml")).expect("kept"),
    );
    assert_eq!(before, after);
    assert_eq!(sees(&phone).await, (1, 1_000, 1_000));

    let before_ms = now_ms();
    let pushed = stand.operate(&["push", "show", &file, "--json"]);
    assert!(pushed.is_good, "{pushed:?}");
    let line = &pushed.json()[0];
    assert_eq!((&line["result"], &line["shards_applied"]), (&"done".into(), &2.into()));
    // Above every version that any gateway can have, without asking those that do not answer.
    let version = line["version"].as_u64().expect("a number");
    assert!((before_ms..=now_ms()).contains(&version), "{version}");
    assert_eq!(sees(&phone).await, (version, 1_001, 1_001));
    let made = version.to_string();

    // The same again, by the program and as the same version by hand.
    for arguments in [
        &["push", "show", &file][..],
        &["push", "show", &file, "--version", &made],
    ] {
        let again = stand.operate(arguments);
        assert!(again.is_good && again.text.contains("already_there"), "{again:?}");
    }
    let other = stand.write("other.toml", &show(1_002));
    for (version, refusal, advice) in [
        ("1", "version_old", "\"shake operator\""),
        (made.as_str(), "version_taken", "\"shake operator\""),
        // Behind it, nothing could be steered any more.
        ("9223372036854775807", "version_ahead", "leave --version out"),
    ] {
        let refused = stand.operate(&["push", "show", &other, "--version", version]);
        assert!(!refused.is_good && refused.text.contains(refusal), "{refused:?}");
        assert!(refused.text.contains(advice), "{advice}: {}", refused.text);
    }
    let wrong = stand.write(
        "wrong.toml",
        &show(1_003).replace("pace_ms = 1003", "pace_ms = 0\nspeed = 1"),
    );
    for more in [&[][..], &["--dry-run"]] {
        let refused = stand.operate(&[&["push", "show", &wrong], more].concat());
        assert!(!refused.is_good, "{refused:?}");
        assert!(
            refused.text.contains("line 9: ") && refused.text.contains("pace_ms = 0"),
            "{}",
            refused.text
        );
    }
    let foreign = stand.write("foreign.toml", &show(1_004).replace("[event]", "[event]\nid = 9"));
    let refused = stand.operate(&["push", "show", &foreign]);
    assert!(!refused.is_good && refused.text.contains("other_event"), "{refused:?}");
    let refused = stand.operate(&["cue", "sooner", "--in", "5s"]);
    assert!(
        !refused.is_good && refused.text.contains("the show has later"),
        "{refused:?}"
    );
    assert_eq!(sees(&phone).await, (version, 1_001, 1_001));

    let results: Vec<_> = stand.audit_log().iter().map(|line| line["result"].clone()).collect();
    assert_eq!(
        results,
        [
            "configured",
            "done",
            "already_there",
            "already_there",
            "version_old",
            "version_taken",
            "version_ahead",
            "errors",
            "errors",
            "other_event",
            "cue_unknown"
        ]
    );
    let done = &stand.audit_log()[1];
    assert_eq!(
        (&done["operator"], &done["version"]),
        (&"shake operator".into(), &version.into())
    );
    assert_eq!(done["sha256"], stand.status()["show_sha256"]);
    assert_eq!(done["fingerprint"].as_str().map(str::len), Some(64));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn two_operators_at_once_one_wins_and_the_other_is_told() {
    let stand = Stand::new(&show(1_000), "");
    let certs = stand.path("certs");
    let (ann, bob) = (
        Operator::connect(stand.admin, &certs, false).await,
        Operator::connect(stand.admin, &certs, false).await,
    );
    for round in 0..20 {
        let version = 2 + round;
        let (a, b) = tokio::join!(
            ann.push_show(show(2_000 + round), version),
            bob.push_show(show(3_000 + round), version)
        );
        let is_changed =
            |result: &reply::Result| matches!(result, reply::Result::Changed(changed) if !changed.already_there);
        let is_told = |result: &reply::Result| {
            matches!(result, reply::Result::Refused(refused)
                if Refusal::from_wire(refused.refusal) == Some(Refusal::VersionTaken))
        };
        assert!(
            is_changed(&a) && is_told(&b) || is_changed(&b) && is_told(&a),
            "{a:?} {b:?}"
        );
    }
}

/// A phone that shakes until told to stop, and holds each answer against the rule that ties its numbers together. Gives
/// how many shakes were asked and the highest version that was seen.
async fn shake_and_check(phone: Phone, stop: std::sync::Arc<std::sync::atomic::AtomicBool>) -> (u32, u64) {
    let (mut shakes, mut highest) = (0, 0);
    while !stop.load(std::sync::atomic::Ordering::Relaxed) {
        // On a stream, which loses nothing: an unanswered one would panic.
        let (version, pace_ms, resource) = sees(&phone).await;
        assert_eq!(
            (u64::from(pace_ms), u64::from(resource)),
            (999 + version, 999 + version),
            "torn"
        );
        assert!(version >= highest, "a session went back from {highest} to {version}");
        highest = version;
        shakes += 1;
    }
    (shakes, highest)
}

/// The default throttle, but no user shakes too fast and no load is too high for grade 0.
fn calm_throttle() -> String {
    let mut grade = 0;
    let line = |line: &str| {
        grade += u32::from(line.starts_with("[[grades]]"));
        match line.split(' ').next() {
            Some("enter") => format!("enter = {{ queue_wait_ms = {} }}\n", grade * 10_000),
            Some("leave") => format!("leave = {{ queue_wait_ms = {} }}\n", grade * 10_000 - 5_000),
            Some(name @ ("user" | "user_packets")) if grade == 1 => {
                format!("{name} = {{ per_second = 1000000, burst = 1000000 }}\n")
            }
            _ => format!("{line}\n"),
        }
    };
    include_str!("../../deploy/throttle.toml").lines().map(line).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_pushes_under_load_tear_nothing_and_lose_nothing() {
    const PUSHES: u64 = 1_000;
    let stand = Stand::new(&show(1_000), "");
    let pushed = stand.operate(&[
        "push",
        "throttle",
        &stand.write("calm.toml", &calm_throttle()),
        "--version",
        "2",
    ]);
    assert!(pushed.is_good && pushed.text.contains("+ grades"), "{pushed:?}");
    let operator = Operator::connect(stand.admin, &stand.path("certs"), false).await;
    operator.push_show(show(1_002), 3).await;
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let mut phones = Vec::new();
    for user in 0..24 {
        phones.push(tokio::spawn(shake_and_check(stand.user(user).await, stop.clone())));
    }
    let mut slowest_us = 0;
    for version in 4..4 + PUSHES {
        let reply::Result::Changed(changed) = operator.push_show(show(999 + version), version).await else {
            panic!("push {version} was refused");
        };
        assert_eq!((changed.version, changed.shards_applied), (version, 2));
        slowest_us = slowest_us.max(changed.applied_after_us);
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    let mut shakes = 0;
    for phone in phones {
        let (count, _) = phone.await.expect("no torn answer");
        shakes += count;
    }
    println!("{shakes} shakes during {PUSHES} pushes; the slowest took {slowest_us} us to reach all shards");
    let phone = stand.user(1).await;
    assert_eq!(sees(&phone).await.0, 3 + PUSHES);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_show_that_starts_now_starts_with_its_push_until_a_phase_has_begun() {
    let stand = Stand::new(CUED, "");
    // The gateway has run for longer than the first phase of the show: from its own start, that would be over.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let tonight = |end: &str| {
        format!(
            "[event]\nname = \"tonight\"\nstarts = \"now\"\n[[phases]]\nname = \"first\"\nend_s = 1\nweights = {{ nothing = 1 }}\n\
             [[phases]]\nname = \"second\"\nstart_s = 1\nend_s = {end}\nweights = {{ nothing = 1 }}\n"
        )
    };
    let file = stand.write("tonight.toml", &tonight("3600"));
    let started = |stand: &Stand| {
        let text = std::fs::read_to_string(stand.path("state/live.toml")).expect("kept");
        shake_rules::kept::Kept::parse(&text).expect("whole").started_at_ms
    };
    for more in [&["--dry-run"][..], &[]] {
        let before_ms = now_ms();
        let pushed = stand.operate(&[&["push", "show", &file], more].concat());
        assert!(
            pushed.is_good && pushed.text.contains("the moment of this push"),
            "{pushed:?}"
        );
        if more.is_empty() {
            assert!((before_ms..=now_ms()).contains(&started(&stand)));
        }
    }
    // A comma mended within the evening does not begin it anew.
    let at = started(&stand);
    wait("the second phase runs", || {
        stand.status()["current_phase"]["name"] == "second"
    });
    let file = stand.write("mended.toml", &tonight("3601"));
    let pushed = stand.operate(&["push", "show", &file]);
    assert!(
        pushed.is_good && pushed.text.contains("because phase \"first\" has begun"),
        "{pushed:?}"
    );
    assert_eq!(
        (started(&stand), &stand.status()["current_phase"]["name"]),
        (at, &"second".into())
    );
}

/// A wrong file of a megabyte keeps the control thread from nothing: metrics, heart beat, other operators.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_file_stops_nothing_and_its_problems_fit_an_answer() {
    let stand = Stand::new(&show(1_000), "");
    let lines: String = (0..6_000).map(|n| format!("wrong_{n} = {n}\n")).collect();
    let wrong = stand.write("wrong.toml", &lines);
    let pushing = stand.begin_to_operate(&["push", "show", &wrong, "--dry-run"]);
    let mut answered = 0;
    while !pushing.is_finished() {
        assert!(stand.metrics_answer(), "the control thread stands still");
        answered += 1;
    }
    let refused = pushing.join().expect("it ends");
    assert!(answered > 0 && !refused.is_good, "{refused:?}");
    // Ten are told to people, and all to programs: the first says that there are more.
    assert_eq!(refused.text.matches("line ").count(), 9, "{}", refused.text);
    assert!(refused.text.contains("and 90 more; --json tells all"));
    let all = stand.operate(&["push", "show", &wrong, "--dry-run", "--json"]).json();
    assert_eq!(all[0]["problems"].as_array().map(Vec::len), Some(100));
    assert!(all[0].to_string().contains("more problems than can be told"));
}
