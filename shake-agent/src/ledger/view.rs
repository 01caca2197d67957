//! What a transaction sees: the rows that were loaded, with what it did to them.
//!
//! A row that is asked for and was never loaded is a fault of the program and stops it: taken for one that is not there, it would
//! be paid a second time.

use super::lanes::LaneRecord;
use super::packet::{Origin, Packet};
use super::shares::Made;
use super::users::UserAccount;
use shake_rules::{Cents, PacketId, UserId};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;

/// What became of a row since it was loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// It is as the store has it, which may be not at all.
    Loaded,
    /// It was there and is another.
    Changed,
    /// It was not there and is.
    New,
}

#[derive(Debug, PartialEq)]
pub(super) struct Row<T> {
    /// `None` when there is none.
    pub(super) value: Option<T>,
    pub(super) mark: Mark,
    /// Another writer has it at the moment: it may be looked at, and is not changed in this transaction.
    pub(super) is_others: bool,
}

/// What a transaction sees. Kept between transactions for its memory.
#[derive(Debug, Default, PartialEq)]
pub struct View {
    pub(super) packets: HashMap<PacketId, Row<Packet>>,
    pub(super) users: HashMap<UserId, Row<UserAccount>>,
    pub(super) shares: HashMap<(PacketId, UserId), Option<Cents>>,
    pub(super) offers: HashMap<(PacketId, UserId), bool>,
    pub(super) sends: HashMap<(Origin, [u8; 16]), Option<Made>>,
    pub(super) lanes: HashMap<(u64, u16), Option<LaneRecord>>,
}

fn put<K: Hash + Eq, T>(rows: &mut HashMap<K, Row<T>>, key: K, value: Option<T>, is_others: bool) {
    let row = Row {
        value,
        mark: Mark::Loaded,
        is_others,
    };
    match rows.entry(key) {
        // It was another writer's, and is free now.
        Entry::Occupied(mut there) if there.get().is_others && !is_others => drop(there.insert(row)),
        Entry::Occupied(_) => {}
        Entry::Vacant(free) => drop(free.insert(row)),
    }
}

fn is_mine<K: Hash + Eq, T>(rows: &HashMap<K, Row<T>>, key: &K) -> bool {
    rows.get(key).is_some_and(|row| !row.is_others)
}

/// For stores: what they read. Nothing of it takes the place of what is there, but for what was another writer's.
impl View {
    /// Whether the packet need not be read.
    #[must_use]
    pub fn has_packet(&self, id: PacketId) -> bool {
        is_mine(&self.packets, &id)
    }

    /// What the store has of a packet.
    pub fn put_packet(&mut self, id: PacketId, packet: Option<Packet>) {
        put(&mut self.packets, id, packet, false);
    }

    /// What is seen of a packet that another writer has at the moment.
    pub fn put_others_packet(&mut self, id: PacketId, packet: Packet) {
        put(&mut self.packets, id, Some(packet), true);
    }

    /// Whether the user need not be read.
    #[must_use]
    pub fn has_user(&self, id: UserId) -> bool {
        is_mine(&self.users, &id)
    }

    /// What the store has of a user.
    pub fn put_user(&mut self, id: UserId, account: Option<UserAccount>) {
        put(&mut self.users, id, account, false);
    }

    /// What is seen of a user that another writer has at the moment.
    pub fn put_others_user(&mut self, id: UserId, account: Option<UserAccount>) {
        put(&mut self.users, id, account, true);
    }

    /// Whether the share need not be read.
    #[must_use]
    pub fn has_share(&self, key: (PacketId, UserId)) -> bool {
        self.shares.contains_key(&key)
    }

    /// What a user got of a packet, if anything.
    pub fn put_share(&mut self, key: (PacketId, UserId), share: Option<Cents>) {
        self.shares.entry(key).or_insert(share);
    }

    /// Whether the offer need not be read.
    #[must_use]
    pub fn has_offer(&self, key: (PacketId, UserId)) -> bool {
        self.offers.contains_key(&key)
    }

    /// Whether a packet names a user.
    pub fn put_offer(&mut self, key: (PacketId, UserId), is_offered: bool) {
        self.offers.entry(key).or_insert(is_offered);
    }

    /// Whether the key need not be read.
    #[must_use]
    pub fn has_send(&self, key: &(Origin, [u8; 16])) -> bool {
        self.sends.contains_key(key)
    }

    /// What was made with a key, if anything.
    pub fn put_send(&mut self, key: (Origin, [u8; 16]), made: Option<Made>) {
        self.sends.entry(key).or_insert(made);
    }

    /// What the store has of the rings of a shard in a mapping.
    pub fn put_lane(&mut self, key: (u64, u16), record: Option<LaneRecord>) {
        self.lanes.entry(key).or_insert(record);
    }
}

impl View {
    pub(super) fn clear(&mut self) {
        self.packets.clear();
        self.users.clear();
        self.shares.clear();
        self.offers.clear();
        self.sends.clear();
        self.lanes.clear();
    }

    pub(super) fn packet(&self, id: PacketId) -> Option<&Packet> {
        let row = self.packets.get(&id);
        row.expect("a packet is loaded before it is looked at").value.as_ref()
    }

    pub(super) fn user(&self, id: UserId) -> Option<&UserAccount> {
        let row = self.users.get(&id);
        row.expect("a user is loaded before they are looked at").value.as_ref()
    }

    /// Whether no other writer has the packet at the moment.
    pub(super) fn may_change_packet(&self, id: PacketId) -> bool {
        is_mine(&self.packets, &id)
    }

    /// Whether no other writer has the user at the moment.
    pub(super) fn may_change_user(&self, id: UserId) -> bool {
        is_mine(&self.users, &id)
    }

    /// A packet that is there, to be changed.
    pub(super) fn change_packet(&mut self, id: PacketId) -> &mut Packet {
        let row = self
            .packets
            .get_mut(&id)
            .expect("a packet is loaded before it is changed");
        assert!(!row.is_others, "a packet is another writer's: the request waits for it");
        if row.mark == Mark::Loaded {
            row.mark = Mark::Changed;
        }
        row.value.as_mut().expect("what changes is there")
    }

    /// A user's account, to be changed; an empty one for a user who never got anything.
    pub(super) fn change_user(&mut self, id: UserId) -> &mut UserAccount {
        let row = self
            .users
            .get_mut(&id)
            .expect("a user is loaded before they are changed");
        assert!(!row.is_others, "a user is another writer's: the request waits for it");
        row.mark = Mark::Changed;
        row.value.get_or_insert_default()
    }

    /// A packet that the store does not have. One that it has all the same makes the commit fail.
    pub(super) fn add_packet(&mut self, id: PacketId, packet: Packet) {
        let row = Row {
            value: Some(packet),
            mark: Mark::New,
            is_others: false,
        };
        self.packets.insert(id, row);
    }

    /// Nothing of a packet that is new has to be loaded: all of it came about here.
    fn is_new(&self, id: PacketId) -> bool {
        self.packets.get(&id).is_some_and(|row| row.mark == Mark::New)
    }

    pub(super) fn share_of(&self, packet: PacketId, user: UserId) -> Option<Cents> {
        match self.shares.get(&(packet, user)) {
            Some(share) => *share,
            None => {
                assert!(self.is_new(packet), "a share is loaded before it is looked at");
                None
            }
        }
    }

    pub(super) fn is_offered(&self, packet: PacketId, user: UserId) -> bool {
        match self.offers.get(&(packet, user)) {
            Some(is_offered) => *is_offered,
            None => {
                assert!(self.is_new(packet), "an offer is loaded before it is looked at");
                false
            }
        }
    }
}
