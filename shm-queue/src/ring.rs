//! The ring itself: cursors and slots over a slice of atomic words, whatever memory that is. No files, no processes,
//! no clock; loom checks this same code.
//!
//! ```text
//!              committed      read           tail_seen       slots later
//!                  ▼           ▼                 ▼               ▼
//!   ░░░░░░░░░░░░░░░▓▓▓▓▓▓▓▓▓▓▓▓▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒░░░░░░░░░░░░░░░░▓▓▓
//!     free         read, not    published         free
//!                  committed
//! ```
//!
//! Positions count records since the mapping was made and never wrap in practice (2^64); the slot of a position is
//! its low bits. Each end keeps its own cursor privately and only stores it to the mapping; of the other end it
//! keeps the value last seen and loads it again only when that is used up.

use std::ops::Deref;

use crate::check::Check;
use crate::crash;
use crate::fault::{CommitError, CorruptCursors, CorruptSlot, PushError, ReadError, SlotFault};
use crate::sync::{AtomicU64, Ordering};

/// Word of the consumer's cursor in a ring's region, alone on its line.
pub(crate) const HEAD_WORD: usize = 0;
/// Word of the producer's cursor, alone on its line.
pub(crate) const TAIL_WORD: usize = 16;
/// First word of the first slot.
pub(crate) const SLOTS_WORD: usize = 32;
/// Words of a slot before its payload: position; length and check.
pub(crate) const SLOT_HEADER_WORDS: usize = 2;

const WORD_BYTES: usize = 8;

/// A ring's size, checked by whoever makes it: `slots` is a power of two, `payload_bytes_max` at least 1.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    slots: u32,
    payload_bytes_max: u32,
    slot_words: usize,
}

impl Shape {
    pub(crate) fn new(slots: u32, payload_bytes_max: u32) -> Shape {
        let slot_words = SLOT_HEADER_WORDS + (payload_bytes_max as usize).div_ceil(WORD_BYTES);
        Shape {
            slots,
            payload_bytes_max,
            slot_words,
        }
    }

    /// Words of the whole ring: both cursor lines and the slots.
    pub(crate) fn region_words(&self) -> usize {
        SLOTS_WORD + self.slots as usize * self.slot_words
    }

    #[inline]
    fn slot<'m>(&self, words: &'m [AtomicU64], position: u64) -> &'m [AtomicU64] {
        let index = (position & u64::from(self.slots - 1)) as usize;
        let start = SLOTS_WORD + index * self.slot_words;
        &words[start..start + self.slot_words]
    }

    /// Loads both cursors and checks that no more than `slots` lie between them.
    fn cursors(&self, words: &[AtomicU64]) -> Result<(u64, u64), CorruptCursors> {
        // SYNC POINT T and H: acquire on both, because the caller may be either end.
        let head = words[HEAD_WORD].load(Ordering::Acquire);
        let tail = words[TAIL_WORD].load(Ordering::Acquire);
        if tail.wrapping_sub(head) > u64::from(self.slots) {
            return Err(CorruptCursors {
                head,
                tail,
                slots: self.slots,
            });
        }
        Ok((head, tail))
    }
}

/// The producing end.
#[derive(Debug)]
pub(crate) struct Tx<M> {
    words: M,
    shape: Shape,
    /// Published up to here; the mapping's tail is a copy of it.
    tail: u64,
    /// The consumer's cursor as last seen; never ahead of it.
    head_seen: u64,
}

impl<M: Deref<Target = [AtomicU64]>> Tx<M> {
    /// Continues where the mapping's tail stands.
    pub(crate) fn resume(words: M, shape: Shape) -> Result<Tx<M>, CorruptCursors> {
        let (head_seen, tail) = shape.cursors(&words)?;
        Ok(Tx {
            words,
            shape,
            tail,
            head_seen,
        })
    }

    pub(crate) fn tail(&self) -> u64 {
        self.tail
    }

    pub(crate) fn head_seen(&self) -> u64 {
        self.head_seen
    }

    /// The consumer's cursor as it stands in the mapping, if it can be one.
    pub(crate) fn head(&self) -> Result<u64, CorruptCursors> {
        // SYNC POINT H: pairs with the release store in `Rx::commit`; the consumer's reads of the slots are over.
        let head = self.words[HEAD_WORD].load(Ordering::Acquire);
        // Between what was seen before and what is published, or it is not a cursor.
        if self.tail.wrapping_sub(head) > self.tail.wrapping_sub(self.head_seen) {
            return Err(CorruptCursors {
                head,
                tail: self.tail,
                slots: self.shape.slots,
            });
        }
        Ok(head)
    }

