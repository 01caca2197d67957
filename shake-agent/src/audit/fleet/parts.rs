//! The ledgers of a fleet, each with its part of the seed: none is missing, none is there twice, and none has packets of another.

use super::{NAMED_MAX, Notes};
use crate::audit::{self, AuditError, Difference};
use crate::ledger::{self, LedgerError, told_machines};
use crate::seed_fleet::file_name;
use shake_rules::PacketId;
use shake_rules::money::money;
use shake_rules::seed::SeedHeader;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The ledger of each part. One that is of no part, or of one that has a ledger already, is a difference and left out.
pub(super) fn by_part<'a>(
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
            let found = format!(
                "another one, written by {}, besides {}, written by {}",
                writers_of(ledger)?,
                first.display(),
                writers_of(first)?
            );
            ("ledger_twice", expected, found)
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

/// The machines that wrote a ledger.
fn writers_of(path: &Path) -> Result<String, AuditError> {
    let connection = ledger::open_read_only(path)?;
    let machines = ledger::machines(&connection).map_err(|source| LedgerError::sqlite("read", path, source))?;
    Ok(told_machines(&machines))
}

/// Audits one ledger; `None` when it cannot be compared with its part of the seed, which is a difference.
pub(super) fn audit_part(
    directory: &Path,
    part: u16,
    ledger: &Path,
    notes: &mut Notes,
    progress: &mut impl FnMut(&Path, &'static str, u64),
) -> Result<Option<audit::Report>, AuditError> {
    let name = file_name(part);
    match audit::audit(ledger, &directory.join(&name), |what, done| {
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

pub(super) fn describe(header: &SeedHeader) -> String {
    let SeedHeader {
        event,
        part,
        parts,
        count,
        total,
        records_crc,
        ..
    } = header;
    let (part, total) = (part + 1, money(total.0));
    format!("event {event} part {part} of {parts}, {count} packets, {total}, checksum {records_crc:08x}")
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
pub(super) fn note_missing(part: u16, unused: &[String], notes: &mut Notes) {
    let name = file_name(part);
    if !unused.contains(&name) {
        let found = format!("none (--unused {name} says that no agent ever served it)");
        notes.note(None, "ledger_missing", &name, "its ledger".into(), found);
    }
}
