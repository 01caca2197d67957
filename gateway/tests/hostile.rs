//! Attacks of `client-sim hostile` at a small scale against a real gateway and agent: the gateway gives nothing away, its
//! sessions and memory stay bounded, an honest phone is served all along, and the money balances. The same at a larger
//! scale, with every attack and figures: `cargo xtask bench hostile`.

mod support;

use client_sim::hostile::{Attack, Findings, Options, attack};
use nix::sys::signal::Signal;
use std::path::PathBuf;
use support::{GENEROUS_SHOW, Stand};

const SECONDS: u32 = 2;
/// What the gateway may grow by while attackers of this scale are there: 50 connections at 64 KiB, the handshakes under
/// way, and what an allocator keeps.
const GROWTH_BYTES_MAX: u64 = 24 << 20;
/// Of [`GENEROUS_SHOW`].
const PACKETS_PER_USER: u32 = 8;

/// Not a test of its own: the agent process of the others.
#[test]
fn agent_process() {
    support::be_the_agent_if_asked();
}

fn options(stand: &Stand, attack: Attack, rate: u32) -> Options {
    Options {
        attack,
        target: stand.address.to_string(),
        certs: stand.path("certs"),
        server_name: "localhost".into(),
        seconds: SECONDS,
        rate,
        size: 10,
        packets_per_user: PACKETS_PER_USER,
        json: false,
    }
}

fn resident_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(PathBuf::from(format!("/proc/{pid}/status"))).expect("a living gateway");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.expect("its resident memory") * 1024
}

/// Runs the attack with an honest phone beside it, then looks at everything.
fn check(kind: Attack, rate: u32) -> Findings {
    check_and_count(kind, rate, |_| ()).0
}

