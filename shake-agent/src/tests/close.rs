//! The books closed after a night of everything: by a process that dies at each step and is run again, and by hand.

use super::back::{Back, Setting};
use super::support::{EVENT, Event, Front, PATIENCE, ask, claim};
use crate::closing::{self, Outlook, Statement};
use crate::config::Config;
use crate::crash::{CLOSE_POINTS, DIE_AT, POINTS, SETTLEMENT_POINTS};
use crate::ledger::{Ledger, LedgerError};
use crate::run::{self, CloseError, Closing, RunError};
use crate::settlement;
use crate::signals::Stop;
use rusqlite::Connection;
use shake_proto::handoff::record::{Issued, Request, What};
use shake_proto::request::Send;
use shake_rules::seed::{PacketKind, SeedRecord};
use shake_rules::show::Show;
use shake_rules::ticket::Ticket;
use shake_rules::{Cents, PacketId, SponsorId, UnixMillis, UserId};
use shm_queue::Mapping;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const DIRECTORY: &str = "SHAKE_AGENT_CLOSE_DIRECTORY";
const PACKETS: u64 = 60;
/// Tickets and shares live for a second.
const SHOW: &str = r#"
[event]
id = 7
name = "gala <night>"
[limits]
packets_per_user = 8
packets_per_sponsor = 8
ticket_lifetime_s = 1
share_lifetime_s = 1
[gifts]
budget_cents = 1000
[[sponsors]]
id = 1
name = "Acme & Sons"
[[sponsors]]
id = 2
name = "Globex"
[[phases]]
name = "opening"
end_s = 500000
weights = { red_packet = 1 }
[[phases]]
name = "midnight"
start_s = 500000
end_s = 1000000
weights = { red_packet = 1 }
"#;

fn now() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    UnixMillis(since.as_millis() as u64)
}

fn record(index: u64) -> SeedRecord {
    let is_split = index % 3 == 1;
    SeedRecord {
        packet: PacketId((7 << 48) + index),
        amount: Cents(if is_split { 90 } else { 1_000 }),
        sponsor: SponsorId(1 + (index % 2) as u16),
        kind: if is_split {
            PacketKind::Split { shares: 3 }
        } else {
            PacketKind::Plain
        },
    }
}

/// What is in the books of a night when it is over, and nobody runs.
struct Night {
    event: Event,
    /// Has a claim in the ring that nobody has read.
    late: UserId,
}

/// Packets of every state: opened, shared and open, sent by a user, issued, with shards, in rings, lost, and unreleased.
fn night() -> Night {
    night_with(|_| {})
}

/// The same; the gateway does this last.
fn night_with(last: impl FnOnce(&mut Front)) -> Night {
    let event = Event::with_records(&(0..PACKETS).map(record).collect::<Vec<_>>());
    std::fs::write(event.path("show.toml"), SHOW).unwrap();
    let began = now();
    let mapping = || Mapping::open_or_create(&event.path("rings"), &super::support::geometry(1)).unwrap();
    let open = || {
        let show = Show::parse(SHOW, began).unwrap();
        let setting = Setting {
            show,
            now: now(),
            rng: 7,
        };
        Back::open_on(&mapping(), &event, setting).unwrap()
    };
    // The first mapping goes with what was released into it.
    let front = Front::on(&mapping(), 1);
    let mut back = open();
    back.work();
    drop((front, back));
    Mapping::remove(&event.path("rings")).unwrap();

    let mut front = Front::on(&mapping(), 1);
    let mut back = open();
    back.work();
    let grants = front.take_grants(0);
    assert_eq!(grants.len(), 8);
    let ends = Some(began.plus_ms(1_000));
    for (at, grant) in (0_u64..5).zip(&grants) {
        let (packet, user) = (grant.packet, UserId(1 + at));
        let (at, stage) = (began, (at % 2) as u16);
        front.push(
            0,
            &Request::Issued(Issued {
                packet,
                user,
                stage,
                at,
                ends,
            }),
        );
    }
    let sealed = |front: &Front, at: usize| {
        front.keys.seal(&Ticket {
            event: EVENT,
            packet: grants[at].packet,
            user: UserId(1 + at as u64),
            sponsor: grants[at].sponsor,
            stage: (at % 2) as u16,
            issued_at: began,
            expires_at: began.plus_ms(60_000),
        })
    };
    // Users 1 to 3 open theirs, the first of them sends some of it on. The ticket of user 4 stays shut.
    for at in 0..3 {
        let ticket = sealed(&front, at);
        front.push(0, &claim(at as u64, UserId(1 + at as u64), ticket, began));
    }
    let send = Send {
        key: [9; 16],
        total: Cents(20),
        shares: 2,
        recipients: Vec::new(),
    };
    back.work();
    front.push(0, &ask(10, UserId(1), now(), What::Send(send)));
    back.work();
    // The claim of user 5 came before anything ended, and waits in the ring.
    let ticket = sealed(&front, 4);
    front.push(0, &claim(11, UserId(5), ticket, began));
    last(&mut front);
    let report = event.assert_balanced();
    let total = report.total;
    assert!(
        total.issued.packets >= 2 && total.open.packets >= 1 && total.opened.cents > 0,
        "{report}"
    );
    assert!(total.released.packets >= 3 && total.lost.packets == 8, "{report}");
    assert!(
        total.unreleased.packets > 30 && report.sent.open.packets == 1,
        "{report}"
    );
    Night { event, late: UserId(5) }
}

