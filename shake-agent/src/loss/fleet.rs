//! The same of a ledger in PostgreSQL, which is that of all parts of an event: it came back without its last commits, and whoever saw it
//! has halted it for all agents. What was lost is known by those who remember it: each agent says how far its part was released. Those
//! packets are lost until their tickets are shown; numbers of transfers, lines, sent packets and commits go on far behind what was seen.

use super::{Accepted, release};
use crate::ledger::{self, Access, Halt, Known, Ledger, LedgerError, Loss, PartRow};
use crate::seed_file::{SeedFile, SeedFileError};
use crate::seed_fleet::file_name;
use shake_rules::seed::SeedRecord;
use shake_rules::{Cents, LedgerId, PacketId, SponsorId, UnixMillis};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use thiserror::Error;

/// Packets in one transaction.
const RELEASE_MAX: usize = 1_024;

/// Why it could not be accepted.
#[derive(Debug, Error)]
pub enum FleetLossError {
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// A seed file.
    #[error(transparent)]
    Seed(#[from] SeedFileError),
    /// Of some parts nobody has said anything.
    #[error(
        "nobody has said what was lost of {}. Start its agent once, which is refused and says it; or say of each --gone (its machine is, and the \
         rest of its seed with it) or --idle (its agent did not run since)",
        named(.0)
    )]
    Untold(Vec<u16>),
    /// There is no such part.
    #[error("the ledger has no {}", named(.0))]
    NoPart(Vec<u16>),
}

/// "part 1, part 7".
fn named(parts: &[u16]) -> String {
    parts
        .iter()
        .map(|part| format!("part {part}"))
        .collect::<Vec<_>>()
        .join(", ")
}

/// What a person says of parts whose agents have said nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Said<'a> {
    /// Their machines are gone, and with them what they knew.
    pub gone: &'a [u16],
    /// Their agents did not run since the last commit that the ledger has.
    pub idle: &'a [u16],
}

/// What became of a part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Its agent has said what it knows.
    Told(Known),
    /// Nothing of it was lost.
    Idle,
    /// Nobody knows: all that is unreleased here may have been released.
    Gone,
    /// Nobody has said anything yet.
    Untold,
}

/// What the agents have said that the ledger does not know.
#[derive(Debug)]
pub struct Unknown {
    loss: Loss,
    /// All parts, as the ledger has them, and what became of each.
    pub parts: Vec<(PartRow, Fate)>,
}

impl Unknown {
    /// Which ledger it is.
    #[must_use]
    pub fn identity(&self) -> LedgerId {
        self.loss.identity
    }

    /// Why it is halted.
    #[must_use]
    pub fn halt(&self) -> Halt {
        self.loss.halt
    }
}

/// Looks what the agents have said. Writes nothing.
///
/// # Errors
/// [`LedgerError::NotHalted`], [`FleetLossError::NoPart`], or when the server does not answer.
pub fn look(access: Access, said: Said<'_>) -> Result<Unknown, FleetLossError> {
    let rows = ledger::parts(&access)?;
    let loss = Loss::look(access)?;
    let is_strange = |part: &&u16| !rows.iter().any(|row| row.part == **part);
    let strange: Vec<u16> = said.gone.iter().chain(said.idle).filter(is_strange).copied().collect();
    if !strange.is_empty() {
        return Err(FleetLossError::NoPart(strange));
    }
    let fate = |row: PartRow| {
        let fate = match loss.told.get(&row.part) {
            Some(known) => Fate::Told(known.clone()),
            None if said.gone.contains(&row.part) => Fate::Gone,
            // What is closed or retired is handed out no more.
            None if said.idle.contains(&row.part) || row.closed.is_some() || row.retired.is_some() => Fate::Idle,
            None => Fate::Untold,
        };
        (row, fate)
    };
    let parts = rows.into_iter().map(fate).collect();
    Ok(Unknown { loss, parts })
}

/// Goes on without what the ledger lost: `seeds` is the directory of all seed files. Every step may be done again; until the last one the
/// ledger is halted. Gives what was done of each part that had an agent.
///
/// # Errors
/// [`FleetLossError`].
pub fn accept(unknown: Unknown, seeds: &Path, now: UnixMillis) -> Result<Vec<(u16, Accepted)>, FleetLossError> {
    let untold = unknown.parts.iter().filter(|(_, fate)| *fate == Fate::Untold);
    let untold: Vec<u16> = untold.map(|(row, _)| row.part).collect();
    if !untold.is_empty() {
        return Err(FleetLossError::Untold(untold));
    }
    let mut done = Vec::new();
    for (row, fate) in &unknown.parts {
        if row.closed.is_some() || (row.epoch == 0 && *fate == Fate::Idle) {
            continue;
        }
        let seed = SeedFile::open(&seeds.join(file_name(row.part)))?;
        done.push((row.part, accept_part(&unknown.loss, row.part, fate, &seed, now)?));
    }
    unknown.loss.end()?;
    Ok(done)
}

fn accept_part(
    loss: &Loss,
    part: u16,
    fate: &Fate,
    seed: &SeedFile,
    now: UnixMillis,
) -> Result<Accepted, FleetLossError> {
    let is_gone = *fate == Fate::Gone;
    let stamp = match fate {
        Fate::Told(known) => known.stamp,
        Fate::Idle | Fate::Gone | Fate::Untold => 0,
    };
    let mut ledger = Ledger::on(loss.take(part, stamp, is_gone)?)?;
    let bound = ledger.bind_seed(seed, Cents(0), now)?;
    let records = released_by_lost_commits(seed, &bound.released, fate)?;
    let mut accepted = Accepted::default();
    for records in records.chunks(RELEASE_MAX) {
        let lost = ledger.transaction(now, |batch| release(batch, records, &BTreeSet::new()))?;
        accepted.lost.extend(lost);
    }
    if is_gone {
        let held: Vec<PacketId> = ledger.lose_held(now)?;
        accepted.lost.extend(held);
    }
    Ok(accepted)
}

/// The records that were released since, with their indexes in the file.
fn released_by_lost_commits(
    seed: &SeedFile,
    released: &BTreeMap<SponsorId, u64>,
    fate: &Fate,
) -> Result<Vec<(u64, SeedRecord)>, SeedFileError> {
    let known = match fate {
        Fate::Told(known) if known.released.iter().all(|(of, count)| released.get(of) >= Some(count)) => {
            return Ok(Vec::new());
        }
        Fate::Told(known) => Some(&known.released),
        Fate::Gone => None,
        Fate::Idle | Fate::Untold => return Ok(Vec::new()),
    };
    let count = |of: &BTreeMap<SponsorId, u64>, sponsor| of.get(&sponsor).copied().unwrap_or(0);
    let mut seen: BTreeMap<SponsorId, u64> = BTreeMap::new();
    let mut lost = Vec::new();
    seed.for_each(|index, record| {
        let place = seen.entry(record.sponsor).or_default();
        *place += 1;
        let is_behind = *place > count(released, record.sponsor);
        if is_behind && known.is_none_or(|known| *place <= count(known, record.sponsor)) {
            lost.push((index, record));
        }
    })?;
    Ok(lost)
}
