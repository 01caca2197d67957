//! The files of `settlement run` beside the outbox that they are copies of, part by part and line by line.

use super::copies::copy_name;
use super::file::{Lines, whole_bytes};
use super::verify::{Shown, Sums, next};
use super::{Identity, Line, SettlementError};
use crate::differences::Differences;
use crate::ledger::PartBooks;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// A file as it was when it was looked for.
#[derive(Debug)]
pub(super) struct Found {
    path: PathBuf,
    file: File,
    /// Bytes up to the end of its last whole line.
    whole: u64,
}

/// The files in a directory, by their names. One that is empty is left out.
pub(super) fn files_of(directory: &Path) -> Result<BTreeMap<String, Found>, SettlementError> {
    let io = || SettlementError::io("read the directory of", directory);
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(directory).map_err(io())? {
        let entry = entry.map_err(io())?;
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        let path = entry.path();
        if !path.is_file() {
            continue;
        }
        let file = File::open(&path).map_err(SettlementError::unopened(&path))?;
        let whole = whole_bytes(&file).map_err(SettlementError::io("read", &path))?;
        if whole > 0 {
            files.insert(name, Found { path, file, whole });
        }
    }
    Ok(files)
}

/// A comparison under way.
pub(super) struct Compared<'a> {
    files: &'a BTreeMap<String, Found>,
    /// What the headers must say, of the parts that were not looked at yet, the last one first.
    left: Vec<Identity>,
    /// The part that is being compared, and what its file has still; `None` when it has none, or no more.
    at: Option<(u16, Option<Lines<'a>>)>,
    settled: Sums,
    backlog: Sums,
}

impl<'a> Compared<'a> {
    /// The files beside a ledger of these parts.
    pub(super) fn of(files: &'a BTreeMap<String, Found>, parts: &[PartBooks]) -> Self {
        let identity = |books: &PartBooks| Identity {
            ledger: books.bound.identity,
            event: books.bound.header.event.0,
            part: books.bound.header.part,
            parts: books.bound.header.parts,
            records_crc: books.bound.header.records_crc,
            begun_ms: 0,
        };
        Self {
            files,
            left: parts.iter().rev().map(identity).collect(),
            at: None,
            settled: Sums::default(),
            backlog: Sums::default(),
        }
    }

    /// The next line of a part, and parts come in order.
    pub(super) fn line(
        &mut self,
        part: u16,
        line: &Line,
        differences: &mut Differences,
    ) -> Result<(), SettlementError> {
        while self.at.as_ref().is_none_or(|(at, _)| *at < part) && self.advance(differences)? {}
        let lines = self.at.as_mut().filter(|(at, _)| *at == part).map(|(_, lines)| lines);
        let settled = match lines {
            Some(lines) => {
                let settled = lines.as_mut().and_then(|lines| next(lines, differences));
                // Behind a damaged line nothing is looked for.
                if settled.is_none() {
                    *lines = None;
                }
                settled
            }
            None => None,
        };
        let Some(settled) = settled else {
            self.backlog.add(line);
            return Ok(());
        };
        self.settled.add(&settled);
        if settled != *line {
            let subject = format!("line {} of part {}", line.seq, u32::from(part) + 1);
            differences.add("line_differs", subject, Shown(line), Shown(&settled));
        }
        Ok(())
    }

    /// Ends the part that is compared, and begins the next one; false when there is none.
    fn advance(&mut self, differences: &mut Differences) -> Result<bool, SettlementError> {
        if let Some((part, Some(mut lines))) = self.at.take() {
            while let Some(line) = next(&mut lines, differences) {
                self.settled.add(&line);
                let subject = format!("line {} of part {}", line.seq, u32::from(part) + 1);
                differences.add("line_extra", subject, "none in the ledger", Shown(&line));
            }
        }
        let Some(identity) = self.left.pop() else {
            return Ok(false);
        };
        let part = identity.part;
        let name = copy_name(part);
        let lines = match self.files.get(&name) {
            Some(Found { path, file, whole }) => {
                let lines = Lines::read(path, file, *whole)?;
                let subject = format!("the header of {}", path.display());
                differences.compare("ledger", subject, identity, lines.identity());
                Some(lines)
            }
            None => {
                differences.add("file_missing", name, "the file of the part", "none, or an empty one");
                None
            }
        };
        self.at = Some((part, lines));
        Ok(true)
    }

    /// The lines that are in the files, and those that wait.
    pub(super) fn finish(mut self, differences: &mut Differences) -> Result<(Sums, Sums), SettlementError> {
        while self.advance(differences)? {}
        Ok((self.settled, self.backlog))
    }
}
