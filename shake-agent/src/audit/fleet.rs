//! The audit of a fleet: the ledgers of many agents, or the one that they share on a server, against the whole seed. The seed is
//! verified first, then each ledger is audited against the file of its own part, or the one against all. Writes nothing, and holds
//! the book of one ledger at a time.
//!
//! What a ledger may not do to the others: no part has two of them, and no packet of one lies in the range of another.

mod parts;
mod report;
mod settlements;
mod shared;

pub use report::{FleetDifference, PartRow, Report};
pub use shared::audit_shared;

use super::AuditError;
use super::report::{CreditTally, Difference, EQUATION, GrantRow, SentTotals, SponsorRow, SponsorTotals};
use crate::seed_file::Tally;
use crate::seed_fleet::manifest::SponsorSum;
use crate::seed_fleet::verify::{VerifyError, verify};
use crate::seed_fleet::{self, FileReport, ManifestKeys};
use crate::settlement::SettlementError;
use parts::{audit_part, by_part, note_missing};
use shake_rules::PacketId;
use std::collections::BTreeMap;
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
    let (seed, mut notes) = verify_seed(directory, keys, &mut progress)?;
    let ledgers = by_part(seed.event, seed.files.len(), books.ledgers, &mut notes)?;
    let settlements = settlements::by_ledger(&ledgers, books.settlements, &mut notes)?;
    let mut merged = Merged::default();
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
        let settled_lines = match (settlement, ledger) {
            (Some(file), Some(ledger)) => settlements::compare(file, ledger, &mut notes, &mut progress)?,
            _ => 0,
        };
        let mut row = PartRow {
            part,
            ledger: ledger.map(|ledger| ledger.display().to_string()),
            settlement: settlement.map(|file| file.display().to_string()),
            settled_lines,
            ..PartRow::default()
        };
        match audited {
            Some(report) => {
                merged.take(&report);
                row.total = report.total;
                row.closed_ms = report.closed_ms;
                row.identity = report.ledger;
                row.machines = report.machines;
                row.users_owed = report.users_owed;
                row.owed_cents = report.users.cents;
            }
            None => merged.take_unreleased(file, &mut row),
        }
        row.difference_count = notes.count - before;
        row.balanced = row.difference_count == 0;
        parts.push(row);
    }
    Ok(merged.told(&seed, parts, notes))
}

/// Verifies the seed; its differences come first.
fn verify_seed(
    directory: &Path,
    keys: Option<&ManifestKeys>,
    progress: &mut impl FnMut(&Path, &'static str, u64),
) -> Result<(seed_fleet::Report, Notes), VerifyError> {
    let mut seed = verify(directory, keys, |done| progress(directory, "seed records", done))?;
    let mut notes = Notes::default();
    let named = std::mem::take(&mut seed.differences.named);
    let named = named.into_iter().map(|found| Difference {
        kind: found.kind,
        subject: found.subject,
        packet: None,
        expected: found.expected,
        found: found.found,
    });
    notes.take(None, seed.differences.count, named.collect());
    Ok((seed, notes))
}

/// The figures of all parts so far.
#[derive(Default)]
struct Merged {
    sponsors: BTreeMap<u16, SponsorTotals>,
    grants: BTreeMap<(u16, Option<u16>), GrantRow>,
    sent: SentTotals,
    owed_cents: u64,
    paid_packets: Vec<PacketId>,
}

impl Merged {
    /// A ledger that was audited.
    fn take(&mut self, report: &super::Report) {
        for sponsor in &report.sponsors {
            self.take_sponsor(sponsor);
        }
        for grant in &report.grants {
            let sum = self
                .grants
                .entry((grant.sponsor, grant.stage))
                .or_insert_with(|| GrantRow {
                    credits: CreditTally::default(),
                    ..*grant
                });
            sum.credits.merge(grant.credits);
        }
        self.sent.merge(&report.sent);
        self.owed_cents = self.owed_cents.saturating_add(report.users.cents);
        let packets = report.paid_packets.iter().chain(&report.void_packets);
        self.paid_packets.extend(packets.copied());
    }

    /// A part of which nothing has been released, as far as is known.
    fn take_unreleased(&mut self, file: &FileReport, row: &mut PartRow) {
        for sponsor in unreleased(file) {
            self.take_sponsor(&sponsor);
            row.total.merge(&sponsor.totals);
        }
    }

    fn take_sponsor(&mut self, row: &SponsorRow) {
        self.sponsors.entry(row.sponsor).or_default().merge(&row.totals);
    }

    /// The report, with the sums compared.
    fn told(self, seed: &seed_fleet::Report, parts: Vec<PartRow>, mut notes: Notes) -> Report {
        check_merged(&self.sponsors, &seed.sponsors, &mut notes);
        let mut total = SponsorTotals::default();
        self.sponsors.values().for_each(|totals| total.merge(totals));
        let row = |(sponsor, totals)| SponsorRow { sponsor, totals };
        Report {
            balanced: notes.count == 0,
            origin: seed.origin,
            proof: seed.proof,
            event: seed.event,
            parts,
            total,
            sponsors: self.sponsors.into_iter().map(row).collect(),
            sent: self.sent,
            grants: self.grants.into_values().collect(),
            owed_cents: self.owed_cents,
            paid_packets: self.paid_packets,
            difference_count: notes.count,
            differences: notes.named,
        }
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
            let expected = EQUATION.to_owned();
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
