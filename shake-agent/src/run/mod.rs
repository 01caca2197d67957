//! `shake-agent run`: opens everything, waits for the gateway's mapping, serves it, and ends in good order.
//!
//! | thread     | does                                                                  |
//! |------------|-----------------------------------------------------------------------|
//! | main       | the turns: the only one that writes the ledger or touches the rings   |
//! | timekeeper | keeps the steady clock                                                |
//! | heartbeat  | tells the gateway that the agent lives, and its clock                 |
//! | checkpoint | moves the write-ahead log into the ledger's file                      |
//! | settlement | copies lines from the ledger to the settlement file                   |
//! | witness    | writes how many commits the ledger has into the state directory       |
//! | abuse      | takes what the shards tell of their users, and sends them blocks      |
//! | signals    | waits for SIGTERM and SIGINT                                          |

mod close;
mod error;
mod kind;
mod service;
mod start;

pub use close::{CloseError, Closing, close};
pub use error::{EXIT_REFUSED, RunError};
pub(crate) use start::{mapping_vouches, witness_vouches};

use crate::abuse::{Abuse, Watch};
use crate::config::{Config, DEFAULT_SHOW};
use crate::counters::Counters;
use crate::feed::Feed;
use crate::follow::{Follower, KeyFollower};
use crate::heartbeat::Heartbeat;
use crate::lanes::{Lanes, LanesError};
use crate::ledger::{Ledger, LedgerError, Postgres, Sqlite, Store};
use crate::outage::TRY_EVERY_MS;
use crate::requests::{Judge, Rules};
use crate::seed_file::SeedFile;
use crate::settlement::{FileTarget, Worker};
use crate::signals::Stop;
use crate::timekeeper::Timekeeper;
use crate::turn::Agent;
use crate::witness::Keeper;
use host::clock::{Clock, monotonic_ms};
use kind::Kind;
use rand::SeedableRng;
use rand::rngs::StdRng;
use sd_notify::NotifyState;
use service::{Service, log_status};
use shake_proto::handoff::status::AgentStatus;
use shake_rules::UnixMillis;
use shake_rules::keys::{KeyRing, Purpose};
use shake_rules::seed::SeedHeader;
use shake_rules::show::Show;
use shm_queue::{Attachment, Mapping, Side};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};
use tracing::{debug, error, info, warn};

/// How often the agent looks for the mapping while there is none.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How often it says that it still waits.
const SAY_EVERY: Duration = Duration::from_secs(10);
/// The longest sleep without work: a stop is noticed within it.
const SLEEP_MAX: Duration = Duration::from_millis(50);
/// How often the agent looks whether its mapping was replaced.
const STILL_AT_EVERY: Duration = Duration::from_secs(1);
/// The longest that an ending agent goes on to settle lines; what is left is settled after the next start.
const SETTLE_MAX: Duration = Duration::from_secs(5);

/// Runs until it is asked to end.
///
/// # Errors
/// [`RunError`]; also when it ends in good order but the ledger had failed.
pub fn run(config: &Config, stop: &Stop) -> Result<(), RunError> {
    match &config.server {
        None => run_on::<Sqlite>(config, stop),
        Some(_) => run_on::<Postgres>(config, stop),
    }
}

