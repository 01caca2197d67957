//! Proves that a fleet's seed is whole: every file as the manifest says, no packet twice, the sum is the budget, and the
//! manifest from whom it claims. Reads each file once, in blocks; a difference never stops it.

use super::ids::{Ids, Place};
use super::manifest::{FORMAT, FilePart, Fleet, Manifest, ManifestKeys, Origin, Proof, sums};
use super::report::{FileReport, Report};
use super::{MANIFEST, existing, file_name};
use crate::differences::Differences;
use crate::seed_file::Tally;
use data_encoding::HEXLOWER;
use ring::digest::{self, SHA256};
use shake_rules::seed::{HEADER_BYTES, PacketKind, RECORD_BYTES, SeedError, SeedHeader, SeedRecord, SeedSum};
use shake_rules::{EventId, SponsorId};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Largest manifest that is read: far more than the files of a full fleet need.
const MANIFEST_BYTES_MAX: u64 = 64 << 20;
/// Bytes of records read at once.
const BLOCK_BYTES: usize = 2_048 * RECORD_BYTES;

/// Why nothing could be verified.
#[derive(Debug, Error)]
pub enum VerifyError {
    /// It cannot be read.
    #[error("cannot read {}: {source}; give the directory that `shake-agent seed generate --parts` made", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The manifest does not read.
    #[error("the manifest {} is damaged: {source}; restore it from where it was made", path.display())]
    Damaged {
        /// The manifest.
        path: PathBuf,
        /// What is wrong, with its line.
        source: serde_json::Error,
    },
    /// A manifest of another version, or far too large.
    #[error("{} is no manifest of format {FORMAT:?} (found {found}); use the program that made it", path.display())]
    Format {
        /// The manifest.
        path: PathBuf,
        /// What it is instead.
        found: String,
    },
}

/// Verifies a directory. `progress` is told from time to time how many records are read.
///
/// # Errors
/// [`VerifyError`] when there is no readable manifest; a difference is no error but part of the report.
pub fn verify(
    directory: &Path,
    keys: Option<&ManifestKeys>,
    mut progress: impl FnMut(u64),
) -> Result<Report, VerifyError> {
    let manifest = read_manifest(&directory.join(MANIFEST))?;
    let Manifest { fleet, authentication } = &manifest;
    let origin = match (keys, authentication) {
        (Some(keys), _) => keys.check(&manifest),
        (None, Some(_)) => Origin::NotChecked,
        (None, None) => Origin::NotAuthenticated,
    };
    let mut differences = Differences::default();
    let proof = origin.proof(keys.is_some());
    if proof == Proof::False {
        differences.add("manifest_origin", MANIFEST, "authentic", origin);
    }
    check_sums(fleet, &mut differences);
    name_strangers(directory, fleet, &mut differences)?;
    let records_max = (0..fleet.files.len()).map(|part| records_max(&directory.join(file_name(part as u16))));
    let mut scan = Scan {
        fleet,
        ids: Ids::new(EventId(fleet.event), records_max),
        repeated: 0,
        read: 0,
        differences,
    };
    let mut total = Found::default();
    let mut files = Vec::new();
    for file in &fleet.files {
        let found = scan.file(directory, file, &mut progress);
        files.push(FileReport {
            name: file.name.clone(),
            packets: found.tally.packets,
            split_packets: found.split_packets,
            cents: found.tally.cents,
            sponsors: sums(&found.sponsors),
        });
        total.merge(&found);
    }
    for (packet, place) in std::mem::replace(&mut scan.ids, Ids::new(EventId(0), std::iter::empty())).finish() {
        scan.repeat(packet.0, place);
    }
    let mut differences = scan.differences;
    differences.compare(
        "budget",
        "sum of all packets, in cents",
        fleet.budget_cents,
        total.tally.cents,
    );
    differences.compare("packets", "number of all packets", fleet.packets, total.tally.packets);
    Ok(Report {
        whole: differences.is_empty(),
        event: fleet.event,
        budget_cents: fleet.budget_cents,
        packets: total.tally.packets,
        split_packets: total.split_packets,
        cents: total.tally.cents,
        repeated: scan.repeated,
        origin,
        proof,
        sponsors: sums(&total.sponsors),
        files,
        differences,
    })
}

