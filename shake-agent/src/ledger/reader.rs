//! A ledger that is only read, all of it at one moment, while agents write: what audits, exports and stories are made of. They say
//! what they want once for each store ([`Query`]), and read the same rows of either.

use super::bound::{Bound, PartBooks, bound_seed};
use super::opening::machines;
use super::postgres::{Access, Fetched, Snapshot};
use super::{LedgerError, connect, schema};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Statement, params_from_iter};
use std::cell::Cell;
use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

/// How long a server that agents write to is read at the most, where that is asked for.
pub const PRIMARY_MAX: Duration = Duration::from_secs(30);

/// Where a ledger lies that is read.
#[derive(Clone, Debug)]
pub enum Place {
    /// In a SQLite file: the ledger of one part.
    File(PathBuf),
    /// On a PostgreSQL server: that of all parts of an event.
    Server {
        /// How to reach it.
        access: Box<Access>,
        /// For how long it may be read where it is the server that agents write to; `None` for not at all. As long as it is read, the
        /// server keeps every version of every row, and agents become slow.
        primary_max: Option<Duration>,
    },
}

impl Place {
    /// The same, for what reads so little that any server may be asked.
    #[must_use]
    pub fn for_a_glance(self) -> Self {
        match self {
            Self::File(path) => Self::File(path),
            Self::Server { access, .. } => Self::Server {
                access,
                primary_max: Some(PRIMARY_MAX),
            },
        }
    }
}

impl From<PathBuf> for Place {
    fn from(path: PathBuf) -> Self {
        Self::File(path)
    }
}

/// The file, or the server and its database without user and password.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Server { access, .. } => access.fmt(f),
        }
    }
}

/// The same rows, as each store is asked for them. All columns are whole numbers, but for a few of bytes.
#[derive(Clone, Copy, Debug)]
pub struct Query {
    /// In SQLite's words; parameters are `?1`, `?2`, ….
    pub file: &'static str,
    /// In PostgreSQL's; parameters are `$1`, `$2`, …, all of them bigint.
    pub server: &'static str,
}

/// See the module.
#[derive(Debug)]
pub struct Reader {
    source: Source,
    place: PathBuf,
}

#[derive(Debug)]
enum Source {
    File {
        connection: Connection,
        is_in_transaction: Cell<bool>,
    },
    Server(Snapshot),
}

impl Reader {
    /// Opens a ledger. What is read before [`Reader::begin`] is of the moment at which it is asked.
    ///
    /// # Errors
    /// When there is none, it is of a version that this program does not know, or it is on a server that agents write to and this
    /// was not said to be good.
    pub fn open(place: &Place) -> Result<Self, LedgerError> {
        let source = match place {
            Place::File(path) => Source::File {
                connection: connect::open_read_only(path)?,
                is_in_transaction: Cell::new(false),
            },
            Place::Server { access, primary_max } => Source::Server(Snapshot::connect(access, *primary_max)?),
        };
        let place = place.to_string().into();
        Ok(Self { source, place })
    }

