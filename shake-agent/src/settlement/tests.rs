//! Settlement against a ledger with a filled outbox: killed at each step, with a target that is down, and with a file that
//! is torn, damaged or of another ledger.
#![allow(clippy::unwrap_used)]

use super::worker::BATCH_MAX;
use super::*;
use crate::counters::Counters;
use crate::crash::{DIE_AT, SETTLEMENT_POINTS};
use crate::ledger::schema;
use rusqlite::{Connection, params};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(60);
const DIRECTORY: &str = "SHAKE_AGENT_SETTLEMENT_DIRECTORY";
/// Three batches, the last one not full.
const CREDITS: u64 = 2 * BATCH_MAX as u64 + 100;

/// A ledger with a seed and an outbox, and a place for its settlement file.
struct Books {
    directory: TempDir,
    connection: Connection,
}

impl Books {
    fn new(credits: u64) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let connection = Connection::open(directory.path().join("ledger.db")).unwrap();
        let pragmas = format!(
            "PRAGMA journal_mode = WAL; PRAGMA application_id = {}; PRAGMA user_version = {};",
            schema::APPLICATION_ID,
            schema::VERSION
        );
        connection.execute_batch(&pragmas).unwrap();
        connection.execute_batch(schema::CREATE).unwrap();
        connection
            .execute_batch(
                "INSERT INTO seed (id, event, part, parts, count, total_cents, records_crc, gift_budget_cents, identity)
                 VALUES (1, 7, 0, 1, 10, 1000, 77, 0, X'00112233445566778899aabbccddeeff');
                 INSERT INTO transfers (at_ms, debit_kind, debit, credit_kind, credit, cents)
                 VALUES (1000, 0, 0, 2, 1, 1000);",
            )
            .unwrap();
        let books = Self { directory, connection };
        books.pay(credits);
        books
    }

    fn pay(&self, credits: u64) {
        self.connection.execute_batch("BEGIN").unwrap();
        for _ in 0..credits {
            let next = "(SELECT coalesce(max(seq), 0) + 1 FROM outbox)";
            let sql = format!(
                "INSERT INTO outbox (at_ms, user, cents, kind, packet, transfer, number, balance_cents, incarnation)
                 SELECT 1000 + n, -n, n, 1 + n % 4, n * 3, n, 1, n, 1 FROM (SELECT {next} AS n)"
            );
            self.connection.prepare_cached(&sql).unwrap().execute([]).unwrap();
        }
        self.connection.execute_batch("COMMIT").unwrap();
    }

    fn ledger(&self) -> PathBuf {
        self.directory.path().join("ledger.db")
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("settlement.log")
    }

    fn start(&self) -> (Worker, Arc<Counters>) {
        let counters = Arc::new(Counters::default());
        (start(self.directory.path(), &counters), counters)
    }

    /// Starts a worker, lets it drain, and ends it.
    fn settle(&self) {
        let (worker, _) = self.start();
        worker.finish(PATIENCE);
    }

    fn verify(&self) -> Report {
        verify(&self.file(), &self.ledger(), |_| {}).unwrap()
    }

    fn assert_all_settled(&self) {
        let report = self.verify();
        assert!(report.agrees, "{report}");
        assert_eq!((report.backlog.count, report.torn_bytes), (0, 0), "{report}");
        assert_eq!(report.settled, report.credits);
    }

    fn target(&self) -> FileTarget {
        let identity = outbox::Outbox::open(&self.ledger()).unwrap().identity().unwrap();
        FileTarget::new(self.file(), identity)
    }
}

fn start(directory: &Path, counters: &Arc<Counters>) -> Worker {
    let file = directory.join("settlement.log");
    let target = move |identity| FileTarget::new(file.clone(), identity);
    Worker::spawn(directory.join("ledger.db"), target, Arc::clone(counters)).unwrap()
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "{what} does not come");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn credits_are_settled_as_they_come_and_once_over_restarts() {
    let books = Books::new(CREDITS);
    let (worker, counters) = books.start();
    until("the first", || counters.credits_settled.value() == CREDITS);
    books.pay(5);
    until("the rest", || {
        counters.credits_settled.value() == CREDITS + 5 && worker.backlog() == 0
    });
    worker.finish(PATIENCE);
    books.assert_all_settled();
    books.settle();
    books.pay(7);
    let report = books.verify();
    assert!(report.agrees && report.backlog.count == 7, "{report}");
    books.settle();
    books.assert_all_settled();
    let text = std::fs::read_to_string(books.file()).unwrap();
    assert!(text.starts_with("shake-settlement-1,event=7,part=0,parts=1,records_crc=0000004d,begun_ms=1000,"));
    assert!(
        text.contains("\n2,7-0-0000004d-1000-2,18446744073709551614,2,gift,6,1002,"),
        "{}",
        &text[..300]
    );
}

/// Not a test by itself: what the child process runs.
#[test]
fn child() {
    if let Ok(directory) = std::env::var(DIRECTORY) {
        start(Path::new(&directory), &Arc::new(Counters::default())).finish(PATIENCE);
    }
}