fn config(directory: &Path) -> Config {
    let text = std::fs::read_to_string(directory.join("agent.toml")).unwrap();
    Config::parse(&text, Path::new("")).unwrap()
}

fn close(event: &Event) -> Result<Closing, CloseError> {
    run::close(&config(event.directory.path()), &Stop::default(), |_| {})
}

fn closed(event: &Event) -> Statement {
    match close(event).unwrap() {
        Closing::Closed(statement) => *statement,
        Closing::Waiting(outlook) => panic!("{outlook}"),
    }
}

/// All that must hold of closed books.
fn assert_closed(night: &Night, statement: &Statement, what: &str) {
    let event = &night.event;
    let report = event.assert_balanced();
    assert_eq!(report.closed_ms, Some(statement.closed_ms), "{what}");
    let total = report.total;
    for (name, tally) in [
        ("unreleased", total.unreleased),
        ("held", total.held),
        ("lost", total.lost),
        ("void", total.void),
        ("sent", report.sent.open),
    ] {
        assert_eq!((tally.packets, tally.cents), (0, 0), "{what}: {name}: {report}");
    }
    assert_eq!(
        total.seed.cents + total.gifts.cents,
        total.opened.cents + total.refunded.cents,
        "{what}"
    );
    assert_eq!(
        total.seed.packets,
        total.opened.packets + total.refunded.packets,
        "{what}"
    );
    // What sponsors paid is what users are owed, whatever went round among them.
    assert_eq!(
        (statement.owed_cents, statement.total.users_cents),
        (total.opened.cents, total.opened.cents)
    );
    let by_phase: u64 = statement.phases.iter().map(|phase| phase.cents).sum();
    assert_eq!(by_phase, total.opened.cents, "{what}");
    for line in &statement.sponsors {
        assert_eq!(
            line.funded_cents,
            line.users_cents + line.back_cents + line.void_cents,
            "{what}: {line:?}"
        );
    }
    // Who asked in time is served, though the claim lay in the ring when the agent ended.
    let ledger = Ledger::open(&event.ledger()).unwrap();
    assert!(ledger.user_balance(night.late).unwrap().unwrap_or(0) > 0, "{what}");
    drop(ledger);
    let settled = settlement::verify(&event.path("settlement.log"), &event.ledger(), |_| {}).unwrap();
    assert!(
        settled.agrees && settled.closed && settled.backlog.count == 0,
        "{what}: {settled}"
    );
    let text = std::fs::read_to_string(event.path("settlement.log")).unwrap();
    let last: Vec<&str> = text.lines().last().unwrap().split(',').collect();
    assert_eq!(text.matches("-close,").count(), 1, "{what}");
    let (users, owed) = (statement.users_owed.to_string(), statement.owed_cents.to_string());
    assert_eq!(
        last[2..8],
        ["", users.as_str(), "0", owed.as_str(), "close", ""],
        "{what}"
    );
    assert!(!event.path("rings").exists(), "{what}: the mapping is gone");
}

#[test]
fn what_nobody_won_goes_back_and_the_statement_says_so_by_name() {
    let night = night();
    let event = &night.event;
    let before: Outlook = closing::outlook(&event.config(), now()).unwrap();
    assert!(!before.is_clear(now()) && before.agent.is_none(), "{before}");
    assert_eq!((before.lost.packets, before.sent.packets), (8, 1));
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
    assert_eq!(after.closed_ms, Some(statement.closed_ms));
    assert!(after.is_clear(now()) && after.back.is_empty(), "{after}");
    // Nobody serves it any more, and nobody writes to it.
    let error = run::run(&event.config(), &Stop::default()).unwrap_err();
    assert_eq!(error.exit_code(), run::EXIT_REFUSED);
    assert!(matches!(error, RunError::Ledger(LedgerError::Closed { .. })), "{error}");
    let mut ledger = Ledger::open(&event.ledger()).unwrap();
    let written = ledger.transaction(now(), |_| Ok(()));
    assert!(matches!(written, Err(LedgerError::Closed { .. })));
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
    assert!(found > 8, "those of the ring were lost as well: {found}");
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

fn run_child(event: &Event, die_at: &str) -> ExitStatus {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "tests::close::child", "--nocapture"])
        .env(DIRECTORY, event.directory.path())
        .env(DIE_AT, die_at)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if begun.elapsed() > PATIENCE {
            child.kill().unwrap();
            panic!("the child hangs");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Dies at the n-th passing of a step, if it comes there, and is run again.
fn check(point: &str, nth: u32) {
    const ABORT: i32 = 6;
    let what = format!("{point}@{nth}");
    let night = night();
    let status = run_child(&night.event, &what);
    if CLOSE_POINTS.contains(&point) {
        assert_eq!(status.signal(), Some(ABORT), "{what}");
    }
    // Whatever was done by then stands, and says of itself how far it is.
    night.event.assert_balanced();
    let told = crate::ledger::closed_at(&night.event.ledger()).unwrap();
    let statement = closed(&night.event);
    assert!(told.is_none_or(|at| at.0 == statement.closed_ms), "{what}: closed once");
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
