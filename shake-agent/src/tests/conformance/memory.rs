//! The plainest store: maps, and what a store must do said once more. Clones are the same ledger, as a file that is opened again.

use crate::ledger::{
    Account, Bound, Differences, Entry, Failure, Incarnation, LaneRow, LedgerError, LineKind, Listing, Look, Made,
    Movement, Needed, Offer, OfferRow, Origin, OutboxRow, Packet, Reached, RefusedRow, Seen, Share, ShareRow, Spans,
    Standing, State, Store, UserAccount, View, schema,
};
use shake_rules::winnings::Winnings;
use shake_rules::{Cents, PacketId, UnixMillis, UserId};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

/// Everything that is committed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Content {
    /// Without the spans and the opening's row.
    pub standing: Standing,
    pub spans: Vec<crate::ledger::Span>,
    pub openings: BTreeMap<u64, i64>,
    pub packets: BTreeMap<PacketId, Packet>,
    pub users: BTreeMap<UserId, UserAccount>,
    pub transfers: Vec<Entry>,
    pub outbox: Vec<OutboxRow>,
    pub shares: BTreeMap<(PacketId, UserId), ShareRow>,
    pub sends: BTreeMap<(Origin, [u8; 16]), Made>,
    /// In the order in which they were made, each with whether it waits.
    pub offers: Vec<(OfferRow, bool)>,
    pub lanes: BTreeMap<(u64, u16), LaneRow>,
    pub settlement_begun: Option<UnixMillis>,
    pub refused: Vec<RefusedRow>,
}

/// What becomes of the next commit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    #[default]
    None,
    /// It takes no effect.
    Lost,
    /// It takes effect, and nobody hears of it.
    AnswerLost,
}

/// What another writer has at the moment.
#[derive(Debug, Default)]
pub struct Others {
    pub packets: BTreeSet<PacketId>,
    pub users: BTreeSet<UserId>,
    /// How often one of the packets was asked for.
    pub asked: u64,
}

#[derive(Clone, Debug, Default)]
pub struct Memory {
    content: Arc<Mutex<Content>>,
    pub fault: Arc<Mutex<Fault>>,
    pub others: Arc<Mutex<Others>>,
    /// Packets that it writes nothing of, however often it is tried.
    pub refused: Arc<Mutex<BTreeSet<PacketId>>>,
}

impl Memory {
    /// Of what is committed.
    pub fn of(content: Content) -> Self {
        let content = Arc::new(Mutex::new(content));
        Self {
            content,
            ..Self::default()
        }
    }

    pub fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap()
    }
}

fn failed() -> LedgerError {
    LedgerError::Failed("a fault of the test".to_owned())
}

impl Content {
    pub fn apply(&mut self, differences: &Differences) {
        let standing = &mut self.standing;
        assert!(differences.stamp > standing.stamp && standing.closed.is_none());
        (standing.stamp, standing.last_commit) = (differences.stamp, differences.at);
        if let Some(opening) = &differences.opening {
            standing.numbers.incarnation += 1;
            assert_eq!(opening.row, standing.numbers.incarnation);
            assert_eq!(self.openings.insert(opening.incarnation.0, opening.row), None);
        }
        self.spans.extend(differences.span);
        if let Some(seed) = &differences.seed {
            assert_eq!(standing.bound, None);
            standing.bound = Some(Bound {
                header: seed.header,
                version: schema::VERSION,
                identity: Some(seed.identity),
                gift_budget: Cents(0),
                released: seed.sponsors.iter().map(|&(sponsor, _)| (sponsor, 0)).collect(),
            });
        }
        if let Some(bound) = &mut standing.bound {
            bound.gift_budget = differences.gift_budget.unwrap_or(bound.gift_budget);
            bound.released.extend(differences.released.iter().copied());
        }
        if differences.begins_settlement {
            self.settlement_begun.get_or_insert(differences.at);
        }
        standing.numbers.made = standing.numbers.made.max(differences.made_before.unwrap_or(0));
        standing.house.extend(differences.house.iter().copied());
        self.apply_rows(differences);
        self.refused.extend(differences.refused.iter().cloned());
        if let Some(closing) = differences.closing {
            let owed = self.users.values().map(|account| account.balance);
            let owed: Vec<i64> = owed.filter(|&cents| cents > 0).collect();
            self.standing.closed = Some(closing.at);
            self.append(&OutboxRow {
                seq: closing.seq,
                at: closing.at,
                user: UserId(0),
                cents: 0,
                kind: LineKind::Close,
                packet: PacketId(0),
                transfer: 0,
                number: owed.len() as i64,
                balance: owed.iter().sum(),
                incarnation: closing.incarnation,
            });
        }
    }

