//! Datagrams that the kernel dropped at this program's own sockets, because their buffers were full: shakes that the
//! gateway answered and no phone heard. Whoever reads of lost shakes must know of these.

use nix::sys::stat::fstat;
use std::os::fd::AsFd;

/// Where the kernel tells of UDP sockets: proc_net(5).
const TABLES: [&str; 2] = ["/proc/self/net/udp", "/proc/self/net/udp6"];
/// Places in a line of these tables.
const INODE_AT: usize = 9;
const DROPS_AT: usize = 12;

/// The sockets that are watched, by their inodes.
#[derive(Debug, Default)]
pub(super) struct Drops(Vec<u64>);

impl Drops {
    pub(super) fn watch(&mut self, socket: &impl AsFd) {
        self.0.extend(fstat(socket).map(|stat| stat.st_ino));
    }

    /// What a reader of the figures must know, if anything was dropped.
    pub(super) fn remark(&self) -> Option<String> {
        let tables = TABLES.map(|path| std::fs::read_to_string(path).unwrap_or_default());
        let count: u64 = tables.iter().map(|table| dropped(table, &self.0)).sum();
        (count > 0).then(|| {
            format!(
                "{count} datagrams were lost at this program's own sockets: the machine is too slow for this load, or needs more sockets or larger buffers (engine.sockets, net.core.rmem_max)"
            )
        })
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
    use std::net::{Ipv4Addr, UdpSocket};

    #[test]
    fn a_full_socket_is_seen_and_others_are_not() {
        let bind = || UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let (full, other) = (bind(), bind());
        let (mut watched, mut unwatched) = (Drops::default(), Drops::default());
        watched.watch(&full);
        unwatched.watch(&other);
        assert_eq!(watched.remark(), None);
        let to = full.local_addr().expect("bound");
        (0..5_000).for_each(|_| drop(other.send_to(&[0; 1_000], to)));
        let remark = watched.remark().expect("five megabytes fit into no default buffer");
        assert!(remark.contains("datagrams were lost"), "{remark}");
        assert_eq!(unwatched.remark(), None);
    }
}
