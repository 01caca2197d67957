//! One round: phones play, faults strike as the schedule says and end, service comes back, the phones finish; then the
//! books are compared.

mod compare;
mod fleet;
mod outcome;
mod strike;

pub use compare::compare_at_end;
pub use outcome::{Outcome, Struck};
pub use strike::mode_of;

use super::books::{View, report_failures};
use super::cast::Phones;
use super::fault::Planned;
use super::journal::{Journal, Recovery, Span, recoveries};
use super::plan;
use super::proxy::Proxy;
use super::stage::{LOUD_SHOW, Stage};
use crate::testbed::{Patience, Service, files, unix_ms};
use anyhow::{Context, bail};
use compare::compare;
use host::console;
use std::fs;
use std::io::{IsTerminal, stderr};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// Between two looks at everything.
const TICK: Duration = Duration::from_millis(10);
/// How long all phones may take to connect and shake.
const BEGIN: Duration = Duration::from_secs(60);
/// How long they may take to finish once they are asked to: their own settling and some.
const FINISH: Duration = Duration::from_secs(110);
/// What the phones go on with once service is back.
const AFTER: Duration = Duration::from_millis(500);
/// How much longer than planned a fault lasts that has not taken effect yet: nothing may happen that it could spoil while
/// phones or gateway are stopped.
const UNTIL_FELT: Duration = Duration::from_secs(5);
/// How long after its end an agent may still end by a fault of its store.
const SHADOW: Duration = Duration::from_secs(3);

/// A fault on its way: planned, at work, over.
struct Running {
    fault: Planned,
    from_ms: Option<u64>,
    until_ms: Option<u64>,
    bites: u64,
    /// The counter that tells its bites, when it began; none for a kind that is seen at its beginning.
    counted: Option<u64>,
}

impl Running {
    fn is_at_work(&self) -> bool {
        self.from_ms.is_some() && self.until_ms.is_none()
    }
}

struct Round<'a, 'b> {
    stage: &'b mut Stage<'a>,
    number: u32,
    directory: PathBuf,
    /// Before each gateway.
    proxies: Vec<Proxy>,
    /// A second one for some part.
    second_agent: Option<Service>,
    /// How many commits each part had when a copy of the server was made.
    kept: Vec<i64>,
    phones: Option<Phones>,
    lives: usize,
    /// Journals of the lives that were killed.
    dead_lives: Vec<PathBuf>,
    running: Vec<Running>,
    /// When a fault was over that may end an agent.
    store_failed_at: Option<Instant>,
    began: Instant,
    said_at: Instant,
}

/// Plays a round with these faults.
///
/// # Errors
/// When something cannot be run, or a program ended by itself.
pub fn play(stage: &mut Stage<'_>, number: u32, seed: u64, faults: &[Planned]) -> anyhow::Result<Outcome> {
    let began = Instant::now();
    let directory = stage.place.file(&format!("round-{number}"));
    fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
    let machines = stage.machines.iter();
    let proxies = machines.map(|machine| Proxy::start(machine.place.gateway, seed ^ u64::from(number)));
    let proxies = proxies.collect::<anyhow::Result<_>>()?;
    let running = |fault: &Planned| Running {
        fault: *fault,
        from_ms: None,
        until_ms: None,
        bites: 0,
        counted: None,
    };
    let mut round = Round {
        stage,
        number,
        directory,
        proxies,
        second_agent: None,
        kept: Vec::new(),
        phones: None,
        lives: 0,
        dead_lives: Vec::new(),
        running: faults.iter().map(running).collect(),
        store_failed_at: None,
        began,
        said_at: began,
    };
    let first_beat_ms = round.begin(seed)?;
    round.strike(first_beat_ms)?;
    let recoveries = round.wait_until_back(first_beat_ms)?;
    let mut outcome = round.finish(first_beat_ms)?;
    outcome.recoveries = recoveries;
    outcome.took = began.elapsed();
    Ok(outcome)
}

impl Round<'_, '_> {
    fn start_phones(&mut self, seed: u64) -> anyhow::Result<()> {
        let gateways: Vec<SocketAddr> = self.proxies.iter().map(|proxy| proxy.address).collect();
        let scenario = plan::scenario(self.number, seed, self.lives == 0, &gateways);
        let path = self.directory.join(files::SCENARIO);
        fs::write(&path, scenario).with_context(|| format!("cannot write {}", path.display()))?;
        self.lives += 1;
        let Stage { programs, place, .. } = &*self.stage;
        self.phones = Some(Phones::start(programs, place, &self.directory, self.lives)?);
        Ok(())
    }

