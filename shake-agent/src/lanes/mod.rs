//! The rings of all shards: what comes in (bounded and fair over the shards), what goes out, and the cursors.
//!
//! Nothing here decides about packets, and nothing here moves a cursor before the ledger's commit: the caller does so by
//! [`Lanes::commit`].

mod error;
mod incoming;
mod lost;
mod out;
mod shape;

pub use error::LanesError;
pub use incoming::Incoming;
pub(crate) use incoming::Place;

use crate::burst::Burst;
use crate::counters::Counters;
use crate::ledger::{LaneRecord, Ledger, LedgerError, Store};
use crate::requests::Origin;
use shake_proto::handoff::status::GatewayStatus;
use shake_proto::handoff::topology::Ring;
use shake_rules::UnixMillis;
use shape::check_geometry;
use shm_queue::{Attachment, Bell, Consumer, Mapping, Owner, Producer, ReadError, Side, Sleeper};
use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tracing::error;

/// Replies kept for a shard whose ring is full: as many as the ring has. A shard never has more asks under way.
const BACKLOG_MAX: usize = Ring::Reply.slots() as usize;

/// How many shards a gateway's mapping is for.
///
/// # Errors
/// [`LanesError::Geometry`] when it is none of this release's.
pub fn shards_of(mapping: &Mapping) -> Result<u16, LanesError> {
    check_geometry(mapping.geometry()).map_err(|found| LanesError::Geometry {
        path: mapping.path().to_owned(),
        found,
    })
}

/// One shard's rings.
#[derive(Debug)]
struct Lane {
    record: LaneRecord,
    requests: Consumer,
    /// Read and put back, in no order: the ring's cursor stands before them.
    put_back: Vec<Incoming>,
    replies: Producer,
    grants: Producer,
    notices: Producer,
    bell: Bell,
    backlog: VecDeque<Vec<u8>>,
    /// What stands before this position was read and answered, whether or not it is committed.
    answered_up_to: u64,
    /// The cursors of the request ring are impossible; it is not read any more.
    broken: bool,
    /// Records of the request ring were passed over, because they could not be read.
    has_holes: bool,
    /// A grant that the ledger released was not taken. Another one would get its position: the lane gets no more.
    grants_stopped: bool,
    /// Something was pushed since the bell was rung last.
    pushed: bool,
}

/// All shards' rings.
#[derive(Debug)]
pub struct Lanes {
    lanes: Vec<Lane>,
    sleeper: Sleeper,
    attachment: Attachment,
    counters: Arc<Counters>,
    /// The lane that comes first in the next turn.
    first: usize,
    bad_records: Burst,
    corrupt_slots: Burst,
    /// Where records are encoded.
    scratch: Vec<u8>,
}

impl Lanes {
    /// Takes the agent's end of every ring, and checks the cursors against the ledger. Where commits of before are lost, and that is
    /// accepted, they go on where they stand.
    ///
    /// # Errors
    /// [`LanesError::Geometry`]; [`LedgerError::Behind`] when a ring is further than the ledger; or what rings and ledger
    /// give.
    pub fn open<S: Store>(
        attachment: &Attachment,
        ledger: &mut Ledger<S>,
        counters: Arc<Counters>,
        now: UnixMillis,
    ) -> Result<Self, LanesError> {
        let mapping = attachment.mapping();
        let shards = shards_of(mapping)?;
        let records = records_of(ledger, mapping.instance(), shards, now)?;
        name_owner(attachment, ledger)?;
        let lost_stamp = ledger.standing().lost_stamp;
        let is_of_before = lost_stamp > 0 && mapping.stamp() <= lost_stamp;
        let mut lanes = Vec::with_capacity(records.len());
        for (shard, record) in (0..shards).zip(records) {
            lanes.push(Lane {
                record,
                requests: attachment.consumer(Ring::Request.index(shard))?,
                put_back: Vec::new(),
                replies: attachment.producer(Ring::Reply.index(shard))?,
                grants: attachment.producer(Ring::Grant.index(shard))?,
                notices: attachment.producer(Ring::Notice.index(shard))?,
                bell: attachment.bell(shard.into())?,
                backlog: VecDeque::new(),
                answered_up_to: 0,
                broken: false,
                has_holes: false,
                grants_stopped: false,
                pushed: false,
            });
        }
        if is_of_before {
            lost::go_on(&mut lanes, ledger, &counters, now)?;
        }
        for (shard, lane) in (0..shards).zip(&lanes) {
            lane.check(&lane.record, shard, ledger.path(), mapping.path())?;
        }
        // From here on the mapping was served by this ledger.
        attachment.set_stamp(ledger.stamp())?;
        Ok(Self {
            lanes,
            sleeper: attachment.sleeper(0)?,
            attachment: attachment.clone(),
            counters,
            first: 0,
            bad_records: Burst::default(),
            corrupt_slots: Burst::default(),
            scratch: Vec::new(),
        })
    }

