//! Addresses as the kernel has them, and the control messages (RFC 3542) that tell and choose the local one, and tell marks and
//! times.

use libc::{c_int, c_void, cmsghdr, sockaddr_storage, socklen_t};
use quinn_proto::EcnCodepoint;
use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::ptr;

/// Room for control messages of four kinds with their headers and padding: packet-info, a timestamp, and on a socket of both
/// families the marks of each.
pub(super) const CONTROL_BYTES: usize = 128;

/// The control messages of a header that the kernel filled: level, kind, and where the data lies, which may be unaligned.
fn controls(header: &libc::msghdr) -> impl Iterator<Item = (c_int, c_int, *const u8)> {
    // SAFETY: the kernel filled msg_control and msg_controllen of this header, and the CMSG macros stay within them.
    let mut at = unsafe { libc::CMSG_FIRSTHDR(header) };
    std::iter::from_fn(move || {
        if at.is_null() {
            return None;
        }
        // SAFETY: `at` is a control message within the buffer.
        unsafe {
            let control = ((*at).cmsg_level, (*at).cmsg_type, libc::CMSG_DATA(at).cast_const());
            at = libc::CMSG_NXTHDR(header, at);
            Some(control)
        }
    })
}

/// The address that a packet was sent to, and its congestion mark (RFC 3168, section 5), from its control messages.
pub(super) fn local_ip_and_mark(header: &libc::msghdr) -> (Option<IpAddr>, Option<EcnCodepoint>) {
    let (mut ip, mut mark) = (None, None);
    for (level, kind, data) in controls(header) {
        // SAFETY: the kernel writes such a structure for each of these kinds; of IPv4 the mark is one byte, of IPv6 an
        // integer (ip(7), ipv6(7)).
        unsafe {
            match (level, kind) {
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                    let info: libc::in_pktinfo = ptr::read_unaligned(data.cast());
                    ip = Some(Ipv4Addr::from(u32::from_be(info.ipi_addr.s_addr)).into());
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                    let info: libc::in6_pktinfo = ptr::read_unaligned(data.cast());
                    ip = Some(Ipv6Addr::from(info.ipi6_addr.s6_addr).into());
                }
                (libc::IPPROTO_IP, libc::IP_TOS) => mark = EcnCodepoint::from_bits(data.read()),
                (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => {
                    let class: c_int = ptr::read_unaligned(data.cast());
                    mark = EcnCodepoint::from_bits(class as u8);
                }
                _ => {}
            }
        }
    }
    (ip, mark)
}

/// When the kernel received a packet, from its timestamp control message: nanoseconds since 1970 by the wall clock.
pub(super) fn received_at_ns(header: &libc::msghdr) -> Option<u64> {
    let wanted = (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS);
    let (_, _, data) = controls(header).find(|&(level, kind, _)| (level, kind) == wanted)?;
    // SAFETY: SCM_TIMESTAMPNS carries one timespec.
    let time: libc::timespec = unsafe { ptr::read_unaligned(data.cast()) };
    Some(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
}

/// Writes the packet-info control message that sends from `ip`. Returns the bytes used.
pub(super) fn put_local_ip(header: &mut libc::msghdr, ip: IpAddr, is_ipv6: bool) -> usize {
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

pub(super) fn to_storage(address: SocketAddr) -> (sockaddr_storage, socklen_t) {
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

pub(super) fn from_storage(storage: &sockaddr_storage) -> Option<SocketAddr> {
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
