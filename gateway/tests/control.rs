//! Steering a live show: who may, what a push does and does not, cues on time, and what a restart holds on to.

mod support;

use nix::sys::signal::Signal;
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose};
use shake_proto::admin::{REQUEST_BYTES_MAX, Refusal};
use shake_proto::admin_v1::{self as admin, reply};
use shake_proto::frame::{self, REPLY_BYTES_MAX};
use shake_proto::request::capability;
use shake_proto::wire::v1;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use support::authority::signed;
use support::operator::Operator;
use support::{Phone, Stand, wait};

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

fn write(stand: &Stand, name: &str, text: &str) -> String {
    let path = stand.path(name);
    std::fs::write(&path, text).expect("written");
    path.display().to_string()
}

fn audit_log(stand: &Stand) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(stand.path("state/audit.log")).expect("an audit log");
    text.lines()
        .map(|line| serde_json::from_str(line).expect("a JSON line"))
        .collect()
}

fn status(stand: &Stand) -> serde_json::Value {
    let status = stand.operate(&["status", "--json"]);
    assert!(status.is_good, "{status:?}");
    status.json().remove(0)
}

fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970")
        .as_millis() as u64
}

/// A certificate directory of the stand's authority whose operator is made by `shape`.
fn operator_made(stand: &Stand, name: &str, shape: impl FnOnce(&mut CertificateParams)) -> PathBuf {
    let (certs, made) = (stand.path("certs"), stand.path(name));
    let (certificate, key) = signed(&certs, ExtendedKeyUsagePurpose::ClientAuth, |params| {
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "eve");
        shape(params);
    });
    place(&certs, &made, &certificate, &key);
    made
}

