//! What one user may hold, and for how long, over real QUIC: gifts by users and not by sessions, four sessions, sessions that end
//! with their tokens, wins only for who can be told.

mod support;

use bytes::Bytes;
use nix::sys::signal::Signal;
use quinn::{TransportConfig, VarInt};
use shake_proto::code::Code;
use shake_proto::frame::{self, REPLY_BYTES_MAX};
use shake_proto::request::capability;
use shake_proto::wire::v1;
use shake_rules::UnixMillis;
use shake_rules::keys::Purpose;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use support::{GENEROUS_SHOW, PATIENCE, Phone, Stand, wait};
use v1::claim_reply::Result as Claimed;
use v1::request::Kind;

/// Not a test of its own: the agent process of the others.
#[test]
fn agent_process() {
    support::be_the_agent_if_asked();
}

/// A moment so many seconds from now.
fn in_seconds(seconds: u64) -> UnixMillis {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock");
    UnixMillis(now.as_millis() as u64).plus_ms(seconds * 1_000)
}

/// A phone that has said Hello with this token, and stays however long it has nothing to say.
async fn lasting(stand: &Stand, token: Bytes) -> Phone {
    let mut transport = TransportConfig::default();
    transport.keep_alive_interval(Some(Duration::from_secs(5)));
    let phone = stand.phone_with(transport).await;
    phone.hello(token).await.expect("a good Hello");
    phone
}

/// A phone whose streams are read in pieces of so many bytes.
fn narrow(bytes: u32) -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport.stream_receive_window(VarInt::from_u32(bytes));
    transport
}

/// Waits until the gateway has closed so many of these phones, and holds that it said why.
fn wait_for_ends(phones: &[Phone], count: usize, code: Code, patience: Duration) {
    let deadline = Instant::now() + patience;
    loop {
        let codes: Vec<_> = phones.iter().filter_map(Phone::closed_with).collect();
        assert!(codes.iter().all(|closed| *closed == code), "{codes:?}");
        if codes.len() >= count {
            return;
        }
        assert!(Instant::now() < deadline, "{} of {count} closed in time", codes.len());
        std::thread::sleep(Duration::from_millis(20));
    }
}

async fn is_served(phone: &Phone) -> bool {
    matches!(phone.shake(9).await, Ok(reply) if reply.slow_down.is_none())
}

