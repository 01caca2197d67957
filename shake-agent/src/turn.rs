//! One turn of the agent: take what the rings hold, decide, commit once, move the cursors, answer, grant, show.
//!
//! The order is what makes it safe to die at any step (the crash tests kill it at each):
//!
//! ```text
//! read ─▶ effects, expiries, cursors, releases in ONE transaction ─▶ COMMIT ─▶ ring cursors ─▶ replies, notices ─▶ bells ─▶ grants ─▶ bells
//!   die: read again                                          die: handled again, same answers        die: pushed again
//! ```
//! What only looks (view, wallet, offers) comes last, from what is committed, and holds up nobody's money.
//!
//! When the commit fails, none of what stands behind it is done, and the ledger is read-only until a commit works again
//! ([`Agent::turn`] tries each second): see [`outage`](crate::outage).

use crate::counters::Counters;
use crate::crash;
use crate::feed::{Feed, Plan};
use crate::gifts::Gifts;
use crate::lanes::{Incoming, Lanes};
use crate::ledger::{Batch, LaneRecord, Ledger, LedgerError, Needed, SPAN_OVER_MS, Sqlite, Store};
use crate::outage::Outage;
use crate::pace::Pace;
use crate::requests::{Answer, EXPIRE_MAX, Judge, Rules};
use crate::sweep::{ASKED_MS, Sweep};
use crate::waiting;
use shake_rules::UnixMillis;
use shake_rules::keys::KeyRing;
use shake_rules::show::Show;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// What a turn found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// There was work; there may be more.
    Worked,
    /// There was nothing to do.
    Idle,
    /// There was nothing to do, but replies wait for room in their ring, or requests for another writer of the ledger.
    Waiting,
}

/// The agent: the ledger, the feed, and the judgement of requests. The rings come from outside, because the mapping may be
/// replaced while it lives.
#[derive(Debug)]
pub struct Agent<S = Sqlite> {
    pub(crate) ledger: Ledger<S>,
    pub(crate) feed: Feed,
    pub(crate) judge: Judge,
    pub(crate) counters: Arc<Counters>,
    pub(crate) outage: Outage,
    pub(crate) inbox: Vec<Incoming>,
    batch_max: usize,
    pub(crate) answers: Vec<(usize, Answer)>,
    /// When it was last looked for what is overdue.
    pub(crate) expiry_looked: UnixMillis,
    /// The rings of this turn were read to their ends.
    is_read_whole: bool,
    pub(crate) sweeping: Sweep,
    /// Of the last transaction of a turn.
    pace: Option<Pace>,
    pub(crate) gifts: Gifts,
}

/// The most that lies between two commits while anything is out, or others look, in milliseconds.
const COMMIT_AT_LEAST_EVERY_MS: u64 = 500;
/// How often a commit is tried in one turn when another writer stands in the way, and the longest pause between, in milliseconds.
const TRIES_MAX: u32 = 4;
const AGAIN_MS_MAX: u64 = 10;

const _: () = assert!(2 * COMMIT_AT_LEAST_EVERY_MS <= SPAN_OVER_MS);

impl<S: Store> Agent<S> {
    /// An agent that takes at most `batch_max` requests into one commit.
    #[must_use]
    pub fn new(ledger: Ledger<S>, feed: Feed, judge: Judge, counters: Arc<Counters>, batch_max: usize) -> Self {
        Self {
            ledger,
            feed,
            judge,
            counters,
            batch_max,
            outage: Outage::default(),
            inbox: Vec::with_capacity(batch_max),
            answers: Vec::with_capacity(batch_max),
            expiry_looked: UnixMillis(0),
            pace: None,
            is_read_whole: false,
            sweeping: Sweep::default(),
            gifts: Gifts::default(),
        }
    }

    /// The ledger.
    #[must_use]
    pub fn ledger(&self) -> &Ledger<S> {
        &self.ledger
    }

