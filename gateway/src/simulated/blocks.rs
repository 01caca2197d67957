//! Blocks: the agent's analysis hears of what somebody did, and the shard refuses them by name until the block ends.

use super::common::{BAD, GENEROUS_SHOW, HONEST, assert_served, forge, is_blocked, wallet};
use super::house::{House, LEDGER};
use super::phone::{Phone, ticket};
use super::town::Town;
use bytes::Bytes;
use shake_proto::code::Code;
use shake_proto::wire::v1::{self, reply::Kind as Reply, request::Kind};
use shake_rules::code::CodeKeys;
use shake_rules::keys::{Key, KeyRing, Purpose};
use shake_rules::token::{TokenKeys, UserToken};
use shake_rules::{LedgerId, PacketId, UnixMillis, UserId};
use std::time::Duration;
use v1::claim_reply::Result as Claimed;
use v1::wallet_reply::Result as Wallet;

async fn wait_for_block(town: &Town, rule: &str) {
    let counted = format!("gateway_blocks_total{{rule=\"{rule}\"}}");
    town.until("the shard has the block", || town.metric(&counted) >= 1)
        .await;
}

async fn wait_for_the_end(town: &Town) {
    town.until("no block holds any more", || town.metric("gateway_blocks_max") == 0)
        .await;
}

#[test]
fn a_forger_is_refused_by_name_and_paid_what_was_won_and_then_served_again() {
    let house = House::new(GENEROUS_SHOW, "").with_analysis("block_s = 4\nblock_s_max = 4\n");
    house.play(|town| async move {
        let (bad, honest) = (town.user(BAD).await, town.user(HONEST).await);
        let won = bad.win().await;
        forge(&bad).await;
        wait_for_block(&town, "forgery").await;
        // By name, on a stream and by datagram, and at its next Hello.
        let reply = bad.shake(1).await;
        assert!(is_blocked(&reply), "{reply:?}");
        let Wallet::Busy(busy) = wallet(&bad).await else {
            panic!("a blocked user's wallet was shown");
        };
        assert!(busy.blocked && busy.retry_after_ms <= 4_000, "{busy:?}");
        let again = town.phone().await;
        let hello = again.hello(town.token(BAD)).await.expect("a good token");
        assert!(hello.blocked.is_some_and(|blocked| blocked.retry_after_ms > 0));
        assert!(is_blocked(&again.shake_by_datagram(5).await));
        // The ticket from before is paid: its time runs.
        assert!(matches!(bad.claim(won.ticket).await, Claimed::Opened(_)));
        assert_served(&honest).await;
        let hello = town.phone().await.hello(town.token(HONEST)).await.expect("good");
        assert_eq!(hello.blocked, None);

        wait_for_the_end(&town).await;
        assert_served(&bad).await;
        assert_eq!(town.metric("gateway_blocks_total{rule=\"forgery\"}"), 1);
        assert!(town.metric("gateway_asks_busy_total{reason=\"blocked\"}") >= 1);
        assert!(town.metric("gateway_shakes_refused_total{reason=\"blocked\"}") >= 2);
        assert_eq!(town.metric("gateway_hellos_blocked_total"), 1);
    });
}

/// What phones bring along from a rehearsal with the same keys, and of keys that are retired: each is refused by name.
async fn show_what_is_of_other_ledgers(town: &Town, phone: &Phone) {
    let ring = town.keys(Purpose::Ticket);
    let (retired, rehearsal) = (KeyRing::of(Key::new(200, [1; 32])), LedgerId([1; 16]));
    for (ring, ledger) in [(&ring, rehearsal), (&retired, LEDGER)] {
        let refused = |reason: v1::Reason| v1::Refused { reason: reason as i32 };
        let claimed = phone.claim(ticket(ring, &ledger, 1, HONEST)).await;
        assert_eq!(claimed, Claimed::Refused(refused(v1::Reason::TicketOtherEvent)));
        let code = Bytes::copy_from_slice(&CodeKeys::new(ring).code(&ledger, PacketId(1 << 63 | 1)));
        let unknown = refused(v1::Reason::PacketUnknown);
        let grabbed = phone.request(Kind::Grab(v1::Grab { code: code.clone() })).await;
        let result = Some(v1::grab_reply::Result::Refused(unknown));
        assert_eq!(grabbed, Ok(Reply::Grab(v1::GrabReply { result })));
        let viewed = phone.request(Kind::PacketView(v1::PacketView { code })).await;
        let result = Some(v1::packet_view_reply::Result::Refused(unknown));
        assert_eq!(viewed, Ok(Reply::PacketView(v1::PacketViewReply { result })));
    }
}

