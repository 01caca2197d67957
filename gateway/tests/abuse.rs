//! Abuse from end to end: over real QUIC somebody misbehaves, the agent's analysis blocks them by rule, every shard refuses
//! them by name, and an honest user beside them is served all along. Blocks are kept in a file, and an operator lifts them.

mod support;

use nix::sys::signal::Signal;
use prost::Message as _;
use shake_agent::abuse::{KeptFile, request_lift};
use shake_proto::handoff::abuse::Subject;
use shake_proto::wire::v1;
use shake_rules::UserId;
use std::time::Duration;
use support::{BAD, GENEROUS_SHOW, HONEST, Stand, assert_served, forge, is_blocked, wait};

/// Not a test of its own: the agent process of the others.
#[test]
fn agent_process() {
    support::be_the_agent_if_asked();
}

/// A gateway and an agent with these lines in `[abuse]`.
fn stand(abuse: &str) -> Stand {
    let mut stand = Stand::new(GENEROUS_SHOW, "");
    stand.make_seed(50_000, 500);
    stand.start_agent_with(abuse);
    wait("the agent is there", || {
        stand.metric("gateway_degraded{mode=\"agent_away\"}") == 0
    });
    stand.ledger();
    stand
}

/// Waits until every shard has taken so many blocks by this rule.
fn wait_for_blocks(stand: &Stand, rule: &str, blocks: u64) {
    let shards = 2;
    wait("every shard has the block", || {
        stand.metric(&format!("gateway_blocks_total{{rule=\"{rule}\"}}")) >= blocks * shards
    });
}

fn wait_for_the_end(stand: &Stand) {
    wait("no block holds any more", || stand.metric("gateway_blocks_max") == 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_is_blocked_and_the_lifted_block_lets_it_in_again() {
    let stand = stand("block_s = 600\n");
    let (bad, honest) = (stand.user(BAD).await, stand.user(HONEST).await);
    let rule = "gateway_blocks_total{rule=\"flood\"}";
    for sequence in 0..200_000_u32 {
        let shake = v1::Shake { sequence }.encode_to_vec();
        bad.connection.send_datagram(shake.into()).expect("an open connection");
        if sequence % 500 == 0 {
            honest.shake_by_datagram(sequence).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
            if stand.metric(rule) >= 2 {
                break;
            }
        }
    }
    wait_for_blocks(&stand, "flood", 1);
    assert!(is_blocked(&bad.shake(1).await.expect("an answer")));
    assert_served(&honest).await;
    let path = stand.path("blocks.json");
    wait("the file has it", || {
        !KeptFile::read(&path).expect("a file").blocks.is_empty()
    });
    let kept = KeptFile::read(&path).expect("a file");
    let [block] = &kept.blocks[..] else {
        panic!("{kept:?}");
    };
    assert_eq!(
        (block.kind.as_str(), block.name.as_str(), block.rule.as_str()),
        ("user", "666", "flood")
    );
    assert_eq!(kept.made["flood"], 1);
    request_lift(&path, Some(Subject::User(UserId(BAD)))).expect("asked");
    wait_for_the_end(&stand);
    let deadline = std::time::Instant::now() + support::PATIENCE;
    while bad.shake(2).await.expect("an answer").slow_down.is_some() {
        assert!(std::time::Instant::now() < deadline, "the flood's own limit ends");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn blocks_outlive_the_gateway_and_the_agent() {
    let mut stand = stand("block_s = 600\n");
    forge(&stand.user(BAD).await).await;
    wait_for_blocks(&stand, "forgery", 1);
    // A new gateway has forgotten, and is told.
    stand.stop_gateway(Signal::SIGKILL);
    stand.start_gateway();
    wait_for_blocks(&stand, "forgery", 1);
    assert!(is_blocked(&stand.user(BAD).await.shake(1).await.expect("an answer")));
    // A new agent as well, and a mapping that is made anew.
    assert_eq!(stand.stop_agent(), Some(0));
    assert_eq!(stand.stop_gateway(Signal::SIGTERM), Some(0));
    std::fs::remove_file(stand.path("queue")).expect("the mapping");
    stand.start_gateway();
    assert_eq!(stand.metric("gateway_blocks_max"), 0);
    stand.start_agent_with("block_s = 600\n");
    wait_for_blocks(&stand, "forgery", 1);
    assert!(is_blocked(&stand.user(BAD).await.shake(1).await.expect("an answer")));
    assert_served(&stand.user(HONEST).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_blocks_nobody_and_says_whom_it_would() {
    let stand = stand("dry_run = true\n");
    let bad = stand.user(BAD).await;
    forge(&bad).await;
    let path = stand.path("blocks.json");
    wait("it is counted", || {
        let kept = KeptFile::read(&path).expect("a file");
        kept.dry_run.get("forgery") == Some(&1) && kept.blocks.is_empty()
    });
    assert_served(&bad).await;
    assert_eq!(stand.metric("gateway_blocks_total{rule=\"forgery\"}"), 0);
}
