//! The money path over real QUIC, two real processes and a real ledger: wins, claims, repeats, and an agent that is
//! killed in the middle.

mod support;

use nix::sys::signal::Signal;
use shake_proto::wire::v1;
use std::collections::HashMap;
use std::time::Duration;
use support::{GENEROUS_SHOW, Phone, Stand, wait};
use v1::claim_reply::Result as Claimed;

/// Not a test of its own: the agent process of the others.
#[test]
fn agent_process() {
    support::be_the_agent_if_asked();
}

fn opened(result: Claimed) -> v1::Opened {
    match result {
        Claimed::Opened(opened) => opened,
        other => panic!("not opened: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_packet_is_won_opened_once_and_answered_the_same_again() {
    let mut stand = Stand::new(GENEROUS_SHOW, "");
    stand.make_seed(10_000, 100);
    let phone = stand.user(1).await;
    assert!(
        phone.shake(1).await.expect("a shake").red_packet.is_none(),
        "no agent, no packet"
    );
    stand.start_agent();
    let packet = phone.win().await;
    assert_eq!(packet.sponsor_id, 1);
    let first = opened(phone.claim_patiently(&packet.ticket).await);
    assert!(!first.repeat && first.cents > 0);
    let again = opened(phone.claim_patiently(&packet.ticket).await);
    assert_eq!(
        again,
        v1::Opened {
            repeat: true,
            ..first.clone()
        }
    );

    assert!(
        stand.metric("gateway_asks_repeated_total") >= 1,
        "the second claim is counted"
    );

    // Another user with the same ticket, from another connection.
    let thief = stand.user(2).await;
    let refused = v1::Refused {
        reason: v1::Reason::TicketForeign as i32,
    };
    assert_eq!(thief.claim(packet.ticket.clone()).await, Claimed::Refused(refused));

    // The same user on many connections at once.
    let other = phone.win().await;
    let answers = stand.hammer(1, |phone| {
        let ticket = other.ticket.clone();
        async move { opened(phone.claim_patiently(&ticket).await) }
    });
    let answers = answers.await;
    assert_eq!(answers.iter().filter(|answer| !answer.repeat).count(), 1);
    assert!(answers.iter().all(|answer| answer.cents == answers[0].cents));

    assert_eq!(stand.stop_gateway(Signal::SIGTERM), Some(0));
    assert_eq!(stand.stop_agent(), Some(0));
    let report = stand.audit();
    assert_eq!(report.total.opened.cents, first.cents + answers[0].cents);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn killing_the_agent_loses_no_acknowledged_claim_and_opens_nothing_twice() {
    let mut stand = Stand::new(GENEROUS_SHOW, "[claims]\ntimeout_ms = 500\n");
    stand.make_seed(200_000, 2_000);
    stand.start_agent();
    let users = 24_u64;
    let mut tasks = Vec::new();
    for user in 1..=users {
        let phone = stand.user(user).await;
        tasks.push(tokio::spawn(async move {
            let mut gains = Vec::new();
            for _ in 0..6 {
                let packet = phone.win().await;
                let answer = opened(phone.claim_patiently(&packet.ticket).await);
                gains.push((answer.packet_id, answer.cents, packet.ticket));
                // So that the claims of all users together last through every kill.
                tokio::time::sleep(Duration::from_millis(70 + user % 7 * 20)).await;
            }
            (phone, gains)
        }));
    }
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_millis(150)).await;
        stand.kill_agent();
        // Shakes go on without it.
        let phone = stand.user(1_000).await;
        assert_eq!(phone.shake(5).await.expect("a shake").sequence, 5);
        stand.start_agent();
    }
    let mut paid: HashMap<u64, u64> = HashMap::new();
    for task in tasks {
        let (phone, gains) = task.await.expect("a user");
        for (packet, cents, ticket) in gains {
            assert_eq!(paid.insert(packet, cents), None, "packet {packet} was opened twice");
            // What was acknowledged stands, whatever was killed since.
            let again = opened(phone.claim_patiently(&ticket).await);
            assert_eq!((again.packet_id, again.cents, again.repeat), (packet, cents, true));
        }
    }
    assert_eq!(stand.stop_gateway(Signal::SIGTERM), Some(0));
    assert_eq!(stand.stop_agent(), Some(0));
    let report = stand.audit();
    assert_eq!(report.total.opened.cents, paid.values().sum::<u64>());
    assert_eq!(report.total.opened.packets, users * 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_killed_gateway_costs_only_the_packets_in_its_hands() {
    let mut stand = Stand::new(GENEROUS_SHOW, "");
    stand.make_seed(50_000, 500);
    stand.start_agent();
    let phone = stand.user(1).await;
    let before = phone.win().await;
    stand.stop_gateway(Signal::SIGKILL);
    stand.start_gateway();
    let phone = stand.user(1).await;
    // The ticket of the earlier life is as good as ever.
    let cents = opened(phone.claim_patiently(&before.ticket).await).cents;
    let after = phone.win().await;
    let more = opened(phone.claim_patiently(&after.ticket).await).cents;
    stand.stop_gateway(Signal::SIGTERM);
    stand.stop_agent();
    let report = stand.audit();
    assert_eq!(report.total.opened.cents, cents + more);
    assert_eq!(
        report.total.void.packets, 0,
        "nothing was between two steps when it was killed"
    );
}

/// Its connection was closed because the gateway ends.
async fn is_told_to_go(phone: &Phone) {
    match tokio::time::timeout(support::PATIENCE, phone.connection.closed())
        .await
        .expect("in time")
    {
        quinn::ConnectionError::ApplicationClosed(close) => {
            let code = shake_proto::code::Code::from_number(close.error_code.into_inner());
            assert_eq!(code, Some(shake_proto::code::Code::GoingAway));
        }
        other => panic!("closed by {other}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn sigterm_tells_the_phones_by_name() {
    let mut stand = Stand::new(GENEROUS_SHOW, "");
    let phone = stand.user(1).await;
    assert_eq!(stand.stop_gateway(Signal::SIGTERM), Some(0));
    is_told_to_go(&phone).await;
    wait("the port is free again", || {
        std::net::UdpSocket::bind(stand.address).is_ok()
    });
}
