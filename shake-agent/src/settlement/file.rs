//! The embedded target: an append-only file of lines (format: `line`). A batch is there once it is synced.
//!
//! Invariant: lines are only added after the last one that is known to be durable. After a failed write or sync the file is
//! cut back to that line, because what a failed sync left behind may read well and be gone after a power cut.
//!
//! A file is begun by [`FileTarget::begin`] alone. One that is missing or empty later is never begun again in silence: it would
//! have a hole to whoever has read the first one, or pay from the first line on to whoever has not kept keys.

use super::line::{Identity, LINE_BYTES_MAX};
use super::{Line, Settlement, SettlementError, check_order, is_next};
use crate::crash;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Bytes looked at together when the end of the last whole line is searched.
const TAIL_BYTES: u64 = 4_096;

/// The file as a target.
#[derive(Debug)]
pub struct FileTarget {
    path: PathBuf,
    identity: Identity,
    open: Option<Open>,
    /// How much of the file is known to be durable, after a failure.
    durable_bytes: Option<u64>,
}

#[derive(Debug)]
struct Open {
    file: File,
    /// Where the next line goes.
    bytes: u64,
    last: Option<Line>,
}

impl FileTarget {
    /// The file at `path` for the lines of one ledger. Nothing is opened yet.
    #[must_use]
    pub fn new(path: PathBuf, identity: Identity) -> Self {
        Self {
            path,
            identity,
            open: None,
            durable_bytes: None,
        }
    }

    /// Begins the file where it is missing or empty: it then has its header. One that was begun stays what it is.
    ///
    /// # Errors
    /// When it cannot be written, or is another file.
    pub fn begin(&self) -> Result<(), SettlementError> {
        let io = |action| SettlementError::io(action, &self.path);
        let options = OpenOptions::new().read(true).write(true).create(true).clone();
        let file = self.locked(options.open(&self.path).map_err(io("make"))?)?;
        let header = self.identity.to_line();
        if whole_bytes(&file).map_err(io("read"))? == 0 {
            // A header that was torn, or nothing. Whatever else stands there is not ours to write over.
            let mut torn = Vec::new();
            let limit = LINE_BYTES_MAX as u64;
            (&file).take(limit).read_to_end(&mut torn).map_err(io("read"))?;
            if !header.as_bytes().starts_with(&torn) {
                return Err(self.damaged_header("it is not a settlement file"));
            }
            file.write_all_at(header.as_bytes(), 0).map_err(io("write"))?;
            file.sync_all().map_err(io("sync"))?;
            sync_directory_of(&self.path).map_err(io("sync the directory of"))?;
            crash::point("settlement:begun");
        }
        drop(file);
        self.open().map(drop)
    }

    /// Opens the file, cuts a torn last line, and checks all others.
    fn open(&self) -> Result<Open, SettlementError> {
        let io = |action| SettlementError::io(action, &self.path);
        let file = match OpenOptions::new().read(true).write(true).open(&self.path) {
            Ok(file) => self.locked(file)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(self.gone("missing")),
            Err(error) => return Err(io("open")(error)),
        };
        if let Some(durable) = self.durable_bytes
            && durable < file.metadata().map_err(io("read"))?.len()
        {
            file.set_len(durable).map_err(io("cut"))?;
        }
        let whole = whole_bytes(&file).map_err(io("read"))?;
        if whole == 0 {
            return Err(self.gone("empty"));
        }
        let mut lines = Lines::read(&self.path, &file, whole)?;
        if lines.identity().ledger.is_none() {
            return Err(SettlementError::Older(self.path.clone()));
        }
        if lines.identity() != self.identity {
            return Err(SettlementError::OtherLedger {
                path: self.path.clone(),
                expected: Box::new(self.identity),
                found: Box::new(lines.identity()),
            });
        }
        let mut last = None;
        while let Some(line) = lines.next()? {
            last = Some(line);
        }
        drop(lines);
        // Now that it is known to be ours.
        file.set_len(whole).map_err(io("cut the torn last line of"))?;
        file.sync_all().map_err(io("sync"))?;
        Ok(Open {
            file,
            bytes: whole,
            last,
        })
    }

