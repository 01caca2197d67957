//! Bad input over real QUIC: each kind gets its named answer, is counted, and disturbs nobody else.

mod support;

use bytes::{Bytes, BytesMut};
use shake_proto::code::Code;
use shake_proto::frame;
use shake_proto::wire::v1;
use shake_rules::keys::{Key, KeyRing, Purpose};
use shake_rules::ticket::{TICKET_BYTES, Ticket, TicketKeys};
use shake_rules::token::{TokenKeys, UserToken};
use shake_rules::{EventId, LedgerId, PacketId, SponsorId, UnixMillis, UserId};
use std::net::UdpSocket;
use support::{GENEROUS_SHOW, Stand, wait};
use v1::claim_reply::Result as Claimed;
use v1::request::Kind;

fn framed(kind: Kind) -> BytesMut {
    let mut bytes = BytesMut::new();
    frame::encode_stream(&v1::Request { kind: Some(kind) }, &mut bytes);
    bytes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn broken_frames_get_their_codes_and_the_connection_lives() {
    let stand = Stand::new(GENEROUS_SHOW, "");
    let phone = stand.user(1).await;
    let good = framed(Kind::Shake(v1::Shake { sequence: 300 }));
    let too_long = framed(Kind::Claim(v1::Claim {
        ticket: vec![1; 5_000].into(),
        cookie: Bytes::new(),
    }));
    let long_ticket = framed(Kind::Claim(v1::Claim {
        ticket: vec![1; TICKET_BYTES + 1].into(),
        cookie: Bytes::new(),
    }));
    let cases: &[(&[u8], Code)] = &[
        (&[], Code::Malformed),
        (&good[..good.len() - 1], Code::Malformed),
        (&[&good[..], b"x"].concat(), Code::Malformed),
        (&[3, 0xff, 0xff, 0xff], Code::Malformed),
        (&[0], Code::Unknown),
        // Field 100, which no version of the contract has.
        (&[4, 0xa2, 0x06, 0x01, 0x00], Code::Unknown),
        (&too_long, Code::Oversized),
        (&[0xff; 7_000], Code::Oversized),
        (&long_ticket, Code::Malformed),
        (&framed(Kind::Send(v1::Send::default())), Code::Malformed),
    ];
    for (bytes, code) in cases {
        let counted = format!("gateway_streams_refused_total{{code=\"{code}\"}}");
        let before = stand.metric(&counted);
        assert_eq!(phone.exchange(bytes).await, Err(Some(*code)), "{bytes:?}");
        assert_eq!(stand.metric(&counted), before + 1, "{counted}");
    }
    assert_eq!(phone.shake(9).await.expect("a shake").sequence, 9);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn nothing_is_served_before_hello_and_tokens_are_checked() {
    let stand = Stand::new(GENEROUS_SHOW, "");
    let phone = stand.phone().await;
    assert_eq!(phone.shake(1).await, Err(Some(Code::BeforeHello)));
    phone
        .connection
        .send_datagram(Bytes::from_static(&[8, 1]))
        .expect("datagrams are on");
    wait("the datagram is counted", || {
        stand.metric("gateway_datagrams_dropped_total{reason=\"before_hello\"}") == 1
    });

    let mut forged = stand.token(1).to_vec();
    forged[5] ^= 1;
    let expired = TokenKeys::new(&stand.key_ring(Purpose::UserToken)).mint(UserToken {
        user: UserId(1),
        expires_at: UnixMillis(1_000),
    });
    let cases = [
        (Bytes::from(forged), Code::TokenForged),
        (Bytes::from_static(b"short"), Code::TokenForged),
        (Bytes::copy_from_slice(&expired), Code::TokenExpired),
    ];
    for (token, code) in cases {
        assert_eq!(phone.hello(token).await.err(), Some(Some(code)));
    }
    phone.hello(stand.token(1)).await.expect("a good token");
    phone.hello(stand.token(1)).await.expect("again, for the same user");
    assert_eq!(phone.hello(stand.token(2)).await.err(), Some(Some(Code::UserChanged)));
    assert_eq!(phone.shake(2).await.expect("a shake").sequence, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_connection_without_hello_is_closed_by_name() {
    let stand = Stand::new(GENEROUS_SHOW, "[sessions]\nhello_timeout_s = 1\n");
    let phone = stand.phone().await;
    match tokio::time::timeout(support::PATIENCE, phone.connection.closed())
        .await
        .expect("in time")
    {
        quinn::ConnectionError::ApplicationClosed(close) => {
            assert_eq!(
                Code::from_number(close.error_code.into_inner()),
                Some(Code::HelloTimeout)
            );
        }
        other => panic!("closed by {other}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn bad_datagrams_are_counted_and_good_ones_answered() {
    let stand = Stand::new(GENEROUS_SHOW, "");
    let phone = stand.user(1).await;
    phone
        .connection
        .send_datagram(Bytes::from_static(&[0xff; 10]))
        .expect("datagrams are on");
    phone
        .connection
        .send_datagram(Bytes::from(vec![8; 200]))
        .expect("datagrams are on");
    wait("both are counted", || {
        let dropped = |reason| stand.metric(&format!("gateway_datagrams_dropped_total{{reason=\"{reason}\"}}"));
        dropped("malformed") == 1 && dropped("oversized") == 1
    });
    assert_eq!(phone.shake_by_datagram(77).await.sequence, 77);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn garbage_packets_disturb_nobody() {
    let stand = Stand::new(GENEROUS_SHOW, "");
    let phone = stand.user(1).await;
    let attacker = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let mut state = 1_u64;
    for length in (0..1_400).step_by(7) {
        for first in [0x00, 0x40, 0x80, 0xc0, 0xff_u8] {
            let mut packet: Vec<u8> = (0..length)
                .map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    (state >> 56) as u8
                })
                .collect();
            if let Some(byte) = packet.first_mut() {
                *byte = first;
            }
            // Half of the long headers claim to be QUIC version 1.
            if first == 0xc0 && length > 5 {
                packet[1..5].copy_from_slice(&[0, 0, 0, 1]);
            }
            let _ = attacker.send_to(&packet, stand.address);
        }
    }
    for sequence in 0..20 {
        assert_eq!(phone.shake_by_datagram(sequence).await.sequence, sequence);
    }
    assert_eq!(stand.metric("gateway_sessions"), 1);
    // Of the thousand, all but those that get a version negotiation or a stateless reset.
    wait("the garbage is counted", || {
        stand.metric("gateway_packets_discarded_total") >= 500
    });
}

const LEDGER: LedgerId = LedgerId([6; 16]);

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn tickets_that_are_not_the_users_are_refused_by_name() {
    let stand = Stand::new(GENEROUS_SHOW, "");
    let phone = stand.user(1).await;
    let ring = stand.key_ring(Purpose::Ticket);
    let sealed = |event, user| {
        let ticket = Ticket {
            event: EventId(event),
            packet: PacketId(5),
            user: UserId(user),
            sponsor: SponsorId(1),
            stage: 0,
            issued_at: UnixMillis(1),
            // Whether its time is over is the agent's to say.
            expires_at: UnixMillis(2),
        };
        let mut out = Vec::new();
        TicketKeys::new(&ring).seal(&LEDGER, &ticket, [3; 12], &mut out);
        Bytes::from(out)
    };
    let mut forged = sealed(1, 1).to_vec();
    forged[30] ^= 1;
    // Before the agent has said which ledger this is nothing is refused, however bad it looks.
    for ticket in [Bytes::from(forged.clone()), sealed(1, 2), sealed(1, 1)] {
        assert!(matches!(phone.claim(ticket).await, Claimed::Busy(_)));
    }
    assert_eq!(stand.metric("gateway_asks_busy_total{reason=\"ledger_unknown\"}"), 3);
    stand.name_ledger(LEDGER);
    let rehearsal = support::ticket(&ring, &LedgerId([9; 16]), UserId(1), PacketId(5));
    let retired = KeyRing::of(Key::new(200, [1; 32]));
    let retired = support::ticket(&retired, &LEDGER, UserId(1), PacketId(5));
    let cases = [
        (Bytes::from(forged), v1::Reason::TicketForged, "ticket_forged"),
        (Bytes::new(), v1::Reason::TicketForged, "ticket_forged"),
        (sealed(1, 2), v1::Reason::TicketForeign, "ticket_foreign"),
        (sealed(2, 1), v1::Reason::TicketOtherEvent, "ticket_other_event"),
        (rehearsal, v1::Reason::TicketOtherEvent, "ticket_other_event"),
        (retired, v1::Reason::TicketOtherEvent, "ticket_other_event"),
    ];
    for (ticket, reason, name) in cases {
        let counted = format!("gateway_asks_refused_total{{reason=\"{name}\"}}");
        let before = stand.metric(&counted);
        assert_eq!(
            phone.claim(ticket).await,
            Claimed::Refused(v1::Refused { reason: reason as i32 })
        );
        assert_eq!(stand.metric(&counted), before + 1);
    }
    // Nothing is wrong with this one, but no agent is there to open it.
    assert!(matches!(phone.claim(sealed(1, 1)).await, Claimed::Busy(_)));
    assert_eq!(stand.metric("gateway_asks_busy_total{reason=\"agent_away\"}"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn guessed_codes_and_senseless_amounts_are_refused_without_the_ledger() {
    let stand = Stand::new(GENEROUS_SHOW, "");
    let phone = stand.user(1).await;
    let refused = |reason: v1::Reason| v1::Refused { reason: reason as i32 };
    let early = phone
        .request(Kind::Grab(v1::Grab {
            code: Bytes::from(vec![7; 24]),
        }))
        .await;
    let is_busy = |reply: &v1::GrabReply| matches!(reply.result, Some(v1::grab_reply::Result::Busy(_)));
    assert!(
        matches!(&early, Ok(v1::reply::Kind::Grab(reply)) if is_busy(reply)),
        "before the ledger is known: {early:?}"
    );
    stand.name_ledger(LEDGER);
    for length in [0, 8, 24] {
        let code = Bytes::from(vec![7; length]);
        let grab = phone
            .request(Kind::Grab(v1::Grab { code: code.clone() }))
            .await
            .expect("a reply");
        let result = v1::grab_reply::Result::Refused(refused(v1::Reason::PacketUnknown));
        assert_eq!(grab, v1::reply::Kind::Grab(v1::GrabReply { result: Some(result) }));
        let view = phone
            .request(Kind::PacketView(v1::PacketView { code }))
            .await
            .expect("a reply");
        let result = v1::packet_view_reply::Result::Refused(refused(v1::Reason::PacketUnknown));
        assert_eq!(
            view,
            v1::reply::Kind::PacketView(v1::PacketViewReply { result: Some(result) })
        );
    }
    for (total_cents, shares) in [(100, 0), (100, 101), (2, 3)] {
        let send = v1::Send {
            idempotency_key: vec![1; 16].into(),
            total_cents,
            shares,
            recipients: Vec::new(),
        };
        let reply = phone.request(Kind::Send(send)).await.expect("a reply");
        let result = v1::send_reply::Result::Refused(refused(v1::Reason::Amount));
        assert_eq!(reply, v1::reply::Kind::Send(v1::SendReply { result: Some(result) }));
    }
    assert_eq!(stand.metric("gateway_asks_refused_total{reason=\"packet_unknown\"}"), 6);
    // What only the ledger knows has to wait for it.
    let wallet = phone.request(Kind::Wallet(v1::Wallet {})).await.expect("a reply");
    assert!(matches!(
        wallet,
        v1::reply::Kind::Wallet(v1::WalletReply {
            result: Some(v1::wallet_reply::Result::Busy(_))
        })
    ));
}

#[test]
fn an_unknown_config_key_stops_the_start_and_names_file_and_line() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let config = directory.path().join("gateway.toml");
    std::fs::write(&config, "[listen]\nshards = 1\nshard = 2\n[show]\nfile = 3\n").expect("gateway.toml");
    for command in ["run", "check-config"] {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_gateway"))
            .args([command, "--config"])
            .arg(&config)
            .output()
            .expect("the gateway runs");
        let text = String::from_utf8(output.stderr).expect("text");
        assert_eq!(output.status.code(), Some(1), "{text}");
        for place in ["gateway.toml:3: ", "gateway.toml:5: "] {
            assert!(text.contains(place), "{place} in {text}");
        }
        assert!(text.contains("shard"), "{text}");
    }
}

/// The session drops its TLS state after the handshake and keeps what a key update needs.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn key_updates_of_the_client_are_followed() {
    let stand = Stand::new(GENEROUS_SHOW, "");
    let phone = stand.user(1).await;
    for sequence in 0..30 {
        phone.connection.force_key_update();
        assert_eq!(phone.shake_by_datagram(sequence).await.sequence, sequence);
        assert_eq!(phone.shake(sequence).await.expect("a shake").sequence, sequence);
    }
}
