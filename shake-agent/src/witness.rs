//! The witness: a small file in the state directory that says which ledger is served here and how many commits it has. A
//! ledger that was restored from a backup has fewer, and one that was begun anew is another: both would pay again what was
//! paid, so the agent refuses to start with them.
//!
//! It is written each second and at the end, always after the commits that it counts; so it is never ahead of a ledger that was
//! not restored. It lies apart from the ledger, because what is restored together says nothing.

use crate::ledger::{Bound, Commits, Incarnation, Known, Ledger, LedgerError, Store};
use serde::{Deserialize, Serialize};
use shake_rules::seed::SeedHeader;
use shake_rules::{LedgerId, SponsorId};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tempfile::NamedTempFile;
use thiserror::Error;
use tracing::warn;

/// Its name in the state directory.
pub const FILE: &str = "ledger-witness.toml";
/// How often it is written while commits are made.
const WRITE_EVERY: Duration = Duration::from_secs(1);
/// More than it ever has: a line of each sponsor.
const BYTES_MAX: u64 = 1 << 21;

/// What the file says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Witness {
    /// The ledger's identity, 32 hexadecimal digits.
    ledger: String,
    /// The opening that made the last commit, 16 hexadecimal digits.
    incarnation: String,
    /// How many commits it had.
    stamp: u64,
    /// The event of its seed.
    event: u32,
    /// The part of its seed.
    part: u16,
    /// Its books are closed: another event may take its place.
    #[serde(default)]
    closed: bool,
    /// It was written when the agent ended, after the last commit.
    #[serde(default)]
    ended: bool,
    /// How many packets of each sponsor were released.
    #[serde(default)]
    released: Vec<(u16, u64)>,
}

