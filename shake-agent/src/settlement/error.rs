//! What can go wrong with settlement.

use super::Identity;
use crate::ledger::LedgerError;
use crate::places::absolute;
use std::io;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Why lines could not be settled. The agent tries again; users notice nothing.
#[derive(Debug, Error)]
pub enum SettlementError {
    /// A file operation failed. `action` reads after "cannot".
    #[error("cannot {action} the settlement file {}: {source}", absolute(path).display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// There is no file.
    #[error(
        "there is no settlement file at {}; give --config the agent's configuration, or --file (--settlement) the file",
        absolute(.0).display()
    )]
    Missing(PathBuf),
    /// Another process writes the file.
    #[error(
        "the settlement file {} is in use by another process; give each agent its own [settlement] file, and each `settlement run` its \
         own directory",
        .0.display()
    )]
    Locked(PathBuf),
    /// The file was removed or replaced while it was written.
    #[error("the settlement file {} was removed or replaced; it is opened anew", .0.display())]
    Replaced(PathBuf),
    /// A file was begun for this ledger, and has nothing of it any more.
    #[error(
        "the settlement file {} is {how}, and one was begun for this ledger before: bring it back. Or, when what was read of it need \
         not be read again, or is known by its keys, begin it anew from the first line on: `shake-agent settlement begin --from 1`, or \
         `shake-agent settlement run --from-the-beginning` of a ledger in PostgreSQL",
        path.display()
    )]
    Gone {
        /// The file.
        path: PathBuf,
        /// "missing" or "empty".
        how: &'static str,
    },
    /// No copy was begun in the directory.
    #[error(
        "there is no settlement file of a ledger in PostgreSQL in {}; give --out the directory that has them, or begin them there, each \
         from its part's first line on, with --from-the-beginning",
        absolute(.0).display()
    )]
    NoCopies(PathBuf),
    /// The file that is to be begun is there.
    #[error("the settlement file {} is there, with {lines} lines; nothing is to be begun", path.display())]
    Begun {
        /// The file.
        path: PathBuf,
        /// How many lines it has.
        lines: u64,
    },
    /// A file of version 1.
    #[error(
        "the settlement file {} has version 1 (credits only), which `shake-agent settlement verify` reads and nothing continues: \
         end its event with the program that began it, or give [settlement] file a new name",
        .0.display()
    )]
    Older(PathBuf),
    /// The file has lines, and the ledger is a new one.
    #[error(
        "the settlement file {} has lines of {found}, and the ledger {} was never begun: is it lost? Bring back its newest backup. \
         For a new ledger give [settlement] file a new name",
        path.display(), ledger.display()
    )]
    NewLedger {
        /// The file.
        path: PathBuf,
        /// The ledger.
        ledger: PathBuf,
        /// What the file says.
        found: Box<Identity>,
    },
    /// A line is damaged.
    #[error(
        "the settlement file {}, line {line} (from byte {at} on): {what}. Restore it from a copy, or cut it before that line: \
         what follows is then written again from the ledger, the same bytes",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: u64,
        /// Where it begins.
        at: u64,
        /// What is wrong with it.
        what: String,
    },
    /// The file is that of another ledger.
    #[error(
        "the settlement file {} belongs to another ledger: it has {found}, and the ledger has {expected}; \
         give [settlement] file the one of this ledger, or a new name",
        path.display()
    )]
    OtherLedger {
        /// The file.
        path: PathBuf,
        /// The ledger.
        expected: Box<Identity>,
        /// What the file says.
        found: Box<Identity>,
    },
    /// The target has a line that the ledger has not, or not so.
    #[error(
        "line {seq} was settled, and the ledger {}: was the ledger restored from a backup? Bring back the newest one. \
         To go on with this one all the same, `shake-agent ledger accept-loss` lists what it does not know of, and has the ledger \
         pay none of it again",
        if *there { "has another one of that number" } else { "does not have it" }
    )]
    NotInLedger {
        /// The line's number.
        seq: u64,
        /// Whether the ledger has some line of that number.
        there: bool,
    },
    /// Lines do not follow each other.
    #[error("line {found} came where {expected} must; the outbox of the ledger has a gap")]
    Order {
        /// The number that must come.
        expected: u64,
        /// The number that came.
        found: u64,
    },
    /// The ledger cannot be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The ledger has no seed yet, so it has no identity.
    #[error("the ledger {} was not begun yet; `shake-agent run` begins it", .0.display())]
    NotBegun(PathBuf),
}

impl SettlementError {
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }

    /// The file to be read cannot be opened.
    pub(super) fn unopened(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| match source.kind() {
            io::ErrorKind::NotFound => Self::Missing(path),
            _ => Self::io("open", &path)(source),
        }
    }

    /// Whether the books do not go together, so that trying again cannot help.
    #[must_use]
    pub fn is_for_a_person(&self) -> bool {
        matches!(
            self,
            Self::NotInLedger { .. }
                | Self::NewLedger { .. }
                | Self::OtherLedger { .. }
                | Self::Gone { .. }
                | Self::NoCopies(_)
                | Self::Older(_)
        )
    }

    /// Whether the target said nothing that could be compared: it is away, or damaged. It may answer later.
    #[must_use]
    pub fn is_silence(&self) -> bool {
        matches!(
            self,
            Self::Io { .. } | Self::Locked(_) | Self::Replaced(_) | Self::Damaged { .. }
        )
    }
}
