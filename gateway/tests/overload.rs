//! The grades of a real process: what they switch off by name, while claims go on; and what is no overload.

mod support;

use bytes::{Bytes, BytesMut};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use prost::Message as _;
use shake_proto::wire::v1;
use std::io::Write as _;
use std::time::{Duration, Instant};
use support::{GENEROUS_SHOW, Stand, wait};
use v1::claim_reply::Result as Claimed;
use v1::{reply, request};

/// Grade 4 as soon as the process did anything at all.
const ALWAYS_4: &str = "enter = { process_cpu = 1e-9 }\nleave = { process_cpu = 1e-9 }\n";

/// Not a test of its own: the agent process of the others.
#[test]
fn agent_process() {
    support::be_the_agent_if_asked();
}

/// A gateway with this throttle.
fn stand(throttle: &str) -> Stand {
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.write_all(throttle.as_bytes()).expect("written");
    Stand::new(GENEROUS_SHOW, &format!("[throttle]\nfile = {:?}\n", file.path()))
}

/// Five grades, all with these rules and entered at once.
fn always_4(rules: &str) -> String {
    let higher = format!("[[grades]]\n{ALWAYS_4}{rules}").repeat(4);
    format!("[[grades]]\n{rules}{higher}")
}

/// The default throttle, whose grades are entered by what waits alone: the CPU may be anybody's.
fn graded_by_waits() -> String {
    let throttle = include_str!("../../deploy/throttle.toml");
    let [enter, leave] = [
        "process_cpu = 0.92, cgroup_cpu = 0.97, ",
        "process_cpu = 0.7, cgroup_cpu = 0.8, ",
    ];
    assert!(
        throttle.contains(enter) && throttle.contains(leave),
        "the default throttle"
    );
    throttle.replace(enter, "").replace(leave, "")
}

/// What a phone was asked for of its acknowledgements, and how many packets it sends for ten shakes, a tenth of a second apart.
async fn asked_and_sent(pace_ms: u32) -> (u64, u64) {
    let stand = Stand::new(
        &GENEROUS_SHOW.replace("end_s = ", &format!("pace_ms = {pace_ms}\nend_s = ")),
        "",
    );
    let phone = stand.user(1).await;
    let before = phone.connection.stats().udp_tx.datagrams;
    for sequence in 0..10 {
        phone.shake_by_datagram(sequence).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let stats = phone.connection.stats();
    (stats.frame_rx.ack_frequency, stats.udp_tx.datagrams - before)
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_next_shake_comes_soon_it_brings_the_acknowledgement_along() {
    let (asked, sent) = asked_and_sent(1_250).await;
    assert!(asked == 1 && sent < 15, "asked {asked} times, {sent} packets");
    let (asked, sent) = asked_and_sent(1_251).await;
    assert!(asked == 0 && sent >= 15, "asked {asked} times, {sent} packets");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grade_switches_services_off_by_name_and_claims_go_on() {
    let mut stand = stand(&always_4(
        "off = [\"wallet\", \"send\"]\nretry_ms = [1234, 1234]\nuser_requests = { per_second = 0.001, burst = 1 }\n",
    ));
    stand.make_seed(6_000, 60);
    stand.start_agent();
    let phone = stand.user(1).await;
    wait("grade 4", || stand.metric("gateway_grade") == 4);
    let wallet = phone.request(request::Kind::Wallet(v1::Wallet {})).await;
    let busy = v1::wallet_reply::Result::Busy(v1::Busy {
        retry_after_ms: 1234,
        blocked: false,
    });
    assert_eq!(wallet, Ok(reply::Kind::Wallet(v1::WalletReply { result: Some(busy) })));
    assert_eq!(stand.metric("gateway_asks_busy_total{reason=\"switched_off\"}"), 1);
    // One request is all that the user's limit allows; claims of fresh wins are not counted.
    for _ in 0..3 {
        let won = phone.win().await;
        assert!(matches!(phone.claim_patiently(&won.ticket).await, Claimed::Opened(_)));
    }
    let forged = Bytes::from_static(&[7; 62]);
    assert!(
        matches!(phone.claim(forged).await, Claimed::Refused(_)),
        "checked before the ledger"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn waits_and_latencies_are_histograms() {
    let stand = Stand::new(GENEROUS_SHOW, "");
    let phone = stand.user(1).await;
    for sequence in 0..5 {
        phone.shake_by_datagram(sequence).await;
    }
    wait("every shake is in the histogram", || {
        stand.metric("gateway_shake_latency_seconds_count") == 5
    });
    assert!(stand.metric("gateway_queue_wait_seconds_count") >= 5);
    assert_eq!(stand.metric("gateway_grade"), 0);
}

/// A process that stood still finds packets that have waited long, and works them off at once: a backlog, but no overload.
/// A grade entered for it would refuse shakes for seconds.
#[tokio::test(flavor = "multi_thread")]
async fn a_pause_is_no_overload() {
    let stand = stand(&graded_by_waits());
    let phone = stand.user(1).await;
    let gateway = Pid::from_raw(stand.gateway_id().cast_signed());
    kill(gateway, Signal::SIGSTOP).expect("the gateway runs");
    for sequence in 0..20 {
        let mut bytes = BytesMut::new();
        v1::Shake { sequence }.encode(&mut bytes).expect("room");
        phone.connection.send_datagram(bytes.freeze()).expect("sent");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    kill(gateway, Signal::SIGCONT).expect("the gateway stands still");
    for _ in 0..20 {
        let answer = tokio::time::timeout(Duration::from_secs(10), phone.connection.read_datagram()).await;
        let bytes = answer.expect("an answer").expect("the connection lives");
        let reply = v1::ShakeReply::decode(bytes).expect("a reply");
        assert_eq!(reply.slow_down, None);
    }
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(1) {
        assert_eq!(stand.metric("gateway_grade"), 0);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
