//! Wins only for who can be told, over real QUIC: phones that take short datagrams, give little credit, or want no reply.

mod support;

use nix::sys::signal::Signal;
use quinn::{TransportConfig, VarInt};
use shake_proto::frame::{self, REPLY_BYTES_MAX};
use shake_proto::request::capability;
use shake_proto::wire::v1;
use support::{GENEROUS_SHOW, PATIENCE, Stand, wait};
use v1::claim_reply::Result as Claimed;
use v1::request::Kind;

/// Not a test of its own: the agent process of the others.
#[test]
fn agent_process() {
    support::be_the_agent_if_asked();
}

/// A phone whose streams are read in pieces of so many bytes.
fn narrow(bytes: u32) -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport.stream_receive_window(VarInt::from_u32(bytes));
    transport
}

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
