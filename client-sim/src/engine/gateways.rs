//! The gateways that a run knows: the scenario's, and those that it was told to go to instead.
//!
//! Where a session goes is drawn by weight: first from the seed and its index, then from its user's own numbers. So the
//! same run has the same sessions at the same gateways, in whatever order an engine comes round to them.

use super::Target;
use crate::backoff::Jitter;
use std::net::{SocketAddr, ToSocketAddrs};

/// Names kept, so that a strange gateway cannot fill the memory.
const GATEWAYS_MAX: usize = 64;
/// Keeps the draws of the first gateways apart from those of the play.
const HOMES: u64 = 0x686f_6d65;

/// Where a session connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gateway {
    at: u8,
    /// Where it goes after a failed try when the scenario has one gateway alone: back and forth, because either of the
    /// two may be the one that is gone.
    or: u8,
}

impl Gateway {
    fn only(place: usize) -> Self {
        let at = place as u8; // at most as many as scenarios may have, and as names are kept
        Self { at, or: at }
    }

    /// Its place in the order in which gateways became known, those of the scenario first.
    pub(super) fn place(self) -> usize {
        self.at.into()
    }
}

/// All gateways known.
#[derive(Debug)]
pub(super) struct Gateways {
    /// At least one.
    targets: Vec<Target>,
    /// By name; without an address when the name has none. Looked up once, because that may take its time.
    others: Vec<(String, Option<SocketAddr>)>,
}

impl Gateways {
    pub(super) fn new(targets: Vec<Target>) -> Self {
        let others = Vec::new();
        Self { targets, others }
    }

    /// Where the session of this index begins.
    pub(super) fn home(&self, seed: u64, index: u32) -> Gateway {
        let draw = Jitter::new(seed ^ HOMES, index.into()).next_u64();
        Gateway::only(self.drawn(draw, None))
    }

    /// Another of the scenario's gateways, by weight; the same when there is no other.
    pub(super) fn another(&self, from: Gateway, draw: impl FnOnce() -> u64) -> Gateway {
        if self.targets.len() < 2 {
            return from;
        }
        Gateway {
            at: Gateway::only(self.drawn(draw(), Some(from.place()))).at,
            or: from.at,
        }
    }

    /// Where to try next when this one could not be reached.
    pub(super) fn after_failure(&self, from: Gateway, draw: impl FnOnce() -> u64) -> Gateway {
        if self.targets.len() < 2 {
            let (at, or) = (from.or, from.at);
            return Gateway { at, or };
        }
        self.another(from, draw)
    }

    /// One of the scenario's gateways but for that one. Those without weight are drawn when nobody else is left, each with
    /// the same chance.
    fn drawn(&self, draw: u64, except: Option<usize>) -> usize {
        let places = (0..self.targets.len()).filter(|place| Some(*place) != except);
        let told: u64 = places.clone().map(|place| u64::from(self.targets[place].weight)).sum();
        let weight = |place: usize| match told {
            0 => 1,
            _ => u64::from(self.targets[place].weight),
        };
        let sum: u64 = places.clone().map(weight).sum();
        let mut left = ((u128::from(draw) * u128::from(sum)) >> 64) as u64;
        let mut places = places;
        let drawn = places.find(|place| match left.checked_sub(weight(*place)) {
            Some(rest) => {
                left = rest;
                false
            }
            None => true,
        });
        drawn.expect("there is another, and what is drawn is below the sum of all weights")
    }

    /// The gateway of a name like host:port; nothing when it has no address, or there are too many.
    pub(super) fn named(&mut self, name: &str) -> Option<Gateway> {
        let known = self.others.iter().position(|(known, _)| known == name);
        let at = known.or_else(|| {
            let has_room = self.others.len() < GATEWAYS_MAX;
            has_room.then(|| {
                // Only addresses that the sockets in use can reach.
                let addresses = name.to_socket_addrs().ok();
                let is_within_reach = |one: &SocketAddr| one.is_ipv4() == self.farthest().is_ipv4();
                let address = addresses.and_then(|mut all| all.find(is_within_reach));
                self.others.push((name.to_owned(), address));
                self.others.len() - 1
            })
        })?;
        let (_, address) = &self.others[at];
        address.map(|address| {
            let target = self.targets.iter().position(|target| target.address == address);
            let place = target.unwrap_or(self.targets.len() + at);
            // Of a scenario with one gateway alone, that one is where to go back to.
            let or = if self.targets.len() > 1 { place as u8 } else { 0 };
            Gateway { at: place as u8, or }
        })
    }

