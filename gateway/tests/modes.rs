//! The degraded modes of a real gateway: each is entered and left by itself, and is seen in the metrics, in `/ready` and in
//! an operator's `status`.

mod support;

use shake_proto::wire::v1::claim_reply::Result as Claimed;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;
use std::time::UNIX_EPOCH;
use support::{GENEROUS_SHOW, Stand, wait};
use tempfile::NamedTempFile;

/// No grade but 0, so that nothing is switched off meanwhile; and a clock that counts as jumped for two seconds.
const CALM: &str = "[modes]\nclock_jumped_hold_s = 2\n[[grades]]\n[[grades]]\nenter = {}\nleave = {}\n[[grades]]\nenter = {}\n\
                    leave = {}\n[[grades]]\nenter = {}\nleave = {}\n[[grades]]\nenter = {}\nleave = {}\n";

/// Not a test of its own: the agent process of the others.
#[test]
fn agent_process() {
    support::be_the_agent_if_asked();
}

/// A gateway, and its throttle's file.
fn stand(show: &str) -> (Stand, NamedTempFile) {
    let mut throttle = NamedTempFile::new().expect("a temporary file");
    throttle.write_all(CALM.as_bytes()).expect("written");
    let stand = Stand::new(show, &format!("[throttle]\nfile = {:?}\n", throttle.path()));
    (stand, throttle)
}

/// Waits until a mode holds, or holds no more, and finds the same wherever it is shown.
fn wait_for(stand: &Stand, mode: &str, holds: bool) {
    let gauge = format!("gateway_degraded{{mode=\"{mode}\"}}");
    wait(&format!("{mode} is {holds}"), || {
        stand.metric(&gauge) == u64::from(holds)
            && stand
                .http("/ready")
                .is_some_and(|answer| answer.status == 200 && answer.text.contains(mode) == holds)
    });
    let status = stand.operate(&["status", "--json"]);
    let modes = status.json()[0]["modes"].to_string();
    assert_eq!(modes.contains(mode), holds, "{modes}");
}

#[tokio::test(flavor = "multi_thread")]
async fn agent_away() {
    let (mut stand, _throttle) = stand(GENEROUS_SHOW);
    stand.make_seed(6_000, 60);
    wait_for(&stand, "agent_away", true);
    let books = |stand: &Stand| {
        let status = stand.operate(&["status", "--json"]).json()[0].clone();
        (status["part"].clone(), status["ledger"].clone())
    };
    assert_eq!(books(&stand), (serde_json::Value::Null, serde_json::Value::Null));
    stand.start_agent();
    wait_for(&stand, "agent_away", false);
    // Operators see which machine it is, and which packets are given out here.
    let seen = stand.operate(&["status", "--json"]).json()[0].clone();
    assert_eq!(seen["machine"], host::machine::name());
    let text = stand.operate(&["status"]).text;
    assert!(
        text.contains(&format!("{} (host {})", stand.admin, host::machine::name())),
        "{text}"
    );
    let ledger = stand.ledger().to_string();
    wait("the gateway has seen whose they are", || {
        books(&stand) == (1.into(), ledger.as_str().into())
    });
    stand.kill_agent();
    wait_for(&stand, "agent_away", true);
}

