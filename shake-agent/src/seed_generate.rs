//! Makes seed files: the packets drawn, given their ids, written whole or not at all.
//!
//! A packet's id says where it comes from, and increases along a file, so that the ledger appends:
//!
//! ```text
//! bit 63  62      48      32                                  0
//!     │ 0 │ event │ part  │ index of the record in its file  │
//! ```
//! (of the event, its lower 15 bits; ids with bit 63 are those of packets that the agent makes). Ids are no secret: only a sealed ticket opens a packet.

use crate::seed_draw::{DrawError, Packets};
use crate::seed_file::Tally;
use ring::digest::{self, SHA256};
use shake_rules::seed::{PacketKind, SeedHeader, SeedRecord, SeedSum};
use shake_rules::{EventId, PacketId, SponsorId};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use tempfile::{NamedTempFile, TempPath};
use thiserror::Error;

pub use crate::seed_draw::{Request, Splits};

/// Most packets in one file: the index has 32 bits of the id.
pub const COUNT_MAX: u64 = 1 << 32;

/// Why no file was made.
#[derive(Debug, Error)]
pub enum GenerateError {
    /// No such packets exist.
    #[error(transparent)]
    Draw(#[from] DrawError),
    /// Too many packets.
    #[error("{0} packets do not fit into one file; at most {COUNT_MAX} do")]
    Count(u64),
    /// Not a possible number of files.
    #[error("{parts} files for {count} packets are not possible; give 1 to {max} parts, and each at least one packet")]
    Parts {
        /// Files asked for.
        parts: u16,
        /// Packets asked for.
        count: u64,
        /// Most files.
        max: u16,
    },
    /// Something is there already.
    #[error("{} exists already, and a ledger that was begun with it needs it; give another --out", .0.display())]
    Exists(PathBuf),
    /// Writing failed.
    #[error("cannot write {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

impl GenerateError {
    pub(crate) fn io(path: &Path, source: io::Error) -> Self {
        Self::Io {
            path: path.to_owned(),
            source,
        }
    }
}

/// What was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// The file's header.
    pub header: SeedHeader,
    /// Packets and sum per sponsor.
    pub sponsors: BTreeMap<SponsorId, Tally>,
    /// How many of the packets are split packets.
    pub split_packets: u64,
    /// SHA-256 of the whole file.
    pub sha256: [u8; 32],
}

/// Makes a seed file at `out`. `random` gives 64 random bits a call; `progress` is told from time to time how many records
/// are written.
///
/// # Errors
/// [`GenerateError`]; then nothing is at `out` that was not there before.
pub fn generate(
    request: &Request,
    out: &Path,
    force: bool,
    random: impl FnMut() -> u64,
    mut progress: impl FnMut(u64),
) -> Result<Made, GenerateError> {
    if request.count > COUNT_MAX {
        return Err(GenerateError::Count(request.count));
    }
    if !force && out.exists() {
        return Err(GenerateError::Exists(out.to_owned()));
    }
    let packets = Packets::draw(request, random)?;
    let part = Part {
        event: request.event,
        part: 0,
        parts: 1,
        start: 0,
        count: request.count,
    };
    let directory = match out.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut make = || {
        let (temporary, made) = stage(directory, &part, &packets, &mut progress)?;
        put_in_place(temporary, out, force)?;
        File::open(directory)?.sync_all()?;
        Ok(made)
    };
    make().map_err(|source| GenerateError::io(out, source))
}

/// The id of the record at `index` of a part; see the drawing above.
#[must_use]
pub fn packet_id(event: EventId, part: u16, index: u64) -> PacketId {
    PacketId((u64::from(event.0 & 0x7fff) << 48) | (u64::from(part) << 32) | (index & 0xffff_ffff))
}

/// One file of a seed: which of the drawn packets are in it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    pub(crate) event: EventId,
    pub(crate) part: u16,
    pub(crate) parts: u16,
    /// The first of its packets.
    pub(crate) start: u64,
    /// How many follow.
    pub(crate) count: u64,
}

