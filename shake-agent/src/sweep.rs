//! When something is to go back, and how where a ledger has many writers: each agent sends back what is overdue of its own part, in transactions of their own; what is
//! overdue of a part that is retired, or whose agent is silent, any of them.
//!
//! ```text
//!   end of a ticket ├── 2 s ──▶│ least of `answered` over all parts: only then it goes back
//! ```
//! A user may have asked in time at a gateway whose agent is behind or cut off. So each part says up to when all that its gateway was
//! asked is answered, and nothing goes back before its end lies two seconds under the least of these.
//!
//! All times are the store's. While its clock and the machine's differ by over a second nothing goes back, and what is over is asked
//! again: nobody can say which of them is right.

use crate::burst::Burst;
use crate::ledger::{LedgerError, SPAN_OVER_MS, Store};
use crate::requests::{EXPIRE_MAX, EXPIRY_GRACE_MS};
use crate::turn::Agent;
use shake_rules::UnixMillis;
use tracing::{debug, error, info};

/// How long before the rings were read empty all that was asked is in them, in milliseconds.
pub(crate) const ASKED_MS: u64 = 500;
/// How often to look for what is overdue, in milliseconds.
const EXPIRY_EVERY_MS: u64 = 100;
/// How often to ask up to when all parts have answered, in milliseconds.
const LEAST_EVERY_MS: u64 = 1_000;
/// How often to look for what is overdue of parts that are gone, in milliseconds.
const GONE_EVERY_MS: u64 = 10_000;
/// An agent must itself have written without a pause for as long as others are silent, in milliseconds: after an outage of the
/// store all look silent.
const SILENT_MS: u64 = 600_000;
/// The most that the clocks of store and machine may differ, in milliseconds.
const CLOCKS_MS_MAX: u64 = 1_000;

/// What a sweep remembers.
#[derive(Debug, Default)]
pub(crate) struct Sweep {
    /// Since when this agent writes without a pause.
    writing_since: Option<UnixMillis>,
    /// When it was here last.
    called: UnixMillis,
    /// Up to when all parts have answered, and when that was asked.
    least: Option<(UnixMillis, UnixMillis)>,
    gone_looked: UnixMillis,
    faults: Burst,
}

impl Sweep {
    fn note(&mut self, now: UnixMillis, last_commit: UnixMillis) {
        let is_paused = |since: UnixMillis| now < since || now.since_ms(since) > SPAN_OVER_MS;
        if is_paused(self.called) || is_paused(last_commit) {
            self.writing_since = None;
        }
        self.called = now;
        self.writing_since.get_or_insert(now);
    }

    fn counts_silence(&self, now: UnixMillis) -> bool {
        self.writing_since.is_some_and(|since| now.since_ms(since) >= SILENT_MS)
    }
}

impl<S: Store> Agent<S> {
    /// The time to go by, when the machine's clock says so: that of the store, where all writers have it in common.
    pub fn time(&mut self, machine: UnixMillis) -> UnixMillis {
        let Some(store) = self.ledger.now() else { return machine };
        let differs = store.0.abs_diff(machine.0) > CLOCKS_MS_MAX;
        if differs != self.judge.doubts_time {
            self.judge.doubts_time = differs;
            let (store_ms, machine_ms) = (store.0, machine.0);
            if differs {
                error!(
                    store_ms,
                    machine_ms,
                    "the clocks of the ledger's server and of this machine differ by over a second: nothing goes back, and what is over \
                     by either is told busy, until they agree. Look at the time services of both"
                );
            } else {
                info!(
                    store_ms,
                    machine_ms, "the clocks of the ledger's server and of this machine agree"
                );
            }
        }
        store
    }

    /// Since when something is overdue, if it is to go back in this turn. Not while the rings hold more than was read: who asked in
    /// time comes first.
    pub(crate) fn overdue(&mut self, now: UnixMillis) -> Option<UnixMillis> {
        let looked_long_ago = now < self.expiry_looked || now.since_ms(self.expiry_looked) >= EXPIRY_EVERY_MS;
        if self.is_behind() || !looked_long_ago {
            return None;
        }
        self.expiry_looked = now;
        match self.ledger.first_due() {
            Ok(due) => due.filter(|due| due.plus_ms(EXPIRY_GRACE_MS) <= now),
            Err(fault) => {
                // A write will fail likewise, and be told by that.
                error!(%fault, "cannot look for what is overdue");
                None
            }
        }
    }

    /// Sends back what is overdue, where the ledger has other writers.
    pub(crate) fn sweep(&mut self, now: UnixMillis) {
        if !self.ledger.is_shared() || self.ledger.failure().is_some() {
            return;
        }
        self.sweeping.note(now, self.ledger.last_commit());
        if self.is_behind() || self.judge.doubts_time {
            return;
        }
        let Err(fault) = self.sweep_own(now).and_then(|()| self.sweep_gone(now)) else {
            return;
        };
        if fault.is_conflict() {
            debug!(%fault, "what is overdue is looked at again");
        } else if fault.is_of_content() {
            if self.sweeping.faults.begins(now.0) {
                error!(%fault, "the ledger refuses to send back what is overdue; it is tried again, and all else goes on");
            }
        } else {
            self.ledger.refuse_writes(fault.to_string());
            self.enter_outage(fault, now);
        }
    }

    fn sweep_own(&mut self, now: UnixMillis) -> Result<(), LedgerError> {
        let Some(due) = self.overdue(now) else {
            return Ok(());
        };
        let by = self.horizon(now)?;
        if due.plus_ms(EXPIRY_GRACE_MS) > by {
            return Ok(());
        }
        let Self { ledger, judge, .. } = self;
        if ledger.transaction(now, |batch| judge.expire(batch, by))? == EXPIRE_MAX {
            // There may be more: look again in the next turn.
            self.expiry_looked = UnixMillis(0);
        }
        Ok(())
    }

    fn sweep_gone(&mut self, now: UnixMillis) -> Result<(), LedgerError> {
        let looked = self.sweeping.gone_looked;
        if now >= looked && now.since_ms(looked) < GONE_EVERY_MS {
            return Ok(());
        }
        self.sweeping.gone_looked = now;
        let by = self.horizon(now)?;
        let counts_silence = self.sweeping.counts_silence(now);
        let Self { ledger, judge, .. } = self;
        let found = ledger.transaction(now, |batch| judge.expire_of_gone(batch, by, counts_silence))?;
        if found == EXPIRE_MAX {
            self.sweeping.gone_looked = UnixMillis(0);
        }
        Ok(())
    }

    /// Up to when everything that was asked is answered, at every gateway.
    fn horizon(&mut self, now: UnixMillis) -> Result<UnixMillis, LedgerError> {
        let known = self.sweeping.least;
        let known = known.filter(|(asked, _)| now >= *asked && now.since_ms(*asked) < LEAST_EVERY_MS);
        let least = match known {
            Some((_, least)) => least,
            None => {
                let counts_silence = self.sweeping.counts_silence(now);
                let least = self.ledger.least_answered(counts_silence)?.unwrap_or(now);
                self.sweeping.least = Some((now, least));
                least
            }
        };
        Ok(least.min(now))
    }
}
