//! Packets on their way in and out, many to a system call, in buffers that are used again.

use super::address::{CONTROL_BYTES, from_storage, local_ip_and_mark, put_local_ip, received_at_ns, to_storage};
use super::{BATCH, PACKET_BYTES_MAX, Received};
use libc::{iovec, mmsghdr, sockaddr_storage, socklen_t};
use std::mem;
use std::net::{IpAddr, SocketAddr};
use std::ptr;

/// What a message header points at besides the bytes. Boxed, so that nothing moves.
#[repr(C, align(8))]
struct Slot {
    control: [u8; CONTROL_BYTES],
    address: sockaddr_storage,
    iov: iovec,
}

pub struct ReceiveBatch {
    pub(super) headers: Box<[mmsghdr]>,
    slots: Box<[Slot]>,
    buffers: Box<[[u8; PACKET_BYTES_MAX]]>,
    pub(super) len: usize,
}

impl ReceiveBatch {
    pub fn new() -> Self {
        Self {
            headers: zeroed_boxes(),
            slots: zeroed_boxes(),
            buffers: zeroed_boxes(),
            len: 0,
        }
    }

    /// How many packets there are.
    pub fn len(&self) -> usize {
        self.len
    }

    pub(super) fn prepare(&mut self) {
        for ((header, slot), buffer) in self.headers.iter_mut().zip(&mut self.slots).zip(&mut self.buffers) {
            slot.iov = iovec {
                iov_base: buffer.as_mut_ptr().cast(),
                iov_len: PACKET_BYTES_MAX,
            };
            let header = &mut header.msg_hdr;
            header.msg_name = ptr::from_mut(&mut slot.address).cast();
            header.msg_namelen = mem::size_of::<sockaddr_storage>() as socklen_t;
            header.msg_iov = &mut slot.iov;
            header.msg_iovlen = 1;
            header.msg_control = slot.control.as_mut_ptr().cast();
            header.msg_controllen = CONTROL_BYTES as _;
        }
    }

    /// When the kernel received the first packet, which has waited the longest: nanoseconds since 1970. Only this one is
    /// looked at, because the others differ from it by no more than the batch is long. `None` for an empty batch.
    pub fn received_at_ns(&self) -> Option<u64> {
        let first = self.headers.first().filter(|_| self.len > 0)?;
        received_at_ns(&first.msg_hdr)
    }

    /// A packet, `at` being below [`ReceiveBatch::len`]; `None` when it came from no internet address.
    pub fn packet(&self, at: usize) -> Option<Received<'_>> {
        let (local_ip, mark) = local_ip_and_mark(&self.headers[at].msg_hdr);
        Some(Received {
            remote: from_storage(&self.slots[at].address)?,
            local_ip,
            mark,
            bytes: self.bytes(at),
        })
    }

    /// The bytes of the same packet.
    pub fn bytes(&self, at: usize) -> &[u8] {
        let len = (self.headers[at].msg_len as usize).min(PACKET_BYTES_MAX);
        &self.buffers[at][..len]
    }
}

/// Packets to send, each in a buffer of its own that is used again.
pub struct SendBatch {
    pub(super) headers: Box<[mmsghdr]>,
    slots: Box<[Slot]>,
    buffers: Vec<Vec<u8>>,
    to: Vec<(SocketAddr, Option<IpAddr>)>,
    pub(super) len: usize,
}

impl SendBatch {
    pub fn new() -> Self {
        Self {
            headers: zeroed_boxes(),
            slots: zeroed_boxes(),
            buffers: (0..BATCH).map(|_| Vec::with_capacity(PACKET_BYTES_MAX)).collect(),
            to: vec![(SocketAddr::from(([0, 0, 0, 0], 0)), None); BATCH],
            len: 0,
        }
    }

    pub fn is_full(&self) -> bool {
        self.len == BATCH
    }

    pub fn len(&self) -> usize {
        self.len
    }

    /// The empty buffer for the next packet. The batch must not be full.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        let buffer = &mut self.buffers[self.len];
        buffer.clear();
        buffer
    }

    /// Takes the packet that was written into [`SendBatch::buffer`].
    pub fn push(&mut self, transmit: &quinn_proto::Transmit) {
        self.buffers[self.len].truncate(transmit.size);
        self.to[self.len] = (transmit.destination, transmit.src_ip);
        self.len += 1;
    }

    pub(super) fn prepare(&mut self, is_ipv6: bool) {
        let parts = self
            .headers
            .iter_mut()
            .zip(&mut self.slots)
            .zip(&mut self.buffers)
            .zip(&self.to);
        for (((header, slot), buffer), (remote, local_ip)) in parts.take(self.len) {
            let (address, address_len) = to_storage(*remote);
            slot.address = address;
            slot.iov = iovec {
                iov_base: buffer.as_mut_ptr().cast(),
                iov_len: buffer.len(),
            };
            let header = &mut header.msg_hdr;
            header.msg_name = ptr::from_mut(&mut slot.address).cast();
            header.msg_namelen = address_len;
            header.msg_iov = &mut slot.iov;
            header.msg_iovlen = 1;
            header.msg_control = slot.control.as_mut_ptr().cast();
            header.msg_controllen = CONTROL_BYTES as _;
            let used = local_ip.map_or(0, |ip| put_local_ip(header, ip, is_ipv6));
            header.msg_controllen = used as _;
            if used == 0 {
                header.msg_control = ptr::null_mut();
            }
        }
    }
}

fn zeroed_boxes<T>() -> Box<[T]> {
    // SAFETY: used for mmsghdr, Slot and byte arrays only: integers and raw pointers, for which zero is valid.
    (0..BATCH).map(|_| unsafe { mem::zeroed() }).collect()
}
