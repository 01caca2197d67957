//! The settlement files of a fleet: each belongs to one of its ledgers, and agrees with it.

use super::{FleetError, Notes};
use crate::audit::Difference;
use crate::settlement;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The settlement file of each part. One of another ledger, or a second one, is a difference and left out.
pub(super) fn by_ledger<'a>(
    ledgers: &BTreeMap<u16, &Path>,
    files: &'a [PathBuf],
    notes: &mut Notes,
) -> Result<BTreeMap<u16, &'a Path>, FleetError> {
    let mut taken: BTreeMap<u16, &Path> = BTreeMap::new();
    if files.is_empty() {
        return Ok(taken);
    }
    let mut identities = Vec::new();
    for (&part, ledger) in ledgers {
        identities.push((part, settlement::identity_of_ledger(ledger)?));
    }
    for file in files {
        let identity = settlement::identity_of_file(file)?;
        let owner = identities.iter().find(|(_, of_ledger)| *of_ledger == identity);
        let name = file.display().to_string();
        match owner {
            None => {
                let found = format!("that of {identity}");
                notes.note(
                    None,
                    "settlement_extra",
                    &name,
                    "the file of one of the ledgers".into(),
                    found,
                );
            }
            Some((part, _)) => match taken.get(part) {
                Some(first) => {
                    let found = format!("another one besides {}", first.display());
                    notes.note(None, "settlement_twice", &name, "one file of its ledger".into(), found);
                }
                None => drop(taken.insert(*part, file)),
            },
        }
    }
    Ok(taken)
}

/// Compares a file with its ledger, line by line; gives how many lines of the ledger it has.
pub(super) fn compare(
    file: &Path,
    ledger: &Path,
    notes: &mut Notes,
    progress: &mut impl FnMut(&Path, &'static str, u64),
) -> Result<u64, FleetError> {
    let report = settlement::verify(file, ledger, |done| progress(file, "lines", done))?;
    let named = report.differences.named.into_iter().map(|found| Difference {
        kind: found.kind,
        subject: format!("{}: {}", file.display(), found.subject),
        packet: None,
        expected: found.expected,
        found: found.found,
    });
    notes.take(Some(ledger), report.differences.count, named.collect());
    if report.backlog.count > 0 {
        let found = format!("{} lines are missing at its end", report.backlog.count);
        notes.note(
            Some(ledger),
            "settlement_short",
            &file.display().to_string(),
            "every line".into(),
            found,
        );
    }
    Ok(report.settled.count)
}
