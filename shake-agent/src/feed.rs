//! The feed: packets leave the seed file and go to the shards' grant rings. Which sponsor's packet comes next is drawn by
//! the weights of the phase; within one sponsor they leave in the order of the seed.
//!
//! A release is durable in the ledger, with the position that the grant will have in its ring, before the grant is pushed.
//! So after a crash in between, the positions tell which grants are missing from the rings, and they are pushed again at
//! the same positions: [`recover`]. How many packets of each sponsor are released is in the ledger too; where the next one
//! of each stands in the file is an index in memory, four bytes a packet.
//!
//! What a shard gives back, because the phase is another, the show is over or the gateway drains, stands in no ring then, and is
//! released again at another position, before what was never released. Its money stays in it.

mod mix;
mod recover;

pub use recover::recover;

use crate::counters::Counters;
use crate::lanes::Lanes;
use crate::ledger::{Bound, LedgerError, Release};
use crate::seed_file::{SeedFile, SeedFileError};
use mix::{Mix, Stock};
use shake_proto::handoff::record::Grant;
use shake_proto::handoff::topology::Ring;
use shake_rules::show::Phase;
use shake_rules::{Cents, EventId, SponsorId, UnixMillis};
use std::collections::BTreeMap;
use std::time::Duration;
use tracing::{error, info};

/// Records read from the seed file at once.
const BLOCK: u64 = 4_096;

/// The seed file, and how far it is released.
#[derive(Debug)]
pub struct Feed {
    seed: SeedFile,
    /// Per sponsor, the indexes of its records in the file.
    index: BTreeMap<SponsorId, Vec<u32>>,
    mix: Mix,
    phases: Vec<Phase>,
    unreleased: u64,
    /// How many records are in the index: all, unless one could not be read.
    indexed: u64,
    /// Released before and given back by a shard: per sponsor, the indexes of their records.
    returned: BTreeMap<SponsorId, Vec<u64>>,
    /// How many grants each shard has in hand, at the least.
    in_hand: u32,
    /// How long they last at the phase's rate, at the least.
    lasts: Duration,
    paused: bool,
    /// Why nothing can be released, and when that was seen. It is tried again.
    stopped: Option<(String, UnixMillis)>,
    /// The ledger refused a release, and would again: nothing is released until the next start.
    is_refused: bool,
}

/// How often a seed that could not be read is tried again, in milliseconds.
const RETRY_EVERY_MS: u64 = 1_000;

/// What one transaction releases.
#[derive(Debug, Default)]
pub struct Plan {
    /// In the order in which they leave.
    pub releases: Vec<Planned>,
    /// Where the mix then stands.
    mix: Mix,
}

/// A packet that is to be released.
#[derive(Clone, Copy, Debug)]
pub struct Planned {
    /// The index of its lane.
    pub lane: usize,
    /// What, and where to.
    pub release: Release,
    /// It was released before, and given back.
    pub is_again: bool,
}

impl Plan {
    /// What is released for the first time, or again.
    pub fn which(&self, is_again: bool) -> impl Iterator<Item = &Release> + Clone {
        let which = self.releases.iter().filter(move |planned| planned.is_again == is_again);
        which.map(|planned| &planned.release)
    }
}

impl Feed {
    /// A feed that goes on where the ledger stands, mixes sponsors as the phases say, and keeps `in_hand` grants in the
    /// hands of each shard. Reads the whole seed file, to index it.
    #[must_use]
    pub fn new(seed: SeedFile, bound: &Bound, phases: Vec<Phase>, in_hand: u32) -> Self {
        let released: u64 = bound.released.values().sum();
        let mut feed = Self {
            unreleased: seed.header().count - released,
            mix: Mix::new(bound.released.clone()),
            index: BTreeMap::new(),
            indexed: 0,
            phases,
            seed,
            returned: BTreeMap::new(),
            in_hand,
            lasts: Duration::ZERO,
            paused: false,
            stopped: None,
            is_refused: false,
        };
        // What cannot be read stops the feed when its turn comes: what stands before it can be released.
        let _ = feed.index_on();
        feed
    }

    /// The same, with so many grants in hand that they last so long at the phase's rate, as far as a ring has room.
    #[must_use]
    pub fn lasting(mut self, lasts: Duration) -> Self {
        self.lasts = lasts;
        self
    }

