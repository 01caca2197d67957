//! The control plane: what operators ask of this gateway over `shake-admin/1`, and the operator's side of it.
//!
//! A change goes: `transport` (mutual TLS, bounds) ▸ `identity` (who) ▸ `plan` (may it be, what differs; pure) ▸ `disk`
//! (kept, so that a restart has it) ▸ [`Control::change`] (shards take it between two turns) ▸ `audit`.
//!
//! Architecture invariant: nothing on the path of a shake waits for anything here. When the control plane dies, the shards
//! go on with the show that they have, by their own clocks.

pub mod operator;

pub mod start;
pub mod transport;

pub mod barred;
mod identity;
pub mod places;

pub mod pairs;
mod plan;

pub mod disk;

mod drain;
mod hanging;
mod reload;
pub mod report;
mod status;

pub mod audit;
pub mod counters;

use crate::config::Config;
use crate::counters::Counters;
use crate::state::Shared;
use arc_swap::ArcSwap;
use audit::{Audit, Entry};
use barred::Barred;
use counters::{AdminCounters, Done};
use disk::Disk;
use host::clock::{monotonic_ms, wall_ms};
use identity::Operator;
use pairs::Served;
use plan::{Next, Plan};
pub use reload::expires_soon;
use shake_proto::admin::{Change, Refusal, Request, What};
use shake_proto::admin_v1 as v1;
use shake_rules::UnixMillis;
use shake_rules::document::Problem;
use shake_rules::kept::{Kept, sha256};
use shm_queue::Bell;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Mutex, Notify};
use tracing::{error, info, warn};

/// How long a change waits for the shards to run it. A turn is some milliseconds, and a bell wakes those that sleep.
const APPLY_PATIENCE: Duration = Duration::from_secs(2);

/// What the control plane works on.
pub struct Control {
    pub(super) shared: Arc<Shared>,
    /// What runs, as it is kept. Replaced by who holds `changing`.
    pub(super) kept: ArcSwap<Kept>,
    /// Held by each change, so that they come one after the other.
    pub(super) changing: Mutex<()>,
    disk: Option<Disk>,
    audit: Audit,
    /// Wake the shards.
    bells: Vec<Bell>,
    pub(super) shards: Arc<[Arc<Counters>]>,
    pub counters: Arc<AdminCounters>,
    /// An operator has heard that a drain began, and the gateway may end.
    pub(super) drain_told: Notify,
    pub(super) config: Config,
    /// The control port, where there is one.
    pub endpoint: Option<quinn::Endpoint>,
    pub(super) barred: ArcSwap<Barred>,
}

/// Why an operator's request was refused, in words.
#[derive(Clone, Debug, PartialEq)]
pub struct Refused {
    pub refusal: Refusal,
    pub message: String,
    pub problems: Vec<Problem>,
}

impl Refused {
    fn new(refusal: Refusal, message: impl Into<String>) -> Self {
        Self {
            refusal,
            message: message.into(),
            problems: Vec::new(),
        }
    }
}

/// By the wall clock: of operators, of certificates, of logs. What shards do goes by the steady clock of [`Shared`]. One
/// before 1970 stops `gateway run` at its start.
fn now() -> UnixMillis {
    UnixMillis(wall_ms())
}

