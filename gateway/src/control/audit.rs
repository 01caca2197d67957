//! Who changed what and when: one JSON line for each request of an operator, refused ones and refused connections among
//! them, appended to `audit.log` in the state directory.
//!
//! The log turns its files itself: before a line would make `audit.log` too long, that becomes `audit.log.1`, which was
//! before becomes `audit.log.2`, and so on; the oldest of a configured number goes. A line is whole in one file, and none
//! is lost on the way. Programs that move the file (logrotate) are not needed, and would write past each other with this.

use crate::config::AuditFiles;
use serde::Serialize;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// The file's name in the state directory.
pub const FILE: &str = "audit.log";

/// One line.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Entry {
    /// Milliseconds since 1970 UTC.
    pub at_ms: u64,
    /// The name in the operator's certificate; empty when there was none.
    pub operator: String,
    /// SHA-256 of the certificate, in hex.
    pub fingerprint: String,
    pub address: String,
    /// `show`, `throttle`, `cue`, `cancel_cue`, `adopt`, `drain`, `cancel_drain`, `reload`, `connect`, `start`.
    pub what: &'static str,
    pub version: u64,
    /// SHA-256 of what was pushed, or of the certificate that holds after a reload, in hex.
    pub sha256: String,
    /// `done`, `already_there`, `done_not_kept`, or the refusal's name.
    pub result: &'static str,
    pub detail: String,
}

/// The log; without a state directory it goes nowhere but to the program's own.
pub struct Audit(Option<Mutex<Log>>);

struct Log {
    path: PathBuf,
    kept: AuditFiles,
    file: File,
    bytes: u64,
}

impl Audit {
    pub fn open(directory: Option<&Path>, kept: AuditFiles) -> io::Result<Self> {
        let open = |directory: &Path| Log::open(directory.join(FILE), kept);
        Ok(Self(directory.map(open).transpose()?.map(Mutex::new)))
    }

    /// Appends a line, durably.
    ///
    /// # Errors
    /// When the line could not be written; or when it was, but the files could not be turned, and the log grows on.
    pub fn append(&self, entry: &Entry) -> io::Result<()> {
        let Some(log) = &self.0 else {
            return Ok(());
        };
        let mut line = serde_json::to_vec(entry).map_err(io::Error::other)?;
        line.push(b'\n');
        // A thread that died while it held the lock left a whole line or none.
        let mut log = log.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        log.append(&line)
    }
}

impl Log {
    fn open(path: PathBuf, kept: AuditFiles) -> io::Result<Self> {
        let mut options = File::options();
        let file = options.append(true).create(true).mode(0o600).open(&path)?;
        let bytes = file.metadata()?.len();
        Ok(Self {
            path,
            kept,
            file,
            bytes,
        })
    }

    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        let is_full = self.bytes > 0 && self.bytes + line.len() as u64 > self.kept.file_bytes_max;
        // A file that cannot be turned is written on: rather a long log than a lost line.
        let turned = if is_full { self.turn() } else { Ok(()) };
        self.file.write_all(line)?;
        self.bytes += line.len() as u64;
        self.file.sync_data()?;
        turned
    }

    /// Gives each file the next number, from the oldest on, so that a crash between two steps leaves a gap in the numbers
    /// and every line where it was; then begins a new one. All lines are durable before: each append syncs.
    fn turn(&mut self) -> io::Result<()> {
        for number in (1..self.kept.files_max - 1).rev() {
            rename_if_there(&self.numbered(number), &self.numbered(number + 1))?;
        }
        rename_if_there(&self.path, &self.numbered(1))?;
        *self = Self::open(self.path.clone(), self.kept)?;
        let directory = self.path.parent().unwrap_or(Path::new("."));
        File::open(directory)?.sync_all()
    }

    fn numbered(&self, number: u32) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{number}"));
        name.into()
    }
}

fn rename_if_there(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(version: u64) -> Entry {
        Entry {
            version,
            ..Entry::default()
        }
    }

    /// The versions in the files, oldest file first.
    fn files(directory: &Path) -> Vec<Vec<u64>> {
        let mut found = Vec::new();
        for name in (1..9).rev().map(|n| format!("{FILE}.{n}")).chain([FILE.to_owned()]) {
            let Ok(text) = fs::read_to_string(directory.join(name)) else {
                continue;
            };
            let line = |line: &str| serde_json::from_str::<serde_json::Value>(line).expect("whole")["version"].as_u64();
            found.push(text.lines().map(|text| line(text).expect("a version")).collect());
        }
        found
    }

    #[test]
    fn files_turn_without_losing_a_line_and_the_oldest_goes() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let line = serde_json::to_vec(&entry(10)).expect("a line").len() as u64 + 1;
        let kept = AuditFiles {
            file_bytes_max: 2 * line,
            files_max: 3,
        };
        let write = |versions: std::ops::Range<u64>| {
            let audit = Audit::open(Some(directory.path()), kept).expect("opened");
            versions.for_each(|version| audit.append(&entry(version)).expect("written"));
        };
        write(10..13);
        assert_eq!(files(directory.path()), [vec![10, 11], vec![12]]);
        // A later life goes on where the last one stood.
        write(13..16);
        assert_eq!(files(directory.path()), [vec![10, 11], vec![12, 13], vec![14, 15]]);
        write(16..17);
        assert_eq!(files(directory.path()), [vec![12, 13], vec![14, 15], vec![16]]);
        // What a crash between two renames leaves.
        fs::rename(
            directory.path().join("audit.log.1"),
            directory.path().join("audit.log.2"),
        )
        .expect("renamed");
        write(17..19);
        assert_eq!(files(directory.path()), [vec![14, 15], vec![16, 17], vec![18]]);
        let mode = fs::metadata(directory.path().join(FILE)).expect("there");
        assert_eq!(std::os::unix::fs::MetadataExt::mode(&mode) & 0o777, 0o600);
    }

    #[test]
    fn a_file_that_cannot_be_turned_is_written_on() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let kept = AuditFiles {
            file_bytes_max: 1,
            files_max: 2,
        };
        let audit = Audit::open(Some(directory.path()), kept).expect("opened");
        audit.append(&entry(10)).expect("written");
        let blocked = directory.path().join("audit.log.1");
        fs::create_dir(&blocked).expect("made");
        assert!(audit.append(&entry(11)).is_err(), "it is told");
        assert_eq!(files(directory.path()).last(), Some(&vec![10, 11]), "and not lost");
        fs::remove_dir(&blocked).expect("removed");
        audit.append(&entry(12)).expect("written");
        assert_eq!(files(directory.path()), [vec![10, 11], vec![12]]);
    }
}