/// Thirty tickets and sixty codes of other ledgers and keys: nobody is blocked for them. Nor is the network of phones whose
/// tokens are of a key that was retired.
#[test]
fn what_is_of_another_ledger_or_key_is_held_against_nobody() {
    let house = House::new(GENEROUS_SHOW, "").with_analysis("");
    house.play(|town| async move {
        let honest = town.user(HONEST).await;
        honest.win().await;
        for _ in 0..15 {
            show_what_is_of_other_ledgers(&town, &honest).await;
        }
        let retired = TokenKeys::new(&KeyRing::of(Key::new(200, [1; 32])));
        for user in 10..40 {
            let token = retired.mint(UserToken {
                user: UserId(user),
                expires_at: UnixMillis(u64::MAX),
            });
            let refused = town.phone().await.hello(Bytes::copy_from_slice(&token)).await;
            assert_eq!(refused.expect_err("of a retired key"), Code::TokenExpired);
        }
        // Whoever forges is blocked all the same; until then nobody was.
        let bad = town.user(BAD).await;
        assert_eq!(town.metric("gateway_blocks_max"), 0);
        forge(&bad).await;
        wait_for_block(&town, "forgery").await;
        assert_eq!(town.metric("gateway_blocks_max"), 1);
        assert_served(&honest).await;
    });
}

#[test]
fn who_connects_over_and_over_is_blocked() {
    let house = House::new(GENEROUS_SHOW, "").with_analysis("churn = 30\n");
    house.play(|town| async move {
        let honest = town.user(HONEST).await;
        for _ in 0..31 {
            town.user(BAD).await.close();
        }
        wait_for_block(&town, "churn").await;
        assert!(is_blocked(&town.user(BAD).await.shake(1).await));
        assert_served(&honest).await;
    });
}

async fn user_on(town: &Town, user: u64, device: u64) -> Phone {
    let phone = town.phone().await;
    let hello = v1::Hello {
        token: town.token(user),
        device,
        ..Default::default()
    };
    phone.hello_with(hello).await.expect("a good Hello");
    phone
}

#[test]
fn a_device_with_many_users_is_blocked_and_its_number_is_needed() {
    let house = House::new(GENEROUS_SHOW, "").with_analysis("farm = 4\n");
    house.play(|town| async move {
        for user in 10..14 {
            user_on(&town, user, 0xbad).await;
            user_on(&town, user + 10, user).await;
        }
        wait_for_block(&town, "farm").await;
        let on_device = user_on(&town, 15, 0xbad).await;
        assert!(is_blocked(&on_device.shake(1).await));
        // The same users elsewhere are served.
        assert_served(&user_on(&town, 10, 0x900d).await).await;
        assert_served(&user_on(&town, 11, 0).await).await;
    });
}

#[test]
fn a_prefix_of_forged_tokens_is_shut_out_for_a_while_and_its_neighbours_are_not() {
    const STRANGE: usize = 1;
    let house = House::new(GENEROUS_SHOW, "").with_analysis("block_s = 3\nblock_s_max = 3\nstrangers = 40\n");
    house.play(|town| async move {
        let honest = town.user(HONEST).await;
        let phone = town.phone_of(STRANGE).await.expect("not blocked yet");
        for _ in 0..45 {
            let refused = phone.hello(Bytes::from_static(&[1; 36])).await;
            assert_eq!(refused.expect_err("forged"), Code::TokenForged);
        }
        wait_for_block(&town, "strangers").await;
        town.cannot_connect(STRANGE).await;
        assert!(town.metric("gateway_connections_refused_total{reason=\"blocked\"}") >= 1);
        assert_served(&honest).await;
        assert_served(&town.user(2).await).await;
        wait_for_the_end(&town).await;
        let back = town.phone_of(STRANGE).await.expect("the block is over");
        back.hello(town.token(9)).await.expect("a good token");
    });
}

/// A stranger who says what is no message, by datagrams and on streams, unless they are refused.
async fn babble(town: &Town) -> Option<Phone> {
    let phone = town.phone_of(1).await.ok()?;
    for _ in 0..30 {
        phone.send(&[0xff; 12]);
    }
    for _ in 0..3 {
        let refused = phone.exchange(&[0x05, 0xff, 0xff, 0xff, 0xff, 0xff]).await;
        assert_eq!(refused.expect_err("nothing to answer"), Code::Malformed);
    }
    Some(phone)
}

#[test]
fn a_stranger_that_sends_nonsense_is_one_stranger_however_much_it_sends() {
    let house = House::new(GENEROUS_SHOW, "").with_analysis("strangers = 20\n");
    house.play(|town| async move {
        let phones = [babble(&town).await, babble(&town).await];
        town.until("the nonsense is read", || {
            town.metric("gateway_datagrams_dropped_total{reason=\"malformed\"}") >= 60
        })
        .await;
        for phone in &phones {
            phone.as_ref().expect("not refused").close();
        }
        // Two strangers are told of within a second, and are too few; with eighteen more they are enough.
        town.sleep(Duration::from_millis(2_500)).await;
        assert!(town.metric("gateway_events_total") >= 1);
        assert_eq!(town.metric("gateway_blocks_total{rule=\"strangers\"}"), 0);
        let mut strangers = 2;
        while babble(&town).await.is_some() {
            strangers += 1;
            assert!(strangers < 30, "not refused");
        }
        assert!(strangers >= 20, "refused after {strangers}");
        assert_eq!(town.metric("gateway_blocks_total{rule=\"strangers\"}"), 1);
    });
}
