//! What the audit reads of a ledger, and in which order: packets, then the journal of each part with shares and lines beside it,
//! then what the journal must come to.

use super::book::Book;
use super::closing::ClosingRow;
use super::journal::{CreditRow, TransferRow};
use super::rows::PacketRow;
use crate::ledger::schema::from_sql;
use crate::ledger::{Cursor, LedgerError, Query, Reader, Row};

const PACKETS: Query = Query {
    file: "SELECT packet, origin, sponsor, sender, cents, shares, balance_cents, shares_left, state, seed_index, user, stage,
                  opened_ms IS NOT NULL, (SELECT part FROM seed) FROM packets ORDER BY packet",
    server: "SELECT packet, origin, sponsor, sender, cents, shares, balance_cents, shares_left, state, seed_index, usr, stage,
                    opened_ms IS NOT NULL, part FROM packets ORDER BY packet",
};

/// The first two columns are part and number, by which the other two go beside it.
const TRANSFERS: Query = Query {
    file: "SELECT (SELECT part FROM seed), transfer, at_ms, debit_kind, debit, credit_kind, credit, cents, previous
           FROM transfers ORDER BY transfer",
    server: "SELECT part, transfer, at_ms, debit_kind, debit, credit_kind, credit, cents, NULL::bigint
             FROM transfers ORDER BY part, transfer",
};

const SHARES: Query = Query {
    file: "SELECT (SELECT part FROM seed), transfer, packet, user, cents, 0, 0, 0, 0 FROM shares ORDER BY transfer",
    server: "SELECT part, transfer, packet, usr, cents, 0, 0, 0, 0 FROM shares ORDER BY part, transfer",
};

const LINES: Query = Query {
    file: "SELECT (SELECT part FROM seed), transfer, packet, user, cents, kind, seq, number, balance_cents
           FROM outbox WHERE kind <> 7 ORDER BY seq",
    server: "SELECT part, transfer, packet, usr, cents, kind, seq, number, balance_cents
             FROM outbox WHERE kind <> 7 ORDER BY part, seq",
};

/// The same lines, of each user in the order of the user's numbers. In a file that is the order of the journal.
const LINES_OF_USERS: Query = Query {
    file: "SELECT NULL, NULL, NULL, NULL, NULL WHERE 0",
    server: "SELECT usr, number, cents, balance_cents, packet FROM outbox WHERE kind <> 7 ORDER BY usr, number",
};

const CLOSING_LINES: Query = Query {
    file: "SELECT (SELECT part FROM seed), seq, at_ms, number, balance_cents FROM outbox WHERE kind = 7 ORDER BY seq",
    server: "SELECT part, seq, at_ms, number, balance_cents FROM outbox WHERE kind = 7 ORDER BY part, seq",
};

/// What nobody has drawn of the event's money for gifts, and what parts have drawn and not given. A file has one writer, who draws nothing.
const GIFTS: Query = Query {
    file: "SELECT NULL WHERE 0",
    server: "SELECT (gift_pot_cents + (SELECT coalesce(sum(gifts_cents), 0) FROM parts))::bigint FROM ledger",
};

const HOUSE: Query = Query {
    file: "SELECT (SELECT part FROM seed), kind, id, balance_cents FROM house",
    server: "SELECT part, kind, id, balance_cents FROM house ORDER BY part",
};

/// Without rows that were made only to be locked.
const USERS: Query = Query {
    file: "SELECT user, balance_cents, packets_opened, last_transfer, lines FROM users",
    server: "SELECT usr, balance_cents, packets_opened, NULL::bigint, lines FROM users
             WHERE lines > 0 OR balance_cents <> 0 OR packets_opened <> 0",
};

/// Rows between two words of progress.
const PROGRESS_EVERY: u64 = 65_536;

