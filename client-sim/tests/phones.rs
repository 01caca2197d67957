//! What phones make of a gateway that goes away, changes, slows them down or is silent: the same on both engines.

mod support;

use client_sim::engine::Stop;
use client_sim::run::{Outcome, Verdict, Watch, run};
use shake_proto::wire::v1;
use std::collections::HashSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use support::{Answer, Back, Script, Server, quick_scenario, reply};

const ENGINES: [&str; 2] = ["quinn", "lean"];

fn play(server: &Server, engine: &str, changes: &[(&str, &str)]) -> Outcome {
    play_to(Verdict::Fine, server, engine, changes)
}

fn play_to(verdict: Verdict, server: &Server, engine: &str, changes: &[(&str, &str)]) -> Outcome {
    let engine = format!("[engine]\nkind = {engine:?}");
    let changes: Vec<_> = changes.iter().copied().chain([("[engine]", &engine[..])]).collect();
    let outcome = run(
        quick_scenario(server, &changes),
        &Watch::default(),
        &Stop::default(),
        &mut |_| {},
    )
    .expect("the run begins");
    assert_eq!(outcome.verdict, verdict, "{}", outcome.report.to_text());
    let shakes = &outcome.report.shakes;
    let counts = &shakes.counts;
    assert_eq!(counts.sent, counts.answered + counts.unanswered);
    assert_eq!(
        counts.sent + counts.held_back + counts.skipped_offline,
        shakes.scheduled
    );
    outcome
}

/// Sends every user away with the third shake, to a place that does not exist for some and to a good one for others.
struct Leaving {
    alternatives: fn(u64, &str) -> Vec<String>,
    elsewhere: String,
}

impl Script for Leaving {
    fn shake(&self, user: u64, sequence: u32) -> Vec<Back> {
        let mut backs = vec![Back::Reply(reply(sequence, v1::Outcome::Nothing))];
        if sequence == 3 {
            let go_away = v1::GoAway {
                reconnect_after_ms: 50,
                alternatives: (self.alternatives)(user, &self.elsewhere),
            };
            backs.push(Back::Notice(v1::Notice {
                kind: Some(v1::notice::Kind::GoAway(go_away)),
            }));
        }
        backs
    }
}

/// Notes who says Hello.
struct Hosting(Arc<Mutex<HashSet<u64>>>);

impl Script for Hosting {
    fn hello(&self, user: u64, _: &v1::Hello) -> Answer {
        self.0.lock().expect("nobody panics").insert(user);
        Answer::Reply(v1::reply::Kind::Hello(v1::HelloReply::default()))
    }
}

#[test]
fn sessions_go_to_the_gateway_that_they_are_told() {
    for engine in ENGINES {
        let guests = Arc::new(Mutex::new(HashSet::new()));
        let home = Server::start(Hosting(Arc::default()));
        let other = home.start_another(Hosting(guests.clone()));
        let leaving = home.start_another(Leaving {
            alternatives: |user, elsewhere| match user % 3 {
                0 => vec![elsewhere.to_owned()],
                1 => Vec::new(),
                _ => vec!["nowhere at all".to_owned()],
            },
            elsewhere: other.address.to_string(),
        });
        let report = play(&leaving, engine, &[]).report;
        let sessions = &report.sessions.counts;
        // Those who come back are sent away again only when their numbering begins anew, which it does not.
        assert_eq!(
            (sessions.told_to_go_away, sessions.reconnected, sessions.failed),
            (20, 20, 0),
            "{engine}: {}",
            report.to_text()
        );
        let guests = guests.lock().expect("nobody panics");
        assert!(
            guests.iter().all(|user| user.is_multiple_of(3)) && guests.len() == 6,
            "{engine}: {guests:?}"
        );
        assert_eq!(report.errors["go_away_alternative_unusable"].count, 7, "{engine}");
    }
}

