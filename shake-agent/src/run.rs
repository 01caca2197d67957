//! `shake-agent run`: opens everything, waits for the gateway's mapping, serves it, and ends in good order.
//!
//! | thread     | does                                                                  |
//! |------------|-----------------------------------------------------------------------|
//! | main       | the turns: the only one that writes the ledger or touches the rings   |
//! | heartbeat  | tells the gateway that the agent lives                                |
//! | checkpoint | moves the write-ahead log into the ledger's file                      |
//! | signals    | waits for SIGTERM and SIGINT                                          |

use crate::clock;
use crate::config::Config;
use crate::counters::Counters;
use crate::feed::{self, Feed};
use crate::heartbeat::Heartbeat;
use crate::lanes::{Lanes, LanesError};
use crate::ledger::{Ledger, LedgerError};
use crate::requests::Judge;
use crate::seed_file::{SeedFile, SeedFileError};
use crate::signals::Stop;
use crate::turn::{Agent, Turn};
use sd_notify::NotifyState;
use shake_rules::document::Problems;
use shake_rules::keys::{KeyRing, Purpose};
use shake_rules::ticket::TicketKeys;
use shm_queue::{Attachment, Mapping, Side};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use thiserror::Error;
use tracing::{debug, info, warn};

/// How often the agent looks for the mapping while there is none.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How often it says that it still waits.
const SAY_EVERY: Duration = Duration::from_secs(10);
/// The longest sleep without work: a stop is noticed within it.
const SLEEP_MAX: Duration = Duration::from_millis(50);
/// The sleep while replies wait for room in their ring.
const BACKLOG_SLEEP: Duration = Duration::from_millis(5);
/// How often the agent looks whether its mapping was replaced.
const STILL_AT_EVERY: Duration = Duration::from_secs(1);
/// The longest that an ending agent goes on with what the rings held.
const DRAIN_MAX: Duration = Duration::from_secs(10);

