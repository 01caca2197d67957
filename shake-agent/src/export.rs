//! Plain rows of the ledger for other programs: CSV (RFC 4180) or JSON lines. Reads one snapshot, also while an agent runs.

use crate::ledger::schema::from_sql;
use crate::ledger::{self, Account, Incarnation, LedgerError, LineKind, State};
use rusqlite::Row;
use serde_json::{Map, Value};
use shake_rules::{PacketId, UserId};
use std::io::{self, Write};
use std::path::Path;
use thiserror::Error;

/// Which rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum What {
    /// One row per released packet
    Packets,
    /// One row per movement of money
    Transfers,
    /// One row per share that was taken of a shared packet
    Shares,
    /// One row per movement of a user's balance, in the order of settlement
    Outbox,
    /// One row per user who ever had something
    Users,
}

/// How they are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Comma-separated, with a header line
    Csv,
    /// One JSON object per line
    Jsonl,
}

/// Why the rows could not be written.
#[derive(Debug, Error)]
pub enum ExportError {
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The output.
    #[error("cannot write the rows: {0}")]
    Output(#[from] io::Error),
}

const PACKET_COLUMNS: [&str; 19] = [
    "packet",
    "origin",
    "sponsor",
    "sender",
    "cents",
    "shares",
    "balance_cents",
    "shares_left",
    "state",
    "seed_index",
    "user",
    "stage",
    "shard",
    "made_ms",
    "issued_ms",
    "opened_ms",
    "due_ms",
    "ends_ms",
    "closed_ms",
];
const PACKETS: &str =
    "SELECT packet, origin, sponsor, sender, cents, shares, balance_cents, shares_left, state, seed_index,
            user, stage, shard, made_ms, issued_ms, opened_ms, due_ms, ends_ms, closed_ms
     FROM packets LEFT JOIN lanes USING (lane) ORDER BY packet";

const SHARE_COLUMNS: [&str; 5] = ["transfer", "packet", "user", "cents", "at_ms"];
const SHARES: &str = "SELECT transfer, packet, user, cents, at_ms FROM shares ORDER BY transfer";

const OUTBOX_COLUMNS: [&str; 10] = [
    "seq",
    "at_ms",
    "user",
    "number",
    "cents",
    "balance_cents",
    "kind",
    "packet",
    "transfer",
    "incarnation",
];
const OUTBOX: &str = "SELECT seq, at_ms, user, number, cents, balance_cents, kind, packet, transfer, coalesce(bits, 0)
     FROM outbox LEFT JOIN incarnations USING (incarnation) ORDER BY seq";

const USER_COLUMNS: [&str; 4] = ["user", "balance_cents", "lines", "packets_opened"];
const USERS: &str = "SELECT user, balance_cents, lines, packets_opened FROM users ORDER BY user";

const TRANSFER_COLUMNS: [&str; 8] = [
    "transfer",
    "at_ms",
    "debit_kind",
    "debit",
    "credit_kind",
    "credit",
    "cents",
    "packet",
];
const TRANSFERS: &str =
    "SELECT transfer, at_ms, debit_kind, debit, credit_kind, credit, cents FROM transfers ORDER BY transfer";

/// Writes all rows, and gives how many.
///
/// # Errors
/// [`ExportError`].
pub fn export(ledger: &Path, what: What, format: Format, out: &mut impl Write) -> Result<u64, ExportError> {
    let connection = ledger::open_read_only(ledger)?;
    let (columns, sql): (&[&str], _) = match what {
        What::Packets => (&PACKET_COLUMNS, PACKETS),
        What::Transfers => (&TRANSFER_COLUMNS, TRANSFERS),
        What::Shares => (&SHARE_COLUMNS, SHARES),
        What::Outbox => (&OUTBOX_COLUMNS, OUTBOX),
        What::Users => (&USER_COLUMNS, USERS),
    };
    let sqlite = |source| LedgerError::sqlite("read", ledger, source);
    let mut statement = connection.prepare(sql).map_err(sqlite)?;
    let mut rows = statement.query([]).map_err(sqlite)?;
    let mut each = |write: &mut dyn FnMut(Vec<Value>) -> io::Result<()>| -> Result<u64, ExportError> {
        let mut count = 0;
        while let Some(row) = rows.next().map_err(sqlite)? {
            let values = match what {
                What::Packets => packet(row),
                What::Transfers => transfer(row),
                What::Shares => credit(row, &SHARE_COLUMNS),
                What::Outbox => credit(row, &OUTBOX_COLUMNS),
                What::Users => credit(row, &USER_COLUMNS),
            };
            write(values.map_err(sqlite)?)?;
            count += 1;
        }
        Ok(count)
    };
    let count = match format {
        Format::Csv => {
            let mut csv = csv::WriterBuilder::new().has_headers(false).from_writer(out);
            csv.write_record(columns).map_err(of_output)?;
            let count = each(&mut |values| csv.serialize(values).map_err(of_output))?;
            csv.flush()?;
            count
        }
        Format::Jsonl => {
            let count = each(&mut |values| {
                let object: Map<_, _> = columns.iter().map(|&name| name.to_owned()).zip(values).collect();
                serde_json::to_writer(&mut *out, &object)?;
                out.write_all(b"\n")
            })?;
            out.flush()?;
            count
        }
    };
    Ok(count)
}

/// The error of the output itself: its kind tells whether the reader is merely gone.
fn of_output(error: csv::Error) -> io::Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        other => io::Error::other(format!("{other:?}")),
    }
}

