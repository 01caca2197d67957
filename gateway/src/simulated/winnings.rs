//! How much one user may win, whatever becomes of the limit cookie: dropped, replayed, altered, of another user, of another
//! event, made with an old key; or the same user on several connections at once.

use super::common::{TWO_EACH_SHOW, win_all};
use super::house::House;
use super::phone::{Phone, shaken};
use super::town::Town;
use bytes::Bytes;
use shake_proto::code::Code;
use shake_proto::wire::v1::{self, request::Kind};
use shake_rules::cookie::CookieKeys;
use shake_rules::keys::Purpose;
use shake_rules::winnings::{Winnings, Won};
use shake_rules::{EventId, PacketId, SponsorId, UserId};

fn house() -> House {
    House::new(TWO_EACH_SHOW, "").with_agent(600)
}

async fn wins_nothing(phone: &Phone) -> bool {
    for sequence in 0..40 {
        if phone.shake(sequence).await.red_packet.is_some() {
            return false;
        }
    }
    true
}

fn hello_of(town: &Town, user: u64, cookie: Bytes) -> v1::Hello {
    v1::Hello {
        token: town.token(user),
        cookie,
        ..Default::default()
    }
}

async fn hello(town: &Town, user: u64, cookie: Bytes) -> (Phone, v1::HelloReply) {
    let phone = town.phone().await;
    let reply = phone.hello_with(hello_of(town, user, cookie)).await;
    (phone, reply.expect("a good Hello"))
}

#[test]
fn a_dropped_or_replayed_cookie_gains_nothing() {
    let house = house();
    let won = house.play(|town| async move {
        let won = win_all(&town.user(1).await).await;
        assert_eq!(won.len(), 2);
        assert_ne!(won[0].sponsor_id, won[1].sponsor_id, "one per sponsor");
        // Dropped, and replayed from before the second win: the gateway remembers.
        for cookie in [Bytes::new(), won[0].cookie.clone()] {
            let (phone, reply) = hello(&town, 1, cookie).await;
            assert!(!reply.cookie.is_empty(), "the reply carries all that is known");
            assert!(wins_nothing(&phone).await);
        }
        won
    });
    // A gateway that has forgotten everything goes by the cookie.
    house.play(|town| async move {
        let (phone, _) = hello(&town, 1, won[1].cookie.clone()).await;
        assert!(wins_nothing(&phone).await);
        assert!(town.metric("gateway_wins_missed_total{reason=\"user_limit\"}") > 0);
        assert_eq!(town.metric("gateway_cookies_refused_total"), 0);
    });
}

#[test]
fn cookies_that_are_not_the_users_are_not_taken_into_account() {
    house().play(|town| async move {
        let keys = CookieKeys::new(&town.keys(Purpose::Cookie));
        let full = |event, user, nonce| {
            let mut winnings = Winnings::default();
            for packet in [1, 2] {
                winnings.add(Won {
                    packet: PacketId(packet),
                    sponsor: SponsorId(packet as u16),
                });
            }
            let mut sealed = Vec::new();
            keys.seal(EventId(event), UserId(user), &winnings, [nonce; 12], &mut sealed);
            sealed
        };
        let mut altered = full(1, 10, 1);
        altered[20] ^= 1;
        // A user, the cookie shown, whether it counts as a refusal, whether the user can win after it.
        let cases = [
            (10, altered, true, true),
            (11, full(1, 99, 2), true, true),
            (12, full(2, 12, 3), false, true),
            (13, full(1, 13, 4), false, false),
        ];
        let refused = || town.metric("gateway_cookies_refused_total");
        for (user, cookie, is_refused, can_win) in cases {
            let before = refused();
            let (phone, _) = hello(&town, user, cookie.into()).await;
            assert_eq!(refused() - before, u64::from(is_refused), "user {user}");
            if can_win {
                phone.win().await;
            } else {
                assert!(wins_nothing(&phone).await, "user {user}");
            }
        }
        let long = hello_of(&town, 14, vec![0; 500].into());
        let answer = town.phone().await.hello_with(long).await;
        assert_eq!(answer.err(), Some(Code::Malformed));
    });
}

#[test]
fn a_cookie_made_with_an_older_key_still_counts() {
    let house = house();
    let won = house.play(|town| async move { win_all(&town.user(1).await).await });
    let path = house.certs(Purpose::Cookie.file_name());
    let mut text = std::fs::read_to_string(&path).expect("the cookie key file");
    text.push_str(&format!("\n[[key]]\nid = 2\nsecret = \"{}\"\n", "5a".repeat(32)));
    std::fs::write(&path, text).expect("a newer key");
    house.play(|town| async move {
        let (phone, reply) = hello(&town, 1, won[1].cookie.clone()).await;
        assert_eq!(reply.cookie[1], 2, "the fresh cookie is made with the newer key");
        assert!(wins_nothing(&phone).await);
    });
}

#[test]
fn one_user_on_many_connections_at_once_wins_no_more() {
    house().play(|town| async move {
        town.user(2).await.win().await;
        let mut won = 0;
        // As many at once as one user may have, twice.
        for _ in 0..2 {
            let mut phones = Vec::new();
            for _ in 0..4 {
                phones.push(town.user(1).await);
            }
            for sequence in 0..30 {
                let shake = Kind::Shake(v1::Shake { sequence });
                let asked: Vec<_> = phones.iter().map(|phone| phone.ask(shake.clone())).collect();
                for (phone, number) in phones.iter().zip(asked) {
                    won += usize::from(shaken(phone.answer(number).await).red_packet.is_some());
                }
            }
            phones.iter().for_each(Phone::close);
        }
        assert_eq!(won, 2);
    });
}