    pub(super) fn address(&self, gateway: Gateway) -> SocketAddr {
        let place = gateway.place();
        match self.targets.get(place) {
            Some(target) => target.address,
            None => self.others[place - self.targets.len()]
                .1
                .expect("`named` gives out none without an address"),
        }
    }

    /// The address of the scenario's first.
    pub(super) fn first(&self) -> SocketAddr {
        self.targets[0].address
    }

    /// An address whose sockets reach all of the scenario's gateways: one that is not on this machine, if any is not.
    pub(super) fn farthest(&self) -> SocketAddr {
        let mut addresses = self.targets.iter().map(|target| target.address);
        addresses
            .find(|address| !address.ip().is_loopback())
            .unwrap_or(self.first())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gateways(of: &[(&str, u32)]) -> Gateways {
        let target = |(address, weight): &(&str, u32)| Target {
            address: address.parse().expect("an address"),
            weight: *weight,
        };
        Gateways::new(of.iter().map(target).collect())
    }

    fn address(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn names_are_looked_up_once_and_bounded() {
        let mut gateways = gateways(&[("127.0.0.1:4433", 1)]);
        let home = gateways.home(1, 0);
        let other = gateways.named("127.0.0.1:5544").expect("an address");
        assert_eq!(gateways.named("127.0.0.1:5544"), Some(other));
        assert_eq!(gateways.address(other), address("127.0.0.1:5544"));
        assert_eq!(gateways.named("127.0.0.1:4433"), Some(home));
        assert_eq!(gateways.named("no port"), None);
        assert_eq!(gateways.named("[::1]:5544"), None, "the sockets are of IPv4");
        let draws_nothing = || -> u64 { panic!("there is nothing to choose") };
        assert_eq!(gateways.another(other, draws_nothing), other);
        let back = gateways.after_failure(other, draws_nothing);
        assert_eq!(gateways.address(back), address("127.0.0.1:4433"));
        assert_eq!(gateways.after_failure(back, draws_nothing), other);
        for port in 1..200 {
            let _ = gateways.named(&format!("127.0.0.1:{port}"));
        }
        assert_eq!(gateways.others.len(), GATEWAYS_MAX);
        assert_eq!(gateways.named("127.0.0.1:999"), None);
    }

    #[test]
    fn sessions_begin_by_weight_and_where_the_seed_says() {
        let three = gateways(&[("127.0.0.1:1", 1), ("127.0.0.1:2", 3), ("127.0.0.1:3", 0)]);
        let homes = |seed| {
            (0..4_000)
                .map(|index| three.home(seed, index).place())
                .collect::<Vec<_>>()
        };
        assert_eq!(homes(7), homes(7));
        assert_ne!(homes(7), homes(8));
        let at = |place| homes(7).iter().filter(|home| **home == place).count();
        assert!((900..1_100).contains(&at(0)), "{}", at(0));
        assert_eq!(
            (at(0) + at(1), at(2)),
            (4_000, 0),
            "nobody begins where there is no weight"
        );
    }

    #[test]
    fn who_leaves_goes_to_another_and_in_need_to_one_without_weight() {
        let mut three = gateways(&[("127.0.0.1:1", 1), ("127.0.0.1:2", 3), ("127.0.0.1:3", 0)]);
        let draws = [0, u64::MAX / 2, u64::MAX];
        for draw in draws {
            assert_eq!(three.another(Gateway::only(0), || draw).place(), 1);
            assert_eq!(three.after_failure(Gateway::only(1), || draw).place(), 0);
            assert!(three.another(Gateway::only(2), || draw).place() < 2);
        }
        // One that a gateway named, which is none of the scenario's, and one that is.
        let stranger = three.named("127.0.0.1:9").expect("an address");
        assert_eq!((stranger.place(), three.address(stranger)), (3, address("127.0.0.1:9")));
        assert!(three.after_failure(stranger, || 5).place() < 2);
        assert_eq!(three.named("127.0.0.1:3"), Some(Gateway::only(2)));
        let spare = gateways(&[("127.0.0.1:1", 1), ("127.0.0.1:2", 0), ("127.0.0.1:3", 0)]);
        let places = draws.map(|draw| spare.another(Gateway::only(0), || draw).place());
        assert_eq!((places[0], places[2]), (1, 2));
    }

    #[test]
    fn sockets_are_opened_for_what_is_not_on_this_machine() {
        let near = gateways(&[("127.0.0.1:1", 1), ("127.0.0.2:1", 1)]);
        assert_eq!(near.farthest(), address("127.0.0.1:1"));
        let far = gateways(&[("127.0.0.1:1", 1), ("192.0.2.1:1", 1)]);
        assert_eq!(far.farthest(), address("192.0.2.1:1"));
    }
}
