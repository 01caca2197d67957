//! The books of a night of everything, when it is over and nobody runs; and what must hold of them once they are closed.

use super::back::{Back, Setting};
use super::support::{EVENT, Event, Front, ask, claim};
use crate::closing::Statement;
use crate::config::Config;
use crate::ledger::Ledger;
use crate::run::{self, CloseError, Closing};
use crate::settlement;
use crate::signals::Stop;
use shake_proto::handoff::record::{Issued, Request, What};
use shake_proto::request::Send;
use shake_rules::seed::{PacketKind, SeedRecord};
use shake_rules::show::Show;
use shake_rules::ticket::Ticket;
use shake_rules::{Cents, PacketId, SponsorId, UnixMillis, UserId};
use shm_queue::Mapping;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

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

pub fn now() -> UnixMillis {
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
pub struct Night {
    pub event: Event,
    /// Has a claim in the ring that nobody has read.
    pub late: UserId,
}

/// Packets of every state: opened, shared and open, sent by a user, issued, with shards, in rings, void, lost, and unreleased.
pub fn night() -> Night {
    night_with(|_| {})
}

/// The same; the gateway does this last.
pub fn night_with(last: impl FnOnce(&mut Front)) -> Night {
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
    // The shard began anew: two of what it had taken have no ticket.
    front.push(
        0,
        &Request::ShardStarted {
            epoch: 2,
            grants_taken: 7,
        },
    );
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
    assert_eq!((total.void.packets, total.lost.packets), (2, 8), "{report}");
    assert!(total.released.packets >= 1, "{report}");
    assert!(
        total.unreleased.packets > 30 && report.sent.open.packets == 1,
        "{report}"
    );
    Night { event, late: UserId(5) }
}

pub fn config(directory: &Path) -> Config {
    let text = std::fs::read_to_string(directory.join("agent.toml")).unwrap();
    Config::parse(&text, Path::new("")).unwrap()
}

pub fn close(event: &Event) -> Result<Closing, CloseError> {
    run::close(&config(event.directory.path()), &Stop::default(), |_| {})
}

pub fn closed(event: &Event) -> Statement {
    match close(event).unwrap() {
        Closing::Closed(statement) => *statement,
        Closing::Waiting(outlook) => panic!("{outlook}"),
    }
}

/// All that must hold of closed books.
pub fn assert_closed(night: &Night, statement: &Statement, what: &str) {
    let event = &night.event;
    let report = event.assert_balanced();
    assert_eq!(report.closed_ms, Some(statement.ledgers[0].closed_ms), "{what}");
    let from_void = (statement.back_from_void.packets, statement.void_packets.len());
    assert!(from_void.0 >= 10 && from_void.1 == 0, "{what}: {from_void:?}");
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
    let (users, owed) = (
        statement.ledgers[0].users_owed.to_string(),
        statement.owed_cents.to_string(),
    );
    assert_eq!(
        last[2..8],
        ["", users.as_str(), "0", owed.as_str(), "close", ""],
        "{what}"
    );
    assert!(!event.path("rings").exists(), "{what}: the mapping is gone");
}