fn run_on<K: Kind>(config: &Config, stop: &Stop) -> Result<(), RunError> {
    let counters = Arc::new(Counters::default());
    let time = Timekeeper::spawn(&config.queue).map_err(RunError::Thread)?;
    let clock = time.clock();
    let Some(opened) = open::<K>(config, &counters, clock.now(), stop)? else {
        return Ok(());
    };
    let Opened {
        mut agent,
        mut follower,
        mut keys,
        witness,
        header,
    } = opened;
    let beside = K::beside(agent.ledger())?;
    let settlement = settle(config, &counters)?;
    let abuse = Abuse::open(
        config.abuse.clone(),
        config.blocks.clone(),
        Arc::clone(&counters),
        clock.now(),
    );
    let abuse = Arc::new(Mutex::new(abuse));
    // Before there is a gateway: units that start after this one must not wait for each other.
    notify(NotifyState::Ready);
    while let Some(mapping) = wait_for_mapping(&config.queue, &mut agent, clock, stop)? {
        if !wait_for_ledger(&mut agent, stop)? {
            break;
        }
        let attachment = mapping.attach(Side::Back, monotonic_ms())?;
        time.meet(&mapping);
        let heartbeat = Heartbeat::spawn(attachment.clone(), clock.clone()).map_err(RunError::Thread)?;
        let now = agent.time(clock.now());
        let lanes = match bind(&mut agent, &attachment, &counters, now) {
            Err(fault) if !fault.is_for_a_person() => {
                warn!(%fault, "the ledger cannot be written; the rings wait");
                continue;
            }
            bound => bound.map_err(|fault| start::halt(config, agent.ledger(), &header, fault.into()))?,
        };
        let _watch = Watch::spawn(&attachment, Arc::clone(&abuse), clock.clone()).map_err(RunError::Thread)?;
        let mut service = Service {
            agent: &mut agent,
            follower: &mut follower,
            keys: &mut keys,
            lanes,
            attachment,
            told: AgentStatus::default(),
            heartbeat,
            mapping,
            config,
            clock,
            counters: &counters,
            settlement: settlement.as_ref(),
            witness: witness.as_ref(),
        };
        let served = service.serve(stop)?;
        service.drain(served, stop);
        let now = agent.time(clock.now());
        // Until there is a gateway again others can give it.
        if agent.ledger().failure().is_none()
            && let Err(fault) = agent.ledger_mut().put_gifts_back(now)
        {
            warn!(%fault, "what was drawn for gifts stays in hand");
        }
    }
    notify(NotifyState::Stopping);
    if let Some(settlement) = settlement {
        settlement.finish(SETTLE_MAX);
    }
    drop(beside);
    if let Some(reason) = agent.ledger().failure() {
        return Err(LedgerError::Failed(reason.to_owned()).into());
    }
    let now = agent.time(clock.now());
    agent.ledger_mut().put_gifts_back(now)?;
    agent.ledger().store().end()?;
    if let Some(witness) = witness {
        witness.note(agent.ledger());
    }
    log_status(&agent, &counters, None);
    info!("ended in good order");
    Ok(())
}

/// What a run begins with.
struct Opened<K> {
    agent: Agent<K>,
    follower: Follower,
    keys: KeyFollower,
    witness: Option<Keeper>,
    header: SeedHeader,
}

/// Opens everything; `None` when the agent is asked to end while it waits for the settlement target.
fn open<K: Kind>(
    config: &Config,
    counters: &Arc<Counters>,
    now: UnixMillis,
    stop: &Stop,
) -> Result<Option<Opened<K>>, RunError> {
    let keys = read_ticket_keys(&config.certs)?;
    let seed = SeedFile::open(&config.seed)?;
    let header = *seed.header();
    let show = read_show(config, now)?;
    check_event(config, &show, &header)?;
    let mut ledger = Ledger::on(K::open(config, &header)?)?;
    if let Some(machine) = &config.machine {
        ledger.write_as(machine);
    }
    if let Some(at) = ledger.closed() {
        let path = ledger.path().to_owned();
        return Err(LedgerError::Closed { path, at }.into());
    }
    info!(
        ledger = %ledger.path().display(), seed = %config.seed.display(),
        event = header.event.0, packets = header.count, cents = header.total.0, "opened"
    );
    // Before anything is written to it.
    let asked = start::ask_witnesses(config, &ledger, &header, stop);
    let Some(standing) = asked.map_err(|fault| start::halt(config, &ledger, &header, fault))? else {
        return Ok(None);
    };
    let bound = ledger.bind_seed(&seed, show.gift_budget, now)?;
    start::begin(config, &mut ledger, standing, now)?;
    let witness = start::keep_witness(config, &ledger, &header)?;
    if show.gift_budget < bound.gift_budget {
        let funded = bound.gift_budget.0;
        warn!(
            funded,
            "the show's gift budget is below what the event was funded with before, which stays"
        );
    }
    let rules = Rules::new(&show, header.part);
    let feed = Feed::new(seed, &bound, show.phases.clone(), config.grants_in_hand);
    let feed = feed.lasting(K::GRANTS_LAST);
    for sponsor in feed.sponsors_without_phase() {
        warn!(
            sponsor = sponsor.0,
            "no phase of the show has this sponsor: its packets stay in the seed"
        );
    }
    info!(unreleased = feed.unreleased(), "the feed is ready");
    let rng = StdRng::from_rng(&mut rand::rng());
    let identity = bound
        .identity
        .ok_or_else(|| LedgerError::NotALedger(ledger.path().to_owned()))?;
    let judge = Judge::new(rules, identity, &keys, rng, Arc::clone(counters));
    let batch_max = config.batch_max as usize;
    let agent = Agent::new(ledger, feed, judge, Arc::clone(counters), batch_max);
    let follower = Follower::new(config.state.as_deref(), show);
    Ok(Some(Opened {
        agent,
        follower,
        keys: KeyFollower::new(&config.certs, keys),
        witness,
        header,
    }))
}

