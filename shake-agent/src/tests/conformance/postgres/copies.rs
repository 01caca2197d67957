//! Copies of a server's outbox, as `settlement run` writes them: whole, in order, and once, whatever happens.

use super::books::fleet::{Fleet, place};
use super::server;
use crate::crash::SETTLEMENT_POINTS;
use crate::ledger::Place;
use crate::settlement::{self, Copied, Copying, SettlementError, TableReport, copy, copy_name};
use crate::signals::Stop;
use crate::tests::child::{ABORT, spawn, wait};
use crate::tests::support::PATIENCE;
use local_postgres::Server;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio_postgres::Config;

const CHILD: &str = "tests::conformance::postgres::copies::child";
const DIRECTORY: &str = "SHAKE_AGENT_COPIES_DIRECTORY";

fn settle(place: &Place, directory: &Path, from_the_beginning: bool) -> Result<Copied, SettlementError> {
    let copying = Copying {
        place,
        directory,
        from_the_beginning,
        once: true,
    };
    copy(&copying, &Stop::default(), |_| {})
}

/// A place for the files, and the rights that payment needs to write them.
struct Target {
    directory: TempDir,
    config: Config,
}

impl Target {
    fn new(server: &Server, database: &str) -> Self {
        let grant = "GRANT SELECT ON outbox, openings, ledger, parts TO payment";
        server.run(database, grant).unwrap();
        let mut config = server.config(database);
        config.user("payment");
        Self {
            directory: tempfile::tempdir().unwrap(),
            config,
        }
    }

    fn settle(&self, from_the_beginning: bool) -> Result<Copied, SettlementError> {
        settle(&place(&self.config), self.directory.path(), from_the_beginning)
    }

    fn file(&self, part: u16) -> PathBuf {
        self.directory.path().join(copy_name(part))
    }

    fn bytes(&self) -> [Vec<u8>; 2] {
        [0, 1].map(|part| fs::read(self.file(part)).unwrap())
    }

    fn lines(&self) -> usize {
        let lines = |bytes: &Vec<u8>| bytes.iter().filter(|&&byte| byte == b'\n').count() - 1;
        self.bytes().iter().map(lines).sum()
    }
}

fn payment(server: &Server) {
    server.run("postgres", "CREATE ROLE payment LOGIN").unwrap();
}

fn verify(config: &Config, files: &Path) -> TableReport {
    settlement::verify_table(&place(config), Some(files), |_| {}).unwrap()
}

#[test]
fn files_of_all_parts_have_each_line_once() {
    let server = server();
    payment(&server);
    let fleet = Fleet::played(&server, "copied");
    let target = Target::new(&server, "copied");
    let never = target.settle(false);
    assert!(matches!(never, Err(SettlementError::NoCopies(_))), "{never:?}");

    let copied = target.settle(true).unwrap();
    let report = verify(&fleet.config, target.directory.path());
    assert!(report.agrees, "{report}");
    assert_eq!(report.settled.as_ref(), Some(&report.lines));
    assert_eq!(report.backlog.as_ref().map(|backlog| backlog.count), Some(0));
    assert_eq!((copied.parts, copied.lines), (2, report.lines.count));
    assert!(!copied.is_closed);
    let whole = target.bytes();
    assert_eq!(target.settle(false).unwrap().lines, 0);
    assert!(target.bytes() == whole, "nothing is written twice");

    let mut agent = fleet.agent(1);
    agent.hear(&[agent.send(1, 9, 1, 1)]);
    let report = verify(&fleet.config, target.directory.path());
    assert!(report.agrees && report.backlog.is_some_and(|backlog| backlog.count == 1));
    assert_eq!(target.settle(false).unwrap().lines, 1);
    let more = target.bytes();
    assert!(more[0] == whole[0] && more[1].starts_with(&whole[1]));

    // Wherever it was torn, the same bytes follow.
    let header = more[1].iter().position(|&byte| byte == b'\n').unwrap() + 1;
    for bytes in (header..more[1].len()).step_by(41) {
        fs::write(target.file(1), &more[1][..bytes]).unwrap();
        target.settle(false).unwrap();
        assert!(target.bytes() == more, "torn at {bytes}");
    }
}