impl Control {
    /// Answers a request, or says why not. Every change and every refusal is logged.
    pub async fn answer(self: &Arc<Self>, operator: &Operator, request: Result<Request, Refusal>) -> v1::reply::Result {
        self.shared.board.operator_heard(monotonic_ms());
        let answered = match &request {
            Ok(Request::Status) => return v1::reply::Result::Status(self.status()),
            Ok(Request::Change(change)) => self
                .change(operator, change)
                .await
                .map(|changed| (v1::reply::Result::Changed(changed), change.dry_run)),
            Ok(Request::Running) => return v1::reply::Result::Running(self.running()),
            Ok(Request::Drain(drain)) => self
                .drain(operator, drain)
                .map(|draining| (v1::reply::Result::Draining(draining), drain.dry_run)),
            Ok(Request::CancelDrain) => {
                let draining = self.cancel_drain(operator);
                Ok((v1::reply::Result::Draining(draining), false))
            }
            Ok(Request::Reload { dry_run }) => self
                .reload(operator, *dry_run)
                .await
                .map(|reloaded| (v1::reply::Result::Reloaded(reloaded), *dry_run)),
            Err(refusal) => Err(Refused::new(
                *refusal,
                "the request makes no sense to this gateway; use the gateway's own version of this program",
            )),
        };
        match answered {
            Ok((result, is_dry)) => {
                if !is_dry {
                    self.write_down(operator, &request, &result).await;
                }
                result
            }
            Err(refused) => {
                self.counters.refused[refused.refusal].inc();
                warn!(
                    operator = operator.name,
                    address = operator.address,
                    refusal = refused.refusal.name(),
                    message = refused.message,
                    "refused an operator's request"
                );
                for problem in &refused.problems {
                    warn!(line = problem.line, "{}", problem.message);
                }
                let result = v1::reply::Result::Refused(to_wire(refused));
                self.write_down(operator, &request, &result).await;
                result
            }
        }
    }

    /// Makes a change hold on every shard.
    async fn change(self: &Arc<Self>, operator: &Operator, change: &Change) -> Result<v1::Changed, Refused> {
        let _changing = self.changing.lock().await;
        let kept = self.kept.load_full();
        let next = match self.plan(&kept, operator, change).await? {
            Plan::AlreadyThere => {
                return Ok(v1::Changed {
                    version: kept.version,
                    already_there: true,
                    ..self.applied(self.shared.current.change(), Duration::ZERO)
                });
            }
            Plan::Next(next) => *next,
        };
        let Next {
            kept: new,
            live,
            differences,
            remarks,
        } = next;
        let version = new.version;
        if change.dry_run {
            return Ok(v1::Changed {
                version,
                differences,
                remarks,
                ..Default::default()
            });
        }
        // The disk first: what the shards run after a crash is what the operator was told. A disk that refuses must not
        // keep the operator from steering, though; they are told.
        let not_kept = self.keep(&new).await;
        let began = Instant::now();
        let change_number = self.shared.current.store(live);
        self.kept.store(Arc::new(new));
        self.shared.board.set_show_followed(true);
        self.wake_shards();
        self.wait_for(change_number, began).await;
        let took = began.elapsed();
        self.counters.done[Done::of(&change.what)].inc();
        info!(
            operator = operator.name,
            address = operator.address,
            what = change.what.name(),
            version,
            took_ms = took.as_secs_f64() * 1e3,
            not_kept,
            "an operator's change holds"
        );
        Ok(v1::Changed {
            version,
            differences,
            remarks,
            not_kept,
            ..self.applied(change_number, took)
        })
    }

    /// Checks a change off the control thread, which beats the heart that the agent listens to: a wrong file of a megabyte
    /// takes its time.
    async fn plan(&self, kept: &Arc<Kept>, operator: &Operator, change: &Change) -> Result<Plan, Refused> {
        let (kept, live) = (Arc::clone(kept), self.shared.current.load());
        let (change, by, served) = (change.clone(), operator.name.clone(), Served::of(&self.config));
        let now = self.shared.clock.now();
        let planned = tokio::task::spawn_blocking(move || plan::plan(&kept, &live, served, &change, &by, now));
        planned.await.unwrap_or_else(|panicked| {
            error!(%panicked, "a change could not be checked");
            Err(Refused::new(
                Refusal::Errors,
                "the gateway failed to check the change; this is a bug, please report it with the gateway's log",
            ))
        })
    }

    fn applied(&self, change: u64, took: Duration) -> v1::Changed {
        let (shards, taken) = self.shared.current.taken(change);
        v1::Changed {
            shards: shards as u32,
            shards_applied: taken as u32,
            applied_after_us: took.as_micros() as u64,
            ..Default::default()
        }
    }

