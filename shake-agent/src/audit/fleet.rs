//! The audit of a fleet: the ledgers of many agents, merged against the whole seed. The seed is verified first, then each
//! ledger is audited against the file of its own part. Writes nothing, and holds the book of one ledger at a time.
//!
//! What a ledger may not do to the others: no part has two of them, and no packet of one lies in the range of another.

mod settlements;

use super::AuditError;
use super::report::{Difference, SponsorRow, SponsorTotals, table};
use crate::ledger::{self, LedgerError, when};
use crate::seed_file::Tally;
use crate::seed_fleet::manifest::{Origin, Proof, SponsorSum};
use crate::seed_fleet::verify::{VerifyError, verify};
use crate::seed_fleet::{FileReport, ManifestKeys, file_name};
use crate::settlement::SettlementError;
use serde::Serialize;
use shake_rules::seed::SeedHeader;
use shake_rules::{PacketId, UnixMillis};
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Most differences of one ledger that are named; the others are counted. The audit of that ledger alone names more.
pub const NAMED_MAX: usize = 100;

/// Why nothing could be audited.
#[derive(Debug, Error)]
pub enum FleetError {
    /// There is no readable manifest.
    #[error(transparent)]
    Seed(#[from] VerifyError),
    /// A ledger cannot be read, or has no seed yet.
    #[error(transparent)]
    Ledger(#[from] AuditError),
    /// A settlement file cannot be read.
    #[error(transparent)]
    Settlement(#[from] SettlementError),
}

/// A difference, with the ledger that it is in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FleetDifference {
    /// The ledger; none when it is in the seed or in the sums.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ledger: Option<String>,
    /// The difference.
    #[serde(flatten)]
    pub difference: Difference,
}

/// What was found of one part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PartRow {
    /// The part, from 0 on.
    pub part: u16,
    /// Its ledger. A part without one counts as unreleased, and so does one whose ledger cannot be compared with it. Either is a
    /// difference, unless the part is said to be unused.
    pub ledger: Option<String>,
    /// Whether there is no difference in its ledger.
    pub balanced: bool,
    /// How many differences there are in its ledger.
    pub difference_count: u64,
    /// When its ledger was closed, in milliseconds since 1970 UTC.
    pub closed_ms: Option<u64>,
    /// Its settlement file, when it was given.
    pub settlement: Option<String>,
    /// All its sponsors together.
    pub total: SponsorTotals,
}

/// What the audit of a fleet found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Whether there is no difference at all, in the seed, the ledgers and the sums.
    pub balanced: bool,
    /// What is known of the manifest's origin.
    pub origin: Origin,
    /// What that comes to. That it is unknown is no difference.
    pub proof: Proof,
    /// The event.
    pub event: u32,
    /// Every part of the seed, in order.
    pub parts: Vec<PartRow>,
    /// All sponsors of all parts together.
    pub total: SponsorTotals,
    /// Each sponsor, over all parts.
    pub sponsors: Vec<SponsorRow>,
    /// How many differences there are.
    pub difference_count: u64,
    /// The differences: those of the seed, and of each ledger at most [`NAMED_MAX`].
    pub differences: Vec<FleetDifference>,
}

/// What belongs to a fleet.
#[derive(Clone, Copy, Debug, Default)]
pub struct Books<'a> {
    /// The ledgers, in any order.
    pub ledgers: &'a [PathBuf],
    /// Settlement files, in any order: each is compared with the ledger that it names.
    pub settlements: &'a [PathBuf],
    /// Parts that no agent ever served, by the names of their files.
    pub unused: &'a [String],
}

