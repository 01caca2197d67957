//! What became of the last SIGHUP, in a file of the state directory: whoever sent it has no other answer.

use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The file's name in the state directory.
pub const FILE: &str = "reload.json";
/// No report that was written by this program is longer, in bytes.
const BYTES_MAX: u64 = 1 << 20;

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// When, in microseconds since 1970: no two are alike.
    pub at_us: u64,
    pub is_done: bool,
    pub message: String,
    /// The differences, or what is wrong.
    pub lines: Vec<String>,
}

impl Report {
    /// Puts it in place of the last one.
    ///
    /// # Errors
    /// What the system said.
    pub fn write(&self, state: &Path) -> io::Result<()> {
        let new = state.join("reload.json.new");
        let mut options = File::options();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        fs::rename(&new, state.join(FILE))
    }
}

/// The last report; `None` when there is none, or what stands there is none.
pub fn read(state: &Path) -> Option<Report> {
    let mut bytes = Vec::new();
    let file = File::open(state.join(FILE)).ok()?;
    file.take(BYTES_MAX).read_to_end(&mut bytes).ok()?;
    serde_json::from_slice(&bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_read_as_it_was_written() {
        let state = tempfile::tempdir().expect("a temporary directory");
        assert_eq!(read(state.path()), None);
        for is_done in [true, false] {
            let report = Report {
                at_us: 7,
                is_done,
                message: "2 file(s)".into(),
                lines: vec!["ca.pem".into()],
            };
            report.write(state.path()).expect("written");
            assert_eq!(read(state.path()), Some(report));
        }
        fs::write(state.path().join(FILE), "no report").expect("written");
        assert_eq!(read(state.path()), None);
    }
}
