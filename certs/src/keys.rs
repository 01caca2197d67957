//! Reading a key file of a certificate directory, with errors that name it.

use shake_rules::document::Problems;
use shake_rules::keys::{KeyRing, Purpose};
use std::path::{Path, PathBuf};
use std::{fs, io};
use thiserror::Error;

/// Why there are no keys.
#[derive(Debug, Error)]
pub enum KeyFileError {
    /// The key file cannot be read.
    #[error("{}: cannot read the key file: {source}. Name the directory that has it, or bring it back from a copy", path.display())]
    Read {
        /// The key file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The key file is not one.
    #[error("{}: {problems}", path.display())]
    Wrong {
        /// The key file.
        path: PathBuf,
        /// Everything that is wrong with it.
        problems: Problems,
    },
}

/// The keys of one purpose.
///
/// # Errors
/// [`KeyFileError`].
pub fn read(directory: &Path, purpose: Purpose) -> Result<KeyRing, KeyFileError> {
    let path = directory.join(purpose.file_name());
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(source) => return Err(KeyFileError::Read { path, source }),
    };
    KeyRing::parse(&text, purpose).map_err(|problems| KeyFileError::Wrong { path, problems })
}
