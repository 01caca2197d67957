//! The modes "ledger read-only" and "ledger away": entered when a commit fails (the disk is full, a sync or a write gave an error;
//! the server cannot be reached, or is silent), and left by themselves when one works again. Money first:
//!
//! - Nothing of the failed transaction is answered or pushed, and no cursor moves: `Issued` records, gifts and asks stay in
//!   their rings. When these are full, the gateway makes no wins and answers "busy" by itself.
//! - Asks that would write are answered "busy" once. They take effect when the mode is left, as they would after a restart
//!   of the agent: whoever asks again gets the first answer.
//! - What only looks (view, wallet, offers) is answered from what is committed. While the ledger is away that is busy too; the
//!   gateway reads of it in the status word, and asks nothing more until it is over.
//! - Each second the ledger is opened anew and a small commit tried. If it works, cursors and releases are read from the
//!   ledger again, because the failed transaction may be there after all, and the rings from where the cursors stand.
//! - A server is reached by a thread of its own, because that takes time. The turns go on meanwhile, and wait for no answer
//!   beyond [`STORE_WAIT_MAX`]. All agents of a fleet lose a server at one moment, so pauses are drawn.

use crate::burst::Burst;
use crate::feed;
use crate::lanes::{Incoming, Lanes, LanesError};
use crate::ledger::{LedgerError, Reached, Store};
use crate::turn::{Agent, Turn};
use shake_proto::handoff::record::{Ask, Request};
use shake_rules::UnixMillis;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};
use tracing::{error, info, warn};

/// Time between two tries to write again, in milliseconds.
pub const TRY_EVERY_MS: u64 = 1_000;
/// The same for a server that was away: with what a try takes, the first commit comes within a second of its return.
const REACH_EVERY_MS: RangeInclusive<u64> = 250..=750;
/// The longest that a turn waits for a server's answers, all together.
pub(crate) const STORE_WAIT_MAX: Duration = Duration::from_secs(1);

/// How long the ledger has been read-only, and when it was last tried to write.
#[derive(Debug, Default)]
pub(crate) struct Outage {
    begun: UnixMillis,
    /// When it was last tried, and how long it is not tried again, in milliseconds.
    tried: UnixMillis,
    pause_ms: u64,
    /// A disk with hardly any room left makes the mode come and go each second.
    entries: Burst,
    refusals: Burst,
    unreadable: Burst,
    /// Why it never ends.
    end: Option<LedgerError>,
}

impl<S: Store> Agent<S> {
    pub(crate) fn enter_outage(&mut self, fault: LedgerError, now: UnixMillis) {
        self.counters.ledger_outages.add(1);
        self.outage.begun = now;
        self.put_off_try(now);
        if self.outage.entries.begins(now.0) {
            if self.ledger.is_away() {
                error!(
                    %fault,
                    "the ledger is away: the gateway answers asks busy, wins go on with the grants in hand, and nothing is lost. Look at \
                     its server, and at the way to it; it is tried again all the time"
                );
            } else {
                error!(
                    %fault,
                    "the ledger cannot be written and is read-only: asks are answered busy, and nothing is lost. Make room on its \
                     disk, or look at the disk; it is tried again each second"
                );
            }
        }
        self.note_end(fault);
    }

    /// Whether the ledger's server cannot be reached at the moment, or does not answer.
    pub fn is_ledger_away(&self) -> bool {
        self.ledger.is_away()
    }

    /// From now on nobody waits for the store for longer than a turn may.
    pub(crate) fn limit_waits(&self) {
        self.ledger.wait_until(Some(Instant::now() + STORE_WAIT_MAX));
    }

    fn put_off_try(&mut self, now: UnixMillis) {
        self.outage.tried = now;
        self.outage.pause_ms = if self.ledger.is_away() {
            rand::random_range(REACH_EVERY_MS)
        } else {
            TRY_EVERY_MS
        };
    }

    /// Why the agent must end: another one has its part, or the ledger is of another moment. Once.
    pub fn take_end(&mut self) -> Option<LedgerError> {
        self.outage.end.take()
    }

    /// Until somebody takes note of it, writes are refused.
    fn note_end(&mut self, fault: LedgerError) {
        if fault.is_lost() {
            self.ledger.refuse_writes(fault.to_string());
            self.outage.end = Some(fault);
        }
    }

