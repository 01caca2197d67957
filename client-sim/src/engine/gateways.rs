//! The gateways that a run knows: the scenario's, and those that it was told to go to instead.

use std::net::{SocketAddr, ToSocketAddrs};

/// Names kept, so that a strange gateway cannot fill the memory.
const GATEWAYS_MAX: usize = 64;

/// Where a session connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gateway {
    at: u8,
    /// Where it goes after a failed try: back and forth, because either of the two may be the one that is gone.
    or: u8,
}

impl Gateway {
    /// The scenario's.
    pub(super) const HOME: Self = Self { at: 0, or: 0 };

    /// Where to try next when this one could not be reached.
    pub(super) fn after_failure(self) -> Self {
        Self {
            at: self.or,
            or: self.at,
        }
    }

    /// Its place in the order in which gateways became known; zero is the scenario's.
    pub(super) fn place(self) -> usize {
        self.at.into()
    }
}

/// All gateways known.
#[derive(Debug)]
pub(super) struct Gateways {
    home: SocketAddr,
    /// By name; without an address when the name has none. Looked up once, because that may take its time.
    others: Vec<(String, Option<SocketAddr>)>,
}

impl Gateways {
    pub(super) fn new(home: SocketAddr) -> Self {
        let others = Vec::new();
        Self { home, others }
    }

    /// The gateway of a name like host:port; nothing when it has no address, or there are too many.
    pub(super) fn named(&mut self, name: &str) -> Option<Gateway> {
        let known = self.others.iter().position(|(known, _)| known == name);
        let at = known.or_else(|| {
            let has_room = self.others.len() < GATEWAYS_MAX;
            has_room.then(|| {
                // Only addresses that the sockets in use can reach.
                let addresses = name.to_socket_addrs().ok();
                let address = addresses.and_then(|mut all| all.find(|one| one.is_ipv4() == self.home.is_ipv4()));
                self.others.push((name.to_owned(), address));
                self.others.len() - 1
            })
        })?;
        let (_, address) = &self.others[at];
        address.map(|address| {
            let at = if address == self.home { 0 } else { at as u8 + 1 };
            Gateway { at, or: 0 }
        })
    }

    pub(super) fn address(&self, gateway: Gateway) -> SocketAddr {
        match gateway.place().checked_sub(1) {
            None => self.home,
            Some(other) => self.others[other].1.expect("`named` gives out none without an address"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_looked_up_once_and_bounded() {
        let address = |text: &str| text.parse::<SocketAddr>().expect("an address");
        let mut gateways = Gateways::new(address("127.0.0.1:4433"));
        let other = gateways.named("127.0.0.1:5544").expect("an address");
        assert_eq!(gateways.named("127.0.0.1:5544"), Some(other));
        assert_eq!(gateways.address(other), address("127.0.0.1:5544"));
        assert_eq!(gateways.named("127.0.0.1:4433"), Some(Gateway::HOME));
        assert_eq!(gateways.named("no port"), None);
        assert_eq!(gateways.named("[::1]:5544"), None, "the sockets are of IPv4");
        let back = other.after_failure();
        assert_eq!(gateways.address(back), address("127.0.0.1:4433"));
        assert_eq!(back.after_failure(), other);
        for port in 1..200 {
            let _ = gateways.named(&format!("127.0.0.1:{port}"));
        }
        assert_eq!(gateways.others.len(), GATEWAYS_MAX);
        assert_eq!(gateways.named("127.0.0.1:999"), None);
    }
}