// ---- nothing is won that cannot be told --------------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread")]
async fn who_takes_short_datagrams_only_is_answered_and_wins_on_streams() {
    let mut stand = Stand::new(GENEROUS_SHOW, "");
    stand.make_seed(6_000, 60);
    stand.start_agent();
    // From here on packets are at hand.
    let usual = stand.user(1).await;
    usual.win().await;
    let mut transport = TransportConfig::default();
    transport.datagram_receive_buffer_size(Some(100)); // says max_datagram_frame_size = 100
    let short = stand.phone_with(transport).await;
    short.hello(stand.token(2)).await.expect("a good Hello");
    for sequence in 0..8 {
        let reply = short.shake_by_datagram(sequence).await;
        assert_eq!((reply.sequence, reply.red_packet), (sequence, None));
        assert_eq!(reply.outcome, v1::Outcome::Nothing as i32);
    }
    assert_eq!(stand.metric("gateway_wins_total"), 1, "the other phone's");
    assert!(stand.metric("gateway_wins_missed_total{reason=\"untold\"}") >= 8);
    let packet = short.win().await;
    assert!(matches!(
        short.claim_patiently(&packet.ticket).await,
        Claimed::Opened(_)
    ));
    assert!(usual.shake_by_datagram(1).await.red_packet.is_some());
    assert_eq!(stand.stop_gateway(Signal::SIGTERM), Some(0));
    assert_eq!(stand.stop_agent(), Some(0));
    stand.audit();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_without_credit_waits_for_it() {
    let mut stand = Stand::new(GENEROUS_SHOW, "");
    stand.make_seed(6_000, 60);
    stand.start_agent();
    let mut by_connection = TransportConfig::default();
    by_connection.receive_window(VarInt::from_u32(16));
    for (user, transport) in [(1, narrow(16)), (2, narrow(1)), (3, by_connection)] {
        let phone = stand.phone_with(transport).await;
        let hello = v1::Hello {
            token: stand.token(user),
            capabilities: capability::NOTICES,
            ..Default::default()
        };
        phone.hello_with(hello).await.expect("a good Hello");
        let packet = phone.win().await;
        let Claimed::Opened(opened) = phone.claim_patiently(&packet.ticket).await else {
            panic!("not opened");
        };
        // A notice as well: from the user to themselves.
        let send = v1::Send {
            idempotency_key: vec![1; 16].into(),
            total_cents: opened.cents,
            shares: 1,
            recipients: vec![user],
        };
        let notice = async {
            let mut stream = phone.connection.accept_uni().await.expect("an open connection");
            stream.read_to_end(REPLY_BYTES_MAX).await.expect("a whole notice")
        };
        // Side by side, for both need the connection's credit.
        let (reply, notice) = tokio::join!(phone.request(Kind::Send(send)), tokio::time::timeout(PATIENCE, notice));
        reply.expect("a reply");
        let notice = notice.expect("in time");
        let notice = frame::decode_stream::<v1::Notice>(notice.into(), REPLY_BYTES_MAX).expect("a notice");
        assert!(
            matches!(notice.kind, Some(v1::notice::Kind::PacketOffered(_))),
            "{notice:?}"
        );
    }
    assert!(stand.metric("gateway_replies_waited_total") >= 9);
    assert_eq!(stand.metric("gateway_streams_refused_total{code=\"abuse\"}"), 0);
    assert_eq!(stand.stop_gateway(Signal::SIGTERM), Some(0));
    assert_eq!(stand.stop_agent(), Some(0));
    let total = stand.audit().total;
    assert_eq!(
        (total.opened.packets, total.issued.packets),
        (3, 0),
        "what was won was opened"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_want_the_reply_wins_nothing() {
    let mut stand = Stand::new(GENEROUS_SHOW, "");
    stand.make_seed(6_000, 60);
    stand.start_agent();
    let phone = stand.user(1).await;
    phone.win().await;
    let shake = v1::Request {
        kind: Some(Kind::Shake(v1::Shake { sequence: 1 })),
    };
    let mut bytes = bytes::BytesMut::new();
    frame::encode_stream(&shake, &mut bytes);
    for _ in 0..5 {
        let (mut send, mut receive) = phone.connection.open_bi().await.expect("an open connection");
        receive.stop(0_u32.into()).expect("it is open");
        // In one packet with STOP_SENDING, which comes first.
        send.write_all(&bytes).await.expect("it is open");
        send.finish().expect("it is open");
        let _ = send.stopped().await;
    }
    wait("they are missed", || {
        stand.metric("gateway_wins_missed_total{reason=\"untold\"}") == 5
    });
    assert_eq!(stand.metric("gateway_wins_total"), 1);
}

// ---- sessions ----------------------------------------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread")]
async fn the_fifth_session_of_a_user_takes_the_place_of_the_longest_silent() {
    let stand = Stand::new(GENEROUS_SHOW, "");
    let mut phones = Vec::new();
    for _ in 0..4 {
        phones.push(stand.user(1).await);
        // The gateway tells moments of 10 ms apart.
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    // Another Hello is no other session.
    for _ in 0..3 {
        phones[0].hello(stand.token(1)).await.expect("a good Hello");
    }
    tokio::time::sleep(Duration::from_millis(30)).await;
    assert!(is_served(&phones[2]).await && is_served(&phones[3]).await);
    let other = stand.user(2).await;
    let fifth = stand.user(1).await;
    let silent = phones.remove(1);
    wait("the silent one is closed", || silent.closed_with().is_some());
    assert_eq!(silent.closed_with(), Some(Code::TooMany));
    for phone in phones.iter().chain([&other, &fifth]) {
        assert!(is_served(phone).await);
    }
    assert_eq!(stand.metric("gateway_sessions_ended_total{reason=\"displaced\"}"), 1);
    // However many come, there are four; a thief with the token can keep nobody out.
    let mut more = Vec::new();
    for _ in 0..20 {
        more.push(stand.user(1).await);
    }
    wait("four are left", || stand.metric("gateway_sessions") == 5);
    assert!(is_served(&more[19]).await && is_served(&other).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_gateway_makes_room_from_the_blocked_and_then_from_the_nameless() {
    let config = "[sessions]\nmax = 6\nhello_timeout_s = 3600\n";
    let mut stand = Stand::new(GENEROUS_SHOW, config);
    stand.make_seed(6_000, 60);
    stand.start_agent();
    wait("the agent is there", || {
        stand.metric("gateway_degraded{mode=\"agent_away\"}") == 0
    });
    let (bad, honest) = (stand.user(66).await, stand.user(1).await);
    // Before it is known whose ledger this is, every claim is busy.
    stand.ledger();
    let nameless = fill(&stand).await;
    for _ in 0..25 {
        bad.claim(Bytes::from_static(&[7; 62])).await;
    }
    wait("it is blocked", || {
        stand.metric("gateway_blocks_total{rule=\"forgery\"}") == 2
    });
    assert_eq!(bad.closed_with(), None, "a block closes nobody");
    tokio::time::sleep(Duration::from_secs(4)).await;
    // Each shard makes room of its own, and the first newcomer of its shard has the place of the blocked one. The other shard
    // may have nobody more to close.
    let mut newcomers = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    while bad.closed_with().is_none() {
        assert!(Instant::now() < deadline, "the blocked one stays");
        if let Ok(phone) = stand.phone_at(Ipv4Addr::LOCALHOST).await {
            let token = stand.token(100 + newcomers.len() as u64);
            phone.hello(token).await.expect("a good Hello");
            newcomers.push(phone);
        }
    }
    assert_eq!(bad.closed_with(), Some(Code::TooMany));
    wait_for_ends(&nameless, newcomers.len() - 1, Code::HelloTimeout, PATIENCE);
    assert_eq!(stand.metric("gateway_sessions_ended_total{reason=\"blocked\"}"), 1);
    assert!(is_served(&honest).await);
    for phone in &newcomers {
        assert!(is_served(phone).await, "who said Hello stays");
    }
}

/// Connects until every place is taken.
async fn fill(stand: &Stand) -> Vec<Phone> {
    let mut phones = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    while stand.metric("gateway_sessions") < 6 {
        phones.extend(stand.phone_at(Ipv4Addr::LOCALHOST).await.ok());
        assert!(Instant::now() < deadline, "there is room for ever");
    }
    phones
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_end_with_their_tokens() {
    let stand = Stand::new(GENEROUS_SHOW, "");
    let mut phones = Vec::new();
    for user in 1..=12 {
        let token = stand.token_until(user, in_seconds(5));
        phones.push((lasting(&stand, token.clone()).await, token));
    }
    // One shows a newer token in time, and an older one afterwards; another never had one that ends.
    let (renewed, first) = phones.pop().expect("twelve");
    renewed
        .hello(stand.token_until(12, in_seconds(3_600)))
        .await
        .expect("a good Hello");
    renewed.hello(first).await.expect("still good");
    let other = lasting(&stand, stand.token(13)).await;
    let phones: Vec<_> = phones.into_iter().map(|(phone, _)| phone).collect();
    for phone in &phones {
        assert!(is_served(phone).await, "before the end");
    }
    wait_for_ends(&phones, phones.len(), Code::TokenExpired, Duration::from_secs(100));
    assert_eq!(stand.metric("gateway_sessions_ended_total{reason=\"token_over\"}"), 11);
    assert!(is_served(&renewed).await && is_served(&other).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_end_when_the_key_of_their_token_is_retired() {
    use certs::rotate::Step;
    let stand = Stand::new(GENEROUS_SHOW, "");
    let mut phones = Vec::new();
    for user in 1..=40 {
        phones.push(lasting(&stand, stand.token(user)).await);
    }
    let reload = |step| {
        stand.rotate(&[Purpose::UserToken], step);
        let done = stand.operate(&["reload"]);
        assert!(done.is_good, "{done:?}");
    };
    reload(Step::Add);
    reload(Step::Activate);
    // In time, with a token of the new key.
    let renewed = lasting(&stand, stand.token(41)).await;
    assert!(phones.iter().all(|phone| phone.closed_with().is_none()));
    reload(Step::Retire { kept: 0 });
    // They go over ten minutes: of forty the first few by now.
    wait_for_ends(&phones, 2, Code::TokenExpired, Duration::from_secs(180));
    assert!(stand.metric("gateway_sessions_ended_total{reason=\"key_retired\"}") >= 2);
    assert!(phones.iter().filter(|phone| phone.closed_with().is_some()).count() < 40);
    assert!(is_served(&renewed).await);
}

// ---- gifts -------------------------------------------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread")]
async fn gifts_go_by_users_and_not_by_sessions() {
    let gifts = "gifts = { per_second = 200, recipients = 1, min_cents = 1, max_cents = 1 }\n";
    let show = GENEROUS_SHOW.replace("red_packet = 1", "nothing = 1");
    let mut stand = Stand::new(&format!("[gifts]\nbudget_cents = 600\n{show}{gifts}"), "");
    stand.make_seed(2_000, 10);
    // One user with ninety sessions beside ten with one each, who come first: gifts go out from the beginning.
    let mut phones = Vec::new();
    for user in 2..=11 {
        phones.push(stand.user(user).await);
    }
    for _ in 0..90 {
        phones.push(stand.user(1).await);
    }
    stand.start_agent();
    let given = || {
        let ledger = rusqlite::Connection::open(stand.path("ledger.db")).ok()?;
        let mut query = ledger.prepare("SELECT user, count(*) FROM offers GROUP BY user").ok()?;
        let rows = query.query_map([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)));
        rows.ok()?.collect::<Result<Vec<_>, _>>().ok()
    };
    wait("the budget is given", || {
        given().is_some_and(|given| given.iter().map(|(_, count)| count).sum::<i64>() == 600)
    });
    let given = given().expect("the ledger");
    // Each of eleven expects 54.5, with a deviation of seven: six of those either way.
    assert_eq!(given.len(), 11, "{given:?}");
    assert!(given.iter().all(|(_, count)| (12..98).contains(count)), "{given:?}");
}
