//! What reads a ledger on a server: the audit of all parts at one moment, exports and stories as from a file, and where it may be
//! read.

pub mod fleet;

use super::super::played;
use super::super::scene::{OnDisk, PACKETS, record};
use super::{OnPostgres, server};
use crate::audit::AuditError;
use crate::audit::fleet::{FleetError, Report, audit_shared};
use crate::export::{self, Format, What};
use crate::ledger::{LedgerError, PRIMARY_MAX, Place};
use crate::settlement::{self, TableReport};
use crate::story;
use fleet::{COUNT, Fleet, GIFTS, place};
use serde_json::Value;
use shake_rules::UserId;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;
use tokio_postgres::Config;

#[test]
fn an_event_of_two_parts_balances_at_one_server() {
    let server = server();
    // Nobody has served it.
    let fleet = Fleet::new(&server, "new");
    let report = fleet.audit();
    assert!(
        report.balanced && report.total.unreleased == report.total.seed,
        "{report}"
    );
    // One part has been, and is all that there is to tell of.
    drop(fleet.agent(1));
    let report = fleet.audit();
    assert!(
        report.balanced && report.parts[0].ledger.is_none() && report.parts[1].ledger.is_some(),
        "{report}"
    );

    let fleet = Fleet::played(&server, "played");
    let report = fleet.audit();
    assert!(report.balanced, "{report}");
    let total = report.total;
    assert_eq!(total.seed.packets, COUNT);
    assert_eq!((total.gifts.cents, total.gifts.packets), (GIFTS.0, 2));
    assert_eq!(total.unreleased.packets, COUNT - 40);
    assert_eq!(
        (total.issued.packets, total.void.packets, total.lost.packets),
        (1, 1, 1)
    );
    // A split packet and a gift have shares left; of each kind another one has none.
    assert_eq!((total.open.packets, total.opened.packets), (2, 6 + 2));
    let sent = report.sent;
    assert_eq!((sent.sent.cents, sent.open.packets, sent.grabbed.packets), (11, 2, 0));
    assert!(report.to_string().ends_with("\nbalanced"), "{report}");
    let opened: u64 = report.parts.iter().map(|part| part.total.opened.cents).sum();
    assert_eq!(opened, total.opened.cents, "over the parts");
    let table = verify(&fleet.config);
    assert!(table.agrees, "{table}");
    assert_eq!((table.users, table.owed_cents), (5, report.owed_cents));
    assert_eq!(table.owed_cents + report.sent.open.cents, total.opened.cents);
}

fn verify(config: &Config) -> TableReport {
    settlement::verify_table(&place(config), None, |_| {}).unwrap()
}

