//! The same in PostgreSQL; and what only a store of several agents can get wrong.

mod answered;
mod away;
mod books;
mod copies;
mod gifts;
mod halt;
mod locks;
mod parts;
mod paying;
mod tls;

use super::judge::{Round, assert_books, play, rounds};
use super::memory::Memory;
use super::scene::{Kind, PACKETS, Scene, record};
use crate::ledger::{Installation, Ledger, LedgerError, Listing, Look, Postgres, Reached, Seen, State, init};
use crate::requests::Answer;
use crate::seed_file::SeedFile;
use crate::tests::support::Event;
use crate::tests::support::proxy::{Fault, Proxy};
use local_postgres::{AGENT, Server};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use shake_proto::handoff::record::Request;
use shake_rules::seed::{PacketKind, SeedRecord};
use shake_rules::winnings::Won;
use shake_rules::{Cents, LedgerId, PacketId, SponsorId, UserId};
use std::sync::Barrier;
use std::thread;
use std::time::Duration;
use tokio_postgres::Config;

const INSTALLATION: Installation = Installation([1; 16]);
const IDENTITY: LedgerId = LedgerId([9; 16]);
const PARTS: u16 = 2;

/// Where nothing is synced: what these tests break is not the disk.
pub fn server() -> Server {
    Server::start(&std::env::temp_dir(), &["fsync=off", "full_page_writes=off"]).unwrap()
}

/// A database of a server, with the tables for two parts: the seed of the first is that of the other stores.
pub struct OnPostgres {
    events: [Event; PARTS as usize],
    pub config: Config,
}

impl OnPostgres {
    pub fn new(server: &Server, name: &str) -> Self {
        let events = [Event::in_memory(1), Event::in_memory(1)];
        events[0].put_part(&(0..PACKETS).map(record).collect::<Vec<_>>(), 0, PARTS);
        let other = SeedRecord {
            packet: PacketId(900),
            amount: Cents(1),
            sponsor: SponsorId(1),
            kind: PacketKind::Plain,
        };
        events[1].put_part(&[other], 1, PARTS);
        let owner = server.database(name).unwrap();
        let headers = events
            .each_ref()
            .map(|event| *SeedFile::open(&event.seed()).unwrap().header());
        init(&owner, IDENTITY, &headers, AGENT).unwrap();
        let config = server.agent_config(name);
        Self { events, config }
    }

    fn ledger(&self, part: u16) -> Result<Ledger<Postgres>, LedgerError> {
        Ledger::on(Postgres::open(&self.config, part, INSTALLATION)?)
    }

    /// The agent of a part, which makes packets of its own numbers.
    fn agent(&self, part: u16) -> Scene<Postgres> {
        let seed = SeedFile::open(&self.events[usize::from(part)].seed()).unwrap();
        let mut scene = Scene::of(self.ledger(part).unwrap(), &seed);
        scene.judge.rules.part += part;
        scene
    }
}

/// Agents of two parts; the first has released its packets.
fn two_agents(server: &Server, name: &str) -> [Scene<Postgres>; 2] {
    let kind = OnPostgres::new(server, name);
    let mut agents = [kind.agent(0), kind.agent(1)];
    agents[0].release(PACKETS);
    agents
}

impl Kind for OnPostgres {
    type Store = Postgres;

    fn open(&self) -> Ledger<Postgres> {
        self.ledger(0).unwrap()
    }

    fn seed(&self) -> SeedFile {
        SeedFile::open(&self.events[0].seed()).unwrap()
    }
}