    /// From now on all that is read is of one moment.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn begin(&self) -> Result<(), LedgerError> {
        match &self.source {
            Source::File {
                connection,
                is_in_transaction,
            } => {
                if !is_in_transaction.replace(true) {
                    connection
                        .execute_batch("BEGIN")
                        .map_err(|source| self.unread(source))?;
                }
                Ok(())
            }
            Source::Server(snapshot) => snapshot.begin(),
        }
    }

    /// Makes what was read before [`Reader::begin`] as durable as a commit of one's own would be: where a server is read that agents
    /// write to, what can be seen need not be on a standby yet.
    ///
    /// # Errors
    /// When that commit cannot be made, or no standby may have it.
    pub fn confirm(&self) -> Result<(), LedgerError> {
        match &self.source {
            Source::File { .. } => Ok(()),
            Source::Server(snapshot) => snapshot.confirm(),
        }
    }

    /// Where it lies, for messages.
    #[must_use]
    pub fn place(&self) -> &Path {
        &self.place
    }

    /// Whether the parts of an event share it.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        matches!(self.source, Source::Server(_))
    }

    /// The books of each part in it, in order; none in a file that no agent has served yet.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn parts(&self) -> Result<Vec<PartBooks>, LedgerError> {
        let connection = match &self.source {
            Source::File { connection, .. } => connection,
            Source::Server(snapshot) => return snapshot.parts(),
        };
        let Some(bound) = bound_seed(connection).map_err(|source| self.unread(source))? else {
            return Ok(Vec::new());
        };
        Ok(vec![PartBooks {
            bound,
            is_begun: true,
            machines: machines(connection).map_err(|source| self.unread(source))?,
            losses: BTreeSet::new(),
        }])
    }

    /// Whether void packets of a closed ledger may have stayed where they were: those of a program before.
    pub(crate) fn is_older(&self, bound: &Bound) -> bool {
        !self.is_shared() && bound.version != schema::VERSION
    }

    /// All rows of a query that gives few.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn rows(&self, query: &Query, with: &[i64]) -> Result<Vec<Row>, LedgerError> {
        let connection = match &self.source {
            Source::File { connection, .. } => connection,
            Source::Server(snapshot) => {
                let rows = snapshot.rows(query.server, with)?;
                let row = |values| Row {
                    values,
                    place: self.place.as_path().into(),
                };
                return Ok(rows.into_iter().map(row).collect());
            }
        };
        let mut statement = connection
            .prepare_cached(query.file)
            .map_err(|source| self.unread(source))?;
        let rows = statement
            .query(params_from_iter(with))
            .map_err(|source| self.unread(source))?;
        let mut cursor = self.cursor(Rows::File(rows));
        let mut all = Vec::new();
        while let Some(row) = cursor.advance()? {
            all.push(row.clone());
        }
        Ok(all)
    }

    /// Takes every row of a query.
    ///
    /// # Errors
    /// When they cannot be read, or what `take` gives.
    pub fn each<E: From<LedgerError>>(
        &self,
        query: &Query,
        mut take: impl FnMut(&Row) -> Result<(), E>,
    ) -> Result<(), E> {
        self.cursors([query], |[mut cursor]| {
            while let Some(row) = cursor.advance()? {
                take(row)?;
            }
            Ok(())
        })
    }

    /// Reads several queries beside each other.
    ///
    /// # Errors
    /// When they cannot be read, or what `work` gives.
    pub fn cursors<const N: usize, T, E: From<LedgerError>>(
        &self,
        queries: [&Query; N],
        work: impl FnOnce([Cursor<'_>; N]) -> Result<T, E>,
    ) -> Result<T, E> {
        match &self.source {
            Source::File { connection, .. } => {
                let statements = queries.iter().map(|query| connection.prepare(query.file));
                let statements: Result<Vec<Statement<'_>>, _> = statements.collect();
                let mut statements = statements.map_err(|source| self.unread(source))?;
                let rows = statements.iter_mut().map(|statement| statement.query([]));
                let cursors = rows.map(|rows| Ok(self.cursor(Rows::File(rows.map_err(|source| self.unread(source))?))));
                work(whole(cursors.collect::<Result<Vec<_>, LedgerError>>()?))
            }
            Source::Server(snapshot) => {
                let cursors = queries
                    .iter()
                    .map(|query| Ok(self.cursor(Rows::Server(snapshot.declare(query.server)?))));
                work(whole(cursors.collect::<Result<Vec<_>, LedgerError>>()?))
            }
        }
    }

    fn cursor<'a>(&self, rows: Rows<'a>) -> Cursor<'a> {
        let row = Row {
            values: Vec::new(),
            place: self.place.as_path().into(),
        };
        Cursor { rows, row }
    }

    fn unread(&self, source: rusqlite::Error) -> LedgerError {
        LedgerError::sqlite("read", &self.place, source)
    }
}

