//! What a ring refuses, and what it can find wrong in memory that another process writes too. Values only.

use thiserror::Error;

/// The cursors of a ring are impossible: more between them than the ring has slots, or one of them went back. The
/// process at the other end, or something else, wrote over them; the ring cannot be used any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("corrupt cursors: head {head}, tail {tail}, {slots} slots")]
pub struct CorruptCursors {
    /// Position up to which the consumer committed.
    pub head: u64,
    /// Position up to which the producer published.
    pub tail: u64,
    /// The ring's slots.
    pub slots: u32,
}

/// A published slot whose bytes are not what a producer writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("corrupt slot at position {position}: {fault}")]
pub struct CorruptSlot {
    /// The record's position.
    pub position: u64,
    /// What is wrong with it.
    pub fault: SlotFault,
}

/// What is wrong with a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SlotFault {
    /// The slot carries the tag of another position: never written, or left from an earlier lap.
    #[error("it is tagged with position {found}")]
    Position {
        /// The position in the slot.
        found: u64,
    },
    /// The length is more than the ring's payload limit.
    #[error("its length of {found} bytes is over the ring's limit of {max}")]
    Length {
        /// The length in the slot, in bytes.
        found: u32,
        /// The ring's limit in bytes.
        max: u32,
    },
    /// The bytes do not match their check.
    #[error("its check is {found:#010x}, its bytes give {expected:#010x}")]
    Check {
        /// The check in the slot.
        found: u32,
        /// The check of the slot's bytes.
        expected: u32,
    },
}

/// Why nothing could be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ReadError {
    /// The next slot is corrupt. `Consumer::skip_corrupt` passes over it, once the owner has counted it.
    #[error(transparent)]
    Slot(#[from] CorruptSlot),
    /// The cursors are corrupt; nothing more can be read from this ring.
    #[error(transparent)]
    Cursors(#[from] CorruptCursors),
}

/// Why a payload was not taken; it gives the payload back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PushError<'a> {
    /// Every slot is taken: the consumer has not committed yet. Answer "busy" or try later.
    #[error("the ring is full")]
    Full(&'a [u8]),
    /// The payload is longer than the ring's slots allow; it will never fit.
    #[error("a payload of {} bytes is over the ring's limit of {max}", payload.len())]
    TooLong {
        /// The payload.
        payload: &'a [u8],
        /// The ring's limit in bytes.
        max: u32,
    },
    /// The consumer's cursor is impossible; nothing more can be pushed into this ring.
    #[error("{cursors}")]
    Corrupt {
        /// The payload.
        payload: &'a [u8],
        /// What was found.
        cursors: CorruptCursors,
    },
}

impl<'a> PushError<'a> {
    /// The payload that was not taken.
    pub fn payload(&self) -> &'a [u8] {
        match *self {
            PushError::Full(payload) | PushError::TooLong { payload, .. } | PushError::Corrupt { payload, .. } => {
                payload
            }
        }
    }
}

/// A commit to a position that is not between the committed and the published one. Nothing was moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("cannot commit up to {up_to}: committed is {committed}, published is {published}")]
pub struct CommitError {
    /// The position asked for.
    pub up_to: u64,
    /// Position committed before, and still.
    pub committed: u64,
    /// Position up to which the producer published.
    pub published: u64,
}