    fn locked(&self, file: File) -> Result<File, SettlementError> {
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => Err(SettlementError::Locked(self.path.clone())),
            Err(TryLockError::Error(error)) => Err(SettlementError::io("lock", &self.path)(error)),
        }
    }

    fn gone(&self, how: &'static str) -> SettlementError {
        SettlementError::Gone {
            path: self.path.clone(),
            how,
        }
    }

    fn damaged_header(&self, what: &str) -> SettlementError {
        SettlementError::Damaged {
            path: self.path.clone(),
            line: 1,
            at: 0,
            what: what.to_owned(),
        }
    }

    fn is_still_at(&self, file: &File) -> io::Result<bool> {
        let (ours, there) = (file.metadata()?, std::fs::metadata(&self.path));
        match there {
            Ok(there) => Ok((ours.dev(), ours.ino()) == (there.dev(), there.ino())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn write(&mut self, open: &mut Open, batch: &[Line]) -> Result<(), SettlementError> {
        let io = |action| SettlementError::io(action, &self.path);
        if !self.is_still_at(&open.file).map_err(io("look at"))? {
            return Err(SettlementError::Replaced(self.path.clone()));
        }
        let mut text = String::with_capacity(batch.len() * 192);
        for line in batch {
            self.identity.write(line, &mut text);
        }
        open.file
            .write_all_at(text.as_bytes(), open.bytes)
            .map_err(io("write"))?;
        crash::point("settlement:written");
        open.file.sync_data().map_err(io("sync"))?;
        crash::point("settlement:synced");
        open.bytes += text.len() as u64;
        open.last = batch.last().copied().or(open.last);
        Ok(())
    }
}

impl Settlement for FileTarget {
    fn last(&mut self) -> Result<Option<Line>, SettlementError> {
        if self.open.is_none() {
            self.open = Some(self.open()?);
            self.durable_bytes = None;
        }
        Ok(self.open.as_ref().and_then(|open| open.last))
    }

    fn append(&mut self, batch: &[Line]) -> Result<(), SettlementError> {
        let last = self.last()?;
        check_order(last.map_or(0, |line| line.seq), batch)?;
        let Some(mut open) = self.open.take() else {
            unreachable!("`last` leaves the file open or fails");
        };
        let outcome = self.write(&mut open, batch);
        match &outcome {
            Ok(()) => self.open = Some(open),
            Err(SettlementError::Replaced(_)) => {}
            Err(_) => self.durable_bytes = Some(open.bytes),
        }
        outcome
    }
}

/// Bytes up to the end of the last whole line.
pub(super) fn whole_bytes(file: &File) -> io::Result<u64> {
    let mut end = file.metadata()?.len();
    let mut block = [0; TAIL_BYTES as usize];
    while end > 0 {
        let begin = end.saturating_sub(TAIL_BYTES);
        let block = &mut block[..(end - begin) as usize];
        file.read_exact_at(block, begin)?;
        if let Some(at) = block.iter().rposition(|&byte| byte == b'\n') {
            return Ok(begin + at as u64 + 1);
        }
        end = begin;
    }
    Ok(0)
}

fn sync_directory_of(path: &Path) -> io::Result<()> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(directory)?.sync_all()
}

/// The whole lines of a settlement file, each checked: its form, its key, its number.
pub(super) struct Lines<'a> {
    path: &'a Path,
    reader: BufReader<io::Take<&'a File>>,
    identity: Identity,
    buffer: Vec<u8>,
    line: u64,
    at: u64,
    last: u64,
}

impl<'a> Lines<'a> {
    /// Reads the header of a file whose cursor is at its start, and whose whole lines take `whole` bytes.
    pub(super) fn read(path: &'a Path, file: &'a File, whole: u64) -> Result<Self, SettlementError> {
        let mut lines = Self {
            path,
            reader: BufReader::with_capacity(1 << 18, file.take(whole)),
            identity: Identity {
                ledger: None,
                event: 0,
                part: 0,
                parts: 0,
                records_crc: 0,
                begun_ms: 0,
            },
            buffer: Vec::with_capacity(LINE_BYTES_MAX),
            line: 0,
            at: 0,
            last: 0,
        };
        let header = match lines.fill()? {
            true => Identity::from_line(&lines.buffer),
            false => Err("it has no header"),
        };
        lines.identity = header.map_err(|what| lines.damaged(what))?;
        Ok(lines)
    }

    /// Which ledger it says that it belongs to.
    pub(super) fn identity(&self) -> Identity {
        self.identity
    }

    /// The next line; `None` after the last one.
    pub(super) fn next(&mut self) -> Result<Option<Line>, SettlementError> {
        if !self.fill()? {
            return Ok(None);
        }
        let line = self.identity.read(&self.buffer).map_err(|what| self.damaged(what))?;
        if !is_next(self.last, line.seq) {
            return Err(self.damaged(format!("it has number {} where {} must be", line.seq, self.last + 1)));
        }
        self.last = line.seq;
        Ok(Some(line))
    }

    /// Reads the next line without its end; false after the last one.
    fn fill(&mut self) -> Result<bool, SettlementError> {
        self.at += self.buffer.len() as u64 + u64::from(self.line > 0);
        self.line += 1;
        self.buffer.clear();
        let limit = LINE_BYTES_MAX as u64 + 1;
        let read = (&mut self.reader).take(limit).read_until(b'\n', &mut self.buffer);
        if read.map_err(SettlementError::io("read", self.path))? == 0 {
            return Ok(false);
        }
        match self.buffer.pop() {
            Some(b'\n') => Ok(true),
            _ => Err(self.damaged("it is longer than any line can be")),
        }
    }

    fn damaged(&self, what: impl Into<String>) -> SettlementError {
        SettlementError::Damaged {
            path: self.path.to_owned(),
            line: self.line,
            at: self.at,
            what: what.into(),
        }
    }
}
