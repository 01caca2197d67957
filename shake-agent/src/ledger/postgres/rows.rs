//! How a ledger's values stand in columns.

use super::link::Failure;
use crate::ledger::packet::{Granted, Origin, Packet, State};
use crate::ledger::schema::from_sql;
use shake_rules::{Cents, PacketId, UnixMillis, UserId};
use tokio_postgres::Row;

/// An identifier or position of 64 bits.
pub(super) fn id(row: &Row, column: usize) -> Result<u64, Failure> {
    Ok(from_sql(row.try_get(column)?))
}

/// An amount, which is never negative.
pub(super) fn cents(row: &Row, column: usize) -> Result<Cents, Failure> {
    id(row, column).map(Cents)
}

/// A time, if there is one.
pub(super) fn time(row: &Row, column: usize) -> Result<Option<UnixMillis>, Failure> {
    let time: Option<i64> = row.try_get(column)?;
    Ok(time.map(|time| UnixMillis(from_sql(time))))
}

/// A number of a smaller type than its column's.
pub(super) fn number<T: TryFrom<i32>>(row: &Row, column: usize) -> Result<T, Failure> {
    let number: i32 = row.try_get(column)?;
    let strange = |_| Failure::strange("a table", format!("{} is {number}", row.columns()[column].name()));
    T::try_from(number).map_err(strange)
}

/// What the statements that read packets give.
pub(super) fn packet(row: &Row) -> Result<(PacketId, Packet), Failure> {
    let id = PacketId(id(row, 0)?);
    let strange = |column: &str| Failure::strange("packets", format!("{column} of packet {id}"));
    let (sponsor, sender): (Option<i32>, Option<i64>) = (row.try_get(2)?, row.try_get(3)?);
    let origin = Origin::from_columns(row.try_get::<_, i16>(1)?.into(), sponsor.map(i64::from), sender);
    let state = State::from_column(row.try_get::<_, i16>(9)?.into());
    let (user, stage): (Option<i64>, Option<i32>) = (row.try_get(10)?, row.try_get(11)?);
    let place: (Option<i64>, Option<i64>, Option<i64>) = (row.try_get(18)?, row.try_get(19)?, row.try_get(20)?);
    let granted = match place {
        (Some(seed_index), Some(lane), Some(position)) => Some(Granted {
            seed_index: from_sql(seed_index),
            lane,
            position: from_sql(position),
        }),
        _ => None,
    };
    let packet = Packet {
        origin: origin.ok_or_else(|| strange("origin"))?,
        amount: cents(row, 4)?,
        shares: number(row, 5)?,
        left: cents(row, 6)?,
        shares_left: number(row, 7)?,
        recipients: number(row, 8)?,
        state: state.ok_or_else(|| strange("state"))?,
        user: user.map(|user| UserId(from_sql(user))),
        stage: stage.map(u16::try_from).transpose().map_err(|_| strange("stage"))?,
        made: time(row, 12)?.ok_or_else(|| strange("made_ms"))?,
        issued: time(row, 13)?,
        opened: time(row, 14)?,
        due: time(row, 15)?,
        ends: time(row, 16)?,
        closed: time(row, 17)?,
        granted,
    };
    Ok((id, packet))
}
