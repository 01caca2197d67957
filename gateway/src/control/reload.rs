//! `reload`, and SIGHUP, which is the same: certificates, secret keys and the list of refused operators are read anew,
//! checked, and taken by the shards between two turns; or, when any of them cannot be used, nothing changes.
//!
//! Sessions go on: their keys are their own since the handshake. Handshakes that begin afterwards get the new certificate.

use super::barred::Barred;
use super::counters::Done;
use super::identity::Operator;
use super::report::Report;
use super::{Control, Refused, now, transport};
use crate::secrets::Secrets;
use host::clock::{moment, wall_us};
use shake_proto::admin::{Refusal, Request};
use shake_proto::admin_v1 as v1;
use shake_rules::document::Problem;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tracing::{error, info, warn};

/// An operator is warned of a certificate that expires this soon.
const WARN_BEFORE: Duration = Duration::from_secs(14 * 86_400);
/// How often the log says so.
const WARN_EVERY: Duration = Duration::from_secs(86_400);

/// Everything of the certificate directory, read and checked.
struct Files {
    secrets: Secrets,
    /// What the control port goes by; none without one.
    operators: Option<(quinn::ServerConfig, Barred)>,
}

impl Control {
    /// Answers SIGHUP.
    pub async fn reload_by_signal(self: Arc<Self>) {
        // Said to the log and to the audit log as well.
        let answer = self
            .answer(&Operator::by_signal(), Ok(Request::Reload { dry_run: false }))
            .await;
        let report = report_of(answer);
        if let Some(state) = &self.config.state_directory
            && let Err(fault) = report.write(state)
        {
            error!(%fault, "what became of the signal cannot be written down; `gateway reload --pid` waits in vain");
        }
    }

    pub(super) async fn reload(self: &Arc<Self>, operator: &Operator, dry_run: bool) -> Result<v1::Reloaded, Refused> {
        // One change after the other.
        let _changing = self.changing.lock().await;
        let before = self.lines();
        let control = Arc::clone(self);
        // Off the control thread, which beats the heart that the agent listens to.
        let read = tokio::task::spawn_blocking(move || control.read_files()).await;
        let files = match read {
            Ok(Ok(files)) => files,
            Ok(Err(faults)) => return Err(refused(faults)),
            Err(panicked) => return Err(refused(vec![panicked.into()])),
        };
        let expires_at = files.secrets.certificate.expires_at;
        let after = lines_of(&files.secrets, files.operators.as_ref().map(|(_, barred)| barred));
        let mut reloaded = v1::Reloaded {
            differences: differences(&before, &after),
            remarks: self.what_goes(&files.secrets),
            certificate_expires_at_ms: expires_at.0,
            ..Default::default()
        };
        if dry_run {
            return Ok(reloaded);
        }
        let began = Instant::now();
        if let (Some((config, barred)), Some(endpoint)) = (files.operators, &self.endpoint) {
            endpoint.set_server_config(Some(config));
            self.barred.store(Arc::new(barred));
        }
        let change = self.shared.current.store_secrets(files.secrets);
        self.wake_shards();
        self.wait_for(change, began).await;
        let took = began.elapsed();
        let (shards, taken) = self.shared.current.taken(change);
        (reloaded.shards, reloaded.shards_applied) = (shards as u32, taken as u32);
        reloaded.applied_after_us = took.as_micros() as u64;
        self.counters.done[Done::Reload].inc();
        info!(
            operator = operator.name, address = operator.address, differences = ?reloaded.differences,
            took_ms = took.as_secs_f64() * 1e3, "certificates and keys were read anew"
        );
        self.warn_of_expiry();
        Ok(reloaded)
    }

    /// Reads and checks everything that `reload` takes.
    fn read_files(&self) -> Result<Files, Vec<anyhow::Error>> {
        let certs = &self.config.certs_directory;
        let before = self.shared.current.secrets();
        let mut faults = Vec::new();
        let mut note = |fault| faults.push(fault);
        let secrets = match Secrets::read(&self.config, Some(&before)) {
            Ok(secrets) => match refusal(&before, &secrets) {
                None => Some(secrets),
                Some(fault) => {
                    let file = certs.join("server.pem");
                    note(anyhow::anyhow!("{}: {fault}; the one before goes on", file.display()));
                    None
                }
            },
            Err(faults) => {
                faults.into_iter().for_each(&mut note);
                None
            }
        };
        let mut operators = None;
        if self.endpoint.is_some() {
            let config = transport::server_config(certs).map_err(&mut note).ok();
            let barred = Barred::read(certs).map_err(&mut note).ok();
            operators = config.zip(barred);
        }
        match secrets {
            Some(secrets) if faults.is_empty() => Ok(Files { secrets, operators }),
            _ => Err(faults),
        }
    }

