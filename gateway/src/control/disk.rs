//! The state directory: what runs is written whole and durably at each change, twice, and read at the start. One gateway
//! at a time has it.

use host::user::{self, ForeignOwner};
use shake_rules::kept::{self, FILES, Kept};
use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Why the state directory cannot be used.
#[derive(Debug, Error)]
pub enum DiskError {
    /// What the file system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    /// The service that it is of could not use what is made.
    #[error("[state] directory: {0}")]
    Foreign(#[from] ForeignOwner),
    /// Two gateways would write past each other.
    #[error("{} is in use by another gateway; give each its own [state] directory", .0.display())]
    Taken(PathBuf),
    /// Something was kept, and nobody knows what.
    #[error(
        "what ran before cannot be read, and the configured files may not be what the evening has come to:\n  {}\n\
         put a good {} back, or begin with the configured files by `gateway run --forget-pushed`",
        .faults.join("\n  "), FILES[0]
    )]
    Damaged {
        faults: Vec<String>,
        /// What can be read of it all the same.
        rest: Option<Box<Kept>>,
    },
}

fn failed<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> DiskError + 'a {
    move |source| DiskError::Io {
        action,
        path: path.to_owned(),
        source,
    }
}

/// The directory, held. A start that fails leaves none behind that it made.
pub struct Disk {
    directory: PathBuf,
    /// Carries the lock: it belongs to this open file description.
    lock: File,
    /// Whether it was made here.
    is_fresh: bool,
}

impl Disk {
    /// Takes the directory; makes it, for its owner alone, when it is not there.
    pub fn open(directory: &Path) -> Result<Self, DiskError> {
        user::owns(directory)?;
        let is_fresh = !directory.is_dir();
        if is_fresh {
            let mut builder = DirBuilder::new();
            builder.recursive(true).mode(0o700);
            builder
                .create(directory)
                .map_err(failed("make the state directory", directory))?;
        }
        let lock = File::open(directory).map_err(failed("open the state directory", directory))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(DiskError::Taken(directory.to_owned())),
            Err(TryLockError::Error(source)) => return Err(failed("lock", directory)(source)),
        }
        Ok(Self {
            directory: directory.to_owned(),
            lock,
            is_fresh,
        })
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// What was kept last; `None` when nothing ever was.
    pub fn read(&self) -> Result<Option<Kept>, DiskError> {
        read(&self.directory)
    }

    /// Writes what is to run, one copy after the other, so that at any moment one of them is there, whole.
    pub fn write(&self, kept: &Kept) -> Result<(), DiskError> {
        let text = kept.to_text();
        FILES.iter().try_for_each(|name| self.replace(name, text.as_bytes()))
    }

    /// Writes under another name first, durably, and then in place of the old.
    fn replace(&self, name: &str, bytes: &[u8]) -> Result<(), DiskError> {
        let (path, new) = (self.path(name), self.path(&format!("{name}.new")));
        let write = || {
            // What an attempt left behind, perhaps another user's.
            match fs::remove_file(&new) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut options = File::options();
            let mut file = options.write(true).create_new(true).mode(0o600).open(&new)?;
            file.write_all(bytes)?;
            file.sync_all()
        };
        write().map_err(failed("write", &new))?;
        fs::rename(&new, &path).map_err(failed("replace", &path))?;
        self.lock.sync_all().map_err(failed("flush", &self.directory))
    }
}

/// What was kept last in a state directory, which need not be held; `None` when nothing ever was.
pub fn read(directory: &Path) -> Result<Option<Kept>, DiskError> {
    let texts = FILES.map(|name| match fs::read_to_string(directory.join(name)) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.to_string()),
    });
    kept::newest(FILES.into_iter().zip(texts.clone())).map_err(|faults| DiskError::Damaged {
        faults: faults
            .into_iter()
            .map(|fault| format!("{}: {fault}", directory.display()))
            .collect(),
        rest: texts
            .into_iter()
            .flatten()
            .flatten()
            .find_map(|text| Kept::salvage(&text))
            .map(Box::new),
    })
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.is_fresh {
            // It stays when anything is in it.
            let _ = fs::remove_dir(&self.directory);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn kept(version: u64) -> Kept {
        Kept {
            version,
            show: "x = 1\n".into(),
            ..Kept::default()
        }
    }

    #[test]
    fn what_is_written_is_read_and_for_its_owner_alone() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let disk = Disk::open(&directory.path().join("state")).expect("made");
        assert_eq!(disk.read().expect("nothing is no fault"), None);
        disk.write(&kept(3)).expect("written");
        let mode = |path: PathBuf| fs::metadata(path).expect("there").permissions().mode() & 0o777;
        for name in FILES {
            assert_eq!(mode(disk.path(name)), 0o600);
        }
        assert_eq!(
            (disk.read().expect("read"), mode(disk.directory.clone())),
            (Some(kept(3)), 0o700)
        );
    }

    #[test]
    fn one_damaged_copy_is_no_loss_and_two_are_told_with_what_is_left() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let disk = Disk::open(directory.path()).expect("there");
        disk.write(&kept(3)).expect("written");
        let good = fs::read_to_string(disk.path(FILES[0])).expect("there");
        for name in FILES {
            fs::write(disk.path(name), &good[..good.len() / 2]).expect("written");
            if name == FILES[0] {
                assert_eq!(disk.read().expect("the copy"), Some(kept(3)));
            }
        }
        let error = disk.read().expect_err("both are damaged");
        for word in ["live.toml: ", "live.copy.toml: ", "--forget-pushed"] {
            assert!(error.to_string().contains(word), "{error}");
        }
        // A byte changed by hand is no good file either, but says which versions there were.
        fs::write(disk.path(FILES[0]), good.replace("x = 1", "x = 2")).expect("written");
        let Err(DiskError::Damaged { rest, .. }) = disk.read() else {
            panic!("its checksum differs");
        };
        assert_eq!(rest.map(|rest| rest.version), Some(3));
    }

    #[test]
    fn a_directory_has_one_gateway_and_goes_with_a_start_that_failed() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let state = directory.path().join("state");
        let disk = Disk::open(&state).expect("made");
        assert!(matches!(Disk::open(&state), Err(DiskError::Taken(_))));
        drop(disk);
        assert!(!state.exists(), "nothing was ever written there");
        let disk = Disk::open(&state).expect("made");
        disk.write(&kept(1)).expect("written");
        drop(disk);
        assert!(state.exists() && Disk::open(&state).is_ok());
    }
}