    /// Starts the phones; gives when the first shakes were served, in milliseconds since 1970.
    fn begin(&mut self, seed: u64) -> anyhow::Result<u64> {
        self.stage.push(LOUD_SHOW, &self.directory)?;
        self.start_phones(seed)?;
        let (at_most, interrupt) = (BEGIN, self.stage.interrupt);
        let first = Patience { at_most, interrupt }.wait(|| {
            self.look()?;
            let first = self.journal()?.served.first_key_value().map(|(at_ms, _)| *at_ms);
            Ok(first)
        })?;
        first.with_context(|| format!("no shake was served within {} s", BEGIN.as_secs()))
    }

    /// Looks after all programs: who ends by itself is told, or started again where its disk made it end.
    fn look(&mut self) -> anyhow::Result<()> {
        self.stage.interrupt.check()?;
        self.say_how_it_stands();
        let may_end = self
            .running
            .iter()
            .any(|running| running.is_at_work() && running.fault.kind.ends_the_agent())
            || self.store_failed_at.is_some_and(|at| at.elapsed() < SHADOW);
        for machine in &mut self.stage.machines {
            machine.gateway.look(false)?;
            machine.agent.look(may_end)?;
        }
        self.phones.as_mut().map_or(Ok(()), Phones::check)
    }

    /// A line on a terminal that is drawn over, several times a second.
    fn say_how_it_stands(&mut self) {
        const EVERY: Duration = Duration::from_millis(200);
        if self.said_at.elapsed() < EVERY || !stderr().is_terminal() {
            return;
        }
        self.said_at = Instant::now();
        let names: Vec<_> = self
            .running
            .iter()
            .filter(|running| running.is_at_work())
            .map(|running| running.fault.kind.name())
            .collect();
        let over = self.running.iter().filter(|running| running.until_ms.is_some()).count();
        console::tell_bare(&format!(
            "\r\x1b[2K  round {}, {:.1} s: {over} of {} faults over; at work: {}\r",
            self.number,
            self.began.elapsed().as_secs_f64(),
            self.running.len(),
            if names.is_empty() {
                "none".to_owned()
            } else {
                names.join(", ")
            },
        ));
    }

    /// Begins and ends each fault at its time; later where it has not taken effect, or where one that strikes the same
    /// lasts longer for that.
    fn strike(&mut self, first_beat_ms: u64) -> anyhow::Result<()> {
        while self.running.iter().any(|running| running.until_ms.is_none()) {
            self.look()?;
            let now_ms = unix_ms().saturating_sub(first_beat_ms);
            for at in 0..self.running.len() {
                if self.running[at].from_ms.is_none() {
                    self.begin_if_due(at, now_ms)?;
                } else if self.running[at].until_ms.is_none() {
                    self.end_if_due(at, now_ms)?;
                }
            }
            thread::sleep(TICK);
        }
        Ok(())
    }

    fn begin_if_due(&mut self, at: usize, now_ms: u64) -> anyhow::Result<()> {
        let fault = self.running[at].fault;
        let excludes = |other: &Running| other.is_at_work() && other.fault.kind.excludes(fault.kind);
        if now_ms < fault.from_ms.into() || self.running.iter().any(excludes) {
            return Ok(());
        }
        self.running[at].from_ms = Some(unix_ms());
        self.running[at].counted = self.counter(&fault)?;
        self.running[at].bites += u64::from(self.begin_fault(&fault)?);
        Ok(())
    }

    fn end_if_due(&mut self, at: usize, now_ms: u64) -> anyhow::Result<()> {
        let Running { fault, counted, .. } = self.running[at];
        let until_ms = u64::from(fault.until_ms);
        if now_ms < until_ms {
            return Ok(());
        }
        let latest_ms = until_ms + UNTIL_FELT.as_millis() as u64;
        if now_ms < latest_ms && !self.is_felt(&self.running[at])? {
            return self.press(&fault);
        }
        let has_bitten = self.end_fault(&fault)?;
        let count = self.counter(&fault)?.zip(counted);
        self.running[at].bites += u64::from(has_bitten);
        self.running[at].bites += count.map_or(0, |(now, before)| now.saturating_sub(before));
        self.running[at].until_ms = Some(unix_ms());
        Ok(())
    }

    /// What all lives of the phones have written so far.
    fn journal(&self) -> anyhow::Result<Journal> {
        let mut journal = Journal::default();
        for path in &self.dead_lives {
            let text = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
            journal.add(&String::from_utf8_lossy(&text))?;
        }
        if let Some(phones) = &self.phones {
            journal.add(&phones.journal_text()?)?;
        }
        Ok(journal)
    }

