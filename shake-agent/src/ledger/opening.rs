//! What tells one state of a ledger from another: the stamp, which counts its commits, and the incarnation, which names the
//! opening that made them, and the machine that it was on. Whoever has seen a stamp that the ledger has not, or an incarnation that it does not know, has seen
//! a later state of it.

use super::schema::{from_sql, to_sql};
use super::store::Store;
use super::{Ledger, LedgerError, bound_seed};
use rusqlite::{Connection, OptionalExtension, params};
use serde::Serialize;
use shake_rules::{LedgerId, UnixMillis};
use std::fmt;
use std::path::Path;

/// One opening of a ledger for writing: 64 random bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Incarnation(pub u64);

impl Incarnation {
    /// Another one than any before.
    pub(super) fn random() -> Self {
        Self(rand::random())
    }

    /// Reads what [`fmt::Display`] writes; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_written = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        (text.len() == 16 && is_written)
            .then(|| u64::from_str_radix(text, 16).ok().map(Self))
            .flatten()
    }
}

/// 16 hexadecimal digits.
impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// What a ledger says of its commits, to be compared with what others have seen of them.
pub trait Commits {
    /// Where the ledger lies.
    fn path(&self) -> &Path;

    /// Which ledger it is; `None` until its seed is bound.
    ///
    /// # Errors
    /// When it cannot be read.
    fn identity(&self) -> Result<Option<LedgerId>, LedgerError>;

    /// How many there are.
    ///
    /// # Errors
    /// When it cannot be read.
    fn stamp(&self) -> Result<u64, LedgerError>;

    /// Whether there are some of this incarnation.
    ///
    /// # Errors
    /// When it cannot be read.
    fn knows(&self, incarnation: Incarnation) -> Result<bool, LedgerError>;

    /// Commits up to this one that it does not know were lost, and somebody has accepted that; 0 where nobody had to.
    ///
    /// # Errors
    /// When it cannot be read.
    fn lost_stamp(&self) -> Result<u64, LedgerError> {
        Ok(0)
    }
}

/// The commits of a file that an agent may be writing. Each answer is of the moment that it is asked: whoever asks others first
/// finds nothing that a running agent has committed meanwhile.
#[derive(Clone, Copy, Debug)]
pub struct FileCommits<'a> {
    connection: &'a Connection,
    path: &'a Path,
}

impl<'a> FileCommits<'a> {
    /// Of the ledger at `path`, through a connection that may only read.
    #[must_use]
    pub fn of(connection: &'a Connection, path: &'a Path) -> Self {
        Self { connection, path }
    }

    fn unread(&self, source: rusqlite::Error) -> LedgerError {
        LedgerError::sqlite("read", self.path, source)
    }
}

impl Commits for FileCommits<'_> {
    fn path(&self) -> &Path {
        self.path
    }

    fn identity(&self) -> Result<Option<LedgerId>, LedgerError> {
        let bound = bound_seed(self.connection).map_err(|source| self.unread(source))?;
        Ok(bound.and_then(|bound| bound.identity))
    }

    fn stamp(&self) -> Result<u64, LedgerError> {
        stamp(self.connection).map_err(|source| self.unread(source))
    }

    fn knows(&self, incarnation: Incarnation) -> Result<bool, LedgerError> {
        let row = row_of(self.connection, incarnation).map_err(|source| self.unread(source))?;
        Ok(row.is_some())
    }
}

/// One's own.
impl<S: Store> Commits for Ledger<S> {
    fn path(&self) -> &Path {
        self.store().place()
    }

    fn identity(&self) -> Result<Option<LedgerId>, LedgerError> {
        let bound = self.bound().and_then(|bound| bound.identity);
        Ok(bound.or_else(|| self.store().identity()))
    }

    fn stamp(&self) -> Result<u64, LedgerError> {
        Ok(self.standing().stamp)
    }

    fn knows(&self, incarnation: Incarnation) -> Result<bool, LedgerError> {
        Ok(self.store().standing(incarnation)?.incarnation_row.is_some())
    }

    fn lost_stamp(&self) -> Result<u64, LedgerError> {
        Ok(self.standing().lost_stamp)
    }
}

/// How many commits the ledger has.
pub(super) fn stamp(connection: &Connection) -> rusqlite::Result<u64> {
    connection
        .prepare_cached("SELECT stamp FROM commits")?
        .query_row([], |row| row.get(0).map(from_sql))
}

/// The ledger has so many commits, the last of them at `at`.
pub(super) fn store_commit(connection: &Connection, stamp: u64, at: UnixMillis) -> rusqlite::Result<()> {
    connection
        .prepare_cached("UPDATE commits SET stamp = ?1, at_ms = ?2")?
        .execute([to_sql(stamp), to_sql(at.0)])
        .map(drop)
}

/// An opening, as the ledger has it once it made a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpeningRow {
    /// Its number.
    pub row: i64,
    /// What names it.
    pub incarnation: Incarnation,
    /// When it made its first commit.
    pub begun: UnixMillis,
    /// What the machine was called.
    pub machine: String,
}

/// The row of an incarnation; `None` before its first commit, so that an opening which commits nothing leaves nothing.
pub(super) fn row_of(connection: &Connection, incarnation: Incarnation) -> rusqlite::Result<Option<i64>> {
    connection
        .query_row(
            "SELECT incarnation FROM incarnations WHERE bits = ?1",
            [to_sql(incarnation.0)],
            |row| row.get(0),
        )
        .optional()
}

/// The number of the last one; 0 before the first.
pub(super) fn last(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("SELECT coalesce(max(incarnation), 0) FROM incarnations", [], |row| {
        row.get(0)
    })
}

pub(super) fn insert(connection: &Connection, opening: &OpeningRow) -> rusqlite::Result<()> {
    connection
        .execute(
            "INSERT INTO incarnations (incarnation, bits, begun_ms, machine) VALUES (?1, ?2, ?3, ?4)",
            params![
                opening.row,
                to_sql(opening.incarnation.0),
                to_sql(opening.begun.0),
                opening.machine
            ],
        )
        .map(drop)
}

/// A machine that wrote a ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Machine {
    /// What it is called; `None` in a ledger of a version that does not say it.
    pub name: Option<String>,
    /// How often the ledger was opened there, and written to.
    pub openings: u64,
    /// When it made its first commit for the first time, in milliseconds since 1970 UTC.
    pub first_ms: u64,
    /// When an opening made its first commit for the last time.
    pub last_ms: u64,
}

/// Who wrote the ledger, in the order in which they began.
pub(crate) fn machines(connection: &Connection) -> rusqlite::Result<Vec<Machine>> {
    let mut statement = connection.prepare(
        "SELECT machine, count(*), min(begun_ms), max(begun_ms) FROM incarnations GROUP BY machine ORDER BY min(incarnation)",
    )?;
    let rows = statement.query_map([], |row| {
        Ok(Machine {
            name: row.get(0)?,
            openings: from_sql(row.get(1)?),
            first_ms: from_sql(row.get(2)?),
            last_ms: from_sql(row.get(3)?),
        })
    })?;
    rows.collect()
}

/// They, for people: "gw1 (3 openings), gw2 (1 opening)".
pub(crate) fn told(machines: &[Machine]) -> String {
    let told = |machine: &Machine| {
        let name = machine.name.as_deref().unwrap_or("a machine that it does not name");
        let openings = machine.openings;
        format!("{name} ({openings} opening{})", if openings == 1 { "" } else { "s" })
    };
    match machines {
        [] => "nobody that it names".to_owned(),
        all => all.iter().map(told).collect::<Vec<_>>().join(", "),
    }
}
