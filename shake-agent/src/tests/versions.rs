//! Ledgers of versions 2 and 3: read by whatever only reads, and never continued. And what version 4 knows of itself.

use super::night::{closed, night};
use super::play::{DAY, Real};
use super::support::EVENT;
use crate::audit;
use crate::export::{self, Format, What};
use crate::ledger::{Commits as _, Ledger, LedgerError, State};
use crate::requests::EXPIRY_GRACE_MS;
use crate::story;
use rusqlite::Connection;
use shake_rules::{LedgerId, UnixMillis, UserId};

/// One opened, one split and partly grabbed, one sent and gone back.
fn played() -> Real {
    let mut real = Real::new();
    (0..3).for_each(|index| real.release(index));
    let now = UnixMillis(real.now);
    real.claim(EVENT, 0, 1, 1, now);
    real.claim(EVENT, 1, 2, 2, now);
    real.grab(real.records[1].packet, 3);
    real.send(1, 1, 10, 2, &[3, 4].into());
    real.pass(DAY + EXPIRY_GRACE_MS);
    assert_eq!(real.expire(), 2);
    real.restart();
    real
}

/// Makes of a ledger what version 2 would have made of it.
pub fn make_version_2(ledger: &std::path::Path) {
    let sql = "
        DROP TABLE commits; DROP TABLE incarnations; DROP TABLE spans;
        ALTER TABLE seed DROP COLUMN identity; ALTER TABLE seed DROP COLUMN settlement_ms; ALTER TABLE seed DROP COLUMN made_before;
        ALTER TABLE users DROP COLUMN lines;
        ALTER TABLE packets DROP COLUMN ends_ms;
        ALTER TABLE sends DROP COLUMN hash;
        ALTER TABLE outbox DROP COLUMN number; ALTER TABLE outbox DROP COLUMN balance_cents;
        ALTER TABLE outbox DROP COLUMN incarnation;
        DELETE FROM outbox WHERE kind = 5;
        CREATE TEMP TABLE renumbered AS SELECT *, row_number() OVER (ORDER BY seq) AS number FROM outbox;
        DELETE FROM outbox;
        INSERT INTO outbox SELECT number, at_ms, user, cents, kind, packet, transfer FROM renumbered;
        PRAGMA user_version = 2;";
    Connection::open(ledger).unwrap().execute_batch(sql).unwrap();
}

/// Makes of a ledger what version 3 would have made of it.
pub fn make_version_3(ledger: &std::path::Path) {
    let sql = "
        ALTER TABLE incarnations DROP COLUMN machine;
        DROP INDEX packets_void;
        UPDATE packets SET state = 4 WHERE state = 8;
        PRAGMA user_version = 3;";
    Connection::open(ledger).unwrap().execute_batch(sql).unwrap();
}