    /// Tries to write again, if it is time to. True when it worked.
    pub(crate) fn try_to_leave_outage(&mut self, lanes: &mut Lanes, now: UnixMillis) -> bool {
        let is_time = now < self.outage.tried || now.since_ms(self.outage.tried) >= self.outage.pause_ms;
        if !is_time {
            return false;
        }
        match self.leave_outage(lanes, now) {
            Ok(Reached::NotYet) => false,
            Ok(Reached::Now) => {
                self.counters.ledger_retries.add(1);
                info!(
                    after_ms = now.since_ms(self.outage.begun),
                    "the ledger is written again"
                );
                true
            }
            Err(fault) => {
                self.counters.ledger_retries.add(1);
                if fault.is_for_a_person() && self.outage.refusals.begins(now.0) {
                    warn!(%fault, "the ledger stays read-only");
                }
                self.ledger.refuse_writes(fault.to_string());
                self.put_off_try(now);
                if let LanesError::Ledger(fault) = fault {
                    self.note_end(fault);
                }
                false
            }
        }
    }

    fn leave_outage(&mut self, lanes: &mut Lanes, now: UnixMillis) -> Result<Reached, LanesError> {
        if self.reopen_ledger()? == Reached::NotYet {
            return Ok(Reached::NotYet);
        }
        lanes.rewind(&mut self.ledger, now)?;
        self.recover_grants(lanes, now)?;
        Ok(Reached::Now)
    }

    /// Mends what the last run, an earlier mapping or a failed commit left of grants; see [`feed::recover`].
    ///
    /// # Errors
    /// When the ledger cannot be read or written.
    pub fn recover_grants(&mut self, lanes: &mut Lanes, now: UnixMillis) -> Result<(), LanesError> {
        feed::recover(&mut self.ledger, lanes, &mut self.feed, &self.counters, now)
    }

    /// Goes on with opening the ledger anew and making a commit in it; the feed then goes on where the ledger stands. For the
    /// time between two mappings, when there are no rings to go on with.
    ///
    /// # Errors
    /// When the storage fails still.
    pub fn reopen_ledger(&mut self) -> Result<Reached, LedgerError> {
        self.limit_waits();
        if self.ledger.recover()? == Reached::NotYet {
            return Ok(Reached::NotYet);
        }
        let bound = self
            .ledger
            .bound()
            .ok_or_else(|| LedgerError::NotALedger(self.ledger.path().to_owned()))?;
        self.feed.resume(bound);
        Ok(Reached::Now)
    }

    /// Answers what was read and only looks, from what is committed; "busy" when that cannot be read.
    pub(crate) fn show(&mut self, lanes: &mut Lanes, now: UnixMillis) {
        self.answer_asks(lanes, now, |ask| ask.what.kind().only_reads());
    }

    /// Answers what was read without writing anything: from what is committed, or "busy".
    pub(crate) fn serve_read_only(&mut self, lanes: &mut Lanes, now: UnixMillis) -> Turn {
        if self.inbox.is_empty() {
            lanes.ring();
            return Turn::Idle;
        }
        self.answer_asks(lanes, now, |_| true);
        Turn::Worked
    }

    /// Answers those asks that were not answered before, without writing anything.
    fn answer_asks(&mut self, lanes: &mut Lanes, now: UnixMillis, which: impl Fn(&Ask) -> bool) {
        let Self {
            ledger,
            judge,
            inbox,
            outage,
            ..
        } = self;
        let mut is_any = false;
        for Incoming { lane, request, .. } in inbox.iter().filter(|incoming| !incoming.is_answered) {
            let Request::Ask(ask) = request else { continue };
            if !which(ask) {
                continue;
            }
            let is_away = ledger.is_away();
            let shown = (ask.what.kind().only_reads() && !is_away).then(|| judge.show(ledger, ask, now));
            let answer = match shown {
                Some(Ok(answer)) => answer,
                unseen => {
                    if let Some(Err(fault)) = unseen
                        && outage.unreadable.begins(now.0)
                    {
                        error!(%fault, "what only looks is answered busy");
                    }
                    judge.busy(ask, is_away)
                }
            };
            lanes.push_answer(*lane, &answer);
            is_any = true;
        }
        if is_any {
            lanes.ring();
        }
    }
}