    /// Waits until shakes and claims are served again, or the bound is passed.
    fn wait_until_back(&mut self, first_beat_ms: u64) -> anyhow::Result<Vec<Recovery>> {
        let span = |running: &Running| Span {
            name: running.fault.kind.name().to_owned(),
            from_ms: running.from_ms.unwrap_or_default(),
            until_ms: running.until_ms.unwrap_or_default(),
        };
        let spans: Vec<_> = self.running.iter().map(span).collect();
        let first_ms = spans.iter().map(|span| span.from_ms).min().unwrap_or(first_beat_ms);
        let until = Instant::now() + Duration::from_millis(self.stage.back_ms_max);
        loop {
            self.look()?;
            let journal = self.journal()?;
            let usual_rate = journal.rate(first_beat_ms, first_ms);
            let found = recoveries(&journal, &spans, usual_rate);
            let is_back = found
                .iter()
                .all(|found| found.shakes_ms.is_some() && found.claims_ms.is_some());
            if is_back || Instant::now() >= until {
                thread::sleep(AFTER);
                return Ok(found);
            }
            thread::sleep(TICK * 10);
        }
    }

    /// Lets the phones finish, once there are no more gifts, and compares everything.
    fn finish(mut self, first_beat_ms: u64) -> anyhow::Result<Outcome> {
        // Gifts would go on for as long as phones are there to get them.
        self.stage.push(files::SHOW, &self.directory)?;
        let mut phones = self.phones.take().context("the phones play")?;
        nix::sys::signal::kill(phones.service.pid(), nix::sys::signal::Signal::SIGTERM)
            .context("cannot ask the phones to finish")?;
        let (at_most, interrupt) = (FINISH, self.stage.interrupt);
        let ended = Patience { at_most, interrupt }.wait(|| {
            self.look()?;
            phones.service.ended()
        })?;
        let status = ended.with_context(|| format!("the phones did not finish within {} s", FINISH.as_secs()))?;
        if !matches!(status.code(), Some(0 | 2)) {
            bail!("client-sim ended with {status}; {}", phones.service.log_end());
        }
        let report = read(&phones.report)?;
        let report: serde_json::Value = serde_json::from_str(&report).context("the phones' report is no JSON")?;
        let mut view = View::default();
        let credits = view.add_credits(&read(&phones.credits)?)?;
        self.phones = Some(phones);
        let journal = self.journal()?;
        let mut wrong = view.add_journal(&journal.told);
        wrong.extend(credits);
        let is_whole = self.dead_lives.is_empty();
        wrong.extend(report_failures(&report, &self.reasons()));
        self.stage.all.join(&view);
        wrong.extend(compare(self.stage, &self.directory, &view, self.number, is_whole)?);
        let struck: Vec<_> = self
            .running
            .iter()
            .map(|running| self.struck(running, first_beat_ms))
            .collect();
        Ok(Outcome {
            round: self.number,
            struck,
            shakes: report
                .pointer("/shakes/sent")
                .and_then(serde_json::Value::as_u64)
                .unwrap_or_default(),
            served: journal.served.values().sum(),
            credits: view.gains.len() as u64,
            cents: view.gains.values().sum(),
            recoveries: Vec::new(),
            wrong,
            amiss: Vec::new(),
            took: Duration::ZERO,
        })
    }

    /// Why claims of honest phones may be refused in this round.
    fn reasons(&self) -> Vec<&'static str> {
        let mut reasons = Vec::new();
        if !self.dead_lives.is_empty() {
            // A later life's users do not know what the earlier one's won.
            reasons.push("limit_reached");
        }
        reasons
    }

    fn struck(&self, running: &Running, first_beat_ms: u64) -> Struck {
        /// How long after a fault the gateway may still notice it.
        const NOTICE_MS: u64 = 2_500;
        let (from_ms, until_ms) = (
            running.from_ms.unwrap_or_default(),
            running.until_ms.unwrap_or_default(),
        );
        let seen = |mode: &str| self.saw_enter(&running.fault, mode, from_ms, until_ms + NOTICE_MS);
        Struck {
            fault: running.fault,
            from_ms: from_ms.saturating_sub(first_beat_ms),
            until_ms: until_ms.saturating_sub(first_beat_ms),
            bites: running.bites,
            was_shown: mode_of(running.fault.kind).is_some_and(seen),
        }
    }
}

fn read(path: &Path) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}
