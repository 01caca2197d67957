//! A part whose machine is gone.

use super::{INSTALLATION, OnPostgres, balance, movements, server};
use crate::ledger::{self, Installation, LedgerError, Postgres, State};
use crate::seed_file::SeedFile;
use crate::tests::conformance::scene::{PACKETS, record};
use shake_proto::handoff::record::Request;
use shake_rules::{Cents, PacketId};
use std::sync::Barrier;
use std::thread;

const OTHER: Installation = Installation([2; 16]);

/// Tickets are shown elsewhere while the part is retired, and after it: each opens its packet once, but for the one that a shard has
/// proved to be in no ticket.
#[test]
fn a_part_is_retired_while_its_tickets_are_claimed_elsewhere() {
    let server = server();
    for round in 0..4 {
        let name = format!("retired{round}");
        let kind = OnPostgres::new(&server, &name);
        let [mut here, mut there] = [kind.agent(0), kind.agent(1)];
        here.release(PACKETS);
        let void = Request::ShardStarted {
            epoch: 1,
            grants_taken: 1,
        };
        here.hear(&[void]);
        let now = here.at();
        let start = Barrier::new(2);
        let lost = thread::scope(|scope| {
            let (start, kind, there) = (&start, &kind, &mut there);
            scope.spawn(move || {
                start.wait();
                for packet in 0..6 {
                    there.hear(&[there.claim(packet, 10 + packet)]);
                }
            });
            start.wait();
            ledger::retire(&kind.config, 0, true, now).unwrap()
        });
        assert!(lost.len() >= 4 && !lost.contains(&record(0).packet), "{lost:?}");
        assert!(
            ledger::retire(&kind.config, 0, true, now).unwrap().is_empty(),
            "it is done"
        );
        // The last one stays lost.
        for packet in 6..PACKETS - 1 {
            there.hear(&[there.claim(packet, 10 + packet), there.claim(packet, 10 + packet)]);
        }
        assert_eq!(balance(&there, 10), 0, "it was void");
        for packet in 1..PACKETS - 1 {
            assert_eq!(
                movements(&there, 10 + packet).len(),
                1,
                "packet {packet} in round {round}"
            );
        }
        let state = |index| there.ledger.packet(record(index).packet).unwrap().unwrap().state;
        assert_eq!((state(0), state(PACKETS - 1)), (State::Void, State::Lost));
        let in_the_void = server.number(&name, "SELECT sum(balance_cents)::bigint FROM house WHERE kind = 1");
        let amount = |index| record(index).amount;
        let Cents(expected) = Cents(amount(0).0 + amount(PACKETS - 1).0);
        assert_eq!(in_the_void.unwrap(), expected.cast_signed(), "nothing else lies there");
        let drawn = server.number(&name, "SELECT gifts_cents FROM parts WHERE part = 0");
        assert_eq!(drawn.unwrap(), 0, "what it had drawn for gifts is the event's again");
        let refused = here.ledger.transaction(now, |_| Ok(()));
        assert!(matches!(refused, Err(LedgerError::TakenOver(_))), "{refused:?}");
    }
}

/// Nobody takes a part away from an agent that is seen, but by force; and nobody serves one that is retired, or another's.
#[test]
fn a_part_goes_to_another_agent_when_a_person_says_so() {
    let server = server();
    let kind = OnPostgres::new(&server, "adopted");
    let mut first = kind.agent(0);
    first.release(2);
    let seed = *SeedFile::open(&kind.events[0].seed()).unwrap().header();
    let now = first.at();
    let lost = |packets: &[PacketId]| packets.iter().map(|packet| packet.0).collect::<Vec<_>>();
    for refused in [
        ledger::retire(&kind.config, 0, false, now).map(|packets| lost(&packets)),
        ledger::adopt(&kind.config, &seed, OTHER, false).map(|()| vec![]),
    ] {
        assert!(matches!(refused, Err(LedgerError::PartSeen { .. })), "{refused:?}");
    }
    first.hear(&[first.issue(0, 1)]);

    // Ten seconds later.
    server
        .run("adopted", "UPDATE parts SET seen_ms = seen_ms - 10000")
        .unwrap();
    ledger::adopt(&kind.config, &seed, OTHER, false).unwrap();
    let refused = first.ledger.transaction(now, |_| Ok(()));
    assert!(matches!(refused, Err(LedgerError::TakenOver(_))), "{refused:?}");
    let open = |installation| Postgres::open(&kind.config, 0, installation).map(drop);
    assert!(matches!(open(INSTALLATION), Err(LedgerError::OthersPart(_))));
    open(OTHER).unwrap();

    let retired = ledger::retire(&kind.config, 0, true, now).unwrap();
    assert_eq!(retired, [record(1).packet], "the other one is in a ticket");
    for installation in [INSTALLATION, OTHER] {
        let refused = open(installation);
        assert!(matches!(refused, Err(LedgerError::Retired(_))), "{refused:?}");
        assert!(refused.unwrap_err().is_final());
    }
    let other_seed = *SeedFile::open(&kind.events[1].seed()).unwrap().header();
    let wrong = shake_rules::seed::SeedHeader { part: 0, ..other_seed };
    let refused = ledger::adopt(&kind.config, &wrong, INSTALLATION, false);
    assert!(matches!(refused, Err(LedgerError::OtherSeed { .. })), "{refused:?}");
    ledger::adopt(&kind.config, &seed, INSTALLATION, false).unwrap();
    open(INSTALLATION).unwrap();
    let parts = ledger::parts(&kind.config).unwrap();
    assert_eq!(parts.iter().map(|part| part.part).collect::<Vec<_>>(), [0, 1]);
    let part = &parts[0];
    assert_eq!((part.packets, part.released, part.held, part.lost), (PACKETS, 2, 0, 1));
    assert_eq!((part.installation, part.retired), (Some(INSTALLATION), None));
}