/// Verifies the seed in `directory`, audits every ledger against its part, and compares settlement files. `progress` is told which file is being read,
/// what of it, and how much is done.
///
/// # Errors
/// [`FleetError`] when there is nothing to compare; a difference is no error but part of the report.
pub fn audit(
    directory: &Path,
    books: Books<'_>,
    keys: Option<&ManifestKeys>,
    mut progress: impl FnMut(&Path, &'static str, u64),
) -> Result<Report, FleetError> {
    let seed = verify(directory, keys, |done| progress(directory, "seed records", done))?;
    let mut notes = Notes::default();
    let named = seed.differences.named.into_iter().map(|found| Difference {
        kind: found.kind,
        subject: found.subject,
        packet: None,
        expected: found.expected,
        found: found.found,
    });
    notes.take(None, seed.differences.count, named.collect());
    let ledgers = by_part(seed.event, seed.files.len(), books.ledgers, &mut notes)?;
    let settlements = settlements::by_ledger(&ledgers, books.settlements, &mut notes)?;
    let mut merged: BTreeMap<u16, SponsorTotals> = BTreeMap::new();
    let mut parts = Vec::new();
    for (part, file) in (0..=u16::MAX).zip(&seed.files) {
        let before = notes.count;
        let ledger = ledgers.get(&part);
        let audited = match ledger {
            Some(ledger) => audit_part(directory, part, ledger, &mut notes, &mut progress)?,
            None => {
                note_missing(part, books.unused, &mut notes);
                None
            }
        };
        let settlement = settlements.get(&part).copied();
        if let (Some(file), Some(ledger)) = (settlement, ledger) {
            settlements::compare(file, ledger, &mut notes, &mut progress)?;
        }
        let closed_ms = audited.as_ref().and_then(|report| report.closed_ms);
        let rows = audited.map_or_else(|| unreleased(file), |report| report.sponsors);
        let mut total = SponsorTotals::default();
        for row in &rows {
            total.merge(&row.totals);
            merged.entry(row.sponsor).or_default().merge(&row.totals);
        }
        let difference_count = notes.count - before;
        parts.push(PartRow {
            part,
            ledger: ledger.map(|ledger| ledger.display().to_string()),
            balanced: difference_count == 0,
            difference_count,
            closed_ms,
            settlement: settlement.map(|file| file.display().to_string()),
            total,
        });
    }
    check_merged(&merged, &seed.sponsors, &mut notes);
    let mut total = SponsorTotals::default();
    merged.values().for_each(|totals| total.merge(totals));
    let row = |(sponsor, totals)| SponsorRow { sponsor, totals };
    Ok(Report {
        balanced: notes.count == 0,
        origin: seed.origin,
        proof: seed.proof,
        event: seed.event,
        parts,
        total,
        sponsors: merged.into_iter().map(row).collect(),
        difference_count: notes.count,
        differences: notes.named,
    })
}

/// The ledger of each part. One that is of no part, or of one that has a ledger already, is a difference and left out.
fn by_part<'a>(
    event: u32,
    parts: usize,
    ledgers: &'a [PathBuf],
    notes: &mut Notes,
) -> Result<BTreeMap<u16, &'a Path>, AuditError> {
    let mut taken: BTreeMap<u16, &Path> = BTreeMap::new();
    for ledger in ledgers {
        let header = header_of(ledger)?;
        let (kind, expected, found) = if header.event.0 != event {
            (
                "ledger_event",
                format!("event {event}"),
                format!("event {}", header.event),
            )
        } else if usize::from(header.part) >= parts {
            let expected = format!(
                "a part of the fleet's seed, {} at most",
                file_name((parts.max(1) - 1) as u16)
            );
            ("ledger_part", expected, file_name(header.part))
        } else if let Some(first) = taken.get(&header.part) {
            let expected = format!("one ledger of {}", file_name(header.part));
            (
                "ledger_twice",
                expected,
                format!("another one besides {}", first.display()),
            )
        } else {
            taken.insert(header.part, ledger);
            continue;
        };
        notes.note(Some(ledger), kind, "the seed of the ledger", expected, found);
    }
    Ok(taken)
}

/// The header of the seed that a ledger was begun with.
fn header_of(path: &Path) -> Result<SeedHeader, AuditError> {
    let connection = ledger::open_read_only(path)?;
    let bound = ledger::bound_seed(&connection).map_err(|source| LedgerError::sqlite("read", path, source))?;
    Ok(bound.ok_or_else(|| AuditError::NoSeed(path.to_owned()))?.header)
}

