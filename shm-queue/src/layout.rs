//! Where everything lies in the file. Pure arithmetic: no memory is touched here.
//!
//! All numbers are in the machine's byte order, because a mapping never leaves its machine; on a machine of the other
//! order the magic does not match. All offsets are in bytes.
//!
//! ```text
//!        0 ┌──────────────────────────────────────────────┐
//!          │ header, written once, never changed          │
//!          │   0 magic u64   8 version u32   12 rings u32 │
//!          │  16 file bytes u64     24 instance u64       │
//!          │  32 bells u16   34 sleepers u16              │
//!          │  36 version of the records u32    40 zero    │
//!          │  60 CRC-32 u32 of bytes 0..60 and the table  │
//!       64 │ ring table, 16 bytes per ring                │
//!          │   0 slots u32   4 payload bytes max u32      │
//!          │   8 producer u32 (0 Front, 1 Back)  12 zero  │
//!          │ zero up to the next 4096                     │
//!  control ├──────────────────────────────────────────────┤
//!          │ Front side, one line of 128:                 │
//!          │   0 heartbeat ms u64     8 epoch u32         │
//!          │  12 zero u32            16 status u64        │
//!          │  24 clock offset ms i64                      │
//!          │ Back side, the same, and whose it is:        │
//!          │  32 identity, 16 bytes  48 named u32         │
//!          │  52 part u32            56 stamp u64         │
//!          │ bells,    one line each: 0 armed u32         │
//!          │ sleepers, one line each: 0 asleep u32 (futex)│
//!  ring 0  ├──────────────────────────────────────────────┤
//!          │ head line: 0 head u64 (the consumer writes)  │
//!          │ tail line: 0 tail u64 (the producer writes)  │
//!          │ slots, dense:                                │
//!          │   0 position u64   8 length u32  12 check u32│
//!          │  16 payload, zero-padded to whole words      │
//!          │ padding to the next line                     │
//!  ring 1  ├──────────────────────────────────────────────┤
//!          │ …                                            │
//!          └──────────────────────────────────────────────┘
//! ```

use std::fmt;

use crate::error::Error;
use crate::ring::{self, Shape};

/// The first eight bytes of every mapping.
pub(crate) const MAGIC: u64 = u64::from_le_bytes(*b"SPSCRING");
/// The version of this layout. Any change to the drawing changes it.
pub(crate) const VERSION: u32 = 3;
/// The version before, which is never opened: [`crate::Mapping::retire_old`] looks whether it is empty. Header, table and
/// rings lie where they lie now.
pub(crate) const VERSION_BEFORE: u32 = 2;

pub(crate) const HEADER_BYTES: usize = 64;
pub(crate) const RING_ENTRY_BYTES: usize = 16;
/// Two cache lines: neighbours are fetched in pairs on x86-64, so what different sides write lies 128 bytes apart.
pub(crate) const LINE_BYTES: usize = 128;
const PAGE_BYTES: usize = 4096;

const AT_MAGIC: usize = 0;
const AT_VERSION: usize = 8;
const AT_RINGS: usize = 12;
const AT_FILE_BYTES: usize = 16;
const AT_INSTANCE: usize = 24;
const AT_BELLS: usize = 32;
const AT_SLEEPERS: usize = 34;
const AT_RECORDS: usize = 36;
const AT_CHECKSUM: usize = 60;

const ENTRY_SLOTS: usize = 0;
const ENTRY_PAYLOAD: usize = 4;
const ENTRY_PRODUCER: usize = 8;

/// Offsets inside a side's line.
pub(crate) const SIDE_HEARTBEAT: usize = 0;
pub(crate) const SIDE_EPOCH: usize = 8;
pub(crate) const SIDE_STATUS: usize = 16;
pub(crate) const SIDE_CLOCK: usize = 24;
pub(crate) const SIDE_IDENTITY: usize = 32;
pub(crate) const SIDE_NAMED: usize = 48;
pub(crate) const SIDE_PART: usize = 52;
pub(crate) const SIDE_STAMP: usize = 56;