    /// Whether the last turn took all that one commit may hold: there is more, and it should not wait.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        self.inbox.len() >= self.batch_max
    }

    /// How long the next turn is to wait, so that a server that many agents share is not asked too often: from one transaction to
    /// the next it is twice what the last one took, `every` at the least, and 250 ms at the most.
    #[must_use]
    pub fn rest(&self, every: Duration) -> Duration {
        self.pace.map_or(Duration::ZERO, |pace| pace.rest(every))
    }

    /// The ledger, to bind rings to it.
    pub fn ledger_mut(&mut self) -> &mut Ledger<S> {
        &mut self.ledger
    }

    /// The feed.
    #[must_use]
    pub fn feed(&self) -> &Feed {
        &self.feed
    }

    /// Pauses the feed, or lets it go on.
    pub fn pause_feed(&mut self, paused: bool) {
        self.feed.pause(paused);
    }

    /// Goes by another show of the same event from the next turn on. A larger gift budget is funded; a smaller one takes
    /// nothing back.
    ///
    /// # Errors
    /// When the ledger cannot be written; then nothing changes.
    pub fn take_show(&mut self, show: &Show, now: UnixMillis) -> Result<(), LedgerError> {
        self.limit_waits();
        self.ledger.bind_seed(self.feed.seed(), show.gift_budget, now)?;
        self.judge.rules = Rules::new(show, self.judge.rules.part);
        self.feed.take_phases(show.phases.clone());
        Ok(())
    }

    /// Goes by other ticket keys from the next turn on.
    pub fn take_keys(&mut self, ticket_keys: &KeyRing) {
        self.judge.take_keys(ticket_keys);
    }

    /// Does one turn.
    pub fn turn(&mut self, lanes: &mut Lanes, now: UnixMillis) -> Turn {
        self.limit_waits();
        let turn = self.serve(lanes, now);
        self.sweep(now);
        turn
    }

    fn serve(&mut self, lanes: &mut Lanes, now: UnixMillis) -> Turn {
        let backlog = lanes.push_backlog();
        self.inbox.clear();
        self.answers.clear();
        let is_read_only = self.ledger.failure().is_some() && !self.try_to_leave_outage(lanes, now);
        lanes.read(self.batch_max, now, &mut self.inbox);
        self.is_read_whole = !self.is_behind();
        if is_read_only {
            return self.serve_read_only(lanes, now);
        }
        waiting::put_back(&mut self.inbox, &self.judge, lanes, now);
        let plan = self.feed.plan(lanes, self.batch_max, now, &self.counters);
        let expires = !self.ledger.is_shared() && self.overdue(now).is_some();
        // What was passed over moves a cursor, too; and what is put back may keep one where it is.
        let is_read = !self.inbox.is_empty() || lanes.moved().next().is_some();
        let is_work = is_read || !plan.releases.is_empty() || expires;
        if !is_work && !self.must_commit(now) {
            lanes.ring();
            let waits = backlog || lanes.holds_back();
            return if waits { Turn::Waiting } else { Turn::Idle };
        }
        crash::point("turn:read");
        let begun = Instant::now();
        let moved = match self.commit(lanes, &plan, expires, now) {
            Ok(moved) => moved,
            Err(fault) => {
                lanes.take_back(&mut self.inbox);
                let Err(fault) = self.commit_apart(lanes, &plan, fault, now) else {
                    return Turn::Worked;
                };
                self.ledger.refuse_writes(fault.to_string());
                self.enter_outage(fault, now);
                return self.serve_read_only(lanes, now);
            }
        };
        self.pace = Some(Pace::since(begun));
        self.counters.commit_us_max.raise(begun.elapsed().as_micros() as u64);
        // All that was read waits for another writer.
        let is_done = !moved.is_empty() || !self.answers.is_empty() || !plan.releases.is_empty() || expires;
        self.committed(lanes, &moved);
        self.feed.released(plan, lanes, &self.counters);
        lanes.ring();
        crash::point("turn:granted");
        self.show(lanes, now);
        match (is_work, is_done, backlog) {
            (true, true, _) => Turn::Worked,
            (true, false, _) | (false, _, true) => Turn::Waiting,
            (false, _, false) => Turn::Idle,
        }
    }

    /// Moves the rings' cursors after a commit, and answers.
    pub(crate) fn committed(&mut self, lanes: &mut Lanes, moved: &[(usize, LaneRecord)]) {
        self.counters.commits.add(1);
        crash::point("turn:committed");
        lanes
            .set_stamp(self.ledger.stamp())
            .expect("an agent's lanes are of the back side");
        lanes.commit(moved);
        crash::point("turn:cursor-moved");
        for (lane, answer) in self.answers.drain(..) {
            lanes.push_answer(lane, &answer);
        }
        lanes.ring();
        crash::point("turn:replied");
        for (sponsor, seed_index) in self.judge.taken_back() {
            self.feed.take_back(sponsor, seed_index);
        }
    }

    /// What a turn does when there are no rings: sends back what is overdue, and commits while anything is out. That the
    /// gateway is away holds up nothing.
    ///
    /// # Errors
    /// When the ledger cannot be written; it is read-only then until [`Agent::reopen_ledger`].
    pub fn turn_without_rings(&mut self, now: UnixMillis) -> Result<(), LedgerError> {
        self.limit_waits();
        self.inbox.clear();
        let is_shared = self.ledger.is_shared();
        let expires = !is_shared && self.overdue(now).is_some();
        if expires || self.must_commit(now) {
            let Self { ledger, judge, .. } = self;
            ledger.transaction(now, |batch| {
                if expires {
                    judge.expire(batch, now)?;
                }
                if is_shared {
                    // No gateway, no questions.
                    batch.note_answered(UnixMillis(now.0.saturating_sub(ASKED_MS)));
                }
                Ok(())
            })?;
        }
        self.sweep(now);
        Ok(())
    }

    /// Whether there must be a commit though nothing is to be written: or this time would count as one in which nothing
    /// could be, and what is out would live on for it. Others of a ledger see by it that this agent lives.
    fn must_commit(&self, now: UnixMillis) -> bool {
        let last = self.ledger.last_commit();
        let is_late = now < last || now.since_ms(last) >= COMMIT_AT_LEAST_EVERY_MS;
        // What cannot be read is told by the write.
        is_late && (self.ledger.is_shared() || self.ledger.are_out().unwrap_or(true))
    }

    /// Commits what was read and what is to be released; once more, and again, when another writer of the ledger stood in the way.
    /// Gives the lanes whose cursors move by it.
    fn commit(
        &mut self,
        lanes: &mut Lanes,
        plan: &Plan,
        expires: bool,
        now: UnixMillis,
    ) -> Result<Vec<(usize, LaneRecord)>, LedgerError> {
        let mut tries = 1;
        loop {
            let drawn = self.keep_gifts_in_hand(now);
            match drawn.and_then(|()| self.try_commit(lanes, plan, expires, now)) {
                Err(fault) if fault.is_conflict() && tries < TRIES_MAX => {
                    tries += 1;
                    self.counters.commits_again.add(1);
                    lanes.take_back(&mut self.inbox);
                    self.answers.clear();
                    // Two that met once meet again when both wait equally long.
                    thread::sleep(Duration::from_millis(rand::random_range(1..=AGAIN_MS_MAX)));
                }
                done => return done,
            }
        }
    }

    pub(crate) fn try_commit(
        &mut self,
        lanes: &mut Lanes,
        plan: &Plan,
        expires: bool,
        now: UnixMillis,
    ) -> Result<Vec<(usize, LaneRecord)>, LedgerError> {
        let says_answered = self.ledger.is_shared() && self.is_read_whole;
        let Self {
            ledger,
            judge,
            inbox,
            answers,
            expiry_looked,
            ..
        } = self;
        ledger.transaction(now, |batch| {
            let requests = inbox.iter().enumerate();
            let requests = requests.map(|(at, incoming)| (at, lanes.origin(incoming.lane), &incoming.request));
            // Before anything that another writer may want: see `hear`.
            load_again(batch, plan)?;
            let waits = judge.hear(batch, requests, now, answers)?;
            for (at, answer) in answers.iter_mut() {
                let incoming = &inbox[*at];
                if incoming.is_answered {
                    answer.reply = None;
                }
                *at = incoming.lane;
            }
            waiting::put_off(&waits, inbox, judge, lanes, answers, now);
            if says_answered && !lanes.holds_back() {
                batch.note_answered(UnixMillis(now.0.saturating_sub(ASKED_MS)));
            }
            if expires && judge.expire(batch, now)? == EXPIRE_MAX {
                // There may be more: look again in the next turn.
                *expiry_looked = UnixMillis(0);
            }
            if !plan.releases.is_empty() {
                batch.release(plan.which(false));
                batch.release_again(plan.which(true));
            }
            let moved: Vec<_> = lanes.moved().collect();
            for record in records_to_store(lanes, &moved, plan) {
                batch.store_lane(&record);
            }
            Ok(moved)
        })
    }
}

/// Reads the packets that are to be released again.
fn load_again<S: Store>(batch: &mut Batch<'_, S>, plan: &Plan) -> Result<(), LedgerError> {
    let mut packets: Vec<_> = plan.which(true).map(|release| release.record.packet).collect();
    if packets.is_empty() {
        return Ok(());
    }
    packets.sort_unstable();
    batch.load(&Needed {
        packets,
        ..Needed::default()
    })
}

/// The records of the lanes that change in this transaction: by what was read, or by what is released.
fn records_to_store(lanes: &Lanes, moved: &[(usize, LaneRecord)], plan: &Plan) -> Vec<LaneRecord> {
    let mut records: Vec<_> = (0..lanes.shards()).map(|index| (lanes.record(index), false)).collect();
    for &(index, record) in moved {
        records[index] = (record, true);
    }
    for planned in &plan.releases {
        let (record, is_changed) = &mut records[planned.lane];
        record.grants_released = planned.release.grant_position + 1;
        *is_changed = true;
    }
    records
        .into_iter()
        .filter_map(|(record, changed)| changed.then_some(record))
        .collect()
}
