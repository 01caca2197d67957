//! The audit of a fleet: two agents with a part of the seed each, merged, and every way of not fitting together.

mod statement;

use super::support::{EVENT, FAR, Tickets, claim, judge, ring, splitmix, ticket};
use crate::audit::AuditError;
use crate::audit::fleet::{self, Books, FleetError, Report};
use crate::ledger::{Ledger, Release};
use crate::requests::Origin;
use crate::seed_draw::{Request, Splits};
use crate::seed_file::SeedFile;
use crate::seed_fleet::manifest::Proof;
use crate::seed_fleet::{self, ManifestKeys, file_name};
use crate::settlement::{self, FileTarget, Worker};
use rusqlite::Connection;
use shake_rules::keys::{Key, KeyRing};
use shake_rules::seed::SeedRecord;
use shake_rules::{Cents, EventId, SponsorId, UnixMillis, UserId};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

const NOW: UnixMillis = UnixMillis(1);
const GIFTS: Cents = Cents(100);

fn seeds(directory: &Path, event: EventId, parts: u16) {
    let request = Request {
        event,
        budget: Cents(1_000),
        count: 20,
        sponsors: [(SponsorId(1), 2), (SponsorId(2), 1)].into(),
        min: Cents(1),
        max: Cents(300),
        splits: Splits::default(),
    };
    let (mut state, keys) = (u64::from(parts), ManifestKeys::new(&ring()));
    let random = || splitmix(&mut state);
    seed_fleet::generate(&request, parts, directory, false, Some(&keys), random, |_| {}).unwrap();
}

/// The ledger of a part: four packets released, two of them opened.
fn ledger(path: &Path, seed: &Path) {
    let mut ledger = Ledger::open(path).unwrap();
    let seed = SeedFile::open(seed).unwrap();
    ledger.bind_seed(&seed, GIFTS, NOW).unwrap();
    let records = seed.read(0, 4).unwrap();
    let identity = ledger.identity().unwrap();
    let (keys, mut judge) = (Tickets::of(identity), judge(identity, Default::default()));
    let lane = ledger.transaction(NOW, |batch| batch.load_lane(1, 0)).unwrap().lane;
    let releases: Vec<Release> = (0..4)
        .map(|index| Release {
            seed_index: index,
            record: records[index as usize],
            lane,
            grant_position: index,
        })
        .collect();
    let origin = Origin {
        lane,
        grants_pushed: 4,
        is_whole: true,
    };
    let users = (0..2).map(UserId).zip(&records);
    let claim = |(user, record): (_, &SeedRecord)| claim(1, user, ticket(&keys, EVENT, record.packet, user, FAR), NOW);
    let requests: Vec<_> = users.map(claim).collect();
    let claims = |batch: &mut crate::ledger::Batch<'_>| {
        batch.release(&releases);
        judge.hear(
            batch,
            requests.iter().map(|claim| (0, origin, claim)),
            NOW,
            &mut Vec::new(),
        )
    };
    ledger.transaction(NOW, claims).unwrap();
}

struct Fleet(TempDir);

impl Fleet {
    /// Two parts of ten packets, each with its ledger.
    fn new() -> Self {
        let fleet = Self(tempfile::tempdir().unwrap());
        seeds(&fleet.seeds(), EVENT, 2);
        for part in 0..2 {
            ledger(&fleet.ledger(part), &fleet.seeds().join(file_name(part)));
        }
        fleet
    }

    fn seeds(&self) -> PathBuf {
        self.0.path().join("seeds")
    }

    fn ledger(&self, part: u16) -> PathBuf {
        self.0.path().join(format!("ledger-{part}.db"))
    }

    fn ledgers(&self) -> Vec<PathBuf> {
        vec![self.ledger(0), self.ledger(1)]
    }

