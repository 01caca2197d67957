//! `shake-agent close`: the end of the books. It stands in for the agent until nothing can be opened any more, with the ledger's
//! lock and the agent's side of the mapping, and then sends back what nobody won and writes the closing line.
//!
//! ```text
//! serve, release nothing ─▶ nothing can be opened ─▶ gateway's side taken ─▶ rings empty ─▶ proved ─▶ grants taken out
//!   ─▶ CLOSED in one transaction ─▶ closing line settled ─▶ proved again ─▶ mapping removed ─▶ statement
//! ```
//! It may die at any step and be run again: what is done stays done, and a closed ledger is only finished and told again.
//!
//! While it waits, claims and grabs are served as ever, for as long as there is a gateway. A gateway must have ended before the
//! ledger is closed: what it holds could still become a ticket. Its side is then held, and the grants are taken out of the rings
//! before the commit, so that one which starts later has nothing to give that is not there any more.

use super::kind::Kind;
use super::{LOOK_EVERY, Opened, RunError, SETTLE_MAX, Service, bind, open, settle, wait_for_ledger};
use crate::closing::{self, Outlook, Statement, StatementError};
use crate::config::Config;
use crate::counters::Counters;
use crate::crash;
use crate::heartbeat::Heartbeat;
use crate::ledger::{self, Ledger, LedgerError, Sqlite};
use crate::names::Names;
use crate::requests::EXPIRY_GRACE_MS;
use crate::settlement::Worker;
use crate::signals::Stop;
use crate::timekeeper::Timekeeper;
use crate::turn::Agent;
use crate::witness::{self, Keeper, Witness};
use host::clock::{Clock, monotonic_ms};
use shake_proto::handoff::status::AgentStatus;
use shake_proto::handoff::topology::{Ring, shards_of};
use shake_rules::UnixMillis;
use shm_queue::{Attachment, Mapping, Side};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use thiserror::Error;
use tracing::warn;

/// How often it says what it waits for.
const SAY_EVERY: Duration = Duration::from_secs(60);

/// Why a ledger could not be closed, or a closed one not be finished.
#[derive(Debug, Error)]
pub enum CloseError {
    /// What keeps an agent from running as well.
    #[error(transparent)]
    Run(#[from] RunError),
    /// Something is not as it ought to be: then nothing is closed.
    #[error(transparent)]
    Statement(#[from] StatementError),
    /// A gateway came back between the closing and its last step.
    #[error(
        "the ledger is closed, and a gateway runs at {}: nothing that it gives out can be paid. Stop it, and close again", .0.display()
    )]
    GatewayRuns(PathBuf),
}

impl From<LedgerError> for CloseError {
    fn from(error: LedgerError) -> Self {
        Self::Run(error.into())
    }
}

impl From<shm_queue::Error> for CloseError {
    fn from(error: shm_queue::Error) -> Self {
        Self::Run(error.into())
    }
}

impl CloseError {
    /// The program's exit code for it.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Run(error) => error.exit_code(),
            Self::Statement(_) | Self::GatewayRuns(_) => 1,
        }
    }
}

/// What came of it.
#[derive(Debug)]
pub enum Closing {
    /// It is closed.
    Closed(Box<Statement>),
    /// It was asked to end while it waited: nothing is closed, and nothing lost.
    Waiting(Box<Outlook>),
}

/// Closes the ledger, or finishes and tells one that is closed. `say` is told what it waits for.
///
/// # Errors
/// [`CloseError`]; whatever was done by then stays done, and closing again goes on from there.
pub fn close(config: &Config, stop: &Stop, mut say: impl FnMut(&str)) -> Result<Closing, CloseError> {
    if ledger::closed_at(&config.ledger)?.is_some() {
        let ledger = Ledger::open(&config.ledger)?;
        return finish(config, &ledger, None, None).map(|told| Closing::Closed(Box::new(told)));
    }
    let counters = Arc::new(Counters::default());
    let time = Timekeeper::spawn(&config.queue).map_err(RunError::Thread)?;
    let clock = time.clock();
    let waiting = |clock: &Clock| -> Result<Closing, CloseError> {
        Ok(Closing::Waiting(Box::new(closing::outlook(config, clock.now())?)))
    };
    let Some(mut opened) = open::<Sqlite>(config, &counters, clock.now(), stop)? else {
        return waiting(clock);
    };
    opened.agent.pause_feed(true);
    let checkpointer = Sqlite::beside(opened.agent.ledger())?;
    let settlement = settle(config, &counters)?;
    let names = Names::read(config, opened.agent.feed().event());
    let mut end = Ending {
        config,
        clock,
        counters: &counters,
        ticket_lifetime_ms: names.ticket_lifetime_ms,
        settlement: settlement.as_ref(),
        said: None,
        say: &mut say,
    };
    let Some(front) = end.wait(&mut opened, &time, stop)? else {
        return waiting(clock);
    };
    finish_settling(settlement);
    closing::prove(config)?;
    crash::point("close:proved");
    if let Some(front) = &front {
        take_grants(front)?;
    }
    crash::point("close:emptied");
    opened.agent.ledger_mut().close(clock.now())?;
    crash::point("close:closed");
    drop(checkpointer);
    let Opened { agent, witness, .. } = opened;
    let told = finish(config, agent.ledger(), witness, front)?;
    Ok(Closing::Closed(Box::new(told)))
}