fn place(certs: &Path, made: &Path, certificate: &str, key: &str) {
    std::fs::create_dir(made).expect("a new directory");
    std::fs::copy(certs.join("ca.pem"), made.join("ca.pem")).expect("a copy");
    std::fs::write(made.join("operator.pem"), certificate).expect("written");
    std::fs::write(made.join("operator.key.pem"), key).expect("written");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn who_has_no_good_operator_certificate_gets_nowhere_and_is_written_down() {
    let stand = Stand::new(&show(1_000), "");
    let certs = stand.path("certs");
    let read = |directory: &Path, name: &str| std::fs::read_to_string(directory.join(name)).expect("a file");
    let expired = operator_made(&stand, "expired", |params| {
        params.not_before = time::OffsetDateTime::now_utc() - time::Duration::days(3);
        params.not_after = time::OffsetDateTime::now_utc() - time::Duration::days(1);
    });
    let aimless = operator_made(&stand, "aimless", |params| params.extended_key_usages.clear());
    let good = operator_made(&stand, "good", |_| ());
    let (others, other) = (stand.path("others"), stand.path("other"));
    certs::generate::generate(&others, &certs::generate::Request::default(), jiff::Timestamp::now()).expect("certs");
    place(
        &certs,
        &other,
        &read(&others, "operator.pem"),
        &read(&others, "operator.key.pem"),
    );
    let server = stand.path("server");
    place(
        &certs,
        &server,
        &read(&certs, "server.pem"),
        &read(&certs, "server.key.pem"),
    );

    for (directory, reason, advice) in [
        (&expired, "certificate_expired", "expired"),
        (&other, "other_authority", "another authority"),
        (&server, "not_operator", "not one for operators"),
        (&aimless, "not_operator", "not one for operators"),
    ] {
        let name = format!("gateway_admin_connections_refused_total{{reason=\"{reason}\"}}");
        let before = stand.metric(&name);
        let refused = stand.operate_with(directory, &["drain"]);
        assert!(
            !refused.is_good && refused.text.contains(advice),
            "{reason}: {refused:?}"
        );
        wait("it is counted", || stand.metric(&name) == before + 1);
    }
    let nobody = Operator::connect(stand.admin, &certs, true).await;
    assert_eq!(nobody.exchange(&[0]).await, None);
    wait("it is counted", || {
        stand.metric("gateway_admin_connections_refused_total{reason=\"no_certificate\"}") == 1
    });
    // Nothing was done for any of them, and each is in the audit log with address and reason.
    assert_eq!(stand.metric("gateway_admin_connections_total"), 0);
    let turned_away = || {
        audit_log(&stand)
            .iter()
            .filter(|line| line["what"] == "connect")
            .count()
    };
    wait("the last is in the audit log too", || turned_away() == 5);
    let reasons: Vec<_> = audit_log(&stand)
        .into_iter()
        .filter(|line| line["what"] == "connect")
        .map(|line| {
            assert!(
                line["address"]
                    .as_str()
                    .is_some_and(|address| address.starts_with("127.0.0.1:")),
                "{line}"
            );
            line["result"].as_str().expect("a reason").to_owned()
        })
        .collect();
    assert_eq!(
        reasons,
        [
            "certificate_expired",
            "other_authority",
            "not_operator",
            "not_operator",
            "no_certificate"
        ]
    );
    let log = std::fs::read_to_string(stand.path("gateway.log")).expect("a log");
    assert!(log.contains("certificate_expired") && log.contains("other_authority"));
    for directory in [&good, &certs] {
        let status = stand.operate_with(directory, &["status"]);
        assert!(status.is_good && status.text.contains("show 1000"), "{status:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_is_no_request_is_refused_by_name() {
    let stand = Stand::new(&show(1_000), "");
    let operator = Operator::connect(stand.admin, &stand.path("certs"), false).await;
    let mut empty = bytes::BytesMut::new();
    frame::encode_stream(&admin::Request { kind: None }, &mut empty);
    let oversized = vec![0; REQUEST_BYTES_MAX + 9];
    for (bytes, refusal) in [
        (&[][..], Refusal::Malformed),
        (&[5, 1], Refusal::Malformed),
        (&empty, Refusal::Unknown),
        (&oversized, Refusal::Oversized),
    ] {
        let Some(reply::Result::Refused(refused)) = operator.exchange(bytes).await else {
            panic!("{refusal:?} wanted");
        };
        assert_eq!(Refusal::from_wire(refused.refusal), Some(refusal));
        let name = format!("gateway_admin_refused_total{{refusal=\"{}\"}}", refusal.name());
        assert!(stand.metric(&name) > 0);
    }
}

async fn sees(phone: &Phone) -> (u64, u32, u32) {
    let reply = phone.shake(1).await.expect("a shake");
    (reply.config_version, reply.pace_ms, reply.resource_id)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn versions_only_grow_and_a_dry_run_changes_nothing() {
    let stand = Stand::new(&show(1_000), "");
    let phone = stand.user(1).await;
    assert_eq!(sees(&phone).await, (1, 1_000, 1_000));
    let file = write(&stand, "next.toml", &show(1_001));

    let before = (
        status(&stand)["version"].clone(),
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
        status(&stand)["version"].clone(),
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
    let other = write(&stand, "other.toml", &show(1_002));
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
    let wrong = write(
        &stand,
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
    let foreign = write(
        &stand,
        "foreign.toml",
        &show(1_004).replace("[event]", "[event]\nid = 9"),
    );
    let refused = stand.operate(&["push", "show", &foreign]);
    assert!(!refused.is_good && refused.text.contains("other_event"), "{refused:?}");
    let refused = stand.operate(&["cue", "sooner", "--in", "5s"]);
    assert!(
        !refused.is_good && refused.text.contains("the show has later"),
        "{refused:?}"
    );
    assert_eq!(sees(&phone).await, (version, 1_001, 1_001));

    let results: Vec<_> = audit_log(&stand).iter().map(|line| line["result"].clone()).collect();
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
    let done = &audit_log(&stand)[1];
    assert_eq!(
        (&done["operator"], &done["version"]),
        (&"shake operator".into(), &version.into())
    );
    assert_eq!(done["sha256"], status(&stand)["show_sha256"]);
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
        &write(&stand, "calm.toml", &calm_throttle()),
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
    let file = write(&stand, "tonight.toml", &tonight("3600"));
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
        status(&stand)["current_phase"]["name"] == "second"
    });
    let file = write(&stand, "mended.toml", &tonight("3601"));
    let pushed = stand.operate(&["push", "show", &file]);
    assert!(
        pushed.is_good && pushed.text.contains("because phase \"first\" has begun"),
        "{pushed:?}"
    );
    assert_eq!(
        (started(&stand), &status(&stand)["current_phase"]["name"]),
        (at, &"second".into())
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn operators_get_in_whatever_strangers_and_their_own_commands_leave_behind() {
    let stand = Stand::new(&show(1_000), "");
    let certs = stand.path("certs");
    for _ in 0..25 {
        let status = stand.operate(&["status"]);
        assert!(status.is_good, "{status:?}");
    }
    wait("each has been heard to end", || {
        stand.metric("gateway_admin_operators") == 0
    });
    // Handshakes that never go on: first packets, with a key that nobody has, whose address is proved by the Retry.
    let mut strangers = Vec::new();
    for _ in 0..40 {
        strangers.push(support::operator::Stalled::begin(stand.admin).await);
    }
    let status = stand.operate(&["status"]);
    assert!(status.is_good, "{status:?}");
    // Certificates that are none hold no place either, and operators are counted for themselves.
    let mut nobodies = Vec::new();
    for _ in 0..20 {
        nobodies.push(Operator::connect(stand.admin, &certs, true).await);
    }
    let mut operators = Vec::new();
    for _ in 0..17 {
        operators.push(Operator::connect(stand.admin, &certs, false).await);
    }
    wait("all are there", || stand.metric("gateway_admin_operators") == 17);
    let status = stand.operate(&["status"]);
    assert!(
        status.is_good,
        "the last of the two places for this machine: {status:?}"
    );
    operators.push(Operator::connect(stand.admin, &certs, false).await);
    wait("the last is there", || stand.metric("gateway_admin_operators") == 18);
    let refused = stand.operate(&["status"]);
    assert!(
        !refused.is_good && refused.text.contains("as many operators as it may"),
        "{refused:?}"
    );
    assert!(stand.metric("gateway_admin_connections_refused_total{reason=\"full\"}") > 0);
}

/// A wrong file of a megabyte keeps the control thread from nothing: metrics, heart beat, other operators.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_file_stops_nothing_and_its_problems_fit_an_answer() {
    let stand = Stand::new(&show(1_000), "");
    let lines: String = (0..6_000).map(|n| format!("wrong_{n} = {n}\n")).collect();
    let wrong = write(&stand, "wrong.toml", &lines);
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

/// The phase runs exactly from the cue's moment on, by the gateway's own clock as it tells it itself.
async fn starts_at_the_cue(stand: &Stand, at_ms: u64) {
    let mut seen = (false, false);
    let deadline = Instant::now() + support::PATIENCE;
    // A session may say Hello now and then only, so each look is another phone's.
    for user in 1_000_000.. {
        if seen == (true, true) {
            return;
        }
        assert!(Instant::now() < deadline, "the phase did not start: {seen:?}");
        let phone = stand.phone().await;
        let reply = phone.hello(stand.token(user)).await.expect("a good Hello");
        let is_on = reply.current_phase.is_some_and(|phase| phase.name == "cued");
        assert_eq!(
            is_on,
            reply.server_time_ms >= at_ms,
            "at {} of {at_ms}",
            reply.server_time_ms
        );
        seen = (seen.0 || !is_on, seen.1 || is_on);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_cue_starts_on_time_though_the_control_plane_is_dead() {
    let stand = Stand::new(CUED, "");
    let cue = stand.operate(&["cue", "go", "--in", "3s"]);
    assert!(cue.is_good && cue.text.contains("- cues.go = (waits)"), "{cue:?}");
    let at_ms = status(&stand)["cues"]["go"].as_u64().expect("set");
    // The operator is gone; now the thread of the control plane stops for good.
    let frozen = stand.freeze_control_thread();
    wait("the control plane is dead", || !stand.metrics_answer());
    starts_at_the_cue(&stand, at_ms).await;
    drop(frozen);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_cue_starts_on_time_though_the_gateway_was_killed() {
    let mut stand = Stand::new(CUED, "");
    let at_ms = now_ms() + 4_000;
    let at = jiff::Timestamp::from_millisecond(at_ms as i64)
        .expect("a time")
        .to_string();
    assert!(stand.operate(&["cue", "go", "--at", &at]).is_good);
    stand.stop_gateway(Signal::SIGKILL);
    stand.start_gateway();
    starts_at_the_cue(&stand, at_ms).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn phones_that_take_notices_are_told_of_a_new_phase() {
    let stand = Stand::new(CUED, "");
    let phone = stand.phone().await;
    let hello = v1::Hello {
        token: stand.token(1),
        capabilities: capability::NOTICES,
        ..Default::default()
    };
    phone.hello_with(hello).await.expect("a good Hello");
    assert!(stand.operate(&["cue", "go", "--in", "1s", "--version", "2"]).is_good);
    let mut told = Vec::new();
    for _ in 0..2 {
        let read = async {
            let mut stream = phone.connection.accept_uni().await.expect("an open connection");
            stream.read_to_end(REPLY_BYTES_MAX).await.expect("a whole notice")
        };
        let bytes = tokio::time::timeout(support::PATIENCE, read).await.expect("in time");
        let notice = frame::decode_stream::<v1::Notice>(bytes.into(), REPLY_BYTES_MAX).expect("a Notice");
        let Some(v1::notice::Kind::PhaseChanged(changed)) = notice.kind else {
            panic!("{notice:?}");
        };
        assert_eq!(changed.config_version, 2);
        told.push((
            changed.current_phase.map(|phase| phase.name),
            changed.next_phase.map(|phase| phase.name),
        ));
    }
    let cued = || Some("cued".to_owned());
    assert_eq!(told, [(None, cued()), (cued(), None)]);
}
