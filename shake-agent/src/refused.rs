//! A batch that the ledger's server refuses, and would again: a row that breaks a constraint, a number that does not fit. It is halved
//! until one record fails alone. That one is put aside, in the server's table `refused` and by name in the log; an ask is answered
//! busy, and the cursor passes. All others take effect.
//!
//! Never put aside is what says what became of packets, `Issued` and `ShardStarted`: then the agent ends.

use crate::feed::Plan;
use crate::lanes::{Incoming, Lanes, Place};
use crate::ledger::{LedgerError, RefusedRow, Store};
use crate::turn::Agent;
use data_encoding::HEXLOWER;
use shake_proto::handoff::record::Request;
use shake_rules::UnixMillis;
use tracing::error;

/// The most transactions of one turn. What is left then waits for the next.
const TRIES_MAX: usize = 64;

impl<S: Store> Agent<S> {
    /// Commits what was read without what the ledger refuses, where `fault` says that it does.
    ///
    /// # Errors
    /// `fault`, when it says something else, or when not even a transaction without records works; or another failure. What is not
    /// committed then is in the inbox.
    pub(crate) fn commit_apart(
        &mut self,
        lanes: &mut Lanes,
        plan: &Plan,
        fault: LedgerError,
        now: UnixMillis,
    ) -> Result<(), LedgerError> {
        if !fault.is_of_content() {
            return Err(fault);
        }
        self.answers.clear();
        self.ledger.transaction(now, |_| Ok(()))?;
        if self.inbox.is_empty() {
            // Ids of its seed are another part's, or a sum does not fit: that stops the feed alone.
            if plan.releases.is_empty() {
                return Err(fault);
            }
            self.feed.refuse(&fault, &self.counters);
            return Ok(());
        }
        let mut pieces = vec![self.inbox.iter().map(Incoming::place).collect()];
        self.put_all_back(lanes, now);
        let outcome = self.commit_pieces(lanes, &mut pieces, now);
        if outcome.is_err() {
            lanes.take_back(&mut self.inbox);
        }
        outcome
    }

    /// Each piece in a transaction of its own; in halves where it is refused. What is not of the piece at hand waits in the lanes, so
    /// that cursors stay before it.
    fn commit_pieces(
        &mut self,
        lanes: &mut Lanes,
        pieces: &mut Vec<Vec<Place>>,
        now: UnixMillis,
    ) -> Result<(), LedgerError> {
        for _ in 0..TRIES_MAX {
            let Some(mut piece) = pieces.pop() else { break };
            self.limit_waits();
            self.inbox.clear();
            lanes.take_out(&piece, &mut self.inbox);
            match self.try_commit(lanes, &Plan::default(), false, now) {
                Ok(moved) => {
                    self.committed(lanes, &moved);
                    self.show(lanes, now);
                }
                Err(fault) if fault.is_of_content() => {
                    self.answers.clear();
                    match (piece.len(), self.inbox.pop()) {
                        (1, Some(incoming)) => self.put_aside(lanes, incoming, &fault, now)?,
                        (_, last) => {
                            self.inbox.extend(last);
                            self.put_all_back(lanes, now);
                            let second = piece.split_off(piece.len() / 2);
                            pieces.extend([second, piece].into_iter().filter(|half| !half.is_empty()));
                        }
                    }
                }
                Err(fault) => {
                    self.answers.clear();
                    self.put_all_back(lanes, now);
                    // One that met another writer is tried with the next batch.
                    return if fault.is_conflict() { Ok(()) } else { Err(fault) };
                }
            }
        }
        Ok(())
    }

    fn put_all_back(&mut self, lanes: &mut Lanes, now: UnixMillis) {
        self.inbox.drain(..).for_each(|incoming| lanes.put_back(incoming, now));
    }

    /// Notes a record that is refused when it comes alone; the cursor passes it.
    fn put_aside(
        &mut self,
        lanes: &mut Lanes,
        incoming: Incoming,
        fault: &LedgerError,
        now: UnixMillis,
    ) -> Result<(), LedgerError> {
        let mut record = Vec::new();
        incoming.request.encode(&mut record);
        let (name, bytes) = (name(&incoming.request), HEXLOWER.encode(&record));
        if matches!(incoming.request, Request::Issued(_) | Request::ShardStarted { .. }) {
            lanes.put_back(incoming, now);
            return Err(LedgerError::Unwritable {
                place: self.ledger.path().to_owned(),
                record: format!("{name} ({bytes})"),
                reason: fault.to_string(),
            });
        }
        error!(
            %fault, shard = incoming.lane, position = incoming.position, record = name, bytes,
            "the ledger refuses a record each time; it is put aside in the table refused, and nothing comes of it"
        );
        self.counters.records_refused.add(1);
        let refused = RefusedRow {
            mapping: lanes.instance(),
            shard: incoming.lane as u16,
            position: incoming.position,
            record,
            reason: fault.to_string(),
        };
        let moved: Vec<_> = lanes.moved().collect();
        self.ledger.transaction(now, |batch| {
            batch.put_aside(refused);
            moved.iter().for_each(|(_, record)| batch.store_lane(record));
            Ok(())
        })?;
        if let Request::Ask(ask) = &incoming.request
            && !incoming.is_answered
        {
            self.answers.push((incoming.lane, self.judge.busy(ask, false)));
        }
        // Of what was heard nothing came.
        drop(self.judge.taken_back());
        self.committed(lanes, &moved);
        Ok(())
    }
}

fn name(request: &Request) -> &'static str {
    match request {
        Request::ShardStarted { .. } => "shard_started",
        Request::Issued(_) => "issued",
        Request::Returned(_) => "returned",
        Request::Gift(_) => "gift",
        Request::Ask(ask) => ask.what.kind().name(),
    }
}
