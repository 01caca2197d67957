//! A run from scenario to report: reads the files that the scenario names, resolves the gateway's address, starts the
//! engine, and judges the outcome.

use crate::control::{Board, ControlError, Listener};
use crate::cues::Cues;
use crate::engine::{self, Dial, EngineError, Finished, Job, Snapshot, Stage, Stop};
use crate::names::resolve;
use crate::report::{Beside, Credits, Recorder, Report, Watched};
use crate::scenario::{self, Scenario};
use crate::schedule::Micros;
use crate::tally::Opened;
use host::pem;
use rustls::RootCertStore;
use shake_rules::UnixMillis;
use shake_rules::document::Problems;
use shake_rules::keys::{KeyRing, Purpose};
use shake_rules::token::TokenKeys;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use thiserror::Error;

/// Why there was no run.
#[derive(Debug, Error)]
pub enum RunError {
    /// A file cannot be read.
    #[error("cannot read {}: {source}; --certs DIR says where that is which `certs generate` made", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The authority's file is no certificate.
    #[error("{} is not a PEM file with a certificate: {reason}", path.display())]
    Authority {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The key file is wrong.
    #[error("{}: {problems}", path.display())]
    TokenKey {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        problems: Problems,
    },
    /// The gateway's name does not resolve, or none of its addresses answers.
    #[error("cannot reach the gateway's address {address:?}: {reason}")]
    Address {
        /// As the scenario has it.
        address: String,
        /// What the system said.
        reason: String,
    },
    /// The channel for `client-sim ctl` cannot be opened.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The engine did not start.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As it should.
    Fine,
    /// No session ever got through: there was no run to speak of.
    NobodyConnected,
    /// The gateway did what no correct one does.
    ChecksFailed,
    /// The run went through, but not as it was meant: a cue was not given.
    CueFailed,
}

impl Verdict {
    /// The exit code that says it.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Fine => 0,
            Self::NobodyConnected => 1,
            Self::ChecksFailed => 2,
            Self::CueFailed => 3,
        }
    }
}

/// What a run gave.
#[derive(Debug)]
pub struct Outcome {
    /// The report.
    pub report: Report,
    /// Every packet opened.
    pub opened: Vec<Opened>,
    /// Every share grabbed and every packet sent.
    pub credits: Credits,
    /// How it ended.
    pub verdict: Verdict,
}

/// What is watched beside the phones.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    /// Processes beside this one.
    pub processes: Vec<Watched>,
    /// Where a gateway tells its metrics.
    pub metrics: Option<String>,
}