fn packet(row: &Row<'_>) -> rusqlite::Result<Vec<Value>> {
    let columns = PACKET_COLUMNS.iter().enumerate();
    columns
        .map(|(at, &name)| {
            let value: Option<i64> = row.get(at)?;
            Ok(match (name, value) {
                (_, None) => Value::Null,
                ("packet", Some(id)) => PacketId(from_sql(id)).lettered().into(),
                ("sender" | "user", Some(id)) => UserId(from_sql(id)).lettered().into(),
                ("origin", Some(1)) => "seed".into(),
                ("origin", Some(2)) => "sent".into(),
                ("origin", Some(3)) => "gift".into(),
                ("origin", Some(_)) => "unknown".into(),
                ("state", Some(state)) => State::from_column(state).map_or("unknown", State::name).into(),
                (_, Some(number)) => number.into(),
            })
        })
        .collect()
}

/// A row of the shares, of the outbox or of the users.
fn credit(row: &Row<'_>, columns: &[&str]) -> rusqlite::Result<Vec<Value>> {
    let is_closing = columns
        .iter()
        .position(|name| *name == "kind")
        .map_or(Ok(false), |at| {
            let kind: i64 = row.get(at)?;
            Ok::<_, rusqlite::Error>(kind == LineKind::Close.to_column())
        })?;
    let value = |(at, &name): (usize, &&str)| {
        let value: i64 = row.get(at)?;
        Ok(match name {
            // The closing line is of no user.
            "packet" | "user" | "transfer" if is_closing => Value::Null,
            "packet" => PacketId(from_sql(value)).lettered().into(),
            "user" => UserId(from_sql(value)).lettered().into(),
            "incarnation" => Incarnation(from_sql(value)).to_string().into(),
            "kind" => LineKind::from_column(value).map_or("unknown", LineKind::name).into(),
            _ => value.into(),
        })
    };
    columns.iter().enumerate().map(value).collect()
}

fn transfer(row: &Row<'_>) -> rusqlite::Result<Vec<Value>> {
    let account = |at| Ok::<_, rusqlite::Error>(Account::from_columns(row.get(at)?, row.get(at + 1)?));
    let (debit, credit) = (account(2)?, account(4)?);
    let packet = [debit, credit].into_iter().flatten().find_map(|account| match account {
        Account::Packet(packet) => Some(packet.lettered()),
        _ => None,
    });
    let kind = |account: Option<Account>| Value::from(account.map_or("unknown", Account::kind));
    let id = |account: Option<Account>| match account {
        Some(Account::Packet(packet)) => packet.lettered().into(),
        Some(Account::User(user)) => user.lettered().into(),
        other => Value::from(other.map(Account::id)),
    };
    Ok(vec![
        row.get::<_, i64>(0)?.into(),
        row.get::<_, i64>(1)?.into(),
        kind(debit),
        id(debit),
        kind(credit),
        id(credit),
        row.get::<_, i64>(6)?.into(),
        packet.into(),
    ])
}
