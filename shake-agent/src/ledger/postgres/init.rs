//! The beginning of a ledger for many machines: tables, the ledger's identity, and a row for each part. Done once, by a person;
//! agents have no right to make tables.

use super::link::{self, Failure};
use super::{LedgerError, place, schema};
use crate::ledger::schema::to_sql;
use shake_rules::LedgerId;
use shake_rules::seed::SeedHeader;
use tokio_postgres::Config;

/// Who owns a part: 16 random bytes that a state directory keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Installation(pub [u8; 16]);

/// Makes the tables in an empty database, and one part for each of these seeds.
///
/// # Errors
/// [`LedgerError::Postgres`] when the server does not do it: also when the tables are there.
///
/// # Panics
/// When there is no seed.
pub fn init(config: &Config, identity: LedgerId, seeds: &[SeedHeader]) -> Result<(), LedgerError> {
    let first = seeds.first().expect("a ledger has a part at least");
    let made = link::run_once(config, async |client| {
        client.batch_execute(schema::CREATE).await?;
        let event = i32::try_from(first.event.0).map_err(|_| Failure::strange("ledger", "the event's number"))?;
        let insert = "INSERT INTO ledger (id, version, identity, event) VALUES (1, $1, $2, $3)";
        client
            .execute(insert, &[&schema::VERSION, &identity.0.as_slice(), &event])
            .await?;
        for seed in seeds {
            let (part, parts) = (i32::from(seed.part), i32::from(seed.parts));
            let (count, total, crc) = (to_sql(seed.count), to_sql(seed.total.0), i64::from(seed.records_crc));
            let insert = "INSERT INTO parts (part, parts, count, total_cents, records_crc) VALUES ($1, $2, $3, $4, $5)";
            client.execute(insert, &[&part, &parts, &count, &total, &crc]).await?;
        }
        Ok(())
    });
    made.map_err(|source| LedgerError::Postgres {
        action: "make the tables of",
        place: place(config, first.part),
        source,
    })
}
