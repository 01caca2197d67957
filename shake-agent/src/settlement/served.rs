//! The outbox of a ledger on a server, as settlement reads it: by single statements, on a connection of its own. None of them keeps
//! a lock or the version of a row for longer than it takes.

use super::{Identity, Line, SettlementError, Source};
use crate::ledger::schema::{from_sql, to_sql};
use crate::ledger::{Incarnation, LedgerError, LineKind, Place, Query, Reader, Row};
use shake_rules::{Cents, LedgerId, PacketId, UnixMillis, UserId};

/// A ledger in a file is settled by its agent, which reads it by itself.
const NOT_OF_A_FILE: &str = "SELECT NULL WHERE 0";

const LEDGER: Query = Query {
    file: NOT_OF_A_FILE,
    server: "SELECT identity, event FROM ledger",
};

/// The number of a part's last line is committed with the line.
const PARTS: Query = Query {
    file: NOT_OF_A_FILE,
    server: "SELECT part, parts, records_crc, outbox, (closed_ms IS NOT NULL)::integer FROM parts ORDER BY part",
};

const LINES: Query = Query {
    file: NOT_OF_A_FILE,
    server: "SELECT part, seq, kind, cents, usr, packet, at_ms, number, balance_cents, coalesce(bits, 0)
             FROM outbox LEFT JOIN openings USING (part, opening) WHERE part = $1::bigint AND seq > $2 ORDER BY seq LIMIT $3",
};

/// A part, and how far its lines are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub(super) identity: Identity,
    /// The number of its last line; 0 before the first.
    pub(super) last: u64,
    /// Whether that is the closing line, or no line ever comes.
    pub(super) is_closed: bool,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Served {
    reader: Reader,
}

impl Served {
    pub(super) fn connect(place: &Place) -> Result<Self, SettlementError> {
        Ok(Self {
            reader: Reader::open(&place.clone().for_a_glance())?,
        })
    }

    /// All parts, in order.
    pub(super) fn heads(&self) -> Result<Vec<Head>, SettlementError> {
        let strange = |what: &str| LedgerError::Strange {
            place: self.reader.place().to_owned(),
            what: what.to_owned(),
        };
        let ledger = self.reader.rows(&LEDGER, &[])?;
        let ledger = ledger.first().ok_or_else(|| strange("no row of the ledger"))?;
        let identity = ledger
            .bytes(0)?
            .try_into()
            .map_err(|_| strange("an identity of the ledger"))?;
        let event = ledger.small(1)?;
        let head = |row: &Row| {
            Ok(Head {
                identity: Identity {
                    ledger: Some(LedgerId(identity)),
                    event,
                    part: row.small(0)?,
                    parts: row.small(1)?,
                    records_crc: row.small(2)?,
                    begun_ms: 0,
                },
                last: from_sql(row.number(3)?),
                is_closed: row.number(4)? != 0,
            })
        };
        self.reader.rows(&PARTS, &[])?.iter().map(head).collect()
    }

    /// The outbox of a part.
    pub(super) fn part(&self, part: u16) -> impl Source {
        OfPart {
            reader: &self.reader,
            part,
        }
    }

    /// Whatever was read is on every standby that has this.
    pub(super) fn confirm(&self) -> Result<(), SettlementError> {
        Ok(self.reader.confirm()?)
    }
}

struct OfPart<'a> {
    reader: &'a Reader,
    part: u16,
}

impl Source for OfPart<'_> {
    fn read(&self, after: u64, max: usize) -> Result<Vec<Line>, SettlementError> {
        let rows = self
            .reader
            .rows(&LINES, &[self.part.into(), to_sql(after), max as i64])?;
        let lines = rows.iter().map(|row| {
            let kind = row.number(2)?;
            let kind = LineKind::from_column(kind).ok_or_else(|| LedgerError::Strange {
                place: self.reader.place().to_owned(),
                what: format!("a line of kind {kind}"),
            });
            line(row, kind?)
        });
        Ok(lines.collect::<Result<_, LedgerError>>()?)
    }
}

/// The line of a row: part, seq, kind, cents, user, packet, at_ms, number, balance, bits of the opening.
pub(super) fn line(row: &Row, kind: LineKind) -> Result<Line, LedgerError> {
    let id = |column: usize| row.number(column).map(from_sql);
    Ok(Line {
        seq: id(1)?,
        kind,
        cents: row.number(3)?,
        user: UserId(id(4)?),
        packet: PacketId(id(5)?),
        at: UnixMillis(id(6)?),
        number: id(7)?,
        balance: Cents(id(8)?),
        incarnation: Incarnation(id(9)?),
    })
}
