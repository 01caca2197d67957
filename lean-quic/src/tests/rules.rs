//! Each rule on a clean link.

use super::super::{CloseReason, Refused};
use super::pair::{Pair, Seen};
use super::setup::{Link, Setup, client_config};
use crate::Micros;
use quinn_proto::{AckFrequencyConfig, HashedConnectionIdGenerator, VarInt};
use std::time::Duration;

#[test]
fn a_handshake_takes_one_round_trip_and_is_let_go() {
    let mut pair = Pair::connected(Setup::default());
    assert_eq!(pair.now, Micros::from_ms(20));
    pair.run_for(Micros::from_ms(500));
    assert_eq!(pair.count(&Seen::Connected), 1);
    assert!(pair.client.is_open() && pair.closed().is_none());
    assert!(format!("{:?}", pair.client).contains("handshake: None"), "confirmed");
    assert!(!pair.server().is_handshaking());
}

#[test]
fn requests_datagrams_and_notices_go_both_ways() {
    let mut pair = Pair::connected(Setup::default());
    let stream = pair.request(b"echo me");
    let big = pair.request(b"big");
    pair.client.send_datagram(b"shake").expect("it is taken");
    pair.run_for(Micros::from_ms(500));
    assert!(pair.notify(b"a notice"));
    pair.run_for(Micros::from_ms(500));
    assert_eq!(pair.count(&Seen::Response(stream.0, b"echo me".to_vec())), 1);
    assert_eq!(pair.count(&Seen::Response(big.0, vec![b'b'; 20_000])), 1);
    assert_eq!(pair.count(&Seen::Datagram(b"shake".to_vec())), 1);
    assert_eq!(pair.count(&Seen::Notice(b"a notice".to_vec())), 1);
    assert!(pair.closed().is_none());
}

#[test]
fn resets_stops_and_oversized_responses_are_told() {
    let mut pair = Pair::connected(Setup::default());
    let reset = pair.request(b"reset");
    let mut long = vec![b's'; 8_000];
    long[0] = b's';
    let stopped = pair.request(&long);
    let oversized = pair.request(b"oversized");
    pair.run_for(Micros::from_s(1));
    assert_eq!(pair.count(&Seen::Reset(reset.0, 9)), 1);
    assert_eq!(pair.count(&Seen::Reset(stopped.0, 8)), 1);
    assert_eq!(pair.count(&Seen::Oversized(oversized.0)), 1);
    let again = pair.request(b"echo");
    pair.run_for(Micros::from_s(1));
    assert_eq!(pair.count(&Seen::Response(again.0, b"echo".to_vec())), 1);
    assert!(pair.closed().is_none());
    assert!(
        format!("{:?}", pair.client).contains("streams: None"),
        "{:?}",
        pair.client
    );
}

#[test]
fn a_cancelled_request_has_no_more_events_and_leaves_nothing() {
    let mut pair = Pair::connected(Setup::default());
    let stream = pair.request(b"big");
    pair.flush();
    pair.client.cancel_request(stream, 1);
    pair.run_for(Micros::from_s(1));
    assert!(
        !pair
            .seen
            .iter()
            .any(|seen| matches!(seen, Seen::Response(..) | Seen::Reset(..)))
    );
    assert!(
        format!("{:?}", pair.client).contains("streams: None"),
        "{:?}",
        pair.client
    );
}

#[test]
fn a_retry_is_followed() {
    let mut pair = Pair::connected(Setup {
        asks_retry: true,
        ..Setup::default()
    });
    assert_eq!(pair.now, Micros::from_ms(40), "two round trips");
    let stream = pair.request(b"echo");
    pair.run_for(Micros::from_ms(200));
    assert_eq!(pair.count(&Seen::Response(stream.0, b"echo".to_vec())), 1);
}

#[test]
fn keys_updated_by_the_server_are_followed() {
    let mut pair = Pair::settled(Setup::default());
    for round in 0..5_u8 {
        pair.server().force_key_update();
        pair.server().ping();
        pair.client.send_datagram(&[round]).expect("it is taken");
        pair.run_for(Micros::from_s(2));
        assert_eq!(pair.count(&Seen::Datagram(vec![round])), 1);
    }
    assert!(pair.closed().is_none(), "{:?}", pair.seen);
    assert!(format!("{:?}", pair.client).contains("DataKeys(phase 1)"));
}