const _: () = {
    assert!(usize::BITS >= 64, "offsets are computed in usize");
    assert!(AT_VERSION == AT_MAGIC + 8 && AT_RINGS == AT_VERSION + 4 && AT_FILE_BYTES == AT_RINGS + 4);
    assert!(AT_INSTANCE == AT_FILE_BYTES + 8 && AT_BELLS == AT_INSTANCE + 8 && AT_SLEEPERS == AT_BELLS + 2);
    assert!(AT_RECORDS == AT_SLEEPERS + 2 && AT_RECORDS + 4 <= AT_CHECKSUM && AT_CHECKSUM + 4 == HEADER_BYTES);
    assert!(ENTRY_PRODUCER + 8 == RING_ENTRY_BYTES);
    assert!(SIDE_EPOCH == SIDE_HEARTBEAT + 8 && SIDE_STATUS == SIDE_EPOCH + 8);
    assert!(SIDE_CLOCK == SIDE_STATUS + 8 && SIDE_IDENTITY == SIDE_CLOCK + 8 && SIDE_NAMED == SIDE_IDENTITY + 16);
    assert!(SIDE_PART == SIDE_NAMED + 4 && SIDE_STAMP == SIDE_PART + 4 && SIDE_STAMP + 8 <= LINE_BYTES);
    assert!(SIDE_STATUS.is_multiple_of(8) && SIDE_IDENTITY.is_multiple_of(8) && SIDE_STAMP.is_multiple_of(8));
    assert!(PAGE_BYTES.is_multiple_of(LINE_BYTES));
    assert!(ring::HEAD_WORD == 0 && ring::TAIL_WORD * 8 == LINE_BYTES && ring::SLOTS_WORD * 8 == 2 * LINE_BYTES);
    assert!(ring::SLOT_HEADER_WORDS * 8 == 16);
};

/// Most rings in one mapping.
pub const RINGS_MAX: usize = 4096;
/// Most slots in one ring.
pub const SLOTS_MAX: u32 = 1 << 24;
/// Longest payload that a ring may be made for, in bytes.
pub const PAYLOAD_BYTES_MAX: u32 = 1 << 20;
/// Most doorbells in one mapping.
pub const BELLS_MAX: u16 = 1024;
/// Most futex words in one mapping.
pub const SLEEPERS_MAX: u16 = 1024;
/// Largest mapping, in bytes.
pub const FILE_BYTES_MAX: u64 = 1 << 36;

/// One of the two processes that share a mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// The process whose threads sit in a poll loop and listen to doorbells.
    Front,
    /// The process whose threads sleep on futex words.
    Back,
}

impl Side {
    /// The process at the other end.
    #[must_use]
    pub fn other(self) -> Side {
        match self {
            Side::Front => Side::Back,
            Side::Back => Side::Front,
        }
    }

    pub(crate) fn index(self) -> usize {
        match self {
            Side::Front => 0,
            Side::Back => 1,
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Side::Front => "front",
            Side::Back => "back",
        })
    }
}

/// The size and direction of one ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RingGeometry {
    /// How many records it holds: a power of two, at most [`SLOTS_MAX`].
    pub slots: u32,
    /// The longest payload in bytes, from 1 to [`PAYLOAD_BYTES_MAX`].
    pub payload_bytes_max: u32,
    /// The side that pushes; the other one reads.
    pub producer: Side,
}

impl RingGeometry {
    pub(crate) fn shape(&self) -> Shape {
        Shape::new(self.slots, self.payload_bytes_max)
    }
}

/// The size of a whole mapping.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Geometry {
    /// The version of what the rings carry: the application's number. Programs of different ones never meet in a mapping.
    pub records: u32,
    /// The rings, in the order of their numbers. At most [`RINGS_MAX`].
    pub rings: Vec<RingGeometry>,
    /// How many pollable doorbells there are, each rung by Back for one thread of Front. At most [`BELLS_MAX`].
    pub bells: u16,
    /// How many futex words there are, each woken by Front for one thread of Back. At most [`SLEEPERS_MAX`].
    pub sleepers: u16,
}

