//! The file: what is torn, damaged, of another ledger, older, or in other hands.

use super::*;

#[test]
fn a_file_torn_at_any_byte_is_completed() {
    let books = Books::new(4);
    books.settle();
    let whole = std::fs::read(books.file()).unwrap();
    let header = whole.iter().position(|&byte| byte == b'\n').unwrap() + 1;
    for bytes in 0..whole.len() {
        std::fs::write(books.file(), &whole[..bytes]).unwrap();
        books.settle();
        if bytes < header {
            // Nothing of it is left: that is no file that one goes on with in silence.
            assert!(
                std::fs::read(books.file()).unwrap() == whole[..bytes],
                "torn at {bytes}"
            );
            begin(&books.file(), &books.ledger()).unwrap();
            books.settle();
        }
        assert!(std::fs::read(books.file()).unwrap() == whole, "torn at {bytes}");
    }
    // What a file system may leave behind: the size without the bytes.
    std::fs::write(books.file(), [&whole[..], &[0; 9_000]].concat()).unwrap();
    assert_eq!(books.verify().torn_bytes, 9_000);
    books.settle();
    assert!(std::fs::read(books.file()).unwrap() == whole);
}

#[test]
fn damage_is_named_and_nothing_is_written_after_it() {
    let books = Books::new(4);
    books.settle();
    let whole = std::fs::read_to_string(books.file()).unwrap();
    let lines: Vec<_> = whole.split_inclusive('\n').collect();
    let check = |text: String, word: &str| {
        std::fs::write(books.file(), &text).unwrap();
        let error = books.target().last().unwrap_err().to_string();
        assert!(error.contains(word), "{word:?}: {error}");
        books.settle();
        assert_eq!(std::fs::read_to_string(books.file()).unwrap(), text);
    };
    check(whole.replace("gift", "gilt"), "line 3 (from byte ");
    check(whole.replace("shake", "shaky"), "not a settlement file");
    check(
        [lines[0], lines[1], lines[3], lines[4]].concat(),
        "it has number 3 where 2 must be",
    );
    check(
        [lines[0], lines[1], lines[1]].concat(),
        "it has number 1 where 2 must be",
    );
    check(
        [lines[0], lines[1], &"9".repeat(600), "\n"].concat(),
        "longer than any line",
    );
    std::fs::write(books.file(), whole.replace("gift", "gilt")).unwrap();
    let report = books.verify();
    assert!(!report.agrees && report.differences.named[0].kind == "line", "{report}");
    std::fs::write(books.file(), &whole).unwrap();
    books.assert_all_settled();
}

#[test]
fn another_ledgers_file_is_refused() {
    let books = Books::new(4);
    books.settle();
    let text = std::fs::read_to_string(books.file()).unwrap();
    // A ledger begun anew with the same seed.
    books
        .connection
        .execute("UPDATE transfers SET at_ms = 1001", [])
        .unwrap();
    assert!(matches!(
        books.target().last(),
        Err(SettlementError::OtherLedger { .. })
    ));
    let report = books.verify();
    assert_eq!(report.differences.named[0].kind, "ledger");
    books
        .connection
        .execute("UPDATE transfers SET at_ms = 1000", [])
        .unwrap();
    // A ledger restored from a backup: the last credits are gone, or others.
    for (sql, kind) in [
        ("UPDATE outbox SET cents = cents + 1 WHERE seq = 4", "line_differs"),
        ("DELETE FROM outbox WHERE seq = 4", "line_extra"),
    ] {
        books.connection.execute(sql, []).unwrap();
        let (worker, counters) = books.start();
        until("a failure", || counters.settlement_failures.value() > 0);
        worker.finish(PATIENCE);
        assert_eq!(std::fs::read_to_string(books.file()).unwrap(), text);
        let report = books.verify();
        assert!(
            report.differences.named.iter().any(|found| found.kind == kind),
            "{report}"
        );
        assert!(matches!(
            ask(&books.file(), &books.ledger()),
            Err(SettlementError::NotInLedger { seq: 4, .. })
        ));
    }
}

#[test]
fn the_file_takes_only_what_follows_and_only_from_one() {
    let books = Books::new(4);
    let credits = outbox::Outbox::open(&books.ledger()).unwrap().read(0, 10).unwrap();
    begin(&books.file(), &books.ledger()).unwrap();
    let mut target = books.target();
    target.append(&credits[..2]).unwrap();
    for wrong in [&credits[..1], &credits[1..], &credits[3..]] {
        assert!(matches!(target.append(wrong), Err(SettlementError::Order { .. })));
    }
    assert!(matches!(books.target().last(), Err(SettlementError::Locked(_))));
    // Removed under our hands: noticed, and refused until it is begun by hand; then the same bytes again.
    std::fs::remove_file(books.file()).unwrap();
    assert!(matches!(
        target.append(&credits[2..]),
        Err(SettlementError::Replaced(_))
    ));
    assert!(matches!(
        target.last(),
        Err(SettlementError::Gone { how: "missing", .. })
    ));
    begin(&books.file(), &books.ledger()).unwrap();
    assert!(matches!(
        begin(&books.file(), &books.ledger()),
        Err(SettlementError::Begun { lines: 0, .. })
    ));
    assert_eq!(target.last().unwrap(), None);
    target.append(&credits).unwrap();
    drop(target);
    books.assert_all_settled();
    let mut gap = books.target();
    books
        .connection
        .execute("DELETE FROM outbox WHERE seq = 2", [])
        .unwrap();
    assert_eq!(gap.last().unwrap(), Some(credits[3]));
}

