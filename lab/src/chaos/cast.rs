//! Gateway and agent as processes that die, stand still and come again, with spoiled disks and clocks.

use super::shim::Page;
use crate::testbed::{END, Patience, Place, Programs, START, Service, files};
use anyhow::{Context, bail, ensure};
use nix::sys::signal::Signal;
use shake_agent::run::EXIT_REFUSED;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use xtask::interrupt::Interrupt;

/// What a service manager waits before it starts a program that failed (`RestartSec` of the service units).
const RESTART: Duration = Duration::from_secs(1);

/// Names of the directories whose disks fail.
pub mod directories {
    pub const LEDGER: &str = "books";
    pub const SETTLEMENT: &str = "payment";
}

/// One of the two, over all of its lives.
pub struct Member {
    name: &'static str,
    config: PathBuf,
    program: PathBuf,
    /// What the names of its logs begin with.
    logs: PathBuf,
    pub page: Page,
    service: Option<Service>,
    lives: u32,
    /// When it ended by itself while its disk failed: a service manager starts it again.
    fell_at: Option<Instant>,
    /// Times that the service manager had to.
    pub falls: u32,
}

impl Member {
    pub fn new(name: &'static str, programs: &Programs, config: PathBuf, logs: PathBuf, page: Page) -> Self {
        Self {
            name,
            config,
            program: programs.path(name),
            logs,
            page,
            service: None,
            lives: 0,
            fell_at: None,
            falls: 0,
        }
    }

    /// Starts its next life, with a log of its own. Does not wait until it is ready.
    pub fn start(&mut self) -> anyhow::Result<()> {
        self.lives += 1;
        self.fell_at = None;
        let mut command = std::process::Command::new(&self.program);
        command.args(["run", "--config"]).arg(&self.config);
        self.page.load_into(&mut command);
        let log = format!("{}-{}.log", self.logs.display(), self.lives).into();
        self.service = Some(Service::start(self.name, command, log)?);
        Ok(())
    }

    /// Waits until it is ready; only when it is certain that it was started.
    pub fn wait_ready(&mut self, interrupt: &Interrupt) -> anyhow::Result<()> {
        let patience = Patience {
            at_most: START,
            interrupt,
        };
        self.service
            .as_mut()
            .context("it was not started")?
            .wait_ready(&patience)
    }

    /// Kills it; true when it was alive, and SIGKILL is what it died of.
    pub fn kill(&mut self) -> anyhow::Result<bool> {
        self.fell_at = None;
        let Some(service) = self.service.take() else {
            return Ok(false);
        };
        Ok(service.kill()?.signal() == Some(Signal::SIGKILL as i32))
    }

    /// Stops it; true when the kernel says that it stands still.
    pub fn stop(&mut self) -> anyhow::Result<bool> {
        self.service.as_ref().map_or(Ok(false), Service::stop)
    }

    /// Lets it go on.
    pub fn resume(&mut self) -> anyhow::Result<()> {
        self.service.as_ref().map_or(Ok(()), Service::resume)
    }

    /// Notices when it ended by itself. While a fault may end it (or has just been over) that is allowed, and a service manager
    /// starts it again, unless it says that nobody may; else it is an error.
    pub fn look(&mut self, may_end: bool) -> anyhow::Result<()> {
        if let Some(service) = &mut self.service
            && let Some(status) = service.ended()?
        {
            if !may_end || status.code() == Some(EXIT_REFUSED.into()) {
                bail!("{} ended by itself ({status}); {}", self.name, service.log_end());
            }
            self.service = None;
            self.falls += 1;
            self.fell_at = Some(Instant::now());
        }
        if self.fell_at.is_some_and(|at| at.elapsed() >= RESTART) {
            self.start()?;
        }
        Ok(())
    }

    /// Waits until it has ended by itself, as one that may not serve the ledger any more, for one of these reasons.
    ///
    /// # Errors
    /// When it does not, or for another one.
    pub fn wait_refused(&mut self, reasons: &[&str], patience: &Patience<'_>) -> anyhow::Result<()> {
        // One that has just fallen is started first.
        patience.wait(|| {
            if self.service.is_none() {
                self.look(true)?;
            }
            Ok(self.service.is_some().then_some(()))
        })?;
        let service = self
            .service
            .take()
            .with_context(|| format!("{} is not running", self.name))?;
        wait_refused(service, self.name, reasons, patience)
    }

    /// Ends it in good order.
    pub fn end(&mut self) -> anyhow::Result<()> {
        let service = self
            .service
            .take()
            .with_context(|| format!("{} is not running", self.name))?;
        service.end(END)
    }
}

/// Waits until an agent has ended by itself, as one that may not serve the ledger, for one of these reasons.
///
/// # Errors
/// When it does not, or for another one; then it is killed.
pub fn wait_refused(mut service: Service, name: &str, reasons: &[&str], patience: &Patience<'_>) -> anyhow::Result<()> {
    let ended = patience.wait(|| service.ended())?;
    let log = service.log_end();
    let status = ended.with_context(|| format!("{name} goes on, and must not ({reasons:?}); {log}"))?;
    ensure!(
        status.code() == Some(EXIT_REFUSED.into()) && reasons.iter().any(|reason| log.contains(reason)),
        "{name} ended with {status}, and not because of {reasons:?}; {log}"
    );
    Ok(())
}

/// One life of the simulator.
pub struct Phones {
    pub service: Service,
    pub journal: PathBuf,
    pub report: PathBuf,
    pub credits: PathBuf,
}

impl Phones {
    /// Starts a life of a round's phones. Its files have the life's number.
    pub fn start(programs: &Programs, place: &Place, round: &Path, life: usize) -> anyhow::Result<Self> {
        let file = |name: &str, ending: &str| round.join(format!("{name}-{life}.{ending}"));
        let (journal, report, credits) = (file("journal", "csv"), file("report", "json"), file("credits", "csv"));
        let mut command = programs.command("client-sim");
        command.arg("run").arg(round.join(files::SCENARIO));
        command.args(["--json", "--quiet"]);
        command.arg("--certs").arg(place.file(files::CERTS));
        command.arg("--credits").arg(&credits).arg("--journal").arg(&journal);
        // A life that is killed leaves it there, and the next one takes its place.
        command.arg("--control").arg(place.file(files::CONTROL));
        let service = Service::start_with_output("client-sim", command, file("phones", "log"), &report)?;
        Ok(Self {
            service,
            journal,
            report,
            credits,
        })
    }

    /// An error when it has ended.
    pub fn check(&mut self) -> anyhow::Result<()> {
        let ended = self.service.ended()?;
        ensure!(
            ended.is_none(),
            "client-sim ended by itself ({ended:?}); {}",
            self.service.log_end()
        );
        Ok(())
    }

    /// What it has written of its journal so far.
    pub fn journal_text(&self) -> anyhow::Result<String> {
        match std::fs::read(&self.journal) {
            Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", self.journal.display())),
        }
    }
}
