//! Rotates the secret keys of a directory, one step at a time: add a key that waits, make it the active one, drop old ones.
//! Between the steps, every holder of the keys must have read them: see [`shake_rules::keys`] for why there are three.

use crate::files::{self, Access, FilesError, NewFile};
use crate::generate;
use crate::keys::{self, KeyFileError};
use jiff::Timestamp;
use serde::Serialize;
use shake_rules::UnixMillis;
use shake_rules::keys::{KeyRing, Purpose, RotationError};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// A step of a rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Add a key that checks and does not make yet.
    Add,
    /// Have the waiting key make from now on.
    Activate,
    /// Drop the oldest keys, until so many older than the active one are left.
    Retire {
        /// How many stay.
        kept: usize,
    },
}

/// The keys of one purpose after a step, by id only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rotated {
    /// What they are for.
    pub purpose: &'static str,
    /// All that check, oldest first.
    pub accepted: Vec<u8>,
    /// The one that makes.
    pub active: u8,
    /// When that was made so by this program, RFC 3339, UTC; nobody knows of a directory's first key.
    pub makes_since: Option<String>,
    /// The one that is to make next.
    pub waiting: Option<u8>,
    /// Those that are not there any more.
    pub retired: Vec<u8>,
}

/// Why nothing was changed.
#[derive(Debug, Error)]
pub enum RotateError {
    /// A key file cannot be used.
    #[error(transparent)]
    Keys(#[from] KeyFileError),
    /// The keys are not where this step begins.
    #[error("{}: {source}; no file was changed", path.display())]
    Step {
        /// The key file.
        path: PathBuf,
        /// Why.
        source: RotationError,
    },
    /// The system's random source failed.
    #[error("the system gave no random bytes")]
    Random,
    /// The directory cannot be had for this change alone, or the files cannot be written.
    #[error(transparent)]
    Files(#[from] FilesError),
}

/// Does one step for the keys of these purposes: for all of them or for none. The new files have mode 0600 and the owner of
/// the old ones.
///
/// # Errors
/// [`RotateError`]; the directory is then as it was.
pub fn rotate(directory: &Path, purposes: &[Purpose], step: Step, now: Timestamp) -> Result<Vec<Rotated>, RotateError> {
    let _locked = files::lock(directory)?;
    let mut new = Vec::new();
    let mut done = Vec::new();
    for &purpose in purposes {
        let before = keys::read(directory, purpose)?;
        let ring = after(&before, step, now).map_err(|error| match error {
            NoStep::Rotation(source) => RotateError::Step {
                path: directory.join(purpose.file_name()),
                source,
            },
            NoStep::Random => RotateError::Random,
        })?;
        new.push(NewFile {
            name: purpose.file_name(),
            access: Access::Private,
            content: ring.to_file(purpose),
        });
        done.push(Rotated {
            purpose: purpose.name(),
            accepted: ring.iter().map(|key| key.id).collect(),
            active: ring.active().id,
            makes_since: ring.makes_since().and_then(rfc3339),
            waiting: ring.waiting().map(|key| key.id),
            retired: before
                .iter()
                .map(|key| key.id)
                .filter(|&id| ring.find(id).is_none())
                .collect(),
        });
    }
    files::install(directory, &new, true)?;
    Ok(done)
}

/// The keys that retiring all but so many old ones would drop.
///
/// # Errors
/// [`KeyFileError`].
pub fn going(directory: &Path, purposes: &[Purpose], kept: usize) -> Result<Vec<(Purpose, u8)>, KeyFileError> {
    let mut going = Vec::new();
    for &purpose in purposes {
        let before = keys::read(directory, purpose)?;
        let after = before.retired(kept);
        let gone = before.iter().filter(|key| after.find(key.id).is_none());
        going.extend(gone.map(|key| (purpose, key.id)));
    }
    Ok(going)
}

/// Why a ring cannot make a step.
enum NoStep {
    Rotation(RotationError),
    Random,
}

fn after(ring: &KeyRing, step: Step, now: Timestamp) -> Result<KeyRing, NoStep> {
    let now = UnixMillis(u64::try_from(now.as_millisecond()).unwrap_or(0));
    let after = match step {
        Step::Add => ring.with_waiting(generate::secret().ok_or(NoStep::Random)?),
        Step::Activate => ring.activated().map(|ring| ring.making_since(now)),
        Step::Retire { kept } => Ok(ring.retired(kept)),
    };
    after.map_err(NoStep::Rotation)
}

fn rfc3339(at: UnixMillis) -> Option<String> {
    let at = i64::try_from(at.0).ok()?;
    Timestamp::from_millisecond(at).ok().map(|at| at.to_string())
}
