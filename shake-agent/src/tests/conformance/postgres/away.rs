//! A server that is away: frozen behind its port, or gone.

use super::{OnPostgres, Proxy, movements, reach, server};
use crate::ledger::{LedgerError, Postgres, Reached};
use crate::tests::conformance::scene::Scene;
use std::time::{Duration, Instant};

fn write(agent: &mut Scene<Postgres>) -> Result<(), LedgerError> {
    let now = agent.at();
    agent.ledger.transaction(now, |_| Ok(()))
}

/// Whoever says how long is not kept for longer, and goes on with other things while the server is reached anew.
#[test]
fn a_server_that_is_silent_holds_up_nobody_and_is_reached_beside() {
    let server = server();
    let mut kind = OnPostgres::new(&server, "silent");
    let proxy = Proxy::start(&kind.config);
    kind.config = proxy.config();
    let mut agent = kind.agent(0);
    agent.release(2);
    let claims = [agent.claim(0, 1)];
    proxy.freeze(true);
    agent
        .ledger
        .wait_until(Some(Instant::now() + Duration::from_millis(50)));
    let refused = write(&mut agent);
    assert!(matches!(&refused, Err(fault) if fault.is_away()), "{refused:?}");
    assert!(agent.ledger.is_away());
    // Nothing of it is waited for, though nobody answers.
    for _ in 0..3 {
        assert_eq!(agent.ledger.recover().unwrap(), Reached::NotYet);
    }
    let refused = write(&mut agent);
    assert!(
        matches!(refused, Err(LedgerError::Failed(_))),
        "until it is reached anew"
    );
    proxy.freeze(false);
    agent.ledger.wait_until(None);
    while let Err(fault) = reach(&mut agent.ledger) {
        assert!(fault.is_away(), "{fault}");
    }
    assert!(!agent.ledger.is_away() && agent.ledger.failure().is_none());
    agent.hear(&claims);
    assert_eq!(movements(&agent, 1).len(), 1);
}

/// What the server says of itself is told apart from what it says of a statement.
#[test]
fn what_is_away_is_told_by_its_class() {
    let server = server();
    let kind = OnPostgres::new(&server, "classes");
    let hang_up = || {
        let others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'classes'";
        server.run("postgres", others).unwrap();
    };
    let mut agent = kind.agent(0);
    // An operator ends the connection; and the server that is there then only reads, as a standby does.
    let read_only = "ALTER DATABASE classes SET default_transaction_read_only = on";
    server.run("postgres", read_only).unwrap();
    hang_up();
    let refused = write(&mut agent).unwrap_err();
    assert!(refused.is_away(), "{refused}");
    let refused = reach(&mut agent.ledger).unwrap_err();
    assert!(
        refused.is_away() && refused.to_string().contains("read-only"),
        "{refused}"
    );
    let writable = "ALTER DATABASE classes RESET default_transaction_read_only";
    server.run("postgres", writable).unwrap();
    reach(&mut agent.ledger).unwrap();
    write(&mut agent).unwrap();
    // A table that is gone does not come back by waiting.
    server.run("classes", "ALTER TABLE parts RENAME TO gone").unwrap();
    let refused = write(&mut agent).unwrap_err();
    assert!(!refused.is_away(), "{refused}");
}
