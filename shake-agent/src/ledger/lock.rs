//! Only one agent writes to a ledger: a lock file beside it, freed by the kernel when its holder dies.

use super::LedgerError;
use std::ffi::OsString;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// The lock of a ledger, held.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock of the ledger at `ledger`, and writes this process's number into it for others to read.
    pub(super) fn take(ledger: &Path) -> Result<Self, LedgerError> {
        let path = lock_path(ledger);
        let io = |action, source| LedgerError::io(action, path.clone(), source);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|source| io("open", source))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(LedgerError::Locked {
                    ledger: ledger.to_owned(),
                    holder: said_by(&mut file),
                });
            }
            Err(TryLockError::Error(source)) => return Err(io("lock", source)),
        }
        let write = |file: &mut File| -> std::io::Result<()> {
            file.set_len(0)?;
            file.seek(SeekFrom::Start(0))?;
            writeln!(file, "{}", std::process::id())
        };
        write(&mut file).map_err(|source| io("write", source))?;
        Ok(Self { _file: file })
    }
}

/// What the lock file of a ledger says of the process that holds it; `None` when nobody does. Takes nothing.
///
/// # Errors
/// When the lock file is there and cannot be read.
pub fn holder(ledger: &Path) -> Result<Option<String>, LedgerError> {
    let path = lock_path(ledger);
    let io = |action, source| LedgerError::io(action, path.clone(), source);
    let mut file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(io("open", source)),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(None),
        Err(TryLockError::WouldBlock) => Ok(Some(said_by(&mut file))),
        Err(TryLockError::Error(source)) => Err(io("look at", source)),
    }
}

/// Only for messages: whatever cannot be read is left out.
fn said_by(file: &mut File) -> String {
    let mut holder = String::new();
    let _ = Read::by_ref(file).take(20).read_to_string(&mut holder);
    holder.trim().to_owned()
}

fn lock_path(ledger: &Path) -> PathBuf {
    let mut name = OsString::from(ledger);
    name.push(".lock");
    PathBuf::from(name)
}

/// Makes the names of new files in the ledger's directory durable.
pub(super) fn sync_directory_of(ledger: &Path) -> Result<(), LedgerError> {
    let directory = match ledger.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(|source| LedgerError::io("sync", directory.to_owned(), source))
}