    /// A ledger of another seed.
    fn foreign(&self, event: EventId, parts: u16, part: u16) -> PathBuf {
        let directory = self.0.path().join("foreign");
        seeds(&directory, event, parts);
        let path = self.0.path().join("foreign.db");
        ledger(&path, &directory.join(file_name(part)));
        path
    }

    fn audit(&self, ledgers: &[PathBuf]) -> Report {
        let books = Books {
            ledgers,
            ..Books::default()
        };
        self.audit_books(books, &ManifestKeys::new(&ring()))
    }

    fn audit_books(&self, books: Books<'_>, keys: &ManifestKeys) -> Report {
        fleet::audit(&self.seeds(), books, Some(keys), |_, _, _| {}).unwrap()
    }
}

fn assert_named(report: &Report, kind: &str) {
    let named = report.differences.iter().any(|found| found.difference.kind == kind);
    assert!(!report.balanced && named, "no {kind} in:\n{report}");
    assert!(report.to_string().contains("NOT balanced"));
}

#[test]
fn two_parts_with_two_ledgers_balance() {
    let fleet = Fleet::new();
    // The order in which they are given says nothing.
    let report = fleet.audit(&[fleet.ledger(1), fleet.ledger(0)]);
    assert!(report.balanced && report.total.is_balanced(), "{report}");
    let packets = report.total.columns().map(|(_, tally)| tally.packets);
    assert_eq!(packets, [20, 0, 12, 4, 0, 0, 4, 4, 0, 0, 0, 0]);
    assert_eq!((report.total.seed.cents, report.total.gifts.cents), (1_000, 200));
    let sponsors: Vec<_> = report.sponsors.iter().map(|row| row.sponsor).collect();
    assert_eq!(sponsors, [0, 1, 2]);
    assert!(report.sponsors.iter().all(|row| row.totals.is_balanced()));
    for (part, row) in (0..).zip(&report.parts) {
        assert_eq!((row.part, row.balanced, row.total.seed.packets), (part, true, 10));
        assert_eq!(row.ledger, Some(fleet.ledger(part).display().to_string()));
    }
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["parts"][1]["difference_count"], 0);
    assert_eq!(json["total"]["opened"]["packets"], 4);
    assert_eq!(json["differences"], serde_json::json!([]));
}

#[test]
fn a_forgotten_ledger_is_no_balance_and_an_unused_part_is() {
    let fleet = Fleet::new();
    let report = fleet.audit(&[fleet.ledger(0)]);
    assert_named(&report, "ledger_missing");
    assert!(report.to_string().contains("(seed-1.bin): NO LEDGER"), "{report}");
    assert!(report.parts[0].balanced && !report.parts[1].balanced);
    let books = Books {
        ledgers: &[fleet.ledger(0)],
        unused: &[file_name(1)],
        ..Books::default()
    };
    let report = fleet.audit_books(books, &ManifestKeys::new(&ring()));
    assert!(report.balanced, "{report}");
    let part = &report.parts[1];
    assert_eq!((&part.ledger, part.total.unreleased), (&None, part.total.seed));
    assert_eq!((part.total.seed.packets, report.total.seed.packets), (10, 20));
    assert_eq!((report.total.unreleased.packets, report.total.opened.packets), (16, 2));
    let text = report.to_string();
    assert!(text.contains("(seed-1.bin): unused"), "{text}");
    let json = serde_json::to_value(&report).unwrap();
    assert!(json["parts"][1]["ledger"].is_null());
}

