//! Cues on time: the phases start by the shards themselves, whatever has become of who gave the cue.

mod support;

use nix::sys::signal::Signal;
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
