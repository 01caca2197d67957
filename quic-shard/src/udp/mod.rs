//! A shard's UDP socket: batched receive and send (recvmmsg, sendmmsg), the local address and the mark of each packet, the steering
//! program that gives every packet to its connection's shard, and the filter that drops packets in the kernel.

mod address;
mod filter;
mod filter_program;
mod headers;
#[cfg(test)]
mod tests;

use crate::batch::{BATCH, RecvBatch, SendBatch};
use crate::io::{Drops, Io, Now};
use address::{from_storage, to_storage};
use filter::Filter;
use headers::Headers;
use libc::{c_int, sockaddr_storage, socklen_t};
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime};
use std::io;
use std::mem;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;
use std::time::{Duration, Instant};

/// One shard's UDP socket.
pub struct Socket {
    fd: OwnedFd,
    is_ipv6: bool,
    filter: Option<Filter>,
    incoming: Headers,
    outgoing: Headers,
    /// What had overflowed when it was last counted, modulo 2^32, and in all.
    overflowed_before: u32,
    overflowed_in_all: u64,
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
        let socket = Self::of(fd, is_ipv6);
        socket.set(libc::SOL_SOCKET, libc::SO_REUSEPORT, &1_i32)?;
        socket.set(libc::SOL_SOCKET, libc::SO_RCVBUF, &(buffer_bytes as c_int))?;
        socket.set(libc::SOL_SOCKET, libc::SO_SNDBUF, &(buffer_bytes as c_int))?;
        // Each packet tells when the kernel received it; how long it waited is the measure of load.
        socket.set(libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, &1_i32)?;
        // Packets tell how they are marked for congestion. A socket of IPv6 may have those of IPv4 too, or not.
        let tells_tos = socket.set(libc::IPPROTO_IP, libc::IP_RECVTOS, &1_i32);
        if is_ipv6 {
            socket.set(libc::IPPROTO_IPV6, libc::IPV6_RECVTCLASS, &1_i32)?;
        } else {
            tells_tos?;
        }
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

    fn of(fd: OwnedFd, is_ipv6: bool) -> Self {
        Self {
            fd,
            is_ipv6,
            filter: None,
            incoming: Headers::new(),
            outgoing: Headers::new(),
            overflowed_before: 0,
            overflowed_in_all: 0,
        }
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

    /// Attaches the filter, so that the kernel drops what [`Self::filter_out`] names.
    ///
    /// # Errors
    /// When the kernel has no such filters, or the process may not load one (`CAP_BPF`).
    pub fn attach_filter(&mut self) -> io::Result<()> {
        self.filter = Some(Filter::attach(self.fd.as_fd())?);
        Ok(())
    }

    /// Packets that the filter dropped so far.
    fn filtered(&self) -> u64 {
        self.filter.as_ref().map_or(0, Filter::dropped)
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
        let mut bytes: c_int = 0;
        self.get(libc::SO_RCVBUF, &mut bytes)?;
        Ok(bytes.max(0) as usize)
    }

    /// Packets that the kernel dropped so far because the receive buffer was full, modulo 2^32. It may go back by the few
    /// that the filter drops while this is read.
    fn overflowed(&self) -> io::Result<u32> {
        /// The kernel's numbers of a socket's memory (`linux/sock_diag.h`), the drops the last of nine.
        const DROPS: usize = 8;
        let mut memory = [0_u32; DROPS + 1];
        self.get(libc::SO_MEMINFO, &mut memory)?;
        // The kernel counts both. The filter's number is read after, so that what it drops meanwhile is not taken for a loss.
        Ok(memory[DROPS].wrapping_sub(self.filtered() as u32))
    }

    /// Reads an option of the socket level. `T` is made of plain integers.
    fn get<T: Copy>(&self, option: c_int, value: &mut T) -> io::Result<()> {
        let mut len = mem::size_of::<T>() as socklen_t;
        // SAFETY: the kernel writes at most `len` bytes into `value`, and any bytes are good integers.
        let result = unsafe {
            libc::getsockopt(
                self.fd.as_raw_fd(),
                libc::SOL_SOCKET,
                option,
                ptr::from_mut(value).cast(),
                &mut len,
            )
        };
        if result < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(())
        }
    }
}

impl Io for Socket {
    fn instant(&self) -> Instant {
        Instant::now()
    }

    fn monotonic_ns(&self) -> u64 {
        clock_ns(ClockId::CLOCK_MONOTONIC)
    }

