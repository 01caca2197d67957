//! A database that came back older, and is halted for all agents by whoever sees it.

use super::{INSTALLATION, OnPostgres, movements, reach, server};
use crate::ledger::{self, Ledger, LedgerError, Loss, Postgres};
use crate::seed_file::SeedFile;
use crate::tests::conformance::scene::{PACKETS, Scene};
use local_postgres::Server;

/// Commits of the first part are missing.
fn lose(server: &Server, name: &str, what: &str) {
    server
        .run(name, &format!("UPDATE parts SET {what} WHERE part = 0"))
        .unwrap();
}

fn refused(agent: &mut Scene<Postgres>) -> LedgerError {
    let now = agent.at();
    agent.ledger.transaction(now, |_| Ok(())).unwrap_err()
}

fn assert_halted(fault: &LedgerError) {
    assert!(
        matches!(fault, LedgerError::Halted { halt, .. } if halt.part == 0),
        "{fault:?}"
    );
    assert!(fault.is_final());
}

/// A standby without the last commits, or a restored copy, is written by nobody: by those neither who lost nothing.
#[test]
fn who_sees_an_older_database_halts_it_for_all() {
    let server = server();
    for (name, what) in [("stamp", "stamp = stamp - 1"), ("epoch", "epoch = epoch - 1")] {
        let kind = OnPostgres::new(&server, name);
        let [mut first, mut second] = [kind.agent(0), kind.agent(1)];
        first.release(4);
        let known = first.ledger.stamp();
        lose(&server, name, what);
        assert_halted(&refused(&mut first));
        first.ledger.refuse_writes("the connection broke".to_owned());
        assert_halted(&reach(&mut first.ledger).unwrap_err());
        assert_halted(&refused(&mut second));
        let seed = *SeedFile::open(&kind.events[0].seed()).unwrap().header();
        let others = [
            Postgres::open(&kind.config, 1, INSTALLATION).map(drop),
            Postgres::survey(&kind.config, &seed, Some(INSTALLATION)).map(drop),
            ledger::adopt(&kind.config, &seed, INSTALLATION, true),
            ledger::retire(&kind.config, 1, true, first.at()).map(drop),
        ];
        for other in others {
            assert_halted(&other.unwrap_err());
        }
        let loss = Loss::look((&kind.config).into()).unwrap();
        let told = |part: u16| (loss.told[&part].stamp, loss.told[&part].released.values().sum::<u64>());
        assert_eq!(told(0), (known, 4));
        assert_eq!(told(1), (second.ledger.stamp(), 0));
    }
}

/// One that is reached anew is looked at before anything is written; and another ledger is not halted.
#[test]
fn another_ledger_is_refused_and_not_halted() {
    let server = server();
    let kind = OnPostgres::new(&server, "foreign");
    let mut agent = kind.agent(0);
    agent.release(2);
    lose(&server, "foreign", "stamp = stamp - 1");
    let other = r"UPDATE ledger SET identity = '\x00000000000000000000000000000001'";
    server.run("foreign", other).unwrap();
    let fault = refused(&mut agent);
    assert!(matches!(fault, LedgerError::OtherState { .. }), "{fault:?}");
    let look = Loss::look((&kind.config).into());
    assert!(matches!(look, Err(LedgerError::NotHalted(_))), "{look:?}");
}

/// Numbers go on far behind what was seen, once, however often it is tried; whoever had the part before is done with.
#[test]
fn numbers_of_a_part_go_on_behind_a_loss() {
    let server = server();
    let kind = OnPostgres::new(&server, "skips");
    let mut agent = kind.agent(0);
    agent.release(PACKETS);
    agent.hear(&[agent.claim(0, 1)]);
    let before = agent.ledger.standing().clone();
    lose(&server, "skips", "stamp = stamp - 1");
    assert_halted(&refused(&mut agent));
    let loss = Loss::look((&kind.config).into()).unwrap();
    for _ in 0..2 {
        let taken = loss.take(0, before.stamp, false).unwrap();
        let mut ledger = Ledger::on(taken).unwrap();
        ledger.transaction(agent.at(), |_| Ok(())).unwrap();
        let (now, skip) = (ledger.standing().numbers, 1 << 32);
        assert_eq!(now.transfer, before.numbers.transfer + skip);
        assert_eq!(now.outbox, before.numbers.outbox + skip);
        assert_eq!(now.made, before.numbers.made + skip as u64);
        assert!(now.incarnation > before.numbers.incarnation + skip);
        assert_eq!(ledger.standing().lost_stamp, before.stamp + skip as u64);
    }
    assert_halted(&Postgres::open(&kind.config, 0, INSTALLATION).unwrap_err());
    loss.end().unwrap();
    let gone = reach(&mut agent.ledger).unwrap_err();
    assert!(matches!(gone, LedgerError::TakenOver(_)), "{gone:?}");
    let mut agent = kind.agent(0);
    agent.released = PACKETS;
    agent.hear(&[agent.claim(1, 1)]);
    assert_eq!(movements(&agent, 1).len(), 2);
}
