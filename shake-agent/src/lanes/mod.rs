//! The rings of all shards: what comes in (bounded and fair over the shards), what goes out, and the cursors.
//!
//! Nothing here decides about packets, and nothing here moves a cursor before the ledger's commit: the caller does so by
//! [`Lanes::commit`].

mod shape;

use crate::burst::Burst;
use crate::counters::Counters;
use crate::ledger::{LaneRecord, Ledger, LedgerError};
use bytes::Bytes;
use shake_proto::handoff::record::{Grant, Notice, Reply, Request};
use shake_proto::handoff::topology::Ring;
use shake_rules::UnixMillis;
use shape::{check_geometry, fair_shares};
use shm_queue::{Attachment, Bell, Consumer, Producer, PushError, ReadError, Sleeper};
use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tracing::{error, warn};

/// Replies kept for a shard whose ring is full: as many as the ring has. A shard never has more asks under way.
const BACKLOG_MAX: usize = Ring::Reply.slots() as usize;

/// Why the rings cannot be used.
#[derive(Debug, Error)]
pub enum LanesError {
    /// The mapping is not one of a gateway.
    #[error("{} is not a gateway's mapping: {found}; stop the gateway, remove the file, and start it again", path.display())]
    Geometry {
        /// The mapping.
        path: PathBuf,
        /// What is wrong.
        found: String,
    },
    /// The rings gave an error.
    #[error(transparent)]
    Queue(#[from] shm_queue::Error),
    /// The ledger gave an error.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// A request and the lane it came from.
#[derive(Debug)]
pub struct Incoming {
    /// Index of the lane, which is the shard's number.
    pub lane: usize,
    /// The request.
    pub request: Request,
}

/// One shard's rings.
#[derive(Debug)]
struct Lane {
    record: LaneRecord,
    requests: Consumer,
    replies: Producer,
    grants: Producer,
    notices: Producer,
    bell: Bell,
    backlog: VecDeque<Vec<u8>>,
    /// The cursors of the request ring are impossible; it is not read any more.
    broken: bool,
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
    /// Takes the agent's end of every ring, and checks the cursors against the ledger.
    ///
    /// # Errors
    /// [`LanesError::Geometry`]; [`LedgerError::Behind`] when a ring is further than the ledger; or what rings and ledger
    /// give.
    pub fn open(
        attachment: &Attachment,
        ledger: &mut Ledger,
        counters: Arc<Counters>,
        now: UnixMillis,
    ) -> Result<Self, LanesError> {
        let mapping = attachment.mapping();
        let shards = check_geometry(mapping.geometry()).map_err(|found| LanesError::Geometry {
            path: mapping.path().to_owned(),
            found,
        })?;
        let records = ledger.transaction(now, |batch| {
            (0..shards)
                .map(|shard| batch.lane(mapping.instance(), shard))
                .collect::<Result<Vec<_>, _>>()
        })?;
        let mut lanes = Vec::with_capacity(records.len());
        for (shard, record) in (0..shards).zip(records) {
            let lane = Lane {
                record,
                requests: attachment.consumer(Ring::Request.index(shard))?,
                replies: attachment.producer(Ring::Reply.index(shard))?,
                grants: attachment.producer(Ring::Grant.index(shard))?,
                notices: attachment.producer(Ring::Notice.index(shard))?,
                bell: attachment.bell(shard.into())?,
                backlog: VecDeque::new(),
                broken: false,
                grants_stopped: false,
                pushed: false,
            };
            let behind = |ring, ring_position, ledger_position| LedgerError::Behind {
                ledger: ledger.path().to_owned(),
                mapping: mapping.path().to_owned(),
                shard,
                ring,
                ring_position,
                ledger_position,
            };
            if lane.requests.position() > record.requests_done {
                return Err(behind("request", lane.requests.position(), record.requests_done).into());
            }
            if lane.grants.position() > record.grants_released {
                return Err(behind("grant", lane.grants.position(), record.grants_released).into());
            }
            lanes.push(lane);
        }
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

    /// Takes up to `max` requests, fairly over the lanes. What does not decode is counted and passed over.
    pub fn read(&mut self, max: usize, now: UnixMillis, inbox: &mut Vec<Incoming>) {
        let waiting: Vec<usize> = self
            .lanes
            .iter_mut()
            .enumerate()
            .map(|(shard, lane)| lane.waiting(shard, &self.counters))
            .collect();
        let shares = fair_shares(&waiting, max, self.first);
        self.first = (self.first + 1) % self.lanes.len();
        for (index, share) in shares.into_iter().enumerate() {
            self.read_lane(index, share, now, inbox);
        }
    }

    fn read_lane(&mut self, index: usize, share: usize, now: UnixMillis, inbox: &mut Vec<Incoming>) {
        let lane = &mut self.lanes[index];
        let mut left = share;
        while left > 0 {
            let mut bad = 0;
            let outcome = lane.requests.read_batch(left, |_, bytes| {
                // One copy, of which ticket and cookie are then parts.
                match Request::decode(Bytes::copy_from_slice(bytes)) {
                    Ok(request) => inbox.push(Incoming { lane: index, request }),
                    Err(_) => bad += 1,
                }
            });
            if bad > 0 {
                self.counters.records_bad.add(bad);
                if self.bad_records.begins(now.0) {
                    warn!(
                        shard = index,
                        "request records that do not decode are passed over; are gateway and agent of one version?"
                    );
                }
            }
            match outcome {
                Ok(0) => return,
                Ok(count) => {
                    self.counters.requests_read.add(count as u64);
                    left -= count;
                }
                Err(ReadError::Slot(fault)) => {
                    // The read just said that the next slot is corrupt; when it no longer is, it is read the next time.
                    let _ = lane.requests.skip_corrupt();
                    self.counters.slots_corrupt.add(1);
                    if self.corrupt_slots.begins(now.0) {
                        warn!(shard = index, %fault, "corrupt slots of the request ring are passed over");
                    }
                    left -= 1;
                }
                Err(ReadError::Cursors(_)) => return,
            }
        }
    }

    /// Lanes whose read position moved past what the ledger has, with the record to store for each.
    pub fn moved(&self) -> impl Iterator<Item = (usize, LaneRecord)> {
        self.lanes.iter().enumerate().filter_map(|(index, lane)| {
            let moved = LaneRecord {
                // Not back: what is handled a second time after a restart was done before.
                requests_done: lane.record.requests_done.max(lane.requests.read_position()),
                ..lane.record
            };
            (lane.requests.read_position() != lane.requests.position()).then_some((index, moved))
        })
    }

    /// Takes over what the ledger stored, and gives the slots that were read back to the shards. Call it after the commit
    /// only.
    pub fn commit(&mut self, stored: &[(usize, LaneRecord)]) {
        for &(index, record) in stored {
            let lane = &mut self.lanes[index];
            lane.record = record;
            let up_to = lane.requests.read_position();
            if let Err(fault) = lane.requests.commit(up_to) {
                lane.mark_broken(index, &self.counters, &fault);
            }
        }
    }

    /// How many grants each lane lacks to have `in_hand` of them.
    pub fn grants_wanted(&mut self, in_hand: u32) -> Vec<u64> {
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

    /// Puts a released packet into a lane's grant ring, at the position that the ledger has for it.
    pub fn push_grant(&mut self, index: usize, position: u64, grant: &Grant) {
        let lane = &mut self.lanes[index];
        if lane.grants_stopped {
            return;
        }
        self.scratch.clear();
        grant.encode(&mut self.scratch);
        let pushed = match lane.grants.position() {
            next if next == position => lane.grants.push(&self.scratch).map_err(|fault| fault.to_string()),
            next => Err(format!("the ring stands at {next}")),
        };
        match pushed {
            Ok(_) => {
                lane.pushed = true;
                self.counters.grants_pushed.add(1);
            }
            Err(fault) => {
                lane.grants_stopped = true;
                error!(
                    shard = index,
                    position, fault, "a grant was not taken; this shard gets no more before a restart"
                );
            }
        }
    }

    /// Puts a reply into a lane's reply ring, or behind those that wait for room. Beyond the backlog it is dropped: the
    /// phone asks again.
    pub fn push_reply(&mut self, index: usize, reply: &Reply) {
        let lane = &mut self.lanes[index];
        self.scratch.clear();
        reply.encode(&mut self.scratch);
        if lane.backlog.is_empty() {
            match lane.replies.push(&self.scratch) {
                Ok(_) => {
                    lane.pushed = true;
                    self.counters.replies_pushed.add(1);
                    return;
                }
                Err(PushError::Full(_)) => {}
                Err(PushError::TooLong { .. } | PushError::Corrupt { .. }) => {
                    self.counters.replies_dropped.add(1);
                    return;
                }
            }
        }
        if lane.backlog.len() < BACKLOG_MAX {
            lane.backlog.push_back(self.scratch.clone());
        } else {
            self.counters.replies_dropped.add(1);
        }
    }

    /// Puts a notice into the notice ring of one lane, or of all. A full ring loses it, which is harmless: the packet is
    /// found at the user's next Hello.
    pub fn push_notice(&mut self, index: Option<usize>, notice: &Notice) {
        self.scratch.clear();
        notice.encode(&mut self.scratch);
        for (at, lane) in self.lanes.iter_mut().enumerate() {
            if index.is_some_and(|index| index != at) {
                continue;
            }
            if lane.notices.push(&self.scratch).is_ok() {
                lane.pushed = true;
                self.counters.notices_pushed.add(1);
            } else {
                self.counters.notices_dropped.add(1);
            }
        }
    }

    /// Pushes what waits for room; true when some of it still does.
    pub fn push_backlog(&mut self) -> bool {
        let mut left = false;
        for lane in &mut self.lanes {
            while let Some(bytes) = lane.backlog.front() {
                if lane.replies.push(bytes).is_err() {
                    left = true;
                    break;
                }
                lane.backlog.pop_front();
                lane.pushed = true;
                self.counters.replies_pushed.add(1);
            }
        }
        left
    }

    /// Rings the bell of each shard that got something.
    pub fn ring(&mut self) {
        for lane in self.lanes.iter_mut().filter(|lane| lane.pushed) {
            lane.bell.ring();
            lane.pushed = false;
        }
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

    /// Whether everything before these positions was read.
    #[must_use]
    pub fn has_read(&self, ends: &[u64]) -> bool {
        let mut pairs = self.lanes.iter().zip(ends);
        pairs.all(|(lane, &end)| lane.broken || lane.requests.read_position() >= end)
    }

    /// Takes over a new number of released grants, after the commit that released them.
    pub fn set_grants_released(&mut self, lane: usize, grants_released: u64) {
        self.lanes[lane].record.grants_released = grants_released;
    }
}

impl Lane {
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