/// What is left to do once the ledger is closed. Every step may be done again.
fn finish(
    config: &Config,
    ledger: &Ledger,
    keeper: Option<Keeper>,
    front: Option<Attachment>,
) -> Result<Statement, CloseError> {
    finish_settling(settle(config, &Arc::new(Counters::default()))?);
    crash::point("close:settled");
    let told = closing::statement(config)?;
    ledger.store().checkpoint()?;
    if let Some(keeper) = keeper {
        keeper.note(ledger);
        // It writes the last stamp before the rest is noted.
        drop(keeper);
    }
    if let Some(state) = &config.state {
        Witness::note_closed(&state.join(witness::FILE), ledger).map_err(RunError::from)?;
    }
    remove_mapping(config, ledger, front)?;
    crash::point("close:unmapped");
    Ok(told)
}

/// Settles what the outbox holds. What cannot be settled is found by who compares the file.
fn finish_settling(settlement: Option<Worker>) {
    if let Some(settlement) = settlement {
        settlement.finish(SETTLE_MAX);
    }
}

/// Takes out of the rings what no shard has taken: its packets go back.
fn take_grants(front: &Attachment) -> Result<(), CloseError> {
    let shards = shards_of(front.mapping().geometry().rings.len()).unwrap_or(0);
    for shard in 0..shards {
        let mut grants = front.consumer(Ring::Grant.index(shard))?;
        let read = grants.read_batch(usize::MAX, |_, _| {});
        let taken = grants.commit(grants.read_position());
        if read.is_err() || taken.is_err() {
            // Who finds it so later cannot read it either.
            warn!(shard, "the ring of grants is damaged; it goes with its mapping");
        }
    }
    Ok(())
}

/// Removes the mapping of a closed ledger, while nobody is there. One of another ledger stays.
fn remove_mapping(config: &Config, ledger: &Ledger, front: Option<Attachment>) -> Result<(), CloseError> {
    let mapping = match Mapping::open(&config.queue) {
        Ok(mapping) => mapping,
        Err(shm_queue::Error::NotFound(_)) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let owner = mapping.owner().map(|owner| owner.identity);
    if owner.is_none() || owner != ledger.identity().map(|identity| identity.0) {
        return Ok(());
    }
    let _held = match front {
        Some(front) => front,
        None => match mapping.attach(Side::Front, monotonic_ms()) {
            Ok(front) => front,
            Err(shm_queue::Error::SideTaken { .. }) => return Err(CloseError::GatewayRuns(config.queue.clone())),
            Err(error) => return Err(error.into()),
        },
    };
    Ok(Mapping::remove(&config.queue)?)
}

/// What came of serving one mapping.
enum Served {
    /// Nothing can be opened any more, its rings are empty, and the gateway's side is held.
    Over(Attachment),
    /// The mapping was removed or replaced, or the wait asked to end.
    Interrupted,
}

/// The wait for every end.
struct Ending<'a> {
    config: &'a Config,
    clock: &'a Clock,
    counters: &'a Arc<Counters>,
    ticket_lifetime_ms: u64,
    settlement: Option<&'a Worker>,
    said: Option<Instant>,
    say: &'a mut dyn FnMut(&str),
}

