//! Single datagrams that are lost or late at the beginning of a session and after it: a phone is let in all the same, what it
//! sent early is not lost, and a reply that it does not acknowledge is asked for. What each costs in time tells
//! `cargo xtask bench beginnings`.

mod support;

use bytes::Bytes;
use quinn::udp::EcnCodepoint;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;
use support::line::{Fate, Line, Way, is_long};
use support::{GENEROUS_SHOW, Phone, Stand, wait};

/// Datagrams of a handshaking session that the gateway holds.
const HELD_MAX: u64 = 4;

async fn is_served(phone: &Phone) {
    assert_eq!(phone.shake_by_datagram(7).await.sequence, 7);
}

/// A judge of datagrams with long headers to the gateway behind the first, which bear Finished: whether one is let pass,
/// told by how many of them and of those with short headers came so far.
fn of_finished(mut fate: impl FnMut(usize, usize) -> Fate + Send + 'static) -> Arc<Line> {
    let (mut long, mut short) = (0, 0);
    Line::new(move |way, datagram| match (way, is_long(datagram)) {
        (Way::ToPhone, _) => Fate::Passes,
        (Way::ToGateway, false) => {
            short += 1;
            Fate::Passes
        }
        (Way::ToGateway, true) => {
            long += 1;
            if long == 1 { Fate::Passes } else { fate(long - 1, short) }
        }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hello_that_overtakes_finished_is_held_and_served() {
    let stand = Stand::new(GENEROUS_SHOW, "");
    let line = of_finished(|number, _| if number == 1 { Fate::Overtaken } else { Fate::Passes });
    let phone = stand.phone_over(&line).await;
    phone.hello(stand.token(1)).await.expect("a good Hello");
    assert!(stand.metric("gateway_packets_early_total") >= 1);
    assert_eq!(stand.metric("gateway_packets_early_dropped_total"), 0);
    assert_eq!(
        phone.connection.stats().path.lost_packets,
        0,
        "nothing was lost, and nothing sent again"
    );
    is_served(&phone).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hello_behind_a_lost_finished_is_held_and_served() {
    let stand = Stand::new(GENEROUS_SHOW, "");
    let line = of_finished(|number, _| if number == 1 { Fate::Lost } else { Fate::Passes });
    let phone = stand.phone_over(&line).await;
    phone.hello(stand.token(1)).await.expect("a good Hello");
    assert!(stand.metric("gateway_packets_early_total") >= 1);
    is_served(&phone).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_is_held_than_four_datagrams() {
    let stand = Stand::new(GENEROUS_SHOW, "");
    // Finished comes after twice as many as are held.
    let line = of_finished(|_, short| {
        if short < 2 * HELD_MAX as usize {
            Fate::Lost
        } else {
            Fate::Passes
        }
    });
    let phone = stand.phone_over(&line).await;
    let chatter = phone.connection.clone();
    let chatting = tokio::spawn(async move {
        while chatter.send_datagram(Bytes::from_static(&[8, 1])).is_ok() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    phone.hello(stand.token(1)).await.expect("a good Hello");
    chatting.abort();
    assert_eq!(stand.metric("gateway_packets_early_total"), HELD_MAX);
    assert!(stand.metric("gateway_packets_early_dropped_total") >= 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_ends_while_something_is_held_leaves_nothing() {
    let stand = Stand::new(GENEROUS_SHOW, "[sessions]\nhello_timeout_s = 1\n");
    let line = of_finished(|_, _| Fate::Lost);
    let phone = stand.phone_over(&line).await;
    phone
        .connection
        .send_datagram(Bytes::from_static(&[8, 1]))
        .expect("datagrams are on");
    wait("something is held", || stand.metric("gateway_packets_early_total") >= 1);
    wait("the session is over", || stand.metric("gateway_sessions") == 0);
    assert_eq!(stand.metric("gateway_handshakes"), 0);
    // The next session, which has the same index, gets nothing of it.
    is_served(&stand.user(2).await).await;
}

/// A phone after its Hello, and what makes the next datagram to it be lost.
async fn phone_that_misses(stand: &Stand) -> (Phone, Arc<AtomicBool>, Arc<AtomicUsize>) {
    let (misses, missed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let (is_missed, count) = (Arc::clone(&misses), Arc::clone(&missed));
    let line = Line::new(move |way, _| {
        if way == Way::ToPhone && is_missed.swap(false, SeqCst) {
            count.fetch_add(1, SeqCst);
            return Fate::Lost;
        }
        Fate::Passes
    });
    let phone = stand.phone_over(&line).await;
    phone.hello(stand.token(1)).await.expect("a good Hello");
    is_served(&phone).await;
    (phone, misses, missed)
}

/// With phones that let acknowledgements ride, and with others.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_reply_is_asked_for() {
    for (pace_ms, rides) in [(50, true), (5_000, false)] {
        let show = GENEROUS_SHOW.replace("start_s = 0", &format!("pace_ms = {pace_ms}\nstart_s = 0"));
        let stand = Stand::new(&show, "");
        let (phone, misses, missed) = phone_that_misses(&stand).await;
        assert_eq!(phone.connection.stats().frame_rx.ack_frequency > 0, rides);
        // What the beginning had to be asked for is over.
        tokio::time::sleep(Duration::from_millis(300)).await;
        let before = stand.metric("gateway_pings_total");
        misses.store(true, SeqCst);
        phone.hello(stand.token(1)).await.expect("a good Hello");
        assert_eq!(missed.load(SeqCst), 1);
        let pings = stand.metric("gateway_pings_total") - before;
        assert!((1..=2).contains(&pings), "{pings} pings, riding: {rides}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn shakes_by_datagram_are_never_asked_for() {
    let stand = Stand::new(GENEROUS_SHOW, "");
    let (phone, misses, missed) = phone_that_misses(&stand).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let before = stand.metric("gateway_pings_total");
    misses.store(true, SeqCst);
    is_served(&phone).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(
        (missed.load(SeqCst), stand.metric("gateway_pings_total") - before),
        (1, 0)
    );
}

/// Acknowledgements count marked packets (RFC 9000, section 13.4.1): a phone that finds none counted stops to mark.
#[tokio::test(flavor = "multi_thread")]
async fn a_phone_that_marks_its_packets_goes_on_marking() {
    let stand = Stand::new(GENEROUS_SHOW, "");
    let line = Line::new(|_, _| Fate::Passes);
    let phone = stand.phone_over(&line).await;
    phone.hello(stand.token(1)).await.expect("a good Hello");
    for _ in 0..10 {
        is_served(&phone).await;
    }
    assert_eq!(line.mark(), Some(EcnCodepoint::Ect0));
}
