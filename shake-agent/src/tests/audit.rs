//! The audit finds each kind of planted difference, and names it.

use super::play::{DAY, Real};
use super::support::{EVENT, Event, FAR, Tickets, claim, judge, ticket};
use crate::audit::AuditError;
use crate::export::{self, Format, What};
use crate::ledger::{Ledger, LedgerError, Release};
use crate::names::Names;
use crate::requests::{EXPIRY_GRACE_MS, Origin};
use crate::seed_file::SeedFile;
use rusqlite::Connection;
use shake_proto::handoff::record::{Issued, Request};
use shake_proto::reply::SendResult;
use shake_rules::seed::{PacketKind, SeedRecord};
use shake_rules::{Cents, SponsorId, UnixMillis, UserId};

const NOW: UnixMillis = UnixMillis(1);
const BUDGET: Cents = Cents(0);

/// Ten packets: 0 to 2 opened, 3 issued, 4 void, 5 released, the others unreleased.
fn event() -> Event {
    let event = Event::new(10);
    let records = event.records();
    let mut ledger = Ledger::open(&event.ledger()).unwrap();
    let seed = SeedFile::open(&event.seed()).unwrap();
    ledger.bind_seed(&seed, BUDGET, NOW).unwrap();
    let identity = ledger.identity().unwrap();
    let (keys, mut judge) = (Tickets::of(identity), judge(identity, Default::default()));
    let lane = ledger.transaction(NOW, |batch| batch.load_lane(1, 0)).unwrap().lane;
    let releases: Vec<Release> = (0..6)
        .map(|index| Release {
            seed_index: index,
            record: records[index as usize],
            lane,
            grant_position: index,
        })
        .collect();
    let origin = Origin {
        lane,
        grants_pushed: 6,
        is_whole: true,
    };
    ledger
        .transaction(NOW, |batch| {
            batch.release(&releases);
            let mut requests = Vec::new();
            for (user, record) in (0..3).map(UserId).zip(&records) {
                let packet = record.packet;
                requests.push(claim(1, user, ticket(&keys, EVENT, packet, user, FAR), NOW));
            }
            let issued = Issued {
                packet: records[3].packet,
                user: UserId(9),
                stage: 1,
                at: NOW,
                ends: None,
            };
            requests.push(Request::Issued(issued));
            judge.hear(
                batch,
                requests.iter().map(|request| (0, origin, request)),
                NOW,
                &mut Vec::new(),
            )?;
            let held = batch.held(&[records[4].packet]);
            batch.void_packets(&held);
            Ok(())
        })
        .unwrap();
    event
}

#[test]
fn an_untouched_ledger_balances() {
    let report = event().assert_balanced();
    let packets = report.total.columns().map(|(_, tally)| tally.packets);
    assert_eq!(packets, [10, 0, 4, 1, 1, 0, 2, 3, 0, 1, 0, 0]);
    assert_eq!(report.total.seed.cents, 500);
    assert_eq!(
        (
            report.void_packets.len(),
            report.user_accounts,
            report.balance_sum_cents
        ),
        (1, 3, 0)
    );
    assert!(report.to_string().ends_with("balanced") && !report.to_string().contains("NOT"));
}

