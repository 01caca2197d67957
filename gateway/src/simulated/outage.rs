//! An agent that lives and cannot reach its ledger.

use super::common::GENEROUS_SHOW;
use super::house::House;
use super::phone::{Phone, claim_of, claimed};
use crate::config_store::Cause;
use bytes::Bytes;
use shake_proto::code::Code;
use shake_proto::wire::v1::notice::Kind as Notice;
use shake_proto::wire::v1::{self, reply::Kind as Reply, request::Kind};
use shake_rules::UserId;
use std::time::Duration;
use v1::claim_reply::Result as Claimed;

/// Of so many phones each wins a packet meanwhile: as many as the shard has in hand.
const PHONES: u64 = 32;
const AWAY: Duration = Duration::from_secs(300);

/// What a request was told to wait.
async fn retry_ms(phone: &Phone, kind: Kind) -> Option<u32> {
    let busy = match phone.request(kind).await.expect("an answer") {
        Reply::Claim(v1::ClaimReply {
            result: Some(Claimed::Busy(busy)),
        }) => busy,
        Reply::Send(v1::SendReply {
            result: Some(v1::send_reply::Result::Busy(busy)),
        }) => busy,
        Reply::Wallet(v1::WalletReply {
            result: Some(v1::wallet_reply::Result::Busy(busy)),
        }) => busy,
        _ => return None,
    };
    Some(busy.retry_after_ms)
}

/// Five minutes, in which nobody gives up: wins go on while there are grants in hand, nothing that is asked is put into the ring,
/// and all is opened once the ledger is back.
#[test]
fn while_the_ledger_is_away_wins_go_on_and_asks_are_busy_without_the_agent() {
    House::new(GENEROUS_SHOW, "").with_agent(200).play(|town| async move {
        let mut phones = Vec::new();
        for user in 1..=PHONES {
            phones.push(town.user(user).await);
        }
        town.agent().is_ledger_away = true;
        town.sleep(Duration::from_millis(50)).await;
        let mut tickets = Vec::new();
        for phone in &phones {
            tickets.push(phone.win().await.ticket);
        }
        assert!(phones[0].shake(2).await.red_packet.is_none(), "nothing is left in hand");
        let end = town.now() + AWAY;
        let mut told = Vec::new();
        while town.now() < end {
            for (phone, ticket) in phones.iter().zip(&tickets) {
                told.push(retry_ms(phone, claim_of(ticket.clone())).await.expect("busy"));
            }
            let key = Bytes::from_static(&[1; 16]);
            let send = v1::Send {
                idempotency_key: key,
                total_cents: 1,
                shares: 1,
                ..Default::default()
            };
            for kind in [Kind::Send(send), Kind::Wallet(v1::Wallet::default())] {
                told.push(retry_ms(&phones[0], kind).await.expect("busy"));
            }
            town.sleep(Duration::from_secs(2)).await;
        }
        assert!(told.iter().all(|ms| (1_000..=2_000).contains(ms)), "{told:?}");
        let (least, most) = (told.iter().min(), told.iter().max());
        assert!(
            least < Some(&1_100) && most > Some(&1_900),
            "drawn: {least:?} to {most:?}"
        );
        assert_eq!(
            town.metric("gateway_asks_busy_total{reason=\"ledger_away\"}"),
            told.len() as u64
        );

        town.agent().is_ledger_away = false;
        town.sleep(Duration::from_millis(50)).await;
        assert!(town.agent().asked.is_empty(), "nothing waited in the ring");
        for (phone, ticket) in phones.iter().zip(&tickets) {
            let answer = claimed(phone.request(claim_of(ticket.clone())).await);
            assert!(
                matches!(&answer, Claimed::Opened(opened) if !opened.repeat),
                "{answer:?}"
            );
        }
        assert_eq!(town.agent().opened.len() as u64, PHONES);
        assert_eq!(town.agent().asked[&UserId(1)], 1);
        assert_eq!(town.metric("gateway_wins_missed_total{reason=\"ring_full\"}"), 0);
        phones[0].win().await;
    });
}

/// What nobody would write down is not given out, though there are grants in hand.
#[test]
fn a_gateway_whose_part_is_lost_gives_nothing_out() {
    House::new(GENEROUS_SHOW, "").with_agent(200).play(|town| async move {
        let phone = town.user(1).await;
        let ticket = phone.win().await.ticket;
        town.agent().has_lost_part = true;
        town.sleep(Duration::from_millis(50)).await;
        for sequence in 0..20 {
            assert!(phone.shake(sequence).await.red_packet.is_none());
        }
        assert!(town.metric("gateway_wins_missed_total{reason=\"part_lost\"}") > 0);
        town.sleep(Duration::from_secs(2)).await;
        assert!(retry_ms(&phone, claim_of(ticket.clone())).await.is_some(), "busy");
        // An agent comes that has a part.
        town.agent().has_lost_part = false;
        town.agent().is_here = true;
        town.sleep(Duration::from_millis(50)).await;
        assert!(matches!(phone.claim(ticket).await, Claimed::Opened(_)));
        phone.win().await;
    });
}

/// Where only the ledger is away, who stays is served and others are let in; where the part is lost, neither. The gateway itself stays, and
/// goes on when it can.
#[test]
fn phones_are_sent_where_it_works() {
    House::new(GENEROUS_SHOW, "").with_agent(200).play(|town| async move {
        const WINDOW: Duration = Duration::from_secs(6);
        let to = || vec!["gateway.example:4433".to_owned()];
        let leave = |cause| {
            let now = town.instant();
            town.shared.current.begin_leaving(cause, now, now + WINDOW, to());
        };
        let phone = town.phone().await;
        phone.hello_and_listen(town.token(1)).await.expect("a good Hello");
        town.agent().is_ledger_away = true;
        leave(Cause::LedgerAway);
        let Notice::GoAway(go_away) = phone.notice().await else {
            panic!("another notice");
        };
        assert_eq!(go_away.alternatives, to());
        town.sleep(2 * WINDOW).await;
        phone.win().await;
        let late = town.user(2).await;
        late.win().await;

        leave(Cause::PartLost);
        town.cannot_connect(0).await;
        assert!(late.shake(50).await.red_packet.is_none());
        assert_eq!(late.closed().await.0, Code::GoingAway);
        town.sleep(2 * WINDOW).await;
        town.cannot_connect(0).await;
        town.agent().is_ledger_away = false;
        town.shared.current.end_leaving();
        town.sleep(Duration::from_millis(50)).await;
        town.user(3).await.win().await;

        // What an operator says goes before it.
        let now = town.instant();
        town.shared.current.begin_drain(now, now + WINDOW, Vec::new());
        leave(Cause::LedgerAway);
        town.shared.current.end_leaving();
        assert!(town.shared.current.is_draining());
    });
}
