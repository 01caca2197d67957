//! Money for gifts, which all parts have in common.

use super::{OnPostgres, PARTS, server};
use crate::ledger::{Account, EVENT_SPONSOR, LedgerError, Postgres, retire};
use crate::seed_file::SeedFile;
use crate::tests::conformance::scene::Scene;
use local_postgres::Server;
use shake_rules::{Cents, UnixMillis};
use std::sync::Barrier;
use std::thread;

const NOW: UnixMillis = UnixMillis(1_000);

impl OnPostgres {
    /// What was funded, over all parts; what lies in the pot; what parts have in hand; and what the accounts of all say.
    fn gifts(&self, server: &Server) -> [i64; 4] {
        [
            "SELECT sum(gift_budget_cents)::bigint FROM parts",
            "SELECT gift_pot_cents FROM ledger",
            "SELECT sum(gifts_cents)::bigint FROM parts",
            "SELECT sum(balance_cents)::bigint FROM house WHERE kind = 2 AND id = 0",
        ]
        .map(|question| server.number(self.config.get_dbname().unwrap(), question).unwrap())
    }
}

/// All agents start with a show at once: its budget is there once. A larger one adds the difference, whoever sees it first.
#[test]
fn a_budget_is_funded_once_whoever_sees_it_first() {
    let server = server();
    for round in 0..4 {
        let kind = OnPostgres::new(&server, &format!("fund{round}"));
        for (budget, funded) in [(70, 70), (100, 100), (50, 100)] {
            let start = Barrier::new(PARTS.into());
            thread::scope(|scope| {
                for part in 0..PARTS {
                    let (kind, start) = (&kind, &start);
                    scope.spawn(move || {
                        let seed = SeedFile::open(&kind.events[usize::from(part)].seed()).unwrap();
                        let mut ledger = kind.ledger(part).unwrap();
                        start.wait();
                        ledger.bind_seed(&seed, Cents(budget), NOW).unwrap();
                    });
                }
            });
            assert_eq!(kind.gifts(&server), [funded, funded, 0, funded], "round {round}");
        }
    }
}

/// What one part has drawn no other one gives; and what it does not give, or what comes back, any may.
#[test]
fn parts_give_from_one_pot() {
    let server = server();
    let kind = OnPostgres::new(&server, "pot");
    // The first one draws all of it.
    let mut agents = [kind.agent(0), kind.agent(1)];
    let given = |agent: &Scene<Postgres>| agent.judge.counters.gifts_made.value();
    let in_hand = |agent: &Scene<Postgres>| agent.ledger.standing().gifts;
    assert_eq!(agents.each_ref().map(in_hand), [Some(70), Some(0)]);
    for (agent, keys) in agents.iter_mut().zip([[1, 2], [3, 4]]) {
        agent.hear(&[agent.gift(keys[0], 20, &[1, 2])]);
        agent.hear(&[agent.gift(keys[1], 40, &[3])]);
    }
    assert_eq!(agents.each_ref().map(given), [2, 0]);
    assert_eq!(agents[1].judge.counters.gifts_unfunded.value(), 2);
    assert_eq!(kind.gifts(&server), [70, 0, 10, 10]);

    agents[0].ledger.put_gifts_back(NOW).unwrap();
    assert_eq!(agents[1].ledger.draw_gifts(4, 0, NOW).unwrap(), 4);
    assert_eq!(
        agents[1].ledger.draw_gifts(40, 0, NOW).unwrap(),
        6,
        "as many as are there"
    );
    agents[1].hear(&[agents[1].gift(5, 10, &[4])]);
    assert_eq!(agents.each_ref().map(given), [2, 1]);
    assert_eq!(kind.gifts(&server), [70, 0, 0, 0]);

    // What nobody grabs comes back to the part that sends it back.
    while agents[0].ledger.first_due().unwrap().is_some() {
        agents[0].now += 500;
        agents[0].expire();
    }
    assert_eq!(in_hand(&agents[0]), Some(60));
    assert_eq!(kind.gifts(&server), [70, 0, 60, 60]);
    drop(agents);
    assert_eq!(kind.ledger(0).unwrap().standing().gifts, Some(60), "it is kept");
    let other = kind.ledger(1).unwrap();
    let house = &other.standing().house;
    assert_eq!(
        house[&Account::Sponsor(EVENT_SPONSOR)],
        -10,
        "what it gave another part funded"
    );
}

/// A transaction that fails draws nothing.
#[test]
fn what_fails_leaves_the_pot_as_it_was() {
    let server = server();
    let kind = OnPostgres::new(&server, "undrawn");
    let mut agent = kind.agent(0);
    agent.ledger.put_gifts_back(NOW).unwrap();
    let failed = agent.ledger.transaction(NOW, |batch| {
        assert_eq!(batch.draw_gifts(30, 0)?, 30);
        Err::<(), _>(LedgerError::StillOut("somewhere".into()))
    });
    assert!(failed.is_err());
    assert_eq!(agent.ledger.standing().gifts, Some(0));
    assert_eq!(kind.gifts(&server), [70, 70, 0, 70]);
}

/// A part that draws ahead leaves most of the pot to the others, and what its machine burns with comes back when it is retired.
#[test]
fn a_part_leaves_the_others_most_of_the_pot() {
    let server = server();
    let kind = OnPostgres::new(&server, "ahead");
    let [mut first, mut second] = [0, 1].map(|part| {
        let seed = SeedFile::open(&kind.events[usize::from(part)].seed()).unwrap();
        let mut ledger = kind.ledger(part).unwrap();
        ledger.bind_seed(&seed, Cents(16_000), NOW).unwrap();
        ledger
    });
    assert_eq!(first.draw_gifts(0, 16_000, NOW).unwrap(), 1_000);
    assert_eq!(
        second.draw_gifts(14_000, 600, NOW).unwrap(),
        14_100,
        "what is needed, and some more"
    );
    assert_eq!(kind.gifts(&server), [16_000, 900, 15_100, 16_000]);
    drop((first, second));
    retire(&kind.config, 0, true, NOW).unwrap();
    assert_eq!(kind.gifts(&server), [16_000, 1_900, 14_100, 16_000]);
}
