//! The seed that a ledger, or a part of one, belongs to, and how far it is released.

use super::opening::Machine;
use super::packet::EVENT_SPONSOR;
use super::postgres::SKIPPED;
use super::schema::{from_sql, to_sql};
use super::store::Store;
use super::{Ledger, LedgerError};
use crate::seed_file::{SeedFile, Survey};
use rusqlite::{Connection, OptionalExtension, params};
use shake_rules::seed::SeedHeader;
use shake_rules::{Cents, EventId, LedgerId, SponsorId, UnixMillis};
use std::collections::{BTreeMap, BTreeSet};

impl<S: Store> Ledger<S> {
    /// Ties the ledger to its seed file. At the first run, the whole file is verified, its header stored, and the bank
    /// funds each sponsor with the sponsor's sum, and the event with `gift_budget`. Later, the header must be the same; a
    /// larger budget is funded in addition, a smaller one changes nothing.
    ///
    /// Gives what is released.
    ///
    /// # Errors
    /// [`LedgerError::OtherSeed`], [`LedgerError::SeedTooLarge`], [`LedgerError::SeedIds`], [`LedgerError::SeedSponsor`],
    /// [`LedgerError::SeedFile`], or a failed write.
    pub fn bind_seed(&mut self, seed: &SeedFile, gift_budget: Cents, now: UnixMillis) -> Result<Bound, LedgerError> {
        if let Some(bound) = self.bound() {
            let own = bound.gift_budget;
            if bound.header != *seed.header() {
                return Err(LedgerError::OtherSeed {
                    ledger: self.path().to_owned(),
                    seed: seed.path().to_owned(),
                    bound: Box::new(bound.header),
                    found: Box::new(*seed.header()),
                });
            }
            if gift_budget > own {
                check_total(seed.header(), gift_budget)?;
                self.transaction(now, |batch| batch.raise_gift_budget(gift_budget))?;
            }
        } else {
            let survey = survey_for_a_new_ledger(seed, gift_budget)?;
            let header = *seed.header();
            let identity = self.store().identity().unwrap_or_else(|| LedgerId(rand::random()));
            self.transaction(now, |batch| {
                batch.fund(&header, identity, &survey.sponsors);
                batch.raise_gift_budget(gift_budget)
            })?;
            self.look_up()?;
        }
        Ok(self.bound().expect("it was bound above").clone())
    }

    /// What it is tied to, and how far that is released; `None` before the first run.
    #[must_use]
    pub fn bound(&self) -> Option<&Bound> {
        self.standing().bound.as_ref()
    }
}

/// Reads the whole seed for a ledger that has none yet, and finds what no ledger takes.
///
/// # Errors
/// [`LedgerError::SeedTooLarge`], [`LedgerError::SeedIds`], [`LedgerError::SeedSponsor`] or [`LedgerError::SeedFile`].
pub(crate) fn survey_for_a_new_ledger(seed: &SeedFile, gift_budget: Cents) -> Result<Survey, LedgerError> {
    check_total(seed.header(), gift_budget)?;
    let survey = seed.survey()?;
    if survey.last_packet.0 >> 63 != 0 {
        return Err(LedgerError::SeedIds(survey.last_packet));
    }
    if survey.sponsors.contains_key(&EVENT_SPONSOR) {
        return Err(LedgerError::SeedSponsor);
    }
    Ok(survey)
}

/// Everything that is ever funded must fit the numbers of the tables.
pub(crate) fn check_total(header: &SeedHeader, gift_budget: Cents) -> Result<(), LedgerError> {
    let total = Cents(header.total.0.saturating_add(gift_budget.0));
    i64::try_from(total.0)
        .map_err(|_| LedgerError::SeedTooLarge(total))
        .map(drop)
}

/// What a ledger is tied to, and how far it is released.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bound {
    /// The seed.
    pub header: SeedHeader,
    /// The version of the ledger's tables.
    pub version: i64,
    /// Which ledger it is; `None` in one of version 2.
    pub identity: Option<LedgerId>,
    /// What the bank funded the event with, for gifts; of a part, what its books did.
    pub gift_budget: Cents,
    /// Per sponsor of the seed, how many of its packets are released, in the order of the seed.
    pub released: BTreeMap<SponsorId, u64>,
}

/// A part's books, as the ledger has them.
#[derive(Clone, Debug)]
pub struct PartBooks {
    /// Its seed, and how far that is released.
    pub bound: Bound,
    /// Whether an agent has ever served it.
    pub is_begun: bool,
    /// Who wrote it.
    pub machines: Vec<Machine>,
    /// The last line that it had at each loss that somebody accepted: numbers went on 2^32 behind it.
    pub losses: BTreeSet<i64>,
}

impl PartBooks {
    /// The number of the line behind this one.
    #[must_use]
    pub fn line_after(&self, mut line: i64) -> i64 {
        while self.losses.contains(&line) {
            line += SKIPPED;
        }
        line + 1
    }
}

/// The seed that a ledger is tied to; `None` when it has none yet.
///
/// # Errors
/// When the ledger cannot be read.
pub fn bound_seed(connection: &Connection) -> rusqlite::Result<Option<Bound>> {
    let seed = connection
        .query_row(
            "SELECT event, part, parts, count, total_cents, records_crc, gift_budget_cents, identity FROM seed",
            [],
            |row| {
                let header = SeedHeader {
                    event: EventId(row.get(0)?),
                    part: row.get(1)?,
                    parts: row.get(2)?,
                    count: from_sql(row.get(3)?),
                    total: Cents(from_sql(row.get(4)?)),
                    records_crc: row.get(5)?,
                };
                Ok((header, Cents(from_sql(row.get(6)?)), row.get::<_, Option<[u8; 16]>>(7)?))
            },
        )
        .optional()?;
    let Some((header, gift_budget, identity)) = seed else {
        return Ok(None);
    };
    let mut statement = connection.prepare("SELECT sponsor, released FROM sponsors")?;
    let released = statement
        .query_map([], |row| Ok((SponsorId(row.get(0)?), from_sql(row.get(1)?))))?
        .collect::<Result<_, _>>()?;
    Ok(Some(Bound {
        header,
        version: connection.query_row("PRAGMA main.user_version", [], |row| row.get(0))?,
        identity: identity.map(LedgerId),
        gift_budget,
        released,
    }))
}

/// So many packets of each of these sponsors are released.
pub(super) fn store_released(connection: &Connection, released: &[(SponsorId, u64)]) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached("UPDATE sponsors SET released = ?2 WHERE sponsor = ?1")?;
    for &(sponsor, count) in released {
        statement.execute(params![sponsor.0, to_sql(count)])?;
    }
    Ok(())
}