    /// Loads the consumer's cursor anew; gives how many slots are free.
    pub(crate) fn refresh(&mut self) -> Result<u64, CorruptCursors> {
        self.head_seen = self.head()?;
        Ok(u64::from(self.shape.slots) - self.tail.wrapping_sub(self.head_seen))
    }

    /// Writes one record to the slot of `position` without publishing it.
    #[inline]
    fn write<'a>(&mut self, position: u64, payload: &'a [u8]) -> Result<(), PushError<'a>> {
        if payload.len() > self.shape.payload_bytes_max as usize {
            return Err(PushError::TooLong {
                payload,
                max: self.shape.payload_bytes_max,
            });
        }
        let slots = u64::from(self.shape.slots);
        if position.wrapping_sub(self.head_seen) >= slots {
            self.refresh()
                .map_err(|cursors| PushError::Corrupt { payload, cursors })?;
            if position.wrapping_sub(self.head_seen) >= slots {
                return Err(PushError::Full(payload));
            }
        }
        let slot = self.shape.slot(&self.words, position);
        let length = payload.len() as u32;
        slot[0].store(position, Ordering::Relaxed);
        crash::point("push:slot-header");
        let mut check = Check::new(position, length);
        let (whole, rest) = payload.as_chunks::<WORD_BYTES>();
        let (_, body) = slot.split_at(SLOT_HEADER_WORDS);
        for (bytes, to) in whole.iter().zip(body) {
            let word = u64::from_ne_bytes(*bytes);
            to.store(word, Ordering::Relaxed);
            check = check.word(word);
        }
        if !rest.is_empty() {
            let mut bytes = [0; WORD_BYTES];
            bytes[..rest.len()].copy_from_slice(rest);
            let word = u64::from_ne_bytes(bytes);
            body[whole.len()].store(word, Ordering::Relaxed);
            check = check.word(word);
        }
        slot[1].store(u64::from(length) | u64::from(check.finish()) << 32, Ordering::Relaxed);
        crash::point("push:slot-written");
        Ok(())
    }

    #[inline]
    fn publish(&mut self, tail: u64) {
        self.tail = tail;
        // SYNC POINT T: pairs with the acquire load in `Rx::refresh`; every byte of the records is written.
        self.words[TAIL_WORD].store(tail, Ordering::Release);
    }

    /// Writes and publishes one record; gives its position.
    #[inline]
    pub(crate) fn push<'a>(&mut self, payload: &'a [u8]) -> Result<u64, PushError<'a>> {
        let position = self.tail;
        self.write(position, payload)?;
        self.publish(position.wrapping_add(1));
        crash::point("push:published");
        Ok(position)
    }

    /// Writes records until one is refused, then publishes them all by one store. Gives how many, and the refusal.
    #[inline]
    pub(crate) fn push_batch<'a>(
        &mut self,
        payloads: impl IntoIterator<Item = &'a [u8]>,
    ) -> (usize, Option<PushError<'a>>) {
        let mut next = self.tail;
        let mut refused = None;
        for payload in payloads {
            if let Err(error) = self.write(next, payload) {
                refused = Some(error);
                break;
            }
            next = next.wrapping_add(1);
        }
        let count = next.wrapping_sub(self.tail) as usize;
        if count > 0 {
            crash::point("batch:before-publish");
            self.publish(next);
            crash::point("batch:published");
        }
        (count, refused)
    }
}

/// The consuming end.
#[derive(Debug)]
pub(crate) struct Rx<M> {
    words: M,
    shape: Shape,
    /// Committed up to here; the mapping's head is a copy of it.
    committed: u64,
    /// Read up to here; known to this process alone.
    read: u64,
    /// The producer's cursor as last seen; never ahead of it.
    tail_seen: u64,
    /// The private copy of one payload.
    copy: Box<[u8]>,
}

impl<M: Deref<Target = [AtomicU64]>> Rx<M> {
    /// Continues where the mapping's head stands.
    pub(crate) fn resume(words: M, shape: Shape) -> Result<Rx<M>, CorruptCursors> {
        let (committed, tail_seen) = shape.cursors(&words)?;
        let copy = vec![0; (shape.slot_words - SLOT_HEADER_WORDS) * WORD_BYTES].into_boxed_slice();
        Ok(Rx {
            words,
            shape,
            committed,
            read: committed,
            tail_seen,
            copy,
        })
    }

    pub(crate) fn committed(&self) -> u64 {
        self.committed
    }

    pub(crate) fn read_position(&self) -> u64 {
        self.read
    }

    pub(crate) fn rewind(&mut self) {
        self.read = self.committed;
    }

    fn unread_seen(&self) -> u64 {
        self.tail_seen.wrapping_sub(self.read)
    }

