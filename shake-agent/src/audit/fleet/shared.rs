//! The audit of a fleet whose agents share one ledger, on a server.

use super::parts::{describe, note_missing};
use super::{FleetError, Merged, Notes, PartRow, Report, verify_seed};
use crate::audit::{AuditError, prove};
use crate::ledger::{PartBooks, Place, Reader};
use crate::seed_file::SeedFile;
use crate::seed_fleet::{FileReport, ManifestKeys, file_name};
use jiff::tz::TimeZone;
use std::collections::BTreeMap;
use std::path::Path;

/// Verifies the seed in `directory`, and audits the ledger that all parts share against all of it, at one moment. `progress` is told
/// what is being read, and how much is done.
///
/// # Errors
/// [`FleetError`] when there is nothing to compare; a difference is no error but part of the report.
pub fn audit_shared(
    directory: &Path,
    place: &Place,
    keys: Option<&ManifestKeys>,
    mut progress: impl FnMut(&Path, &'static str, u64),
) -> Result<Report, FleetError> {
    // Whether it can be read at all is soon said; the seed takes its time.
    let reader = Reader::open(place).map_err(AuditError::from)?;
    let (seed, mut notes) = verify_seed(directory, keys, &mut progress)?;
    let place = reader.place().to_owned();
    let seeds = seeds_of(directory, &seed.files, &reader, &mut notes)?;
    let proved = prove(&reader, &seeds, &TimeZone::UTC, &mut |what, done| {
        progress(&place, what, done);
    })?;
    let mut report = proved.report;
    notes.take(
        Some(&place),
        report.difference_count,
        std::mem::take(&mut report.differences),
    );
    let mut merged = Merged::default();
    merged.take(&report);
    let mut rows = Vec::new();
    for (part, file) in (0..=u16::MAX).zip(&seed.files) {
        let mut row = PartRow {
            part,
            ..PartRow::default()
        };
        match proved.parts.get(&part) {
            Some(books) => {
                row.total = proved.totals.get(&part).copied().unwrap_or_default();
                row.balanced = report.balanced || !books.is_begun;
                if books.is_begun {
                    row.difference_count = report.difference_count;
                    row.ledger = Some(place.display().to_string());
                    row.closed_ms = proved.closed_ms.get(&part).copied();
                    row.identity = report.ledger.clone();
                    row.machines.clone_from(&books.machines);
                }
            }
            None => merged.take_unreleased(file, &mut row),
        }
        rows.push(row);
    }
    Ok(merged.told(&seed, rows, notes))
}

/// The seed of each part whose books are of it. A part without books, or with those of another seed, is a difference.
fn seeds_of(
    directory: &Path,
    files: &[FileReport],
    reader: &Reader,
    notes: &mut Notes,
) -> Result<Vec<SeedFile>, AuditError> {
    let parts = reader.parts()?.into_iter();
    let mut parts: BTreeMap<u16, PartBooks> = parts.map(|books| (books.bound.header.part, books)).collect();
    let mut seeds = Vec::new();
    for (part, _) in (0..=u16::MAX).zip(files) {
        let Some(books) = parts.remove(&part) else {
            note_missing(part, &[], notes);
            continue;
        };
        let name = file_name(part);
        let seed = SeedFile::open(&directory.join(&name))?;
        if *seed.header() == books.bound.header {
            seeds.push(seed);
        } else {
            let expected = format!("{name}, which has {}", describe(seed.header()));
            let found = describe(&books.bound.header);
            notes.note(
                Some(reader.place()),
                "ledger_seed",
                "the seed of the part",
                expected,
                found,
            );
        }
    }
    for part in parts.into_keys() {
        let expected = format!("the {} parts of the seed", files.len());
        notes.note(
            Some(reader.place()),
            "ledger_part",
            "the parts",
            expected,
            file_name(part),
        );
    }
    Ok(seeds)
}
