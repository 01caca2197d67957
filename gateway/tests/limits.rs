//! How much one user may win, whatever becomes of the limit cookie: dropped, replayed, altered, of another user, of
//! another event, made with an old key, or the same user on several connections at once.

mod support;

use bytes::Bytes;
use nix::sys::signal::Signal;
use shake_proto::code::Code;
use shake_proto::wire::v1;
use shake_rules::cookie::CookieKeys;
use shake_rules::keys::Purpose;
use shake_rules::seed::PacketKind;
use shake_rules::winnings::{Winnings, Won};
use shake_rules::{EventId, PacketId, SponsorId, UserId};
use support::{Phone, Stand};
use v1::claim_reply::Result as Claimed;

/// Two packets per user, one per sponsor; every shake wins while both allow it.
const SHOW: &str = r#"
[limits]
packets_per_user = 2
packets_per_sponsor = 1
[[sponsors]]
id = 1
[[sponsors]]
id = 2
[[sponsors]]
id = 3
[[phases]]
start_s = 0
end_s = 3600
releases_per_second = 1e6
weights = { red_packet = 1 }
"#;

/// Not a test of its own: the agent process of the others.
#[test]
fn agent_process() {
    support::be_the_agent_if_asked();
}

fn stand() -> Stand {
    let mut stand = Stand::new(SHOW, "");
    stand.make_seed_of(60_000, 600, 3, PacketKind::Plain);
    stand.start_agent();
    stand
}

/// Shakes until the limits allow nothing more; gives what was won.
async fn win_all(phone: &Phone) -> Vec<v1::RedPacket> {
    let mut won = vec![phone.win().await];
    for sequence in 0..60 {
        won.extend(phone.shake(sequence).await.expect("a shake").red_packet);
    }
    won
}

async fn hello(stand: &Stand, user: u64, cookie: Bytes) -> (Phone, v1::HelloReply) {
    let phone = stand.phone().await;
    let reply = phone
        .hello_with(v1::Hello {
            token: stand.token(user),
            cookie,
            ..Default::default()
        })
        .await;
    (phone, reply.expect("a good Hello"))
}

/// A NAT that gives the phone another port has its next shakes come from there: packets of sixty bytes, which move the session.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_phone_behind_a_rebinding_nat_goes_on() {
    let stand = stand();
    let phone = stand.user(1).await;
    for sequence in 1..=6 {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
        phone.endpoint.rebind(socket).expect("another port");
        assert_eq!(phone.shake_by_datagram(sequence).await.sequence, sequence);
        assert_eq!(phone.shake(sequence).await.expect("an answer").sequence, sequence);
    }
    assert_eq!(stand.metric("gateway_moves_refused_total"), 0);
    // Each time under an ID that it had not used before: it has two at a time.
    assert!(phone.connection.stats().frame_tx.retire_connection_id >= 5);
}

async fn wins_nothing(phone: &Phone) -> bool {
    for sequence in 0..40 {
        if phone.shake(sequence).await.expect("a shake").red_packet.is_some() {
            return false;
        }
    }
    true
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_dropped_or_replayed_cookie_gains_nothing() {
    let mut stand = stand();
    let phone = stand.user(1).await;
    let won = win_all(&phone).await;
    assert_eq!(won.len(), 2);
    assert_ne!(won[0].sponsor_id, won[1].sponsor_id, "one per sponsor");
    // Dropped, and replayed from before the second win: the gateway remembers.
    for cookie in [Bytes::new(), won[0].cookie.clone()] {
        let (phone, reply) = hello(&stand, 1, cookie).await;
        assert!(!reply.cookie.is_empty(), "the reply carries all that is known");
        assert!(wins_nothing(&phone).await);
    }
    // A gateway that has forgotten everything goes by the cookie.
    stand.stop_gateway(Signal::SIGTERM);
    stand.start_gateway();
    let (phone, _) = hello(&stand, 1, won[1].cookie.clone()).await;
    assert!(wins_nothing(&phone).await);
    assert!(stand.metric("gateway_wins_missed_total{reason=\"user_limit\"}") > 0);
    assert_eq!(stand.metric("gateway_cookies_refused_total"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn who_drops_the_cookie_where_nobody_remembers_is_stopped_by_the_ledger() {
    let mut stand = stand();
    let phone = stand.user(1).await;
    for packet in win_all(&phone).await {
        assert!(matches!(
            phone.claim_patiently(&packet.ticket).await,
            Claimed::Opened(_)
        ));
    }
    stand.stop_gateway(Signal::SIGTERM);
    stand.start_gateway();
    let (phone, _) = hello(&stand, 1, Bytes::new()).await;
    let packet = phone.win().await;
    let refused = v1::Refused {
        reason: v1::Reason::LimitReached as i32,
    };
    assert_eq!(phone.claim_patiently(&packet.ticket).await, Claimed::Refused(refused));
    stand.stop_gateway(Signal::SIGTERM);
    stand.stop_agent();
    assert_eq!(stand.audit().total.opened.packets, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn cookies_that_are_not_the_users_are_not_taken_into_account() {
    let stand = stand();
    let keys = CookieKeys::new(&stand.key_ring(Purpose::Cookie));
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
    for (user, cookie, is_refused, can_win) in cases {
        let before = stand.metric("gateway_cookies_refused_total");
        let (phone, _) = hello(&stand, user, cookie.into()).await;
        assert_eq!(
            stand.metric("gateway_cookies_refused_total") - before,
            u64::from(is_refused),
            "user {user}"
        );
        if can_win {
            phone.win().await;
        } else {
            assert!(wins_nothing(&phone).await, "user {user}");
        }
    }
    let phone = stand.phone().await;
    let long = v1::Hello {
        token: stand.token(14),
        cookie: vec![0; 500].into(),
        ..Default::default()
    };
    assert_eq!(phone.hello_with(long).await.err(), Some(Some(Code::Malformed)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_cookie_made_with_an_older_key_still_counts() {
    let mut stand = stand();
    let won = win_all(&stand.user(1).await).await;
    stand.stop_gateway(Signal::SIGTERM);
    let path = stand.path("certs").join(Purpose::Cookie.file_name());
    let mut text = std::fs::read_to_string(&path).expect("the cookie key file");
    text.push_str(&format!("\n[[key]]\nid = 2\nsecret = \"{}\"\n", "5a".repeat(32)));
    std::fs::write(&path, text).expect("a newer key");
    stand.start_gateway();
    let (phone, reply) = hello(&stand, 1, won[1].cookie.clone()).await;
    assert_eq!(reply.cookie[1], 2, "the fresh cookie is made with the newer key");
    assert!(wins_nothing(&phone).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn one_user_on_many_connections_at_once_wins_no_more() {
    let stand = stand();
    stand.user(2).await.win().await;
    let mut won = 0;
    // As many at once as one user may have, twice.
    for _ in 0..2 {
        let mut phones = tokio::task::JoinSet::new();
        for _ in 0..4 {
            let phone = stand.user(1).await;
            phones.spawn(async move {
                let mut won = 0;
                for sequence in 0..30 {
                    won += usize::from(phone.shake(sequence).await.expect("a shake").red_packet.is_some());
                }
                won
            });
        }
        won += phones.join_all().await.into_iter().sum::<usize>();
    }
    assert_eq!(won, 2);
}