    fn boot_ns(&self) -> u64 {
        clock_ns(ClockId::CLOCK_BOOTTIME)
    }

    fn wall_ns(&self) -> u64 {
        clock_ns(ClockId::CLOCK_REALTIME)
    }

    fn receive(&mut self, batch: &mut RecvBatch) -> io::Result<()> {
        let headers = self.incoming.for_receiving(batch);
        // SAFETY: each header was pointed at buffers of the batch, which outlive the call and are exclusively borrowed
        // through it, and at what `incoming` has in boxes of its own.
        let count = unsafe {
            libc::recvmmsg(
                self.fd.as_raw_fd(),
                headers.as_mut_ptr(),
                BATCH as u32,
                libc::MSG_DONTWAIT as _, // signed with glibc, unsigned with musl
                ptr::null_mut(),
            )
        };
        let error = (count < 0).then(io::Error::last_os_error);
        self.incoming.received(usize::try_from(count).unwrap_or(0), batch);
        match error {
            None => Ok(()),
            Some(e) if e.kind() == io::ErrorKind::WouldBlock || e.kind() == io::ErrorKind::Interrupted => Ok(()),
            // An ICMP error of an earlier packet; the next call goes on.
            Some(e) if e.raw_os_error() == Some(libc::ECONNREFUSED) => Ok(()),
            Some(e) => Err(e),
        }
    }

    fn send(&mut self, batch: &mut SendBatch) -> usize {
        let mut sent = 0;
        let mut lost = 0;
        let fd = self.fd.as_fd();
        let headers = self.outgoing.for_sending(batch, self.is_ipv6);
        while sent < headers.len() {
            let rest = &mut headers[sent..];
            // SAFETY: the headers were pointed at packets of the batch, which outlive the call and are not changed by it, and
            // at what `outgoing` has in boxes of its own.
            let count = unsafe {
                libc::sendmmsg(
                    fd.as_raw_fd(),
                    rest.as_mut_ptr(),
                    rest.len() as u32,
                    libc::MSG_DONTWAIT as _,
                )
            };
            match usize::try_from(count) {
                Ok(count) => sent += count,
                Err(_) if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
                Err(_) if io::Error::last_os_error().kind() == io::ErrorKind::WouldBlock => {
                    if !wait_writable(fd) {
                        lost += headers.len() - sent;
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
        batch.clear();
        lost
    }

    fn sleep(&mut self, time: Duration) {
        std::thread::sleep(time);
    }

    fn wait(&mut self, timeout: Duration, doorbell: Option<BorrowedFd<'_>>) {
        let socket = PollFd::new(self.fd.as_fd(), PollFlags::POLLIN);
        // ppoll, because poll's whole milliseconds would be rounded to zero, and the loop would spin.
        // An error here is an interruption by a signal; the turn goes on either way.
        let timeout = Some(TimeSpec::from_duration(timeout));
        let _ = match doorbell {
            Some(doorbell) => ppoll(&mut [socket, PollFd::new(doorbell, PollFlags::POLLIN)], timeout, None),
            None => ppoll(&mut [socket], timeout, None),
        };
    }

    /// Nothing without a filter.
    fn filter_out(&mut self, cid: u64, hold_ns: u64, now: &Now) {
        if let Some(filter) = &self.filter {
            filter.add(cid, hold_ns, now.monotonic_ns);
        }
    }

    fn drops(&mut self) -> Drops {
        if let Ok(overflowed) = self.overflowed() {
            let more = overflowed.wrapping_sub(self.overflowed_before).cast_signed();
            if more > 0 {
                self.overflowed_in_all += more as u64;
                self.overflowed_before = overflowed;
            }
        }
        Drops {
            overflowed: self.overflowed_in_all,
            filtered: self.filtered(),
        }
    }
}

fn clock_ns(clock: ClockId) -> u64 {
    let time = clock_gettime(clock).expect("Linux always has this clock");
    time.tv_sec().cast_unsigned() * 1_000_000_000 + time.tv_nsec().cast_unsigned()
}

/// Waits a moment for room in the send buffer. A socket that stays full longer has the packets dropped, so that one slow
/// interface cannot stop the shard.
fn wait_writable(fd: BorrowedFd<'_>) -> bool {
    let mut poll = libc::pollfd {
        fd: fd.as_raw_fd(),
        events: libc::POLLOUT,
        revents: 0,
    };
    // SAFETY: one valid pollfd for the length of the call.
    unsafe { libc::poll(&mut poll, 1, 5) > 0 }
}