#[test]
fn a_ledger_that_does_not_fit_is_named_and_left_out() {
    let fleet = Fleet::new();
    let twice = fleet.audit(&[fleet.ledger(0), fleet.ledger(1), fleet.ledger(0)]);
    assert_named(&twice, "ledger_twice");
    assert_eq!((twice.difference_count, twice.total.opened.packets), (1, 4));
    // A copy that is found later says where it was written.
    let written = format!("written by {} (1 opening)", host::machine::name());
    let told = twice.differences[0].to_string();
    assert_eq!(told.matches(&written).count(), 2, "{told}");
    let check = |event, parts, part, kind| {
        let fleet = Fleet::new();
        let report = fleet.audit(&[fleet.ledger(0), fleet.foreign(event, parts, part)]);
        assert_named(&report, kind);
        assert_named(&report, "ledger_missing");
        assert_eq!(
            (report.difference_count, report.total.unreleased.packets),
            (2, 16),
            "{report}"
        );
    };
    check(EventId(8), 2, 1, "ledger_event");
    check(EVENT, 3, 2, "ledger_part");
    let fleet = Fleet::new();
    let report = fleet.audit(&[fleet.ledger(0), fleet.foreign(EVENT, 3, 1)]);
    assert_named(&report, "ledger_seed");
    assert_eq!(
        (report.difference_count, report.total.unreleased.packets),
        (1, 16),
        "{report}"
    );
}

#[test]
fn a_planted_difference_is_named_with_its_ledger() {
    let cases = [
        ("UPDATE packets SET cents = cents + 1 WHERE seed_index = 0", "packet_amount"),
        ("UPDATE users SET balance_cents = balance_cents + 1 WHERE user = 1", "account_balance"),
        // A packet of no seed file of this part, and one that was given by the agent of part 0 or by none.
        (
            "INSERT INTO packets (packet, origin, sponsor, cents, balance_cents, shares, shares_left, recipients, state, made_ms)
             VALUES (12345, 1, 1, 5, 5, 1, 1, 0, 1, 0)",
            "packet_extra",
        ),
        (
            "INSERT INTO packets (packet, origin, sponsor, cents, balance_cents, shares, shares_left, recipients, state, made_ms)
             VALUES (-9223372036854775807, 3, 0, 5, 5, 1, 1, 0, 1, 0)",
            "packet_part",
        ),
        ("UPDATE house SET balance_cents = balance_cents + 1 WHERE kind = 2", "sponsor_sum"),
    ];
    for (sql, kind) in cases {
        let fleet = Fleet::new();
        let changed = Connection::open(fleet.ledger(1)).unwrap().execute(sql, []).unwrap();
        assert!(changed > 0, "{sql}");
        let report = fleet.audit(&fleet.ledgers());
        assert_named(&report, kind);
        assert!(report.parts[0].balanced && !report.parts[1].balanced, "{report}");
        let ledger = Some(fleet.ledger(1).display().to_string());
        let is_there = |found: &fleet::FleetDifference| found.difference.kind == kind && found.ledger == ledger;
        assert!(report.differences.iter().any(is_there), "{report}");
    }
}

#[test]
fn differences_of_the_seed_are_reported() {
    let fleet = Fleet::new();
    let other = ManifestKeys::new(&KeyRing::of(Key::new(3, [8; 32])));
    let ledgers = fleet.ledgers();
    let books = Books {
        ledgers: &ledgers,
        ..Books::default()
    };
    let report = fleet.audit_books(books, &other);
    assert!(report.to_string().starts_with("origin FALSE: "), "{report}");
    assert_named(&report, "manifest_origin");
    assert!(report.parts.iter().all(|row| row.balanced), "{report}");
    std::fs::remove_file(fleet.seeds().join(file_name(1))).unwrap();
    let report = fleet.audit(&fleet.ledgers());
    assert_named(&report, "budget");
    assert_named(&report, "file_unreadable");
    assert!(report.parts[0].balanced && !report.parts[1].balanced, "{report}");
}

#[test]
fn what_cannot_be_audited_is_an_error() {
    let fleet = Fleet::new();
    let audit = |seeds: &Path, ledger: PathBuf| {
        let books = Books {
            ledgers: &[ledger],
            ..Books::default()
        };
        fleet::audit(seeds, books, None, |_, _, _| {})
    };
    let no_manifest = audit(fleet.0.path(), fleet.ledger(0));
    assert!(matches!(no_manifest, Err(FleetError::Seed(_))), "{no_manifest:?}");
    let missing = audit(&fleet.seeds(), fleet.ledger(2));
    assert!(
        matches!(missing, Err(FleetError::Ledger(AuditError::Ledger(_)))),
        "{missing:?}"
    );
    drop(Ledger::open(&fleet.ledger(2)).unwrap());
    let empty = audit(&fleet.seeds(), fleet.ledger(2));
    assert!(
        matches!(empty, Err(FleetError::Ledger(AuditError::NoSeed(_)))),
        "{empty:?}"
    );
}