/// Counts up its version when the tenth shake of a run has come.
#[derive(Default)]
struct Changing {
    shakes: AtomicU32,
    hellos: AtomicU32,
}

impl Changing {
    fn version(&self) -> u64 {
        3 + u64::from(self.shakes.load(Ordering::Relaxed) >= 10)
    }
}

impl Script for Changing {
    fn hello(&self, _: u64, _: &v1::Hello) -> Answer {
        self.hellos.fetch_add(1, Ordering::Relaxed);
        let version = self.version();
        let name = ["before", "after"][(version - 3) as usize];
        let phase = v1::Phase {
            name: name.into(),
            starts_in_ms: 0,
            ends_in_ms: 60_000,
        };
        Answer::Reply(v1::reply::Kind::Hello(v1::HelloReply {
            config_version: version,
            current_phase: Some(phase),
            ..Default::default()
        }))
    }

    fn shake(&self, _: u64, sequence: u32) -> Vec<Back> {
        self.shakes.fetch_add(1, Ordering::Relaxed);
        vec![Back::Reply(v1::ShakeReply {
            config_version: self.version(),
            ..reply(sequence, v1::Outcome::Greeting)
        })]
    }
}

#[test]
fn a_change_reaches_every_session_and_each_says_hello_again() {
    for engine in ENGINES {
        let server = Server::start(Changing::default());
        let cue = "[[cues]]\nat_s = 0.0\nname = \"custom\"\ncommand = [\"sh\", \"-c\", \"exit 0\"]\n\
                   [[cues]]\nat_s = 0.1\nname = \"missing\"\n[phones]\nhello_delay_ms = [10, 100]\n\
                   [operator]\nprogram = \"/nonexistent/gateway\"\n\n[engine]";
        let report = play_to(Verdict::CueFailed, &server, engine, &[("[engine]", cue)]).report;
        let text = report.to_text();
        let [before, after] = &report.pushes[..] else {
            panic!("{engine}: two versions\n{text}");
        };
        assert_eq!((before.version, before.sessions, before.reached), (3, 0, 0), "{text}");
        assert_eq!((after.version, after.sessions, after.reached), (4, 20, 20), "{text}");
        assert!(after.p50_ms <= after.p99_ms && after.p99_ms <= after.max_ms);
        assert_eq!(
            (report.hellos_again.begun, report.hellos_again.done),
            (20, 20),
            "{text}"
        );
        assert!(
            report.phases["before"]["greeting"] >= 10 && report.phases["after"]["greeting"] >= 20,
            "{text}"
        );
        let cues: Vec<_> = report
            .cues
            .iter()
            .map(|cue| (&cue.name[..], cue.error.as_deref()))
            .collect();
        assert_eq!(cues, [("custom", None), ("missing", Some("not_started"))], "{text}");
    }
}

/// Answers no shake but the first of each user.
struct Silent;

impl Script for Silent {
    fn shake(&self, _: u64, sequence: u32) -> Vec<Back> {
        match sequence {
            1 => vec![Back::Reply(reply(sequence, v1::Outcome::Greeting))],
            _ => vec![Back::Silence],
        }
    }
}

#[test]
fn silence_is_met_with_patience_but_not_by_the_selfish() {
    for engine in ENGINES {
        let server = Server::start(Silent);
        let quick = [
            ("[limits]", "[phones]\nsilence_backoff_ms = [60000, 60000]\n\n[limits]"),
            ("shake_timeout_ms = 1000", "shake_timeout_ms = 100"),
        ];
        let patient = play(&server, engine, &quick).report.shakes.counts;
        assert!(patient.held_back > 0, "{engine}: {patient:?}");
        let changes = [quick[0], quick[1], ("[behaviour]", "[behaviour]\nobey_pace = false")];
        let selfish = play(&server, engine, &changes).report.shakes.counts;
        assert_eq!((selfish.sent, selfish.held_back), (200, 0), "{engine}: {selfish:?}");
    }
}