impl Part {
    fn records(self, packets: &Packets) -> impl Iterator<Item = SeedRecord> + Clone {
        let drawn = packets.range(self.start, self.count);
        (0..)
            .zip(drawn)
            .map(move |(index, (amount, sponsor, kind))| SeedRecord {
                packet: packet_id(self.event, self.part, index),
                amount,
                sponsor,
                kind,
            })
    }
}

/// Writes a part durably under a temporary name in `directory`.
pub(crate) fn stage(
    directory: &Path,
    part: &Part,
    packets: &Packets,
    progress: &mut impl FnMut(u64),
) -> io::Result<(TempPath, Made)> {
    // The header comes first and depends on all records, so these are made twice and stored never.
    let mut sum = SeedSum::default();
    let mut sponsors: BTreeMap<SponsorId, Tally> = BTreeMap::new();
    let mut split_packets = 0;
    for record in part.records(packets) {
        sum.add(&record);
        sponsors.entry(record.sponsor).or_default().add(record.amount.0);
        split_packets += u64::from(record.kind != PacketKind::Plain);
    }
    let header = sum.header(part.event, part.part, part.parts);
    let mut temporary = NamedTempFile::new_in(directory)?;
    let mut writer = BufWriter::with_capacity(1 << 20, temporary.as_file_mut());
    let mut hash = digest::Context::new(&SHA256);
    let mut write = |bytes: &[u8]| {
        hash.update(bytes);
        writer.write_all(bytes)
    };
    write(&header.encode())?;
    for (done, record) in (1..).zip(part.records(packets)) {
        write(&record.encode())?;
        if done % 65_536 == 0 {
            progress(done);
        }
    }
    writer.flush()?;
    drop(writer);
    temporary.as_file().sync_all()?;
    let sha256 = hash.finish().as_ref().try_into().expect("SHA-256 has 32 bytes");
    let made = Made {
        header,
        sponsors,
        split_packets,
        sha256,
    };
    Ok((temporary.into_temp_path(), made))
}

/// Gives a staged file its name; over another file only when `force` is set.
pub(crate) fn put_in_place(temporary: TempPath, out: &Path, force: bool) -> io::Result<()> {
    let persisted = if force {
        temporary.persist(out)
    } else {
        temporary.persist_noclobber(out)
    };
    persisted.map_err(|error| error.error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed_file::SeedFile;
    use shake_rules::Cents;

    fn splitmix(state: &mut u64) -> u64 {
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb)
    }

    fn request(count: u64) -> Request {
        Request {
            event: EventId(7),
            budget: Cents(count * 50),
            count,
            sponsors: BTreeMap::from([(SponsorId(1), 3), (SponsorId(2), 1)]),
            min: Cents(1),
            max: Cents(200),
            splits: Splits::default(),
        }
    }

    #[test]
    fn what_is_made_reads_back_and_is_never_replaced_unasked() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("seed.bin");
        let mut state = 5;
        let mut make = |force| generate(&request(1_000), &path, force, || splitmix(&mut state), |_| {});
        let made = make(false).expect("possible");
        assert_eq!((made.header.count, made.header.total), (1_000, Cents(50_000)));
        assert_eq!(made.sponsors[&SponsorId(1)].packets, 750);
        let whole = std::fs::read(&path).expect("readable");
        assert_eq!(digest::digest(&SHA256, &whole).as_ref(), made.sha256);
        let seed = SeedFile::open(&path).expect("its own file");
        assert_eq!(seed.survey().expect("in order").sponsors, made.sponsors);
        assert!(matches!(make(false), Err(GenerateError::Exists(_))));
        make(true).expect("asked to replace");
        assert_eq!(std::fs::read_dir(directory.path()).expect("readable").count(), 1);
    }

    #[test]
    fn what_is_impossible_is_named() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("seed.bin");
        let make = |request: Request| generate(&request, &path, false, || 0, |_| {}).expect_err("impossible");
        let mut poor = request(10);
        poor.budget = Cents(1);
        assert!(matches!(make(poor), GenerateError::Draw(DrawError::Amounts(_))));
        let mut alone = request(10);
        alone.sponsors.clear();
        assert!(matches!(make(alone), GenerateError::Draw(DrawError::Sponsors)));
        assert!(!path.exists());
    }
}