#[test]
fn a_manifest_of_a_retired_key_is_of_unknown_origin_and_balances() {
    let fleet = Fleet::new();
    let ledgers = fleet.ledgers();
    let books = Books {
        ledgers: &ledgers,
        ..Books::default()
    };
    let rotated = ManifestKeys::new(&KeyRing::of(Key::new(4, [8; 32])));
    let report = fleet.audit_books(books, &rotated);
    assert!(report.balanced && report.proof == Proof::Unknown, "{report}");
    assert!(report.to_string().starts_with("origin UNKNOWN: "), "{report}");
    let report = fleet.audit(&ledgers);
    assert!(report.to_string().starts_with("origin proved: "), "{report}");
}

#[test]
fn settlement_files_are_compared_with_the_ledgers_that_they_name() {
    let fleet = Fleet::new();
    let ledgers = fleet.ledgers();
    let keys = ManifestKeys::new(&ring());
    let file = |name: &str| fleet.0.path().join(name);
    let settle = |ledger: &Path, file: &Path| {
        settlement::begin(file, ledger).unwrap();
        let path = file.to_owned();
        let target = move |identity| FileTarget::new(path.clone(), identity);
        let worker = Worker::spawn(ledger.to_owned(), target, Default::default()).unwrap();
        worker.finish(std::time::Duration::from_secs(60));
    };
    let audit = |settlements: &[PathBuf]| {
        let books = Books {
            ledgers: &ledgers,
            settlements,
            unused: &[],
        };
        fleet.audit_books(books, &keys)
    };
    settle(&fleet.ledger(0), &file("a.log"));
    settle(&fleet.ledger(1), &file("b.log"));
    // Whichever order they are given in.
    let report = audit(&[file("b.log"), file("a.log")]);
    assert!(report.balanced, "{report}");
    assert_eq!(report.parts[0].settlement, Some(file("a.log").display().to_string()));
    assert!(audit(&[file("a.log")]).balanced, "the other one is not compared");
    std::fs::copy(file("a.log"), file("again.log")).unwrap();
    assert_named(&audit(&[file("a.log"), file("again.log")]), "settlement_twice");
    // Cut short, of another ledger, and with another line.
    let text = std::fs::read_to_string(file("a.log")).unwrap();
    let head: String = text.lines().take(2).map(|line| format!("{line}\n")).collect();
    std::fs::write(file("again.log"), head).unwrap();
    assert_named(&audit(&[file("again.log")]), "settlement_short");
    let foreign = fleet.foreign(EventId(8), 2, 1);
    settle(&foreign, &file("foreign.log"));
    assert_named(&audit(&[file("foreign.log")]), "settlement_extra");
    let sql = "UPDATE outbox SET at_ms = at_ms + 1 WHERE seq = 1";
    assert_eq!(Connection::open(fleet.ledger(0)).unwrap().execute(sql, []), Ok(1));
    let report = audit(&[file("a.log")]);
    assert_named(&report, "line_differs");
    assert!(!report.parts[0].balanced && report.parts[1].balanced, "{report}");
    std::fs::remove_file(file("a.log")).unwrap();
    let missing = fleet::audit(
        &fleet.seeds(),
        Books {
            ledgers: &ledgers,
            settlements: &[file("a.log")],
            unused: &[],
        },
        None,
        |_, _, _| {},
    );
    assert!(matches!(missing, Err(FleetError::Settlement(_))), "{missing:?}");
}