/// A file in other hands: whatever becomes of it, no line is missing from what follows, and none is written from 1 on in
/// silence.
#[test]
fn a_file_in_other_hands_is_never_begun_again_in_silence() {
    let books = Books::new(4);
    books.settle();
    let whole = std::fs::read(books.file()).unwrap();
    let refused = |how: &str| {
        books.pay(1);
        let (worker, counters) = books.start();
        until("a failure", || counters.settlement_failures.value() > 0);
        worker.finish(PATIENCE);
        assert_eq!(counters.lines_settled.value(), 0);
        let error = ask(&books.file(), &books.ledger()).unwrap_err();
        assert!(error.is_for_a_person(), "{error}");
        let text = error.to_string();
        assert!(
            text.contains(how) && text.contains("settlement begin --from 1"),
            "{text}"
        );
    };
    // Moved away, then cut to nothing.
    let moved = books.directory.path().join("moved.log");
    std::fs::rename(books.file(), &moved).unwrap();
    refused("missing");
    assert!(!books.file().exists());
    std::fs::write(books.file(), "").unwrap();
    refused("empty");
    assert_eq!(std::fs::read(books.file()).unwrap(), b"");
    // Brought back: it goes on where it was.
    std::fs::rename(&moved, books.file()).unwrap();
    books.settle();
    books.assert_all_settled();
    let longer = std::fs::read(books.file()).unwrap();
    assert!(longer.starts_with(&whole) && longer.len() > whole.len());
    // Cut short at a line, also to its header: the same bytes again.
    let ends = longer
        .iter()
        .enumerate()
        .filter(|(_, byte)| **byte == b'\n')
        .map(|(at, _)| at + 1);
    for end in ends {
        std::fs::write(books.file(), &longer[..end]).unwrap();
        books.settle();
        assert!(std::fs::read(books.file()).unwrap() == longer, "cut to {end}");
    }
    // Begun by hand: the same bytes from the first on.
    std::fs::remove_file(books.file()).unwrap();
    begin(&books.file(), &books.ledger()).unwrap();
    books.settle();
    assert!(std::fs::read(books.file()).unwrap() == longer);
    // Another file in its place is not written over.
    std::fs::write(books.file(), "user").unwrap();
    let error = begin(&books.file(), &books.ledger()).unwrap_err().to_string();
    assert!(error.contains("not a settlement file"), "{error}");
    assert_eq!(std::fs::read(books.file()).unwrap(), b"user");
}

#[test]
fn a_new_ledger_does_not_go_on_with_the_file_of_a_lost_one() {
    let books = Books::new(4);
    books.settle();
    books.connection.execute("DELETE FROM seed", []).unwrap();
    let error = ask(&books.file(), &books.ledger()).unwrap_err();
    assert!(matches!(error, SettlementError::NewLedger { .. }), "{error}");
    std::fs::remove_file(books.file()).unwrap();
    assert_eq!(ask(&books.file(), &books.ledger()).unwrap(), Standing::New);
}

#[test]
fn a_file_of_version_1_is_read_and_never_continued() {
    let books = Books::new(3);
    books.settle();
    let older = Identity {
        ledger: None,
        ..outbox::Outbox::open(&books.ledger()).unwrap().identity().unwrap()
    };
    let mut text = older.to_line();
    for (seq, kind) in [(1, "grab"), (2, "gift"), (3, "refund")] {
        let user = u64::MAX - seq + 1;
        let line = format!(
            "{seq},7-0-0000004d-1000-{seq},{user},{seq},{kind},{},{}",
            seq * 3,
            1000 + seq
        );
        text += &format!("{line},{:08x}\n", crc32fast::hash(line.as_bytes()));
    }
    std::fs::write(books.file(), &text).unwrap();
    let error = ask(&books.file(), &books.ledger()).unwrap_err();
    assert!(
        matches!(error, SettlementError::Older(_)) && error.is_for_a_person(),
        "{error}"
    );
    books.settle();
    assert_eq!(std::fs::read_to_string(books.file()).unwrap(), text);

    // With the ledger that it is of.
    crate::tests::make_version_2(&books.ledger());
    books.assert_all_settled();
    std::fs::write(books.file(), text.replace("gift", "gilt")).unwrap();
    assert!(!books.verify().agrees);
}
