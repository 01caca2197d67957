//! Bad input: each kind gets its named answer, is counted, and disturbs nobody else.

use super::common::GENEROUS_SHOW;
use super::house::{House, LEDGER};
use super::phone::{Phone, ticket};
use bytes::{Bytes, BytesMut};
use shake_proto::code::Code;
use shake_proto::frame;
use shake_proto::wire::v1::{self, reply::Kind as Reply, request::Kind};
use shake_rules::keys::{Key, KeyRing, Purpose};
use shake_rules::ticket::TICKET_BYTES;
use shake_rules::{LedgerId, UnixMillis};
use v1::claim_reply::Result as Claimed;

/// A gateway whose agent has not come yet.
fn house() -> House {
    House::new(GENEROUS_SHOW, "")
}

fn refused(reason: v1::Reason) -> v1::Refused {
    v1::Refused { reason: reason as i32 }
}

fn framed(kind: Kind) -> BytesMut {
    let mut bytes = BytesMut::new();
    frame::encode_stream(&v1::Request { kind: Some(kind) }, &mut bytes);
    bytes
}

fn claim_of_ones(bytes: usize) -> BytesMut {
    framed(Kind::Claim(v1::Claim {
        ticket: vec![1; bytes].into(),
        cookie: Bytes::new(),
    }))
}

#[test]
fn broken_frames_get_their_codes_and_the_connection_lives() {
    house().play(|town| async move {
        let phone = town.user(1).await;
        let good = framed(Kind::Shake(v1::Shake { sequence: 300 }));
        let cases: &[(&[u8], Code)] = &[
            (&[], Code::Malformed),
            (&good[..good.len() - 1], Code::Malformed),
            (&[&good[..], b"x"].concat(), Code::Malformed),
            (&[3, 0xff, 0xff, 0xff], Code::Malformed),
            (&[0], Code::Unknown),
            // Field 100, which no version of the contract has.
            (&[4, 0xa2, 0x06, 0x01, 0x00], Code::Unknown),
            (&claim_of_ones(5_000), Code::Oversized),
            (&[0xff; 7_000], Code::Oversized),
            (&claim_of_ones(TICKET_BYTES + 1), Code::Malformed),
            (&framed(Kind::Send(v1::Send::default())), Code::Malformed),
        ];
        for (bytes, code) in cases {
            let counted = format!("gateway_streams_refused_total{{code=\"{code}\"}}");
            let before = town.metric(&counted);
            assert_eq!(phone.exchange(bytes).await, Err(*code), "{bytes:?}");
            assert_eq!(town.metric(&counted), before + 1, "{counted}");
        }
        assert_eq!(phone.shake(9).await.sequence, 9);
    });
}

#[test]
fn nothing_is_served_before_hello_and_tokens_are_checked() {
    house().play(|town| async move {
        let phone = town.phone().await;
        let early = phone.request(Kind::Shake(v1::Shake { sequence: 1 })).await;
        assert_eq!(early, Err(Code::BeforeHello));
        phone.send_shake(1);
        town.until("the datagram is counted", || {
            town.metric("gateway_datagrams_dropped_total{reason=\"before_hello\"}") == 1
        })
        .await;

        let mut forged = town.token(1).to_vec();
        forged[5] ^= 1;
        let cases = [
            (Bytes::from(forged), Code::TokenForged),
            (Bytes::from_static(b"short"), Code::TokenForged),
            (town.token_until(1, UnixMillis(1_000)), Code::TokenExpired),
        ];
        for (token, code) in cases {
            assert_eq!(phone.hello(token).await.err(), Some(code));
        }
        phone.hello(town.token(1)).await.expect("a good token");
        phone.hello(town.token(1)).await.expect("again, for the same user");
        assert_eq!(phone.hello(town.token(2)).await.err(), Some(Code::UserChanged));
        assert_eq!(phone.shake(2).await.sequence, 2);
    });
}