#[test]
fn connection_ids_are_replaced_when_the_server_wants_it() {
    let mut setup = Setup::default();
    setup.endpoint.cid_generator(|| {
        let mut generator = HashedConnectionIdGenerator::new();
        generator.set_lifetime(Duration::from_secs(2));
        Box::new(generator)
    });
    setup.client.keep_alive = Micros::from_s(1);
    let mut pair = Pair::settled(setup);
    pair.run_for(Micros::from_s(20));
    let tokens = pair
        .seen
        .iter()
        .filter(|seen| matches!(seen, Seen::ResetToken(_)))
        .count();
    assert!(tokens >= 5, "{tokens}");
    pair.client.send_datagram(b"still here").expect("it is taken");
    pair.run_for(Micros::from_ms(100));
    assert_eq!(pair.count(&Seen::Datagram(b"still here".to_vec())), 1);
}

#[test]
fn tiny_windows_are_waited_for() {
    let mut setup = Setup::default();
    setup
        .transport
        .stream_receive_window(VarInt::from_u32(100))
        .receive_window(VarInt::from_u32(150))
        .max_concurrent_bidi_streams(VarInt::from_u32(2));
    let mut pair = Pair::connected(setup);
    let request = vec![b'e'; 2_000];
    let streams = [pair.request(&request), pair.request(&request)];
    assert_eq!(pair.client.open_request(b"e"), Err(Refused::StreamLimit));
    pair.run_until(|pair| pair.count(&Seen::StreamsAvailable) == 1);
    let third = pair.request(b"e3");
    pair.run_for(Micros::from_s(5));
    for stream in streams {
        assert_eq!(pair.count(&Seen::Response(stream.0, request.clone())), 1);
    }
    assert_eq!(pair.count(&Seen::Response(third.0, b"e3".to_vec())), 1);
    assert!(pair.closed().is_none());
}

#[test]
fn the_server_is_told_once_that_streams_are_waited_for() {
    let mut setup = Setup::default();
    setup.transport.max_concurrent_bidi_streams(VarInt::from_u32(0));
    let mut pair = Pair::settled(setup);
    let before = pair.sent;
    for _ in 0..200 {
        assert_eq!(pair.client.open_request(b"e"), Err(Refused::StreamLimit));
        pair.run_for(Micros::from_ms(5));
    }
    assert!(pair.sent - before <= 2, "{} packets", pair.sent - before);
}

#[test]
fn our_grants_are_renewed_for_ever() {
    let mut setup = Setup::default();
    setup.client.response_bytes_max = 2_000;
    let mut pair = Pair::settled(setup);
    for round in 0..60_u32 {
        let notice = vec![round as u8; 1_500];
        assert!(pair.notify(&notice), "round {round}");
        let request = vec![b'e'; 1_900];
        let stream = pair.request(&request);
        pair.run_for(Micros::from_ms(100));
        assert_eq!(pair.count(&Seen::Notice(notice)), 1, "round {round}");
        assert_eq!(pair.count(&Seen::Response(stream.0, request)), 1, "round {round}");
    }
    let too_long = vec![0; 2_001];
    assert!(pair.notify(&too_long));
    pair.run_for(Micros::from_ms(100));
    assert_eq!(pair.count(&Seen::NoticeLost), 1);
}

