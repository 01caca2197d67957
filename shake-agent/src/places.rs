//! How files are named in errors: in full, so that whoever reads one knows where was looked.

use std::path::{Path, PathBuf};

/// The path from the root on; as it is given where that cannot be told.
pub(crate) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}
