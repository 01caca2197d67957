//! The consuming end of a ring as callers hold it. Reading and committing are separate, so that the owner commits only
//! what it has made durable.

use crate::attach::Claim;
use crate::fault::{CommitError, CorruptCursors, CorruptSlot, ReadError};
use crate::memory::Region;
use crate::ring::Rx;

/// The one handle that reads a ring. Dropping it frees the ring's end for another handle of the same attachment, which
/// starts at the committed position.
#[derive(Debug)]
pub struct Consumer {
    rx: Rx<Region>,
    _claim: Claim,
}

impl Consumer {
    pub(crate) fn new(rx: Rx<Region>, claim: Claim) -> Consumer {
        Consumer { rx, _claim: claim }
    }

    /// The next unread record with its position, left unread. The bytes are a private copy that was checked.
    ///
    /// # Errors
    /// As [`Consumer::read_batch`].
    #[inline]
    pub fn peek(&mut self) -> Result<Option<(u64, &[u8])>, ReadError> {
        self.rx.peek()
    }

    /// Reads up to `max` records in order, giving `f` each one's position and a private, checked copy of its bytes. Moves
    /// the private read cursor only: the producer may not reuse a slot before [`Consumer::commit`]. Gives how many were
    /// read, and 0 when there are none.
    ///
    /// # Errors
    /// [`ReadError::Slot`] when the very next slot is corrupt (a corrupt slot further on ends the batch before it, and is
    /// the error of the next call); [`ReadError::Cursors`] when the producer's cursor is impossible. Nothing was read.
    #[inline]
    pub fn read_batch(&mut self, max: usize, f: impl FnMut(u64, &[u8])) -> Result<usize, ReadError> {
        self.rx.read_batch(max, f)
    }

    /// Passes over the next record if it is corrupt, and says what was wrong. `None` when there is no next record or it
    /// is sound; then nothing moved.
    ///
    /// # Errors
    /// When the producer's cursor is impossible.
    pub fn skip_corrupt(&mut self) -> Result<Option<CorruptSlot>, CorruptCursors> {
        self.rx.skip_corrupt()
    }

    /// Gives every slot before the position `up_to` back to the producer. Those records will not be read again, by this
    /// process or any later one. `up_to` may lie past the read cursor, for an owner that restarts and knows from its own
    /// durable records that it got further; the read cursor then moves along.
    ///
    /// # Errors
    /// When `up_to` lies before what is committed or after what is published; nothing moved.
    #[inline]
    pub fn commit(&mut self, up_to: u64) -> Result<(), CommitError> {
        self.rx.commit(up_to)
    }

    /// Position up to which records are committed.
    pub fn position(&self) -> u64 {
        self.rx.committed()
    }

    /// Position of the next record to read.
    pub fn read_position(&self) -> u64 {
        self.rx.read_position()
    }

    /// Moves the read cursor back to the committed position, so that what was not committed is read again.
    pub fn rewind(&mut self) {
        self.rx.rewind();
    }

    /// How many records are unread, by the producer's cursor loaded anew. Zero when that cursor is impossible; a read
    /// then says so. This is the check to repeat after [`crate::Sleeper::prepare`] or [`crate::Bell::arm`].
    pub fn available(&mut self) -> usize {
        self.rx.refresh().unwrap_or(0) as usize
    }
}
