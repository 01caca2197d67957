//! A shard's UDP socket: batched receive and send (recvmmsg, sendmmsg), the local address of each packet, and the
//! steering program that gives every packet to its connection's shard. All `unsafe` of the gateway is here.

use libc::{c_int, c_void, cmsghdr, iovec, mmsghdr, sockaddr_storage, socklen_t};
use std::io;
use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;

/// Packets in one system call.
pub const BATCH: usize = 64;
/// The most bytes of a UDP payload that we take. QUIC packets of our clients are smaller; the rest is cut off and
/// fails authentication.
pub const PACKET_BYTES_MAX: usize = 1_500;
/// Room for one packet-info control message (RFC 3542), with its header and padding.
const CONTROL_BYTES: usize = 64;

pub struct Socket {
    fd: OwnedFd,
    is_ipv6: bool,
}

/// One packet that came in.
pub struct Received<'a> {
    pub remote: SocketAddr,
    pub local_ip: Option<IpAddr>,
    pub bytes: &'a [u8],
}

impl Socket {
    /// Binds to `address`, sharing its port with the other shards' sockets. Returns the socket and the receive
    /// buffer's size in bytes that the kernel gave (it doubles what was asked for, up to its limit).
    ///
    /// Bind the shards' sockets in the order of their numbers: steering goes by that order.
    pub fn bind(address: SocketAddr, buffer_bytes: usize) -> io::Result<(Self, usize)> {
        let domain = if address.is_ipv6() {
            libc::AF_INET6
        } else {
            libc::AF_INET
        };
        // SAFETY: socket(2) takes plain integers; the result is checked before it is owned.
        let fd = unsafe { libc::socket(domain, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `fd` is a fresh descriptor that nobody else owns.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let is_ipv6 = address.is_ipv6();
        let socket = Self { fd, is_ipv6 };
        socket.set(libc::SOL_SOCKET, libc::SO_REUSEPORT, &1_i32)?;
        socket.set(libc::SOL_SOCKET, libc::SO_RCVBUF, &(buffer_bytes as c_int))?;
        socket.set(libc::SOL_SOCKET, libc::SO_SNDBUF, &(buffer_bytes as c_int))?;
        if address.ip().is_unspecified() {
            let (level, option) = if address.is_ipv6() {
                (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO)
            } else {
                (libc::IPPROTO_IP, libc::IP_PKTINFO)
            };
            socket.set(level, option, &1_i32)?;
        }
        let (storage, len) = to_storage(address);
        // SAFETY: `storage` holds a valid address of `len` bytes for the length of the call.
        let bound = unsafe { libc::bind(socket.fd.as_raw_fd(), ptr::from_ref(&storage).cast(), len) };
        if bound < 0 {
            return Err(io::Error::last_os_error());
        }
        let given = socket.receive_buffer_bytes()?;
        Ok((socket, given))
    }

    /// Attaches the program that steers each packet of this socket's port to the shard that its connection ID
    /// names: by the first byte of the destination connection ID, which is at offset 1 in a short header and at 6
    /// in a long one (RFC 8999, section 5), modulo the number of shards. A client's first packets carry random
    /// connection IDs, and so spread evenly.
    pub fn steer(&self, shards: u8) -> io::Result<()> {
        const LOAD_BYTE: u16 = (libc::BPF_LD | libc::BPF_B | libc::BPF_ABS) as u16;
        const JUMP_IF_SET: u16 = (libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K) as u16;
        const JUMP: u16 = (libc::BPF_JMP | libc::BPF_JA) as u16;
        const MODULO: u16 = (libc::BPF_ALU | libc::BPF_MOD | libc::BPF_K) as u16;
        const RETURN_A: u16 = (libc::BPF_RET | libc::BPF_A) as u16;
        let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
        let mut program = [
            step(LOAD_BYTE, 0, 0, 0),
            step(JUMP_IF_SET, 2, 0, 0x80),
            step(LOAD_BYTE, 0, 0, 1),
            step(JUMP, 0, 0, 1),
            step(LOAD_BYTE, 0, 0, 6),
            step(MODULO, 0, 0, shards.into()),
            step(RETURN_A, 0, 0, 0),
        ];
        let program = libc::sock_fprog {
            len: program.len() as u16,
            filter: program.as_mut_ptr(),
        };
        self.set(libc::SOL_SOCKET, libc::SO_ATTACH_REUSEPORT_CBPF, &program)
    }

    /// The address that the socket is bound to.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        // SAFETY: sockaddr_storage is plain bytes, for which zero is valid.
        let mut storage: sockaddr_storage = unsafe { mem::zeroed() };
        let mut len = mem::size_of::<sockaddr_storage>() as socklen_t;
        // SAFETY: the kernel writes at most `len` bytes into `storage`.
        let result = unsafe { libc::getsockname(self.fd.as_raw_fd(), ptr::from_mut(&mut storage).cast(), &mut len) };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        from_storage(&storage).ok_or_else(|| io::Error::other("the socket has no internet address"))
    }

    /// Takes up to [`BATCH`] packets that are there. Zero when there is none.
    pub fn receive(&self, batch: &mut ReceiveBatch) -> io::Result<usize> {
        batch.prepare();
        // SAFETY: `prepare` pointed each header at the batch's own boxed buffers, which outlive the call and are
        // exclusively borrowed through `batch`.
        let count = unsafe {
            libc::recvmmsg(
                self.fd.as_raw_fd(),
                batch.headers.as_mut_ptr(),
                BATCH as u32,
                libc::MSG_DONTWAIT,
                ptr::null_mut(),
            )
        };
        match usize::try_from(count) {
            Ok(count) => Ok(count),
            Err(_) => match io::Error::last_os_error() {
                e if e.kind() == io::ErrorKind::WouldBlock || e.kind() == io::ErrorKind::Interrupted => Ok(0),
                // An ICMP error of an earlier packet; the next call goes on.
                e if e.raw_os_error() == Some(libc::ECONNREFUSED) => Ok(0),
                e => Err(e),
            },
        }
    }

    /// Sends what the batch holds, in order, and empties it. Returns how many packets the kernel did not take.
    pub fn send(&self, batch: &mut SendBatch) -> usize {
        let mut sent = 0;
        let mut lost = 0;
        batch.prepare(self.is_ipv6);
        while sent < batch.len {
            let rest = &mut batch.headers[sent..batch.len];
            // SAFETY: `prepare` pointed the first `len` headers at the batch's own buffers, which outlive the call.
            let count = unsafe {
                libc::sendmmsg(
                    self.fd.as_raw_fd(),
                    rest.as_mut_ptr(),
                    rest.len() as u32,
                    libc::MSG_DONTWAIT,
                )
            };
            match usize::try_from(count) {
                Ok(count) => sent += count,
                Err(_) if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
                Err(_) if io::Error::last_os_error().kind() == io::ErrorKind::WouldBlock => {
                    if !self.wait_writable() {
                        lost += batch.len - sent;
                        break;
                    }
                }
                // This packet cannot be sent (no route, a firewall); QUIC recovers as from any loss.
                Err(_) => {
                    sent += 1;
                    lost += 1;
                }
            }
        }
        batch.len = 0;
        lost
    }

    /// Waits a moment for room in the send buffer. A socket that stays full longer has the packets dropped, so
    /// that one slow interface cannot stop the shard.
    fn wait_writable(&self) -> bool {
        let mut poll = libc::pollfd {
            fd: self.fd.as_raw_fd(),
            events: libc::POLLOUT,
            revents: 0,
        };
        // SAFETY: one valid pollfd for the length of the call.
        unsafe { libc::poll(&mut poll, 1, 5) > 0 }
    }

    fn set<T>(&self, level: c_int, option: c_int, value: &T) -> io::Result<()> {
        let bytes = mem::size_of::<T>() as socklen_t;
        // SAFETY: the kernel reads `bytes` bytes of `value`, which is borrowed for the call.
        let result =
            unsafe { libc::setsockopt(self.fd.as_raw_fd(), level, option, ptr::from_ref(value).cast(), bytes) };
        if result < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(())
        }
    }

