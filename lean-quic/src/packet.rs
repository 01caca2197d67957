//! A packet being written: header, frames, then protection, in one pass over the datagram's buffer.

use super::cid::{Cid, LocalCid};
use super::header::{self, Level, NUMBER_BYTES};
use super::keys::{Keys, TAG_BYTES};
use super::space::Content;
use super::varint::Writer;

/// Bytes that a packet takes besides its frames: the longest short header and the tag.
pub(super) const SHORT_OVERHEAD_BYTES_MAX: usize = 1 + super::cid::CID_BYTES_MAX + NUMBER_BYTES + TAG_BYTES;
/// The same for a long header without token.
pub(super) const LONG_OVERHEAD_BYTES_MAX: usize = header::LONG_HEADER_BYTES_MAX + TAG_BYTES;

/// A packet that is open for frames.
pub(super) struct Packet<'a> {
    writer: Writer<'a>,
    length_at: Option<usize>,
    number_at: usize,
    payload_at: usize,
    number: u64,
    /// What must arrive of it.
    pub(super) contents: Vec<Content>,
    /// Whether it asks for an acknowledgement.
    pub(super) is_eliciting: bool,
}

impl<'a> Packet<'a> {
    /// `buffer` has room for [`LONG_OVERHEAD_BYTES_MAX`] and the token at the least.
    pub(super) fn long(
        buffer: &'a mut [u8],
        level: Level,
        (dcid, scid): (&Cid, &LocalCid),
        token: &[u8],
        number: u64,
    ) -> Self {
        let mut writer = Writer::new(buffer);
        let length_at = header::write_long(&mut writer, level, dcid, scid, token);
        Self::new(writer, Some(length_at), number)
    }

    /// `buffer` has room for [`SHORT_OVERHEAD_BYTES_MAX`] at the least.
    pub(super) fn short(buffer: &'a mut [u8], dcid: &Cid, phase: bool, number: u64) -> Self {
        let mut writer = Writer::new(buffer);
        header::write_short(&mut writer, dcid, phase);
        Self::new(writer, None, number)
    }

    fn new(mut writer: Writer<'a>, length_at: Option<usize>, number: u64) -> Self {
        let number_at = writer.written();
        writer.bytes(&(number as u32).to_be_bytes());
        Self {
            length_at,
            number_at,
            payload_at: writer.written(),
            number,
            contents: Vec::new(),
            is_eliciting: false,
            writer,
        }
    }

    /// Bytes that frames may still take.
    pub(super) fn room(&self) -> usize {
        self.writer.room().saturating_sub(TAG_BYTES)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.writer.written() == self.payload_at
    }

    /// To write a frame for which there is [`room`](Self::room).
    pub(super) fn writer(&mut self) -> &mut Writer<'a> {
        &mut self.writer
    }

    /// To write a frame that asks for an acknowledgement, and what must arrive of it.
    pub(super) fn eliciting(&mut self, content: Option<Content>) -> &mut Writer<'a> {
        self.is_eliciting = true;
        self.contents.extend(content);
        &mut self.writer
    }

    /// Fills the packet up with PADDING.
    pub(super) fn pad(&mut self) {
        self.writer.zeroes(self.room());
    }

    /// Protects the packet; gives its length.
    pub(super) fn seal(self, keys: &Keys) -> usize {
        let end = self.writer.written() + TAG_BYTES;
        let buffer = self.writer.into_buffer();
        if let Some(at) = self.length_at {
            // The length counts from the packet number on (RFC 9000, section 17.2).
            buffer[at..at + 2].copy_from_slice(&header::length_field(end - self.number_at));
        }
        keys.protect(&mut buffer[..end], self.number_at, self.payload_at, self.number);
        end
    }
}

/// A packet opened: its number, and where its frames are.
pub(super) struct Opened {
    pub(super) number: u64,
    pub(super) payload_at: usize,
    pub(super) payload_end: usize,
}

/// Removes header protection; gives the number and where the payload starts, or `None` when there is no sample.
pub(super) fn unmask(keys: &Keys, packet: &mut [u8], number_at: usize, expected: u64) -> Option<(u64, usize)> {
    let length = keys.header.unmask(packet, number_at)?;
    let low = packet[number_at..number_at + length]
        .iter()
        .fold(0, |number, &byte| number << 8 | u64::from(byte));
    let number = header::expand_number(expected, low, 8 * length as u32);
    Some((number, number_at + length))
}
