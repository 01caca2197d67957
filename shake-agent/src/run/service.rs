//! A mapping being served: turns, until the agent is asked to end or the mapping is replaced.

use super::kind::Kind;
use super::{RunError, SLEEP_MAX, STILL_AT_EVERY};
use crate::config::Config;
use crate::counters::Counters;
use crate::follow::{Follower, KeyFollower, Leader};
use crate::heartbeat::Heartbeat;
use crate::lanes::Lanes;
use crate::ledger::LedgerError;
use crate::settlement::Worker;
use crate::signals::Stop;
use crate::turn::{Agent, Turn};
use crate::witness::Keeper;
use host::clock::{Clock, monotonic_ms};
use shake_proto::handoff::status::AgentStatus;
use shm_queue::{Attachment, Mapping, Side};
use std::thread;
use std::time::{Duration, Instant};
use tracing::{debug, info, warn};

/// The sleep while replies wait for room in their ring.
const BACKLOG_SLEEP: Duration = Duration::from_millis(5);
/// The longest that an ending agent goes on with what the rings held.
const DRAIN_MAX: Duration = Duration::from_secs(10);

/// Why a mapping is served no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Served {
    /// The agent is to end.
    Stopped,
    /// The mapping was removed or replaced.
    Replaced,
}

/// One mapping being served.
pub(super) struct Service<'a, K> {
    pub(super) agent: &'a mut Agent<K>,
    pub(super) follower: &'a mut Follower,
    pub(super) keys: &'a mut KeyFollower,
    pub(super) lanes: Lanes,
    pub(super) attachment: Attachment,
    /// What the gateway was told of the agent's modes.
    pub(super) told: AgentStatus,
    pub(super) heartbeat: Heartbeat,
    pub(super) mapping: Mapping,
    pub(super) config: &'a Config,
    pub(super) clock: &'a Clock,
    pub(super) counters: &'a Counters,
    pub(super) settlement: Option<&'a Worker>,
    pub(super) witness: Option<&'a Keeper>,
}

impl<K: Kind> Service<'_, K> {
    /// Does turns until the agent is asked to end or the mapping was replaced; says which.
    pub(super) fn serve(&mut self, stop: &Stop) -> Result<Served, RunError> {
        let (mut looked, mut reported) = (Instant::now(), Instant::now());
        while !stop.is_asked() {
            self.turn();
            if let Some(fault) = self.agent.take_end() {
                // Whatever is given out from now on nobody would write down.
                self.told.part_lost = true;
                self.told.ledger_halted = matches!(fault, LedgerError::Halted { .. });
                self.attachment.set_status(self.told.encode());
                return Err(fault.into());
            }
            if looked.elapsed() >= STILL_AT_EVERY {
                looked = Instant::now();
                if !self.mapping.still_at(&self.config.queue)? {
                    warn!(path = %self.config.queue.display(), "the mapping was removed or replaced");
                    return Ok(Served::Replaced);
                }
            }
            if reported.elapsed() >= self.config.status_every {
                reported = Instant::now();
                log_status(self.agent, self.counters, self.settlement);
            }
        }
        Ok(Served::Stopped)
    }

    pub(super) fn turn(&mut self) {
        if K::IS_SHARED {
            thread::sleep(self.agent.rest(self.config.commit_every));
        }
        self.heartbeat.progress(monotonic_ms());
        self.follow();
        if let Some(keys) = self.keys.look() {
            self.agent.take_keys(keys);
        }
        let begun = Instant::now();
        let now = self.agent.time(self.clock.now());
        match self.agent.turn(&mut self.lanes, now) {
            Turn::Worked if K::IS_SHARED || self.agent.is_behind() => {}
            // Who asks meanwhile rings no bell.
            Turn::Worked => thread::sleep(self.config.commit_every.saturating_sub(begun.elapsed())),
            Turn::Idle => self.lanes.sleep(SLEEP_MAX),
            Turn::Waiting => self.lanes.sleep(BACKLOG_SLEEP),
        }
        if let Some(witness) = self.witness {
            witness.note(self.agent.ledger());
        }
        self.tell();
    }

    /// Takes the gateway's show, when there is a new one. One that cannot be taken is tried again.
    fn follow(&mut self) {
        let leader = Leader {
            instance: self.mapping.instance(),
            epoch: self.mapping.peer(Side::Front).epoch,
        };
        let Some(next) = self.follower.look(leader) else {
            return;
        };
        let now = self.agent.time(self.clock.now());
        match self.agent.take_show(&next.show, now) {
            Ok(()) => self.follower.took(next),
            Err(fault) => self.follower.failed(&fault.to_string()),
        }
    }

    /// Tells the gateway of the modes that were entered or left, and of the show that is followed.
    fn tell(&mut self) {
        let status = AgentStatus {
            ledger_read_only: self.agent.ledger().failure().is_some() && !self.agent.is_ledger_away(),
            ledger_away: self.agent.is_ledger_away(),
            ledger_is_common: K::IS_SHARED,
            part_lost: false,
            ledger_halted: false,
            settlement_down: self.settlement.is_some_and(Worker::is_down),
            feed_stopped: self.agent.feed().is_stopped(),
            show_version: AgentStatus::show_version_of(self.follower.version()),
        };
        if status != self.told {
            self.told = status;
            self.attachment.set_status(status.encode());
        }
    }

    /// Goes on with what the rings hold at this moment. What comes later, or cannot be written now, waits in them for the
    /// next start. A mapping that was replaced has no next start: its issued wins are waited for until the ledger takes
    /// them, or the agent is asked to end.
    pub(super) fn drain(&mut self, served: Served, stop: &Stop) {
        self.agent.pause_feed(true);
        let (ends, begun) = (self.lanes.ends(), Instant::now());
        while !self.lanes.has_done(&ends) {
            self.turn();
            let is_read_only = self.agent.ledger().failure().is_some();
            let is_patient = served == Served::Replaced && !stop.is_asked();
            let is_over = if is_read_only {
                !is_patient
            } else {
                begun.elapsed() >= DRAIN_MAX
            };
            if is_over {
                break;
            }
        }
        debug!(took_ms = begun.elapsed().as_millis() as u64, "drained");
    }
}

pub(super) fn log_status<K: Kind>(agent: &Agent<K>, counters: &Counters, settlement: Option<&Worker>) {
    let counted: Vec<String> = counters
        .all()
        .into_iter()
        .filter(|(_, n)| *n > 0)
        .map(|(name, n)| format!("{name}={n}"))
        .collect();
    info!(
        unreleased = agent.feed().unreleased(),
        wal_mib = agent.ledger().store().log_bytes().map(|bytes| bytes >> 20),
        commit_us_max = counters.commit_us_max.take(),
        ledger_read_only = agent.ledger().failure().is_some() && !agent.is_ledger_away(),
        ledger_away = agent.is_ledger_away(),
        settlement_backlog = settlement.map(Worker::backlog),
        settlement_down = settlement.is_some_and(Worker::is_down),
        log_lines_lost = host::log::lines_lost(),
        "status: {}",
        counted.join(" ")
    );
}