#[test]
fn what_cannot_be_sent_is_refused_by_name() {
    let mut setup = Setup::default();
    setup.transport.datagram_receive_buffer_size(None);
    let mut pair = Pair::new(setup);
    assert_eq!(pair.client.send_datagram(b"early"), Err(Refused::NotConnected));
    assert_eq!(pair.client.open_request(b"early"), Err(Refused::NotConnected));
    pair.run_until(|pair| pair.seen.contains(&Seen::Connected));
    assert_eq!(
        pair.client.send_datagram(b"unsupported"),
        Err(Refused::DatagramsUnsupported)
    );
    assert_eq!(pair.client.open_request(&[0; 9_000]), Err(Refused::TooLarge));

    let mut pair = Pair::connected(Setup::default());
    assert_eq!(pair.client.send_datagram(&[0; 1_001]), Err(Refused::TooLarge));
    let mut taken = 0;
    while pair.client.send_datagram(&[0; 1_000]).is_ok() {
        taken += 1;
    }
    assert_eq!((taken, pair.client.send_datagram(&[0; 1_000])), (8, Err(Refused::Busy)));
    pair.run_for(Micros::from_ms(200));
    assert_eq!(pair.count(&Seen::Datagram(vec![0; 1_000])), 8);
}

/// Packets that a client sends for ten shakes, so far apart, each of which is answered.
fn packets_of_ten_shakes(setup: Setup, apart: Micros) -> u64 {
    let mut pair = Pair::settled(setup);
    let before = pair.sent;
    for round in 0..10 {
        pair.client.send_datagram(&[round]).expect("it is taken");
        pair.run_for(apart);
    }
    pair.sent - before
}

#[test]
fn an_acknowledgement_waits_for_something_to_ride_on() {
    let mut setup = Setup::default();
    setup.client.ack_delay_ms_max = 10_000;
    setup.link = Link {
        latency: Micros::from_ms(1),
        ..Link::CLEAN
    };
    let packets = packets_of_ten_shakes(setup, Micros::from_s(3));
    assert_eq!(packets, 10, "a packet for each shake, and none besides");
}

#[test]
fn acknowledgements_wait_as_long_as_the_server_asks() {
    // Answers come after 200 ms, and 100 ms before the next shake.
    let packets = |asked: Option<AckFrequencyConfig>| {
        let mut setup = Setup::default();
        setup.transport.ack_frequency_config(asked);
        setup.link = Link {
            latency: Micros::from_ms(100),
            ..Link::CLEAN
        };
        packets_of_ten_shakes(setup, Micros::from_ms(300))
    };
    assert_eq!(packets(None), 20, "a packet for each shake, and one for each answer");
    let mut asked = AckFrequencyConfig::default();
    asked.max_ack_delay(Some(Duration::from_millis(150)));
    assert_eq!(packets(Some(asked)), 10, "the next shake acknowledges");
}

#[test]
fn only_the_newest_wish_of_the_server_holds() {
    let mut pair = Pair::settled(Setup::default());
    let before = pair.sent;
    // After nine packets or half a second; older, and again, after two milliseconds.
    for frames in [
        &[0x40, 0xaf, 7, 9, 0x80, 0x07, 0xa1, 0x20, 1][..],
        &[0x40, 0xaf, 6, 9, 0x47, 0xd0, 1],
        &[0x40, 0xaf, 7, 9, 0x47, 0xd0, 1],
    ] {
        pair.inject(pair.client.forge(frames, 0, false));
    }
    pair.run_for(Micros::from_ms(400));
    assert_eq!(pair.sent - before, 0, "it waits");
    pair.inject(pair.client.forge(&[0x1f], 0, false));
    pair.run_for(Micros::from_ms(1));
    assert_eq!(pair.sent - before, 1, "now it is wanted");
}

#[test]
fn a_keep_alive_holds_an_idle_connection() {
    let mut setup = Setup::default();
    setup.client.idle_timeout = Micros::from_s(10);
    setup.client.keep_alive = Micros::from_s(4);
    let mut pair = Pair::settled(setup);
    pair.run_for(Micros::from_s(100));
    assert!(pair.client.is_open());
    assert!(pair.sent < 80, "{}", pair.sent);

    let mut setup = Setup {
        client: client_config(),
        ..Setup::default()
    };
    setup.client.idle_timeout = Micros::from_s(10);
    let mut pair = Pair::settled(setup);
    pair.run_for(Micros::from_s(100));
    assert_eq!(pair.closed(), Some(&CloseReason::TimedOut));
    assert!(pair.client.is_drained() && pair.client.next_timeout().is_none());
}
