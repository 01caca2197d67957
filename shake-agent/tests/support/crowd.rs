//! Users behind the gateway.

use super::{EVENT, Event, FAR, Front, PATIENCE, claim, claimed, ticket};
use shake_proto::handoff::record::{Issued, Reply, Request};
use shake_proto::reply::{ClaimResult, Reason};
use shake_rules::{Cents, PacketId, UnixMillis, UserId};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Those who come too late have numbers from here on.
const LATE_USERS: u64 = 1_000_000_000;

/// Users who win and claim all that is granted, never believe a second answer that differs, and ask again when there was
/// none.
pub struct Crowd {
    pub front: Front,
    next_request: u64,
    asked: BTreeMap<u64, (PacketId, UserId)>,
    /// Issued to this user, and no answer yet.
    pub waiting: BTreeMap<PacketId, UserId>,
    /// Acknowledged.
    pub won: BTreeMap<PacketId, (UserId, Cents)>,
    /// Came too late with a ticket for the same packet, and were not told yet.
    late: BTreeMap<PacketId, UserId>,
}

impl Crowd {
    pub fn new(front: Front) -> Self {
        Self {
            front,
            next_request: 0,
            asked: BTreeMap::new(),
            waiting: BTreeMap::new(),
            won: BTreeMap::new(),
            late: BTreeMap::new(),
        }
    }

    /// Wins and claims what is granted, and takes what is answered.
    pub fn step(&mut self) {
        for shard in 0..self.front.shards() {
            for grant in self.front.take_grants(shard) {
                assert_eq!(grant.event, EVENT);
                // Four packets each.
                let user = UserId((grant.packet.0 & 0xffff_ffff) / 4 + 100);
                assert_eq!(self.waiting.insert(grant.packet, user), None, "granted twice");
                assert!(!self.won.contains_key(&grant.packet), "granted again");
                let issued = Issued {
                    packet: grant.packet,
                    user,
                    stage: 2,
                    at: UnixMillis(1),
                    ends: Some(FAR),
                };
                self.front.push(shard, &Request::Issued(issued));
                // Through another shard when there is one, so that some claims overtake the record.
                self.ask(shard + 1, grant.packet, user);
            }
        }
        for shard in 0..self.front.shards() {
            for reply in self.front.replies(shard) {
                self.take(&reply);
            }
        }
    }

    /// Claims again what was never answered.
    pub fn ask_again(&mut self) {
        let unanswered: Vec<_> = self
            .waiting
            .iter()
            .chain(&self.late)
            .map(|(&packet, &user)| (packet, user))
            .collect();
        for (packet, user) in unanswered {
            self.ask(packet.0 as usize, packet, user);
        }
    }

    fn ask(&mut self, shard: usize, packet: PacketId, user: UserId) {
        let sealed = ticket(&self.front.keys, EVENT, packet, user, FAR);
        self.next_request += 1;
        self.asked.insert(self.next_request, (packet, user));
        let shard = shard % self.front.shards();
        self.front
            .push(shard, &claim(self.next_request, user, sealed, UnixMillis(1)));
    }

    fn take(&mut self, reply: &Reply) {
        let (asked_packet, user) = self.asked[&reply.reply_to.request_id];
        match claimed(reply) {
            ClaimResult::Opened { packet, amount, .. } => {
                assert_eq!(packet, asked_packet);
                self.waiting.remove(&packet);
                let earlier = self.won.insert(packet, (user, amount));
                match earlier {
                    Some(earlier) => assert_eq!(earlier, (user, amount), "another answer for {packet}"),
                    // Somebody else, with a ticket for the same packet, comes too late for good.
                    None => {
                        let other = UserId(user.0 + LATE_USERS);
                        self.late.insert(packet, other);
                        self.ask(0, packet, other);
                    }
                }
            }
            ClaimResult::Refused(Reason::PacketTaken) => {
                assert!(user.0 >= LATE_USERS, "{asked_packet} was taken from {user}");
                self.late.remove(&asked_packet);
            }
            // It is asked again in a while.
            ClaimResult::Busy { .. } => {}
            other @ ClaimResult::Refused(_) => panic!("{asked_packet}: {other:?}"),
        }
    }

    /// So many packets are won, and everybody else who asked for them was told.
    pub fn is_done(&self, packets: usize) -> bool {
        self.won.len() == packets && self.late.is_empty()
    }

    /// Steps until `done`, asking again now and then.
    pub fn until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        let begun = Instant::now();
        let mut asked = Instant::now();
        loop {
            self.step();
            if done(self) {
                return;
            }
            if asked.elapsed() > Duration::from_millis(300) {
                asked = Instant::now();
                self.ask_again();
            }
            assert!(
                begun.elapsed() < PATIENCE,
                "not in time: {what}; won {}, waiting for {:?}",
                self.won.len(),
                self.waiting
            );
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Every answer that was given stands in the ledger.
    pub fn assert_in_ledger(&self, event: &Event) {
        let connection = shake_agent::ledger::open_read_only(&event.ledger()).unwrap();
        let sql = "SELECT packet, user, cents FROM packets WHERE state = 3";
        let mut statement = connection.prepare(sql).unwrap();
        let rows = statement.query_map([], |row| {
            let (packet, user, cents): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
            Ok((PacketId(packet as u64), (UserId(user as u64), Cents(cents as u64))))
        });
        let opened: BTreeMap<_, _> = rows.unwrap().collect::<Result<_, _>>().unwrap();
        for (packet, answer) in &self.won {
            assert_eq!(opened.get(packet), Some(answer), "{packet} was acknowledged");
        }
    }
}
