//! Links that lose, repeat and reorder. Everything but datagrams must arrive all the same.

use super::pair::{Pair, Seen};
use super::setup::{LOCAL, Link, Setup};
use crate::Micros;

/// Plays a session through a bad link: handshake, requests, datagrams, notices, a key update.
fn check(link: Link, asks_retry: bool) {
    let mut setup = Setup {
        link,
        asks_retry,
        ..Setup::default()
    };
    // A lost datagram must not be taken for the end.
    setup.client.idle_timeout = Micros::from_s(120);
    let mut pair = Pair::connected(setup);
    for round in 0..7_u8 {
        let request = vec![b'e'; 250 * usize::from(round) + 1];
        let streams = [pair.request(&request), pair.request(b"big")];
        // Not in the first round: what overtakes the end of the handshake is dropped by the server.
        for n in 0..if round == 0 { 0 } else { 20 } {
            pair.client.send_datagram(&[round, n]).expect("it is taken");
        }
        pair.run_until(|pair| pair.count(&Seen::Response(streams[0].0, request.clone())) == 1);
        assert!(pair.notify(&[round; 900]));
        if round == 3 {
            pair.run_for(Micros::from_s(3));
            pair.server().force_key_update();
        }
        pair.run_until(|pair| {
            pair.count(&Seen::Response(streams[1].0, vec![b'b'; 20_000])) == 1
                && pair.count(&Seen::Notice(vec![round; 900])) == 1
        });
    }
    pair.run_for(Micros::from_s(20));
    assert!(pair.client.is_open(), "{link:?}: {:?}", pair.closed());
    let datagrams: Vec<_> = pair
        .seen
        .iter()
        .filter(|seen| matches!(seen, Seen::Datagram(_)))
        .collect();
    let mut distinct = datagrams.clone();
    distinct.dedup();
    assert!(datagrams.len() <= 120, "a repeated packet is not a repeated datagram");
    assert!(link.loss > 0.0 || datagrams.len() == 120, "{}", datagrams.len());
    assert_eq!(pair.client.bytes_in_flight(), 0);
    let text = format!("{:?}", pair.client);
    assert!(
        text.contains("streams: None") && text.contains("sent: []"),
        "{link:?}: nothing is left over: {text}"
    );
}

#[test]
fn sessions_survive_loss() {
    for seed in 0..12 {
        check(
            Link {
                seed,
                loss: 0.1,
                ..Link::CLEAN
            },
            seed % 4 == 0,
        );
    }
}

#[test]
fn sessions_survive_reordering_and_duplication() {
    for seed in 0..12 {
        let jitter = Micros::from_ms(30);
        check(
            Link {
                seed,
                duplication: 0.3,
                jitter,
                ..Link::CLEAN
            },
            seed % 4 == 0,
        );
    }
}

#[test]
fn sessions_survive_all_of_it_at_once() {
    for seed in 0..12 {
        let jitter = Micros::from_ms(15);
        check(
            Link {
                seed,
                loss: 0.25,
                duplication: 0.2,
                jitter,
                ..Link::CLEAN
            },
            seed % 4 == 0,
        );
    }
}

/// Each of the first datagrams in either direction is lost alone, and then any two of them.
#[test]
fn a_handshake_survives_the_loss_of_any_datagram() {
    for first in 0..12 {
        for second in first..12 {
            let mut pair = Pair::new(Setup::default());
            let mut at = 0;
            pair.tamper = Some(Box::new(move |datagram| {
                if at == first || at == second {
                    datagram.clear();
                }
                at += 1;
            }));
            pair.run_until(|pair| pair.seen.contains(&Seen::Connected));
            let stream = pair.request(b"echo");
            pair.run_until(|pair| pair.count(&Seen::Response(stream.0, b"echo".to_vec())) == 1);
            pair.run_for(Micros::from_s(10));
            assert!(
                format!("{:?}", pair.client).contains("handshake: None"),
                "{first} and {second}"
            );
        }
    }
}

/// The server may not send all of a long certificate before it knows the address (RFC 9000, section 8.1). When it then
/// hears nothing, only the client's probes can go on, with nothing of its own under way (RFC 9002, section 6.2.2.1).
#[test]
fn a_server_that_may_not_send_more_is_untied() {
    for silenced in 1..6 {
        let mut pair = Pair::new(Setup {
            has_long_certificate: true,
            ..Setup::default()
        });
        let mut from_client = 0;
        pair.tamper = Some(Box::new(move |datagram| {
            // The client's long headers: its own ID stands behind one of the server's of 8 bytes.
            if datagram.get(15..23) == Some(&LOCAL) {
                from_client += 1;
                if (2..2 + silenced).contains(&from_client) {
                    datagram.clear();
                }
            }
        }));
        pair.run_until(|pair| pair.seen.contains(&Seen::Connected));
        assert!(pair.client.is_open());
    }
}