#[test]
fn each_planted_difference_is_named() {
    let nth = |n: usize| format!("(SELECT packet FROM packets WHERE seed_index = {n})");
    let cases = [
        (format!("UPDATE packets SET cents = cents + 1 WHERE packet = {}", nth(0)), "packet_amount"),
        (format!("UPDATE packets SET sponsor = 9 WHERE packet = {}", nth(1)), "packet_sponsor"),
        (format!("UPDATE packets SET balance_cents = 5 WHERE packet = {}", nth(2)), "packet_balance"),
        (format!("UPDATE packets SET state = 9 WHERE packet = {}", nth(5)), "packet_state"),
        (format!("UPDATE packets SET state = 3, user = 5, balance_cents = 0 WHERE packet = {}", nth(5)), "transfer_missing"),
        (format!("UPDATE packets SET user = 77 WHERE packet = {}", nth(0)), "transfer_state"),
        (format!("DELETE FROM packets WHERE packet = {}", nth(3)), "packet_missing"),
        ("UPDATE sponsors SET released = released + 1".into(), "packet_missing"),
        ("UPDATE sponsors SET released = released - 1".into(), "released_count"),
        ("UPDATE seed SET gift_budget_cents = 5".into(), "gift_budget"),
        (
            "INSERT INTO packets (packet, origin, sponsor, cents, balance_cents, shares, shares_left, recipients, state, made_ms)
             VALUES (12345, 1, 1, 5, 5, 1, 1, 0, 1, 0)"
                .into(),
            "packet_extra",
        ),
        (format!("DELETE FROM transfers WHERE credit_kind = 4 AND debit = {}", nth(1)), "transfer_missing"),
        (format!("DELETE FROM transfers WHERE credit_kind = 3 AND credit = {}", nth(5)), "transfer_missing"),
        (format!("DELETE FROM transfers WHERE credit_kind = 1 AND debit = {}", nth(4)), "transfer_missing"),
        (format!("UPDATE transfers SET cents = cents + 1 WHERE credit_kind = 4 AND debit = {}", nth(1)), "transfer_amount"),
        (
            format!(
                "INSERT INTO transfers (at_ms, debit_kind, debit, credit_kind, credit, cents)
                 SELECT at_ms, debit_kind, debit, 4, 55, cents FROM transfers WHERE credit_kind = 4 AND debit = {}",
                nth(0)
            ),
            "transfer_twice",
        ),
        ("UPDATE transfers SET credit_kind = 8 WHERE credit_kind = 4".into(), "transfer_account"),
        ("UPDATE transfers SET debit_kind = 0, debit = 0 WHERE credit_kind = 4".into(), "transfer_kind"),
        ("UPDATE users SET balance_cents = balance_cents + 1 WHERE user = 1".into(), "account_balance"),
        ("UPDATE users SET packets_opened = 2 WHERE user = 1".into(), "user_packets"),
        ("DELETE FROM users WHERE user = 1".into(), "account_missing"),
        ("INSERT INTO house VALUES (3, 1, 0)".into(), "account_extra"),
        ("UPDATE house SET balance_cents = balance_cents + 1 WHERE kind = 2".into(), "sponsor_sum"),
        ("UPDATE house SET balance_cents = balance_cents + 1 WHERE kind = 0".into(), "zero_sum"),
    ];
    for (sql, kind) in cases {
        let event = event();
        let changed = Connection::open(event.ledger()).unwrap().execute(&sql, []).unwrap();
        assert!(changed > 0, "{sql}");
        let report = event.audit();
        assert!(!report.balanced, "{sql}");
        assert!(
            report.differences.iter().any(|d| d.kind == kind),
            "{sql}: wanted {kind}, got\n{report}"
        );
        assert!(report.to_string().contains("NOT balanced"));
    }
}

#[test]
fn what_cannot_be_audited_says_so() {
    let event = event();
    let other = Event::new(11);
    let audit = |ledger: &std::path::Path, seed: &std::path::Path| crate::audit::audit(ledger, seed, |_, _| {});
    let refused = audit(&event.ledger(), &other.seed());
    assert!(
        matches!(refused, Err(AuditError::Ledger(LedgerError::OtherSeed { .. }))),
        "{refused:?}"
    );
    let missing = audit(&other.ledger(), &other.seed());
    assert!(
        matches!(missing, Err(AuditError::Ledger(LedgerError::Missing(_)))),
        "{missing:?}"
    );
    let none = audit(&event.seed(), &event.seed());
    assert!(
        matches!(none, Err(AuditError::Ledger(LedgerError::NotALedger(_)))),
        "{none:?}"
    );
}