/// A cent, a row, a line, a part's number: whatever is missing or changed is named.
#[test]
fn each_planted_difference_is_named_at_a_server() {
    let server = server();
    drop(Fleet::played(&server, "whole"));
    let fleet = Fleet::new(&server, "seeds");
    // What the outbox shows by itself stands last.
    let cases = [
        (
            "UPDATE users SET balance_cents = balance_cents - 1 WHERE usr = 1",
            "account_balance",
            "line_balance",
        ),
        (
            "UPDATE house SET balance_cents = balance_cents - 1 WHERE part = 1 AND kind = 2 AND id = 1",
            "account_balance",
            "",
        ),
        (
            "UPDATE transfers SET cents = cents + 1 WHERE part = 0 AND transfer = 20",
            "transfer_amount",
            "",
        ),
        (
            "DELETE FROM transfers WHERE part = 1 AND transfer = (SELECT max(transfer) FROM transfers WHERE part = 1 AND credit_kind = 4)",
            "transfer_missing",
            "",
        ),
        (
            "UPDATE transfers SET part = 1, transfer = 999 WHERE part = 0 AND transfer = 20",
            "account_balance",
            "",
        ),
        ("DELETE FROM shares WHERE usr = 1 AND packet > 0", "share_differs", ""),
        (
            "UPDATE packets SET balance_cents = balance_cents + 1 WHERE state = 2",
            "packet_balance",
            "",
        ),
        ("UPDATE packets SET part = 1 - part WHERE state = 2", "packet_part", ""),
        ("UPDATE packets SET state = 1 WHERE state = 4", "transfer_state", ""),
        (
            "UPDATE sponsors SET released = released + 1 WHERE part = 1",
            "packet_missing",
            "",
        ),
        (
            "UPDATE parts SET gift_budget_cents = 101 WHERE part = 1",
            "gift_budget",
            "",
        ),
        ("UPDATE ledger SET gift_pot_cents = gift_pot_cents + 1", "gift_pot", ""),
        (
            "UPDATE parts SET gifts_cents = gifts_cents - 1 WHERE part = 0",
            "gift_pot",
            "",
        ),
        ("UPDATE parts SET records_crc = 1 WHERE part = 1", "ledger_seed", ""),
        (
            "INSERT INTO parts SELECT 2, parts, count, total_cents, records_crc FROM parts WHERE part = 1",
            "ledger_part",
            "",
        ),
        ("DELETE FROM parts WHERE part = 0", "ledger_missing", ""),
        (
            "UPDATE outbox SET number = number + 1 WHERE usr = 2 AND number = (SELECT max(number) FROM outbox WHERE usr = 2)",
            "outbox_differs",
            "line_chain",
        ),
        (
            "UPDATE outbox SET balance_cents = balance_cents + 1 WHERE usr = 2 AND number = 1",
            "outbox_differs",
            "line_chain",
        ),
        (
            "DELETE FROM outbox WHERE part = 0 AND seq = 2",
            "outbox_missing",
            "outbox_gap",
        ),
        (
            "UPDATE users SET lines = lines - 1 WHERE usr = 3",
            "line_count",
            "line_balance",
        ),
    ];
    for (number, (change, kind, of_table)) in cases.into_iter().enumerate() {
        let name = format!("case{number}");
        server
            .run("postgres", &format!("CREATE DATABASE {name} TEMPLATE whole"))
            .unwrap();
        server.run(&name, change).unwrap();
        let config = server.config(&name);
        let report = fleet.audit_of(&config);
        let named = report.differences.iter().any(|found| found.difference.kind == kind);
        assert!(!report.balanced && named, "no {kind} by {change}:\n{report}");
        let table = verify(&config);
        let named = table.differences.named.iter().any(|found| found.kind == of_table);
        assert!(
            named || table.agrees && of_table.is_empty(),
            "no {of_table} by {change}:\n{table}"
        );
    }
    assert!(fleet.audit_of(&server.config("whole")).balanced);
}

/// Agents commit all the while, each into its own journal, for users of both: what is read is of one moment.
#[test]
fn an_audit_during_load_is_of_one_moment() {
    let server = server();
    let fleet = Fleet::new(&server, "load");
    let mut agents = [fleet.agent(0), fleet.agent(1)];
    agents.iter_mut().for_each(|agent| agent.release(COUNT / 2));
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let over = &over;
        let running = agents.each_mut().map(|agent| {
            scope.spawn(move || {
                let packets: Vec<_> = agent.packets.iter().map(|record| record.packet).collect();
                for (key, packet) in (1..).zip(packets.iter().cycle()) {
                    if over.load(Ordering::Relaxed) {
                        return;
                    }
                    // Users of this agent, and two of both, whose money goes to and fro.
                    agent.hear(&[
                        agent.claim(*packet, key % 3),
                        agent.claim(*packet, 100 * u64::from(agent.part + 1) + key),
                    ]);
                    let made = agent.made(agent.ledger.standing().numbers.made + 1);
                    agent.hear(&[agent.send(1 + key % 2, key, 1, 1), agent.grab(made, 2 - key % 2)]);
                }
            })
        });
        let mut moments = BTreeSet::new();
        while moments.len() < 8 {
            let report = fleet.audit();
            assert!(report.balanced, "{report}");
            moments.insert((report.total.opened.packets, report.sent.sent.packets));
            assert!(running.iter().all(|agent| !agent.is_finished()), "an agent ended");
        }
        over.store(true, Ordering::Relaxed);
        for agent in running {
            agent.join().unwrap();
        }
    });
    assert!(fleet.audit().balanced);
}

