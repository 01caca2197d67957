//! How long a session may stay: until its token ends or its key is retired, until its user has too many, until a newcomer
//! needs its place, until Hello is overdue.

use super::common::GENEROUS_SHOW;
use super::house::House;
use super::phone::Phone;
use super::town::Town;
use bytes::Bytes;
use certs::rotate::Step;
use shake_proto::code::Code;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// How many of these phones the gateway has closed. All of them with this code.
fn closed(phones: &[Phone], code: Code) -> usize {
    let codes: Vec<_> = phones.iter().filter_map(Phone::closed_with).collect();
    assert!(codes.iter().all(|closed| *closed == code), "{codes:?}");
    codes.len()
}

fn ended(town: &Town, reason: &str) -> u64 {
    town.metric(&format!("gateway_sessions_ended_total{{reason=\"{reason}\"}}"))
}

#[test]
fn a_connection_without_hello_is_closed_by_name() {
    let house = House::new(GENEROUS_SHOW, "[sessions]\nhello_timeout_s = 7\n");
    house.play(|town| async move {
        let (phone, user) = (town.phone().await, town.user(1).await);
        let begun = town.now();
        let (code, at) = phone.closed().await;
        assert_eq!(code, Code::HelloTimeout);
        assert!(
            (6 * SECOND..8 * SECOND).contains(&(at - begun)),
            "{at:?} after {begun:?}"
        );
        assert_eq!(town.metric("gateway_streams_refused_total{code=\"hello_timeout\"}"), 1);
        assert!(user.is_served().await);
    });
}

#[test]
fn sessions_end_with_their_tokens() {
    let house = House::new(GENEROUS_SHOW, "").with_lasting_phones();
    house.play(|town| async move {
        let soon = town.unix().plus_ms(5_000);
        let mut phones = Vec::new();
        for user in 1..=12 {
            phones.push(town.user_by(town.token_until(user, soon)).await);
        }
        // One shows a newer token in time, and an older one afterwards; another never had one that ends.
        let renewed = phones.pop().expect("twelve");
        let later = town.unix().plus_ms(3_600_000);
        renewed.hello(town.token_until(12, later)).await.expect("a good Hello");
        renewed.hello(town.token_until(12, soon)).await.expect("still good");
        let other = town.user(13).await;
        assert!(town.unix() < soon);
        for phone in &phones {
            assert!(phone.is_served().await, "before the end");
        }
        town.until_within(100 * SECOND, "they end", || {
            closed(&phones, Code::TokenExpired) == phones.len()
        })
        .await;
        assert_eq!(ended(&town, "token_over"), 11);
        assert!(renewed.is_served().await && other.is_served().await);
    });
}

#[test]
fn sessions_end_when_the_key_of_their_token_is_retired() {
    let house = House::new(GENEROUS_SHOW, "").with_lasting_phones();
    house.play(|town| async move {
        let mut phones = Vec::new();
        for user in 1..=40 {
            phones.push(town.user(user).await);
        }
        town.rotate_tokens(Step::Add);
        town.rotate_tokens(Step::Activate);
        // In time, with a token of the new key.
        let renewed = town.user(41).await;
        town.sleep(120 * SECOND).await;
        assert_eq!(closed(&phones, Code::TokenExpired), 0);
        town.rotate_tokens(Step::Retire { kept: 0 });
        // They go over ten minutes: of forty the first few soon, and all of them by then.
        town.until_within(180 * SECOND, "some end", || closed(&phones, Code::TokenExpired) >= 2)
            .await;
        assert!(ended(&town, "key_retired") >= 2);
        assert!(closed(&phones, Code::TokenExpired) < 20);
        town.until_within(600 * SECOND, "all end", || {
            closed(&phones, Code::TokenExpired) == phones.len()
        })
        .await;
        assert_eq!(ended(&town, "key_retired"), 40);
        assert!(renewed.is_served().await);
    });
}

#[test]
fn the_fifth_session_of_a_user_takes_the_place_of_the_longest_silent() {
    let house = House::new(GENEROUS_SHOW, "");
    house.play(|town| async move {
        let mut phones = Vec::new();
        for _ in 0..4 {
            phones.push(town.user(1).await);
        }
        // Another Hello is no other session.
        for _ in 0..3 {
            phones[0].hello(town.token(1)).await.expect("a good Hello");
        }
        assert!(phones[2].is_served().await && phones[3].is_served().await);
        let other = town.user(2).await;
        let fifth = town.user(1).await;
        let silent = phones.remove(1);
        assert_eq!(silent.closed().await.0, Code::TooMany);
        for phone in phones.iter().chain([&other, &fifth]) {
            assert!(phone.is_served().await);
        }
        assert_eq!(ended(&town, "displaced"), 1);
        // However many come, there are four; a thief with the token can keep nobody out.
        let mut more = Vec::new();
        for _ in 0..20 {
            more.push(town.user(1).await);
        }
        town.until("four are left", || town.metric("gateway_sessions") == 5)
            .await;
        assert!(more[19].is_served().await && other.is_served().await);
    });
}

#[test]
fn a_full_gateway_makes_room_from_the_blocked_and_then_from_the_nameless() {
    let config = "[sessions]\nmax = 6\nhello_timeout_s = 3600\n";
    let house = House::new(GENEROUS_SHOW, config).with_analysis("");
    house.play(|town| async move {
        let (bad, honest) = (town.user(66).await, town.user(1).await);
        let mut nameless = Vec::new();
        for _ in 0..4 {
            nameless.push(town.phone().await);
        }
        for _ in 0..25 {
            bad.claim(Bytes::from_static(&[7; 62])).await;
        }
        town.until("it is blocked", || {
            town.metric("gateway_blocks_total{rule=\"forgery\"}") == 1
        })
        .await;
        assert_eq!(bad.closed_with(), None, "a block closes nobody");
        town.sleep(4 * SECOND).await;
        let first = town.user(100).await;
        assert_eq!(bad.closed().await.0, Code::TooMany);
        assert_eq!(closed(&nameless, Code::HelloTimeout), 0);
        let second = town.user(101).await;
        assert_eq!(nameless.remove(0).closed().await.0, Code::HelloTimeout);
        town.sleep(SECOND).await;
        assert_eq!(closed(&nameless, Code::HelloTimeout), 0, "one for each newcomer");
        assert_eq!((ended(&town, "blocked"), ended(&town, "nameless")), (1, 1));
        // Who said Hello stays.
        assert!(honest.is_served().await && first.is_served().await && second.is_served().await);
    });
}
