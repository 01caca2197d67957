//! Abuse from end to end: over real QUIC somebody misbehaves, the agent's analysis blocks them by rule, every shard refuses
//! them by name, an honest user beside them is served all along, and the block ends. What was won before is paid.

mod support;

use bytes::Bytes;
use nix::sys::signal::Signal;
use prost::Message as _;
use shake_agent::abuse::{KeptFile, request_lift};
use shake_proto::code::Code;
use shake_proto::handoff::abuse::Subject;
use shake_proto::wire::v1;
use shake_rules::code::CodeKeys;
use shake_rules::keys::{Key, KeyRing, Purpose};
use shake_rules::token::{TokenKeys, UserToken};
use shake_rules::{LedgerId, PacketId, UnixMillis, UserId};
use std::net::Ipv4Addr;
use std::time::Duration;
use support::{GENEROUS_SHOW, Phone, Stand, wait};
use v1::claim_reply::Result as Claimed;
use v1::request::Kind;

/// Not a test of its own: the agent process of the others.
#[test]
fn agent_process() {
    support::be_the_agent_if_asked();
}

const BAD: u64 = 666;
const HONEST: u64 = 1;

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

async fn forge(phone: &Phone, times: usize) {
    for _ in 0..times {
        phone.claim(Bytes::from_static(&[7; 62])).await;
    }
}

/// What phones bring along from a rehearsal with the same keys, and of keys that are retired.
async fn show_what_is_of_other_ledgers(stand: &Stand, phone: &Phone, times: usize) {
    let ring = stand.key_ring(Purpose::Ticket);
    let retired = KeyRing::of(Key::new(200, [1; 32]));
    let (rehearsal, ours) = (LedgerId([1; 16]), stand.ledger());
    for number in 0..times {
        for (ring, ledger) in [(&ring, rehearsal), (&retired, ours)] {
            let ticket = support::ticket(ring, &ledger, UserId(HONEST), PacketId(5));
            let claimed = phone.claim(ticket).await;
            assert_eq!(
                claimed,
                Claimed::Refused(v1::Refused {
                    reason: v1::Reason::TicketOtherEvent as i32
                }),
                "claim {number}"
            );
            let code = CodeKeys::new(ring).code(&ledger, PacketId(1 << 63 | 1));
            let code = Bytes::copy_from_slice(&code);
            let refused = v1::Refused {
                reason: v1::Reason::PacketUnknown as i32,
            };
            let grabbed = phone.request(Kind::Grab(v1::Grab { code: code.clone() })).await;
            let result = v1::grab_reply::Result::Refused(refused);
            assert_eq!(
                grabbed,
                Ok(v1::reply::Kind::Grab(v1::GrabReply { result: Some(result) }))
            );
            let viewed = phone.request(Kind::PacketView(v1::PacketView { code })).await;
            let result = v1::packet_view_reply::Result::Refused(refused);
            assert_eq!(
                viewed,
                Ok(v1::reply::Kind::PacketView(v1::PacketViewReply {
                    result: Some(result)
                }))
            );
        }
    }
}

async fn wallet(phone: &Phone) -> v1::wallet_reply::Result {
    match phone.request(Kind::Wallet(v1::Wallet {})).await {
        Ok(v1::reply::Kind::Wallet(reply)) => reply.result.expect("a result"),
        other => panic!("a wallet was answered by {other:?}"),
    }
}

fn is_blocked(reply: &v1::ShakeReply) -> bool {
    reply
        .slow_down
        .is_some_and(|slow_down| slow_down.blocked && slow_down.retry_after_ms > 0)
}

async fn assert_served(phone: &Phone) {
    let reply = phone.shake(3).await.expect("an answer");
    assert!(reply.slow_down.is_none(), "{reply:?}");
    let shown = wallet(phone).await;
    assert!(matches!(shown, v1::wallet_reply::Result::State(_)), "{shown:?}");
}

