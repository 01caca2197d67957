//! The audit: proves, to the cent, that seed + gift budget = unreleased + held + opened + refunded + void + lost + paid, per sponsor and in
//! total, that every movement of a user's balance stands in the outbox once, and names each difference. Reads one snapshot of the
//! ledger, also while agents write to it, and writes nothing.
//!
//! A ledger in a file has the books of one part; one on a server has those of all parts of an event. What a part does stands in
//! its own journal, outbox and house accounts, and is proved for each; packets and users are the event's, and proved over all.
//!
//! It believes nothing of the ledger by itself: what ought to be comes from the seed file, balances are computed anew from
//! the transfers, and each packet must have exactly the transfers that its state says.

pub mod fleet;

mod book;
mod closing;
mod days;
mod journal;
mod read;
mod report;
mod rows;
mod sums;
mod text;

pub use days::time_zone;
pub use report::{CreditTally, DayRow, Difference, GrantRow, PhaseRow, Report, SentTotals, SponsorRow, SponsorTotals};

use crate::ledger::{LedgerError, PartBooks, Place, Reader};
use crate::seed_file::{SeedFile, SeedFileError};
use book::Book;
use days::Days;
use jiff::tz::TimeZone;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Why nothing could be audited.
#[derive(Debug, Error)]
pub enum AuditError {
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The seed file.
    #[error(transparent)]
    Seed(#[from] SeedFileError),
    /// The ledger has no seed yet.
    #[error("the ledger {} has no seed yet; run the agent first", .0.display())]
    NoSeed(PathBuf),
    /// One seed file, for a ledger of many.
    #[error(
        "the ledger {} is that of {parts} parts, which are audited together: give --fleet the directory of the whole seed",
        ledger.display()
    )]
    Parts {
        /// The ledger.
        ledger: PathBuf,
        /// How many it has.
        parts: usize,
    },
}

/// Audits the ledger in a file against its seed file, with days in UTC. `progress` is told what is being read, and how many rows
/// of it are done.
///
/// # Errors
/// [`AuditError`] when there is nothing to compare; a difference is no error but part of the report.
pub fn audit(
    ledger_path: &Path,
    seed_path: &Path,
    progress: impl FnMut(&'static str, u64),
) -> Result<Report, AuditError> {
    audit_in(&ledger_path.to_owned().into(), seed_path, &TimeZone::UTC, progress)
}

/// The same of a ledger of one part, wherever it lies, with days in a time zone.
///
/// # Errors
/// As [`audit`].
pub fn audit_in(
    place: &Place,
    seed_path: &Path,
    zone: &TimeZone,
    mut progress: impl FnMut(&'static str, u64),
) -> Result<Report, AuditError> {
    let reader = Reader::open(place)?;
    let seed = SeedFile::open(seed_path)?;
    let parts = reader.parts()?;
    let bound = match &parts[..] {
        [books] if books.is_begun => &books.bound,
        [] | [_] => return Err(AuditError::NoSeed(reader.place().to_owned())),
        _ => {
            return Err(AuditError::Parts {
                ledger: reader.place().to_owned(),
                parts: parts.len(),
            });
        }
    };
    if bound.header != *seed.header() {
        return Err(LedgerError::OtherSeed {
            ledger: reader.place().to_owned(),
            seed: seed_path.to_owned(),
            bound: Box::new(bound.header),
            found: Box::new(*seed.header()),
        }
        .into());
    }
    Ok(prove(&reader, &[seed], zone, &mut progress)?.report)
}

/// What was found of a ledger, and of each of its parts.
struct Proved {
    report: Report,
    /// The parts that have a seed here, as the snapshot has them.
    parts: BTreeMap<u16, PartBooks>,
    /// The figures of all sponsors of a part; those of one part need not balance by themselves.
    totals: BTreeMap<u16, SponsorTotals>,
    /// The parts that were closed, and when, in milliseconds since 1970 UTC.
    closed_ms: BTreeMap<u16, u64>,
}

/// Proves a ledger against the seeds of its parts. The seeds are read before the snapshot begins: it costs whoever writes as long
/// as it lasts.
fn prove(
    reader: &Reader,
    seeds: &[SeedFile],
    zone: &TimeZone,
    progress: &mut impl FnMut(&'static str, u64),
) -> Result<Proved, AuditError> {
    let mut book = Book::of_seeds(seeds, Days::new(zone.clone()), progress)?;
    reader.begin()?;
    let mine = |books: &PartBooks| seeds.iter().any(|seed| *seed.header() == books.bound.header);
    book.take_parts(reader, reader.parts()?.into_iter().filter(mine).collect());
    read::read(reader, &mut book, progress)?;
    Ok(book.close())
}
