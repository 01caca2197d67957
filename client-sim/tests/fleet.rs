//! Phones that know several gateways, on both engines: where they begin, when they leave, and what they take along.

mod support;

use bytes::Bytes;
use client_sim::engine::Stop;
use client_sim::report::Report;
use client_sim::run::{Watch, run};
use shake_proto::code::Code;
use shake_proto::wire::v1;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use support::{Answer, Back, Script, Server, opened, packet_of, quick_fleet, reply, win};

const ENGINES: [&str; 2] = ["quinn", "lean"];
const SPONSOR: u32 = 7;
/// What is waited for between two silences.
const IMPATIENT: (&str, &str) = ("[limits]", "[phones]\nsilence_backoff_ms = [20, 50]\n[limits]");

fn play(home: &Server, gateways: &[(SocketAddr, u32)], engine: &str, changes: &[(&str, &str)]) -> Report {
    let engine = format!("[engine]\nkind = {engine:?}");
    let changes: Vec<_> = changes.iter().copied().chain([("[engine]", &engine[..])]).collect();
    let scenario = quick_fleet(home, gateways, &changes);
    let outcome = run(scenario, &Watch::default(), &Stop::default(), &mut |_| {}).expect("the run begins");
    let report = outcome.report;
    let (scheduled, shakes) = (report.shakes.scheduled, &report.shakes.counts);
    let left_out = shakes.held_back + shakes.skipped_offline;
    assert_eq!(shakes.sent + left_out, scheduled, "{}", report.to_text());
    assert!(report.checks.passed, "{}", report.to_text());
    report
}

/// What a gateway saw of its guests.
#[derive(Clone, Default)]
struct Guests(Arc<Mutex<Seen>>);

#[derive(Default)]
struct Seen {
    /// Who said Hello, with the last cookie.
    hellos: BTreeMap<u64, Bytes>,
    /// Who claimed which packet.
    claims: BTreeSet<(u64, u64)>,
}

impl Guests {
    fn look<R>(&self, of: impl FnOnce(&mut Seen) -> R) -> R {
        of(&mut self.0.lock().expect("nobody panics"))
    }

    fn users(&self) -> BTreeSet<u64> {
        self.look(|seen| seen.hellos.keys().copied().collect())
    }

    fn welcome(&self, user: u64, hello: &v1::Hello) -> Answer {
        self.look(|seen| seen.hellos.insert(user, hello.cookie.clone()));
        Answer::Reply(v1::reply::Kind::Hello(v1::HelloReply::default()))
    }
}

/// Greets, and opens what it is shown.
impl Script for Guests {
    fn hello(&self, user: u64, hello: &v1::Hello) -> Answer {
        self.welcome(user, hello)
    }

    fn claim(&self, user: u64, claim: &v1::Claim) -> Answer {
        let packet = packet_of(claim);
        self.look(|seen| seen.claims.insert((user, packet)));
        opened(packet, 100, SPONSOR, false)
    }
}

#[test]
fn phones_begin_by_weight_and_at_the_same_gateway_again() {
    let mut first_run = None;
    for engine in ENGINES {
        let [some, most, none] = [(); 3].map(|()| Guests::default());
        let home = Server::start(some.clone());
        let (second, third) = (home.start_another(most.clone()), home.start_another(none.clone()));
        let gateways = [(home.address, 1), (second.address, 3), (third.address, 0)];
        let report = play(&home, &gateways, engine, &[]);
        let users = [some, most, none].map(|guests| guests.users());
        let counts = [0, 1, 2].map(|at| users[at].len());
        assert!(counts[0] > 0 && counts[1] > counts[0] && counts[2] == 0, "{counts:?}");
        assert_eq!(
            (counts[0] + counts[1], report.sessions.counts.moved),
            (20, 0),
            "{engine}"
        );
        assert_eq!(*first_run.get_or_insert(users.clone()), users, "the seed says where");
    }
}

/// Gives each user a packet with the first shake, and is not heard of again.
struct Dying(Guests);

impl Script for Dying {
    fn hello(&self, user: u64, hello: &v1::Hello) -> Answer {
        self.0.welcome(user, hello)
    }