impl Ending<'_> {
    /// Serves until nothing can be opened any more. Gives the gateway's side, where there is a mapping; the outer `None` when
    /// it is asked to end before.
    fn wait(
        &mut self,
        opened: &mut Opened<Sqlite>,
        time: &Timekeeper,
        stop: &Stop,
    ) -> Result<Option<Option<Attachment>>, CloseError> {
        let mut is_without = false;
        while !stop.is_asked() {
            if !wait_for_ledger(&mut opened.agent, stop)? {
                break;
            }
            match Mapping::open(&self.config.queue) {
                Ok(mapping) => {
                    is_without = false;
                    if let Served::Over(front) = self.serve(opened, mapping, time, stop)? {
                        return Ok(Some(Some(front)));
                    }
                }
                Err(shm_queue::Error::NotFound(_)) => {
                    if !is_without {
                        is_without = true;
                        lose_all(&mut opened.agent, self.clock.now())?;
                    }
                    if self.is_over(&opened.agent)? {
                        return Ok(Some(None));
                    }
                    self.tell();
                    if let Err(fault) = opened.agent.turn_without_rings(self.clock.now()) {
                        warn!(%fault, "the ledger cannot be written; it is tried again");
                    }
                    thread::sleep(LOOK_EVERY);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(None)
    }

    /// Serves one mapping.
    fn serve(
        &mut self,
        opened: &mut Opened<Sqlite>,
        mapping: Mapping,
        time: &Timekeeper,
        stop: &Stop,
    ) -> Result<Served, CloseError> {
        let attachment = mapping.attach(Side::Back, monotonic_ms())?;
        time.meet(&mapping);
        let heartbeat = Heartbeat::spawn(attachment.clone(), self.clock.clone()).map_err(RunError::Thread)?;
        let lanes = match bind(&mut opened.agent, &attachment, self.counters, self.clock.now()) {
            Err(fault) if !fault.is_for_a_person() => return Ok(Served::Interrupted),
            bound => bound.map_err(RunError::from)?,
        };
        opened.agent.pause_feed(true);
        let mut service = Service {
            agent: &mut opened.agent,
            follower: &mut opened.follower,
            keys: &mut opened.keys,
            lanes,
            attachment,
            told: AgentStatus::default(),
            heartbeat,
            mapping,
            config: self.config,
            clock: self.clock,
            counters: self.counters,
            settlement: self.settlement,
            witness: opened.witness.as_ref(),
        };
        let mut looked: Option<Instant> = None;
        while !stop.is_asked() {
            service.turn();
            if looked.is_some_and(|at| at.elapsed() < LOOK_EVERY) {
                continue;
            }
            looked = Some(Instant::now());
            if !service.mapping.still_at(&self.config.queue)? {
                return Ok(Served::Interrupted);
            }
            if service.agent.ledger().failure().is_some() {
                continue;
            }
            if self.is_over(service.agent)?
                && let Some(front) = self.take_front(&mut service)?
            {
                return Ok(Served::Over(front));
            }
            self.tell();
        }
        Ok(Served::Interrupted)
    }

    /// Takes the gateway's side and empties the rings. `None` while a gateway lives, or when what stood in them can still be
    /// opened.
    fn take_front(&mut self, service: &mut Service<'_, Sqlite>) -> Result<Option<Attachment>, CloseError> {
        let front = match service.mapping.attach(Side::Front, monotonic_ms()) {
            Ok(front) => front,
            Err(shm_queue::Error::SideTaken { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let ends = service.lanes.ends();
        while !service.lanes.has_done(&ends) {
            service.turn();
            if service.agent.ledger().failure().is_some() {
                return Ok(None);
            }
        }
        let now = self.clock.now();
        for lane in 0..service.lanes.shards() {
            let origin = service.lanes.origin(lane);
            if !origin.is_whole {
                // One of the records that nobody could read may have been that of a ticket.
                let ledger = service.agent.ledger_mut();
                ledger.transaction(now, |batch| {
                    let held = batch.held_of_lane(origin.lane, 0..u64::MAX >> 1)?;
                    batch.lose_packets(&held);
                    Ok(())
                })?;
            }
        }
        Ok(self.is_over(service.agent)?.then_some(front))
    }

    /// Whether nothing can be opened or grabbed any more.
    fn is_over(&self, agent: &Agent) -> Result<bool, LedgerError> {
        let ledger = agent.ledger();
        if ledger.first_due()?.is_some() {
            return Ok(false);
        }
        let lost = ledger.lost_end(self.ticket_lifetime_ms)?;
        Ok(lost.is_none_or(|end| end.plus_ms(EXPIRY_GRACE_MS) <= self.clock.now()))
    }

    fn tell(&mut self) {
        if self.said.is_some_and(|at| at.elapsed() < SAY_EVERY) {
            return;
        }
        self.said = Some(Instant::now());
        // What cannot be read now is told the next time.
        let Ok(outlook) = closing::outlook(self.config, self.clock.now()) else {
            return;
        };
        match outlook.waiting() {
            Some(waiting) => (self.say)(&format!("waiting {waiting}")),
            None => (self.say)("waiting for the gateway to end: `gateway drain` has it end"),
        }
    }
}

/// Without a mapping nobody can say whether there are tickets for what is released.
fn lose_all(agent: &mut Agent, now: UnixMillis) -> Result<(), LedgerError> {
    agent.ledger_mut().transaction(now, |batch| {
        let held = batch.held_of_other_mappings(0)?;
        batch.lose_packets(&held);
        Ok(())
    })
}
