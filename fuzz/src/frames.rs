//! What phones and gateway send each other: streams and datagrams. The first byte says which.
//!
//! What holds: a message that decodes is encoded to something that decodes to the same, also through the checked types.

use bytes::{Bytes, BytesMut};
use prost::Message;
use shake_proto::frame::{
    REPLY_BYTES_MAX, REQUEST_BYTES_MAX, decode_shake, decode_stream, encode_datagram, encode_stream,
};
use shake_proto::reply::{ClaimResult, GrabResult, SendResult, ViewResult, WalletResult};
use shake_proto::request::{Request, Shake};
use shake_proto::wire::v1;
use std::fmt::Debug;

/// Decodes one stream or datagram.
pub fn run(bytes: &[u8]) {
    let Some((kind, rest)) = bytes.split_first() else {
        return;
    };
    let rest = Bytes::copy_from_slice(rest);
    match kind % 5 {
        0 => {
            if let Some(message) = stream::<v1::Request>(rest, REQUEST_BYTES_MAX) {
                let _ = Request::try_from(message);
            }
        }
        1 => {
            if let Some(v1::Reply { kind: Some(kind) }) = stream::<v1::Reply>(rest, REPLY_BYTES_MAX) {
                reply(kind);
            }
        }
        2 => drop(stream::<v1::Notice>(rest, REPLY_BYTES_MAX)),
        3 => {
            if let Ok(shake) = decode_shake(rest) {
                datagram(&shake);
                let Shake { sequence } = shake.into();
                assert_eq!(sequence, shake.sequence);
            }
        }
        _ => {
            if let Ok(reply) = v1::ShakeReply::decode(rest) {
                datagram(&reply);
            }
        }
    }
}

fn stream<M: Message + Default + PartialEq + Debug>(bytes: Bytes, limit: usize) -> Option<M> {
    let message = decode_stream::<M>(bytes, limit).ok()?;
    let mut out = BytesMut::new();
    encode_stream(&message, &mut out);
    // Without the limit: a number that came short and wrapped may be written at its full length.
    assert_eq!(decode_stream(out.freeze(), usize::MAX).as_ref(), Ok(&message));
    Some(message)
}

fn datagram<M: Message + Default + PartialEq + Debug>(message: &M) {
    let bytes = encode_datagram(message, &mut BytesMut::new(), 1_200);
    assert_eq!(M::decode(bytes).as_ref(), Ok(message));
}

fn reply(kind: v1::reply::Kind) {
    match kind {
        v1::reply::Kind::Claim(reply) => both_ways::<_, ClaimResult>(reply),
        v1::reply::Kind::Send(reply) => both_ways::<_, SendResult>(reply),
        v1::reply::Kind::Grab(reply) => both_ways::<_, GrabResult>(reply),
        v1::reply::Kind::PacketView(reply) => both_ways::<_, ViewResult>(reply),
        v1::reply::Kind::Wallet(reply) => both_ways::<_, WalletResult>(reply),
        _ => {}
    }
}

fn both_ways<W, T>(wire: W)
where
    W: From<T>,
    T: TryFrom<W> + Clone + PartialEq + Debug,
{
    if let Ok(checked) = T::try_from(wire) {
        assert_eq!(T::try_from(W::from(checked.clone())).ok(), Some(checked));
    }
}

/// One of each message.
pub fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let in_stream = |kind: u8, message: &dyn Fn(&mut BytesMut)| {
        let mut out = BytesMut::new();
        message(&mut out);
        [&[kind][..], &out].concat()
    };
    let request = |kind| {
        let message = v1::Request { kind: Some(kind) };
        in_stream(0, &|out| encode_stream(&message, out))
    };
    let reply = |kind| {
        let message = v1::Reply { kind: Some(kind) };
        in_stream(1, &|out| encode_stream(&message, out))
    };
    let bytes = |length: usize| Bytes::from(vec![7; length]);
    vec![
        (
            "hello",
            request(v1::request::Kind::Hello(v1::Hello {
                token: bytes(36),
                cookie: bytes(52),
                resource_version: 3,
                capabilities: 1,
                device: 7,
            })),
        ),
        ("shake", request(v1::request::Kind::Shake(v1::Shake { sequence: 300 }))),
        (
            "claim",
            request(v1::request::Kind::Claim(v1::Claim {
                ticket: bytes(74),
                cookie: bytes(42),
            })),
        ),
        (
            "send",
            request(v1::request::Kind::Send(v1::Send {
                idempotency_key: bytes(16),
                total_cents: 1_000,
                shares: 5,
                recipients: vec![1, 2, 3],
            })),
        ),
        ("grab", request(v1::request::Kind::Grab(v1::Grab { code: bytes(24) }))),
        (
            "claim-opened",
            reply(v1::reply::Kind::Claim(
                ClaimResult::Opened {
                    packet: shake_rules::PacketId(9),
                    amount: shake_rules::Cents(250),
                    sponsor: shake_rules::SponsorId(2),
                    code: bytes(24),
                    repeat: true,
                }
                .into(),
            )),
        ),
        (
            "datagram",
            [&[3][..], &v1::Shake { sequence: 77 }.encode_to_vec()].concat(),
        ),
        (
            "datagram-reply",
            [
                &[4][..],
                &v1::ShakeReply {
                    sequence: 77,
                    ..Default::default()
                }
                .encode_to_vec(),
            ]
            .concat(),
        ),
    ]
}
