//! Why a mapping, a side or a handle was refused, each reason with its file and the way out. Nothing here does I/O.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::fault::CorruptCursors;
use crate::layout::{Geometry, Side};
use crate::owner::Owner;

/// Why a mapping could not be made, opened or attached, or a handle not be given out.
#[derive(Debug, Error)]
pub enum Error {
    /// A system call failed. `action` reads after "cannot".
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried, as in "open" or "lock".
        action: &'static str,
        /// The file it was tried on.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Its file system has less room than the mapping takes.
    #[error("there is no room for {}: it takes {} MiB, and {} MiB are free there; make that file system larger (mount -o remount,size=… for /dev/shm, --shm-size for a container), put the mapping elsewhere, or have fewer rings", path.display(), needed.div_ceil(1 << 20), free >> 20)]
    NoRoom {
        /// The mapping.
        path: PathBuf,
        /// Bytes that it takes.
        needed: u64,
        /// Bytes that are free.
        free: u64,
    },
    /// There is no mapping at this path.
    #[error("there is no mapping at {}", .0.display())]
    NotFound(PathBuf),
    /// Something exists at this path already; it was left as it is.
    #[error("{} exists already; open it, or put it aside", .0.display())]
    AlreadyExists(PathBuf),
    /// What lies at this path is not a regular file.
    #[error("{} is not a regular file", .0.display())]
    NotAFile(PathBuf),
    /// Another user owns the file or may open it; what it says could be forged.
    #[error("{} has mode {mode:03o} and owner {owner}; a mapping and its doorbells must be this user's own with mode 600", path.display())]
    NotPrivate {
        /// The file.
        path: PathBuf,
        /// Its owner's user id.
        owner: u32,
        /// Its permission bits.
        mode: u32,
    },
    /// The doorbell's path holds something that is not a FIFO.
    #[error("{} is not a FIFO; put it aside, so that a doorbell can be made there", .0.display())]
    NotAFifo(PathBuf),
    /// The file does not begin with this crate's magic (in this machine's byte order).
    #[error("{} is not a ring mapping: it begins with {found:#018x} and should begin with {expected:#018x}", path.display())]
    Magic {
        /// The file.
        path: PathBuf,
        /// Its first eight bytes as a number.
        found: u64,
        /// What they should be.
        expected: u64,
    },
    /// The file was made by another version of the layout.
    #[error("{} has layout version {found}, this program knows version {supported}; let the programs of that version read what waits in it, then stop both and put the file aside", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The version that this crate reads and writes.
        supported: u32,
    },
    /// The file was made by the version of the layout before this one, and holds records that were never read.
    #[error("{} has layout version {found}, and {unread} records of its ring {ring} were not read; let the program that read them so far read them (the agent of the earlier release), and start again", path.display())]
    UnreadOfOld {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The first ring that is not empty.
        ring: usize,
        /// How many of its records wait.
        unread: u64,
    },
    /// The mapping is another owner's.
    #[error("{} is the mapping of {}, and this is {}; give each its own path; for a new event stop the gateway, put the file aside, and start it again", path.display(), hex(found), hex(ours))]
    OtherOwner {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        found: Owner,
        /// Who asked.
        ours: Owner,
    },
    /// Only the back side has an owner's name and a stamp.
    #[error("only the back side names the owner and has a stamp")]
    NotBack,
    /// The file's length is not what its header or its geometry asks for.
    #[error("{} has {found} bytes and should have {expected}; it was cut short or written over; put it aside", path.display())]
    Size {
        /// The file.
        path: PathBuf,
        /// Its length in bytes.
        found: u64,
        /// The length in bytes that it should have (at least, when the header itself is cut short).
        expected: u64,
    },
    /// The header's bytes do not match their checksum.
    #[error("{} has a damaged header: checksum {found:#010x}, should be {expected:#010x}; put the file aside", path.display())]
    HeaderChecksum {
        /// The file.
        path: PathBuf,
        /// The checksum that the header states.
        found: u32,
        /// The checksum of its bytes.
        expected: u32,
    },
    /// A geometry that is outside the limits of this crate.
    #[error("impossible geometry: {0}")]
    Geometry(String),
    /// The file at the path has another geometry than the one asked for.
    #[error("{} has the geometry [{found}] and this program asks for [{wanted}]; configure both alike, or let the programs of that one read what waits in it", path.display())]
    GeometryDiffers {
        /// The file.
        path: PathBuf,
        /// The geometry of the file.
        found: Box<Geometry>,
        /// The geometry asked for.
        wanted: Box<Geometry>,
    },
    /// A live attachment, in this process or another, holds this side.
    #[error("the {side} side of {} is attached already by a live process", path.display())]
    SideTaken {
        /// The file.
        path: PathBuf,
        /// The side asked for.
        side: Side,
    },
    /// A ring number past the end.
    #[error("there is no ring {ring}: the mapping has {rings}")]
    NoSuchRing {
        /// The number asked for.
        ring: usize,
        /// How many rings there are.
        rings: usize,
    },
    /// A doorbell number past the end.
    #[error("there is no bell {bell}: the mapping has {bells}")]
    NoSuchBell {
        /// The number asked for.
        bell: usize,
        /// How many doorbells there are.
        bells: usize,
    },
    /// A sleeper number past the end.
    #[error("there is no sleeper {sleeper}: the mapping has {sleepers}")]
    NoSuchSleeper {
        /// The number asked for.
        sleeper: usize,
        /// How many sleepers there are.
        sleepers: usize,
    },
    /// The ring is produced by the other side than asked for.
    #[error("ring {ring} is produced by the {producer} side; the {side} side asked for its other end")]
    WrongSide {
        /// The ring.
        ring: usize,
        /// The side that produces it.
        producer: Side,
        /// The side that asked.
        side: Side,
    },
    /// This attachment gave this end of the ring out already, and the handle is still alive.
    #[error("this side's end of ring {0} is in use already")]
    RingTaken(usize),
    /// The ring's cursors in the mapping contradict each other.
    #[error("ring {ring}: {source}; put the mapping aside")]
    Corrupt {
        /// The ring.
        ring: usize,
        /// What was found.
        source: CorruptCursors,
    },
}

/// An owner in messages: its identity in hex and its part.
fn hex(owner: &Owner) -> String {
    let identity: String = owner.identity.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("ledger {identity}, part {}", owner.part)
}
