//! Stories told from rows put into an empty ledger by hand.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::ledger::schema;
use rusqlite::Connection;

const PACKET: &str =
    "INSERT INTO packets (packet, origin, sponsor, sender, cents, shares, balance_cents, shares_left, recipients,
    state, seed_index, user, stage, made_ms, issued_ms, opened_ms, due_ms, closed_ms) VALUES ";

fn ledger(rows: &str) -> (tempfile::TempDir, Place) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.db");
    let connection = Connection::open(&path).unwrap();
    connection.execute_batch(schema::CREATE).unwrap();
    let (id, version) = (schema::APPLICATION_ID, schema::VERSION);
    connection
        .execute_batch(&format!(
            "PRAGMA application_id = {id}; PRAGMA user_version = {version}; {rows}"
        ))
        .unwrap();
    (directory, path.into())
}

#[test]
fn packets_of_every_kind() {
    let (_directory, path) = ledger(&format!(
        "{PACKET}
         (1, 1, 4, NULL, 90, 1, 0, 0, 0, 3, 17, 7, 2, 1000, 1002, 1001, NULL, 1001),
         (2, 1, 4, NULL, 90, 3, 0, 1, 0, 6, 18, 7, 2, 1000, 1002, 1003, NULL, 2000),
         (3, 1, 4, NULL, 90, 1, 0, 1, 0, 4, 19, NULL, NULL, 1000, NULL, NULL, NULL, 1500),
         (-5, 2, NULL, 7, 60, 2, 25, 1, 2, 5, NULL, NULL, NULL, 1000, NULL, NULL, 9000, NULL);
         INSERT INTO shares (transfer, packet, user, cents, at_ms) VALUES (8, 2, 7, 30, 1003), (9, 2, 8, 40, 1004), (10, -5, 8, 35, 1100);
         INSERT INTO offers (packet, user, waits) VALUES (-5, 8, 0), (-5, 9, 1);"
    ));
    let check = |id: u64, state: &str, expected: &[(u64, &str, Option<u64>, Option<u64>)]| {
        let story = packet(&path, PacketId(id)).unwrap();
        let found: Vec<_> = story
            .events
            .iter()
            .map(|event| (event.at_ms, event.what, event.user.map(|user| user.0), event.cents))
            .collect();
        assert_eq!((story.state, &found[..]), (state, expected), "packet {id}");
        story
    };
    let released = (1000, "released", None, Some(90));
    let story = check(
        1,
        "opened",
        &[
            released,
            (1001, "opened", Some(7), Some(90)),
            (1002, "issued", Some(7), None),
        ],
    );
    assert_eq!(
        (story.seed_index, story.sponsor, story.stage),
        (Some(17), Some(4), Some(2))
    );
    check(
        2,
        "refunded",
        &[
            released,
            (1002, "issued", Some(7), None),
            (1003, "opened", Some(7), None),
            (1003, "share", Some(7), Some(30)),
            (1004, "share", Some(8), Some(40)),
            (2000, "refunded", None, Some(20)),
        ],
    );
    check(3, "void", &[released, (1500, "void", None, Some(90))]);
    let sent = (-5_i64).cast_unsigned();
    let story = check(
        sent,
        "open",
        &[(1000, "sent", Some(7), Some(60)), (1100, "share", Some(8), Some(35))],
    );
    assert_eq!(
        (story.sender, story.balance_cents, story.shares_left),
        (Some(UserId(7)), 25, 1)
    );
    // Ids of 64 bits are text: numbers lose their last digits.
    let json = serde_json::to_value(&story).unwrap();
    assert_eq!(
        (&json["packet"], &json["sender"]),
        (&"p18446744073709551611".into(), &"u7".into())
    );
    let waits: Vec<_> = story
        .recipients
        .iter()
        .map(|recipient| (recipient.user.0, recipient.waits))
        .collect();
    assert_eq!(waits, [(8, false), (9, true)]);
    let text = story.to_string();
    assert!(
        text.contains("1970-01-01T00:00:01.100Z  share     0.35  user 8"),
        "{text}"
    );
    assert!(text.contains("for user         9 (waits)"), "{text}");
    let error = packet(&path, PacketId(4)).unwrap_err().to_string();
    assert!(error.starts_with("packet 4 is not in the ledger"), "{error}");
}

#[test]
fn users_with_and_without_money() {
    let (_directory, path) = ledger(&format!(
        "{PACKET} (1, 1, 4, NULL, 90, 1, 90, 1, 0, 2, 17, 9, 2, 1000, 1002, NULL, 5000, NULL);
         INSERT INTO users (user, balance_cents, packets_opened, sponsors_opened, last_transfer, lines) VALUES (7, 50, 1, X'0004', 3, 3);
         INSERT INTO transfers (transfer, at_ms, debit_kind, debit, credit_kind, credit, cents, previous) VALUES
         (1, 1001, 3, 2, 4, 7, 90, NULL), (2, 1002, 3, 2, 4, 8, 90, NULL), (3, 1003, 4, 7, 3, -5, 40, 1);
         INSERT INTO sends (packet, origin, sender, key, hash) VALUES (-5, 2, 7, zeroblob(16), zeroblob(32));
         INSERT INTO offers (packet, user, waits) VALUES (-5, 8, 1);"
    ));
    let story = user(&path, UserId(7)).unwrap();
    let sent = PacketId((-5_i64).cast_unsigned());
    let moved: Vec<_> = story
        .transfers
        .iter()
        .map(|moved| (moved.transfer, moved.cents, moved.packet))
        .collect();
    assert_eq!(moved, [(3, -40, Some(sent)), (1, 90, Some(PacketId(2)))]);
    assert_eq!(
        (story.balance_cents, &story.sent[..], &story.sponsors_opened[..]),
        (50, &[sent][..], &[4][..])
    );
    assert!(!story.more_transfers);
    assert!(story.to_string().contains("         -0.40  transfer 3"), "{story}");
    // Nobody needs money to have a story.
    assert_eq!(user(&path, UserId(8)).unwrap().offered, [sent]);
    assert_eq!(user(&path, UserId(9)).unwrap().issued, [PacketId(1)]);
    let error = user(&path, UserId(1)).unwrap_err().to_string();
    assert!(error.starts_with("user 1 is not in the ledger"), "{error}");
}