/// Thirty tickets and sixty codes of other ledgers and keys: each is refused by name, and nobody is blocked for them. Nor is
/// the network of phones whose tokens are of a key that was retired.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_of_another_ledger_or_key_is_held_against_nobody() {
    let mut stand = stand("");
    let honest = stand.user(HONEST).await;
    honest.win().await;
    show_what_is_of_other_ledgers(&stand, &honest, 15).await;
    let retired = KeyRing::of(Key::new(200, [1; 32]));
    for user in 10..40 {
        let token = TokenKeys::new(&retired).mint(UserToken {
            user: UserId(user),
            expires_at: UnixMillis(u64::MAX),
        });
        let refused = stand.phone().await.hello(Bytes::copy_from_slice(&token)).await;
        assert_eq!(refused.expect_err("of a retired key"), Some(Code::TokenExpired));
    }
    // Whoever forges is blocked all the same; until then nobody was.
    let bad = stand.user(BAD).await;
    assert_eq!(stand.metric("gateway_blocks_max"), 0);
    forge(&bad, 25).await;
    wait_for_blocks(&stand, "forgery", 1);
    assert_eq!(stand.metric("gateway_blocks_max"), 1);
    assert_served(&honest).await;
    assert_eq!(stand.stop_gateway(Signal::SIGTERM), Some(0));
    assert_eq!(stand.stop_agent(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forger_is_refused_by_name_and_paid_what_was_won_and_then_served_again() {
    let mut stand = stand("block_s = 4\nblock_s_max = 4\n");
    let (bad, honest) = (stand.user(BAD).await, stand.user(HONEST).await);
    let won = bad.win().await;
    forge(&bad, 25).await;
    wait_for_blocks(&stand, "forgery", 1);
    // By name, on a stream and by datagram, and at its next Hello.
    let reply = bad.shake(1).await.expect("an answer");
    assert!(is_blocked(&reply), "{reply:?}");
    let v1::wallet_reply::Result::Busy(busy) = wallet(&bad).await else {
        panic!("a blocked user's wallet was shown");
    };
    assert!(busy.blocked && busy.retry_after_ms <= 4_000, "{busy:?}");
    let again = stand.phone().await;
    let hello = again.hello(stand.token(BAD)).await.expect("a good token");
    assert!(hello.blocked.is_some_and(|blocked| blocked.retry_after_ms > 0));
    assert!(is_blocked(&again.shake_by_datagram(5).await));
    // The ticket from before is paid: its time runs.
    assert!(matches!(bad.claim_patiently(&won.ticket).await, Claimed::Opened(_)));
    assert_served(&honest).await;
    let hello = stand.phone().await.hello(stand.token(HONEST)).await.expect("good");
    assert_eq!(hello.blocked, None);

    wait_for_the_end(&stand);
    assert_served(&bad).await;
    assert_eq!(
        stand.metric("gateway_blocks_total{rule=\"forgery\"}"),
        2,
        "one, on two shards"
    );
    assert!(stand.metric("gateway_asks_busy_total{reason=\"blocked\"}") >= 1);
    assert!(stand.metric("gateway_shakes_refused_total{reason=\"blocked\"}") >= 2);
    assert_eq!(stand.metric("gateway_hellos_blocked_total"), 1);
    assert_eq!(stand.stop_gateway(Signal::SIGTERM), Some(0));
    assert_eq!(stand.stop_agent(), Some(0));
    stand.audit();
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
async fn who_connects_over_and_over_is_blocked() {
    let stand = stand("churn = 30\n");
    let honest = stand.user(HONEST).await;
    for _ in 0..31 {
        stand.user(BAD).await.connection.close(0_u32.into(), b"");
    }
    wait_for_blocks(&stand, "churn", 1);
    assert!(is_blocked(&stand.user(BAD).await.shake(1).await.expect("an answer")));
    assert_served(&honest).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prefix_of_forged_tokens_is_shut_out_for_a_while_and_its_neighbours_are_not() {
    let stand = stand("block_s = 3\nblock_s_max = 3\nstrangers = 40\n");
    let strange = Ipv4Addr::new(127, 0, 7, 1);
    let honest = stand.user(HONEST).await;
    let phone = stand.phone_at(strange).await.expect("not blocked yet");
    for _ in 0..45 {
        let refused = phone.hello(Bytes::from_static(&[1; 36])).await;
        assert_eq!(refused.expect_err("forged"), Some(Code::TokenForged));
    }
    wait_for_blocks(&stand, "strangers", 1);
    let error = stand.phone_at(Ipv4Addr::new(127, 0, 7, 200)).await.err();
    let Some(quinn::ConnectionError::ConnectionClosed(close)) = error else {
        panic!("{error:?}");
    };
    // CONNECTION_REFUSED (RFC 9000, section 20.1).
    assert_eq!(u64::from(close.error_code), 2);
    assert!(stand.metric("gateway_connections_refused_total{reason=\"blocked\"}") >= 1);
    assert_served(&honest).await;
    assert_served(&stand.user(2).await).await;
    wait_for_the_end(&stand);
    let back = stand.phone_at(strange).await.expect("the block is over");
    back.hello(stand.token(9)).await.expect("a good token");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_that_sends_nonsense_is_one_stranger_however_much_it_sends() {
    let stand = stand("strangers = 20\n");
    let strange = Ipv4Addr::new(127, 0, 7, 1);
    let babble = async || {
        let phone = stand.phone_at(strange).await.expect("not blocked");
        for _ in 0..30 {
            phone
                .connection
                .send_datagram(Bytes::from_static(&[0xff; 12]))
                .expect("datagrams are on");
        }
        for _ in 0..3 {
            let (mut send, mut receive) = phone.connection.open_bi().await.expect("three at once");
            send.write_all(&[0x05, 0xff, 0xff, 0xff, 0xff, 0xff])
                .await
                .expect("open");
            send.finish().expect("open");
            receive.read_to_end(64).await.expect_err("nothing to answer");
        }
        phone
    };
    let phones = [babble().await, babble().await];
    wait("the nonsense is read", || {
        stand.metric("gateway_datagrams_dropped_total{reason=\"malformed\"}") >= 60
    });
    for phone in &phones {
        phone.connection.close(0_u32.into(), b"");
    }
    // Two strangers are told of within a second, and are too few; with eighteen more they are enough.
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    assert_eq!(stand.metric("gateway_blocks_total{rule=\"strangers\"}"), 0);
    for _ in 0..20 {
        babble().await;
    }
    wait_for_blocks(&stand, "strangers", 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_with_many_users_is_blocked_and_its_number_is_needed() {
    let stand = stand("farm = 4\n");
    let hello = |user: u64, device: u64| {
        let token = stand.token(user);
        let stand = &stand;
        async move {
            let phone = stand.phone().await;
            let hello = v1::Hello {
                token,
                device,
                ..Default::default()
            };
            phone.hello_with(hello).await.expect("a good Hello");
            phone
        }
    };
    for user in 10..14 {
        hello(user, 0xbad).await;
        hello(user + 10, user).await;
    }
    wait_for_blocks(&stand, "farm", 1);
    let on_device = hello(15, 0xbad).await;
    assert!(is_blocked(&on_device.shake(1).await.expect("an answer")));
    // The same users elsewhere are served.
    assert_served(&hello(10, 0x900d).await).await;
    assert_served(&hello(11, 0).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn blocks_outlive_the_gateway_and_the_agent() {
    let mut stand = stand("block_s = 600\n");
    forge(&stand.user(BAD).await, 25).await;
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
    forge(&bad, 25).await;
    let path = stand.path("blocks.json");
    wait("it is counted", || {
        let kept = KeptFile::read(&path).expect("a file");
        kept.dry_run.get("forgery") == Some(&1) && kept.blocks.is_empty()
    });
    assert_served(&bad).await;
    assert_eq!(stand.metric("gateway_blocks_total{rule=\"forgery\"}"), 0);
}
