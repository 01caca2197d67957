//! Plain rows of the ledger for other programs: CSV (RFC 4180) or JSON lines. Reads one snapshot, also while agents run.
//!
//! The rows of a ledger on a server are those of a file, with the part as one more column at their end where numbers are a part's.

use crate::ledger::schema::from_sql;
use crate::ledger::{Account, Incarnation, LedgerError, LineKind, Place, Query, Reader, Row, State};
use serde_json::{Map, Value};
use shake_rules::{PacketId, UserId};
use std::io::{self, Write};
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
const PACKETS: Query = Query {
    file: "SELECT packet, origin, sponsor, sender, cents, shares, balance_cents, shares_left, state, seed_index,
                  user, stage, shard, made_ms, issued_ms, opened_ms, due_ms, ends_ms, closed_ms
           FROM packets LEFT JOIN lanes USING (lane) ORDER BY packet",
    server: "SELECT packet, origin, sponsor, sender, cents, shares, balance_cents, shares_left, state, seed_index,
                    usr, stage, shard, made_ms, issued_ms, opened_ms, due_ms, ends_ms, closed_ms, part
             FROM packets LEFT JOIN lanes USING (part, lane) ORDER BY packet",
};

const SHARE_COLUMNS: [&str; 5] = ["transfer", "packet", "user", "cents", "at_ms"];
const SHARES: Query = Query {
    file: "SELECT transfer, packet, user, cents, at_ms FROM shares ORDER BY transfer",
    server: "SELECT transfer, packet, usr, cents, at_ms, part FROM shares ORDER BY part, transfer",
};

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
const OUTBOX: Query = Query {
    file: "SELECT seq, at_ms, user, number, cents, balance_cents, kind, packet, transfer, coalesce(bits, 0)
           FROM outbox LEFT JOIN incarnations USING (incarnation) ORDER BY seq",
    server: "SELECT seq, at_ms, usr, number, cents, balance_cents, kind, packet, transfer, coalesce(bits, 0), part
             FROM outbox LEFT JOIN openings USING (part, opening) ORDER BY part, seq",
};

const USER_COLUMNS: [&str; 4] = ["user", "balance_cents", "lines", "packets_opened"];
const USERS: Query = Query {
    file: "SELECT user, balance_cents, lines, packets_opened FROM users ORDER BY user",
    server: "SELECT usr, balance_cents, lines, packets_opened FROM users WHERE lines > 0 ORDER BY usr",
};

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
const TRANSFERS: Query = Query {
    file: "SELECT transfer, at_ms, debit_kind, debit, credit_kind, credit, cents FROM transfers ORDER BY transfer",
    server: "SELECT transfer, at_ms, debit_kind, debit, credit_kind, credit, cents, part FROM transfers ORDER BY part, transfer",
};

/// The last column of what is numbered by part.
const PART: &str = "part";

/// Writes all rows, and gives how many.
///
/// # Errors
/// [`ExportError`].
pub fn export(ledger: &Place, what: What, format: Format, out: &mut impl Write) -> Result<u64, ExportError> {
    let reader = Reader::open(ledger)?;
    let (columns, query): (&[&str], _) = match what {
        What::Packets => (&PACKET_COLUMNS, &PACKETS),
        What::Transfers => (&TRANSFER_COLUMNS, &TRANSFERS),
        What::Shares => (&SHARE_COLUMNS, &SHARES),
        What::Outbox => (&OUTBOX_COLUMNS, &OUTBOX),
        What::Users => (&USER_COLUMNS, &USERS),
    };
    let has_part = reader.is_shared() && what != What::Users;
    let columns: Vec<&str> = columns.iter().copied().chain(has_part.then_some(PART)).collect();
    reader.begin()?;
    let each = |write: &mut dyn FnMut(Vec<Value>) -> io::Result<()>| -> Result<u64, ExportError> {
        let mut count = 0;
        reader.each(query, |row| {
            let values = match what {
                What::Packets => packet(row, &columns)?,
                What::Transfers => transfer(row, has_part)?,
                What::Shares | What::Outbox | What::Users => credit(row, &columns)?,
            };
            count += 1;
            Ok::<_, ExportError>(write(values)?)
        })?;
        Ok(count)
    };
    let count = match format {
        Format::Csv => {
            let mut csv = csv::WriterBuilder::new().has_headers(false).from_writer(out);
            csv.write_record(&columns).map_err(of_output)?;
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

fn packet(row: &Row, columns: &[&str]) -> Result<Vec<Value>, LedgerError> {
    let columns = columns.iter().enumerate();
    columns
        .map(|(at, &name)| {
            let value = row.number_if_any(at)?;
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
fn credit(row: &Row, columns: &[&str]) -> Result<Vec<Value>, LedgerError> {
    let kind = columns.iter().position(|name| *name == "kind");
    let kind = kind.map(|at| row.number(at)).transpose()?;
    let is_closing = kind == Some(LineKind::Close.to_column());
    let value = |(at, &name): (usize, &&str)| {
        let value = row.number(at)?;
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

fn transfer(row: &Row, has_part: bool) -> Result<Vec<Value>, LedgerError> {
    let account = |at| Ok::<_, LedgerError>(Account::from_columns(row.number(at)?, row.number(at + 1)?));
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
    let mut values = vec![
        row.number(0)?.into(),
        row.number(1)?.into(),
        kind(debit),
        id(debit),
        kind(credit),
        id(credit),
        row.number(6)?.into(),
        packet.into(),
    ];
    if has_part {
        values.push(row.number(7)?.into());
    }
    Ok(values)
}