#[test]
fn postgres_and_maps_are_the_same_ledger() {
    let server = server();
    let mut number = 0;
    let mut runner = TestRunner::new(ProptestConfig {
        cases: 24,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let same = |(rounds, at_once): (Vec<Round>, usize)| {
        number += 1;
        let kind = OnPostgres::new(&server, &format!("same{number}"));
        let maps = Memory::default();
        drop(Scene::of(Ledger::on(maps.clone()).unwrap(), &kind.seed()));
        // So that codes are the same.
        maps.content().standing.bound.as_mut().unwrap().identity = Some(IDENTITY);
        drop(Scene::of(kind.open(), &kind.seed()));
        let mut found = Scene::of(kind.open(), &kind.seed());
        let mut expected = Scene::of(Ledger::on(maps.clone()).unwrap(), &kind.seed());
        for round in rounds.chunks(1) {
            prop_assert_eq!(play(&mut found, round, at_once), play(&mut expected, round, at_once));
            let (found, expected) = (found.seen(1..=4), expected.seen(1..=4));
            prop_assert_eq!(found.1, expected.1);
            prop_assert_eq!(found.0.numbers, expected.0.numbers);
            prop_assert_eq!(found.0.house, expected.0.house);
            prop_assert_eq!(found.0.spans, expected.0.spans);
        }
        let kept = kind.open();
        prop_assert_eq!(kept.standing().numbers, expected.ledger.standing().numbers);
        prop_assert_eq!(&kept.standing().house, &expected.ledger.standing().house);
        assert_books(&maps.content());
        Ok(())
    };
    let same = std::cell::RefCell::new(same);
    runner
        .run(&(rounds(), 1..40_usize), |input| (same.borrow_mut())(input))
        .unwrap();
}

/// What each agent answers when both hear theirs at the same time.
fn both_at_once(agents: &mut [Scene<Postgres>; 2], requests: &[Vec<Request>; 2]) -> [Vec<Answer>; 2] {
    let start = Barrier::new(2);
    let start = &start;
    thread::scope(|scope| {
        let [first, second] = agents;
        let running = [(first, &requests[0]), (second, &requests[1])].map(|(agent, requests)| {
            scope.spawn(move || {
                start.wait();
                agent.hear(requests)
            })
        });
        running.map(|answers| answers.join().unwrap())
    })
}

/// The same when both hear the same.
fn both_hear(agents: &mut [Scene<Postgres>; 2], requests: &[Request]) -> [Vec<Answer>; 2] {
    both_at_once(agents, &[requests.to_vec(), requests.to_vec()])
}

/// What was answered, whether for the first time or again; and how many were for the first time.
fn told(answers: &[Answer]) -> (Vec<String>, usize) {
    let told = answers.iter().map(|answer| format!("{:?}", answer.reply));
    let told: Vec<String> = told.collect();
    let fresh = told.iter().filter(|text| text.contains("repeat: false")).count();
    (
        told.iter()
            .map(|text| text.replace("repeat: false", "repeat: true"))
            .collect(),
        fresh,
    )
}

/// One answer, whoever gives it, and one of them for the first time.
fn assert_once([first, second]: [Vec<Answer>; 2]) {
    let (first, second) = (told(&first), told(&second));
    assert_eq!(first.0, second.0);
    assert_eq!(first.1 + second.1, 1, "{first:?}");
}

/// Leaves the state of refusing writes, however long it takes.
fn reach(ledger: &mut Ledger<Postgres>) -> Result<(), LedgerError> {
    while ledger.recover()? == Reached::NotYet {
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

fn balance(agent: &Scene<Postgres>, user: u64) -> i64 {
    agent.ledger.user_balance(UserId(user)).unwrap().unwrap_or(0)
}

/// Movements of a user, oldest first. What they sum to is the balance, or money was made.
fn movements(agent: &Scene<Postgres>, user: u64) -> Vec<i64> {
    let Seen::Wallet { balance, movements } = agent.ledger.look(&Look::Wallet(UserId(user), 99)).unwrap() else {
        panic!("a wallet was asked for");
    };
    let cents: Vec<i64> = movements.iter().rev().map(|movement| movement.cents).collect();
    assert_eq!(cents.iter().sum::<i64>(), balance.unwrap_or(0), "user {user}");
    cents
}

/// A user that is not there cannot be locked: without the row that is made first, one of two credits at once is lost.
#[test]
fn a_new_users_packets_opened_by_two_agents_at_once_all_count_and_the_limit_holds() {
    let server = server();
    for round in 0..8 {
        let mut agents = two_agents(&server, &format!("limit{round}"));
        for user in [100, 101] {
            let claims = |first| (first..PACKETS).step_by(2).map(|packet| agents[0].claim(packet, user));
            // From both ends, so that locks would be taken in opposite orders.
            let mut requests: [Vec<_>; 2] = [claims(0).collect(), claims(1).collect()];
            requests[1].reverse();
            both_at_once(&mut agents, &requests);
            assert_eq!(movements(&agents[0], user).len(), 3, "user {user} in round {round}");
        }
    }
}

/// Whoever hears it, and however often: a packet is opened once, a share is taken once, a key makes one packet.
#[test]
fn what_two_agents_hear_at_once_happens_once() {
    let server = server();
    let mut agents = two_agents(&server, "once");
    for packet in 0..PACKETS {
        let (winner, friend) = (200 + packet, 300 + packet);
        let claim = [agents[0].claim(packet, winner)];
        assert_once(both_hear(&mut agents, &claim));
        let won = movements(&agents[1], winner);
        assert_eq!(won.len(), 1);

        let send = [agents[0].send(winner, 1, 1, 1, &[])];
        assert_once(both_hear(&mut agents, &send));
        assert_eq!(balance(&agents[0], winner), won[0] - 1);

        if packet % 2 == 1 {
            let grab = [agents[0].grab(record(packet).packet, friend)];
            assert_once(both_hear(&mut agents, &grab));
            assert_eq!(movements(&agents[0], friend).len(), 1);
        }
    }
}

#[test]
fn what_was_made_in_the_same_transaction_is_grabbed_in_it() {
    let server = server();
    let mut agent = OnPostgres::new(&server, "grabbed_at_once").agent(0);
    let requests = [agent.gift(1, 12, &[2]), agent.grab(Scene::<Postgres>::made(1), 2)];
    let (answers, waiting) = agent.hear_once(&requests, 0..2);
    assert_eq!((answers.len(), waiting), (2, vec![]));
    assert_eq!(balance(&agent, 2), 12);
}

/// Each way in which nobody hears of a commit: the stamp tells, under the lock of the row.
#[test]
fn a_commit_of_which_nobody_heard_took_effect_once_or_not_at_all() {
    let server = server();
    for fault in [Fault::Lost, Fault::AnswerLost, Fault::Late(Duration::from_millis(300))] {
        let mut kind = OnPostgres::new(&server, &format!("doubt-{}", fault.name()));
        let proxy = Proxy::start(&kind.config);
        kind.config = proxy.config();
        let mut agent = kind.agent(0);
        agent.release(3);
        let stamp = agent.ledger.stamp();
        let claims = [agent.claim(0, 1), agent.claim(1, 1)];
        proxy.arm(fault);
        let (origin, now) = (agent.origin(), agent.at());
        let (ledger, judge) = (&mut agent.ledger, &mut agent.judge);
        let outcome = ledger.transaction(now, |batch| {
            judge.hear(
                batch,
                claims.iter().map(|claim| (0, origin, claim)),
                now,
                &mut Vec::new(),
            )
        });
        assert!(matches!(outcome, Err(LedgerError::Postgres { .. })), "{outcome:?}");
        reach(&mut agent.ledger).unwrap();
        let took_effect = u64::from(fault != Fault::Lost);
        assert_eq!(agent.ledger.stamp(), stamp + took_effect + 1, "{fault:?}");
        assert_eq!(movements(&agent, 1).len() as u64, 2 * took_effect, "{fault:?}");
        let first = agent.hear(&claims);
        assert_eq!(told(&first).1 as u64, 2 - 2 * took_effect);
        assert_eq!(told(&agent.hear(&claims)), (told(&first).0, 0));
        assert_eq!(movements(&agent, 1).len(), 2);
    }
}

/// Two agents of one installation, as after a copied machine: the one that came first ends.
#[test]
fn one_agent_has_a_part() {
    let server = server();
    let kind = OnPostgres::new(&server, "fence");
    let mut first = kind.agent(0);
    first.release(2);
    let mut second = kind.agent(0);
    let now = first.at();
    let refused = first.ledger.transaction(now, |_| Ok(()));
    assert!(matches!(refused, Err(LedgerError::TakenOver(_))), "{refused:?}");
    second.hear(&[second.claim(0, 1)]);
    assert_eq!(balance(&second, 1), 30);
    let other = Postgres::open(&kind.config, 0, Installation([2; 16]));
    assert!(matches!(other, Err(LedgerError::OthersPart(_))));
    assert!(matches!(kind.ledger(PARTS), Err(LedgerError::NoPart(_))));
    second.hear(&[second.claim(1, 2)]);
}

/// Whichever gateway gave it: what may be opened, and what was. What went back unopened is nobody's.
#[test]
fn what_a_user_won_is_seen_by_all_agents() {
    let server = server();
    let [first, second] = &mut two_agents(&server, "winnings");
    let seen = |agent: &Scene<Postgres>, user| match agent.ledger.look(&Look::Winnings(UserId(user))).unwrap() {
        Seen::Winnings(winnings) => winnings.as_slice().to_vec(),
        other => panic!("{other:?}"),
    };
    let won = |index| Won {
        packet: record(index).packet,
        sponsor: record(index).sponsor,
    };
    assert_eq!(seen(second, 1), []);
    first.hear(&[
        first.issue(0, 1),
        first.issue(1, 1),
        first.issue(2, 1),
        first.issue(3, 2),
    ]);
    second.hear(&[second.claim(1, 1)]);
    assert_eq!(seen(second, 1), [won(0), won(1), won(2)]);
    // A packet of one's own making is none that was won.
    second.hear(&[second.send(1, 1, 1, 1, &[2])]);
    assert_eq!(seen(first, 1), seen(second, 1));
    // Their time passes, and the ledger is written all the while.
    for _ in 0..30 {
        first.now += 500;
        let now = first.at();
        first.ledger.transaction(now, |_| Ok(())).unwrap();
    }
    assert!(first.expire() > 0);
    assert_eq!((seen(second, 1), seen(second, 2)), (vec![won(1)], vec![]));
}

/// What SQLite's queries call all is here all of one part.
#[test]
fn an_agent_leaves_the_packets_of_other_parts_alone() {
    let server = server();
    let kind = OnPostgres::new(&server, "parts");
    let mut agents = [kind.agent(0), kind.agent(1)];
    agents[0].release(4);
    agents[0].hear(&[agents[0].issue(0, 1)]);
    let [first, second] = &mut agents;
    second.now = first.now + 100_000;
    assert_eq!(second.expire(), 0, "it is not its to send back");
    assert_eq!(second.ledger.first_due().unwrap(), None);
    let now = second.at();
    let listed = second.ledger.transaction(now, |batch| {
        let held = batch.held_of_other_mappings(0)?;
        Ok((held, batch.list(&Listing::OfState(State::Released))?))
    });
    assert_eq!(listed.unwrap(), (vec![], vec![]));
    let seen = second.ledger.packet(record(0).packet).unwrap().unwrap();
    assert_eq!(seen.state, State::Issued, "it sees it all the same");
    second.now = first.now;
    second.hear(&[first.claim(0, 1)]);
    assert_eq!(balance(first, 1), 30, "and opens it");
}