#[test]
fn killed_at_any_step_every_credit_is_settled_once() {
    const ABORT: i32 = 6;
    for point in SETTLEMENT_POINTS {
        let nths: &[u32] = if *point == "settlement:begun" { &[1] } else { &[1, 2, 3] };
        for nth in nths {
            let books = Books::new(CREDITS);
            let status = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "settlement::tests::child", "--nocapture"])
                .env(DIRECTORY, books.directory.path())
                .env(DIE_AT, format!("{point}@{nth}"))
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .unwrap();
            assert_eq!(status.signal(), Some(ABORT), "{point}@{nth}");
            if books.file().exists() {
                let report = books.verify();
                assert!(report.agrees, "{point}@{nth}: {report}");
            }
            books.pay(3);
            books.settle();
            books.assert_all_settled();
        }
    }
}

#[test]
fn a_file_torn_at_any_byte_is_completed() {
    let books = Books::new(4);
    books.settle();
    let whole = std::fs::read(books.file()).unwrap();
    for bytes in 0..whole.len() {
        std::fs::write(books.file(), &whole[..bytes]).unwrap();
        books.settle();
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
        "it is credit 3 where 2 must be",
    );
    check(
        [lines[0], lines[1], lines[1]].concat(),
        "it is credit 1 where 2 must be",
    );
    check(
        [lines[0], lines[1], &"9".repeat(300), "\n"].concat(),
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
        ("UPDATE outbox SET cents = cents + 1 WHERE seq = 4", "credit"),
        ("DELETE FROM outbox WHERE seq = 4", "credit_extra"),
    ] {
        books.connection.execute(sql, []).unwrap();
        let (worker, counters) = books.start();
        until("a failure", || counters.settlement_failures.value() > 0);
        worker.finish(PATIENCE);
        assert_eq!(std::fs::read_to_string(books.file()).unwrap(), text);
        assert_eq!(books.verify().differences.named[0].kind, kind);
    }
}

#[test]
fn the_file_takes_only_what_follows_and_only_from_one() {
    let books = Books::new(4);
    let credits = outbox::Outbox::open(&books.ledger()).unwrap().read(0, 10).unwrap();
    let mut target = books.target();
    target.append(&credits[..2]).unwrap();
    for wrong in [&credits[..1], &credits[1..], &credits[3..]] {
        assert!(matches!(target.append(wrong), Err(SettlementError::Order { .. })));
    }
    assert!(matches!(books.target().last(), Err(SettlementError::Locked(_))));
    // Removed under our hands: noticed, and written again from the first credit on.
    std::fs::remove_file(books.file()).unwrap();
    assert!(matches!(
        target.append(&credits[2..]),
        Err(SettlementError::Replaced(_))
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

/// A target that can be switched off, also in the middle of a batch.
#[derive(Clone, Default)]
struct Switch {
    taken: Arc<Mutex<Vec<Credit>>>,
    is_down: Arc<AtomicBool>,
}

impl Switch {
    fn check(&self) -> Result<(), SettlementError> {
        match self.is_down.load(Ordering::Relaxed) {
            true => Err(SettlementError::Replaced("switched off".into())),
            false => Ok(()),
        }
    }
}

impl Settlement for Switch {
    fn last(&mut self) -> Result<Option<Credit>, SettlementError> {
        self.check()?;
        Ok(self.taken.lock().unwrap().last().copied())
    }

    fn append(&mut self, batch: &[Credit]) -> Result<(), SettlementError> {
        let half = if self.check().is_ok() {
            batch.len()
        } else {
            batch.len() / 2
        };
        self.taken.lock().unwrap().extend(&batch[..half]);
        self.check()
    }
}

#[test]
fn a_target_that_was_down_gets_everything_once() {
    let books = Books::new(10);
    let (switch, counters) = (Switch::default(), Arc::new(Counters::default()));
    let theirs = switch.clone();
    let worker = Worker::spawn(books.ledger(), move |_| theirs.clone(), Arc::clone(&counters)).unwrap();
    until("the first", || counters.credits_settled.value() == 10);
    switch.is_down.store(true, Ordering::Relaxed);
    books.pay(20);
    until("failures", || {
        counters.settlement_failures.value() >= 2 && worker.is_down()
    });
    until("the backlog", || worker.backlog() > 0);
    books.pay(20);
    switch.is_down.store(false, Ordering::Relaxed);
    until("the rest", || switch.taken.lock().unwrap().len() == 50);
    until("no backlog", || worker.backlog() == 0 && !worker.is_down());
    worker.finish(PATIENCE);
    let seqs: Vec<_> = switch.taken.lock().unwrap().iter().map(|credit| credit.seq).collect();
    assert_eq!(seqs, (1..=50).collect::<Vec<_>>());
}

#[test]
fn a_ledger_that_is_not_begun_is_waited_for() {
    let books = Books::new(3);
    books.connection.execute("DELETE FROM transfers", []).unwrap();
    let (worker, counters) = books.start();
    until("a failure", || counters.settlement_failures.value() > 0);
    let funding =
        "INSERT INTO transfers (at_ms, debit_kind, debit, credit_kind, credit, cents) VALUES (?1, 0, 0, 2, 1, 9)";
    books.connection.execute(funding, params![1_000]).unwrap();
    until("the credits", || counters.credits_settled.value() == 3);
    worker.finish(PATIENCE);
    books.assert_all_settled();
}
