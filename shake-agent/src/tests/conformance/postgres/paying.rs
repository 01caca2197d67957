//! Whoever pays from the table of lines, as `docs/paying.md` says: each part's lines in their order, each user's by number.

use super::{PARTS, balance, server, two_agents};
use crate::ledger::Postgres;
use crate::tests::conformance::scene::Scene;
use shake_rules::PacketId;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc;
use std::thread;
use tokio_postgres::{Config, NoTls};

const PAGE: &str = include_str!("../../../../../docs/paying.md");
const CLOSE: i16 = 7;
/// Cents that each of two users sends to the other, one at a time; neither has as many at first.
const SENDS: u8 = 90;

/// From the page: what stands from these words to the end of the block or statement.
fn said(begins: &str, ends: &str) -> &'static str {
    let from = PAGE.find(begins).expect("the page says it");
    PAGE[from..].split_once(ends).expect("the page ends it").0
}

/// A line: what came in, and what its user has after it.
#[derive(Clone, Copy, Debug)]
struct Line {
    cents: i64,
    balance: i64,
}

/// What has been read, and taken of it.
#[derive(Default)]
struct Payer {
    /// By part: the last line that was read.
    read: BTreeMap<i32, i64>,
    /// By user: the last line that was taken, and what is owed by it.
    taken: BTreeMap<i64, (i64, i64)>,
    /// By user and number: what came earlier than the line before it.
    waiting: BTreeMap<(i64, i64), Line>,
    closed: BTreeSet<i32>,
    /// What is owed by somebody who adds up what there is.
    sums: BTreeMap<i64, i64>,
}

impl Payer {
    /// Takes the lines of a part that are there now.
    fn read(&mut self, config: &Config, part: i32) {
        let after = self.read.entry(part).or_default();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let rows = runtime.unwrap().block_on(async {
            let (client, connection) = config.connect(NoTls).await.unwrap();
            tokio::spawn(connection);
            client.query(said("SELECT seq", ";"), &[&part, &*after]).await.unwrap()
        });
        for row in rows {
            let seq: i64 = row.get("seq");
            assert_eq!(seq, *after + 1, "of part {part}");
            *after = seq;
            if row.get::<_, i16>("kind") == CLOSE {
                self.closed.insert(part);
                continue;
            }
            let (user, number): (i64, i64) = (row.get("usr"), row.get("number"));
            let (cents, balance) = (row.get("cents"), row.get("balance_cents"));
            *self.sums.entry(user).or_default() += cents;
            let twice = self.waiting.insert((user, number), Line { cents, balance });
            assert!(twice.is_none(), "line {number} of user {user}");
            let (last, owed) = self.taken.entry(user).or_default();
            while let Some(line) = self.waiting.remove(&(user, *last + 1)) {
                assert_eq!(*owed + line.cents, line.balance, "user {user} after line {last}");
                assert!(line.balance >= 0);
                (*last, *owed) = (*last + 1, line.balance);
            }
        }
    }

    /// What each user is owed, when the event is over and nothing is missing.
    fn owed(&self) -> Option<BTreeMap<i64, i64>> {
        let is_whole = self.closed.len() == usize::from(PARTS) && self.waiting.is_empty();
        is_whole.then(|| self.taken.iter().map(|(user, (_, owed))| (*user, *owed)).collect())
    }
}

/// What users win and get stands in one part, and what they send in the other, which is read an hour later. Meanwhile nobody is paid
/// past a line that is missing, and at the end nobody more than there is.
#[test]
fn who_reads_one_part_late_pays_nobody_too_much() {
    let server = server();
    let mut agents = two_agents(&server, "paid");
    server.run("paid", said("CREATE ROLE payment", "```")).unwrap();
    let mut config = server.config("paid");
    config.user("payment");
    let mut payer = Payer::default();
    let claims = [(0, 1), (2, 1), (4, 2), (6, 2)].map(|(packet, user)| agents[0].claim(packet, user));
    agents[0].hear(&claims);
    let won = [1, 2].map(|user| balance(&agents[0], user));
    assert!(won.iter().all(|won| *won < SENDS.into()), "{won:?}");
    let [here, there] = &mut agents;
    thread::scope(|scope| {
        // So that nobody runs out of money.
        let (sent, grabs) = mpsc::sync_channel(4);
        let sending = scope.spawn(move || {
            for number in 1..=2 * SENDS {
                let (user, friend) = (1 + u64::from(number % 2), 2 - u64::from(number % 2));
                there.hear(&[there.send(user, number, 1, 1, &[])]);
                let packet = PacketId(1 << 63 | 3 << 47 | u64::from(number));
                sent.send((packet, friend)).unwrap();
            }
        });
        // Both change both users, at the same time.
        let grabbing = scope.spawn(move || {
            for (packet, friend) in grabs {
                here.hear(&[here.grab(packet, friend)]);
            }
        });
        while !sending.is_finished() || !grabbing.is_finished() {
            payer.read(&config, 0);
        }
    });
    let ends = agents
        .each_mut()
        .map(|agent: &mut Scene<Postgres>| agent.ledger.close(agent.at()));
    assert!(ends.iter().all(Result::is_ok), "{ends:?}");
    let has = [(1_i64, balance(&agents[0], 1)), (2, balance(&agents[0], 2))];
    assert_eq!(has.map(|(_, cents)| cents), won, "what was sent came back");

    payer.read(&config, 0);
    assert_eq!(payer.owed(), None, "the other part is missing");
    assert!(payer.waiting.len() >= usize::from(SENDS));
    for (user, cents) in has {
        assert_eq!(payer.taken[&user], (2, cents), "what was won before anything was sent");
        assert!(
            payer.sums[&user] >= cents + i64::from(SENDS),
            "one who adds up pays too much"
        );
    }
    payer.read(&config, 1);
    assert_eq!(payer.owed(), Some(has.into()));
}
