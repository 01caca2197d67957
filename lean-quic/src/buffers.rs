//! The two ends of a byte stream, for CRYPTO as for STREAM frames: what goes out until it is acknowledged, and what
//! comes in until it is in order. Both are bounded by what they are made with.

use super::ranges::Ranges;
use std::ops::Range;

/// Bytes that go out.
///
/// The end of a stream counts as one more position behind its last byte, so that a FIN is sent, lost and acknowledged
/// as any byte is.
#[derive(Debug, Default)]
pub(super) struct SendBuffer {
    data: Vec<u8>,
    pending: Ranges,
    acknowledged: Ranges,
    end: u32,
}

impl SendBuffer {
    /// All bytes of a stream, and its end.
    pub(super) fn with_end(data: &[u8]) -> Self {
        let mut buffer = Self::default();
        buffer.push(data);
        buffer.pending.insert(buffer.end..buffer.end + 1);
        buffer.end += 1;
        buffer
    }

    /// Appends.
    pub(super) fn push(&mut self, data: &[u8]) {
        self.data.extend_from_slice(data);
        let end = self.end + data.len() as u32;
        self.pending.insert(self.end..end);
        self.end = end;
    }

    /// The next positions to send, below `limit`.
    pub(super) fn next(&self, limit: u32) -> Option<Range<u32>> {
        let first = self.pending.first()?;
        let last_byte = self.data.len() as u32;
        // The end costs no flow control credit (RFC 9000, section 4.1), so it may follow the last byte at any limit.
        let end = if limit >= last_byte {
            first.end
        } else {
            first.end.min(limit)
        };
        (first.start < end).then_some(first.start..end)
    }

    /// The bytes at these positions, and whether the end is among them.
    pub(super) fn bytes(&self, range: &Range<u32>) -> (&[u8], bool) {
        let last_byte = self.data.len() as u32;
        let bytes = &self.data[range.start.min(last_byte) as usize..range.end.min(last_byte) as usize];
        (bytes, range.end > last_byte)
    }

    pub(super) fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    pub(super) fn on_sent(&mut self, range: Range<u32>) {
        self.pending.remove(range);
    }

    pub(super) fn on_acknowledged(&mut self, range: Range<u32>) {
        self.pending.remove(range.clone());
        self.acknowledged.insert(range);
    }

    pub(super) fn on_lost(&mut self, range: Range<u32>) {
        self.pending.insert_except(range, &self.acknowledged);
    }

    pub(super) fn is_acknowledged(&self) -> bool {
        self.acknowledged.covers(&(0..self.end))
    }

    /// Everything is to be sent once more, as if nothing had been.
    pub(super) fn restart(&mut self) {
        self.pending.insert_except(0..self.end, &self.acknowledged);
    }
}

/// What does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Overflow;

/// Pieces that may lie between gaps at one time. A server cannot make us keep a range for every second byte.
const PIECES_MAX: usize = 64;

/// Bytes that come in, in any order and any number of times.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    /// From `taken` on.
    data: Vec<u8>,
    received: Ranges,
    /// Position up to which the bytes have been handed on.
    taken: u32,
}

impl Assembler {
    /// Takes a piece. `window` is how far it may reach beyond what was taken.
    pub(super) fn insert(&mut self, offset: u64, data: &[u8], window: u32) -> Result<(), Overflow> {
        let end = offset + data.len() as u64;
        if end > u64::from(self.taken) + u64::from(window) {
            return Err(Overflow);
        }
        let (offset, end) = (offset as u32, end as u32); // below 2^32 by the check above: windows are small
        let start = offset.max(self.taken);
        if start >= end {
            return Ok(());
        }
        let (from, to) = ((start - self.taken) as usize, (end - self.taken) as usize);
        if self.data.len() < to {
            self.data.resize(to, 0);
        }
        self.data[from..to].copy_from_slice(&data[(start - offset) as usize..]);
        self.received.insert(start..end);
        if self.received.count() > PIECES_MAX {
            return Err(Overflow);
        }
        Ok(())
    }

    /// Position up to which all bytes have come.
    pub(super) fn contiguous(&self) -> u32 {
        match self.received.first() {
            Some(first) if first.start <= self.taken => first.end,
            _ => self.taken,
        }
    }

    /// Takes the bytes that are in order.
    pub(super) fn take(&mut self) -> Vec<u8> {
        let to = self.contiguous();
        let rest = self.data.split_off((to - self.taken) as usize);
        self.received.remove(self.taken..to);
        self.taken = to;
        std::mem::replace(&mut self.data, rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_end_needs_no_credit_and_is_sent_again_when_lost() {
        let mut buffer = SendBuffer::with_end(b"abc");
        assert_eq!(buffer.next(2), Some(0..2));
        buffer.on_sent(0..2);
        assert_eq!(buffer.next(2), None);
        assert_eq!(buffer.next(3), Some(2..4));
        assert_eq!(buffer.bytes(&(2..4)), (&b"c"[..], true));
        buffer.on_sent(2..4);
        buffer.on_acknowledged(0..3);
        assert!(!buffer.is_acknowledged());
        buffer.on_lost(2..4);
        assert_eq!(buffer.next(3), Some(3..4));
        buffer.on_acknowledged(3..4);
        assert!(buffer.is_acknowledged() && !buffer.has_pending());
    }

    proptest! {
        #[test]
        fn pieces_in_any_order_come_out_in_order(seed in prop::collection::vec((0_usize..60, 1_usize..20), 1..60)) {
            let whole: Vec<u8> = (0..64).collect();
            let mut assembler = Assembler::default();
            let mut got = Vec::new();
            for (start, length) in seed.into_iter().chain([(0, 64)]) {
                let end = (start + length).min(64);
                prop_assert_eq!(assembler.insert(start as u64, &whole[start..end], 64), Ok(()));
                got.extend(assembler.take());
                prop_assert_eq!(&got[..], &whole[..got.len()]);
            }
            prop_assert_eq!(got, whole);
            prop_assert_eq!(assembler.insert(64, &[0; 65], 64), Err(Overflow));
        }
    }
}
