//! Packets on their way in and out, many to a system call, in buffers that are used again. Nothing here knows the kernel.

use quinn_proto::EcnCodepoint;
use std::net::{IpAddr, SocketAddr};

/// Packets in one system call, which are then handled together, and whose sessions so are put to sleep while they are
/// near. With 64 a shake of 150,000 sessions took up to 3 % more.
pub const BATCH: usize = 32;
/// The most bytes of a UDP payload that we take. QUIC packets of our clients are smaller; the rest is cut off and
/// fails authentication.
pub const PACKET_BYTES_MAX: usize = 1_500;

/// One packet that came in.
pub struct Received<'a> {
    /// Where it came from.
    pub remote: SocketAddr,
    /// Where it was sent to, if the socket tells it.
    pub local_ip: Option<IpAddr>,
    /// How its sender or the network marked it: acknowledgements count such packets (RFC 9000, section 13.4.1).
    pub mark: Option<EcnCodepoint>,
    /// All of it.
    pub bytes: &'a [u8],
}

/// What is known of a packet that came in, besides its bytes.
#[derive(Clone, Copy, Default)]
pub struct PacketInfo {
    /// How many bytes it had.
    pub len: u32,
    /// Where it came from; none when that was no internet address.
    pub remote: Option<SocketAddr>,
    /// Where it was sent to, if the socket tells it.
    pub local_ip: Option<IpAddr>,
    /// How its sender or the network marked it.
    pub mark: Option<EcnCodepoint>,
}

/// Packets that came in together.
pub struct RecvBatch {
    buffers: Box<[[u8; PACKET_BYTES_MAX]]>,
    packets: Box<[PacketInfo]>,
    len: usize,
    received_at_ns: Option<u64>,
}

impl RecvBatch {
    /// An empty one.
    pub(crate) fn new() -> Self {
        Self {
            buffers: vec![[0; PACKET_BYTES_MAX]; BATCH].into(),
            packets: [PacketInfo::default(); BATCH].into(),
            len: 0,
            received_at_ns: None,
        }
    }

    /// How many packets there are.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Where packets are to be written to, the first into the first.
    pub fn buffers(&mut self) -> &mut [[u8; PACKET_BYTES_MAX]] {
        &mut self.buffers
    }

    /// Takes packets that were written into [`Self::buffers`], in place of those that it had. `received_at_ns` is when the first
    /// came, in nanoseconds since 1970 by the wall clock.
    pub fn fill(&mut self, received_at_ns: Option<u64>, packets: impl Iterator<Item = PacketInfo>) {
        self.received_at_ns = received_at_ns;
        self.len = 0;
        for (place, packet) in self.packets.iter_mut().zip(packets) {
            *place = packet;
            self.len += 1;
        }
    }

    /// When the first packet came, which has waited the longest: nanoseconds since 1970. Only this one is looked at,
    /// because the others differ from it by no more than the batch is long. `None` for an empty batch.
    pub fn received_at_ns(&self) -> Option<u64> {
        self.received_at_ns.filter(|_| self.len > 0)
    }

    /// A packet, `at` being below [`Self::len`]; `None` when it came from no internet address.
    #[inline]
    pub fn packet(&self, at: usize) -> Option<Received<'_>> {
        let PacketInfo {
            remote, local_ip, mark, ..
        } = self.packets[at];
        Some(Received {
            remote: remote?,
            local_ip,
            mark,
            bytes: self.bytes(at),
        })
    }

    /// The bytes of the same packet.
    #[inline]
    pub fn bytes(&self, at: usize) -> &[u8] {
        &self.buffers[at][..(self.packets[at].len as usize).min(PACKET_BYTES_MAX)]
    }
}

/// A packet to send.
pub struct Outgoing<'a> {
    /// Where to.
    pub remote: SocketAddr,
    /// Where it is to leave from, if that matters.
    pub local_ip: Option<IpAddr>,
    /// All of it.
    pub bytes: &'a [u8],
}

/// Packets to send, each in a buffer of its own that is used again.
pub struct SendBatch {
    buffers: Vec<Vec<u8>>,
    to: Vec<(SocketAddr, Option<IpAddr>)>,
    len: usize,
}

impl SendBatch {
    /// An empty one.
    pub(crate) fn new() -> Self {
        Self {
            buffers: (0..BATCH).map(|_| Vec::with_capacity(PACKET_BYTES_MAX)).collect(),
            to: vec![(SocketAddr::from(([0, 0, 0, 0], 0)), None); BATCH],
            len: 0,
        }
    }

    /// Whether it takes no more.
    pub fn is_full(&self) -> bool {
        self.len == BATCH
    }

    /// How many packets there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The empty buffer for the next packet. The batch must not be full.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        let buffer = &mut self.buffers[self.len];
        buffer.clear();
        buffer
    }

    /// Takes the packet that was written into [`Self::buffer`].
    pub fn push(&mut self, transmit: &quinn_proto::Transmit) {
        self.buffers[self.len].truncate(transmit.size);
        self.to[self.len] = (transmit.destination, transmit.src_ip);
        self.len += 1;
    }

    /// The packets, in order.
    pub fn packets(&self) -> impl ExactSizeIterator<Item = Outgoing<'_>> {
        let packets = self.buffers[..self.len].iter().zip(&self.to);
        packets.map(|(bytes, &(remote, local_ip))| Outgoing {
            remote,
            local_ip,
            bytes,
        })
    }

    /// They are sent.
    pub fn clear(&mut self) {
        self.len = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(len: u32, port: Option<u16>) -> PacketInfo {
        PacketInfo {
            len,
            remote: port.map(|port| SocketAddr::from(([192, 0, 2, 1], port))),
            ..PacketInfo::default()
        }
    }

    #[test]
    fn a_batch_has_what_it_was_filled_with_last() {
        let mut batch = RecvBatch::new();
        assert_eq!((batch.len(), batch.received_at_ns()), (0, None));
        for (at, buffer) in batch.buffers().iter_mut().enumerate() {
            buffer.fill(at as u8);
        }
        batch.fill(Some(7), [info(3, Some(1)), info(9_000, None)].into_iter());
        assert_eq!((batch.len(), batch.received_at_ns()), (2, Some(7)));
        let first = batch.packet(0).expect("it has an address");
        assert_eq!((first.remote.port(), first.bytes), (1, &[0; 3][..]));
        assert!(batch.packet(1).is_none());
        assert_eq!(batch.bytes(1), [1; PACKET_BYTES_MAX], "the rest was cut off");
        batch.fill(Some(8), std::iter::repeat_n(info(1, Some(2)), BATCH + 1));
        assert_eq!(batch.len(), BATCH);
        batch.fill(Some(9), std::iter::empty());
        assert_eq!((batch.len(), batch.received_at_ns()), (0, None));
    }

    #[test]
    fn packets_to_send_keep_their_order_and_their_size() {
        let mut batch = SendBatch::new();
        for size in 1..=3 {
            batch.buffer().extend_from_slice(&[size; 8]);
            batch.push(&quinn_proto::Transmit {
                destination: SocketAddr::from(([192, 0, 2, 1], size.into())),
                ecn: None,
                size: size.into(),
                segment_size: None,
                src_ip: None,
            });
        }
        let sizes: Vec<_> = batch
            .packets()
            .map(|packet| (packet.remote.port(), packet.bytes.len()))
            .collect();
        assert_eq!(sizes, [(1, 1), (2, 2), (3, 3)]);
        batch.clear();
        assert_eq!((batch.len(), batch.buffer().len()), (0, 0));
    }
}