    /// Reads anew what the ledger has of the cursors, after a write to it failed: the transaction may be there after all.
    /// What was read since the last commit will be read once more, as [`Incoming::is_answered`].
    ///
    /// # Errors
    /// [`LedgerError::Behind`] when a ring is further than the ledger, or when the ledger cannot be read or written.
    pub fn rewind<S: Store>(&mut self, ledger: &mut Ledger<S>, now: UnixMillis) -> Result<(), LedgerError> {
        let shards = self.lanes.len() as u16;
        let records = records_of(ledger, self.instance(), shards, now)?;
        let mapping = self.attachment.mapping();
        for (shard, (lane, record)) in (0..shards).zip(self.lanes.iter_mut().zip(records)) {
            lane.check(&record, shard, ledger.path(), mapping.path())?;
            lane.record = record;
            lane.answered_up_to = lane.answered_up_to.max(lane.requests.read_position());
            lane.requests.rewind();
            lane.put_back.clear();
        }
        Ok(())
    }

    /// The mapping's instance number.
    #[must_use]
    pub fn instance(&self) -> u64 {
        self.attachment.mapping().instance()
    }

    /// How many shards there are.
    #[must_use]
    pub fn shards(&self) -> usize {
        self.lanes.len()
    }

    /// The record of a lane, with the positions of what is released and done so far.
    #[must_use]
    pub fn record(&self, lane: usize) -> LaneRecord {
        self.lanes[lane].record
    }

    /// Position of the next grant of a lane.
    #[must_use]
    pub fn grants_pushed(&self, lane: usize) -> u64 {
        self.lanes[lane].grants.position()
    }

    /// Lanes whose read position moved past what the ledger has, with the record to store for each.
    pub fn moved(&self) -> impl Iterator<Item = (usize, LaneRecord)> {
        self.lanes.iter().enumerate().filter_map(|(index, lane)| {
            let moved = LaneRecord {
                // Not back: what is handled a second time after a restart was done before.
                requests_done: lane.record.requests_done.max(lane.done_position()),
                ..lane.record
            };
            (lane.done_position() != lane.requests.position()).then_some((index, moved))
        })
    }

    /// Takes over what the ledger stored, and gives the slots that were read back to the shards. Call it after the commit
    /// only.
    pub fn commit(&mut self, stored: &[(usize, LaneRecord)]) {
        for &(index, record) in stored {
            let lane = &mut self.lanes[index];
            lane.record = record;
            let up_to = lane.done_position();
            if let Err(fault) = lane.requests.commit(up_to) {
                lane.mark_broken(index, &self.counters, &fault);
            }
        }
    }

    /// How many grants each lane lacks to have `in_hand` of them. A gateway that drains wants none.
    pub fn grants_wanted(&mut self, in_hand: u32) -> Vec<u64> {
        let gateway = GatewayStatus::decode(self.attachment.mapping().peer(Side::Front).status);
        let in_hand = if gateway.is_draining { 0 } else { in_hand };
        let wanted = |lane: &mut Lane| {
            if lane.grants_stopped {
                return 0;
            }
            let held = lane.grants.position() - lane.grants.consumed();
            u64::from(in_hand).saturating_sub(held).min(lane.grants.free() as u64)
        };
        self.lanes.iter_mut().map(wanted).collect()
    }

    /// The lane that the feed begins with.
    #[must_use]
    pub fn first(&self) -> usize {
        self.first
    }