    fn apply_rows(&mut self, differences: &Differences) {
        for &(id, packet) in &differences.packets_new {
            assert_eq!(self.packets.insert(id, packet), None, "{id} is not new");
        }
        for &(id, packet) in &differences.packets {
            assert!(self.packets.insert(id, packet).is_some(), "{id} is new");
        }
        for (id, granted) in &differences.grants {
            assert_eq!(self.packets[id].granted, Some(*granted));
        }
        self.users.extend(differences.users.iter().cloned());
        for entry in &differences.transfers {
            assert!(entry.transfer.amount.0 > 0);
            self.standing.numbers.transfer += 1;
            assert_eq!(entry.number, self.standing.numbers.transfer);
            self.transfers.push(*entry);
        }
        differences.outbox.iter().for_each(|row| self.append(row));
        for row in &differences.shares {
            let before = self.shares.insert((row.packet, row.share.user), *row);
            assert_eq!(before, None, "a share was taken twice");
        }
        for row in &differences.sends {
            let (packet, hash) = (row.packet, row.hash);
            let before = self.sends.insert((row.origin, row.key), Made { packet, hash });
            assert_eq!(before, None, "a key made two packets");
            self.standing.numbers.made = self.standing.numbers.made.max(packet.0 & ((1 << 47) - 1));
        }
        self.offers.extend(differences.offers.iter().map(|&row| (row, true)));
        for &(packet, user) in &differences.offers_settled {
            let settled = |row: &OfferRow| row.packet == packet && user.is_none_or(|user| row.user == user);
            let waiting = self.offers.iter_mut().filter(|(row, _)| settled(row));
            waiting.for_each(|(_, waits)| *waits = false);
        }
        for row in &differences.lanes_new {
            self.standing.numbers.lane += 1;
            assert_eq!(row.record.lane, self.standing.numbers.lane);
            assert_eq!(self.lanes.insert((row.mapping, row.shard), *row), None);
        }
        for record in &differences.lanes {
            let known = self.lanes.values_mut().find(|row| row.record.lane == record.lane);
            known.expect("what changes is there").record = *record;
        }
    }

    fn append(&mut self, row: &OutboxRow) {
        self.standing.numbers.outbox += 1;
        assert_eq!(row.seq, self.standing.numbers.outbox);
        self.outbox.push(*row);
    }

    fn listed(&self, listing: &Listing) -> Vec<PacketId> {
        let of = |packet: &Packet| packet.granted.map(|granted| (granted.lane, granted.position));
        let mapping_of = |lane: i64| {
            self.lanes
                .values()
                .find(|row| row.record.lane == lane)
                .map(|row| row.mapping)
        };
        let released = |packet: &Packet| packet.state == State::Released;
        let packets = self.packets.iter();
        match *listing {
            Listing::Due { by, max } => {
                let mut due: Vec<_> = packets
                    .filter_map(|(&id, packet)| packet.due.filter(|due| *due <= by).map(|due| (due, id)))
                    .collect();
                // Of those that are due together, as SQLite has them: ids are signed there.
                due.sort_by_key(|&(due, id)| (due, id.0.cast_signed()));
                due.into_iter().map(|(_, id)| id).take(max).collect()
            }
            Listing::DueOfGone { .. } => Vec::new(),
            Listing::HeldOfLane { lane, ref positions } => {
                let mut held: Vec<_> = packets
                    .filter(|(_, packet)| released(packet))
                    .filter_map(|(&id, packet)| of(packet).map(|place| (place, id)))
                    .filter(|((of_lane, position), _)| *of_lane == lane && positions.contains(position))
                    .collect();
                held.sort();
                held.into_iter().map(|(_, id)| id).collect()
            }
            Listing::HeldOfOtherMappings(mapping) => {
                let mut held: Vec<_> = packets
                    .filter(|(_, packet)| released(packet))
                    .filter_map(|(&id, packet)| of(packet).map(|place| (place, id)))
                    .filter(|((lane, _), _)| mapping_of(*lane).is_some_and(|of_lane| of_lane != mapping))
                    .collect();
                held.sort();
                held.into_iter().map(|(_, id)| id).collect()
            }
            Listing::OfState(state) => {
                let mut listed: Vec<_> = packets.filter(|(_, packet)| packet.state == state).collect();
                if state == State::Released {
                    listed.sort_by_key(|(_, packet)| of(packet));
                }
                listed.into_iter().map(|(&id, _)| id).collect()
            }
        }
    }

    fn movements(&self, user: UserId, max: usize) -> Vec<Movement> {
        let theirs = Account::User(user);
        let movement = |entry: &Entry| {
            let transfer = &entry.transfer;
            let (cents, other) = if transfer.credit == theirs {
                (transfer.amount.0 as i64, transfer.debit)
            } else if transfer.debit == theirs {
                (-(transfer.amount.0 as i64), transfer.credit)
            } else {
                return None;
            };
            let (packet, at) = (PacketId(other.id()), transfer.at);
            Some(Movement { cents, packet, at })
        };
        self.transfers.iter().rev().filter_map(movement).take(max).collect()
    }
}

impl Store for Memory {
    fn place(&self) -> &Path {
        Path::new("memory")
    }