impl fmt::Display for Geometry {
    /// Says equal rings in a row once: `2 × 4096 slots of 64 bytes from front, …, records of version 1`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for group in self.rings.chunk_by(|a, b| a == b) {
            let ring = group[0];
            write!(
                f,
                "{} × {} slots of {} bytes from {}, ",
                group.len(),
                ring.slots,
                ring.payload_bytes_max,
                ring.producer
            )?;
        }
        write!(
            f,
            "{} bells, {} sleepers, records of version {}",
            self.bells, self.sleepers, self.records
        )
    }
}

/// A checked geometry with the offsets that follow from it.
#[derive(Debug)]
pub(crate) struct Layout {
    pub(crate) geometry: Geometry,
    control: usize,
    rings: Vec<usize>,
    pub(crate) file_bytes: u64,
}

impl Layout {
    /// Checks every limit and places everything.
    pub(crate) fn new(geometry: Geometry) -> Result<Layout, Error> {
        let refuse = |reason: String| Err(Error::Geometry(reason));
        if geometry.rings.len() > RINGS_MAX {
            return refuse(format!("{} rings, at most {RINGS_MAX}", geometry.rings.len()));
        }
        if geometry.bells > BELLS_MAX {
            return refuse(format!("{} bells, at most {BELLS_MAX}", geometry.bells));
        }
        if geometry.sleepers > SLEEPERS_MAX {
            return refuse(format!("{} sleepers, at most {SLEEPERS_MAX}", geometry.sleepers));
        }
        let control = header_bytes(geometry.rings.len());
        let lines = 2 + usize::from(geometry.bells) + usize::from(geometry.sleepers);
        // Cannot overflow: 4096 rings of 2^24 slots of 2^20 bytes is 2^56.
        let mut end = (control + lines * LINE_BYTES) as u64;
        let mut rings = Vec::with_capacity(geometry.rings.len());
        for (number, ring) in geometry.rings.iter().enumerate() {
            if !ring.slots.is_power_of_two() || ring.slots > SLOTS_MAX {
                return refuse(format!(
                    "ring {number} has {} slots; a power of two up to {SLOTS_MAX} is needed",
                    ring.slots
                ));
            }
            if ring.payload_bytes_max == 0 || ring.payload_bytes_max > PAYLOAD_BYTES_MAX {
                return refuse(format!(
                    "ring {number} has payloads of {} bytes; 1 to {PAYLOAD_BYTES_MAX} are possible",
                    ring.payload_bytes_max
                ));
            }
            rings.push(end);
            end += (ring.shape().region_words() as u64 * 8).next_multiple_of(LINE_BYTES as u64);
        }
        let file_bytes = end.next_multiple_of(PAGE_BYTES as u64);
        if file_bytes > FILE_BYTES_MAX {
            return refuse(format!("{file_bytes} bytes in all, at most {FILE_BYTES_MAX}"));
        }
        let rings = rings.into_iter().map(|at| at as usize).collect();
        Ok(Layout {
            geometry,
            control,
            rings,
            file_bytes,
        })
    }

    /// Offset of a side's line.
    pub(crate) fn side(&self, side: Side) -> usize {
        self.control + side.index() * LINE_BYTES
    }

    /// Offset of a doorbell's flag.
    pub(crate) fn bell(&self, bell: usize) -> usize {
        self.control + (2 + bell) * LINE_BYTES
    }

    /// Offset of a sleeper's futex word.
    pub(crate) fn sleeper(&self, sleeper: usize) -> usize {
        self.control + (2 + usize::from(self.geometry.bells) + sleeper) * LINE_BYTES
    }

    /// Offset of a ring's head line.
    pub(crate) fn ring(&self, ring: usize) -> usize {
        self.rings[ring]
    }

