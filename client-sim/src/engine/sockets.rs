//! The UDP sockets of every engine: opened with large buffers, and asked in the end what the kernel dropped at them
//! because they were full: shakes that the gateway answered and no phone heard. Whoever reads of lost shakes must know.

use super::EngineError;
use nix::sys::socket::{getsockopt, setsockopt, sockopt};
use nix::sys::stat::fstat;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// Kernel buffer of each socket, each way. It counts some 1,300 bytes for a reply, so a twentieth of a second at 60,000
/// replies a second fits into one.
const BUFFER_BYTES: usize = 4 << 20;

/// Where the kernel tells of UDP sockets: proc_net(5).
const TABLES: [&str; 2] = ["/proc/self/net/udp", "/proc/self/net/udp6"];
/// Places in a line of these tables.
const INODE_AT: usize = 9;
const DROPS_AT: usize = 12;

/// The sockets that were opened, by their inodes.
#[derive(Debug, Default)]
pub(super) struct OwnSockets {
    inodes: Vec<u64>,
    /// The smallest buffer that the kernel granted, when that is less than was asked for.
    granted_bytes: Option<usize>,
}

impl OwnSockets {
    /// Opens a socket that can reach the target.
    pub(super) fn open(&mut self, target: SocketAddr) -> Result<UdpSocket, EngineError> {
        let socket = UdpSocket::bind(SocketAddr::new(local_address(target.ip()), 0))
            .map_err(|source| EngineError::Socket { target, source })?;
        self.inodes.extend(fstat(&socket).map(|stat| stat.st_ino));
        // Refusals show in what is read back: the kernel cuts silently, and doubles the value: socket(7).
        let _ = setsockopt(&socket, sockopt::RcvBuf, &BUFFER_BYTES);
        let _ = setsockopt(&socket, sockopt::SndBuf, &BUFFER_BYTES);
        let [receive, send] = [
            getsockopt(&socket, sockopt::RcvBuf),
            getsockopt(&socket, sockopt::SndBuf),
        ];
        let granted = receive.unwrap_or(0).min(send.unwrap_or(0)) / 2;
        if granted < BUFFER_BYTES {
            self.granted_bytes = Some(self.granted_bytes.unwrap_or(granted).min(granted));
        }
        Ok(socket)
    }

    /// What a reader of the figures must know of them.
    pub(super) fn remarks(&self) -> impl Iterator<Item = String> {
        let cut = self.granted_bytes.map(|granted| {
            format!(
                "the system grants socket buffers of {granted} bytes instead of {BUFFER_BYTES}; raise net.core.rmem_max and net.core.wmem_max, or replies may be lost here"
            )
        });
        cut.into_iter().chain(self.drops())
    }

    fn drops(&self) -> Option<String> {
        let tables = TABLES.map(|path| std::fs::read_to_string(path).unwrap_or_default());
        let count: u64 = tables.iter().map(|table| dropped(table, &self.inodes)).sum();
        (count > 0).then(|| {
            format!(
                "{count} datagrams were lost at this program's own sockets: the machine is too slow for this load, or needs more sockets or larger buffers (engine.sockets, net.core.rmem_max)"
            )
        })
    }
}

/// The address to send from: a loopback target is reached from the loopback, any other from wherever the route says.
pub(super) fn local_address(target: IpAddr) -> IpAddr {
    match target {
        _ if target.is_loopback() => target,
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

fn dropped(table: &str, inodes: &[u64]) -> u64 {
    let of_line = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
        let is_own = inodes.contains(&number(INODE_AT)?);
        number(DROPS_AT).filter(|_| is_own)
    };
    table.lines().filter_map(of_line).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_socket_is_seen_and_others_are_not() {
        let nowhere = (Ipv4Addr::LOCALHOST, 9).into();
        let (mut own, mut others) = (OwnSockets::default(), OwnSockets::default());
        let (full, other) = (
            own.open(nowhere).expect("a port"),
            others.open(nowhere).expect("a port"),
        );
        setsockopt(&full, sockopt::RcvBuf, &4_096).expect("it may be made smaller");
        assert_eq!(own.drops(), None);
        let to = full.local_addr().expect("bound");
        (0..100).for_each(|_| drop(other.send_to(&[0; 1_000], to)));
        let told = own
            .drops()
            .expect("a hundred thousand bytes do not fit into four thousand");
        assert!(told.contains("datagrams were lost"), "{told}");
        assert_eq!(others.drops(), None);
    }
}
