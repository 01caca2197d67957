//! Reading and writing of QUIC's fields: fixed bytes and variable-length integers (RFC 9000, section 16).
//!
//! ```text
//! first two bits   bytes   largest value
//!      00            1     63
//!      01            2     16,383
//!      10            4     1,073,741,823
//!      11            8     4,611,686,018,427,387,903
//! ```
//! A reader never reads past its end. A writer is given room by its caller, who asks [`Writer::room`] first.

/// The largest value of a variable-length integer.
pub(super) const VARINT_MAX: u64 = (1 << 62) - 1;

/// The field is cut short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Truncated;

/// Walks over received bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Bytes not read yet.
    pub(super) fn remaining(&self) -> usize {
        self.rest.len()
    }

    pub(super) fn u8(&mut self) -> Result<u8, Truncated> {
        let (&first, rest) = self.rest.split_first().ok_or(Truncated)?;
        self.rest = rest;
        Ok(first)
    }

    pub(super) fn bytes(&mut self, count: u64) -> Result<&'a [u8], Truncated> {
        let count = usize::try_from(count).map_err(|_| Truncated)?;
        let (bytes, rest) = self.rest.split_at_checked(count).ok_or(Truncated)?;
        self.rest = rest;
        Ok(bytes)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Truncated> {
        let (bytes, rest) = self.rest.split_first_chunk::<N>().ok_or(Truncated)?;
        self.rest = rest;
        Ok(*bytes)
    }

    /// All that is left.
    pub(super) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    pub(super) fn varint(&mut self) -> Result<u64, Truncated> {
        let first = *self.rest.first().ok_or(Truncated)?;
        let length = 1_u64 << (first >> 6);
        let bytes = self.bytes(length)?;
        let tail = bytes[1..].iter().fold(0, |value, &byte| value << 8 | u64::from(byte));
        Ok(u64::from(first & 0x3f) << (8 * (length - 1)) | tail)
    }

    /// Bytes with their count before them.
    pub(super) fn counted(&mut self) -> Result<&'a [u8], Truncated> {
        let count = self.varint()?;
        self.bytes(count)
    }
}

/// How many bytes the value takes.
pub(super) const fn varint_bytes(value: u64) -> usize {
    match value {
        0..=0x3f => 1,
        0x40..=0x3fff => 2,
        0x4000..=0x3fff_ffff => 4,
        _ => 8,
    }
}

/// Writes into a buffer with known room.
#[derive(Debug)]
pub(super) struct Writer<'a> {
    buffer: &'a mut [u8],
    at: usize,
}

impl<'a> Writer<'a> {
    pub(super) fn new(buffer: &'a mut [u8]) -> Self {
        Self { buffer, at: 0 }
    }

    /// The whole buffer, with what was written at its start.
    pub(super) fn into_buffer(self) -> &'a mut [u8] {
        self.buffer
    }

    /// Bytes written.
    pub(super) fn written(&self) -> usize {
        self.at
    }

    /// Bytes that can still be written.
    pub(super) fn room(&self) -> usize {
        self.buffer.len() - self.at
    }

    pub(super) fn u8(&mut self, value: u8) {
        self.buffer[self.at] = value;
        self.at += 1;
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.buffer[self.at..self.at + bytes.len()].copy_from_slice(bytes);
        self.at += bytes.len();
    }

    pub(super) fn zeroes(&mut self, count: usize) {
        self.buffer[self.at..self.at + count].fill(0);
        self.at += count;
    }

    /// The value must be at most [`VARINT_MAX`]; the bits above are cut.
    pub(super) fn varint(&mut self, value: u64) {
        match varint_bytes(value) {
            1 => self.u8(value as u8),
            2 => self.bytes(&(value as u16 | 0x4000).to_be_bytes()),
            4 => self.bytes(&(value as u32 | 0x8000_0000).to_be_bytes()),
            _ => self.bytes(&(value & VARINT_MAX | 0xc000_0000_0000_0000).to_be_bytes()),
        }
    }

    /// Bytes with their count before them.
    pub(super) fn counted(&mut self, bytes: &[u8]) {
        self.varint(bytes.len() as u64);
        self.bytes(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The samples of RFC 9000, appendix A.1.
    #[test]
    fn the_samples_of_the_rfc_decode() {
        let samples: [(&[u8], u64); 5] = [
            (
                &[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c],
                151_288_809_941_952_652,
            ),
            (&[0x9d, 0x7f, 0x3e, 0x7d], 494_878_333),
            (&[0x7b, 0xbd], 15_293),
            (&[0x25], 37),
            (&[0x40, 0x25], 37),
        ];
        for (bytes, value) in samples {
            let mut reader = Reader::new(bytes);
            assert_eq!((reader.varint(), reader.is_empty()), (Ok(value), true));
            assert_eq!(Reader::new(&bytes[..bytes.len() - 1]).varint(), Err(Truncated));
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(value in 0..=VARINT_MAX, shift in 0_u32..62, bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let value = value >> shift;
            let mut buffer = [0; 128];
            let mut writer = Writer::new(&mut buffer);
            writer.varint(value);
            prop_assert_eq!(writer.written(), varint_bytes(value));
            writer.counted(&bytes);
            let written = writer.written();
            let mut reader = Reader::new(&buffer[..written]);
            prop_assert_eq!(reader.varint(), Ok(value));
            prop_assert_eq!(reader.counted(), Ok(&bytes[..]));
            prop_assert!(reader.is_empty());
        }
    }
}
