//! The closing statement of a whole fleet: of closed ledgers of all parts, or the parts that are wanting.

use super::super::support::SHOW;
use super::*;
use crate::closing::{StatementError, of_fleet};
use crate::names::Names;

fn refused(report: &Report, words: &[&str]) {
    let error = of_fleet(report, &Names::default()).expect_err("no statement");
    let text = error.to_string();
    assert!(matches!(error, StatementError::Parts { .. }), "{text}");
    for word in words {
        assert!(text.contains(word), "{word:?}: {text}");
    }
}

#[test]
fn a_fleet_has_one_statement_when_every_part_is_closed() {
    let fleet = Fleet::new();
    let close = |part| Ledger::open(&fleet.ledger(part)).unwrap().close(UnixMillis(9)).unwrap();
    let [first, second] = [
        "part 1 of 2 (seed-0.bin) is not closed",
        "part 2 of 2 (seed-1.bin) is not closed",
    ];
    refused(&fleet.audit(&fleet.ledgers()), &[first, second, "shake-agent close"]);
    close(0);
    let report = fleet.audit(&fleet.ledgers());
    refused(&report, &[second]);
    assert!(
        !of_fleet(&report, &Names::default())
            .unwrap_err()
            .to_string()
            .contains("part 1 of 2")
    );
    refused(
        &fleet.audit(&[fleet.ledger(0)]),
        &["part 2 of 2 (seed-1.bin) has no ledger"],
    );
    close(1);

    let show = fleet.0.path().join("show.toml");
    std::fs::write(&show, SHOW).unwrap();
    let names = Names::of_file(&show, EVENT).unwrap();
    assert!(Names::of_file(&show, EventId(8)).unwrap_err().contains("event 7"));
    let report = fleet.audit(&[fleet.ledger(1), fleet.ledger(0)]);
    let statement = of_fleet(&report, &names).unwrap();
    assert_eq!(
        (statement.parts, statement.ledgers.len(), statement.unused.len()),
        (2, 2, 0)
    );
    assert_eq!(statement.owed_cents, report.total.opened.cents);
    for line in statement.sponsors.iter().chain([&statement.total]) {
        assert_eq!(line.funded_cents, line.users_cents + line.back_cents, "{line:?}");
    }
    assert_eq!(statement.total.funded_cents, 1_000 + 200);
    let by_phase: u64 = statement.phases.iter().map(|phase| phase.cents).sum();
    assert_eq!((by_phase, statement.phases.len()), (statement.total.users_cents, 1));
    let text = statement.to_string();
    for word in [
        "test (event 7), all 2 parts",
        "Part 1 of 2: ledger",
        "Part 2 of 2: ledger",
        "one",
        "two",
        "12.00",
    ] {
        assert!(text.contains(word), "{word:?}: {text}");
    }
    assert!(statement.to_page().contains("all 2 parts"));
    // The audit of the fleet is for people too.
    let told = report.told(&names);
    assert!(
        told.contains("the event (gifts)") && told.contains("10.00") && told.contains("closed at"),
        "{told}"
    );

    // What differs has no statement, and is named.
    let sql = "UPDATE users SET balance_cents = balance_cents + 1 WHERE user = 1";
    assert_eq!(Connection::open(fleet.ledger(1)).unwrap().execute(sql, []), Ok(1));
    let error = of_fleet(&fleet.audit(&fleet.ledgers()), &names).unwrap_err();
    assert!(matches!(error, StatementError::NotBalanced { .. }), "{error}");
}

#[test]
fn an_unused_part_is_back_as_a_whole() {
    let fleet = Fleet::new();
    Ledger::open(&fleet.ledger(0)).unwrap().close(UnixMillis(9)).unwrap();
    let books = Books {
        ledgers: &[fleet.ledger(0)],
        unused: &[file_name(1)],
        ..Books::default()
    };
    let statement = of_fleet(
        &fleet.audit_books(books, &ManifestKeys::new(&ring())),
        &Names::default(),
    )
    .unwrap();
    assert_eq!((statement.ledgers.len(), &statement.unused[..]), (1, &[1][..]));
    let total = &statement.total;
    assert_eq!(total.funded_cents, total.users_cents + total.back_cents);
    let text = statement.to_string();
    assert!(
        text.contains("all 2 parts") && text.contains("Part 2 of 2 was never served"),
        "{text}"
    );
}
