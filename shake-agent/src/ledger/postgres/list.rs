//! Packets that are named by where they stand.

use super::link::{Failure, Link};
use super::read::{Parameter, by};
use super::rows::packet;
use crate::ledger::packet::{Packet, State};
use crate::ledger::schema::to_sql;
use crate::ledger::store::Listing;
use shake_rules::PacketId;

/// The packets of a listing, locked.
pub(super) async fn list(link: &Link, part: i32, listing: &Listing) -> Result<Vec<(PacketId, Packet)>, Failure> {
    let (client, statements) = (&link.client, &link.statements);
    let found = match *listing {
        Listing::Due { by: until, max } => {
            let max = i64::try_from(max).unwrap_or(i64::MAX);
            client.query(&statements.due, &[&part, &by(until), &max]).await?
        }
        Listing::DueOfGone {
            by: until,
            max,
            counts_silence,
        } => {
            let gone = client.query(&statements.gone, &[&part, &counts_silence]).await?;
            let gone: Vec<i32> = gone.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
            if gone.is_empty() {
                return Ok(Vec::new());
            }
            let max = i64::try_from(max).unwrap_or(i64::MAX);
            client.query(&statements.due_of, &[&gone, &by(until), &max]).await?
        }
        Listing::HeldOfLane { lane, ref positions } => {
            let (from, to) = (to_sql(positions.start), to_sql(positions.end));
            client
                .query(&statements.held_of_lane, &[&part, &lane, &from, &to])
                .await?
        }
        Listing::HeldOfOtherMappings(mapping) => {
            let with: [Parameter<'_>; 2] = [&part, &to_sql(mapping)];
            client.query(&statements.held_of_other_mappings, &with).await?
        }
        Listing::OfState(state) => {
            // One statement for each, because only a literal meets the small index.
            let statement = match state {
                State::Lost => &statements.lost,
                State::Void => &statements.void,
                _ => &statements.released,
            };
            client.query(statement, &[&part]).await?
        }
    };
    found.iter().map(packet).collect()
}
