//! What a ledger still has out, for whoever wants to close it: how much can yet be opened or grabbed and until when, and what
//! goes back to whom when nobody takes any more of it. Reads only.

use super::packet::{EVENT_SPONSOR, Origin, Packet, State, Term};
use super::schema::from_sql;
use super::spans::{self, Span};
use super::{accounts::Account, outbox, packets};
use crate::seed_file::Tally;
use rusqlite::Connection;
use shake_rules::{SponsorId, UnixMillis};
use std::collections::BTreeMap;

/// What is out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Out {
    /// When the ledger was closed; then nothing is out.
    pub closed: Option<UnixMillis>,
    /// In tickets that are not opened.
    pub issued: Tally,
    /// Of sponsors and the event, shares that nobody has taken.
    pub open: Tally,
    /// The same of what users sent. It goes back to them.
    pub sent: Tally,
    /// In the hands of shards, in no ticket.
    pub released: Tally,
    /// Released into a mapping that is gone.
    pub lost: Tally,
    /// In no ticket.
    pub void: Tally,
    /// When the last of these ends that a ticket or a code can still open; `None` when none can.
    pub ends: Option<UnixMillis>,
    /// What goes back to each sponsor when nobody takes any more, in cents. Sponsor 0 is the event.
    pub back: BTreeMap<SponsorId, u64>,
    /// How many users have something.
    pub users_owed: u64,
    /// What they have together, in cents.
    pub owed_cents: u64,
}

/// Looks what is out at `now`, where tickets live so long.
///
/// # Errors
/// When the ledger cannot be read.
pub fn still_out(connection: &Connection, ticket_lifetime_ms: u64, now: UnixMillis) -> rusqlite::Result<Out> {
    let mut out = Out {
        closed: outbox::closed(connection)?,
        ..Out::default()
    };
    let last_commit = spans::last_commit(connection)?;
    let mut spans = spans::all(connection)?;
    if let Some(span) = Span::between(last_commit, now).filter(|_| last_commit.0 > 0) {
        spans = spans.with(span);
    }
    let mut packets = packets::due(connection, UnixMillis(u64::MAX), usize::MAX)?;
    for state in [State::Released, State::Lost, State::Void] {
        packets.extend(packets::of_state(connection, state)?);
    }
    packets.iter().for_each(|(_, packet)| out.count(packet));
    // A ticket that is out for what is lost was sealed before that.
    let lost = packets::last_lost(connection)?.map(|began| Term {
        began,
        ends: began.plus_ms(ticket_lifetime_ms),
    });
    let terms = packets.iter().filter_map(|(_, packet)| packet.term()).chain(lost);
    out.ends = terms.map(|term| spans.end(term)).max();
    let (kind, _) = Account::Sponsor(EVENT_SPONSOR).to_columns();
    let mut statement = connection.prepare("SELECT id, balance_cents FROM house WHERE kind = ?1")?;
    let mut rows = statement.query([kind])?;
    while let Some(row) = rows.next()? {
        *out.back.entry(SponsorId(row.get(0)?)).or_default() += from_sql(row.get(1)?);
    }
    (out.users_owed, out.owed_cents) = connection.query_row(
        "SELECT count(*), coalesce(sum(balance_cents), 0) FROM users WHERE balance_cents > 0",
        [],
        |row| Ok((from_sql(row.get(0)?), from_sql(row.get(1)?))),
    )?;
    Ok(out)
}

impl Out {
    fn count(&mut self, packet: &Packet) {
        // The money of these lies in the void.
        let cents = match packet.state {
            State::Lost | State::Void => packet.amount.0,
            _ => packet.left.0,
        };
        let tally = match (packet.state, packet.origin) {
            (State::Issued, _) => &mut self.issued,
            (State::Released, _) => &mut self.released,
            (State::Lost, _) => &mut self.lost,
            (State::Void, _) => &mut self.void,
            (_, Origin::Sent(_)) => &mut self.sent,
            _ => &mut self.open,
        };
        tally.add(cents);
        let sponsor = match packet.origin {
            Origin::Seed(sponsor) => sponsor,
            Origin::Gift => EVENT_SPONSOR,
            Origin::Sent(_) => return,
        };
        *self.back.entry(sponsor).or_default() += cents;
    }
}
