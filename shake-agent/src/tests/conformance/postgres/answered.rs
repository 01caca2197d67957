//! Who asked in time is not late, whichever gateway was behind or cut off.

use super::{OnPostgres, server};
use crate::ledger::{self, Account, Postgres, State};
use crate::tests::back::{Back, Setting};
use crate::tests::conformance::scene::record;
use crate::tests::support::{EVENT, Front, claim, claimed, show, ticket};
use shake_proto::handoff::record::{Issued, Request};
use shake_proto::reply::ClaimResult;
use shake_rules::{SponsorId, UnixMillis, UserId};
use shm_queue::Mapping;

const BEGUN: UnixMillis = UnixMillis(1_000);
const LIFETIME_MS: u64 = 10_000;

/// A gateway with its agent.
struct Site {
    front: Front,
    back: Back<Postgres>,
}

impl Site {
    fn new(kind: &OnPostgres, part: u16) -> Self {
        let event = &kind.events[usize::from(part)];
        let front = Front::new(event, 1);
        let mapping = Mapping::open(&event.path("rings")).unwrap();
        let setting = Setting {
            show: show(),
            now: BEGUN,
            rng: 7,
        };
        let mut back = Back::serve(kind.ledger(part).unwrap(), &mapping, event, setting).unwrap();
        back.work();
        Self { front, back }
    }

    /// The packet of this index went into a ticket for the user of the same number.
    fn issue(&mut self, index: u64) {
        let issued = Issued {
            packet: record(index).packet,
            user: UserId(index),
            stage: 0,
            at: BEGUN,
            ends: Some(BEGUN.plus_ms(LIFETIME_MS)),
        };
        self.front.push(0, &Request::Issued(issued));
        self.back.work();
    }

    /// That user asks for it, at this time.
    fn ask(&mut self, index: u64, at: UnixMillis) {
        let sealed = ticket(
            &self.front.keys,
            EVENT,
            record(index).packet,
            UserId(index),
            BEGUN.plus_ms(LIFETIME_MS),
        );
        self.front.push(0, &claim(1, UserId(index), sealed, at));
    }

    fn opened(&mut self) -> Vec<bool> {
        let replies = self.front.replies(0);
        let is_opened = |reply| matches!(claimed(reply), ClaimResult::Opened { .. });
        replies.iter().map(is_opened).collect()
    }

    fn state(&self, index: u64) -> State {
        self.back
            .agent
            .ledger()
            .packet(record(index).packet)
            .unwrap()
            .unwrap()
            .state
    }
}

/// The packet's own agent has nothing to do all the while.
#[test]
fn who_asked_in_time_at_a_gateway_that_was_cut_off_gets_it() {
    let server = server();
    let kind = OnPostgres::new(&server, "cut");
    let [mut here, mut there] = [Site::new(&kind, 0), Site::new(&kind, 1)];
    [0, 2, 4].into_iter().for_each(|index| here.issue(index));
    // In time, and nobody reads it for 20 seconds.
    there.ask(0, BEGUN.plus_ms(LIFETIME_MS - 100));
    here.back.live_for(LIFETIME_MS + 20_000);
    assert_eq!(here.state(0), State::Issued);
    there.back.now = here.back.now;
    there.back.work();
    assert_eq!(there.opened(), [true]);

    // The time in which users of that gateway could not be heard counts for nobody.
    let now = here.back.now;
    here.ask(2, now);
    here.back.work();
    assert_eq!(here.opened(), [true]);

    // What nobody asked for goes back all the same.
    for _ in 0..60 {
        for site in [&mut here, &mut there] {
            site.back.live_for(500);
        }
    }
    assert_eq!(
        [0, 2, 4].map(|index| here.state(index)),
        [State::Opened, State::Opened, State::Refunded]
    );
}

fn refunded(site: &Site) -> i64 {
    let house = &site.back.agent.ledger().standing().house;
    [1, 2]
        .map(|sponsor| house.get(&Account::Refunded(SponsorId(sponsor))).copied().unwrap_or(0))
        .iter()
        .sum()
}

/// A part that nobody has any more, and one whose agent is silent: the money goes back all the same, and by whoever is there.
#[test]
fn what_is_overdue_of_a_part_that_is_gone_goes_back() {
    let server = server();
    for is_retired in [true, false] {
        let name = if is_retired { "swept" } else { "silent" };
        let kind = OnPostgres::new(&server, name);
        let [mut here, mut there] = [Site::new(&kind, 0), Site::new(&kind, 1)];
        here.issue(0);
        drop(here);
        if is_retired {
            ledger::retire(&kind.config, 0, true, BEGUN).unwrap();
        } else {
            server
                .run(name, "UPDATE parts SET seen_ms = seen_ms - 3600000 WHERE part = 0")
                .unwrap();
            there.back.live_for(590_000);
            assert_eq!(there.state(0), State::Issued, "it was not watched for long enough");
        }
        there.back.live_for(40_000);
        assert_eq!(there.state(0), State::Refunded, "{name}");
        assert_eq!(
            refunded(&there),
            record(0).amount.0.cast_signed(),
            "in the books of who sent it back"
        );
    }
}
