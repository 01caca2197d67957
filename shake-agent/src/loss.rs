//! The way out when a ledger was restored from a backup and there is no newer one: `shake-agent ledger accept-loss`.
//!
//! What the settlement target has more than the ledger was paid, or will be. So each packet of the seed that is named there is
//! closed: *paid* where the ledger had paid nothing of it, gone back to its sponsor where it waited to be grabbed. The packets
//! that stand before them in their sponsor's order were released by the commits that are lost: tickets for them may be out, so
//! they are *lost*, and an authentic ticket opens them.

pub mod fleet;

use crate::ledger::{
    Batch, Book, Held, LaneRecord, Ledger, LedgerError, LineKind, Origin, Packet, Release, State, Store,
};
use crate::seed_file::{SeedFile, SeedFileError};
use crate::settlement::{self, Line, SettlementError};
use crate::witness::{self, Witness, WitnessError};
use shake_rules::seed::SeedRecord;
use shake_rules::{PacketId, SponsorId, UnixMillis};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Ids of sent packets go on so many numbers after the last one that the target names: what was sent and not settled yet when
/// the ledger was lost has one of those between.
const SENDS_BETWEEN: u64 = 1 << 20;

/// Why a loss could not be accepted.
#[derive(Debug, Error)]
pub enum LossError {
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The settlement target.
    #[error(transparent)]
    Settlement(#[from] SettlementError),
    /// The seed file.
    #[error(transparent)]
    Seed(#[from] SeedFileError),
    /// The witness.
    #[error(transparent)]
    Witness(#[from] WitnessError),
    /// The ledger belongs to no seed yet.
    #[error("the ledger {} was never begun: there is nothing that it could have lost. Bring back its newest backup", .0.display())]
    NotBegun(PathBuf),
    /// The lines that it has more end with the closing line.
    #[error(
        "the settlement file {} has the closing line, and the ledger {} is older: what it says is owed for good, and may be paid. \
         Bring back the closed ledger; nothing goes on from this one",
        file.display(), ledger.display()
    )]
    Closed {
        /// The settlement file.
        file: PathBuf,
        /// The ledger.
        ledger: PathBuf,
    },
    /// The witness cannot be written.
    #[error("cannot write the witness {}: {source}", path.display())]
    WriteWitness {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

/// Where everything lies.
#[derive(Clone, Copy, Debug)]
pub struct Places<'a> {
    /// The ledger.
    pub ledger: &'a Path,
    /// Its seed file.
    pub seed: &'a Path,
    /// The settlement file, where there is one.
    pub settlement: Option<&'a Path>,
    /// The state directory, where there is one.
    pub state: Option<&'a Path>,
    /// What the ledger calls this machine, when not by its host name.
    pub machine: Option<&'a str>,
}

/// What others have seen of the ledger that it does not know.
#[derive(Debug)]
pub struct Unknown {
    /// Lines of the settlement target.
    pub lines: Vec<Line>,
    /// The commits that the witness in the state directory has seen.
    pub stamp: Option<u64>,
}

/// What was done about it.
#[derive(Debug, Default)]
pub struct Accepted {
    /// Packets that are paid, because the target has them.
    pub paid: Vec<PacketId>,
    /// Packets that waited to be grabbed and went back, because the target has more of them.
    pub closed: Vec<PacketId>,
    /// Packets that were released by lost commits, of which tickets may be out.
    pub lost: Vec<PacketId>,
    /// Where the settlement file was put; a new one was begun in its place.
    pub aside: Option<PathBuf>,
}

/// Looks what others have seen. Writes nothing.
///
/// # Errors
/// [`LossError`].
pub fn look(places: &Places<'_>) -> Result<Unknown, LossError> {
    let lines = match places.settlement {
        Some(file) => {
            let lines = settlement::unknown_to(file, places.ledger)?;
            if lines.iter().any(|line| line.kind == LineKind::Close) {
                return Err(LossError::Closed {
                    file: file.to_owned(),
                    ledger: places.ledger.to_owned(),
                });
            }
            lines
        }
        None => Vec::new(),
    };
    let witness = match places.state {
        Some(state) => Witness::read(&state.join(witness::FILE))?,
        None => None,
    };
    Ok(Unknown {
        lines,
        stamp: witness.map(|witness| witness.stamp()),
    })
}

/// Goes on without what the ledger lost. Every step may be done again.
///
/// # Errors
/// [`LossError`].
pub fn accept(places: &Places<'_>, unknown: &Unknown, now: UnixMillis) -> Result<Accepted, LossError> {
    let mut ledger = Ledger::open(places.ledger)?;
    if let Some(machine) = places.machine {
        ledger.write_as(machine);
    }
    let seed = SeedFile::open(places.seed)?;
    let Some(bound) = ledger.bound() else {
        return Err(LossError::NotBegun(places.ledger.to_owned()));
    };
    let gift_budget = bound.gift_budget;
    let bound = ledger.bind_seed(&seed, gift_budget, now)?;
    let named: BTreeSet<PacketId> = unknown.lines.iter().map(|line| line.packet).collect();
    let lost = released_by_lost_commits(&seed, &bound.released, &named)?;
    let accepted = ledger.transaction(now, |batch| {
        batch.stamp_at_least(unknown.stamp.unwrap_or(0));
        if let Some(last) = named.last().filter(|last| last.0 >> 63 == 1) {
            batch.skip_made(*last, SENDS_BETWEEN);
        }
        let mut accepted = Accepted {
            lost: release(batch, &lost, &named)?,
            ..Accepted::default()
        };
        for &packet in &named {
            if let Some(found) = batch.load_packet(packet)? {
                close(batch, packet, &found, &mut accepted);
            }
        }
        Ok(accepted)
    })?;
    let mut accepted = accepted;
    if let Some(file) = places.settlement.filter(|_| !unknown.lines.is_empty()) {
        accepted.aside = Some(settlement::set_aside(file)?);
        settlement::begin(file, places.ledger)?;
    }
    if let Some(state) = places.state {
        let path = state.join(witness::FILE);
        ledger.recover()?;
        let witness = Witness::of(&ledger, seed.header()).ok_or(LossError::NotBegun(places.ledger.to_owned()))?;
        let written = witness.write(&path);
        written.map_err(|source| LossError::WriteWitness { path, source })?;
    }
    Ok(accepted)
}

/// The records that were released since, with their indexes in the file: of each sponsor, those up to the last one named.
fn released_by_lost_commits(
    seed: &SeedFile,
    released: &BTreeMap<SponsorId, u64>,
    named: &BTreeSet<PacketId>,
) -> Result<Vec<(u64, SeedRecord)>, SeedFileError> {
    let mut seen: BTreeMap<SponsorId, u64> = BTreeMap::new();
    let mut open: BTreeMap<SponsorId, Vec<(u64, SeedRecord)>> = BTreeMap::new();
    let mut lost = Vec::new();
    seed.for_each(|index, record| {
        let before = seen.entry(record.sponsor).or_default();
        *before += 1;
        if *before <= released.get(&record.sponsor).copied().unwrap_or(0) {
            return;
        }
        let waiting = open.entry(record.sponsor).or_default();
        waiting.push((index, record));
        if named.contains(&record.packet) {
            lost.append(waiting);
        }
    })?;
    Ok(lost)
}

/// Releases what lost commits released, into no mapping: what the target names is paid, the others are lost. Gives those.
fn release<S: Store>(
    batch: &mut Batch<'_, S>,
    records: &[(u64, SeedRecord)],
    named: &BTreeSet<PacketId>,
) -> Result<Vec<PacketId>, LedgerError> {
    if records.is_empty() {
        return Ok(Vec::new());
    }
    let nowhere = batch.load_lane(0, 0)?;
    let first = nowhere.grants_released;
    let releases: Vec<Release> = (first..)
        .zip(records)
        .map(|(grant_position, &(seed_index, record))| Release {
            seed_index,
            record,
            lane: nowhere.lane,
            grant_position,
        })
        .collect();
    batch.release(&releases);
    batch.store_lane(&LaneRecord {
        grants_released: first + releases.len() as u64,
        ..nowhere
    });
    let released = releases.iter().map(|release| release.record.packet);
    let unnamed: Vec<PacketId> = released.filter(|packet| !named.contains(packet)).collect();
    let lost = batch.held(&unnamed);
    batch.lose_packets(&lost);
    Ok(lost.iter().map(|held| held.packet).collect())
}

/// Closes a packet of the seed that the target has more of.
fn close(book: &mut Book, id: PacketId, packet: &Packet, accepted: &mut Accepted) {
    let Origin::Seed(sponsor) = packet.origin else {
        return;
    };
    match packet.state {
        State::Released | State::Issued => {
            book.note_paid(&[Held {
                packet: id,
                amount: packet.left,
                sponsor,
                grant_position: 0,
            }]);
            accepted.paid.push(id);
        }
        State::Lost => {
            book.note_paid_lost(id);
            accepted.paid.push(id);
        }
        State::Open => {
            book.refund(id);
            accepted.closed.push(id);
        }
        State::Opened | State::Refunded | State::Void | State::Paid => {}
    }
}
