//! The books closed after a night of everything: by a process that dies at each step and is run again, and by hand.

use super::child::{ABORT, spawn, wait};
use super::night::{assert_closed, close, closed, config, night, night_with, now};
use crate::closing::{self, Outlook};
use crate::crash::{CLOSE_POINTS, POINTS, SETTLEMENT_POINTS};
use crate::ledger::{Ledger, LedgerError};
use crate::run::{self, Closing, RunError};
use crate::settlement;
use crate::signals::Stop;
use rusqlite::Connection;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;

const DIRECTORY: &str = "SHAKE_AGENT_CLOSE_DIRECTORY";

#[test]
fn what_nobody_won_goes_back_and_the_statement_says_so_by_name() {
    let night = night();
    let event = &night.event;
    let before: Outlook = closing::outlook(&event.config(), now()).unwrap();
    assert!(!before.is_clear(now()) && before.agent.is_none(), "{before}");
    assert_eq!(
        (before.lost.packets, before.void.packets, before.sent.packets),
        (8, 2, 1)
    );
    let statement = closed(event);
    assert_closed(&night, &statement, "at once");
    // The outlook was right: only the claim in the ring was still to come.
    let back: u64 = before.back.iter().map(|returned| returned.cents).sum();
    assert!(back > statement.total.back_cents && before.owed_cents < statement.owed_cents);
    let text = statement.to_string();
    for word in [
        "gala <night>",
        "Acme & Sons",
        "Globex",
        "the event (gifts)",
        "opening",
        "midnight",
        "10.00",
    ] {
        assert!(text.contains(word), "{word}: {text}");
    }
    let page = statement.to_page();
    for word in ["gala &lt;night&gt;", "Acme &amp; Sons", "@media print", "midnight"] {
        assert!(page.contains(word), "{word}");
    }
    assert!(!page.contains("http"), "it needs nothing else");
    // Told again, it says the same, and nothing was written.
    let bytes = std::fs::read(event.ledger()).unwrap();
    assert_eq!(closed(event), statement);
    assert!(std::fs::read(event.ledger()).unwrap() == bytes);
    let after = closing::outlook(&event.config(), now()).unwrap();
    assert_eq!(after.closed_ms, Some(statement.ledgers[0].closed_ms));
    assert!(after.is_clear(now()) && after.back.is_empty(), "{after}");
    // Nobody serves it any more, and nobody writes to it.
    let error = run::run(&event.config(), &Stop::default()).unwrap_err();
    assert_eq!(error.exit_code(), run::EXIT_REFUSED);
    assert!(matches!(error, RunError::Ledger(LedgerError::Closed { .. })), "{error}");
    let mut ledger = Ledger::open(&event.ledger()).unwrap();
    let written = ledger.transaction(now(), |_| Ok(()));
    assert!(matches!(written, Err(LedgerError::Closed { .. })));
}

/// What was opened by commits that are lost is paid by whoever has their lines: it goes back to nobody.
#[test]
fn what_lost_commits_opened_stays_in_the_void_and_is_named() {
    let night = night();
    let event = &night.event;
    let lost = event.assert_balanced().lost_packets[0];
    let mut ledger = Ledger::open(&event.ledger()).unwrap();
    ledger
        .transaction(now(), |batch| {
            batch.load_packet(lost)?;
            batch.note_paid_lost(lost);
            Ok(())
        })
        .unwrap();
    drop(ledger);
    let report = event.assert_balanced();
    assert_eq!((report.total.lost.packets, &report.paid_packets[..]), (7, &[lost][..]));
    let statement = closed(event);
    let report = event.assert_balanced();
    assert_eq!((&report.paid_packets[..], report.total.void.packets), (&[lost][..], 0));
    let (left, paid) = (statement.total.void_cents, report.total.paid.cents);
    assert!(left == paid && paid > 0, "{left} and {paid}");
    for line in statement.sponsors.iter().chain([&statement.total]) {
        let where_it_is = line.users_cents + line.back_cents + line.void_cents;
        assert_eq!(line.funded_cents, where_it_is, "{line:?}");
    }
    let text = statement.to_string();
    assert!(
        text.contains("for a person to decide") && text.contains(&lost.lettered()),
        "{text}"
    );
}