fn rows(real: &Real, what: What) -> String {
    let mut out = Vec::new();
    export::export(&real.event.ledger().into(), what, Format::Csv, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

/// The rows without their last column but one, which version 2 does not have.
fn without_ends(rows: &str) -> Vec<Vec<&str>> {
    let mut rows: Vec<Vec<&str>> = rows.lines().map(|row| row.split(',').collect()).collect();
    for row in &mut rows {
        row.remove(row.len() - 2);
    }
    rows
}

#[test]
fn a_ledger_of_version_2_is_read_by_every_tool_and_never_continued() {
    let mut real = played();
    let user = UserId(1);
    let story_before = story::user(&real.event.ledger().into(), user).unwrap();
    let packets_before = rows(&real, What::Packets);
    real.close();
    make_version_2(&real.event.ledger());

    let report = real.event.audit();
    assert!(report.balanced, "{report}");
    assert_eq!(without_ends(&rows(&real, What::Packets)), without_ends(&packets_before));
    assert!(rows(&real, What::Outbox).lines().count() > 1);
    assert_eq!(story::user(&real.event.ledger().into(), user).unwrap(), story_before);
    story::packet(&real.event.ledger().into(), real.records[1].packet).unwrap();

    let refused = Ledger::open(&real.event.ledger()).expect_err("it must not be continued");
    assert!(matches!(refused, LedgerError::Older { found: 2, .. }), "{refused}");
    let text = refused.to_string();
    assert!(text.contains("ledger.db") && text.contains("never continues"), "{text}");

    // Differences are found in it as well.
    let connection = Connection::open(real.event.ledger()).unwrap();
    connection.execute("DELETE FROM outbox WHERE seq = 1", []).unwrap();
    assert!(!real.event.audit().balanced);
}

#[test]
fn a_ledger_of_version_3_is_read_by_every_tool_and_never_continued() {
    let mut real = played();
    let packets_before = rows(&real, What::Packets);
    real.close();
    let machines = real.event.audit().machines;
    assert_eq!(machines.len(), 1);
    assert_eq!(machines[0].name, Some(host::machine::name()));
    make_version_3(&real.event.ledger());

    let report = real.event.audit();
    assert!(report.balanced, "{report}");
    assert_eq!((report.machines.len(), &report.machines[0].name), (1, &None));
    assert!(
        report.to_string().contains("a machine that it does not name"),
        "{report}"
    );
    assert_eq!(rows(&real, What::Packets), packets_before);
    let refused = Ledger::open(&real.event.ledger()).expect_err("it must not be continued");
    assert!(matches!(refused, LedgerError::Older { found: 3, .. }), "{refused}");
}

/// Its closing left what was void where it was.
#[test]
fn a_closed_ledger_of_version_3_may_have_void_packets_and_one_of_this_version_may_not() {
    let night = night();
    let event = &night.event;
    closed(event);
    let sql = "
        CREATE TEMP TABLE void AS SELECT packet, cents, sponsor FROM packets WHERE state = 6
            AND packet IN (SELECT credit FROM transfers WHERE debit_kind = 1) LIMIT 1;
        DELETE FROM transfers WHERE (debit_kind = 1 AND credit = (SELECT packet FROM void))
            OR (debit_kind = 3 AND debit = (SELECT packet FROM void) AND credit_kind = 5);
        UPDATE packets SET state = 4 WHERE packet = (SELECT packet FROM void);
        UPDATE house SET balance_cents = balance_cents + (SELECT cents FROM void) WHERE kind = 1;
        UPDATE house SET balance_cents = balance_cents - (SELECT cents FROM void)
            WHERE kind = 5 AND id = (SELECT sponsor FROM void);";
    Connection::open(event.ledger()).unwrap().execute_batch(sql).unwrap();
    let report = event.audit();
    let kinds: Vec<_> = report.differences.iter().map(|difference| difference.kind).collect();
    assert_eq!((kinds, report.total.void.packets), (vec!["closed_rest"], 1), "{report}");
    make_version_3(&event.ledger());
    let report = event.assert_balanced();
    assert_eq!((report.void_packets.len(), report.closed_ms.is_some()), (1, true));
}

#[test]
fn a_ledger_names_the_machines_that_wrote_it() {
    let mut real = played();
    real.close();
    let path = real.event.ledger();
    for (machine, at) in [("gw1", 100), ("gw2", 200), ("gw1", 300)] {
        let mut ledger = Ledger::open(&path).unwrap();
        ledger.write_as(machine);
        ledger.transaction(UnixMillis(at), |_| Ok(())).unwrap();
        ledger.transaction(UnixMillis(at + 1), |_| Ok(())).unwrap();
    }
    // One that writes nothing is nowhere.
    Ledger::open(&path).unwrap().write_as("gw3");
    let report = real.event.assert_balanced();
    let named: Vec<_> = report.machines[1..]
        .iter()
        .map(|machine| {
            (
                machine.name.as_deref(),
                machine.openings,
                machine.first_ms,
                machine.last_ms,
            )
        })
        .collect();
    assert_eq!(named, [(Some("gw1"), 2, 100, 300), (Some("gw2"), 1, 200, 200)]);
    let text = report.to_string();
    assert!(text.contains("gw1 (2 openings), gw2 (1 opening)\n"), "{text}");
}

#[test]
fn the_identity_stays_the_stamp_grows_and_each_opening_has_a_name() {
    let mut real = played();
    real.release(5);
    let (identity, stamp) = (real.ledger().identity().expect("it is bound"), real.ledger().stamp());
    let first = real.ledger().incarnation();
    real.release(3);
    assert_eq!(real.ledger().stamp(), stamp + 1);
    real.close();
    let mut ledger = Ledger::open(&real.event.ledger()).unwrap();
    let second = ledger.incarnation();
    assert_eq!(ledger.identity(), Some(identity));
    assert_eq!(ledger.stamp(), stamp + 1, "opening it is no commit");
    assert_ne!(first, second);
    assert!(ledger.knows(first).unwrap());
    assert!(!ledger.knows(second).unwrap(), "it has made no commit");
    ledger.transaction(UnixMillis(1), |_| Ok(())).unwrap();
    assert_eq!(ledger.stamp(), stamp + 2);
    assert!(ledger.knows(second).unwrap());
    ledger.recover().unwrap();
    assert_eq!(ledger.stamp(), stamp + 3, "the try is a commit too");
    assert_eq!((ledger.identity(), ledger.incarnation()), (Some(identity), second));
    assert_ne!(identity, LedgerId([0; 16]));
    assert_ne!(Real::new().ledger().identity(), Some(identity));
}

#[test]
fn what_is_lost_lies_in_the_void_and_is_listed_apart() {
    let mut real = Real::new();
    (0..3).for_each(|index| real.release(index));
    real.close();
    let connection = Connection::open(real.event.ledger()).unwrap();
    let (lost, cents) = (real.records[0].packet, real.records[0].amount.0);
    let lose = format!(
        "UPDATE packets SET state = 7, balance_cents = 0, closed_ms = 5 WHERE packet = {lost};
         INSERT INTO transfers (at_ms, debit_kind, debit, credit_kind, credit, cents) VALUES (5, 3, {lost}, 1, 0, {cents});
         INSERT INTO house VALUES (1, 0, {cents});"
    );
    connection.execute_batch(&lose).unwrap();
    let report = real.event.audit();
    assert!(report.balanced, "{report}");
    assert_eq!(report.lost_packets, [lost]);
    assert_eq!((report.total.lost.packets, report.total.lost.cents), (1, cents));
    assert_eq!(report.total.void.packets, 0);
    assert_eq!(State::from_column(7), Some(State::Lost));

    // It comes back from there.
    let back = format!(
        "UPDATE packets SET state = 1, balance_cents = {cents}, closed_ms = NULL WHERE packet = {lost};
         INSERT INTO transfers (at_ms, debit_kind, debit, credit_kind, credit, cents) VALUES (6, 1, 0, 3, {lost}, {cents});
         UPDATE house SET balance_cents = 0 WHERE kind = 1;"
    );
    connection.execute_batch(&back).unwrap();
    let report = real.event.audit();
    assert!(report.balanced && report.lost_packets.is_empty(), "{report}");

    // Its money without its state, and its state without its money.
    connection
        .execute_batch(&format!("UPDATE packets SET state = 7 WHERE packet = {lost}"))
        .unwrap();
    assert!(!real.event.audit().balanced);
}

/// `audit` reads more than what the helper of the tests does: its own errors name the file.
#[test]
fn a_version_that_is_to_come_is_refused_by_readers_too() {
    let mut real = played();
    real.close();
    let connection = Connection::open(real.event.ledger()).unwrap();
    connection.execute_batch("PRAGMA user_version = 5").unwrap();
    let refused = audit::audit(&real.event.ledger(), &real.event.seed(), |_, _| {}).expect_err("unknown");
    assert!(refused.to_string().contains("version 5"), "{refused}");
}
