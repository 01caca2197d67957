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
use std::time::Duration;

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

/// Everybody but user 9 has won all that one may.
fn all_but_one(user: UserId) -> Winnings {
    let won = |packet: u16| Won {
        packet: PacketId(packet.into()),
        sponsor: SponsorId(packet),
    };
    if user == UserId(9) {
        Winnings::default()
    } else {
        [won(1), won(2)].into_iter().collect()
    }
}

/// Where many gateways have one ledger it is asked what a user won at others, once for each session.
#[test]
fn what_was_won_at_other_gateways_counts_without_a_cookie() {
    let house = house();
    house.play(|town| async move {
        let told = || town.agent().told_winnings;
        // Nobody else has this ledger.
        let alone = town.user(1).await;
        town.sleep(Duration::from_secs(1)).await;
        assert_eq!(told(), 0);
        alone.win().await;

        town.agent().elsewhere = Some(all_but_one);
        town.sleep(Duration::from_millis(100)).await;
        let (hopper, honest) = (town.user(2).await, town.user(9).await);
        town.until("both are asked about", || told() == 2).await;
        town.sleep(Duration::from_millis(100)).await;
        assert!(wins_nothing(&hopper).await);
        honest.win().await;
        // Once for each session, however often it says Hello.
        hopper.hello(town.token(2)).await.expect("a good Hello");
        town.sleep(Duration::from_secs(1)).await;
        assert_eq!(told(), 2);
        let again = town.user(2).await;
        town.until("the next session is asked about", || told() == 3).await;
        assert!(wins_nothing(&again).await);
    });
}

/// The store of a fleet is read no faster because everybody comes at once.
#[test]
fn a_storm_of_hellos_asks_at_a_steady_rate() {
    const USERS: usize = 200;
    house().play(|town| async move {
        town.agent().elsewhere = Some(all_but_one);
        town.sleep(Duration::from_millis(100)).await;
        let mut phones = Vec::new();
        for user in 0..USERS {
            phones.push(town.user(100 + user as u64).await);
        }
        let (begun, before) = (town.now(), town.agent().told_winnings);
        town.until("all are asked about", || town.agent().told_winnings == USERS)
            .await;
        let took = town.now() - begun;
        let asked = (USERS - before) as f64;
        assert!(took.as_secs_f64() >= asked / 51.0 - 0.1, "{asked} in {took:?}");
    });
}

/// Before the first phase nobody can have won anything.
#[test]
fn before_the_event_nothing_is_asked() {
    let show = TWO_EACH_SHOW.replace("start_s = 0", "start_s = 60");
    let house = House::new(&show, "").with_lasting_phones().with_agent(600);
    house.play(|town| async move {
        town.agent().elsewhere = Some(all_but_one);
        let _early = town.user(2).await;
        town.sleep(Duration::from_secs(61)).await;
        assert_eq!(town.agent().told_winnings, 0);
        let _late = town.user(2).await;
        town.until("asked", || town.agent().told_winnings == 1).await;
    });
}
