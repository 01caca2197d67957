//! Message headers as recvmmsg(2) and sendmmsg(2) take them: one set for each direction of a socket, pointed anew at the
//! packets of each call.

use super::address::{CONTROL_BYTES, from_storage, local_ip_and_mark, put_local_ip, received_at_ns, to_storage};
use crate::batch::{BATCH, PACKET_BYTES_MAX, PacketInfo, RecvBatch, SendBatch};
use libc::{iovec, mmsghdr, sockaddr_storage, socklen_t};
use std::mem;
use std::ptr;

/// What a message header points at besides the bytes. Boxed, so that nothing moves.
#[repr(C, align(8))]
struct Slot {
    control: [u8; CONTROL_BYTES],
    address: sockaddr_storage,
    iov: iovec,
}

pub(super) struct Headers {
    headers: Box<[mmsghdr]>,
    slots: Box<[Slot]>,
}

// SAFETY: what the pointers point at is used within the calls of one method's caller only, each of which begins by pointing them
// anew. Between two of them nobody follows one.
unsafe impl Send for Headers {}

impl Headers {
    pub(super) fn new() -> Self {
        Self {
            headers: zeroed_boxes(),
            slots: zeroed_boxes(),
        }
    }

    /// Points each header at a buffer of the batch, which the kernel may write to while the batch is borrowed.
    pub(super) fn for_receiving(&mut self, batch: &mut RecvBatch) -> &mut [mmsghdr] {
        for ((header, slot), buffer) in self.headers.iter_mut().zip(&mut self.slots).zip(batch.buffers()) {
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
        &mut self.headers
    }

    /// Tells the batch of as many packets as the kernel wrote.
    pub(super) fn received(&self, count: usize, batch: &mut RecvBatch) {
        let first = self.headers.first().filter(|_| count > 0);
        let received_at_ns = first.and_then(|first| received_at_ns(&first.msg_hdr));
        let packets = self.headers.iter().zip(&self.slots).take(count);
        let packets = packets.map(|(header, slot)| {
            let (local_ip, mark) = local_ip_and_mark(&header.msg_hdr);
            PacketInfo {
                len: header.msg_len,
                remote: from_storage(&slot.address),
                local_ip,
                mark,
            }
        });
        batch.fill(received_at_ns, packets);
    }

    /// Points a header at each packet of the batch, which the kernel may read while the batch is borrowed.
    pub(super) fn for_sending(&mut self, batch: &SendBatch, is_ipv6: bool) -> &mut [mmsghdr] {
        let len = batch.len().min(BATCH);
        for ((header, slot), packet) in self.headers.iter_mut().zip(&mut self.slots).zip(batch.packets()) {
            let (address, address_len) = to_storage(packet.remote);
            slot.address = address;
            slot.iov = iovec {
                iov_base: packet.bytes.as_ptr().cast_mut().cast(),
                iov_len: packet.bytes.len(),
            };
            let header = &mut header.msg_hdr;
            header.msg_name = ptr::from_mut(&mut slot.address).cast();
            header.msg_namelen = address_len;
            header.msg_iov = &mut slot.iov;
            header.msg_iovlen = 1;
            header.msg_control = slot.control.as_mut_ptr().cast();
            header.msg_controllen = CONTROL_BYTES as _;
            let used = packet.local_ip.map_or(0, |ip| put_local_ip(header, ip, is_ipv6));
            header.msg_controllen = used as _;
            if used == 0 {
                header.msg_control = ptr::null_mut();
            }
        }
        &mut self.headers[..len]
    }
}

fn zeroed_boxes<T>() -> Box<[T]> {
    // SAFETY: used for mmsghdr and Slot only: integers and raw pointers, for which zero is valid.
    (0..BATCH).map(|_| unsafe { mem::zeroed() }).collect()
}