#[test]
fn the_export_says_the_same_in_both_formats() {
    let event = event();
    let rows = |what, format| {
        let mut out = Vec::new();
        let count = export::export(&event.ledger().into(), what, format, &mut out).unwrap();
        (count, String::from_utf8(out).unwrap())
    };
    let (count, csv) = rows(What::Packets, Format::Csv);
    assert_eq!((count, csv.lines().count()), (6, 7));
    assert_eq!(csv.lines().filter(|line| line.contains(",opened,")).count(), 3);
    let (_, jsonl) = rows(What::Packets, Format::Jsonl);
    let first: serde_json::Value = serde_json::from_str(jsonl.lines().next().unwrap()).unwrap();
    assert_eq!(
        (first["state"].as_str(), first["user"].as_str()),
        (Some("opened"), Some("u0"))
    );
    // Two fundings, six releases, three openings, one voiding.
    let (count, jsonl) = rows(What::Transfers, Format::Jsonl);
    assert_eq!(count, 12);
    let last: serde_json::Value = serde_json::from_str(jsonl.lines().last().unwrap()).unwrap();
    assert_eq!(
        (last["debit_kind"].as_str(), last["credit_kind"].as_str()),
        (Some("packet"), Some("void"))
    );
}

#[test]
fn one_agent_one_seed_one_version() {
    let event = event();
    let mut ledger = Ledger::open(&event.ledger()).unwrap();
    assert!(matches!(Ledger::open(&event.ledger()), Err(LedgerError::Locked { .. })));
    let other = SeedFile::open(&Event::new(11).seed()).unwrap();
    assert!(matches!(
        ledger.bind_seed(&other, BUDGET, NOW),
        Err(LedgerError::OtherSeed { .. })
    ));
    let seed = SeedFile::open(&event.seed()).unwrap();
    let bound = ledger.bind_seed(&seed, BUDGET, NOW).unwrap();
    assert_eq!(bound.released.values().sum::<u64>(), 6);
    drop(ledger);
    Connection::open(event.ledger())
        .unwrap()
        .execute_batch("PRAGMA user_version = 9")
        .unwrap();
    assert!(matches!(
        Ledger::open(&event.ledger()),
        Err(LedgerError::Version { found: 9, .. })
    ));
}

/// One split packet opened and partly grabbed, one sent and gone back, one gift open.
fn shared() -> Real {
    let mut real = Real::new();
    real.release(0);
    real.release(1);
    let now = UnixMillis(real.now);
    real.claim(EVENT, 0, 1, 1, now);
    real.claim(EVENT, 1, 2, 2, now);
    real.grab(real.records[1].packet, 3);
    let sent = real.send(1, 1, 20, 2, &[3, 4].into()).0;
    let SendResult::Sent { packet, .. } = sent else {
        panic!("{sent:?}");
    };
    real.grab(packet, 3);
    real.pass(DAY + EXPIRY_GRACE_MS);
    assert_eq!(real.expire(), 2);
    assert_eq!(real.gift(1, 40, &[1, 2].into()).len(), 2);
    real.restart();
    real
}

