//! How connections end.

use super::super::{CloseReason, Code, Config, tls};
use super::pair::{Pair, Seen};
use super::setup::{ALPN, LOCAL, Setup, client_config};
use crate::Micros;
use quinn_proto::{EndpointConfig, HashedConnectionIdGenerator};
use rustls::RootCertStore;
use std::sync::Arc;
use std::time::Duration;

#[test]
fn the_servers_close_is_told_with_its_code() {
    let mut pair = Pair::settled(Setup::default());
    pair.server_close(77);
    pair.run_for(Micros::from_ms(50));
    assert_eq!(pair.closed(), Some(&CloseReason::Application(77)));
    let sent = pair.sent;
    pair.run_for(Micros::from_s(30));
    assert!(pair.client.is_drained());
    assert_eq!(pair.sent, sent, "nothing is sent while draining");
}

#[test]
fn our_close_reaches_the_server_and_is_repeated_for_stragglers_only() {
    for early in [false, true] {
        let mut pair = if early {
            Pair::connected(Setup::default())
        } else {
            Pair::settled(Setup::default())
        };
        let now = pair.now;
        let mut seen = Vec::new();
        pair.client.close(now, 5, &mut |event| seen.push(Seen::from(event)));
        assert_eq!(seen, [Seen::Closed(CloseReason::Here)]);
        pair.run_for(Micros::from_ms(100));
        assert!(pair.server().is_closed(), "early: {early}");
        pair.run_for(Micros::from_s(30));
        assert!(pair.client.is_drained());
    }
}

#[test]
fn a_close_before_anything_came_is_padded_and_harmless() {
    let mut pair = Pair::new(Setup::default());
    pair.flush();
    pair.client.close(Micros::ZERO, 5, &mut |_| {});
    pair.run_for(Micros::from_s(100));
    assert!(pair.client.is_drained());
}

#[test]
fn a_stateless_reset_ends_it_and_a_false_one_does_not() {
    let endpoint = || {
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &[1; 32]);
        let mut endpoint = EndpointConfig::new(Arc::new(key));
        endpoint
            .cid_generator(|| Box::new(HashedConnectionIdGenerator::from_key(7)))
            .min_reset_interval(Duration::ZERO);
        endpoint
    };
    let setup = Setup {
        endpoint: endpoint(),
        ..Setup::default()
    };
    let mut pair = Pair::settled(setup);
    let Some(Seen::ResetToken(token)) = pair
        .seen
        .iter()
        .rev()
        .find(|seen| matches!(seen, Seen::ResetToken(_)))
        .cloned()
    else {
        panic!("the server gives a token");
    };
    let mut wrong = token;
    wrong[15] ^= 1;
    pair.inject([&[0x41; 30][..], &wrong].concat());
    pair.inject(token.to_vec());
    assert_eq!(pair.closed(), None);

    pair.forget_server(endpoint());
    pair.client.send_datagram(&[0; 200]).expect("it is taken");
    pair.run_for(Micros::from_ms(50));
    assert_eq!(pair.closed(), Some(&CloseReason::Reset));
}

#[test]
fn another_version_only_ends_it_by_name() {
    let mut setup = Setup::default();
    setup.endpoint.supported_versions(vec![0xff00_001d]);
    let mut pair = Pair::new(setup);
    pair.run_until(|pair| pair.closed().is_some());
    assert_eq!(pair.closed(), Some(&CloseReason::VersionMismatch));

    // One that lists our version is void, and so is any once the server was heard.
    let mut pair = Pair::new(Setup::default());
    let negotiation = |version: u32| {
        [
            &[0x80, 0, 0, 0, 0, 8][..],
            &LOCAL,
            &[8],
            b"original",
            &version.to_be_bytes(),
        ]
        .concat()
    };
    pair.inject(negotiation(1));
    assert_eq!(pair.closed(), None);
    pair.run_until(|pair| pair.seen.contains(&Seen::Connected));
    pair.inject(negotiation(2));
    assert_eq!(pair.closed(), None);
}

#[test]
fn a_server_that_cannot_be_trusted_is_told_so() {
    let stranger = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a valid name");
    let mut roots = RootCertStore::empty();
    roots.add(stranger.cert.der().clone()).expect("a certificate");
    let client = Config {
        tls: tls(roots, ALPN).expect("TLS"),
        ..client_config()
    };
    let mut pair = Pair::new(Setup {
        client,
        ..Setup::default()
    });
    pair.run_until(|pair| pair.closed().is_some());
    let Some(CloseReason::Local(error)) = pair.closed() else {
        panic!("{:?}", pair.seen);
    };
    assert!((0x100..0x200).contains(&error.code.0), "a TLS alert: {error}");
    pair.run_for(Micros::from_ms(100));
    assert!(pair.server().is_closed());
}

#[test]
fn another_protocol_is_refused_in_tls() {
    let mut client = client_config();
    client.tls.alpn_protocols = vec![b"other".to_vec()];
    let mut pair = Pair::new(Setup {
        client,
        ..Setup::default()
    });
    pair.run_until(|pair| pair.closed().is_some());
    let no_application_protocol = Code::tls_alert(120);
    assert_eq!(pair.closed(), Some(&CloseReason::Transport(no_application_protocol.0)));
}

#[test]
fn a_server_that_never_answers_times_out() {
    let mut pair = Pair::new(Setup::default());
    pair.link.loss = 1.0;
    pair.run_until(|pair| pair.closed().is_some());
    assert_eq!(pair.closed(), Some(&CloseReason::TimedOut));
    assert!(pair.sent < 12, "probes back off: {}", pair.sent);
    assert!(!pair.is_served());
}
