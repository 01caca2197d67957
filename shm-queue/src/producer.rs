//! The producing end of a ring as callers hold it. It never waits for the consumer.

use crate::attach::Claim;
use crate::fault::PushError;
use crate::memory::Region;
use crate::ring::Tx;

/// The one handle that pushes into a ring. Dropping it frees the ring's end for another handle of the same attachment.
#[derive(Debug)]
pub struct Producer {
    tx: Tx<Region>,
    _claim: Claim,
}

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a batch may go in only in part"]
pub struct Pushed<'a> {
    /// Position of the first record that went in (of the next one, when none did).
    pub first: u64,
    /// How many records went in; all of them are published.
    pub count: usize,
    /// Why the batch ended early, with the payload that was refused; those after it are still in the caller's iterator
    /// (pass it `by_ref`). `None` when all went in.
    pub refused: Option<PushError<'a>>,
}

impl Producer {
    pub(crate) fn new(tx: Tx<Region>, claim: Claim) -> Producer {
        Producer { tx, _claim: claim }
    }

    /// Publishes one record and gives its position.
    ///
    /// # Errors
    /// [`PushError::Full`] when every slot is taken, [`PushError::TooLong`], or [`PushError::Corrupt`] when the consumer's
    /// cursor is impossible. Each gives the payload back; nothing was published.
    #[inline]
    pub fn push<'a>(&mut self, payload: &'a [u8]) -> Result<u64, PushError<'a>> {
        self.tx.push(payload)
    }

    /// Publishes records until one is refused or there are no more, all by one release store: the consumer sees none of
    /// them or all of them.
    #[inline]
    pub fn push_batch<'a, I>(&mut self, payloads: I) -> Pushed<'a>
    where
        I: IntoIterator<Item = &'a [u8]>,
    {
        let first = self.tx.tail();
        let (count, refused) = self.tx.push_batch(payloads);
        Pushed { first, count, refused }
    }

    /// How many more records go in now, by the consumer's cursor loaded anew. Zero when that cursor is impossible; a push
    /// then says so.
    pub fn free(&mut self) -> usize {
        self.tx.refresh().unwrap_or(0) as usize
    }

    /// Position of the next record: how many were ever pushed into this ring, by this process and those before it.
    pub fn position(&self) -> u64 {
        self.tx.tail()
    }

    /// Position up to which the consumer has committed, loaded anew. When the cursor in the mapping is impossible, the
    /// last possible one that was seen.
    pub fn consumed(&self) -> u64 {
        self.tx.head().unwrap_or(self.tx.head_seen())
    }
}
