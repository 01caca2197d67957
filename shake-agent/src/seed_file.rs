//! Seed files on disk: opened and checked, read record by record in order, surveyed as a whole.
//!
//! Nothing here writes; `seed_generate` does.

use crate::places::absolute;
use shake_rules::seed::{HEADER_BYTES, PacketKind, RECORD_BYTES, SeedError, SeedHeader, SeedRecord, SeedSum};
use shake_rules::split::SHARES_MAX;
use shake_rules::{PacketId, SponsorId};
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Records read from the disk at once.
const BLOCK_RECORDS: u64 = 1_024;

/// What is wrong with a seed file, by name.
#[derive(Debug, Error)]
pub enum SeedFileError {
    /// It cannot be read.
    #[error("cannot read the seed file {}: {source}; a ledger goes with the file that it was begun with: give --config the agent's configuration, or [seed] file (--seed) its place", absolute(path).display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// It is damaged, or no seed file.
    #[error("the seed file {}: {source}; restore it from where it was made", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: SeedError,
    },
    /// A packet occurs twice.
    #[error("the seed file {}: packet {packet} occurs twice; a packet may be given out only once", path.display())]
    Twice {
        /// The file.
        path: PathBuf,
        /// The packet.
        packet: u64,
    },
}

/// A number of packets and their sum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Tally {
    /// How many.
    pub packets: u64,
    /// Their sum in cents.
    pub cents: u64,
}

impl Tally {
    /// Takes one more packet into account.
    pub fn add(&mut self, cents: u64) {
        self.packets += 1;
        self.cents = self.cents.saturating_add(cents);
    }

    /// Takes another tally into account.
    pub fn merge(&mut self, other: Self) {
        self.packets += other.packets;
        self.cents = self.cents.saturating_add(other.cents);
    }
}

/// What a whole seed file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survey {
    /// Packets and sum per sponsor.
    pub sponsors: BTreeMap<SponsorId, Tally>,
    /// The largest id; zero when there is no packet.
    pub last_packet: PacketId,
}

/// An open seed file whose header and size are in order.
#[derive(Debug)]
pub struct SeedFile {
    file: File,
    path: PathBuf,
    header: SeedHeader,
}

impl SeedFile {
    /// Opens a seed file and checks header and size. The records are checked as they are read.
    ///
    /// # Errors
    /// [`SeedFileError::Io`] or [`SeedFileError::Damaged`].
    pub fn open(path: &Path) -> Result<Self, SeedFileError> {
        let io = |source| SeedFileError::Io {
            path: path.to_owned(),
            source,
        };
        let damaged = |source| SeedFileError::Damaged {
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(io)?;
        let found = file.metadata().map_err(io)?.len();
        if found < HEADER_BYTES as u64 {
            return Err(damaged(SeedError::Size {
                found,
                expected: HEADER_BYTES as u64,
            }));
        }
        let mut bytes = [0; HEADER_BYTES];
        file.read_exact_at(&mut bytes, 0).map_err(io)?;
        let header = SeedHeader::decode(&bytes).map_err(damaged)?;
        let expected = header.file_bytes();
        if found != expected {
            return Err(damaged(SeedError::Size { found, expected }));
        }
        Ok(Self {
            file,
            path: path.to_owned(),
            header,
        })
    }

    /// Where it lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What its header says.
    #[must_use]
    pub fn header(&self) -> &SeedHeader {
        &self.header
    }

    /// Reads up to `max` records from `index` on; fewer at the end of the file.
    ///
    /// # Errors
    /// The first record that is damaged; the records before it are lost to the caller.
    pub fn read(&self, index: u64, max: u64) -> Result<Vec<SeedRecord>, SeedFileError> {
        let count = max.min(self.header.count.saturating_sub(index));
        let mut bytes = vec![0; count as usize * RECORD_BYTES];
        let at = HEADER_BYTES as u64 + index * RECORD_BYTES as u64;
        self.file
            .read_exact_at(&mut bytes, at)
            .map_err(|source| SeedFileError::Io {
                path: self.path.clone(),
                source,
            })?;
        let (records, _) = bytes.as_chunks::<RECORD_BYTES>();
        let decode = |(index, bytes)| {
            let record = SeedRecord::decode(bytes, index).map_err(|source| self.damaged(source))?;
            match record.kind {
                // Such a packet could not be shared.
                PacketKind::Split { shares } if shares > SHARES_MAX || u64::from(shares) > record.amount.0 => {
                    Err(self.damaged(SeedError::Record { index }))
                }
                _ => Ok(record),
            }
        };
        (index..).zip(records).map(decode).collect()
    }

    /// Reads every record in order and checks them all against the header.
    ///
    /// # Errors
    /// As [`SeedFile::read`], and [`SeedError::Total`].
    pub fn for_each(&self, mut f: impl FnMut(u64, SeedRecord)) -> Result<(), SeedFileError> {
        let mut sum = SeedSum::default();
        let mut index = 0;
        while index < self.header.count {
            for record in self.read(index, BLOCK_RECORDS)? {
                sum.add(&record);
                f(index, record);
                index += 1;
            }
        }
        sum.check(&self.header).map_err(|source| self.damaged(source))
    }

    /// Verifies the whole file, also that no packet occurs twice, and sums it up.
    ///
    /// # Errors
    /// Every [`SeedFileError`].
    pub fn survey(&self) -> Result<Survey, SeedFileError> {
        let mut sponsors: BTreeMap<SponsorId, Tally> = BTreeMap::new();
        let mut packets = Vec::new();
        self.for_each(|_, record| {
            sponsors.entry(record.sponsor).or_default().add(record.amount.0);
            packets.push(record.packet.0);
        })?;
        packets.sort_unstable();
        if let Some(pair) = packets.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(SeedFileError::Twice {
                path: self.path.clone(),
                packet: pair[0],
            });
        }
        let last_packet = PacketId(packets.last().copied().unwrap_or(0));
        Ok(Survey { sponsors, last_packet })
    }

    fn damaged(&self, source: SeedError) -> SeedFileError {
        SeedFileError::Damaged {
            path: self.path.clone(),
            source,
        }
    }
}