/// Plays the scenario, and watches the rest. `observe` is called a few times a second.
///
/// # Errors
/// When it cannot begin. A run that began gives a report, whatever it met.
pub fn run(
    mut scenario: Scenario,
    watch: &Watch,
    stop: &Stop,
    observe: &mut dyn FnMut(&Snapshot<'_>),
) -> Result<Outcome, RunError> {
    scenario.habits.run = unix_now().0;
    let dial = Arc::new(Dial::default());
    let listener = scenario.control.as_deref().map(Listener::open).transpose()?;
    let roots = read_authority(&scenario.ca)?;
    let job = Job {
        targets: resolve_all(&scenario, &roots)?,
        roots,
        tokens: read_token_key(&scenario.token_key)?,
        started_at: unix_now(),
        dial: dial.clone(),
        scenario: scenario.clone(),
    };
    let mut cues = None;
    let mut recorder = Recorder::new(&watch.processes, watch.metrics.as_deref());
    let board = Board::new(dial, stop);
    let mut finished = std::thread::scope(|scope| {
        if let Some(listener) = &listener {
            scope.spawn(|| listener.serve(&board));
        }
        let finished = engine::run(job, stop, &mut |snapshot| {
            if snapshot.stage == Stage::Shaking && cues.is_none() {
                cues = Some(begin_cues(&scenario, snapshot));
            }
            recorder.look(snapshot);
            board.show(snapshot);
            observe(snapshot);
        });
        board.close();
        finished
    })?;
    finished.tally.find_overdrawn();
    let mut beside = Beside::default();
    let mut cue_failed = false;
    (beside.series, beside.remarks) = recorder.end();
    match cues {
        Some(Ok(cues)) => beside.cues = cues.end(),
        Some(Err(error)) => {
            cue_failed = true;
            beside.remarks.push(format!("no cue was given: {error}"));
        }
        None => {}
    }
    beside.remarks.extend(open_ends(&finished));
    beside.remarks.extend(full_networks(&finished));
    let report = Report::new(&scenario, &finished, beside);
    cue_failed |= report.cues.iter().any(|cue| cue.error.is_some());
    let verdict = match verdict(&finished) {
        Verdict::Fine if cue_failed => Verdict::CueFailed,
        verdict => verdict,
    };
    Ok(Outcome {
        report,
        opened: finished.tally.opened,
        credits: Credits {
            grabbed: finished.tally.grabbed,
            sent: finished.tally.sent,
        },
        verdict,
    })
}

/// What a reader who compares phones and ledger must know.
fn open_ends(finished: &Finished) -> Option<String> {
    let (claims, packets) = (&finished.tally.claims, &finished.tally.packets);
    let moving = [&claims.course, &packets.sends.course, &packets.grabs.course];
    let count: u64 = moving.iter().map(|course| course.without_answer()).sum();
    (count > 0).then(|| {
        format!(
            "{count} claims, sends and grabs ended without an answer: the ledger may hold money that no phone heard of"
        )
    })
}

/// What a reader of losses must know: they are not the scenario's when the simulation had no room.
fn full_networks(finished: &Finished) -> Option<String> {
    let networks = finished.tally.networks.counts().iter();
    let count: u64 = networks.map(|network| network.datagrams.overflowed).sum();
    (count > 0).then(|| format!("{count} datagrams were lost because the simulated networks had no room for more"))
}

/// Starts the cues on the engine's clock. A snapshot tells when the shaking began.
fn begin_cues(scenario: &Scenario, snapshot: &Snapshot<'_>) -> std::io::Result<Cues> {
    let origin = Instant::now() - Duration::from(snapshot.now);
    let start = snapshot.now.since(Micros((snapshot.stage_s * 1e6) as u64));
    Cues::begin(scenario.cues.clone(), origin, start)
}

/// The addresses of all gateways, for sockets of one kind.
fn resolve_all(scenario: &Scenario, roots: &RootCertStore) -> Result<Vec<engine::Target>, RunError> {
    let mut targets: Vec<engine::Target> = Vec::new();
    for scenario::Target { address: name, weight } in &scenario.targets {
        let address = resolve(name, &scenario.server_name, roots)?;
        if let Some(first) = targets
            .first()
            .filter(|first| first.address.is_ipv4() != address.is_ipv4())
        {
            return Err(RunError::Address {
                address: name.clone(),
                reason: format!(
                    "{address} and {} of {} are of two families",
                    first.address, scenario.targets[0].address
                ),
            });
        }
        let weight = *weight;
        targets.push(engine::Target { address, weight });
    }
    Ok(targets)
}

fn verdict(finished: &Finished) -> Verdict {
    if !finished.tally.violations.is_clean() {
        Verdict::ChecksFailed
    } else if finished.tally.sessions.connected == 0 {
        Verdict::NobodyConnected
    } else {
        Verdict::Fine
    }
}

fn read(path: &Path) -> Result<Vec<u8>, RunError> {
    std::fs::read(path).map_err(|source| RunError::File {
        path: path.to_owned(),
        source,
    })
}

/// The authorities that gateways' certificates must come from.
///
/// # Errors
/// When the file cannot be read, or holds no certificate.
pub fn read_authority(path: &Path) -> Result<RootCertStore, RunError> {
    let fail = |reason: String| RunError::Authority {
        path: path.to_owned(),
        reason,
    };
    let mut roots = RootCertStore::empty();
    let certificates = pem::certificates_in(&read(path)?, path).map_err(|error| fail(error.to_string()))?;
    for certificate in certificates {
        roots.add(certificate).map_err(|error| fail(error.to_string()))?;
    }
    Ok(roots)
}

/// The key that user tokens are signed with.
///
/// # Errors
/// When the file cannot be read, or is no such key.
pub fn read_token_key(path: &Path) -> Result<TokenKeys, RunError> {
    let text = String::from_utf8_lossy(&read(path)?).into_owned();
    let ring = KeyRing::parse(&text, Purpose::UserToken).map_err(|problems| RunError::TokenKey {
        path: path.to_owned(),
        problems,
    })?;
    Ok(TokenKeys::new(&ring))
}

pub(crate) fn unix_now() -> UnixMillis {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMillis(since_epoch.as_millis() as u64)
}

/// Lets Ctrl-C and SIGTERM ask the run to stop, on a thread of its own that lives as long as the process.
///
/// # Errors
/// When the signals cannot be waited for.
pub fn stop_on_signals(stop: Arc<Stop>) -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut interrupt, mut terminate) = {
        let _entered = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        runtime.block_on(async {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                stop.ask();
            }
        });
    })?;
    Ok(())
}
