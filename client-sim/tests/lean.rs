//! The lean engine against a scripted server that is not ours: the same runs as the other engine's, with the same
//! counts.

mod support;

use client_sim::engine::lean;
use client_sim::engine::{Finished, Job, Stop, Target};
use client_sim::run::{read_authority, read_token_key};
use client_sim::scenario::Scenario;
use shake_proto::code::Code;
use shake_proto::wire::v1;
use shake_rules::UnixMillis;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use support::{Answer, Back, Script, Server, opened, packet_of, quick_scenario, reply, win};

/// The job of a scenario, against the server at this address.
fn job(scenario: Scenario, address: SocketAddr) -> Job {
    Job {
        targets: vec![Target { address, weight: 1 }],
        roots: read_authority(&scenario.ca).expect("a file"),
        tokens: read_token_key(&scenario.token_key).expect("a file"),
        started_at: UnixMillis(1), // the server checks tokens at that time
        dial: Default::default(),
        scenario,
    }
}

fn play(server: &Server, changes: &[(&str, &str)]) -> Finished {
    let scenario = quick_scenario(server, changes);
    let finished = lean::run(job(scenario, server.address), &Stop::default(), &mut |_| {}).expect("the run begins");
    let shakes = &finished.tally.shakes;
    assert_eq!(shakes.sent, shakes.answered + shakes.unanswered, "{:?}", finished.tally);
    assert_eq!(shakes.sent + shakes.held_back + shakes.skipped_offline, 200);
    finished
}

struct WinOnce;

impl Script for WinOnce {
    fn shake(&self, user: u64, sequence: u32) -> Vec<Back> {
        vec![Back::Reply(match sequence {
            1 => win(sequence, user, 7),
            _ => reply(sequence, v1::Outcome::Nothing),
        })]
    }

    fn claim(&self, _: u64, claim: &v1::Claim) -> Answer {
        opened(packet_of(claim), 100, 7, false)
    }
}

#[test]
fn all_goes_well_on_datagrams_and_on_streams() {
    for streams in ["0.0", "0.5"] {
        let server = Server::start(WinOnce);
        let behaviour = format!("[behaviour]\nuse_streams_for_shakes = {streams}");
        let finished = play(&server, &[("[behaviour]", &behaviour)]);
        let tally = &finished.tally;
        assert_eq!(
            (finished.online, tally.sessions.connected, tally.sessions.lost),
            (20, 20, 0),
            "{tally:?}"
        );
        assert_eq!((tally.shakes.answered, tally.shakes.unexpected), (200, 0), "{tally:?}");
        assert_eq!(
            (tally.claims.wins, tally.claims.opened, tally.claims.course.unfinished),
            (20, 20, 0),
            "{tally:?}"
        );
        assert!(tally.errors.is_empty() && tally.violations.is_clean(), "{tally:?}");
    }
}

/// Greets at the second try, resets one claim, stays silent on another, and closes the connection of a third user.
#[derive(Default)]
struct Moody {
    hellos: AtomicU32,
    claims: AtomicU32,
}

impl Script for Moody {
    fn hello(&self, user: u64, _: &v1::Hello) -> Answer {
        if user == 3 && self.hellos.fetch_add(1, Ordering::Relaxed) == 0 {
            return Answer::Reset(Code::TooMany);
        }
        Answer::Reply(v1::reply::Kind::Hello(v1::HelloReply::default()))
    }

    fn shake(&self, user: u64, sequence: u32) -> Vec<Back> {
        match (user, sequence) {
            (5, 3) => vec![Back::Close(Code::GoingAway)],
            (6, 2) => vec![Back::Silence],
            _ => WinOnce.shake(user, sequence),
        }
    }

    fn claim(&self, user: u64, claim: &v1::Claim) -> Answer {
        match self.claims.fetch_add(1, Ordering::Relaxed) {
            0 => Answer::Reset(Code::TooMany),
            1 => Answer::Silence,
            _ => WinOnce.claim(user, claim),
        }
    }
}

#[test]
fn what_fails_is_counted_and_tried_again() {
    let server = Server::start(Moody::default());
    let finished = play(&server, &[]);
    let tally = &finished.tally;
    assert_eq!(
        (finished.online, tally.sessions.connected, tally.sessions.failed),
        (20, 20, 0),
        "{tally:?}"
    );
    assert_eq!((tally.sessions.lost, tally.sessions.reconnected), (1, 1), "{tally:?}");
    assert_eq!(tally.sessions.hello_failures.values().sum::<u64>(), 1, "{tally:?}");
    assert_eq!((tally.claims.opened, tally.claims.course.retries), (20, 2), "{tally:?}");
    assert!(tally.shakes.unanswered >= 2, "{tally:?}");
    assert!(tally.violations.is_clean(), "{tally:?}");
}

#[test]
fn a_gateway_that_is_not_there_is_given_up() {
    let server = Server::start(WinOnce);
    let address = server.address;
    drop(server);
    let other = Server::start(WinOnce);
    let finished = {
        let impatient = [
            ("connect_timeout_ms = 3000", "connect_timeout_ms = 200"),
            ("connect_tries_max = 6", "connect_tries_max = 2"),
        ];
        let scenario = quick_scenario(&other, &impatient);
        lean::run(job(scenario, address), &Stop::default(), &mut |_| {}).expect("the run begins")
    };
    assert_eq!((finished.online, finished.tally.sessions.connected), (0, 0));
    assert!(
        finished.tally.sessions.connect_failures["timed_out"] >= 2,
        "{:?}",
        finished.tally
    );
}
