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

mod file;

const PATIENCE: Duration = Duration::from_secs(60);
const DIRECTORY: &str = "SHAKE_AGENT_SETTLEMENT_DIRECTORY";
/// Three batches, the last one not full.
const LINES: u64 = 2 * BATCH_MAX as u64 + 100;

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
                "INSERT INTO incarnations VALUES (1, 255, 1000, 'gw1');
                 INSERT INTO seed (id, event, part, parts, count, total_cents, records_crc, gift_budget_cents, identity)
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
            let line = format!(
                "INSERT INTO outbox (at_ms, user, cents, kind, packet, transfer, number, balance_cents, incarnation)
                 SELECT 1000 + n, -n, n, 1 + n % 4, n * 3, n, 1, n, 1 FROM (SELECT {next} AS n)"
            );
            let account = "INSERT INTO users (user, balance_cents, packets_opened, sponsors_opened, lines)
                           SELECT user, balance_cents, 0, x'', 1 FROM outbox ORDER BY seq DESC LIMIT 1";
            for sql in [&line, account] {
                self.connection.prepare_cached(sql).unwrap().execute([]).unwrap();
            }
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
        assert_eq!(report.settled, report.lines);
    }

    fn target(&self) -> FileTarget {
        let identity = outbox::Outbox::open(&self.ledger()).unwrap().identity().unwrap();
        FileTarget::new(self.file(), identity)
    }
}

/// As the agent starts: a file is begun once.
fn start(directory: &Path, counters: &Arc<Counters>) -> Worker {
    let (file, ledger) = (directory.join("settlement.log"), directory.join("ledger.db"));
    if let Ok(standing) = ask(&file, &ledger) {
        if standing == Standing::New {
            begin(&file, &ledger).unwrap();
        }
        let sql = "UPDATE seed SET settlement_ms = 5 WHERE settlement_ms IS NULL";
        Connection::open(&ledger).unwrap().execute(sql, []).unwrap();
    }
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
    let books = Books::new(LINES);
    let (worker, counters) = books.start();
    until("the first", || counters.lines_settled.value() == LINES);
    books.pay(5);
    until("the rest", || {
        counters.lines_settled.value() == LINES + 5 && worker.backlog() == 0
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
    let ledger = "00112233445566778899aabbccddeeff";
    let header =
        format!("shake-settlement-2,ledger={ledger},event=7,part=0,parts=1,records_crc=0000004d,begun_ms=1000,owed=");
    assert!(text.starts_with(&header), "{text:.300}");
    let (key, user) = ("00000000000000ff-u18446744073709551614-1", "u18446744073709551614");
    assert!(
        text.contains(&format!("\n2,{ledger}-{key},{user},1,2,2,gift,p6,1002,")),
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
            let books = Books::new(LINES);
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

/// A target that can be switched off, also in the middle of a batch.
#[derive(Clone, Default)]
struct Switch {
    taken: Arc<Mutex<Vec<Line>>>,
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
    fn last(&mut self) -> Result<Option<Line>, SettlementError> {
        self.check()?;
        Ok(self.taken.lock().unwrap().last().copied())
    }

    fn append(&mut self, batch: &[Line]) -> Result<(), SettlementError> {
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
    until("the first", || counters.lines_settled.value() == 10);
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
    let seqs: Vec<_> = switch.taken.lock().unwrap().iter().map(|line| line.seq).collect();
    assert_eq!(seqs, (1..=50).collect::<Vec<_>>());
}

/// Each user's lines have no gap, each balance is the last one and the line's cents, and the last one is the account's.
#[test]
fn lines_that_do_not_make_the_balance_are_named() {
    for (sql, kind) in [
        ("UPDATE outbox SET balance_cents = 9 WHERE seq = 2", "line_chain"),
        ("UPDATE outbox SET number = 2 WHERE seq = 2", "line_chain"),
        (
            "UPDATE outbox SET cents = -2, balance_cents = -2 WHERE seq = 2",
            "line_chain",
        ),
        ("UPDATE users SET balance_cents = 9 WHERE user = -2", "line_balance"),
        ("UPDATE users SET lines = 2 WHERE user = -2", "line_balance"),
        ("DELETE FROM users WHERE user = -2", "line_balance"),
        ("INSERT INTO users VALUES (77, 5, 0, x'', NULL, 0)", "line_balance"),
    ] {
        let books = Books::new(4);
        assert_eq!(books.connection.execute(sql, []).unwrap(), 1, "{sql}");
        // The file is what the outbox says: only the chain can tell.
        books.settle();
        let report = books.verify();
        assert!(
            report.differences.named.iter().any(|found| found.kind == kind),
            "{sql}: {report}"
        );
    }
}

#[test]
fn a_ledger_that_is_not_begun_is_waited_for() {
    let books = Books::new(3);
    begin(&books.file(), &books.ledger()).unwrap();
    books.connection.execute("DELETE FROM transfers", []).unwrap();
    let (worker, counters) = books.start();
    until("a failure", || counters.settlement_failures.value() > 0);
    let funding =
        "INSERT INTO transfers (at_ms, debit_kind, debit, credit_kind, credit, cents) VALUES (?1, 0, 0, 2, 1, 9)";
    books.connection.execute(funding, params![1_000]).unwrap();
    until("the credits", || counters.lines_settled.value() == 3);
    worker.finish(PATIENCE);
    books.assert_all_settled();
}
