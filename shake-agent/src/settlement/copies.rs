//! `shake-agent settlement run`: copies of the outbox of a ledger on a server, one settlement file for each part, wherever whoever
//! pays wants them.
//!
//! ```text
//! which parts have new lines ─▶ their lines, by number ─▶ a small commit ─▶ the file of each part, synced
//! ```
//! The table is what payment pays by; files are copies of it. A file's last line is the only cursor, as that of a ledger in a file, so
//! it may die at any step: what is not in the file whole is written again, the same bytes. A part's lines are read in the order of
//! their numbers, and nothing behind a gap.
//!
//! It takes no lock and holds no snapshot, reads a limited number of lines at a time, and rests for as long as it read: claims do not
//! wait for it. Where it reads at the server that agents write to, what it sees may be on no standby yet; so nothing goes to a file
//! before a commit of its own is acknowledged.

use super::served::{Head, Served};
use super::worker::{BATCH_MAX, LOOK_EVERY, RETRY_MAX, RETRY_MIN};
use super::{FileTarget, Line, Settlement, SettlementError, Source, check_order, compare_last};
use crate::crash;
use crate::ledger::Place;
use crate::signals::Stop;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// Most lines of all parts in one round, of which each part has [`BATCH_MAX`] at the most: some twelve MiB.
const ROUND_MAX: usize = 16 * BATCH_MAX;
/// The longest sleep: a stop is noticed within it.
const SLEEP_MAX: Duration = Duration::from_millis(50);

/// What is to be copied, and how.
#[derive(Clone, Copy, Debug)]
pub struct Copying<'a> {
    /// The ledger, on a server.
    pub place: &'a Place,
    /// Where the files lie.
    pub directory: &'a Path,
    /// Files that are missing or empty are begun, from their part's first line on.
    pub from_the_beginning: bool,
    /// It ends when all lines that are there are written.
    pub once: bool,
}

/// What was copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copied {
    /// The parts of the event, each of which has a file.
    pub parts: usize,
    /// Lines that were written now.
    pub lines: u64,
    /// Whether all parts are closed: nothing follows.
    pub is_closed: bool,
}

/// The name of the file of a part.
#[must_use]
pub fn copy_name(part: u16) -> String {
    format!("settlement-{part}.log")
}

/// Copies lines as they come, until it is asked to end, or the ledger is closed and all of it written. While the server is away it
/// waits for it; `say` is told.
///
/// # Errors
/// [`SettlementError::NoCopies`], [`SettlementError::Gone`], [`SettlementError::OtherLedger`] or [`SettlementError::NotInLedger`] when
/// a person has to decide; others when it was to end at once, or the first try fails.
pub fn copy(copying: &Copying<'_>, stop: &Stop, mut say: impl FnMut(&str)) -> Result<Copied, SettlementError> {
    let mut copies = Copies::open(copying)?;
    let mut copied = Copied {
        parts: copies.files.len(),
        lines: 0,
        is_closed: false,
    };
    let (mut retry, mut is_down) = (RETRY_MIN, false);
    loop {
        let begun = Instant::now();
        let rest = match copies.step() {
            Ok(round) => {
                retry = RETRY_MIN;
                if std::mem::take(&mut is_down) {
                    say("the settlement files go on");
                }
                copied.lines += round.lines;
                copied.is_closed = round.is_closed;
                if stop.is_asked() || round.lines == 0 && (copying.once || round.is_closed) {
                    return Ok(copied);
                }
                if round.lines == 0 { LOOK_EVERY } else { begun.elapsed() }
            }
            Err(fault) if copying.once || fault.is_for_a_person() => return Err(fault),
            Err(fault) => {
                if !std::mem::replace(&mut is_down, true) {
                    say(&format!(
                        "{fault}; it is tried again, and lines wait in the ledger meanwhile"
                    ));
                }
                copies.served = None;
                let rest = retry;
                retry = (retry * 2).min(RETRY_MAX);
                rest
            }
        };
        sleep(rest, stop);
        if stop.is_asked() && is_down {
            return Ok(copied);
        }
    }
}

fn sleep(rest: Duration, stop: &Stop) {
    let begun = Instant::now();
    while !stop.is_asked()
        && let Some(left) = rest.checked_sub(begun.elapsed()).filter(|left| !left.is_zero())
    {
        thread::sleep(left.min(SLEEP_MAX));
    }
}