#[tokio::test(flavor = "multi_thread")]
async fn ledger_read_only() {
    let (mut stand, _throttle) = stand(GENEROUS_SHOW);
    stand.make_seed(100_000, 1_000);
    stand.start_agent_with_room(600_000);
    wait_for(&stand, "agent_away", false);
    let mode = "gateway_degraded{mode=\"ledger_read_only\"}";
    let mut unopened = None;
    for user in 1..500 {
        let phone = stand.user(user).await;
        let won = phone.win().await;
        if !matches!(phone.claim(won.ticket.clone()).await, Claimed::Opened(_)) {
            unopened = Some((phone, won));
            break;
        }
        assert_eq!(stand.metric(mode), 0);
    }
    let (phone, won) = unopened.expect("the disk is full some time");
    wait_for(&stand, "ledger_read_only", true);
    stand.make_room();
    wait_for(&stand, "ledger_read_only", false);
    assert!(matches!(phone.claim_patiently(&won.ticket).await, Claimed::Opened(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn config_stale() {
    let over_soon = GENEROUS_SHOW.replace("end_s = 3600", "end_s = 1");
    let (stand, _throttle) = stand(&over_soon);
    wait_for(&stand, "config_stale", true);
    let show = stand.path("new-show.toml");
    std::fs::write(&show, GENEROUS_SHOW).expect("written");
    let pushed = stand.operate(&["push", "show", show.to_str().expect("a plain path")]);
    assert!(pushed.is_good, "{pushed:?}");
    wait_for(&stand, "config_stale", false);
}

#[tokio::test(flavor = "multi_thread")]
async fn settlement_down() {
    let (mut stand, _throttle) = stand(GENEROUS_SHOW);
    stand.make_seed(6_000, 60);
    // A target that never answered is waited for; of one that did, the agent's state directory vouches.
    stand.start_agent();
    wait_for(&stand, "agent_away", false);
    let phone = stand.user(1).await;
    let first = phone.win().await;
    assert!(matches!(phone.claim_patiently(&first.ticket).await, Claimed::Opened(_)));
    stand.stop_agent();
    // Nothing can be appended to a directory.
    std::fs::rename(stand.path("settlement.log"), stand.path("away.log")).expect("moved");
    std::fs::create_dir(stand.path("settlement.log")).expect("made");
    stand.start_agent();
    wait_for(&stand, "agent_away", false);
    let won = phone.win().await;
    assert!(
        matches!(phone.claim_patiently(&won.ticket).await, Claimed::Opened(_)),
        "nothing waits for it"
    );
    wait_for(&stand, "settlement_down", true);
    std::fs::remove_dir(stand.path("settlement.log")).expect("removed");
    std::fs::rename(stand.path("away.log"), stand.path("settlement.log")).expect("moved back");
    wait_for(&stand, "settlement_down", false);
}

#[tokio::test(flavor = "multi_thread")]
async fn clock_jumped() {
    let (mut stand, _throttle) = stand(GENEROUS_SHOW);
    stand.stop_gateway(nix::sys::signal::Signal::SIGTERM);
    let (library, offset) = (stand.path("clock.so"), stand.path("clock"));
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/clock.c");
    let mut compiler = Command::new("cc");
    compiler
        .args(["-O1", "-shared", "-fPIC", "-o"])
        .arg(&library)
        .arg(source);
    assert!(
        compiler
            .status()
            .expect("a C compiler, which the ledger needs too")
            .success()
    );
    std::fs::write(&offset, 0_i64.to_ne_bytes()).expect("written");
    stand.start_gateway_in(&[], &[("LD_PRELOAD", &library), ("TEST_CLOCK", &offset)]);
    // A jump is a change from one look at the clock to the next; this mode shows that the first look was taken.
    wait_for(&stand, "agent_away", true);
    wait_for(&stand, "clock_jumped", false);
    // Written in place: the gateway has the file mapped.
    let file = std::fs::File::options().write(true).open(&offset).expect("there");
    let set = |off_ms: i64| file.write_all_at(&off_ms.to_ne_bytes(), 0).expect("written");
    // A clock that is wrong in one way after the other, and keeps to none of them, is not followed.
    let phone = stand.phone().await;
    for off_ms in [-5_000, -65_000, 300_000] {
        set(off_ms);
        wait_for(&stand, "clock_jumped", true);
        let before_ms = wall_ms();
        let hello = phone.hello(stand.token(1)).await.expect("a good token");
        let shown = hello.server_time_ms;
        assert!(
            (before_ms.saturating_sub(250)..=wall_ms() + 250).contains(&shown),
            "{shown} for {before_ms}"
        );
    }
    set(0);
    wait_for(&stand, "clock_jumped", false);
}

fn wall_ms() -> u64 {
    let since = UNIX_EPOCH.elapsed().expect("after 1970");
    since.as_millis() as u64
}

#[tokio::test(flavor = "multi_thread")]
async fn show_differs() {
    let (mut stand, _throttle) = stand(GENEROUS_SHOW);
    stand.make_seed(6_000, 60);
    stand.start_agent_apart("nowhere");
    wait_for(&stand, "show_differs", true);
    // The directory is mended; nobody restarts anything.
    std::os::unix::fs::symlink(stand.path("state"), stand.path("nowhere")).expect("made");
    wait_for(&stand, "show_differs", false);
    // A gateway that starts anew is followed again.
    stand.stop_gateway(nix::sys::signal::Signal::SIGKILL);
    stand.start_gateway();
    wait_for(&stand, "agent_away", false);
    wait_for(&stand, "show_differs", false);
}

#[tokio::test(flavor = "multi_thread")]
async fn feed_stopped() {
    let (mut stand, _throttle) = stand(GENEROUS_SHOW);
    stand.make_seed(100_000, 1_000);
    stand.start_agent();
    wait_for(&stand, "agent_away", false);
    stand.user(1).await.win().await;
    assert_eq!(stand.stop_agent(), Some(0));
    // A little behind what the shards have in hand.
    let good = std::fs::read(stand.path("seed.bin")).expect("a seed");
    let mut bad = good.clone();
    let at = shake_rules::seed::HEADER_BYTES + 145 * shake_rules::seed::RECORD_BYTES;
    bad[at] ^= 1;
    std::fs::write(stand.path("seed.bin"), bad).expect("written");
    stand.start_agent();
    wait_for(&stand, "agent_away", false);
    for user in 2..7 {
        let phone = stand.user(user).await;
        for _ in 0..8 {
            phone.win().await;
        }
    }
    wait_for(&stand, "feed_stopped", true);
    std::fs::write(stand.path("seed.bin"), good).expect("written");
    wait_for(&stand, "feed_stopped", false);
}