#[test]
fn bad_datagrams_are_counted_and_good_ones_answered() {
    house().play(|town| async move {
        let phone = town.user(1).await;
        phone.send(&[0xff; 10]);
        phone.send(&[8; 200]);
        town.until("both are counted", || {
            let dropped = |reason| town.metric(&format!("gateway_datagrams_dropped_total{{reason=\"{reason}\"}}"));
            dropped("malformed") == 1 && dropped("oversized") == 1
        })
        .await;
        assert_eq!(phone.shake_by_datagram(77).await.sequence, 77);
    });
}

#[test]
fn tickets_that_are_not_the_users_are_refused_by_name() {
    house().play(|town| async move {
        let phone = town.user(1).await;
        let ring = town.keys(Purpose::Ticket);
        let sealed = |event, user| ticket(&ring, &LEDGER, event, user);
        let mut forged = sealed(1, 1).to_vec();
        forged[30] ^= 1;
        // Before the agent has said which ledger this is nothing is refused, however bad it looks.
        for ticket in [Bytes::from(forged.clone()), sealed(1, 2), sealed(1, 1)] {
            assert!(matches!(phone.claim(ticket).await, Claimed::Busy(_)));
        }
        assert_eq!(town.metric("gateway_asks_busy_total{reason=\"ledger_unknown\"}"), 3);
        town.agent().name_ledger();
        let rehearsal = ticket(&ring, &LedgerId([9; 16]), 1, 1);
        let retired = ticket(&KeyRing::of(Key::new(200, [1; 32])), &LEDGER, 1, 1);
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
            let before = town.metric(&counted);
            assert_eq!(phone.claim(ticket).await, Claimed::Refused(refused(reason)));
            assert_eq!(town.metric(&counted), before + 1);
        }
        // Nothing is wrong with this one, but no agent is there to open it.
        assert!(matches!(phone.claim(sealed(1, 1)).await, Claimed::Busy(_)));
        assert_eq!(town.metric("gateway_asks_busy_total{reason=\"agent_away\"}"), 1);
    });
}

async fn grab(phone: &Phone, code: &Bytes) -> v1::grab_reply::Result {
    match phone.request(Kind::Grab(v1::Grab { code: code.clone() })).await {
        Ok(Reply::Grab(reply)) => reply.result.expect("a result"),
        other => panic!("a grab was answered by {other:?}"),
    }
}

async fn view(phone: &Phone, code: &Bytes) -> v1::packet_view_reply::Result {
    let view = v1::PacketView { code: code.clone() };
    match phone.request(Kind::PacketView(view)).await {
        Ok(Reply::PacketView(reply)) => reply.result.expect("a result"),
        other => panic!("a view was answered by {other:?}"),
    }
}

#[test]
fn guessed_codes_and_senseless_amounts_are_refused_without_the_ledger() {
    house().play(|town| async move {
        let phone = town.user(1).await;
        let early = grab(&phone, &Bytes::from(vec![7; 24])).await;
        assert!(
            matches!(early, v1::grab_reply::Result::Busy(_)),
            "before the ledger is known: {early:?}"
        );
        town.agent().name_ledger();
        let unknown = refused(v1::Reason::PacketUnknown);
        for length in [0, 8, 24] {
            let code = Bytes::from(vec![7; length]);
            assert_eq!(grab(&phone, &code).await, v1::grab_reply::Result::Refused(unknown));
            assert_eq!(
                view(&phone, &code).await,
                v1::packet_view_reply::Result::Refused(unknown)
            );
        }
        for (total_cents, shares) in [(100, 0), (100, 101), (2, 3)] {
            let send = v1::Send {
                idempotency_key: vec![1; 16].into(),
                total_cents,
                shares,
                recipients: Vec::new(),
            };
            let result = Some(v1::send_reply::Result::Refused(refused(v1::Reason::Amount)));
            let reply = phone.request(Kind::Send(send)).await;
            assert_eq!(reply, Ok(Reply::Send(v1::SendReply { result })));
        }
        assert_eq!(town.metric("gateway_asks_refused_total{reason=\"packet_unknown\"}"), 6);
        // What only the ledger knows has to wait for it.
        let Ok(Reply::Wallet(wallet)) = phone.request(Kind::Wallet(v1::Wallet {})).await else {
            panic!("another answer");
        };
        assert!(matches!(wallet.result, Some(v1::wallet_reply::Result::Busy(_))));
    });
}