#[test]
fn differences_of_shared_packets_and_the_outbox_are_named() {
    let sent = "(SELECT packet FROM packets WHERE origin = 2)";
    let cases = [
        (
            "DELETE FROM shares WHERE transfer = (SELECT min(transfer) FROM shares)".to_owned(),
            "share_differs",
        ),
        ("UPDATE shares SET cents = cents + 1".into(), "share_differs"),
        ("INSERT INTO shares VALUES (9999, 5, 5, 5, 5)".into(), "share_extra"),
        ("DELETE FROM outbox WHERE seq = 2".into(), "outbox_missing"),
        (
            "UPDATE outbox SET seq = seq + 1 WHERE seq = (SELECT max(seq) FROM outbox)".into(),
            "outbox_differs",
        ),
        ("UPDATE outbox SET kind = 1 WHERE kind = 4".into(), "outbox_differs"),
        (
            "UPDATE outbox SET cents = cents + 1 WHERE seq = 1".into(),
            "outbox_differs",
        ),
        ("DELETE FROM outbox WHERE kind = 5".into(), "outbox_missing"),
        (
            "UPDATE outbox SET cents = -cents WHERE kind = 5".into(),
            "outbox_differs",
        ),
        (
            "UPDATE outbox SET balance_cents = 7 WHERE kind = 5".into(),
            "outbox_differs",
        ),
        ("UPDATE outbox SET number = 7 WHERE seq = 2".into(), "outbox_differs"),
        ("UPDATE users SET lines = lines + 1 WHERE user = 3".into(), "line_count"),
        (
            "INSERT INTO outbox VALUES (99, 1, 1, 1, 1, 1, 9999, 1, 1, 1)".into(),
            "outbox_extra",
        ),
        (
            "UPDATE transfers SET previous = 1 WHERE transfer = (SELECT max(transfer) FROM transfers)".into(),
            "transfer_chain",
        ),
        (
            "UPDATE users SET last_transfer = 1 WHERE user = 3".into(),
            "transfer_chain",
        ),
        (
            format!("UPDATE packets SET shares_left = 0 WHERE packet = {sent}"),
            "transfer_missing",
        ),
        (
            format!("UPDATE packets SET state = 5 WHERE packet = {sent}"),
            "transfer_twice",
        ),
        (
            format!("UPDATE packets SET sender = 4 WHERE packet = {sent}"),
            "transfer_sponsor",
        ),
        (
            "UPDATE packets SET shares_left = 1 WHERE origin = 3".into(),
            "transfer_missing",
        ),
        (
            "UPDATE house SET balance_cents = balance_cents + 1 WHERE kind = 5".into(),
            "account_balance",
        ),
        (
            "UPDATE transfers SET credit_kind = 1, credit = 0 WHERE credit_kind = 5".into(),
            "transfer_state",
        ),
    ];
    let real = shared();
    let report = real.event.assert_balanced();
    assert_eq!(
        (
            report.sent.sent.cents,
            report.total.gifts.cents,
            report.total.open.cents
        ),
        (20, 70, 40)
    );
    assert_eq!(report.phases.iter().map(|row| row.credits.credits).sum::<u64>(), 5);
    assert_eq!((report.days.len(), report.days[0].day.as_str()), (1, "1970-01-01"));
    assert!(report.by_phase(&Names::default()).contains("sent by users") && report.by_day().contains("1970"));
    for (sql, kind) in cases {
        let real = shared();
        let changed = Connection::open(real.event.ledger())
            .unwrap()
            .execute(&sql, [])
            .unwrap();
        assert!(changed > 0, "{sql}");
        let report = real.event.audit();
        let named = report.differences.iter().any(|d| d.kind == kind);
        assert!(named && !report.balanced, "{sql}: wanted {kind}, got\n{report}");
    }
}

#[test]
fn shares_and_outbox_are_exported() {
    let real = shared();
    let rows = |what| {
        let mut out = Vec::new();
        export::export(&real.event.ledger().into(), what, Format::Csv, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    };
    let outbox = rows(What::Outbox);
    let kinds: Vec<_> = outbox
        .lines()
        .skip(1)
        .map(|line| line.split(',').nth(6).unwrap())
        .collect();
    assert_eq!(kinds, ["open", "open", "grab", "send", "grab", "refund"]);
    assert_eq!(rows(What::Shares).lines().count(), 4);
    assert!(rows(What::Packets).contains(",gift,0,,40,2,40,2,open,"));
}

#[test]
fn seeds_that_would_collide_are_refused() {
    let refused = |change: fn(&mut SeedRecord)| {
        let mut record = Event::new(1).records()[0];
        change(&mut record);
        let event = Event::with_records(&[record]);
        let seed = SeedFile::open(&event.seed()).unwrap();
        Ledger::open(&event.ledger())
            .unwrap()
            .bind_seed(&seed, BUDGET, NOW)
            .unwrap_err()
    };
    let error = refused(|record| record.packet.0 |= 1 << 63);
    assert!(matches!(error, LedgerError::SeedIds(_)), "{error}");
    let error = refused(|record| record.sponsor = SponsorId(0));
    assert!(matches!(error, LedgerError::SeedSponsor), "{error}");
    let error = refused(|record| record.kind = PacketKind::Split { shares: 101 });
    assert!(matches!(error, LedgerError::SeedFile(_)), "{error}");
}

#[test]
fn a_larger_gift_budget_is_funded_in_addition() {
    let event = event();
    let mut ledger = Ledger::open(&event.ledger()).unwrap();
    let seed = SeedFile::open(&event.seed()).unwrap();
    for (budget, expected) in [(50, 50), (20, 50), (90, 90)] {
        let bound = ledger.bind_seed(&seed, Cents(budget), NOW).unwrap();
        assert_eq!(bound.gift_budget, Cents(expected));
    }
    assert_eq!(event.assert_balanced().total.gifts.cents, 90);
}
