//! Cues on time: the phases start by the shards themselves, whatever has become of who gave the cue.

mod support;

use nix::sys::signal::Signal;
use shake_proto::frame::{self, REPLY_BYTES_MAX};
use shake_proto::request::capability;
use shake_proto::wire::v1;
use std::time::{Duration, Instant};
use support::{Stand, now_ms, wait};

/// Nothing until the cue.
const CUED: &str =
    "[cues]\ngo = \"\"\n[[phases]]\nname = \"cued\"\ncue = \"go\"\nend_s = 60\nweights = { greeting = 1 }\n";

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
    let at_ms = stand.status()["cues"]["go"].as_u64().expect("set");
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
