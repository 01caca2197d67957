//! Who changed what and when: one JSON line for each request of an operator, refused ones and refused connections among
//! them, appended to `audit.log` in the state directory.

use serde::Serialize;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
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
    /// `show`, `throttle`, `cue`, `drain`, `connect`, `start`.
    pub what: &'static str,
    pub version: u64,
    /// SHA-256 of what was pushed, in hex.
    pub sha256: String,
    /// `done`, `already_there`, `done_not_kept`, or the refusal's name.
    pub result: &'static str,
    pub detail: String,
}

/// The log; without a state directory it goes nowhere but to the program's own.
pub struct Audit(Option<Mutex<File>>);

impl Audit {
    pub fn open(directory: Option<&Path>) -> io::Result<Self> {
        let open = |directory: &Path| {
            let mut options = File::options();
            options.append(true).create(true).mode(0o600).open(directory.join(FILE))
        };
        Ok(Self(directory.map(open).transpose()?.map(Mutex::new)))
    }

    /// Appends a line, durably.
    pub fn append(&self, entry: &Entry) -> io::Result<()> {
        let Some(file) = &self.0 else {
            return Ok(());
        };
        let mut line = serde_json::to_vec(entry).map_err(io::Error::other)?;
        line.push(b'\n');
        // A thread that died while it held the lock left a whole line or none.
        let mut file = file.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        file.write_all(&line)?;
        file.sync_data()
    }
}
