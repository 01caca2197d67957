//! What can go wrong with a ledger.

use super::postgres::{Failure, Halt};
use crate::places::absolute;
use crate::seed_file::SeedFileError;
use jiff::Timestamp;
use shake_rules::money::money;
use shake_rules::seed::SeedHeader;
use shake_rules::{Cents, PacketId, UnixMillis};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use thiserror::Error;

/// Why the ledger refused or failed.
#[derive(Debug, Error)]
pub enum LedgerError {
    /// Another process has the ledger open for writing.
    #[error(
        "the ledger {} is in use by another agent (process {holder}); stop that one, or give this one its own [ledger] path",
        ledger.display()
    )]
    Locked {
        /// The ledger.
        ledger: PathBuf,
        /// What the lock file says of its holder.
        holder: String,
    },
    /// There is no file.
    #[error(
        "there is no ledger at {}; give --config the agent's configuration, or --ledger the file (`shake-agent run` makes one when an \
         event begins)",
        absolute(.0).display()
    )]
    Missing(PathBuf),
    /// Some other file.
    #[error("{} is not a ledger of this program; give [ledger] path the right file", .0.display())]
    NotALedger(PathBuf),
    /// A ledger of another version.
    #[error("the ledger {} has version {found} and this program knows version {supported}; use the program that made it (`shake-agent --version`)", path.display())]
    Version {
        /// The ledger.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The version that this program reads and writes.
        supported: i64,
    },
    /// A ledger of a version before.
    #[error(
        "the ledger {} has version {found}, which this program reads (audit, export, show, settlement verify) and never continues: an \
         event ends with the program that began it. Another event has a ledger of its own",
        path.display()
    )]
    Older {
        /// The ledger.
        path: PathBuf,
        /// Its version.
        found: i64,
    },
    /// The file system cannot hold a write-ahead log.
    #[error("the ledger {} cannot have a write-ahead log here (its journal mode stays {mode:?}); put it on a local disk", path.display())]
    NoWal {
        /// The ledger.
        path: PathBuf,
        /// The mode that SQLite gave instead.
        mode: String,
    },
    /// The ledger belongs to another seed file.
    #[error(
        "{} is not the seed of the ledger {}: the ledger has {}, the file has {}; give [seed] file the one that the ledger was begun with",
        seed.display(), ledger.display(), describe(bound), describe(found)
    )]
    OtherSeed {
        /// The ledger.
        ledger: PathBuf,
        /// The file that was refused.
        seed: PathBuf,
        /// The seed that the ledger was begun with.
        bound: Box<SeedHeader>,
        /// The header of the file.
        found: Box<SeedHeader>,
    },
    /// The seed's sum does not fit the ledger's numbers.
    #[error("seed and gift budget together, {}, are over the ledger's limit of 2^63 - 1 cents", money(.0.0))]
    SeedTooLarge(Cents),
    /// The seed's ids are those of sent packets.
    #[error(
        "packet {0} of the seed has bit 63 set, which is for packets that users send; generate the seed with an event number below 32768"
    )]
    SeedIds(PacketId),
    /// The seed has packets of the event itself.
    #[error(
        "the seed has packets of sponsor 0, which is the event itself with its budget for gifts; generate the seed with sponsors from 1 on"
    )]
    SeedSponsor,
    /// The seed file is damaged or unreadable.
    #[error(transparent)]
    SeedFile(#[from] SeedFileError),
    /// A ring is further than the ledger: the ledger lost commits.
    #[error(
        "the ledger {} lost commits: the {ring} ring of shard {shard} stands at {ring_position} and the ledger knows of {ledger_position} only. \
         Was it restored from a backup, or replaced? Bring back the newest one. To go on with this one all the same, `shake-agent ledger accept-loss` tells \
         what it does not know of; the mapping is {}",
        ledger.display(), mapping.display()
    )]
    Behind {
        /// The ledger.
        ledger: PathBuf,
        /// The mapping.
        mapping: PathBuf,
        /// The shard.
        shard: u16,
        /// "request" or "grant".
        ring: &'static str,
        /// Where the ring stands.
        ring_position: u64,
        /// Where the ledger says that it stands.
        ledger_position: u64,
    },
    /// A file operation failed. `action` reads after "cannot".
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// SQLite failed. `action` reads after "cannot".
    #[error("cannot {action} the ledger {}: {source}", path.display())]
    Sqlite {
        /// What was tried.
        action: &'static str,
        /// The ledger.
        path: PathBuf,
        /// SQLite's reason.
        source: rusqlite::Error,
    },
    /// PostgreSQL failed. `action` reads after "cannot".
    #[error("cannot {action} the ledger {}: {source}", place.display())]
    Postgres {
        /// What was tried.
        action: &'static str,
        /// Server, database and part.
        place: PathBuf,
        /// The reason.
        source: Failure,
    },
    /// A row says what no ledger says.
    #[error("the ledger {} holds what this program never writes: {what}", place.display())]
    Strange {
        /// Where it lies.
        place: PathBuf,
        /// What was found.
        what: String,
    },
    /// All of a ledger is to be read where agents write.
    #[error(
        "{} is the server that agents write to, and whoever reads all of it makes them slow: give a standby's address, or --on-primary, \
         which ends after half a minute",
        .0.display()
    )]
    OnPrimary(PathBuf),
    /// It took too long there.
    #[error(
        "{} is the server that agents write to, and all of it could not be read within {} s: read a standby, or a copy that stays in \
         recovery",
        .0.display(), .1.as_secs()
    )]
    TooLongOnPrimary(PathBuf, Duration),
    /// The database knows no such part.
    #[error("there is no {}: a part's row is made with the tables, from the seed files of the event", .0.display())]
    NoPart(PathBuf),
    /// Another installation has the part.
    #[error(
        "{} belongs to the agent of another installation; give this one the part, and the state directory, that are its own. When that \
         agent is gone for good, `shake-agent part adopt` gives its part to this one",
        .0.display()
    )]
    OthersPart(PathBuf),
    /// Nobody has the part any more.
    #[error("{} is retired: nothing more of its seed is handed out, until `shake-agent part adopt` gives it to an agent", .0.display())]
    Retired(PathBuf),
    /// The part's agent seems to run.
    #[error(
        "{} was written {ago_ms} ms ago: its agent seems to run. Stop it, and try again in ten seconds; with --force it ends at its next \
         transaction",
        place.display()
    )]
    PartSeen {
        /// Server, database and part.
        place: PathBuf,
        /// How long ago, in milliseconds.
        ago_ms: u64,
    },
    /// Another agent took the part over.
    #[error("another agent has taken over {}: this one has ended", .0.display())]
    TakenOver(PathBuf),
    /// The database lost commits, and nobody has decided yet what becomes of it.
    #[error(
        "{} came back older: it lost commits, and is halted for all agents of the event. At {} the agent of part {} found its commit {} \
         where it knew of {}. Bring back the newest database, a standby's perhaps; to go on with this one all the same, \
         `shake-agent ledger accept-loss` tells what it does not know of",
        place.display(), when(halt.at), halt.part, halt.found, halt.known
    )]
    Halted {
        /// Server, database and part.
        place: PathBuf,
        /// Who saw it.
        halt: Halt,
    },
    /// It is served.
    #[error("{} is not halted: nobody has seen more of it than it knows. An agent that has halts it when it is started", .0.display())]
    NotHalted(PathBuf),
    /// The database is of another moment than this agent remembers.
    #[error(
        "{} has the stamp {found} where this agent knows of {known}: it is another database. Nothing is written to it",
        place.display()
    )]
    OtherState {
        /// Server, database and part.
        place: PathBuf,
        /// The stamp that should be there.
        known: u64,
        /// What is there.
        found: u64,
    },
    /// A record that nothing may go on without is refused each time.
    #[error(
        "{} refuses each time what {record} would write: {reason}. It says what became of packets, so nothing is done after it until \
         somebody has found out why",
        place.display()
    )]
    Unwritable {
        /// Server, database and part.
        place: PathBuf,
        /// The record, and its bytes.
        record: String,
        /// Why.
        reason: String,
    },
    /// Its books are closed.
    #[error(
        "the ledger {} was closed at {}: its event is over, and nothing is written to it any more. `shake-agent close` tells its \
         closing statement again; for another event give [ledger], [seed] and [settlement] files of its own",
        path.display(), when(*at)
    )]
    Closed {
        /// The ledger.
        path: PathBuf,
        /// When.
        at: UnixMillis,
    },
    /// A log lies beside a copy, which has none.
    #[error(
        "{} is a copy and whole by itself, and {} beside it is the log of another file: remove that log, or make the copy anew with \
         `shake-agent ledger copy`, which does",
        path.display(), log.display()
    )]
    ForeignLog {
        /// The copy.
        path: PathBuf,
        /// The log.
        log: PathBuf,
    },
    /// It has no seed yet.
    #[error("the ledger {} was never begun: no agent has served it", .0.display())]
    NotBegun(PathBuf),
    /// It cannot be closed yet.
    #[error("the ledger {} cannot be closed: something in it can still be opened or grabbed", .0.display())]
    StillOut(PathBuf),
    /// An earlier write failed, and no later one worked yet.
    #[error("the ledger refuses writes since this failure: {0}")]
    Failed(String),
}

