//! What an honest client never sends: packets with frames of the caller's choosing, sealed as good ones. The hostile
//! clients are made of it; the engine does not use it.

use super::super::DATAGRAM_BYTES;
use super::super::cid::{Cid, LocalCid};
use super::super::header::Level;
use super::super::keys;
use super::super::packet::{LONG_OVERHEAD_BYTES_MAX, Packet, SHORT_OVERHEAD_BYTES_MAX};
use super::Connection;

impl Connection {
    /// A 1-RTT packet of this session with these frames, as they stand on the wire. Its number is used up, and nobody
    /// waits for its acknowledgement. `None` before the handshake is over, and for more than fits into one datagram.
    pub fn seal_frames(&mut self, frames: &[u8], buffer: &mut [u8; DATAGRAM_BYTES]) -> Option<usize> {
        let keys = self.keys.as_ref()?;
        if frames.len() + SHORT_OVERHEAD_BYTES_MAX > buffer.len() {
            return None;
        }
        let mut packet = Packet::short(buffer, self.cids.current(), keys.phase, self.space.next_number());
        packet.writer().bytes(frames);
        let length = packet.seal(&keys.local);
        self.space.on_sent_unasked();
        Some(length)
    }

    /// The number that the server's next 1-RTT packet should have.
    #[must_use]
    pub fn next_expected(&self) -> u64 {
        self.space.received.expected()
    }
}

/// A client's Initial packet with these frames, padded to a whole datagram. Its keys come from `destination`, which
/// has 8 to 20 bytes (RFC 9001, section 5.2). `None` when the frames do not fit.
pub fn seal_initial(
    (destination, source): (&[u8], LocalCid),
    number: u64,
    frames: &[u8],
    buffer: &mut [u8; DATAGRAM_BYTES],
) -> Option<usize> {
    if frames.len() + LONG_OVERHEAD_BYTES_MAX > buffer.len() {
        return None;
    }
    let destination = Cid::new(destination)?;
    let keys = keys::initial(destination.as_slice());
    let mut packet = Packet::long(buffer, Level::Initial, (&destination, &source), &[], number);
    packet.writer().bytes(frames);
    packet.pad();
    Some(packet.seal(&keys.local))
}
