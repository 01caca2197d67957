//! Makes seed files: the budget divided exactly, sponsors mixed at random, written whole or not at all.
//!
//! A packet's id says where it comes from, and increases along a file, so that the ledger appends:
//!
//! ```text
//! bit 63      48      32                                  0
//!     │ event  │ part  │ index of the record in its file  │
//! ```
//! (of the event, its lower 16 bits). Ids are no secret: only a sealed ticket opens a packet.

use crate::seed_file::Tally;
use shake_rules::amounts::{self, AmountsError};
use shake_rules::seed::{HEADER_BYTES, PacketKind, SeedHeader, SeedRecord, SeedSum};
use shake_rules::{Cents, EventId, PacketId, SponsorId};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;
use thiserror::Error;

/// Most packets in one file: the index has 32 bits of the id.
pub const COUNT_MAX: u64 = 1 << 32;

/// What to make.
#[derive(Clone, Debug)]
pub struct Request {
    /// The event.
    pub event: EventId,
    /// The sum of all packets.
    pub budget: Cents,
    /// How many packets.
    pub count: u64,
    /// Sponsors with the weight of their part in the packets' number; a weight is at least 1.
    pub sponsors: BTreeMap<SponsorId, u32>,
    /// The smallest amount.
    pub min: Cents,
    /// The largest amount.
    pub max: Cents,
}

/// Why no file was made.
#[derive(Debug, Error)]
pub enum GenerateError {
    /// No such amounts exist.
    #[error("{0}; change the budget, the count or the range")]
    Amounts(#[from] AmountsError),
    /// No sponsor, or one of weight zero.
    #[error("every packet needs a sponsor; give at least one, each with a weight of 1 or more")]
    Sponsors,
    /// Too many packets.
    #[error("{0} packets do not fit into one file; at most {COUNT_MAX} do")]
    Count(u64),
    /// Something is there already.
    #[error("{} exists already; remove it, or replace it with --force. A ledger that was begun with it needs it", .0.display())]
    Exists(PathBuf),
    /// Writing failed; nothing was made.
    #[error("cannot write {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

/// What was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// The file's header.
    pub header: SeedHeader,
    /// Packets and sum per sponsor.
    pub sponsors: BTreeMap<SponsorId, Tally>,
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
    mut random: impl FnMut() -> u64,
    mut progress: impl FnMut(u64),
) -> Result<Made, GenerateError> {
    if request.count > COUNT_MAX {
        return Err(GenerateError::Count(request.count));
    }
    if request.sponsors.is_empty() || request.sponsors.values().any(|&weight| weight == 0) {
        return Err(GenerateError::Sponsors);
    }
    if !force && out.exists() {
        return Err(GenerateError::Exists(out.to_owned()));
    }
    let amounts = amounts::draw(request.budget, request.count, request.min, request.max, &mut random)?;
    let sponsors = shuffled_sponsors(&request.sponsors, request.count, &mut random);
    let records = (0..)
        .zip(amounts.into_iter().zip(sponsors))
        .map(|(index, (amount, sponsor))| SeedRecord {
            packet: packet_id(request.event, 0, index),
            amount,
            sponsor,
            kind: PacketKind::Plain,
        });
    write(request.event, records, out, force, &mut progress).map_err(|source| GenerateError::Io {
        path: out.to_owned(),
        source,
    })
}

/// The id of the record at `index` of a part; see the drawing above.
#[must_use]
pub fn packet_id(event: EventId, part: u16, index: u64) -> PacketId {
    PacketId((u64::from(event.0 & 0xffff) << 48) | (u64::from(part) << 32) | (index & 0xffff_ffff))
}

/// One sponsor per packet, in random order; each sponsor's number is its weight's share of `count`, rounded so that all
/// numbers sum to `count` (the largest remainders go up).
fn shuffled_sponsors(
    weights: &BTreeMap<SponsorId, u32>,
    count: u64,
    random: &mut impl FnMut() -> u64,
) -> Vec<SponsorId> {
    let total: u128 = weights.values().map(|&weight| u128::from(weight)).sum();
    let mut parts: Vec<(SponsorId, u64, u128)> = weights
        .iter()
        .map(|(&sponsor, &weight)| {
            let exact = u128::from(count) * u128::from(weight);
            (sponsor, (exact / total) as u64, exact % total)
        })
        .collect();
    let missing = count - parts.iter().map(|part| part.1).sum::<u64>();
    parts.sort_by_key(|part| std::cmp::Reverse(part.2));
    for part in parts.iter_mut().take(missing as usize) {
        part.1 += 1;
    }
    let mut sponsors: Vec<SponsorId> = parts
        .into_iter()
        .flat_map(|(sponsor, count, _)| std::iter::repeat_n(sponsor, count as usize))
        .collect();
    // Fisher and Yates, in Durstenfeld's form. The product's upper half is uniform but for 2^-32 at the most.
    for last in (1..sponsors.len()).rev() {
        let at = (u128::from(random()) * (last as u128 + 1)) >> 64;
        sponsors.swap(at as usize, last);
    }
    sponsors
}

/// Writes everything under a temporary name, the header last, and puts it in place when it is durable.
fn write(
    event: EventId,
    records: impl Iterator<Item = SeedRecord>,
    out: &Path,
    force: bool,
    progress: &mut impl FnMut(u64),
) -> io::Result<Made> {
    let directory = match out.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut temporary = NamedTempFile::new_in(directory)?;
    let mut sum = SeedSum::default();
    let mut sponsors: BTreeMap<SponsorId, Tally> = BTreeMap::new();
    let mut writer = BufWriter::with_capacity(1 << 20, temporary.as_file_mut());
    writer.write_all(&[0; HEADER_BYTES])?;
    for (done, record) in (1..).zip(records) {
        sum.add(&record);
        sponsors.entry(record.sponsor).or_default().add(record.amount.0);
        writer.write_all(&record.encode())?;
        if done % 65_536 == 0 {
            progress(done);
        }
    }
    let header = sum.header(event, 0, 1);
    writer.seek(SeekFrom::Start(0))?;
    writer.write_all(&header.encode())?;
    writer.flush()?;
    drop(writer);
    temporary.as_file().sync_all()?;
    let persisted = if force {
        temporary.persist(out)
    } else {
        temporary.persist_noclobber(out)
    };
    persisted.map_err(|error| error.error)?;
    File::open(directory)?.sync_all()?;
    Ok(Made { header, sponsors })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed_file::SeedFile;
    use proptest::prelude::*;

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
        assert!(matches!(make(poor), GenerateError::Amounts(_)));
        let mut alone = request(10);
        alone.sponsors.clear();
        assert!(matches!(make(alone), GenerateError::Sponsors));
        assert!(!path.exists());
    }

    proptest! {
        #[test]
        fn sponsors_get_their_share(weights in proptest::collection::vec(1_u32..50, 1..8), count in 0_u64..500, seed: u64) {
            let weights: BTreeMap<_, _> = (0..).map(SponsorId).zip(weights).collect();
            let mut state = seed;
            let sponsors = shuffled_sponsors(&weights, count, &mut || splitmix(&mut state));
            prop_assert_eq!(sponsors.len() as u64, count);
            let total: u64 = weights.values().map(|&weight| u64::from(weight)).sum();
            for (sponsor, weight) in weights {
                let found = sponsors.iter().filter(|&&s| s == sponsor).count() as u64;
                let exact = count * u64::from(weight);
                prop_assert!(found == exact / total || found == exact / total + 1);
            }
        }
    }
}