    /// The header block as it is written at creation, the ring table included.
    pub(crate) fn header(&self, instance: u64) -> Vec<u8> {
        let geometry = &self.geometry;
        let mut bytes = vec![0; self.control];
        put(&mut bytes, AT_MAGIC, &MAGIC.to_ne_bytes());
        put(&mut bytes, AT_VERSION, &VERSION.to_ne_bytes());
        put(&mut bytes, AT_RINGS, &(geometry.rings.len() as u32).to_ne_bytes());
        put(&mut bytes, AT_FILE_BYTES, &self.file_bytes.to_ne_bytes());
        put(&mut bytes, AT_INSTANCE, &instance.to_ne_bytes());
        put(&mut bytes, AT_BELLS, &geometry.bells.to_ne_bytes());
        put(&mut bytes, AT_SLEEPERS, &geometry.sleepers.to_ne_bytes());
        put(&mut bytes, AT_RECORDS, &geometry.records.to_ne_bytes());
        for (ring, at) in geometry.rings.iter().zip((HEADER_BYTES..).step_by(RING_ENTRY_BYTES)) {
            put(&mut bytes, at + ENTRY_SLOTS, &ring.slots.to_ne_bytes());
            put(&mut bytes, at + ENTRY_PAYLOAD, &ring.payload_bytes_max.to_ne_bytes());
            put(
                &mut bytes,
                at + ENTRY_PRODUCER,
                &(ring.producer.index() as u32).to_ne_bytes(),
            );
        }
        let crc = checksum(&bytes);
        put(&mut bytes, AT_CHECKSUM, &crc.to_ne_bytes());
        bytes
    }
}

/// What the fixed part of a header says, before any of it is believed.
pub(crate) struct RawHeader {
    pub(crate) magic: u64,
    pub(crate) version: u32,
    pub(crate) rings: u32,
    pub(crate) file_bytes: u64,
    pub(crate) instance: u64,
    pub(crate) checksum: u32,
    bells: u16,
    sleepers: u16,
    records: u32,
}

impl RawHeader {
    pub(crate) fn parse(bytes: &[u8; HEADER_BYTES]) -> RawHeader {
        RawHeader {
            magic: u64::from_ne_bytes(take(bytes, AT_MAGIC)),
            version: u32::from_ne_bytes(take(bytes, AT_VERSION)),
            rings: u32::from_ne_bytes(take(bytes, AT_RINGS)),
            file_bytes: u64::from_ne_bytes(take(bytes, AT_FILE_BYTES)),
            instance: u64::from_ne_bytes(take(bytes, AT_INSTANCE)),
            checksum: u32::from_ne_bytes(take(bytes, AT_CHECKSUM)),
            bells: u16::from_ne_bytes(take(bytes, AT_BELLS)),
            sleepers: u16::from_ne_bytes(take(bytes, AT_SLEEPERS)),
            records: u32::from_ne_bytes(take(bytes, AT_RECORDS)),
        }
    }

    /// The geometry of this header and its ring table, with every limit checked.
    pub(crate) fn layout(&self, table: &[u8]) -> Result<Layout, Error> {
        let mut rings = Vec::with_capacity(table.len() / RING_ENTRY_BYTES);
        for entry in table.chunks_exact(RING_ENTRY_BYTES).take(self.rings as usize) {
            rings.push(RingGeometry {
                slots: u32::from_ne_bytes(take(entry, ENTRY_SLOTS)),
                payload_bytes_max: u32::from_ne_bytes(take(entry, ENTRY_PAYLOAD)),
                producer: match u32::from_ne_bytes(take(entry, ENTRY_PRODUCER)) {
                    0 => Side::Front,
                    1 => Side::Back,
                    other => return Err(Error::Geometry(format!("a ring produced by side {other}"))),
                },
            });
        }
        Layout::new(Geometry {
            records: self.records,
            rings,
            bells: self.bells,
            sleepers: self.sleepers,
        })
    }
}

/// Length of the header block with a table for so many rings.
pub(crate) fn header_bytes(rings: usize) -> usize {
    (HEADER_BYTES + rings * RING_ENTRY_BYTES).next_multiple_of(PAGE_BYTES)
}

/// CRC-32 (IEEE) of a header block, its checksum field left out.
pub(crate) fn checksum(header: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&header[..AT_CHECKSUM]);
    crc.update(&header[HEADER_BYTES..]);
    crc.finalize()
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

fn take<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("the slice has N bytes")
}