impl LedgerError {
    pub(crate) fn sqlite(action: &'static str, path: &Path, source: rusqlite::Error) -> Self {
        Self::Sqlite {
            action,
            path: path.to_owned(),
            source,
        }
    }

    pub(crate) fn io(action: &'static str, path: PathBuf, source: io::Error) -> Self {
        Self::Io { action, path, source }
    }

    /// Whether trying again cannot help: somebody has seen more of the ledger than it knows, or a person has to decide.
    #[must_use]
    pub fn is_final(&self) -> bool {
        self.is_lost() || matches!(self, Self::Behind { .. } | Self::Older { .. } | Self::Closed { .. })
    }

    /// Whether this agent may write the ledger no more, whatever becomes of the server: its part is another's, the database is of
    /// another moment, or it refuses what cannot be left out.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        matches!(
            self,
            Self::NoPart(_)
                | Self::OthersPart(_)
                | Self::Retired(_)
                | Self::TakenOver(_)
                | Self::Halted { .. }
                | Self::OtherState { .. }
                | Self::Unwritable { .. }
        )
    }

    /// Whether another writer of the ledger stood in the way, so that nothing is there of the transaction, and trying again at once
    /// may help.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Postgres { source, .. } if source.is_conflict())
    }

    /// Whether the store cannot be reached, or does not answer: waiting helps, and nothing else.
    #[must_use]
    pub fn is_away(&self) -> bool {
        matches!(self, Self::Postgres { source, .. } if source.is_away())
    }

    /// Whether the store would refuse the same again, because of what is written: nothing is there of the transaction, and one without
    /// that may work.
    #[must_use]
    pub fn is_of_content(&self) -> bool {
        matches!(self, Self::Postgres { source, .. } if source.is_of_content())
    }

    /// Whether the storage failed, so that what is on the disk is unknown.
    #[must_use]
    pub fn is_storage(&self) -> bool {
        match self {
            Self::Postgres { source, .. } => !source.is_of_content(),
            Self::Io { .. } | Self::Sqlite { .. } | Self::Failed(_) => true,
            _ => false,
        }
    }
}

/// A time of the ledger for people.
#[must_use]
pub fn when(at: UnixMillis) -> String {
    i64::try_from(at.0)
        .ok()
        .and_then(|ms| Timestamp::from_millisecond(ms).ok())
        .map_or_else(|| format!("{at} ms"), |time| format!("{time:.0}"))
}

fn describe(header: &SeedHeader) -> String {
    format!(
        "event {} part {} of {}, {} packets, {}, checksum {:08x}",
        header.event,
        u32::from(header.part) + 1,
        header.parts,
        header.count,
        money(header.total.0),
        header.records_crc
    )
}