/// A settlement file that is lost after the closing is written again, the same bytes.
#[test]
fn a_closed_ledger_still_writes_its_settlement_file_again() {
    let night = night();
    let event = &night.event;
    let statement = closed(event);
    let file = event.path("settlement.log");
    let first = std::fs::read(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    let error = close(event).unwrap_err();
    assert_eq!(error.exit_code(), 1, "{error}");
    settlement::begin(&file, &event.ledger()).unwrap();
    assert_eq!(closed(event), statement);
    assert!(std::fs::read(&file).unwrap() == first);
}

#[test]
fn books_that_do_not_balance_are_not_closed() {
    let night = night();
    let event = &night.event;
    let connection = Connection::open(event.ledger()).unwrap();
    let changed = connection.execute(
        "UPDATE house SET balance_cents = balance_cents + 1 WHERE kind = 2 AND id = 1",
        [],
    );
    assert_eq!(changed, Ok(1));
    drop(connection);
    let error = close(event).unwrap_err();
    assert_eq!(error.exit_code(), 1);
    assert!(error.to_string().contains("do not balance"), "{error}");
    let connection = Connection::open(event.ledger()).unwrap();
    let sql = "UPDATE house SET balance_cents = balance_cents - 1 WHERE kind = 2 AND id = 1";
    connection.execute(sql, []).unwrap();
    drop(connection);
    assert!(event.path("rings").exists());
    assert_closed(&night, &closed(event), "once mended");
}

/// What was altered after the closing is found.
#[test]
fn a_closed_ledger_that_was_altered_is_told() {
    let night = night();
    let event = &night.event;
    closed(event);
    for (sql, kind) in [
        ("UPDATE outbox SET number = number + 1 WHERE kind = 7", "closing_line"),
        ("UPDATE outbox SET balance_cents = balance_cents + 1 WHERE kind = 7", "closing_line"),
        ("DELETE FROM outbox WHERE kind = 7", "closing_line"),
        (
            "INSERT INTO outbox SELECT seq + 1, at_ms, user, cents, kind, packet, transfer, number, balance_cents, incarnation
             FROM outbox WHERE kind = 7",
            "closing_line",
        ),
        (
            "UPDATE house SET balance_cents = balance_cents + 1 WHERE kind = 2 AND id = 1",
            "closed_rest",
        ),
        (
            "UPDATE packets SET state = 4 WHERE packet = (SELECT min(packet) FROM packets WHERE state = 6 AND sponsor = 1)",
            "closed_rest",
        ),
    ] {
        let copy = event.path("copy.db");
        let _ = std::fs::remove_file(&copy);
        std::fs::copy(event.ledger(), &copy).unwrap();
        let connection = Connection::open(&copy).unwrap();
        assert_eq!(connection.execute(sql, []), Ok(1), "{sql}");
        drop(connection);
        let report = crate::audit::audit(&copy, &event.seed(), |_, _| {}).unwrap();
        let kinds: Vec<_> = report.differences.iter().map(|difference| difference.kind).collect();
        assert!(kinds.contains(&kind), "{sql}: {report}");
    }
}

/// Records that nobody could read may have been those of tickets: what is with that shard is lost first, for the time of a ticket.
#[test]
fn with_a_damaged_ring_nothing_goes_back_before_a_ticket_could_have_ended() {
    let night = night_with(|front| front.push_bytes(0, b"no record at all"));
    let event = &night.event;
    assert_closed(&night, &closed(event), "after a damaged record");
    let connection = crate::ledger::open_read_only(&event.ledger()).unwrap();
    let sql = "SELECT count(*) FROM transfers WHERE debit_kind = 1 AND credit_kind = 3";
    let found: i64 = connection.query_row(sql, [], |row| row.get(0)).unwrap();
    assert!(found > 8 + 2, "those of the ring were lost as well: {found}");
}

/// Not a test by itself: what the child process runs.
#[test]
fn child() {
    let Ok(directory) = std::env::var(DIRECTORY) else {
        return;
    };
    let closed = run::close(&config(Path::new(&directory)), &Stop::default(), |_| {});
    assert!(matches!(closed, Ok(Closing::Closed(_))), "{closed:?}");
}

/// Dies at the n-th passing of a step, if it comes there, and is run again.
fn check(point: &str, nth: u32) {
    let what = format!("{point}@{nth}");
    let night = night();
    let directory = night.event.directory.path();
    let status = wait(&mut spawn("tests::close::child", DIRECTORY, directory, Some(&what)));
    if CLOSE_POINTS.contains(&point) {
        assert_eq!(status.signal(), Some(ABORT), "{what}");
    }
    // Whatever was done by then stands, and says of itself how far it is.
    night.event.assert_balanced();
    let told = crate::ledger::closed_at(&night.event.ledger()).unwrap();
    let statement = closed(&night.event);
    assert!(
        told.is_none_or(|at| at.0 == statement.ledgers[0].closed_ms),
        "{what}: closed once"
    );
    assert_closed(&night, &statement, &what);
}

#[test]
fn it_may_die_at_any_step_and_is_run_again() {
    let steps: Vec<(&str, u32)> = CLOSE_POINTS
        .iter()
        .map(|point| (*point, 1))
        .chain(POINTS.iter().map(|point| (*point, 1)))
        // The last commits: what the rings held, what went back, and the closing.
        .chain((2..8).map(|nth| ("turn:before-commit", nth)))
        .chain(
            SETTLEMENT_POINTS
                .iter()
                .flat_map(|point| (1..4).map(|nth| (*point, nth))),
        )
        .collect();
    // They wait for most of their time.
    std::thread::scope(|scope| {
        let running: Vec<_> = steps
            .iter()
            .map(|&(point, nth)| scope.spawn(move || check(point, nth)))
            .collect();
        for check in running {
            check.join().unwrap();
        }
    });
}