    fn shake(&self, user: u64, sequence: u32) -> Vec<Back> {
        match sequence {
            1 => vec![Back::Reply(win(sequence, user, SPONSOR))],
            _ => vec![Back::Silence],
        }
    }

    fn claim(&self, _: u64, _: &v1::Claim) -> Answer {
        Answer::Silence
    }
}

/// Phones notice by what they shake, or by what they claim.
#[test]
fn what_was_won_at_a_gateway_that_died_is_opened_at_another() {
    let by_claims: &[_] = &[IMPATIENT];
    let by_shakes: &[_] = &[
        IMPATIENT,
        ("shake_timeout_ms = 1000", "shake_timeout_ms = 200"),
        ("claim_delay_ms = [5, 20]", "claim_delay_ms = [1500, 2000]"),
    ];
    for (engine, changes) in ENGINES
        .into_iter()
        .flat_map(|engine| [(engine, by_claims), (engine, by_shakes)])
    {
        let (lost, kept) = (Guests::default(), Guests::default());
        let dying = Server::start(Dying(lost.clone()));
        let living = dying.start_another(kept.clone());
        let report = play(&dying, &[(dying.address, 1), (living.address, 0)], engine, changes);
        let (sessions, claims) = (&report.sessions, &report.claims.counts);
        let text = report.to_text();
        assert_eq!(
            (claims.wins, claims.opened, lost.users().len()),
            (20, 20, 20),
            "{engine}\n{text}"
        );
        // On a busy machine, the other may seem to be silent as well.
        assert!(sessions.counts.moved >= 20, "{engine}\n{text}");
        assert!(report.errors["connection_silent"].count >= 20, "{engine}\n{text}");
        kept.look(|seen| {
            assert!(seen.claims.iter().all(|(user, packet)| user == packet) && seen.claims.len() == 20);
            assert_eq!(seen.hellos.len(), 20);
            assert!(seen.hellos.values().all(|cookie| cookie == "limit cookie"));
        });
    }
}

/// Ends every connection with the third shake, without a word of where to go.
struct Ending;

impl Script for Ending {
    fn shake(&self, _: u64, sequence: u32) -> Vec<Back> {
        match sequence {
            3 => vec![Back::Close(Code::GoingAway)],
            _ => vec![Back::Reply(reply(sequence, v1::Outcome::Greeting))],
        }
    }
}

/// The same with a notice before, which names nobody.
struct SendingAway;

impl Script for SendingAway {
    fn shake(&self, _: u64, sequence: u32) -> Vec<Back> {
        let mut backs = vec![Back::Reply(reply(sequence, v1::Outcome::Greeting))];
        if sequence == 3 {
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
fn who_is_closed_or_sent_away_goes_to_another() {
    for engine in ENGINES {
        let guests = Guests::default();
        let home = Server::start(guests.clone());
        for leaving in [home.start_another(Ending), home.start_another(SendingAway)] {
            guests.look(|seen| seen.hellos.clear());
            let report = play(&home, &[(home.address, 0), (leaving.address, 1)], engine, &[]);
            let sessions = &report.sessions;
            let counts = &sessions.counts;
            let text = report.to_text();
            assert_eq!(
                (counts.reconnected, counts.moved, sessions.online_at_end),
                (20, 20, 20),
                "{engine}\n{text}"
            );
            assert_eq!(guests.users().len(), 20, "{engine}\n{text}");
        }
    }
}

#[test]
fn a_gateway_that_is_not_there_keeps_nobody_out() {
    for engine in ENGINES {
        let guests = Guests::default();
        let home = Server::start(guests.clone());
        let gone = home.start_another(Guests::default()).address; // it has ended by now
        let impatient = [("connect_timeout_ms = 3000", "connect_timeout_ms = 200")];
        let report = play(&home, &[(home.address, 1), (gone, 1)], engine, &impatient);
        let counts = &report.sessions.counts;
        let text = report.to_text();
        let failures: u64 = counts.connect_failures.values().sum();
        assert_eq!(
            (counts.connected, counts.failed, guests.users().len()),
            (20, 0, 20),
            "{engine}\n{text}"
        );
        assert!(failures > 0 && counts.moved == failures, "{engine}\n{text}");
    }
}
