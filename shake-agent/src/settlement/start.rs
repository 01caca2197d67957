//! What is asked of the target before a ledger is served, and what people do when the answer is not as it ought to be.

use super::file::{FileTarget, Lines, whole_bytes};
use super::outbox::Outbox;
use super::{Identity, Line, Settlement, SettlementError, Source, compare_last};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// How a target stands to its ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nothing was begun there yet.
    New,
    /// Its last line is the ledger's, or it has none yet.
    Known,
}

/// Asks the file for its last line, which the ledger must have. Makes nothing.
///
/// # Errors
/// [`SettlementError::NotInLedger`], [`SettlementError::NewLedger`] or [`SettlementError::OtherLedger`] when the file knows of
/// what the ledger does not; [`SettlementError::Gone`] when it was begun and has nothing; others when it cannot be read.
pub fn ask(file: &Path, ledger: &Path) -> Result<Standing, SettlementError> {
    let outbox = Outbox::open(ledger)?;
    let identity = match outbox.identity() {
        Ok(identity) => identity,
        Err(SettlementError::NotBegun(_)) => return ask_for_new_ledger(file, ledger),
        Err(error) => return Err(error),
    };
    match FileTarget::new(file.to_owned(), identity).last() {
        Ok(last) => compare_last(&outbox, last.as_ref()).map(|()| Standing::Known),
        Err(SettlementError::Gone { .. }) if !outbox.has_begun()? => Ok(Standing::New),
        Err(error) => Err(error),
    }
}

/// A ledger without a seed has no line, so the file must have none.
pub(crate) fn ask_for_new_ledger(file: &Path, ledger: &Path) -> Result<Standing, SettlementError> {
    let io = |action| SettlementError::io(action, file);
    let opened = match File::open(file) {
        Ok(opened) => opened,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Standing::New),
        Err(error) => return Err(io("open")(error)),
    };
    let whole = whole_bytes(&opened).map_err(io("read"))?;
    if whole == 0 {
        return Ok(Standing::New);
    }
    Err(SettlementError::NewLedger {
        path: file.to_owned(),
        ledger: ledger.to_owned(),
        found: Box::new(Lines::read(file, &opened, whole)?.identity()),
    })
}

/// Begins the file of a ledger, where it is missing or empty.
///
/// # Errors
/// When it is there already, or cannot be made.
pub fn begin(file: &Path, ledger: &Path) -> Result<(), SettlementError> {
    let mut target = FileTarget::new(file.to_owned(), Outbox::open(ledger)?.identity()?);
    match target.last() {
        Err(SettlementError::Gone { .. }) => target.begin(),
        Ok(last) => Err(SettlementError::Begun {
            path: file.to_owned(),
            lines: last.map_or(0, |line| line.seq),
        }),
        Err(error) => Err(error),
    }
}

/// The lines of the file from the first one on that the ledger does not have, or not so. None when there is no file.
///
/// # Errors
/// When one of the two cannot be read, or the file is that of another ledger.
pub fn unknown_to(file: &Path, ledger: &Path) -> Result<Vec<Line>, SettlementError> {
    let io = |action| SettlementError::io(action, file);
    let outbox = Outbox::open(ledger)?;
    let identity = outbox.identity()?;
    let opened = match File::open(file) {
        Ok(opened) => opened,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(io("open")(error)),
    };
    let whole = whole_bytes(&opened).map_err(io("read"))?;
    if whole == 0 {
        return Ok(Vec::new());
    }
    let mut lines = Lines::read(file, &opened, whole)?;
    if lines.identity() != identity {
        return Err(SettlementError::OtherLedger {
            path: file.to_owned(),
            expected: Box::new(identity),
            found: Box::new(lines.identity()),
        });
    }
    let mut unknown = Vec::new();
    while let Some(line) = lines.next()? {
        if !unknown.is_empty() || outbox.find(line.seq)? != Some(line) {
            unknown.push(line);
        }
    }
    Ok(unknown)
}

/// Which ledger a settlement file says that it belongs to.
///
/// # Errors
/// When it cannot be read, or has no header in order.
pub fn identity_of_file(file: &Path) -> Result<Identity, SettlementError> {
    let io = |action| SettlementError::io(action, file);
    let opened = File::open(file).map_err(SettlementError::unopened(file))?;
    let whole = whole_bytes(&opened).map_err(io("read"))?;
    Lines::read(file, &opened, whole).map(|lines| lines.identity())
}

/// What the settlement file of a ledger says in its header.
///
/// # Errors
/// When the ledger cannot be read, or was never begun.
pub fn identity_of_ledger(ledger: &Path) -> Result<Identity, SettlementError> {
    Outbox::open(ledger)?.identity()
}

/// Puts a file aside under a name that nothing has, and gives that name.
///
/// # Errors
/// When it cannot be renamed.
pub fn set_aside(file: &Path) -> Result<PathBuf, SettlementError> {
    let mut number = 1_u32;
    let aside = loop {
        let mut name = OsString::from(file);
        name.push(format!(".before-loss-{number}"));
        let aside = PathBuf::from(name);
        if !aside.exists() {
            break aside;
        }
        number += 1;
    };
    fs::rename(file, &aside).map_err(SettlementError::io("set aside", file))?;
    Ok(aside)
}