/// The rows of a file and of a server, for the same play.
#[test]
fn exports_and_stories_of_a_server_are_those_of_a_file() {
    let server = server();
    let (on_disk, on_server) = (OnDisk::new(), OnPostgres::new(&server, "export"));
    let (disk, _server) = (played(&on_disk), played(&on_server));
    let file = Place::from(disk.ledger.path().to_owned());
    let served = place(&on_server.config);
    for what in [What::Packets, What::Transfers, What::Shares, What::Outbox, What::Users] {
        for format in [Format::Csv, Format::Jsonl] {
            let text = |place| {
                let mut out = Vec::new();
                export::export(place, what, format, &mut out).unwrap();
                String::from_utf8(out).unwrap()
            };
            let (expected, found) = (rows(&text(&file), what, false), rows(&text(&served), what, true));
            assert!(expected.len() > 1 || what == What::Shares, "{what:?}");
            assert_eq!(found, expected, "{what:?} as {format:?}");
        }
    }
    for index in 0..PACKETS {
        let told = |place| story::packet(place, record(index).packet).map_err(|error| error.to_string());
        assert_eq!(told(&served), told(&file), "packet {index}");
    }
    for user in 1..=9 {
        let told = |place| story::user(place, UserId(user)).map_err(|error| error.to_string());
        assert_eq!(told(&served), told(&file), "user {user}");
    }
    let tables = [&file, &served].map(|place| settlement::verify_table(place, None, |_| {}).unwrap());
    assert!(tables[0].agrees && tables[1].agrees);
    assert_eq!(
        (&tables[0].lines, tables[0].owed_cents),
        (&tables[1].lines, tables[1].owed_cents)
    );
}

/// Lines without what is random (the opening), and without the column that only a server has.
fn rows(text: &str, what: What, is_served: bool) -> Vec<String> {
    let columns = usize::from(what == What::Outbox) + usize::from(is_served && what != What::Users);
    let strip = |line: &str| {
        let Ok(Value::Object(mut object)) = serde_json::from_str(line) else {
            let fields: Vec<&str> = line.split(',').collect();
            return fields[..fields.len() - columns].join(",");
        };
        assert_eq!(object.remove("part").is_some(), is_served && what != What::Users);
        object.remove("incarnation");
        Value::Object(object).to_string()
    };
    text.lines().map(strip).collect()
}

/// Where agents write, nothing reads all of a ledger by itself, nor for long. A copy that stays in recovery is read as it is.
#[test]
fn a_server_that_agents_write_to_is_read_only_when_that_is_said() {
    let mut server = server();
    let fleet = Fleet::played(&server, "primary");
    let audit = |primary_max| {
        let place = Place::Server {
            access: Box::new((&fleet.config).into()),
            primary_max,
        };
        audit_shared(&fleet.directory(), &place, None, |_, _, _| {})
    };
    let refused = |outcome: Result<Report, FleetError>| match outcome {
        Err(FleetError::Ledger(AuditError::Ledger(error))) => error,
        other => panic!("{other:?}"),
    };
    let error = refused(audit(None));
    assert!(
        matches!(error, LedgerError::OnPrimary(_)) && error.to_string().contains("--on-primary"),
        "{error}"
    );
    let error = refused(audit(Some(Duration::ZERO)));
    assert!(matches!(error, LedgerError::TooLongOnPrimary(..)), "{error}");
    assert!(audit(Some(PRIMARY_MAX)).unwrap().balanced);

    // A server's directory is the one that it works in.
    server
        .run("postgres", "COPY (SELECT) TO PROGRAM 'cat > standby.signal'")
        .unwrap();
    server.crash();
    server.start_again().unwrap();
    assert!(
        server.run("primary", "DELETE FROM users").is_err(),
        "it takes no writes"
    );
    assert!(audit(None).unwrap().balanced);
}
