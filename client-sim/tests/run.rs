//! Whole runs against a scripted server: real QUIC over the loopback.

mod support;

use bytes::Bytes;
use client_sim::engine::Stop;
use client_sim::run::{Outcome, Verdict, Watch, run};
use shake_proto::code::Code;
use shake_proto::wire::v1;
use std::collections::HashMap;
use std::sync::Mutex;
use support::{Answer, Back, Script, Server, claimed, opened, packet_of, play, quick_scenario, reply, win};

/// Wins one packet per user, on the user's first shake, and opens it by what `claim` says.
struct OneWinEach<F> {
    claim: F,
    tries: Mutex<HashMap<u64, u32>>,
}

impl<F: Fn(u64, u32) -> Answer + Send + Sync + 'static> OneWinEach<F> {
    /// `claim` gets the packet and how often it was tried before.
    fn new(claim: F) -> Self {
        Self {
            claim,
            tries: Mutex::default(),
        }
    }
}

impl<F: Fn(u64, u32) -> Answer + Send + Sync + 'static> Script for OneWinEach<F> {
    fn shake(&self, user: u64, sequence: u32) -> Vec<Back> {
        vec![Back::Reply(if sequence == 1 {
            win(sequence, user, 7)
        } else {
            reply(sequence, v1::Outcome::Nothing)
        })]
    }

    fn claim(&self, user: u64, claim: &v1::Claim) -> Answer {
        assert_eq!(packet_of(claim), user, "each claims what it won");
        assert_eq!(&claim.cookie[..], b"limit cookie");
        let mut tries = self.tries.lock().expect("no test panics in here");
        let tries = tries.entry(user).or_default();
        *tries += 1;
        (self.claim)(user, *tries - 1)
    }
}

#[test]
fn all_goes_well() {
    let server = Server::start(OneWinEach::new(|packet, _| opened(packet, 100 + packet, 7, false)));
    let Outcome {
        report,
        opened,
        verdict,
        ..
    } = play(&server, &[]);
    assert_eq!(verdict, Verdict::Fine, "{}", report.to_text());
    assert_eq!(
        (
            report.sessions.counts.connected,
            report.sessions.counts.failed,
            report.sessions.counts.lost
        ),
        (20, 0, 0)
    );
    assert_eq!(
        (
            report.shakes.counts.sent,
            report.shakes.counts.answered,
            report.shakes.counts.unexpected
        ),
        (200, 200, 0)
    );
    assert_eq!((report.outcomes["red_packet"], report.outcomes["nothing"]), (20, 180));
    assert_eq!(
        (
            report.claims.counts.wins,
            report.claims.counts.opened,
            report.claims.counts.course.unfinished
        ),
        (20, 20, 0)
    );
    let cents: u64 = (1..=20).map(|user| 100 + user).sum();
    assert_eq!(
        (report.claims.cents, report.claims.cents_by_sponsor[&7]),
        (cents, cents)
    );
    assert_eq!(report.latency.count, 200);
    let mut packets: Vec<_> = opened.iter().map(|opened| (opened.packet, opened.user)).collect();
    packets.sort_unstable();
    assert_eq!(packets, (1..=20).map(|user| (user, user)).collect::<Vec<_>>());
}

#[test]
fn busy_silent_and_reset_claims_are_tried_again() {
    let server = Server::start(OneWinEach::new(|packet, tries| match (packet % 4, tries) {
        (0, 0) => claimed(v1::claim_reply::Result::Busy(v1::Busy {
            retry_after_ms: 30,
            blocked: false,
        })),
        (1, 0) => Answer::Silence,
        (2, 0) => Answer::Reset(Code::TooMany),
        (3, _) => claimed(v1::claim_reply::Result::Busy(v1::Busy {
            retry_after_ms: 1,
            blocked: false,
        })),
        // The silent one had been opened all the same.
        (rest, _) => opened(packet, 10, 7, rest == 1),
    }));
    let report = play(&server, &[]).report;
    let claims = &report.claims;
    assert_eq!(
        (
            claims.counts.wins,
            claims.counts.opened,
            claims.counts.course.repeats,
            claims.counts.course.gave_up
        ),
        (20, 15, 5, 5),
        "{}",
        report.to_text()
    );
    assert_eq!(
        (claims.counts.course.busy, claims.counts.course.retries, claims.cents),
        (5 + 5 * 5, 15 + 5 * 4, 150)
    );
    assert_eq!(
        (
            report.errors["claim_timeout"].count,
            report.errors["claim_too_many"].count
        ),
        (5, 5)
    );
    assert!(report.checks.passed);
}

#[test]
fn refusals_and_errors_are_named() {
    let server = Server::start(OneWinEach::new(|packet, _| {
        let reason = match packet % 3 {
            0 => v1::Reason::LimitReached,
            1 => v1::Reason::TicketExpired,
            _ => return Answer::Reset(Code::Unsupported),
        };
        claimed(v1::claim_reply::Result::Refused(v1::Refused { reason: reason as i32 }))
    }));
    let report = play(&server, &[]).report;
    let claims = &report.claims;
    assert_eq!(
        (
            claims.counts.course.refused["limit_reached"],
            claims.counts.course.refused["ticket_expired"],
            claims.counts.course.failed
        ),
        (6, 7, 7)
    );
    assert_eq!(
        (
            claims.counts.opened,
            claims.cents,
            report.errors["claim_unsupported"].count
        ),
        (0, 0, 7)
    );
}