fn read_manifest(path: &Path) -> Result<Manifest, VerifyError> {
    let io = |source| VerifyError::Io {
        path: path.to_owned(),
        source,
    };
    let mut text = Vec::new();
    let file = File::open(path).map_err(io)?;
    file.take(MANIFEST_BYTES_MAX + 1).read_to_end(&mut text).map_err(io)?;
    let format = |found| VerifyError::Format {
        path: path.to_owned(),
        found,
    };
    if text.len() as u64 > MANIFEST_BYTES_MAX {
        return Err(format(format!("more than {MANIFEST_BYTES_MAX} bytes")));
    }
    let manifest: Manifest = serde_json::from_slice(&text).map_err(|source| VerifyError::Damaged {
        path: path.to_owned(),
        source,
    })?;
    if manifest.fleet.format != FORMAT {
        return Err(format(format!("format {:?}", manifest.fleet.format)));
    }
    Ok(manifest)
}

/// The manifest against itself.
fn check_sums(fleet: &Fleet, differences: &mut Differences) {
    let mut all: BTreeMap<SponsorId, Tally> = BTreeMap::new();
    let (mut packets, mut cents) = (0_u64, 0_u64);
    for file in &fleet.files {
        packets = packets.saturating_add(file.packets);
        cents = cents.saturating_add(file.cents);
        for sum in &file.sponsors {
            let tally = all.entry(SponsorId(sum.sponsor)).or_default();
            tally.packets = tally.packets.saturating_add(sum.packets);
            tally.cents = tally.cents.saturating_add(sum.cents);
        }
    }
    let subject = "the files' entries in the manifest";
    differences.compare("manifest_packets", subject, fleet.packets, packets);
    differences.compare("manifest_cents", subject, fleet.budget_cents, cents);
    if fleet.sponsors != sums(&all) {
        differences.add("manifest_sponsors", subject, "the sums per sponsor", "others");
    }
}

/// Seed files that the manifest does not name: left over from another seed, as a rule, and dangerous to hand out.
fn name_strangers(directory: &Path, fleet: &Fleet, differences: &mut Differences) -> Result<(), VerifyError> {
    let found = existing(directory).map_err(|source| VerifyError::Io {
        path: directory.to_owned(),
        source,
    })?;
    for path in found {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name != MANIFEST && !fleet.files.iter().any(|file| file.name == name) {
            differences.add(
                "file_extra",
                &name,
                "no such file (the manifest does not name it)",
                "a file",
            );
        }
    }
    Ok(())
}

/// As many records as a file of this size can have.
fn records_max(path: &Path) -> u64 {
    let bytes = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    bytes.saturating_sub(HEADER_BYTES as u64) / RECORD_BYTES as u64
}

/// What was found in a file, or in all.
#[derive(Debug, Default)]
struct Found {
    tally: Tally,
    split_packets: u64,
    sponsors: BTreeMap<SponsorId, Tally>,
}

impl Found {
    fn add(&mut self, record: &SeedRecord) {
        self.tally.add(record.amount.0);
        self.split_packets += u64::from(record.kind != PacketKind::Plain);
        self.sponsors.entry(record.sponsor).or_default().add(record.amount.0);
    }

    fn merge(&mut self, other: &Self) {
        self.tally.merge(other.tally);
        self.split_packets += other.split_packets;
        for (&sponsor, &tally) in &other.sponsors {
            self.sponsors.entry(sponsor).or_default().merge(tally);
        }
    }
}

struct Scan<'a> {
    fleet: &'a Fleet,
    ids: Ids,
    repeated: u64,
    /// Records read so far, in all files.
    read: u64,
    differences: Differences,
}