/// What came of a round.
struct Round {
    lines: u64,
    /// All parts were closed when it began.
    is_closed: bool,
}

/// The file of a part.
struct PartFile {
    path: PathBuf,
    head: Head,
    target: FileTarget,
    /// The number of its last line; `None` when the file has to be asked.
    cursor: Option<u64>,
}

struct Copies<'a> {
    place: &'a Place,
    /// `None` when it has to be reached anew.
    served: Option<Served>,
    files: Vec<PartFile>,
    /// Which file the next round begins with, so that one part does not keep the others waiting.
    first: usize,
}

impl<'a> Copies<'a> {
    fn open(copying: &Copying<'a>) -> Result<Self, SettlementError> {
        let served = Served::connect(copying.place)?;
        let copy = |head: Head| {
            let path = copying.directory.join(copy_name(head.identity.part));
            PartFile {
                target: FileTarget::new(path.clone(), head.identity),
                path,
                head,
                cursor: None,
            }
        };
        let mut files: Vec<PartFile> = served.heads()?.into_iter().map(copy).collect();
        if copying.from_the_beginning {
            let io = SettlementError::io("make the directory of", copying.directory);
            fs::create_dir_all(copying.directory).map_err(io)?;
        } else if !files.iter().any(|copy| copy.path.exists()) {
            return Err(SettlementError::NoCopies(copying.directory.to_owned()));
        }
        for copy in &mut files {
            match copy.target.last() {
                Err(SettlementError::Gone { .. }) if copying.from_the_beginning => copy.target.begin()?,
                found => {
                    found?;
                }
            }
        }
        Ok(Self {
            place: copying.place,
            served: Some(served),
            files,
            first: 0,
        })
    }

    fn step(&mut self) -> Result<Round, SettlementError> {
        let served = match &mut self.served {
            Some(served) => served,
            none => {
                // Another server may answer now, which has less.
                self.files.iter_mut().for_each(|copy| copy.cursor = None);
                none.insert(Served::connect(self.place)?)
            }
        };
        let heads = served.heads()?;
        let is_closed = heads.iter().all(|head| head.is_closed);
        for (copy, head) in self.files.iter_mut().zip(&heads) {
            copy.follow(head)?;
        }
        let count = self.files.len();
        let mut read: Vec<(usize, Vec<Line>)> = Vec::new();
        let mut lines = 0;
        for at in (self.first..self.first + count).map(|at| at % count) {
            if lines >= ROUND_MAX {
                self.first = at;
                break;
            }
            let copy = &mut self.files[at];
            let batch = copy.read(&served.part(copy.head.identity.part))?;
            lines += batch.len();
            if !batch.is_empty() {
                read.push((at, batch));
            }
        }
        crash::point("settlement:read");
        if !read.is_empty() {
            served.confirm()?;
        }
        for (at, batch) in &read {
            self.files[*at].append(batch)?;
        }
        Ok(Round {
            lines: lines as u64,
            is_closed,
        })
    }
}

impl PartFile {
    /// Takes note of how far the part is.
    fn follow(&mut self, head: &Head) -> Result<(), SettlementError> {
        if head.identity != self.head.identity {
            return Err(SettlementError::OtherLedger {
                path: self.path.clone(),
                expected: Box::new(head.identity),
                found: Box::new(self.head.identity),
            });
        }
        self.head = *head;
        Ok(())
    }

    /// The lines that follow the file's last one, which must be the ledger's.
    fn read(&mut self, part: &impl Source) -> Result<Vec<Line>, SettlementError> {
        let cursor = match self.cursor {
            Some(cursor) => cursor,
            None => {
                let last = self.target.last()?;
                compare_last(part, last.as_ref())?;
                last.map_or(0, |line| line.seq)
            }
        };
        self.cursor = Some(cursor);
        if self.head.last <= cursor {
            return Ok(Vec::new());
        }
        let batch = part.read(cursor, BATCH_MAX)?;
        check_order(cursor, &batch)?;
        Ok(batch)
    }

    fn append(&mut self, batch: &[Line]) -> Result<(), SettlementError> {
        // Whatever fails, the file is asked again where it stands.
        let cursor = self.cursor.take();
        self.target.append(batch)?;
        self.cursor = batch.last().map(|line| line.seq).or(cursor);
        Ok(())
    }
}