    fn standing(&self, incarnation: Incarnation) -> Result<Standing, LedgerError> {
        let content = self.content();
        Ok(Standing {
            spans: content.spans.iter().copied().collect::<Spans>(),
            incarnation_row: content.openings.get(&incarnation.0).copied(),
            ..content.standing.clone()
        })
    }

    fn reopen(&mut self) -> Result<Reached, LedgerError> {
        self.content().standing.stamp += 1;
        Ok(Reached::Now)
    }

    fn begin(&mut self) -> Result<(), LedgerError> {
        Ok(())
    }

    fn load(&self, needed: &Needed, view: &mut View) -> Result<(), LedgerError> {
        let content = self.content();
        let mut others = self.others.lock().unwrap();
        for id in needed.every_packet() {
            match content.packets.get(&id) {
                Some(packet) if others.packets.contains(&id) => {
                    others.asked += 1;
                    view.put_others_packet(id, *packet);
                }
                found => view.put_packet(id, found.copied()),
            }
        }
        for id in needed.every_user() {
            let account = content.users.get(&id).cloned();
            if others.users.contains(&id) {
                view.put_others_user(id, account);
            } else {
                view.put_user(id, account);
            }
        }
        for key in &needed.shares {
            view.put_share(*key, content.shares.get(key).map(|row| row.share.amount));
        }
        for key in &needed.offers {
            let mut offers = content.offers.iter();
            view.put_offer(*key, offers.any(|(row, _)| (row.packet, row.user) == *key));
        }
        for key in &needed.sends {
            view.put_send(*key, content.sends.get(key).copied());
        }
        for key in &needed.lanes {
            view.put_lane(*key, content.lanes.get(key).map(|row| row.record));
        }
        Ok(())
    }

    fn list(&self, listing: &Listing, view: &mut View) -> Result<Vec<PacketId>, LedgerError> {
        let content = self.content();
        let listed = content.listed(listing);
        for id in &listed {
            view.put_packet(*id, content.packets.get(id).copied());
        }
        Ok(listed)
    }

    fn commit(&mut self, differences: &Differences) -> Result<(), LedgerError> {
        let refused = self.refused.lock().unwrap();
        let mut written = differences.packets.iter().chain(&differences.packets_new);
        if let Some((packet, _)) = written.find(|(packet, _)| refused.contains(packet)) {
            return Err(LedgerError::Postgres {
                action: "write to",
                place: "memory".into(),
                source: Failure::Strange {
                    table: "packets",
                    what: packet.to_string(),
                },
            });
        }
        let fault = std::mem::take(&mut *self.fault.lock().unwrap());
        if fault != Fault::Lost {
            self.content().apply(differences);
        }
        if fault == Fault::None { Ok(()) } else { Err(failed()) }
    }

    fn roll_back(&mut self) {}

    fn look(&self, look: &Look) -> Result<Seen, LedgerError> {
        let content = self.content();
        Ok(match *look {
            Look::Packet(id) => Seen::Packet(content.packets.get(&id).map(|packet| {
                let mut rows: Vec<&ShareRow> = content.shares.values().filter(|row| row.packet == id).collect();
                rows.sort_by_key(|row| row.transfer);
                let shares: Vec<Share> = rows.into_iter().map(|row| row.share).collect();
                (*packet, shares)
            })),
            Look::Wallet(user, max) => Seen::Wallet {
                balance: content.users.get(&user).map(|account| account.balance),
                movements: content.movements(user, max),
            },
            Look::Winnings(_) => Seen::Winnings(Winnings::default()),
            Look::Offers(user, at) => {
                let waiting = content.offers.iter().rev();
                let mut waiting: Vec<&OfferRow> = waiting
                    .filter(|(row, waits)| *waits && row.user == user)
                    .map(|(row, _)| row)
                    .collect();
                waiting.sort_by_key(|row| !row.is_gift);
                let offer = |row: &&OfferRow| {
                    let packet = content.packets[&row.packet];
                    let from = match packet.origin {
                        Origin::Sent(user) => Some(user),
                        Origin::Gift | Origin::Seed(_) => None,
                    };
                    let packet = packet.due.filter(|due| *due > at).map(|_| row.packet)?;
                    Some(Offer { packet, from })
                };
                Seen::Offers(waiting.iter().take(256).filter_map(offer).collect())
            }
        })
    }

    fn are_out(&self) -> Result<bool, LedgerError> {
        let is_out = |packet: &Packet| packet.due.is_some() || matches!(packet.state, State::Released | State::Lost);
        Ok(self.content().packets.values().any(is_out))
    }

    fn first_due(&self) -> Result<Option<UnixMillis>, LedgerError> {
        Ok(self.content().packets.values().filter_map(|packet| packet.due).min())
    }

    fn last_lost(&self) -> Result<Option<UnixMillis>, LedgerError> {
        let content = self.content();
        let lost = content.packets.values().filter(|packet| packet.state == State::Lost);
        Ok(lost.filter_map(|packet| packet.closed).max())
    }
}