/// Show and seed must be of one event.
pub(crate) fn check_event(config: &Config, show: &Show, header: &SeedHeader) -> Result<(), RunError> {
    if show.event == header.event {
        return Ok(());
    }
    Err(RunError::OtherEvent {
        path: show_name(config),
        show: show.event,
        seed_path: config.seed.clone(),
        seed: header.event,
    })
}

pub(crate) fn read_ticket_keys(directory: &Path) -> Result<KeyRing, RunError> {
    let path = directory.join(Purpose::Ticket.file_name());
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(source) => return Err(RunError::KeyFile { path, source }),
    };
    KeyRing::parse(&text, Purpose::Ticket).map_err(|problems| RunError::Keys { path, problems })
}

/// What messages call the show.
fn show_name(config: &Config) -> PathBuf {
    if config.show.as_os_str().is_empty() {
        PathBuf::from("(built in)")
    } else {
        config.show.clone()
    }
}

pub(crate) fn read_show(config: &Config, now: UnixMillis) -> Result<Show, RunError> {
    let path = show_name(config);
    let text = if config.show.as_os_str().is_empty() {
        DEFAULT_SHOW.to_owned()
    } else {
        match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(source) => return Err(RunError::ShowFile { path, source }),
        }
    };
    Show::parse(&text, now).map_err(|problems| RunError::Show { path, problems })
}

/// Starts to settle lines, where the configuration says so.
fn settle(config: &Config, counters: &Arc<Counters>) -> Result<Option<Worker>, RunError> {
    let Some(file) = config.settlement.clone() else {
        return Ok(None);
    };
    let target = move |identity| FileTarget::new(file.clone(), identity);
    Worker::spawn(config.ledger.clone(), target, Arc::clone(counters))
        .map(Some)
        .map_err(RunError::Thread)
}

/// The mapping, as soon as there is one; `None` when the agent is asked to end before. Meanwhile what is overdue goes back.
fn wait_for_mapping<S: Store>(
    path: &Path,
    agent: &mut Agent<S>,
    clock: &Clock,
    stop: &Stop,
) -> Result<Option<Mapping>, RunError> {
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
        let now = agent.time(clock.now());
        if agent.ledger().failure().is_none()
            && let Err(fault) = agent.turn_without_rings(now)
        {
            if fault.is_lost() {
                return Err(fault.into());
            }
            error!(%fault, "the ledger cannot be written and is read-only until a commit works again");
        }
        thread::sleep(LOOK_EVERY);
    }
    Ok(None)
}

/// Waits until the ledger can be written; false when the agent is asked to end before. An error when it never can be by this agent.
fn wait_for_ledger<S: Store>(agent: &mut Agent<S>, stop: &Stop) -> Result<bool, LedgerError> {
    let mut tried = Instant::now();
    while agent.ledger().failure().is_some() {
        if stop.is_asked() {
            return Ok(false);
        }
        if tried.elapsed() >= Duration::from_millis(TRY_EVERY_MS)
            && let Err(fault) = agent.reopen_ledger()
        {
            if fault.is_lost() {
                return Err(fault);
            }
            tried = Instant::now();
            debug!(%fault, "the ledger cannot be written yet");
        }
        thread::sleep(SLEEP_MAX);
    }
    Ok(true)
}

fn bind<S: Store>(
    agent: &mut Agent<S>,
    attachment: &Attachment,
    counters: &Arc<Counters>,
    now: UnixMillis,
) -> Result<Lanes, LanesError> {
    let ledger = agent.ledger_mut();
    // Much may be lost with the mapping before, and nobody is served yet.
    ledger.wait_until(None);
    let mut lanes = Lanes::open(attachment, ledger, Arc::clone(counters), now)?;
    agent.recover_grants(&mut lanes, now)?;
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

/// Tells a service manager, where there is one.
fn notify(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        warn!(%error, "cannot tell the service manager");
    }
}
