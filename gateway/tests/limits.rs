//! Users whom a gateway does not know again: by their cookie, which they may drop, and by their address, which may change.

mod support;

use nix::sys::signal::Signal;
use shake_proto::wire::v1;
use shake_rules::seed::PacketKind;
use support::{Stand, TWO_EACH_SHOW, win_all};
use v1::claim_reply::Result as Claimed;

/// Not a test of its own: the agent process of the others.
#[test]
fn agent_process() {
    support::be_the_agent_if_asked();
}

fn stand() -> Stand {
    let mut stand = Stand::new(TWO_EACH_SHOW, "");
    stand.make_seed_of(60_000, 600, 3, PacketKind::Plain);
    stand.start_agent();
    stand
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
    let phone = stand.user(1).await;
    let packet = phone.win().await;
    let refused = v1::Refused {
        reason: v1::Reason::LimitReached as i32,
    };
    assert_eq!(phone.claim_patiently(&packet.ticket).await, Claimed::Refused(refused));
    stand.stop_gateway(Signal::SIGTERM);
    stand.stop_agent();
    assert_eq!(stand.audit().total.opened.packets, 2);
}