/// Why a ledger is not served, or the witness not heard.
#[derive(Debug, Error)]
pub enum WitnessError {
    /// The file cannot be read.
    #[error("cannot read the witness {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The file makes no sense.
    #[error(
        "the witness {} makes no sense ({what}). It says how many commits the ledger had: if you are sure that the ledger is the \
         newest, put it aside",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The ledger lost commits.
    #[error(
        "the ledger {} lost commits: {} has seen its commit {seen}{}, and it has {stamp}. Was it restored from a backup, or replaced? \
         Bring back the newest one. To go on with this one all the same, `shake-agent ledger accept-loss` tells what it does not know of",
        ledger.display(), path.display(), if *is_known { "" } else { " of an opening that it does not know" }
    )]
    Behind {
        /// The ledger.
        ledger: PathBuf,
        /// The witness.
        path: PathBuf,
        /// The commits that it has seen.
        seen: u64,
        /// Whether the ledger knows the opening that made them.
        is_known: bool,
        /// The ledger's commits.
        stamp: u64,
    },
    /// Another ledger was served.
    #[error(
        "the ledger {} is {}, and {} has seen ledger {seen} serve this seed (event {event}, part {part}): two ledgers would pay each \
         packet twice. Bring back that one. Another event has a seed with another event number",
        ledger.display(), own.map_or("new".to_owned(), |own| format!("ledger {own}")), path.display()
    )]
    OtherLedger {
        /// The ledger.
        ledger: PathBuf,
        /// Its identity; `None` when it has no seed yet.
        own: Option<LedgerId>,
        /// The witness.
        path: PathBuf,
        /// The ledger that it has seen.
        seen: LedgerId,
        /// The event of both.
        event: u32,
        /// The part of both.
        part: u16,
    },
    /// The state directory is that of another event.
    #[error(
        "{} has seen ledger {seen} of event {event}, whose books are not closed, and this seed is of event {own}: each event, and each \
         rehearsal, has a state directory of its own. Give [state] directory another one, or close the books of event {event}",
        path.display()
    )]
    OtherEvent {
        /// The witness.
        path: PathBuf,
        /// The ledger that it has seen.
        seen: LedgerId,
        /// The event of that.
        event: u32,
        /// The event of the seed.
        own: u32,
    },
    /// The ledger cannot be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl Witness {
    /// What is to be said of a ledger that is bound to a seed; `None` while it is not.
    #[must_use]
    pub fn of<S: Store>(ledger: &Ledger<S>, header: &SeedHeader) -> Option<Self> {
        Some(Self {
            ledger: ledger.identity()?.to_string(),
            incarnation: ledger.incarnation().to_string(),
            stamp: ledger.stamp(),
            event: header.event.0,
            part: header.part,
            closed: false,
            ended: false,
            released: ledger.bound().map(released).unwrap_or_default(),
        })
    }

    /// Reads the file; `None` when there is none.
    ///
    /// # Errors
    /// When it cannot be read or makes no sense.
    pub fn read(path: &Path) -> Result<Option<Self>, WitnessError> {
        let unread = |source| WitnessError::Read {
            path: path.to_owned(),
            source,
        };
        let damaged = |what: &str| WitnessError::Damaged {
            path: path.to_owned(),
            what: what.to_owned(),
        };
        match fs::metadata(path) {
            Ok(found) if found.len() > BYTES_MAX => return Err(damaged("it is too long")),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unread(error)),
        }
        let text = fs::read_to_string(path).map_err(unread)?;
        let witness: Self = toml::from_str(&text).map_err(|error| damaged(error.message()))?;
        witness
            .names()
            .map(|_| Some(witness.clone()))
            .ok_or_else(|| damaged("its ledger or incarnation is no hexadecimal number"))
    }

    /// Writes the file in the place of the one that is there.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let mut file = NamedTempFile::new_in(directory.unwrap_or(Path::new(".")))?;
        let text = toml::to_string(self).map_err(io::Error::other)?;
        write!(
            file,
            "# Which ledger the agent serves here, and how many commits it has. Written by the agent; see docs/operator.md.\n{text}"
        )?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(())
    }

    fn names(&self) -> Option<(LedgerId, Incarnation)> {
        Some((LedgerId::parse(&self.ledger)?, Incarnation::parse(&self.incarnation)?))
    }

    /// Refuses another ledger than the one that it has seen serve this seed, and another event while the books of the one that it
    /// has seen are open.
    ///
    /// # Errors
    /// [`WitnessError::OtherLedger`] or [`WitnessError::OtherEvent`].
    pub fn allows(
        &self,
        path: &Path,
        ledger: &Path,
        own: Option<LedgerId>,
        header: &SeedHeader,
    ) -> Result<(), WitnessError> {
        let Some((seen, _)) = self.names().filter(|(seen, _)| own != Some(*seen)) else {
            return Ok(());
        };
        if self.event != header.event.0 && !self.closed {
            return Err(WitnessError::OtherEvent {
                path: path.to_owned(),
                seen,
                event: self.event,
                own: header.event.0,
            });
        }
        if (self.event, self.part) != (header.event.0, header.part) {
            return Ok(());
        }
        Err(WitnessError::OtherLedger {
            ledger: ledger.to_owned(),
            own,
            path: path.to_owned(),
            seen,
            event: self.event,
            part: self.part,
        })
    }

    /// Compares a ledger, before anything is written to it, with what was seen. True when the witness vouches for it: it has
    /// seen this ledger, and nothing that the ledger does not know of.
    ///
    /// # Errors
    /// [`WitnessError::Behind`] or [`WitnessError::OtherLedger`] when the ledger must not be served.
    pub fn vouches(&self, path: &Path, ledger: &impl Commits, header: &SeedHeader) -> Result<bool, WitnessError> {
        let Some((seen, incarnation)) = self.names() else {
            return Ok(false);
        };
        let own = ledger.identity()?;
        if own != Some(seen) {
            return self.allows(path, ledger.path(), own, header).map(|()| false);
        }
        let is_known = ledger.knows(incarnation)?;
        let stamp = ledger.stamp()?;
        if self.stamp <= stamp && (is_known || self.stamp <= ledger.lost_stamp()?) {
            return Ok(true);
        }
        Err(WitnessError::Behind {
            ledger: ledger.path().to_owned(),
            path: path.to_owned(),
            seen: self.stamp,
            is_known,
            stamp,
        })
    }

    /// Notes that the books of this ledger are closed, where it is the one that was seen.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn note_closed(path: &Path, ledger: &Ledger) -> Result<(), WitnessError> {
        let Some(mut witness) = Self::read(path)? else {
            return Ok(());
        };
        let is_ours = witness.names().map(|(seen, _)| seen) == ledger.identity();
        if is_ours && !witness.closed {
            witness.closed = true;
            if let Err(error) = witness.write(path) {
                warn!(path = %path.display(), %error, "cannot note in the witness that the books are closed");
            }
        }
        Ok(())
    }

    /// How many commits were seen.
    #[must_use]
    pub fn stamp(&self) -> u64 {
        self.stamp
    }

    /// What it knows of the part of a seed, and of which ledger. `shown` gives the last commit of that ledger that the mapping of the
    /// rings shows. `None` unless it is all that there is to know: nothing was committed after it was written.
    #[must_use]
    pub fn known(&self, header: &SeedHeader, shown: impl FnOnce(LedgerId) -> Option<u64>) -> Option<(LedgerId, Known)> {
        let is_of_seed = (self.event, self.part) == (header.event.0, header.part);
        let (identity, _) = self.names().filter(|_| is_of_seed)?;
        let is_all = shown(identity).map_or(self.ended, |shown| shown <= self.stamp);
        if !is_all {
            return None;
        }
        let released = self
            .released
            .iter()
            .map(|&(sponsor, count)| (SponsorId(sponsor), count));
        let known = Known {
            stamp: self.stamp,
            released: released.collect(),
        };
        Some((identity, known))
    }
}