/// What a person has to decide about is refused by name, and nothing is written.
#[test]
fn files_that_the_server_does_not_go_with_are_refused() {
    let server = server();
    payment(&server);
    drop(Fleet::played(&server, "whole"));
    let begun = Target::new(&server, "whole");
    begun.settle(true).unwrap();
    let whole = begun.bytes();
    fs::remove_file(begun.file(1)).unwrap();
    let gone = begun.settle(false).unwrap_err();
    assert!(
        gone.is_for_a_person() && gone.to_string().contains("settlement-1.log"),
        "{gone}"
    );
    begun.settle(true).unwrap();
    assert!(begun.bytes() == whole, "the same once more");

    let last = "seq = (SELECT max(seq) FROM outbox WHERE part = 0)";
    let cases = [
        (
            "older",
            format!("DELETE FROM outbox WHERE part = 0 AND {last}"),
            "does not have it",
        ),
        (
            "other",
            format!("UPDATE outbox SET at_ms = at_ms + 1 WHERE part = 0 AND {last}"),
            "another one of that number",
        ),
        (
            "stranger",
            "UPDATE ledger SET identity = decode('00112233445566778899aabbccddeeff', 'hex')".to_owned(),
            "belongs to another ledger",
        ),
    ];
    for (name, change, word) in cases {
        server
            .run("postgres", &format!("CREATE DATABASE {name} TEMPLATE whole"))
            .unwrap();
        server.run(name, &change).unwrap();
        let fault = settle(&place(&server.config(name)), begun.directory.path(), false).unwrap_err();
        assert!(
            fault.is_for_a_person() && fault.to_string().contains(word),
            "{name}: {fault}"
        );
        assert!(begun.bytes() == whole, "{name}");
    }

    // Nothing is read past a gap.
    server
        .run("whole", "DELETE FROM outbox WHERE part = 0 AND seq = 2")
        .unwrap();
    let anew = Target::new(&server, "whole");
    let fault = anew.settle(true).unwrap_err();
    assert!(
        matches!(fault, SettlementError::Order { expected: 2, found: 3 }),
        "{fault}"
    );
    assert_eq!(anew.lines(), 0);
    let report = verify(&server.config("whole"), anew.directory.path());
    assert!(!report.agrees && report.backlog.is_some_and(|backlog| backlog.count > 0));
}

/// A line that is changed, one too many, and a file that is missing: each is named.
#[test]
fn each_difference_of_a_file_is_named() {
    let server = server();
    payment(&server);
    let fleet = Fleet::played(&server, "named");
    let target = Target::new(&server, "named");
    target.settle(true).unwrap();
    let whole = target.bytes();
    let check = |kind: &str| {
        let report = verify(&fleet.config, target.directory.path());
        assert!(
            report.differences.named.iter().any(|found| found.kind == kind),
            "{kind}: {report}"
        );
    };
    let mut damaged = whole[0].clone();
    let middle = damaged.len() - 30;
    damaged[middle] ^= 1;
    fs::write(target.file(0), damaged).unwrap();
    check("line");
    // That of the other part, under its name.
    fs::write(target.file(0), &whole[1]).unwrap();
    check("ledger");
    fs::remove_file(target.file(0)).unwrap();
    check("file_missing");
    fs::write(target.file(0), &whole[0]).unwrap();
    let last = "seq = (SELECT max(seq) FROM outbox WHERE part = 0)";
    server
        .run(
            "named",
            &format!("UPDATE outbox SET at_ms = at_ms + 1 WHERE part = 0 AND {last}"),
        )
        .unwrap();
    check("line_differs");
    server
        .run("named", &format!("DELETE FROM outbox WHERE part = 0 AND {last}"))
        .unwrap();
    check("line_extra");
}

/// Not a test by itself: what the child process runs.
#[test]
fn child() {
    let Ok(directory) = std::env::var(DIRECTORY) else {
        return;
    };
    let directory = Path::new(&directory);
    let url = fs::read_to_string(directory.join("url")).unwrap();
    settle(&place(&url.parse().unwrap()), directory, true).unwrap();
}

#[test]
fn killed_at_any_step_each_line_is_copied_once() {
    let server = server();
    payment(&server);
    let fleet = Fleet::played(&server, "killed");
    let expected = Target::new(&server, "killed");
    expected.settle(true).unwrap();
    for point in SETTLEMENT_POINTS {
        for nth in [1, 2] {
            let target = Target::new(&server, "killed");
            fs::write(target.directory.path().join("url"), server.url("killed")).unwrap();
            let die_at = format!("{point}@{nth}");
            let mut child = spawn(CHILD, DIRECTORY, target.directory.path(), Some(&die_at));
            assert_eq!(wait(&mut child).signal(), Some(ABORT), "{die_at}");
            target.settle(true).unwrap();
            assert!(target.bytes() == expected.bytes(), "{die_at}");
            let report = verify(&fleet.config, target.directory.path());
            assert!(report.agrees, "{die_at}: {report}");
        }
    }
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "{what} does not come");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_server_that_was_away_is_gone_on_with() {
    let mut server = server();
    payment(&server);
    let fleet = Fleet::played(&server, "away");
    let target = Target::new(&server, "away");
    let lines = target.settle(true).unwrap().lines as usize;
    let (stop, said) = (Stop::default(), Arc::new(Mutex::new(0)));
    let running = {
        let (stop, said) = (stop.clone(), Arc::clone(&said));
        let (place, directory) = (place(&target.config), target.directory.path().to_owned());
        thread::spawn(move || {
            let copying = Copying {
                place: &place,
                directory: &directory,
                from_the_beginning: false,
                once: false,
            };
            copy(&copying, &stop, |_| *said.lock().unwrap() += 1)
        })
    };
    let send = |key| {
        let mut agent = fleet.agent(0);
        agent.hear(&[agent.send(1, key, 1, 1)]);
    };
    send(8);
    until("the line", || target.lines() == lines + 1);
    server.crash();
    until("what is told", || *said.lock().unwrap() > 0);
    server.start_again().unwrap();
    send(9);
    until("the next line", || target.lines() == lines + 2);
    stop.ask();
    let copied = running.join().unwrap().unwrap();
    assert_eq!(copied.lines, 2);
    assert_eq!(
        *said.lock().unwrap(),
        2,
        "once that it is away, and once that it is back"
    );
}