    /// Writes what is to run to disk. Gives why it could not.
    async fn keep(self: &Arc<Self>, kept: &Kept) -> String {
        if self.disk.is_none() {
            return "the gateway has no [state] directory".to_owned();
        }
        let (control, kept) = (Arc::clone(self), kept.clone());
        // Off the control thread, which beats the heart that the agent listens to.
        let written = tokio::task::spawn_blocking(move || match &control.disk {
            Some(disk) => disk.write(&kept),
            None => Ok(()),
        });
        match written.await {
            Ok(Ok(())) => {
                self.shared.board.set_config_unkept(false);
                String::new()
            }
            Ok(Err(fault)) => {
                self.shared.board.set_config_unkept(true);
                self.counters.not_kept.inc();
                error!(%fault, "a change could not be kept; it will not outlive a restart");
                fault.to_string()
            }
            Err(panicked) => panicked.to_string(),
        }
    }

    fn wake_shards(&self) {
        for bell in &self.bells {
            bell.ring();
        }
    }

    async fn wait_for(&self, change: u64, began: Instant) {
        let is_everywhere = || {
            let (shards, taken) = self.shared.current.taken(change);
            shards == taken
        };
        while began.elapsed() < APPLY_PATIENCE && !is_everywhere() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    async fn write_down(
        self: &Arc<Self>,
        operator: &Operator,
        request: &Result<Request, Refusal>,
        result: &v1::reply::Result,
    ) {
        let (what, version, sha256) = match request {
            Ok(Request::Change(change)) => (change.what.name(), change.version, content_sha256(&change.what)),
            Ok(Request::Drain(_)) => ("drain", 0, String::new()),
            Ok(Request::CancelDrain) => ("cancel_drain", 0, String::new()),
            Ok(Request::Status | Request::Running) => ("status", 0, String::new()),
            Ok(Request::Reload { .. }) => {
                let sha256 = self.shared.current.secrets().certificate.sha256.clone();
                ("reload", 0, sha256)
            }
            Err(_) => ("unknown", 0, String::new()),
        };
        let mut entry = Entry {
            at_ms: now().0,
            operator: operator.name.clone(),
            fingerprint: operator.fingerprint.clone(),
            address: operator.address.clone(),
            what,
            version,
            sha256,
            ..Entry::default()
        };
        match result {
            v1::reply::Result::Refused(refused) => {
                let refusal = Refusal::from_wire(refused.refusal).map_or("unknown", Refusal::name);
                let problems = refused.problems.iter().map(|problem| format!("; {}", problem.message));
                let detail = if what == "reload" {
                    problems.collect()
                } else {
                    String::new()
                };
                (entry.result, entry.detail) = (refusal, refused.message.clone() + &detail);
            }
            v1::reply::Result::Changed(changed) if changed.already_there => entry.result = "already_there",
            v1::reply::Result::Changed(changed) if !changed.not_kept.is_empty() => {
                (entry.result, entry.detail) = ("done_not_kept", changed.not_kept.clone());
            }
            v1::reply::Result::Reloaded(reloaded) => {
                (entry.result, entry.detail) = ("done", reloaded.differences.join("; "));
            }
            _ => entry.result = "done",
        }
        self.write_entry(entry).await;
    }

    /// Appends to the audit log. A log that cannot be written is told, and holds nothing up.
    async fn write_entry(self: &Arc<Self>, entry: Entry) {
        let control = Arc::clone(self);
        let written = tokio::task::spawn_blocking(move || control.audit.append(&entry));
        if let Ok(Err(fault)) = written.await {
            self.counters.audit_failed.inc();
            error!(%fault, "the audit log cannot be written");
        }
    }
}

fn content_sha256(what: &What) -> String {
    match what {
        What::Show(text) | What::Throttle(text) => sha256(text),
        What::Cue(cue) => sha256(&format!("{} = {}", cue.name, cue.at_ms)),
        What::CancelCue(name) => sha256(name),
        What::Adopt(running) => sha256(&format!("{}{}", running.show, running.throttle)),
    }
}

fn to_wire(refused: Refused) -> v1::Refused {
    let problem = |problem: Problem| v1::Problem {
        line: problem.line as u32,
        message: problem.message,
    };
    v1::Refused {
        refusal: refused.refusal.to_wire() as i32,
        message: refused.message,
        problems: refused.problems.into_iter().map(problem).collect(),
    }
}