fn released(bound: &Bound) -> Vec<(u16, u64)> {
    let released = bound.released.iter();
    released.map(|(sponsor, count)| (sponsor.0, *count)).collect()
}

/// The thread that writes the witness. Dropping it writes the last stamp.
#[derive(Debug)]
pub struct Keeper {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    /// The last commit, and what was released with it.
    noted: Mutex<(u64, Vec<(u16, u64)>)>,
    stop: AtomicBool,
    panicked: AtomicBool,
}

impl Keeper {
    /// Starts the thread, which writes `witness` and then each new stamp.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn spawn(path: PathBuf, witness: Witness) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            noted: Mutex::new((witness.stamp, witness.released.clone())),
            stop: AtomicBool::new(false),
            panicked: AtomicBool::new(false),
        });
        let theirs = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("witness".into())
            .spawn(move || keep(&path, witness, &theirs))?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// What is committed. Nothing older than what was noted before: a ledger that lost commits is found out by it.
    pub fn note<S: Store>(&self, ledger: &Ledger<S>) {
        let mut noted = self.shared.noted.lock().unwrap_or_else(PoisonError::into_inner);
        if ledger.stamp() > noted.0 {
            *noted = (ledger.stamp(), ledger.bound().map(released).unwrap_or_default());
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // Then the last commit may not be noted.
        self.shared.panicked.store(thread::panicking(), Ordering::Relaxed);
        self.shared.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A panic there was reported by the panic hook.
            let _ = thread.join();
        }
    }
}

fn keep(path: &Path, mut witness: Witness, shared: &Shared) {
    let (mut written, mut failing) = (None, false);
    loop {
        let stops = shared.stop.load(Ordering::Acquire);
        let noted = shared.noted.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if stops || written != Some(noted.0) {
            (witness.stamp, witness.released) = noted;
            witness.ended = stops && !shared.panicked.load(Ordering::Relaxed);
            match witness.write(path) {
                Ok(()) => (written, failing) = (Some(witness.stamp), false),
                Err(error) => {
                    if !failing {
                        warn!(
                            path = %path.display(), %error,
                            "the witness of the ledger cannot be written: a ledger that is restored from a backup may go unnoticed. It is tried again"
                        );
                    }
                    failing = true;
                }
            }
        }
        if stops {
            return;
        }
        thread::park_timeout(WRITE_EVERY);
    }
}
