//! Gateway and agent as processes that die, stand still and come again, with spoiled disks and clocks.

use super::shim::Page;
use crate::testbed::{END, Patience, Place, Programs, START, Service, files};
use anyhow::{Context, bail, ensure};
use nix::sys::signal::Signal;
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
    pub const STATE: &str = "state";
}

/// One of the two, over all of its lives.
pub struct Member {
    name: &'static str,
    config: PathBuf,
    program: PathBuf,
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
    pub fn new(place: &Place, programs: &Programs, name: &'static str, config: &str, page: Page) -> Self {
        Self {
            name,
            config: place.file(config),
            program: programs.path(name),
            logs: place.directory.clone(),
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
        let log = self.logs.join(format!("{}-{}.log", self.name, self.lives));
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

    /// Notices when it ended by itself. While its disk fails (or has just failed) that is allowed, and a service manager
    /// starts it again; else it is an error.
    pub fn look(&mut self, disk_fails: bool) -> anyhow::Result<()> {
        if let Some(service) = &mut self.service
            && let Some(status) = service.ended()?
        {
            if !disk_fails {
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

    /// Ends it in good order.
    pub fn end(&mut self) -> anyhow::Result<()> {
        let service = self
            .service
            .take()
            .with_context(|| format!("{} is not running", self.name))?;
        service.end(END)
    }
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
    pub fn start(programs: &Programs, place: &Place, round: &Path, target: &str, life: usize) -> anyhow::Result<Self> {
        let file = |name: &str, ending: &str| round.join(format!("{name}-{life}.{ending}"));
        let (journal, report, credits) = (file("journal", "csv"), file("report", "json"), file("credits", "csv"));
        let control = std::env::temp_dir().join(format!("shake-chaos-{}.sock", std::process::id()));
        let mut command = programs.command("client-sim");
        command.arg("run").arg(round.join(files::SCENARIO));
        command.args(["--json", "--quiet", "--target", target]);
        command.arg("--certs").arg(place.file(files::CERTS));
        command.arg("--credits").arg(&credits).arg("--journal").arg(&journal);
        command.arg("--control").arg(control);
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