    /// What was read from the certificate directory, a line each.
    pub(super) fn lines(&self) -> Vec<String> {
        let barred = self.endpoint.as_ref().map(|_| self.barred.load_full());
        lines_of(&self.shared.current.secrets(), barred.as_deref())
    }

    /// Says once a day that the certificate expires soon. Never ends.
    pub async fn watch_certificate(self: Arc<Self>) {
        let mut days = tokio::time::interval(WARN_EVERY);
        loop {
            days.tick().await;
            self.warn_of_expiry();
        }
    }

    fn warn_of_expiry(&self) {
        let secrets = self.shared.current.secrets();
        let until = moment(secrets.certificate.expires_at);
        let left_s = secrets.certificate.seconds_left(now());
        if let Some(fault) = secrets.certificate.fault_at(now()) {
            error!(
                "{fault}, and neither phones nor operators connect: put another in place (`certs issue server`) and send SIGHUP, or set this machine's clock"
            );
        } else if left_s < WARN_BEFORE.as_secs() as i64 {
            let days_left = left_s / 86_400;
            warn!(
                until,
                days_left, "the certificate expires soon; put a new one in place, then `gateway reload`"
            );
        }
    }
}

/// Why a certificate does not take the place of the one before, although it can be read. Where that one was of the authority
/// in `ca.pem`, phones may trust no other; where it was not, nobody knows which they trust.
fn refusal(before: &Secrets, after: &Secrets) -> Option<String> {
    let (before, after) = (&before.certificate, &after.certificate);
    let is_lost = before.is_of_authority && !after.is_of_authority;
    after.fault_at(now()).or_else(|| {
        is_lost.then(|| {
            "the certificate is not of the authority in ca.pem, as the one before is: phones that trust ca.pem would not \
             connect. `certs issue server` makes one that is; a start takes any"
                .to_owned()
        })
    })
}

fn report_of(answer: v1::reply::Result) -> Report {
    let (is_done, message, lines) = match answer {
        v1::reply::Result::Reloaded(reloaded) => {
            let (on, of) = (reloaded.shards_applied, reloaded.shards);
            let lines = reloaded.differences.into_iter().chain(reloaded.remarks);
            (on == of, format!("on {on} of {of} shards"), lines.collect())
        }
        v1::reply::Result::Refused(refused) => {
            let problems = refused.problems.into_iter().map(|problem| problem.message);
            (false, refused.message, problems.collect())
        }
        _ => (false, "answered something else than was asked".to_owned(), Vec::new()),
    };
    Report {
        at_us: wall_us(),
        is_done,
        message,
        lines,
    }
}

/// Whether an operator who looks should be warned: it expires soon, or has.
pub fn expires_soon(expires_at_ms: u64, now_ms: u64) -> bool {
    expires_at_ms < now_ms.saturating_add(WARN_BEFORE.as_millis() as u64)
}

fn lines_of(secrets: &Secrets, barred: Option<&Barred>) -> Vec<String> {
    let mut lines = secrets.lines().to_vec();
    lines.extend(barred.map(Barred::lines).unwrap_or_default());
    lines
}

fn differences(before: &[String], after: &[String]) -> Vec<String> {
    let gone = before.iter().filter(|line| !after.contains(line));
    let new = after.iter().filter(|line| !before.contains(line));
    let gone = gone.map(|line| format!("- {line}"));
    gone.chain(new.map(|line| format!("+ {line}"))).collect()
}

fn refused(faults: Vec<anyhow::Error>) -> Refused {
    let message = format!("{} file(s) cannot be used; nothing was changed", faults.len());
    let problem = |fault: anyhow::Error| Problem {
        line: 0,
        message: format!("{fault:#}"),
    };
    Refused {
        problems: faults.into_iter().map(problem).collect(),
        ..Refused::new(Refusal::Files, message)
    }
}
