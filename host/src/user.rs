//! Whose files are whose, for programs that root may start by hand.

use nix::unistd::{Uid, geteuid};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use thiserror::Error;

/// What root makes beside another user's files, that user cannot open.
#[derive(Debug, Error, PartialEq, Eq)]
#[error(
    "{path} belongs to user {owner}, and this is root: {owner} could not open what root makes now, and would not start again. \
     Start it as that user: through its service, or with `setpriv --reuid {owner} --regid {group} --clear-groups`"
)]
pub struct ForeignOwner {
    /// What belongs to somebody else.
    path: String,
    /// Their number.
    owner: u32,
    /// Their group's.
    group: u32,
}

/// Refuses root what belongs to somebody else. What is not there belongs to nobody.
///
/// # Errors
/// [`ForeignOwner`].
pub fn owns(path: &Path) -> Result<(), ForeignOwner> {
    match fs::metadata(path) {
        Ok(found) if geteuid().is_root() && !Uid::from_raw(found.uid()).is_root() => Err(ForeignOwner {
            path: path.display().to_string(),
            owner: found.uid(),
            group: found.gid(),
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A test for root, whom `cargo test` in a container often is.
    #[test]
    fn root_is_told_whose_it_is() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        assert_eq!(owns(directory.path()), Ok(()));
        assert_eq!(owns(&directory.path().join("none")), Ok(()));
        if !geteuid().is_root() {
            return;
        }
        std::os::unix::fs::chown(directory.path(), Some(12_345), Some(12_346)).expect("root may");
        let error = owns(directory.path()).expect_err("another's").to_string();
        assert!(error.contains("--reuid 12345 --regid 12346"), "{error}");
    }
}
