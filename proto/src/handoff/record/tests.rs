use super::*;
use crate::handoff::topology::Ring;
use crate::reply::{GrabResult, PacketState, ShareTaken, ViewResult};
use proptest::prelude::*;
use shake_rules::code::CODE_BYTES;
use shake_rules::cookie::COOKIE_BYTES_MAX;
use shake_rules::split::SHARES_MAX;
use shake_rules::ticket::TICKET_BYTES;
use shake_rules::winnings::{PACKETS_PER_USER_MAX, Won};

fn check_request(request: &Request) {
    let mut bytes = Vec::new();
    request.encode(&mut bytes);
    assert!(
        bytes.len() <= Ring::Request.record_bytes_max() as usize,
        "{} bytes",
        bytes.len()
    );
    assert_eq!(Request::decode(&bytes[..]).as_ref(), Ok(request));
}

const EVERYBODY: UserId = UserId(u64::MAX);
const LATE: UnixMillis = UnixMillis(u64::MAX);

fn ask(what: What) -> Request {
    let reply_to = ReplyTo {
        request_id: u64::MAX,
        epoch: u32::MAX,
    };
    Request::Ask(Ask {
        reply_to,
        user: EVERYBODY,
        at: LATE,
        what,
    })
}

#[test]
fn the_largest_requests_fit_their_slots() {
    let code = Bytes::from(vec![1; CODE_BYTES]);
    let recipients = vec![EVERYBODY; RECIPIENTS_MAX];
    check_request(&ask(What::Claim(Claim {
        ticket: vec![1; TICKET_BYTES].into(),
        cookie: vec![1; COOKIE_BYTES_MAX].into(),
    })));
    check_request(&ask(What::Send(Send {
        key: [1; 16],
        total: Cents(u64::MAX),
        shares: SHARES_MAX,
        recipients: recipients.clone(),
    })));
    check_request(&ask(What::Grab(Grab { code: code.clone() })));
    check_request(&ask(What::PacketView(PacketView { code })));
    check_request(&ask(What::Wallet));
    check_request(&ask(What::Offers));
    check_request(&ask(What::Winnings));
    check_request(&Request::ShardStarted {
        epoch: u32::MAX,
        grants_taken: u64::MAX,
    });
    let packet = PacketId(u64::MAX);
    for ends in [None, Some(LATE)] {
        check_request(&Request::Issued(Issued {
            packet,
            user: EVERYBODY,
            stage: u16::MAX,
            at: LATE,
            ends,
        }));
    }
    check_request(&Request::Returned(Returned {
        packet,
        position: u64::MAX,
    }));
    check_request(&Request::Gift(Gift {
        key: [1; 16],
        total: Cents(u64::MAX),
        recipients,
        stage: u16::MAX,
        at: LATE,
    }));
}

#[test]
fn the_largest_answers_fit_their_slots() {
    let grant = Grant {
        packet: PacketId(u64::MAX),
        sponsor: SponsorId(u16::MAX),
        event: EventId(u32::MAX),
    };
    let mut bytes = Vec::new();
    grant.encode(&mut bytes);
    assert!(bytes.len() <= Ring::Grant.record_bytes_max() as usize);
    assert_eq!(Grant::decode(&bytes[..]), Ok(grant));

    let notice = Notice {
        user: EVERYBODY,
        code: vec![1; CODE_BYTES].into(),
        from: Some(EVERYBODY),
    };
    let mut bytes = Vec::new();
    notice.encode(&mut bytes);
    assert!(bytes.len() <= Ring::Notice.record_bytes_max() as usize);
    assert_eq!(Notice::decode(&bytes[..]), Ok(notice));

    let share = ShareTaken {
        user: EVERYBODY,
        amount: Cents(u64::MAX),
        at: LATE,
        is_best: true,
    };
    let state = PacketState {
        packet: PacketId(u64::MAX),
        total: Cents(u64::MAX),
        shares: SHARES_MAX,
        left: Cents(u64::MAX),
        shares_left: SHARES_MAX,
        taken: vec![share; SHARES_MAX.into()],
    };
    for kind in [
        None,
        Some(wire::reply::Kind::PacketView(ViewResult::State(state).into())),
        Some(wire::reply::Kind::Grab(
            GrabResult::Busy {
                retry_after_ms: u32::MAX,
            }
            .into(),
        )),
    ] {
        // No answer has both.
        let won = if kind.is_none() { PACKETS_PER_USER_MAX } else { 0 };
        let reply = Reply {
            reply_to: ReplyTo {
                request_id: u64::MAX,
                epoch: u32::MAX,
            },
            kind,
            winnings: winnings(won as u64),
        };
        let mut bytes = Vec::new();
        reply.encode(&mut bytes);
        assert!(
            bytes.len() <= Ring::Reply.record_bytes_max() as usize,
            "{} bytes",
            bytes.len()
        );
        assert_eq!(Reply::decode(&bytes[..]), Ok(reply));
    }
}

fn winnings(count: u64) -> Winnings {
    let won = |at| Won {
        packet: PacketId(u64::MAX - at),
        sponsor: SponsorId(u16::MAX),
    };
    (0..count).map(won).collect()
}

proptest! {
    #[test]
    fn any_bytes_decode_or_are_bad(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = (Request::decode(&bytes[..]), Reply::decode(&bytes[..]));
        let _ = (Grant::decode(&bytes[..]), Notice::decode(&bytes[..]));
    }
}
