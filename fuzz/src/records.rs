//! The records of the rings between gateway and agent. The first byte says which.
//!
//! What holds: a record that decodes is encoded to something that decodes to the same.

use bytes::Bytes;
use shake_proto::handoff::abuse::{Block, Conduct, Counts, Event, Rule, Strangers, Subject};
use shake_proto::handoff::record::{Ask, Gift, Grant, Issued, Notice, Reply, ReplyTo, Request, Returned, What};
use shake_proto::reply::GrabResult;
use shake_proto::wire::v1;
use shake_rules::prefix::Prefix;
use shake_rules::winnings::Winnings;
use shake_rules::{Cents, DeviceId, EventId, PacketId, SponsorId, UnixMillis, UserId};

/// Decodes one record.
pub fn run(bytes: &[u8]) {
    let Some((kind, rest)) = bytes.split_first() else {
        return;
    };
    let mut out = Vec::new();
    match kind % 6 {
        0 => {
            if let Ok(record) = Request::decode(rest) {
                record.encode(&mut out);
                assert_eq!(Request::decode(&out[..]), Ok(record));
            }
        }
        1 => {
            if let Ok(record) = Reply::decode(rest) {
                record.encode(&mut out);
                assert_eq!(Reply::decode(&out[..]), Ok(record));
            }
        }
        2 => {
            if let Ok(record) = Grant::decode(rest) {
                record.encode(&mut out);
                assert_eq!(Grant::decode(&out[..]), Ok(record));
            }
        }
        3 => {
            if let Ok(record) = Notice::decode(rest) {
                record.encode(&mut out);
                assert_eq!(Notice::decode(&out[..]), Ok(record));
            }
        }
        4 => {
            if let Ok(record) = Event::decode(rest) {
                record.encode(&mut out);
                assert_eq!(Event::decode(&out[..]), Ok(record));
            }
        }
        _ => {
            if let Ok(record) = Block::decode(rest) {
                record.encode(&mut out);
                assert_eq!(Block::decode(&out[..]), Ok(record));
                assert_eq!(
                    Subject::parse(record.subject.kind(), &record.subject.name()),
                    Some(record.subject)
                );
            }
        }
    }
}

/// One of each record.
pub fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let request = |record: Request| {
        let mut out = vec![0];
        record.encode(&mut out);
        out
    };
    let reply_to = ReplyTo {
        request_id: 5,
        epoch: 2,
    };
    let (packet, user, at) = (PacketId(900), UserId(7), UnixMillis(1_790_000_000_000));
    let ask = |what| {
        request(Request::Ask(Ask {
            reply_to,
            user,
            at,
            what,
        }))
    };
    let mut reply = vec![1];
    let kind = v1::reply::Kind::Grab(GrabResult::Busy { retry_after_ms: 250 }.into());
    Reply {
        reply_to,
        kind: Some(kind),
        winnings: Winnings::default(),
    }
    .encode(&mut reply);
    let mut grant = vec![2];
    Grant {
        packet,
        sponsor: SponsorId(3),
        event: EventId(1),
    }
    .encode(&mut grant);
    let mut notice = vec![3];
    Notice {
        user,
        code: Bytes::from_static(&[4; 24]),
        from: Some(UserId(8)),
    }
    .encode(&mut notice);
    let event = |record: Event| {
        let mut out = vec![4];
        record.encode(&mut out);
        out
    };
    let prefix = Prefix::parse("2001:db8::/56").expect("a prefix");
    let block = |subject| {
        let mut out = vec![5];
        Block {
            subject,
            until: at,
            rule: Rule::Flood,
        }
        .encode(&mut out);
        out
    };
    vec![
        (
            "conduct",
            event(Event::Conduct(Conduct {
                user,
                device: DeviceId::from_wire(11),
                prefix,
                opened: true,
                counts: Counts {
                    shakes: 1_000,
                    refused: 2,
                    wins: 3,
                    requests: 4,
                    forged: 5,
                    foreign: 6,
                    malformed: 7,
                    moves: 8,
                },
            })),
        ),
        (
            "strangers",
            event(Event::Strangers(Strangers {
                prefix,
                failures: 300,
                silent: 2,
            })),
        ),
        ("block-user", block(Subject::User(user))),
        ("block-device", block(Subject::Device(DeviceId(12)))),
        ("block-prefix", block(Subject::Prefix(prefix))),
        (
            "shard-started",
            request(Request::ShardStarted {
                epoch: 3,
                grants_taken: 1_000,
            }),
        ),
        (
            "issued",
            request(Request::Issued(Issued {
                packet,
                user,
                stage: 2,
                at,
                ends: Some(UnixMillis(at.0 + 45_000)),
            })),
        ),
        (
            "returned",
            request(Request::Returned(Returned { packet, position: 77 })),
        ),
        (
            "gift",
            request(Request::Gift(Gift {
                key: [6; 16],
                total: Cents(500),
                recipients: vec![UserId(1), UserId(2)],
                stage: 1,
                at,
            })),
        ),
        ("ask-wallet", ask(What::Wallet)),
        ("ask-offers", ask(What::Offers)),
        ("ask-winnings", ask(What::Winnings)),
        ("reply", reply),
        ("grant", grant),
        ("notice", notice),
    ]
}