    fn receive_buffer_bytes(&self) -> io::Result<usize> {
        let mut value: c_int = 0;
        let mut len = mem::size_of::<c_int>() as socklen_t;
        // SAFETY: the kernel writes at most `len` bytes into `value`.
        let result = unsafe {
            libc::getsockopt(
                self.fd.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_RCVBUF,
                ptr::from_mut(&mut value).cast(),
                &mut len,
            )
        };
        if result < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(value.max(0) as usize)
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// What a message header points at besides the bytes. Boxed, so that nothing moves.
#[repr(C, align(8))]
struct Slot {
    control: [u8; CONTROL_BYTES],
    address: sockaddr_storage,
    iov: iovec,
}

pub struct ReceiveBatch {
    headers: Box<[mmsghdr]>,
    slots: Box<[Slot]>,
    buffers: Box<[[u8; PACKET_BYTES_MAX]]>,
}

impl ReceiveBatch {
    pub fn new() -> Self {
        Self {
            headers: zeroed_boxes(),
            slots: zeroed_boxes(),
            buffers: zeroed_boxes(),
        }
    }

    fn prepare(&mut self) {
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

    /// The first `count` packets, `count` being what [`Socket::receive`] gave.
    pub fn packets(&self, count: usize) -> impl Iterator<Item = Received<'_>> {
        let parts = self.headers.iter().zip(&self.slots).zip(&self.buffers);
        parts.take(count).filter_map(|((header, slot), buffer)| {
            let len = (header.msg_len as usize).min(PACKET_BYTES_MAX);
            Some(Received {
                remote: from_storage(&slot.address)?,
                local_ip: local_ip(&header.msg_hdr),
                bytes: &buffer[..len],
            })
        })
    }
}

/// Packets to send, each in a buffer of its own that is used again.
pub struct SendBatch {
    headers: Box<[mmsghdr]>,
    slots: Box<[Slot]>,
    buffers: Vec<Vec<u8>>,
    to: Vec<(SocketAddr, Option<IpAddr>)>,
    len: usize,
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

    fn prepare(&mut self, is_ipv6: bool) {
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

/// The address that a packet was sent to, from its packet-info control message.
fn local_ip(header: &libc::msghdr) -> Option<IpAddr> {
    // SAFETY: the kernel filled msg_control and msg_controllen of this header, and the CMSG macros stay within them.
    let mut at = unsafe { libc::CMSG_FIRSTHDR(header) };
    while !at.is_null() {
        // SAFETY: `at` is a control message within the buffer; its data may be unaligned, so it is read as such.
        unsafe {
            let data = libc::CMSG_DATA(at);
            match ((*at).cmsg_level, (*at).cmsg_type) {
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                    let info: libc::in_pktinfo = ptr::read_unaligned(data.cast());
                    return Some(Ipv4Addr::from(u32::from_be(info.ipi_addr.s_addr)).into());
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                    let info: libc::in6_pktinfo = ptr::read_unaligned(data.cast());
                    return Some(Ipv6Addr::from(info.ipi6_addr.s6_addr).into());
                }
                _ => at = libc::CMSG_NXTHDR(header, at),
            }
        }
    }
    None
}

/// Writes the packet-info control message that sends from `ip`. Returns the bytes used.
fn put_local_ip(header: &mut libc::msghdr, ip: IpAddr, is_ipv6: bool) -> usize {
    match (ip, is_ipv6) {
        (IpAddr::V4(ip), false) => {
            let address = libc::in_addr {
                s_addr: u32::from(ip).to_be(),
            };
            let info = libc::in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: address,
                ipi_addr: address,
            };
            put_control(header, libc::IPPROTO_IP, libc::IP_PKTINFO, &info)
        }
        (IpAddr::V4(ip), true) => put_local_ip(header, ip.to_ipv6_mapped().into(), true),
        (IpAddr::V6(ip), _) => {
            let address = libc::in6_addr { s6_addr: ip.octets() };
            let info = libc::in6_pktinfo {
                ipi6_addr: address,
                ipi6_ifindex: 0,
            };
            put_control(header, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info)
        }
    }
}

fn put_control<T>(header: &mut libc::msghdr, level: c_int, kind: c_int, value: &T) -> usize {
    let bytes = mem::size_of::<T>() as u32;
    // SAFETY: the header's control buffer has CONTROL_BYTES, aligned to 8 by Slot, and both packet-info structures
    // with a header fit (at most 40 bytes).
    unsafe {
        debug_assert!(libc::CMSG_SPACE(bytes) as usize <= CONTROL_BYTES);
        let at: *mut cmsghdr = libc::CMSG_FIRSTHDR(header);
        (*at).cmsg_level = level;
        (*at).cmsg_type = kind;
        (*at).cmsg_len = libc::CMSG_LEN(bytes) as _;
        ptr::copy_nonoverlapping(
            ptr::from_ref(value).cast::<c_void>(),
            libc::CMSG_DATA(at).cast(),
            bytes as usize,
        );
        libc::CMSG_SPACE(bytes) as usize
    }
}

fn to_storage(address: SocketAddr) -> (sockaddr_storage, socklen_t) {
    // SAFETY: sockaddr_storage is plain bytes, for which zero is valid.
    let mut storage: sockaddr_storage = unsafe { mem::zeroed() };
    let len = match address {
        SocketAddr::V4(v4) => {
            let raw = libc::sockaddr_in {
                sin_family: libc::AF_INET as _,
                sin_port: v4.port().to_be(),
                sin_addr: libc::in_addr {
                    s_addr: u32::from(*v4.ip()).to_be(),
                },
                sin_zero: [0; 8],
            };
            // SAFETY: sockaddr_storage is large and aligned enough for every address family.
            unsafe { ptr::from_mut(&mut storage).cast::<libc::sockaddr_in>().write(raw) };
            mem::size_of::<libc::sockaddr_in>()
        }
        SocketAddr::V6(v6) => {
            let raw = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as _,
                sin6_port: v6.port().to_be(),
                sin6_flowinfo: v6.flowinfo(),
                sin6_addr: libc::in6_addr {
                    s6_addr: v6.ip().octets(),
                },
                sin6_scope_id: v6.scope_id(),
            };
            // SAFETY: as above.
            unsafe { ptr::from_mut(&mut storage).cast::<libc::sockaddr_in6>().write(raw) };
            mem::size_of::<libc::sockaddr_in6>()
        }
    };
    (storage, len as socklen_t)
}

fn from_storage(storage: &sockaddr_storage) -> Option<SocketAddr> {
    match c_int::from(storage.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says that this is a sockaddr_in, which fits and is aligned.
            let raw = unsafe { &*ptr::from_ref(storage).cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(u32::from_be(raw.sin_addr.s_addr));
            Some(SocketAddrV4::new(ip, u16::from_be(raw.sin_port)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: the family says that this is a sockaddr_in6, which fits and is aligned.
            let raw = unsafe { &*ptr::from_ref(storage).cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(raw.sin6_addr.s6_addr);
            let port = u16::from_be(raw.sin6_port);
            Some(SocketAddrV6::new(ip, port, raw.sin6_flowinfo, raw.sin6_scope_id).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;
    use std::time::{Duration, Instant};

    fn receive_until(sockets: &[Socket], wanted: usize) -> Vec<(usize, SocketAddr, Option<IpAddr>, Vec<u8>)> {
        let (mut found, mut batch) = (Vec::new(), ReceiveBatch::new());
        let deadline = Instant::now() + Duration::from_secs(5);
        while found.len() < wanted && Instant::now() < deadline {
            for (index, socket) in sockets.iter().enumerate() {
                let count = socket.receive(&mut batch).expect("receive");
                found.extend(
                    batch
                        .packets(count)
                        .map(|p| (index, p.remote, p.local_ip, p.bytes.to_vec())),
                );
            }
        }
        found
    }

    #[test]
    fn every_packet_reaches_the_shard_that_its_connection_id_names() {
        let (first, _) = Socket::bind("127.0.0.1:0".parse().expect("address"), 1 << 20).expect("bind");
        let address = first.local_address().expect("bound");
        let mut sockets = vec![first];
        sockets.extend((1..3).map(|_| Socket::bind(address, 1 << 20).expect("bind the same port").0));
        sockets[0].steer(3).expect("steer");
        for index in 0..200_u8 {
            // Another source port each time: without steering the kernel would go by its hash.
            let client = UdpSocket::bind("127.0.0.1:0").expect("client");
            let is_long = index % 2 == 0;
            let mut packet = [index; 20];
            packet[0] = if is_long { 0xc0 } else { 0x40 };
            packet[if is_long { 6 } else { 1 }] = index;
            client.send_to(&packet, address).expect("send");
        }
        let found = receive_until(&sockets, 200);
        assert_eq!(found.len(), 200);
        assert!(
            found
                .iter()
                .all(|(shard, .., bytes)| usize::from(bytes[19] % 3) == *shard)
        );
    }

    /// A server bound to every address must answer from the one that was asked, on both families.
    #[test]
    fn answers_leave_from_the_address_that_was_asked() {
        for (any, asked, from) in [("0.0.0.0:0", "127.0.0.5", "127.0.0.1:0"), ("[::]:0", "::1", "[::1]:0")] {
            let Ok((server, _)) = Socket::bind(any.parse().expect("address"), 1 << 20) else {
                continue;
            };
            let asked: IpAddr = asked.parse().expect("address");
            let port = server.local_address().expect("bound").port();
            let client = UdpSocket::bind(from).expect("client");
            client.set_read_timeout(Some(Duration::from_secs(5))).expect("timeout");
            client.send_to(b"ping", (asked, port)).expect("send");
            let servers = [server];
            let found = receive_until(&servers, 1);
            let (_, remote, local_ip, bytes) = found.first().expect("the packet");
            assert_eq!((*local_ip, &bytes[..]), (Some(asked), &b"ping"[..]));

            let mut batch = SendBatch::new();
            batch.buffer().extend_from_slice(b"pong");
            batch.push(&quinn_proto::Transmit {
                destination: *remote,
                ecn: None,
                size: 4,
                segment_size: None,
                src_ip: *local_ip,
            });
            assert_eq!(servers[0].send(&mut batch), 0);
            let mut bytes = [0; 10];
            let (len, sender) = client.recv_from(&mut bytes).expect("the answer");
            assert_eq!((&bytes[..len], sender.ip()), (&b"pong"[..], asked));
        }
    }
}