/// Audits one ledger; `None` when it cannot be compared with its part of the seed, which is a difference.
fn audit_part(
    directory: &Path,
    part: u16,
    ledger: &Path,
    notes: &mut Notes,
    progress: &mut impl FnMut(&Path, &'static str, u64),
) -> Result<Option<super::Report>, AuditError> {
    let name = file_name(part);
    match super::audit(ledger, &directory.join(&name), |what, done| {
        progress(ledger, what, done)
    }) {
        Ok(mut report) => {
            let named = std::mem::take(&mut report.differences);
            notes.take(Some(ledger), report.difference_count, named);
            note_strangers(ledger, part, notes)?;
            Ok(Some(report))
        }
        Err(AuditError::Ledger(LedgerError::OtherSeed { bound, found, .. })) => {
            let subject = "the seed of the ledger";
            let expected = format!("{name}, which has {}", describe(&found));
            notes.note(Some(ledger), "ledger_seed", subject, expected, describe(&bound));
            Ok(None)
        }
        Err(AuditError::Seed(error)) => {
            notes.note(
                Some(ledger),
                "file_unreadable",
                &name,
                "the ledger's seed file".into(),
                error.to_string(),
            );
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn describe(header: &SeedHeader) -> String {
    let SeedHeader {
        part,
        parts,
        count,
        total,
        records_crc,
        ..
    } = header;
    let part = part + 1;
    format!("part {part} of {parts}, {count} packets, {total} cents, checksum {records_crc:08x}")
}

/// Packets that were sent or given have the part in their ids (drawn in `ledger::schema`). Those of the seed need no look:
/// the ledger's own audit names each that is not in its part's file.
fn note_strangers(path: &Path, part: u16, notes: &mut Notes) -> Result<(), AuditError> {
    let connection = ledger::open_read_only(path)?;
    let read = || -> rusqlite::Result<(u64, Vec<Difference>)> {
        let mut statement = connection.prepare(
            "SELECT packet, (packet >> 47) & 65535 FROM packets WHERE packet < 0 AND (packet >> 47) & 65535 <> ?1",
        )?;
        let mut rows = statement.query([part])?;
        let (mut count, mut named) = (0, Vec::new());
        while let Some(row) = rows.next()? {
            count += 1;
            if named.len() < NAMED_MAX {
                let packet = ledger::schema::from_sql(row.get(0)?);
                named.push(Difference {
                    kind: "packet_part",
                    subject: format!("packet {packet}"),
                    packet: Some(PacketId(packet)),
                    expected: format!("an id of {}", file_name(part)),
                    found: format!("one of {}", file_name(row.get(1)?)),
                });
            }
        }
        Ok((count, named))
    };
    let (count, named) = read().map_err(|source| LedgerError::sqlite("read", path, source))?;
    notes.take(Some(path), count, named);
    Ok(())
}

/// A part without a ledger: what its agent paid is in nobody's books, unless there never was one.
fn note_missing(part: u16, unused: &[String], notes: &mut Notes) {
    let name = file_name(part);
    if !unused.contains(&name) {
        let found = format!("none (--unused {name} says that no agent ever served it)");
        notes.note(None, "ledger_missing", &name, "its ledger".into(), found);
    }
}

/// A part of which nothing has been released, as far as is known.
fn unreleased(file: &FileReport) -> Vec<SponsorRow> {
    let row = |sum: &SponsorSum| SponsorRow {
        sponsor: sum.sponsor,
        totals: SponsorTotals {
            seed: tally(sum),
            unreleased: tally(sum),
            ..SponsorTotals::default()
        },
    };
    file.sponsors.iter().map(row).collect()
}

fn tally(sum: &SponsorSum) -> Tally {
    Tally {
        packets: sum.packets,
        cents: sum.cents,
    }
}

/// The merged figures of each sponsor: they begin with what the whole seed has, and they sum up.
fn check_merged(merged: &BTreeMap<u16, SponsorTotals>, seed: &[SponsorSum], notes: &mut Notes) {
    let mut whole: BTreeMap<u16, Tally> = seed.iter().map(|sum| (sum.sponsor, tally(sum))).collect();
    let text = |tally: Tally| format!("{}/{}", tally.packets, tally.cents);
    for (sponsor, totals) in merged {
        let subject = format!("sponsor {sponsor} over all parts, packets/cents");
        let expected = whole.remove(sponsor).unwrap_or_default();
        if totals.seed != expected {
            let expected = format!("{} in all seed files", text(expected));
            notes.note(None, "fleet_seed", &subject, expected, text(totals.seed));
        }
        if !totals.is_balanced() {
            let found: Vec<_> = totals
                .columns()
                .map(|(name, tally)| format!("{name} {}", text(tally)))
                .into();
            let expected = "seed + gifts = unreleased + held + opened + refunded + void + lost".to_owned();
            notes.note(None, "sponsor_sum", &subject, expected, found.join(", "));
        }
    }
    for (sponsor, tally) in whole {
        let subject = format!("sponsor {sponsor} over all parts, packets/cents");
        let expected = format!("{} in all seed files", text(tally));
        notes.note(None, "fleet_seed", &subject, expected, "none".into());
    }
}

/// The differences found so far.
#[derive(Default)]
struct Notes {
    count: u64,
    named: Vec<FleetDifference>,
}

impl Notes {
    fn note(&mut self, ledger: Option<&Path>, kind: &'static str, subject: &str, expected: String, found: String) {
        let difference = Difference {
            kind,
            subject: subject.to_owned(),
            packet: None,
            expected,
            found,
        };
        self.take(ledger, 1, vec![difference]);
    }

    /// Takes `count` differences, of which these have names. Those of the seed are limited already.
    fn take(&mut self, ledger: Option<&Path>, count: u64, named: Vec<Difference>) {
        self.count += count;
        let named_max = if ledger.is_some() { NAMED_MAX } else { usize::MAX };
        let ledger = ledger.map(|ledger| ledger.display().to_string());
        self.named
            .extend(named.into_iter().take(named_max).map(|difference| FleetDifference {
                ledger: ledger.clone(),
                difference,
            }));
    }
}

impl fmt::Display for FleetDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(ledger) = &self.ledger {
            write!(f, "{ledger}: ")?;
        }
        self.difference.fmt(f)
    }
}

impl fmt::Display for Report {
    /// A line for each part, the merged tables (packets, cents), the differences, then the verdict.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = self.parts.len();
        writeln!(f, "{}: the manifest is {}", self.proof, self.origin)?;
        writeln!(f, "event {}, {parts} parts\n", self.event)?;
        for row in &self.parts {
            let PartRow { part, total, .. } = row;
            write!(f, "  part {} of {parts} ({}): ", part + 1, file_name(*part))?;
            match (&row.ledger, row.balanced) {
                (None, true) => f.write_str("unused, all of it is unreleased")?,
                (None, false) => f.write_str("NO LEDGER")?,
                (Some(ledger), true) => write!(f, "{ledger}: balanced")?,
                (Some(ledger), false) => write!(f, "{ledger}: NOT balanced, {} differences", row.difference_count)?,
            }
            if let Some(at_ms) = row.closed_ms {
                write!(f, ", closed at {}", when(UnixMillis(at_ms)))?;
            }
            if let Some(file) = &row.settlement {
                write!(f, ", with {file}")?;
            }
            let (seed, left, opened) = (total.seed, total.unreleased, total.opened);
            writeln!(
                f,
                "; {} cents, {} unreleased, {} opened",
                seed.cents, left.cents, opened.cents
            )?;
        }
        writeln!(f, "\npackets")?;
        table(f, &self.sponsors, &self.total, |tally| tally.packets)?;
        writeln!(f, "\ncents")?;
        table(f, &self.sponsors, &self.total, |tally| tally.cents)?;
        f.write_str(
            "\nheld = released + issued + open; seed + gifts = unreleased + held + opened + refunded + void + lost\n",
        )?;
        for difference in &self.differences {
            writeln!(f, "  {difference}")?;
        }
        let unnamed = self.difference_count - self.differences.len() as u64;
        if unnamed > 0 {
            writeln!(
                f,
                "  and {unnamed} more; audit a ledger alone to have more of them named"
            )?;
        }
        if self.balanced {
            f.write_str("balanced")
        } else {
            write!(f, "NOT balanced: {} differences", self.difference_count)
        }
    }
}