/// The same; gives also some counts of the gateway's.
fn check_and_count<T>(kind: Attack, rate: u32, count: impl FnOnce(&Stand) -> T) -> (Findings, T) {
    let mut stand = Stand::new(GENEROUS_SHOW, "[sessions]\nhandshakes_max = 200\nhello_timeout_s = 1\n");
    stand.make_seed(50_000, 500);
    stand.start_agent();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build();
    let runtime = runtime.expect("a runtime");
    let honest = runtime.block_on(stand.user(1));
    let before = resident_bytes(stand.gateway_id());
    let options = options(&stand, kind, rate);
    let attacking = std::thread::spawn(move || attack(&options).expect("the attack begins"));
    let mut answered = 0;
    while !attacking.is_finished() {
        answered += 1;
        // It panics when no answer comes in time, tried again like a phone does.
        let reply = runtime.block_on(honest.shake_by_datagram(answered));
        assert!(reply.sequence <= answered);
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let findings = attacking.join().expect("the attack ends");
    assert!(findings.breaches.is_empty(), "{:?}", findings.breaches);
    assert!(findings.sent > 0, "{findings:?}");
    let growth = resident_bytes(stand.gateway_id()).saturating_sub(before);
    assert!(growth < GROWTH_BYTES_MAX, "the gateway grew by {growth} bytes");
    assert!(answered > 10, "the honest phone shook {answered} times");
    drop(honest);
    let counted = count(&stand);
    assert_eq!(stand.stop_gateway(Signal::SIGTERM), Some(0));
    assert_eq!(stand.stop_agent(), Some(0));
    stand.audit();
    (findings, counted)
}

#[test]
fn forged_tokens_are_never_accepted() {
    let findings = check(Attack::ForgedTokens, 300);
    assert!(
        findings.answers["token_forged"] > 0 && findings.answers["token_expired"] > 0,
        "{findings:?}"
    );
}

#[test]
fn forgetting_what_was_won_gains_nothing() {
    let findings = check(Attack::Cookies, 50);
    assert!(findings.answers["outcome_red_packet"] > 0, "{findings:?}");
}

#[test]
fn first_packets_from_many_addresses_are_bounded() {
    let findings = check(Attack::InitialFlood, 500);
    assert!(
        findings.answers["retry"] > 0,
        "half of the bound was passed: {findings:?}"
    );
}

#[test]
fn early_data_is_not_taken_and_replays_give_nothing() {
    let findings = check(Attack::EarlyData, 500);
    assert!(findings.answers["no ticket, full handshake"] > 0, "{findings:?}");
}

#[test]
fn connection_ids_without_end_close_the_connection() {
    check(Attack::CidStuffing, 500);
}

#[test]
fn streams_opened_and_reset_are_bounded() {
    let findings = check(Attack::StreamStuffing, 500);
    assert!(
        findings.answers["streams opened and reset"] > 200,
        "requests given up give their credit back: {findings:?}"
    );
}

#[test]
fn path_challenges_amplify_nothing() {
    let (findings, withheld) = check_and_count(Attack::PathChallenges, 900, |stand| {
        stand.metric("gateway_packets_withheld_total")
    });
    let bytes = |what: &str| findings.answers.get(what).copied().unwrap_or(0);
    assert!(
        bytes("bytes sent from addresses probed") > 0 && withheld > 0,
        "{findings:?}"
    );
    assert_eq!(
        bytes("bytes received at addresses probed"),
        0,
        "a third of an answer came from none"
    );
    assert!(
        bytes("bytes received at addresses probed as it should be") > 0,
        "an honest probe is answered: {findings:?}"
    );
}

/// Packets of sessions that were opened and held no message.
fn malformed(stand: &Stand) -> u64 {
    stand.metric("gateway_datagrams_dropped_total{reason=\"malformed\"}")
}

fn shed(stand: &Stand, reason: &str) -> u64 {
    stand.metric(&format!("gateway_packets_shed_total{{reason=\"{reason}\"}}"))
        + stand.metric("gateway_packets_filtered_total")
}

#[test]
fn garbage_before_hello_closes_the_session() {
    let (findings, [malformed, shed, closed]) = check_and_count(Attack::GarbageBeforeHello, 4_000, |stand| {
        [
            malformed(stand),
            shed(stand, "before_hello"),
            stand.metric("gateway_streams_refused_total{code=\"abuse\"}"),
        ]
    });
    assert!(closed > 0 && shed > 0, "{closed} closed, {shed} shed: {findings:?}");
    // Handshakes take some of the 64, and half of the rest is no message.
    assert!(
        malformed <= findings.connections * 32,
        "{malformed} were opened of {findings:?}"
    );
}

#[test]
fn garbage_after_a_block_is_opened_now_and_then_only() {
    let (findings, [malformed, shed, blocked]) = check_and_count(Attack::GarbageAfterBlock, 8_000, |stand| {
        [
            malformed(stand),
            shed(stand, "blocked") + shed(stand, "over_budget"),
            stand.metric("gateway_blocks_total{rule=\"malformed\"}"),
        ]
    });
    assert!(blocked > 0 && shed > 0, "{findings:?}");
    // Half is no message; the budget of each session, and what its seconds brought before it was blocked.
    assert!(malformed < 10 * 250, "{malformed} were opened of {findings:?}");
}

#[test]
fn hello_is_said_four_times_and_no_more() {
    let (findings, [hellos, blocked]) = check_and_count(Attack::HelloFlood, 500, |stand| {
        [
            stand.metric("gateway_hellos_total"),
            stand.metric("gateway_events_total"),
        ]
    });
    assert!(findings.answers["too_many"] > 0, "{findings:?}");
    // Ten sessions, four each, one in five seconds; and the honest phone's.
    assert!(hellos <= 10 * 5 + 1, "{hellos} were served");
    assert!(blocked > 0, "it is told that they said Hello");
}

#[test]
fn resets_have_a_limit_of_the_shard() {
    let (findings, [made, limited]) = check_and_count(Attack::ResetFlood, 20_000, |stand| {
        [
            stand.metric("gateway_resets_total"),
            stand.metric("gateway_resets_limited_total"),
        ]
    });
    assert!(made > 0 && limited > 0, "{findings:?}");
    assert!(findings.answers["resets"] <= made, "{findings:?}");
}

/// Packets in a network's name take nothing from it: its phones connect beside them and after them.
#[test]
fn first_packets_in_a_networks_name_do_not_use_up_its_quota() {
    use std::io::Write as _;
    let grade = "[[grades]]\nprefix = { per_second = 1, burst = 40 }\nconnections = { per_second = 1, burst = 40 }\n";
    let mut throttle = tempfile::NamedTempFile::new().expect("a temporary file");
    let higher = "[[grades]]\nenter = {}\nleave = {}\n".repeat(4);
    write!(throttle, "{grade}{higher}").expect("written");
    let file = throttle.path();
    let stand = Stand::new(
        GENEROUS_SHOW,
        &format!("[throttle]\nfile = {file:?}\n[sessions]\nhandshakes_max = 2000\n"),
    );
    let findings = attack(&options(&stand, Attack::NetworkName, 400)).expect("the attack begins");
    assert!(findings.sent > 100 && findings.breaches.is_empty(), "{findings:?}");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        for user in 1..=5 {
            stand.user(user).await;
        }
    });
    assert_eq!(
        stand.metric("gateway_connections_refused_total{reason=\"prefix_rate\"}"),
        0
    );
    assert_eq!(
        stand.metric("gateway_connections_refused_total{reason=\"grade_rate\"}"),
        0
    );
    // Those who do connect are charged: forty at once, on two shards.
    let refused = runtime.block_on(async {
        for _ in 0..45 {
            if let Err(quinn::ConnectionError::ConnectionClosed(close)) = stand.phone_at([127, 0, 0, 1].into()).await {
                return Some(u64::from(close.error_code));
            }
        }
        None
    });
    assert_eq!(refused, Some(2), "CONNECTION_REFUSED (RFC 9000, section 20.1)");
}
