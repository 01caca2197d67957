//! Connections that end, move on, or never come about, on real QUIC over the loopback.

mod support;

use client_sim::engine::Stop;
use client_sim::run::{Outcome, Verdict, Watch, run};
use shake_proto::code::Code;
use shake_proto::wire::v1;
use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use support::{Answer, Back, Script, Server, opened, packet_of, play, quick_scenario, reply, win};

#[derive(Default)]
struct CloseOnce {
    closed: Mutex<HashMap<u64, ()>>,
    claims: AtomicU32,
}

impl Script for CloseOnce {
    /// Every user wins at once; the third shake ends the connection, once.
    fn shake(&self, user: u64, sequence: u32) -> Vec<Back> {
        let first = |closed: &Mutex<HashMap<u64, ()>>| closed.lock().expect("sound").insert(user, ()).is_none();
        match sequence {
            1 => vec![Back::Reply(win(sequence, user, 7))],
            4.. if first(&self.closed) => vec![Back::Close(Code::GoingAway)],
            _ => vec![Back::Reply(reply(sequence, v1::Outcome::Nothing))],
        }
    }

    fn hello(&self, user: u64, hello: &v1::Hello) -> Answer {
        let again = self.closed.lock().expect("sound").contains_key(&user);
        assert_eq!(
            !hello.cookie.is_empty(),
            again,
            "the cookie comes back with the second Hello"
        );
        Answer::Reply(v1::reply::Kind::Hello(v1::HelloReply::default()))
    }

    /// Answers only on a second connection.
    fn claim(&self, user: u64, claim: &v1::Claim) -> Answer {
        self.claims.fetch_add(1, Ordering::Relaxed);
        if self.closed.lock().expect("sound").contains_key(&user) {
            opened(packet_of(claim), 5, 7, false)
        } else {
            Answer::Silence
        }
    }
}

#[test]
fn sessions_reconnect_and_take_their_claims_along() {
    let server = Server::start(CloseOnce::default());
    let Outcome { report, verdict, .. } = play(&server, &[("claim_tries_max = 5", "claim_tries_max = 50")]);
    assert_eq!(
        (report.sessions.counts.lost, report.sessions.counts.reconnected),
        (20, 20),
        "{}",
        report.to_text()
    );
    assert_eq!(
        (report.sessions.counts.connected, report.sessions.online_at_end),
        (20, 20)
    );
    assert_eq!(report.errors["connection_closed_going_away"].count, 20);
    assert_eq!((report.claims.counts.opened, report.claims.cents), (20, 100));
    assert!(
        report.shakes.counts.unanswered >= 20,
        "the shake that met the close had no answer"
    );
    assert_eq!(verdict, Verdict::Fine);
}

struct GoAway;

impl Script for GoAway {
    fn shake(&self, user: u64, sequence: u32) -> Vec<Back> {
        let mut backs = vec![Back::Reply(reply(sequence, v1::Outcome::Nothing))];
        if sequence == 3 && user.is_multiple_of(2) {
            let go_away = v1::GoAway {
                reconnect_after_ms: 50,
                alternatives: Vec::new(),
            };
            backs.push(Back::Notice(v1::Notice {
                kind: Some(v1::notice::Kind::GoAway(go_away)),
            }));
        }
        backs
    }
}

#[test]
fn a_notice_to_go_away_is_followed() {
    let server = Server::start(GoAway);
    let report = play(&server, &[]).report;
    let sessions = &report.sessions;
    assert_eq!(
        (
            sessions.counts.told_to_go_away,
            sessions.counts.reconnected,
            sessions.counts.failed
        ),
        (10, 10, 0),
        "{}",
        report.to_text()
    );
    assert_eq!(report.errors["connection_left_as_told"].count, 10);
}

#[test]
fn a_stranger_s_certificate_and_a_forged_token_are_refused() {
    struct Default;
    impl Script for Default {}
    let (server, stranger) = (Server::start(Default), Server::start(Default));
    let mut scenario = quick_scenario(&server, &[("connect_tries_max = 6", "connect_tries_max = 1")]);
    scenario.ca = stranger.certs().join("ca.pem");
    let outcome = run(scenario.clone(), &Watch::default(), &Stop::default(), &mut |_| {}).expect("it begins");
    assert_eq!(
        outcome.verdict,
        Verdict::NobodyConnected,
        "{}",
        outcome.report.to_text()
    );
    assert!(
        outcome
            .report
            .errors
            .keys()
            .any(|name| name.starts_with("connect_tls_alert_"))
    );

    scenario.ca = server.certs().join("ca.pem");
    let key = std::fs::read_to_string(&scenario.token_key).expect("there");
    std::fs::write(&scenario.token_key, key.replace("05", "06")).expect("written");
    let outcome = run(scenario, &Watch::default(), &Stop::default(), &mut |_| {}).expect("it begins");
    assert_eq!(outcome.verdict, Verdict::NobodyConnected);
    assert!(
        outcome.report.sessions.counts.hello_failures["token_forged"] > 0,
        "{}",
        outcome.report.to_text()
    );
}