fn whole<const N: usize>(cursors: Vec<Cursor<'_>>) -> [Cursor<'_>; N] {
    cursors.try_into().unwrap_or_else(|_| unreachable!("one a query"))
}

/// The rows of a query, one after the other.
pub struct Cursor<'a> {
    rows: Rows<'a>,
    row: Row,
}

enum Rows<'a> {
    File(rusqlite::Rows<'a>),
    Server(Fetched<'a>),
}

impl Cursor<'_> {
    /// The next row; `None` after the last one.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn advance(&mut self) -> Result<Option<&Row>, LedgerError> {
        self.row.values.clear();
        let found = match &mut self.rows {
            Rows::Server(rows) => rows.next_into(&mut self.row.values)?,
            Rows::File(rows) => {
                let read = next_of_file(rows, &mut self.row.values);
                read.map_err(|source| LedgerError::sqlite("read", &self.row.place, source))?
            }
        };
        Ok(found.then_some(&self.row))
    }
}

fn next_of_file(rows: &mut rusqlite::Rows<'_>, values: &mut Vec<Value>) -> rusqlite::Result<bool> {
    let Some(row) = rows.next()? else { return Ok(false) };
    for column in 0..row.as_ref().column_count() {
        values.push(match row.get_ref(column)? {
            ValueRef::Null => Value::Null,
            ValueRef::Integer(number) => Value::Number(number),
            ValueRef::Blob(bytes) => Value::Bytes(bytes.into()),
            other @ (ValueRef::Text(_) | ValueRef::Real(_)) => {
                let name = row.as_ref().column_name(column)?.to_owned();
                return Err(rusqlite::Error::InvalidColumnType(column, name, other.data_type()));
            }
        });
    }
    Ok(true)
}

/// What stands in a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Null,
    Number(i64),
    Bytes(Box<[u8]>),
}

/// A row, unchecked.
#[derive(Clone, Debug)]
pub struct Row {
    values: Vec<Value>,
    place: Rc<Path>,
}

impl Row {
    /// The whole number in a column.
    ///
    /// # Errors
    /// When there is none.
    pub fn number(&self, column: usize) -> Result<i64, LedgerError> {
        match self.values.get(column) {
            Some(Value::Number(number)) => Ok(*number),
            _ => Err(self.strange(column)),
        }
    }

    /// The number in a column that may be empty.
    ///
    /// # Errors
    /// When there is something else.
    pub fn number_if_any(&self, column: usize) -> Result<Option<i64>, LedgerError> {
        match self.values.get(column) {
            Some(Value::Null) => Ok(None),
            _ => self.number(column).map(Some),
        }
    }

    /// A number of a smaller type.
    ///
    /// # Errors
    /// When there is none, or it is out of the type's range.
    pub fn small<T: TryFrom<i64>>(&self, column: usize) -> Result<T, LedgerError> {
        T::try_from(self.number(column)?).map_err(|_| self.strange(column))
    }

    /// A number of a smaller type, in a column that may be empty.
    ///
    /// # Errors
    /// When there is something else, or it is out of the type's range.
    pub fn small_if_any<T: TryFrom<i64>>(&self, column: usize) -> Result<Option<T>, LedgerError> {
        let number = self.number_if_any(column)?.map(T::try_from);
        number.transpose().map_err(|_| self.strange(column))
    }

    /// The bytes in a column.
    ///
    /// # Errors
    /// When there are none.
    pub fn bytes(&self, column: usize) -> Result<&[u8], LedgerError> {
        match self.values.get(column) {
            Some(Value::Bytes(bytes)) => Ok(bytes),
            _ => Err(self.strange(column)),
        }
    }

    fn strange(&self, column: usize) -> LedgerError {
        let what = self
            .values
            .get(column)
            .map_or_else(|| "nothing".to_owned(), |value| format!("{value:?}"));
        LedgerError::Strange {
            place: self.place.to_path_buf(),
            what: format!("{what} in column {}", column + 1),
        }
    }
}