    /// Loads the producer's cursor anew; gives how many records are unread.
    pub(crate) fn refresh(&mut self) -> Result<u64, CorruptCursors> {
        // SYNC POINT T: pairs with the release store in `Tx::publish`.
        let tail = self.words[TAIL_WORD].load(Ordering::Acquire);
        let ahead = tail.wrapping_sub(self.committed);
        if ahead > u64::from(self.shape.slots) || ahead < self.tail_seen.wrapping_sub(self.committed) {
            return Err(CorruptCursors {
                head: self.committed,
                tail,
                slots: self.shape.slots,
            });
        }
        self.tail_seen = tail;
        Ok(self.unread_seen())
    }

    /// Copies the record at the read cursor into `copy` and checks the copy; gives its length in bytes.
    #[inline]
    fn copy_next(&mut self) -> Result<usize, CorruptSlot> {
        let position = self.read;
        let corrupt = |fault| CorruptSlot { position, fault };
        let slot = self.shape.slot(&self.words, position);
        let tag = slot[0].load(Ordering::Relaxed);
        let stamp = slot[1].load(Ordering::Relaxed);
        let (length, found) = (stamp as u32, (stamp >> 32) as u32);
        if tag != position {
            return Err(corrupt(SlotFault::Position { found: tag }));
        }
        if length > self.shape.payload_bytes_max {
            return Err(corrupt(SlotFault::Length {
                found: length,
                max: self.shape.payload_bytes_max,
            }));
        }
        let words = (length as usize).div_ceil(WORD_BYTES);
        let mut check = Check::new(position, length);
        let (to, _) = self.copy.as_chunks_mut::<WORD_BYTES>();
        for (to, from) in to.iter_mut().zip(&slot[SLOT_HEADER_WORDS..SLOT_HEADER_WORDS + words]) {
            let word = from.load(Ordering::Relaxed);
            *to = word.to_ne_bytes();
            check = check.word(word);
        }
        let expected = check.finish();
        if found != expected {
            return Err(corrupt(SlotFault::Check { found, expected }));
        }
        crash::point("read:copied");
        Ok(length as usize)
    }

    /// The next unread record, left unread.
    #[inline]
    pub(crate) fn peek(&mut self) -> Result<Option<(u64, &[u8])>, ReadError> {
        if self.unread_seen() == 0 && self.refresh()? == 0 {
            return Ok(None);
        }
        let length = self.copy_next()?;
        Ok(Some((self.read, &self.copy[..length])))
    }

    /// Reads up to `max` records and moves the read cursor past them. Stops before a corrupt slot; when that is the
    /// first one, it is the error.
    #[inline]
    pub(crate) fn read_batch(&mut self, max: usize, mut f: impl FnMut(u64, &[u8])) -> Result<usize, ReadError> {
        let mut unread = self.unread_seen();
        if unread < max as u64 {
            unread = self.refresh()?;
        }
        let count = unread.min(max as u64) as usize;
        for done in 0..count {
            match self.copy_next() {
                Ok(length) => {
                    let position = self.read;
                    self.read = position.wrapping_add(1);
                    f(position, &self.copy[..length]);
                }
                Err(error) if done == 0 => return Err(error.into()),
                Err(_) => return Ok(done),
            }
        }
        Ok(count)
    }

    /// Moves the read cursor past the next record if that one is corrupt, and says what was wrong with it.
    pub(crate) fn skip_corrupt(&mut self) -> Result<Option<CorruptSlot>, CorruptCursors> {
        if self.unread_seen() == 0 && self.refresh()? == 0 {
            return Ok(None);
        }
        let Err(corrupt) = self.copy_next() else {
            return Ok(None);
        };
        self.read = self.read.wrapping_add(1);
        Ok(Some(corrupt))
    }

    /// Gives the slots before `up_to` back to the producer.
    #[inline]
    pub(crate) fn commit(&mut self, up_to: u64) -> Result<(), CommitError> {
        let step = up_to.wrapping_sub(self.committed);
        if step == 0 {
            return Ok(());
        }
        if step > self.tail_seen.wrapping_sub(self.committed) {
            // Past what was seen: a restarted owner may know from its own records that it got further.
            let refreshed = self.refresh();
            if refreshed.is_err() || step > self.tail_seen.wrapping_sub(self.committed) {
                return Err(CommitError {
                    up_to,
                    committed: self.committed,
                    published: self.tail_seen,
                });
            }
        }
        if step > self.read.wrapping_sub(self.committed) {
            self.read = up_to;
        }
        self.committed = up_to;
        crash::point("commit:before-store");
        // SYNC POINT H: pairs with the acquire load in `Tx::head`; all reads of the slots happen before it.
        self.words[HEAD_WORD].store(up_to, Ordering::Release);
        crash::point("commit:stored");
        Ok(())
    }
}