/// Reads all of a ledger into the book.
pub(super) fn read(
    reader: &Reader,
    book: &mut Book,
    progress: &mut impl FnMut(&'static str, u64),
) -> Result<(), LedgerError> {
    each(reader, progress, ("packets", &PACKETS), |row| {
        book.packet(&packet(row)?);
        Ok(())
    })?;
    read_journal(reader, book, progress)?;
    each(reader, progress, ("lines of users", &LINES_OF_USERS), |row| {
        let (user, packet) = (from_sql(row.number(0)?), from_sql(row.number(4)?));
        book.line_of_user(user, row.number(1)?, row.number(2)?, row.number(3)?, packet);
        Ok(())
    })?;
    each(reader, progress, ("closing lines", &CLOSING_LINES), |row| {
        book.closing_line(&ClosingRow {
            part: row.small(0)?,
            seq: row.number(1)?,
            at_ms: row.number(2)?,
            users: row.number(3)?,
            cents: row.number(4)?,
        });
        Ok(())
    })?;
    each(reader, progress, ("balances", &HOUSE), |row| {
        book.house_balance(row.small(0)?, row.number(1)?, row.number(2)?, row.number(3)?);
        Ok(())
    })?;
    each(reader, progress, ("gifts", &GIFTS), |row| {
        book.gifts_there = Some(row.number(0)?);
        Ok(())
    })?;
    each(reader, progress, ("users", &USERS), |row| {
        let user = from_sql(row.number(0)?);
        book.user_balance(
            user,
            row.number(1)?,
            row.number(2)?,
            row.number_if_any(3)?,
            row.number(4)?,
        );
        Ok(())
    })
}

fn each(
    reader: &Reader,
    progress: &mut impl FnMut(&'static str, u64),
    (what, query): (&'static str, &Query),
    mut take: impl FnMut(&Row) -> Result<(), LedgerError>,
) -> Result<(), LedgerError> {
    let mut done = 0_u64;
    reader.each(query, |row| {
        take(row)?;
        done += 1;
        if done.is_multiple_of(PROGRESS_EVERY) {
            progress(what, done);
        }
        Ok(())
    })
}

fn read_journal(
    reader: &Reader,
    book: &mut Book,
    progress: &mut impl FnMut(&'static str, u64),
) -> Result<(), LedgerError> {
    reader.cursors([&TRANSFERS, &SHARES, &LINES], |[mut transfers, shares, lines]| {
        let mut shares = Beside::new(shares, "share_extra")?;
        let mut lines = Beside::new(lines, "outbox_extra")?;
        let mut done = 0_u64;
        while let Some(row) = transfers.advance()? {
            let row = transfer(row)?;
            let key = (row.part, row.id);
            let (share, line) = (shares.up_to(key, book)?, lines.up_to(key, book)?);
            book.transfer(&row, share, line);
            done += 1;
            if done.is_multiple_of(PROGRESS_EVERY) {
                progress("transfers", done);
            }
        }
        let end = (u16::MAX, i64::MAX);
        shares.up_to(end, book)?;
        lines.up_to(end, book)?;
        Ok(())
    })
}

fn packet(row: &Row) -> Result<PacketRow, LedgerError> {
    Ok(PacketRow {
        packet: from_sql(row.number(0)?),
        origin: row.number(1)?,
        sponsor: row.number_if_any(2)?,
        sender: row.number_if_any(3)?,
        cents: row.number(4)?,
        shares: row.number(5)?,
        balance: row.number(6)?,
        shares_left: row.number(7)?,
        state: row.number(8)?,
        seed_index: row.number_if_any(9)?,
        user: row.number_if_any(10)?,
        stage: row.number_if_any(11)?,
        is_opened: row.number(12)? != 0,
        part: row.small(13)?,
    })
}

fn transfer(row: &Row) -> Result<TransferRow, LedgerError> {
    Ok(TransferRow {
        part: row.small(0)?,
        id: row.number(1)?,
        at_ms: row.number(2)?,
        debit: (row.number(3)?, row.number(4)?),
        credit: (row.number(5)?, row.number(6)?),
        cents: row.number(7)?,
        previous: row.number_if_any(8)?,
    })
}

/// A table that is read beside the journal: its rows have ascending numbers of transfers in each part.
struct Beside<'a> {
    rows: Cursor<'a>,
    next: Option<CreditRow>,
    /// The difference that a row without a transfer is.
    extra: &'static str,
}

impl<'a> Beside<'a> {
    fn new(rows: Cursor<'a>, extra: &'static str) -> Result<Self, LedgerError> {
        let mut beside = Self {
            rows,
            next: None,
            extra,
        };
        beside.advance()?;
        Ok(beside)
    }

    fn advance(&mut self) -> Result<(), LedgerError> {
        let read = |row: &Row| {
            Ok::<_, LedgerError>(CreditRow {
                part: row.small(0)?,
                transfer: row.number(1)?,
                packet: row.number(2)?,
                user: row.number(3)?,
                cents: row.number(4)?,
                kind: row.number(5)?,
                seq: row.number(6)?,
                number: row.number(7)?,
                balance: row.number(8)?,
            })
        };
        self.next = self.rows.advance()?.map(read).transpose()?;
        Ok(())
    }

    /// The row of this transfer, when there is one. Rows before it have none.
    fn up_to(&mut self, key: (u16, i64), book: &mut Book) -> Result<Option<CreditRow>, LedgerError> {
        while let Some(row) = self.next.filter(|row| (row.part, row.transfer) <= key) {
            self.advance()?;
            if (row.part, row.transfer) == key {
                return Ok(Some(row));
            }
            book.without_transfer(self.extra, &row);
        }
        Ok(None)
    }
}