struct LoseSome;

impl Script for LoseSome {
    fn shake(&self, user: u64, sequence: u32) -> Vec<Back> {
        match user {
            1 => vec![Back::Silence],
            2 => vec![Back::Reply(reply(sequence + 1_000, v1::Outcome::Nothing))],
            3 => vec![Back::Reply(v1::ShakeReply {
                outcome: 77,
                ..reply(sequence, v1::Outcome::Nothing)
            })],
            _ => vec![Back::Reply(reply(sequence, v1::Outcome::RestPage))],
        }
    }
}

#[test]
fn lost_shakes_are_unanswered_and_strange_answers_are_named() {
    let server = Server::start(LoseSome);
    let Outcome { report, verdict, .. } = play(&server, &[]);
    assert_eq!(
        (report.shakes.counts.unanswered, report.shakes.counts.unexpected),
        (20, 10),
        "{}",
        report.to_text()
    );
    assert_eq!((report.outcomes["unknown_77"], report.outcomes["rest_page"]), (10, 170));
    assert!((report.shakes.unanswered_share - 0.1).abs() < 1e-9);
    assert_eq!(verdict, Verdict::Fine);
}

struct SlowDown;

impl Script for SlowDown {
    fn shake(&self, _user: u64, sequence: u32) -> Vec<Back> {
        let slow_down = Some(v1::SlowDown {
            grade: 3,
            retry_after_ms: 10_000,
            blocked: false,
        });
        vec![Back::Reply(v1::ShakeReply {
            slow_down,
            ..reply(sequence, v1::Outcome::SlowDown)
        })]
    }
}

#[test]
fn slow_down_is_obeyed_by_those_who_obey() {
    let server = Server::start(SlowDown);
    let obeyed = play(&server, &[]).report;
    assert_eq!(
        (obeyed.shakes.counts.sent, obeyed.shakes.counts.held_back),
        (20, 180),
        "{}",
        obeyed.to_text()
    );
    assert_eq!((obeyed.shakes.counts.unanswered, obeyed.outcomes["slow_down"]), (0, 20));
    let half = play(&server, &[("[behaviour]", "[behaviour]\nobey_pace = 0.5")]).report;
    assert_eq!((half.shakes.counts.sent, half.shakes.counts.held_back), (10 + 100, 90));
}

#[test]
fn phones_without_datagrams_shake_on_streams() {
    let server = Server::start(OneWinEach::new(|packet, _| opened(packet, 1, 7, false)));
    let report = play(&server, &[("[behaviour]", "[behaviour]\nuse_streams_for_shakes = 0.5")]).report;
    let shakes = &report.shakes;
    assert_eq!(
        (
            shakes.counts.sent_on_streams,
            shakes.counts.answered,
            report.claims.counts.opened
        ),
        (100, 200, 20),
        "{}",
        report.to_text()
    );
}

#[test]
fn what_no_correct_gateway_does_fails_the_run() {
    struct Garbage;
    impl Script for Garbage {
        fn shake(&self, _user: u64, _sequence: u32) -> Vec<Back> {
            vec![Back::Raw(Bytes::from_static(&[0xff; 9]))]
        }
    }
    let garbage = play(&Server::start(Garbage), &[]);
    assert_eq!(
        (garbage.verdict, garbage.report.checks.violations.malformed_replies),
        (Verdict::ChecksFailed, 200)
    );

    let sponsor = play(
        &Server::start(OneWinEach::new(|packet, _| opened(packet, 1, 8, false))),
        &[],
    );
    assert_eq!(
        (sponsor.verdict, sponsor.report.checks.violations.wrong_sponsor),
        (Verdict::ChecksFailed, 20)
    );

    let twice = play(
        &Server::start(OneWinEach::new(|packet, _| opened(packet.max(2), 1, 7, false))),
        &[],
    );
    assert_eq!(
        (twice.verdict, twice.report.checks.violations.opened_twice),
        (Verdict::ChecksFailed, vec![2])
    );
}

#[test]
fn a_request_to_stop_ends_the_run_with_a_report() {
    struct Default;
    impl Script for Default {}
    let server = Server::start(Default);
    let scenario = quick_scenario(&server, &[("seconds = 1", "seconds = 600")]);
    let stop = Stop::default();
    let outcome = run(scenario, &Watch::default(), &stop, &mut |snapshot| {
        if snapshot.tally.shakes.answered >= 20 && stop.asked() == 0 {
            stop.ask();
        }
    });
    let report = outcome.expect("it begins").report;
    assert!(report.stopped_early && report.shakes.counts.answered >= 20);
    assert_eq!(
        report.shakes.counts.sent,
        report.shakes.counts.answered + report.shakes.counts.unanswered
    );
}
