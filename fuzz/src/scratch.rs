//! A directory for targets whose decoder reads files: in TMPDIR, or in memory. One per thread.

use std::path::PathBuf;

use tempfile::TempDir;

thread_local! {
    static DIRECTORY: TempDir = tempfile::tempdir().expect("a temporary directory");
}

/// A path in the directory.
pub(crate) fn path(name: &str) -> PathBuf {
    DIRECTORY.with(|directory| directory.path().join(name))
}