/// Why the agent could not run, or not go on.
#[derive(Debug, Error)]
pub enum RunError {
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The seed file.
    #[error(transparent)]
    Seed(#[from] SeedFileError),
    /// The rings.
    #[error(transparent)]
    Lanes(#[from] LanesError),
    /// The mapping.
    #[error(transparent)]
    Queue(#[from] shm_queue::Error),
    /// A key file cannot be read.
    #[error("cannot read {}: {source}; make it with `certs generate`, or give [certs] directory the right place", path.display())]
    KeyFile {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A key file is wrong.
    #[error("{}: {problems}", path.display())]
    Keys {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problems: Problems,
    },
    /// A thread cannot be started.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
}

/// Runs until it is asked to end.
///
/// # Errors
/// [`RunError`]; also when it ends in good order but the ledger had failed.
pub fn run(config: &Config, stop: &Stop) -> Result<(), RunError> {
    let counters = Arc::new(Counters::default());
    let mut agent = open(config, &counters)?;
    let checkpointer = agent.ledger().checkpointer()?;
    // Before there is a gateway: units that start after this one must not wait for each other.
    notify(NotifyState::Ready);
    while let Some(mapping) = wait_for_mapping(&config.queue, stop)? {
        let attachment = mapping.attach(Side::Back, clock::monotonic_ms())?;
        let heartbeat = Heartbeat::spawn(attachment.clone()).map_err(RunError::Thread)?;
        let lanes = bind(&mut agent, &attachment, &counters)?;
        let mut service = Service {
            agent: &mut agent,
            lanes,
            heartbeat,
            mapping,
            config,
            counters: &counters,
        };
        service.serve(stop)?;
        service.drain();
    }
    notify(NotifyState::Stopping);
    drop(checkpointer);
    if let Some(reason) = agent.ledger().failure() {
        return Err(LedgerError::Failed(reason.to_owned()).into());
    }
    agent.ledger().checkpoint()?;
    log_status(&agent, &counters);
    info!("ended in good order");
    Ok(())
}

fn open(config: &Config, counters: &Arc<Counters>) -> Result<Agent, RunError> {
    let tickets = read_ticket_keys(&config.certs)?;
    let seed = SeedFile::open(&config.seed)?;
    let mut ledger = Ledger::open(&config.ledger)?;
    let header = *seed.header();
    info!(
        ledger = %config.ledger.display(), seed = %config.seed.display(),
        event = header.event.0, packets = header.count, cents = header.total.0, "opened"
    );
    let next_index = ledger.bind_seed(&seed, clock::now())?;
    let feed = Feed::new(seed, next_index, config.grants_in_hand);
    info!(
        unreleased = feed.unreleased(),
        "the feed goes on at record {next_index}"
    );
    let judge = Judge::new(header.event, tickets, Arc::clone(counters));
    Ok(Agent::new(
        ledger,
        feed,
        judge,
        Arc::clone(counters),
        config.batch_max as usize,
    ))
}

fn read_ticket_keys(directory: &Path) -> Result<TicketKeys, RunError> {
    let path = directory.join(Purpose::Ticket.file_name());
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(source) => return Err(RunError::KeyFile { path, source }),
    };
    match KeyRing::parse(&text, Purpose::Ticket) {
        Ok(ring) => Ok(TicketKeys::new(&ring)),
        Err(problems) => Err(RunError::Keys { path, problems }),
    }
}

/// The mapping, as soon as there is one; `None` when the agent is asked to end before.
fn wait_for_mapping(path: &Path, stop: &Stop) -> Result<Option<Mapping>, RunError> {
    let mut said: Option<Instant> = None;
    while !stop.is_asked() {
        match Mapping::open(path) {
            Ok(mapping) => return Ok(Some(mapping)),
            Err(shm_queue::Error::NotFound(_)) => {}
            Err(error) => return Err(error.into()),
        }
        if said.is_none_or(|at| at.elapsed() >= SAY_EVERY) {
            said = Some(Instant::now());
            info!(path = %path.display(), "waiting for the gateway to make its mapping; start the gateway if it is not running");
        }
        thread::sleep(LOOK_EVERY);
    }
    Ok(None)
}

fn bind(agent: &mut Agent, attachment: &Attachment, counters: &Arc<Counters>) -> Result<Lanes, RunError> {
    let event = agent.feed().event();
    let ledger = agent.ledger_mut();
    let mut lanes = Lanes::open(attachment, ledger, Arc::clone(counters), clock::now())?;
    feed::recover(ledger, &mut lanes, event, counters, clock::now())?;
    agent.pause_feed(false);
    let instance = format!("{:016x}", lanes.instance());
    info!(
        shards = lanes.shards(),
        epoch = attachment.epoch(),
        instance,
        "attached to the gateway's mapping"
    );
    Ok(lanes)
}

/// One mapping being served.
struct Service<'a> {
    agent: &'a mut Agent,
    lanes: Lanes,
    heartbeat: Heartbeat,
    mapping: Mapping,
    config: &'a Config,
    counters: &'a Counters,
}

impl Service<'_> {
    /// Does turns until the agent is asked to end or the mapping was replaced.
    fn serve(&mut self, stop: &Stop) -> Result<(), RunError> {
        let (mut looked, mut reported) = (Instant::now(), Instant::now());
        while !stop.is_asked() {
            self.turn();
            if looked.elapsed() >= STILL_AT_EVERY {
                looked = Instant::now();
                if !self.mapping.still_at(&self.config.queue)? {
                    warn!(path = %self.config.queue.display(), "the mapping was removed or replaced");
                    return Ok(());
                }
            }
            if reported.elapsed() >= self.config.status_every {
                reported = Instant::now();
                log_status(self.agent, self.counters);
            }
        }
        Ok(())
    }

    fn turn(&mut self) {
        self.heartbeat.progress(clock::monotonic_ms());
        match self.agent.turn(&mut self.lanes, clock::now()) {
            Turn::Worked => {}
            Turn::Idle => self.lanes.sleep(SLEEP_MAX),
            Turn::Waiting => self.lanes.sleep(BACKLOG_SLEEP),
        }
    }

    /// Goes on with what the rings hold at this moment; what comes later waits in them for the next start.
    fn drain(&mut self) {
        self.agent.pause_feed(true);
        let (ends, begun) = (self.lanes.ends(), Instant::now());
        while !self.lanes.has_read(&ends) && begun.elapsed() < DRAIN_MAX {
            self.turn();
        }
        // What was read last is committed: a turn reads and commits.
        debug!(took_ms = begun.elapsed().as_millis() as u64, "drained");
    }
}

fn log_status(agent: &Agent, counters: &Counters) {
    let counted: Vec<String> = counters
        .all()
        .into_iter()
        .filter(|(_, n)| *n > 0)
        .map(|(name, n)| format!("{name}={n}"))
        .collect();
    info!(
        unreleased = agent.feed().unreleased(),
        wal_mib = agent.ledger().wal().bytes() >> 20,
        commit_us_max = counters.commit_us_max.take(),
        refusing = agent.ledger().failure().is_some(),
        "status: {}",
        counted.join(" ")
    );
}

/// Tells a service manager, where there is one.
fn notify(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        warn!(%error, "cannot tell the service manager");
    }
}