impl Scan<'_> {
    /// Reads one file and compares it with its entry.
    fn file(&mut self, directory: &Path, entry: &FilePart, progress: &mut impl FnMut(u64)) -> Found {
        let mut found = Found::default();
        let name = &entry.name;
        let place = self.fleet.files.iter().position(|file| std::ptr::eq(file, entry));
        if place != Some(usize::from(entry.part)) || *name != file_name(entry.part) {
            // Also keeps a manifest from naming files elsewhere.
            let place = place.unwrap_or_default() as u16;
            let given = format!("part {} in {name:?}", entry.part);
            self.differences.add(
                "manifest_file",
                format!("entry {place}"),
                format!("part {place} in {:?}", file_name(place)),
                given,
            );
            return found;
        }
        let read = File::open(directory.join(name)).and_then(|file| self.read(file, entry, &mut found, progress));
        if let Err(error) = read {
            self.differences.add("file_unreadable", name, "a seed file", error);
            return found;
        }
        let differences = &mut self.differences;
        differences.compare("file_packets", name, entry.packets, found.tally.packets);
        differences.compare("file_split_packets", name, entry.split_packets, found.split_packets);
        differences.compare("file_cents", name, entry.cents, found.tally.cents);
        if entry.sponsors != sums(&found.sponsors) {
            differences.add("file_sponsors", name, "the sums per sponsor of the manifest", "others");
        }
        found
    }

    fn read(
        &mut self,
        mut file: File,
        entry: &FilePart,
        found: &mut Found,
        progress: &mut impl FnMut(u64),
    ) -> io::Result<()> {
        let name = &entry.name;
        let bytes = file.metadata()?.len();
        let mut hash = digest::Context::new(&SHA256);
        let mut head = [0; HEADER_BYTES];
        file.read_exact(&mut head)?;
        hash.update(&head);
        let header = SeedHeader::decode(&head);
        match &header {
            Ok(header) => self.header(header, entry, bytes),
            Err(error) => self.differences.add("file_header", name, "a seed file's header", error),
        }
        let mut sum = SeedSum::default();
        let mut damaged: Option<SeedError> = None;
        let mut index = 0;
        let mut block = vec![0; BLOCK_BYTES];
        loop {
            let filled = fill(&mut file, &mut block)?;
            hash.update(&block[..filled]);
            for bytes in block[..filled].as_chunks::<RECORD_BYTES>().0 {
                match SeedRecord::decode(bytes, index) {
                    Ok(record) => {
                        sum.add(&record);
                        found.add(&record);
                        let place = Place {
                            part: entry.part,
                            index,
                        };
                        if self.ids.note(record.packet, place) {
                            self.repeat(record.packet.0, place);
                        }
                    }
                    Err(error) => damaged = damaged.or(Some(error)),
                }
                index += 1;
            }
            self.read += (filled / RECORD_BYTES) as u64;
            progress(self.read);
            if filled < BLOCK_BYTES {
                break;
            }
        }
        if let Some(error) = damaged {
            self.differences.add("file_record", name, "intact records", error);
        }
        if let Ok(header) = header
            && let Err(error) = sum.check(&header)
        {
            self.differences
                .add("file_records", name, "the records of its header", error);
        }
        let sha256 = HEXLOWER.encode(hash.finish().as_ref());
        self.differences
            .compare("file_sha256", name, entry.sha256.as_str(), sha256.as_str());
        Ok(())
    }

    fn header(&mut self, header: &SeedHeader, entry: &FilePart, bytes: u64) {
        let (name, differences) = (&entry.name, &mut self.differences);
        differences.compare("file_bytes", name, header.file_bytes(), bytes);
        differences.compare("file_event", name, self.fleet.event, header.event.0);
        differences.compare("file_part", name, entry.part, header.part);
        differences.compare("file_parts", name, self.fleet.files.len(), header.parts.into());
        differences.compare("file_count", name, entry.packets, header.count);
        differences.compare("file_total", name, entry.cents, header.total.0);
        let crc = format!("{:08x}", header.records_crc);
        differences.compare("file_records_crc", name, entry.records_crc.as_str(), crc.as_str());
    }

    fn repeat(&mut self, packet: u64, place: Place) {
        self.repeated += 1;
        let again = format!("again as record {} of {}", place.index, file_name(place.part));
        self.differences
            .add("packet_twice", format!("packet {packet}"), "once over all files", again);
    }
}

/// Reads until the block is full or the file ends.
fn fill(file: &mut File, block: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < block.len() {
        match file.read(&mut block[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