    /// Goes on with the index as far as records can be read.
    fn index_on(&mut self) -> Result<(), SeedFileError> {
        while self.indexed < self.seed.header().count {
            // A block with a damaged record still gives those before it, one by one.
            let records = match self.seed.read(self.indexed, BLOCK) {
                Ok(records) => records,
                Err(_) => self.seed.read(self.indexed, 1)?,
            };
            for record in records {
                self.index.entry(record.sponsor).or_default().push(self.indexed as u32);
                self.indexed += 1;
            }
        }
        Ok(())
    }

    /// Goes on where the ledger stands now: what was planned and not committed is planned anew.
    pub fn resume(&mut self, bound: &Bound) {
        self.unreleased = self.seed.header().count - bound.released.values().sum::<u64>();
        self.mix = Mix::new(bound.released.clone());
    }

    /// The event of the seed.
    #[must_use]
    pub fn event(&self) -> EventId {
        self.seed.header().event
    }

    /// The seed file.
    #[must_use]
    pub fn seed(&self) -> &SeedFile {
        &self.seed
    }

    /// Mixes sponsors by other phases from now on.
    pub fn take_phases(&mut self, phases: Vec<Phase>) {
        self.phases = phases;
    }

    /// Whether nothing is released because the seed cannot be read.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.stopped.is_some() || self.is_refused
    }

    /// Packets that are not released yet.
    #[must_use]
    pub fn unreleased(&self) -> u64 {
        self.unreleased
    }

    /// Sponsors of the seed that no phase has: their packets are never released.
    pub fn sponsors_without_phase(&self) -> impl Iterator<Item = SponsorId> {
        let has = |phase: &Phase, sponsor| phase.sponsors.contains_key(sponsor);
        self.index
            .keys()
            .filter(move |sponsor| !self.phases.is_empty() && !self.phases.iter().any(|phase| has(phase, sponsor)))
            .copied()
    }

    /// Releases nothing until it is told to go on: while the agent ends, or its mapping is being replaced.
    pub fn pause(&mut self, paused: bool) {
        self.paused = paused;
    }

    /// What to release now, at most `max` packets. Changes nothing: see [`Feed::released`].
    pub fn plan(&mut self, lanes: &mut Lanes, max: usize, now: UnixMillis, counters: &Counters) -> Plan {
        let mut plan = Plan::default();
        let is_empty = self.unreleased == 0 && self.returned.values().all(Vec::is_empty);
        if self.paused || self.is_refused || is_empty || !self.may_try(now) {
            return plan;
        }
        let in_hand = self.in_hand(now, lanes.shards());
        let turns = deal(&lanes.grants_wanted(in_hand), max, lanes.first());
        if turns.is_empty() {
            return plan;
        }
        plan.mix = self.mix.clone();
        let mut positions: Vec<u64> = (0..lanes.shards())
            .map(|lane| lanes.record(lane).grants_released)
            .collect();
        let weights = self.weights(now);
        for lane in turns {
            let stock = Stock {
                index: &self.index,
                returned: &self.returned,
            };
            let Some(next) = plan.mix.next(&weights, stock) else {
                if plan.releases.is_empty()
                    && let Err(fault) = self.index_on()
                {
                    self.stop(&fault, now, counters);
                }
                return plan;
            };
            let record = match self.seed.read(next.record, 1) {
                Ok(records) => records[0],
                Err(fault) => {
                    // What was planned before it still goes out; the mix must not pass it.
                    if plan.releases.is_empty() {
                        self.stop(&fault, now, counters);
                    }
                    plan.mix.undo();
                    return plan;
                }
            };
            let release = Release {
                seed_index: next.record,
                record,
                lane: lanes.record(lane).lane,
                grant_position: positions[lane],
            };
            positions[lane] += 1;
            plan.releases.push(Planned {
                lane,
                release,
                is_again: next.is_again,
            });
        }
        self.go_on(counters);
        plan
    }

    /// Takes over a plan that was committed, and pushes its grants.
    pub fn released(&mut self, plan: Plan, lanes: &mut Lanes, counters: &Counters) {
        if plan.releases.is_empty() {
            return;
        }
        let (fresh, again) = (plan.which(false).count() as u64, plan.which(true).count() as u64);
        self.mix = plan.mix;
        for (sponsor, taken) in self.mix.take_again() {
            self.returned.entry(sponsor).or_default().drain(..taken);
        }
        self.unreleased -= fresh;
        counters.packets_released.add(fresh);
        counters.packets_released_again.add(again);
        let event = self.event();
        for Planned { lane, release, .. } in &plan.releases {
            lanes.set_grants_released(*lane, release.grant_position + 1);
            let grant = Grant {
                packet: release.record.packet,
                sponsor: release.record.sponsor,
                event,
            };
            lanes.push_grant(*lane, release.grant_position, &grant);
        }
        if self.unreleased == 0 && fresh > 0 {
            info!("the last packet of the seed is released");
        }
    }

    /// A shard gave back the packet of this record, after the commit that says so.
    pub fn take_back(&mut self, sponsor: SponsorId, seed_index: u64) {
        self.returned.entry(sponsor).or_default().push(seed_index);
    }

    /// The phase that is released for at `now`: the one that runs, else the one before, else the one to come.
    fn phase(&self, now: UnixMillis) -> Option<&Phase> {
        let started = self.phases.partition_point(|phase| phase.starts_at <= now);
        self.phases.get(started.saturating_sub(1))
    }

    /// The weights that hold at `now`. Without a show, all sponsors are equal.
    fn weights(&self, now: UnixMillis) -> BTreeMap<SponsorId, u32> {
        match self.phase(now) {
            Some(phase) => phase.sponsors.clone(),
            None => self.index.keys().map(|&sponsor| (sponsor, 1)).collect(),
        }
    }

    /// What the phase at `now` gives away in gifts in a second, at the most; nothing before the first one.
    #[must_use]
    pub fn gifts_a_second(&self, now: UnixMillis) -> Cents {
        let started = self.phases.partition_point(|phase| phase.starts_at <= now);
        let phase = started.checked_sub(1).and_then(|index| self.phases.get(index));
        let gifts = phase.and_then(|phase| phase.gifts);
        gifts.map_or(Cents(0), |gifts| {
            Cents((gifts.per_second * gifts.max.0 as f64).ceil() as u64)
        })
    }

    /// How many grants each of so many shards is to have in hand. None when the show is over: they would have to go back.
    fn in_hand(&self, now: UnixMillis, shards: usize) -> u32 {
        let Some(phase) = self.phase(now) else {
            return self.in_hand;
        };
        if self.phases.iter().all(|phase| phase.ends_at <= now) {
            return 0;
        }
        let rate = phase.releases_per_second / shards as f64;
        // A rate without bounds fills the ring.
        let lasting = (rate * self.lasts.as_secs_f64()).ceil() as u32;
        lasting.max(self.in_hand).min(Ring::Grant.slots())
    }

    /// Whether it is time to read the seed: always, unless it could not be read a moment ago.
    fn may_try(&mut self, now: UnixMillis) -> bool {
        let Some((_, at)) = &self.stopped else {
            return true;
        };
        if now >= *at && now.since_ms(*at) < RETRY_EVERY_MS {
            return false;
        }
        // The file may have been put back as another one.
        if let Ok(seed) = SeedFile::open(self.seed.path())
            && seed.header() == self.seed.header()
        {
            self.seed = seed;
        }
        // What still cannot be read is told when its turn comes.
        let _ = self.index_on();
        true
    }

    fn stop(&mut self, fault: &SeedFileError, now: UnixMillis, counters: &Counters) {
        counters.feed_stopped.raise(1);
        let reason = fault.to_string();
        if self.stopped.as_ref().is_none_or(|(said, _)| *said != reason) {
            error!(
                reason,
                "the feed stops here until the seed can be read again; claims go on. Restore the file"
            );
        }
        self.stopped = Some((reason, now));
    }

    /// The ledger refused to release what was planned, and would again.
    pub fn refuse(&mut self, fault: &LedgerError, counters: &Counters) {
        counters.feed_stopped.raise(1);
        self.is_refused = true;
        error!(
            %fault,
            "the ledger refuses what the feed would release: is it another part's seed? Nothing is released until the agent is started \
             anew; claims go on"
        );
    }

    fn go_on(&mut self, counters: &Counters) {
        if self.stopped.take().is_some() {
            counters.feed_stopped.take();
            info!("the seed can be read again; the feed goes on");
        }
    }
}

/// Whose turn it is, for each packet: the lanes take turns, beginning with `first`, until none wants more or there are
/// `max`.
fn deal(wanted: &[u64], max: usize, first: usize) -> Vec<usize> {
    let mut left = wanted.to_vec();
    let mut turns = Vec::new();
    while turns.len() < max && left.iter().any(|&n| n > 0) {
        for at in 0..left.len() {
            let lane = (first + at) % left.len();
            if left[lane] > 0 && turns.len() < max {
                left[lane] -= 1;
                turns.push(lane);
            }
        }
    }
    turns
}

#[cfg(test)]
mod tests;