    /// Sleeps until a shard has pushed something, at most `timeout`.
    pub fn sleep(&mut self, timeout: Duration) {
        self.sleeper.prepare();
        let waiting = self
            .lanes
            .iter_mut()
            .any(|lane| !lane.broken && lane.requests.available() > 0);
        if waiting {
            self.sleeper.cancel();
        } else {
            self.sleeper.wait(timeout);
        }
    }

    /// Per lane, the position up to which it holds requests now.
    pub fn ends(&mut self) -> Vec<u64> {
        let end = |lane: &mut Lane| lane.requests.read_position() + lane.requests.available() as u64;
        self.lanes.iter_mut().map(end).collect()
    }

    /// Whether everything before these positions was read and is in the ledger.
    #[must_use]
    pub fn has_done(&self, ends: &[u64]) -> bool {
        let mut pairs = self.lanes.iter().zip(ends);
        pairs.all(|(lane, &end)| lane.broken || lane.requests.position() >= end)
    }

    /// Where the requests of a lane come from.
    #[must_use]
    pub fn origin(&self, lane: usize) -> Origin {
        Origin {
            lane: self.record(lane).lane,
            grants_pushed: self.grants_pushed(lane),
            is_whole: !self.lanes[lane].has_holes && !self.lanes[lane].broken,
        }
    }

    /// Shows the ledger's stamp in the mapping, where a ledger that was restored from a backup is found out by it.
    ///
    /// # Errors
    /// Never for the agent's side.
    pub fn set_stamp(&self, stamp: u64) -> Result<(), shm_queue::Error> {
        self.attachment.set_stamp(stamp)
    }

    /// Takes over a new number of released grants, after the commit that released them.
    pub fn set_grants_released(&mut self, lane: usize, grants_released: u64) {
        self.lanes[lane].record.grants_released = grants_released;
    }
}

/// Names the ledger in the mapping, before anything is granted there: a gateway that does not know it gives nothing out.
fn name_owner<S: Store>(attachment: &Attachment, ledger: &Ledger<S>) -> Result<(), LanesError> {
    let unbound = || LedgerError::NotALedger(ledger.path().to_owned());
    let bound = ledger.bound().ok_or_else(unbound)?;
    let identity = bound.identity.ok_or_else(unbound)?.0;
    let part = bound.header.part.into();
    attachment.name_owner(&Owner { identity, part })?;
    Ok(())
}

/// What the ledger has of each shard's rings in a mapping.
fn records_of<S: Store>(
    ledger: &mut Ledger<S>,
    instance: u64,
    shards: u16,
    now: UnixMillis,
) -> Result<Vec<LaneRecord>, LedgerError> {
    ledger.transaction(now, |batch| {
        (0..shards).map(|shard| batch.load_lane(instance, shard)).collect()
    })
}

impl Lane {
    /// Everything before this position is done once what was read is committed.
    fn done_position(&self) -> u64 {
        let oldest = self.put_back.iter().map(|incoming| incoming.position).min();
        oldest.unwrap_or_else(|| self.requests.read_position())
    }

    /// Whether the ledger is at least as far as the rings.
    fn check(&self, record: &LaneRecord, shard: u16, ledger: &Path, mapping: &Path) -> Result<(), LedgerError> {
        let positions = [
            ("request", self.requests.position(), record.requests_done),
            ("grant", self.grants.position(), record.grants_released),
        ];
        match positions.into_iter().find(|(_, ring, known)| ring > known) {
            None => Ok(()),
            Some((ring, ring_position, ledger_position)) => Err(LedgerError::Behind {
                ledger: ledger.to_owned(),
                mapping: mapping.to_owned(),
                shard,
                ring,
                ring_position,
                ledger_position,
            }),
        }
    }

    /// How many requests wait; notices a broken ring.
    fn waiting(&mut self, shard: usize, counters: &Counters) -> usize {
        if self.broken {
            return 0;
        }
        if let Err(ReadError::Cursors(fault)) = self.requests.peek() {
            self.mark_broken(shard, counters, &fault);
            return 0;
        }
        self.requests.available()
    }

    fn mark_broken(&mut self, shard: usize, counters: &Counters, fault: &dyn std::fmt::Display) {
        self.broken = true;
        counters.rings_broken.add(1);
        error!(shard, %fault, "the request ring is broken and not read any more; restart the gateway with a new mapping");
    }
}
