//! Places for connections of strangers: so many in all, so many of one address, and the oldest gives way to the newest. Who
//! holds one and does nothing with it keeps nobody out. No I/O, no clock.

use std::collections::VecDeque;
use std::net::IpAddr;

/// How many there are.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub all: usize,
    /// More of them, for this machine's own addresses alone.
    pub own_more: usize,
    pub of_an_address: usize,
}

/// The places that are taken, oldest first.
pub struct Places<T> {
    limits: Limits,
    next: u64,
    taken: VecDeque<Place<T>>,
}

struct Place<T> {
    number: u64,
    address: IpAddr,
    holder: T,
}

impl<T> Places<T> {
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            next: 0,
            taken: VecDeque::new(),
        }
    }

    /// Gives a place to `holder`: its number, and who must go for it.
    pub fn take(&mut self, address: IpAddr, holder: T) -> (u64, Option<(IpAddr, T)>) {
        let gone = self.oldest_to_go(address).and_then(|at| self.taken.remove(at));
        let number = self.next;
        self.next += 1;
        self.taken.push_back(Place {
            number,
            address,
            holder,
        });
        (number, gone.map(|place| (place.address, place.holder)))
    }

    /// Frees a place; nothing when its holder had to go.
    pub fn free(&mut self, number: u64) {
        self.taken.retain(|place| place.number != number);
    }

    fn oldest_to_go(&self, newcomer: IpAddr) -> Option<usize> {
        let Limits {
            all,
            own_more,
            of_an_address,
        } = self.limits;
        let is_own = newcomer.to_canonical().is_loopback();
        if !is_own && self.taken.iter().filter(|place| place.address == newcomer).count() >= of_an_address {
            return self.taken.iter().position(|place| place.address == newcomer);
        }
        let strangers = self.taken.iter().filter(|place| !is_own_place(place)).count();
        if self.taken.len() >= all + own_more || !is_own && strangers >= all {
            // Of strangers first: who sits at the machine is to get in whatever comes from outside.
            let of_stranger = self.taken.iter().position(|place| !is_own_place(place));
            return of_stranger.or(Some(0));
        }
        None
    }
}

fn is_own_place<T>(place: &Place<T>) -> bool {
    place.address.to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        all: 6,
        own_more: 2,
        of_an_address: 2,
    };

    fn stranger(number: u8) -> IpAddr {
        [192, 0, 2, number].into()
    }

    const OWN: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn the_oldest_gives_way_and_of_one_address_its_own() {
        let mut places = Places::new(LIMITS);
        let mut take = |address, holder| places.take(address, holder).1.map(|(_, gone)| gone);
        assert_eq!([take(stranger(1), "a"), take(stranger(1), "b")], [None, None]);
        assert_eq!(take(stranger(1), "c"), Some("a"), "three of one address");
        assert_eq!([2, 3, 4, 5].map(|n| take(stranger(n), "d")), [None; 4]);
        assert_eq!(take(stranger(6), "e"), Some("b"), "a seventh in all");
    }

    #[test]
    fn whatever_comes_from_outside_this_machine_gets_in_and_stays() {
        let mut places = Places::new(LIMITS);
        for _ in 0..3 {
            for n in 0..100 {
                places.take(stranger(n), "stranger");
            }
            assert_eq!(places.take(OWN, "own").1, None);
            for n in 0..100 {
                let gone = places.take(stranger(n), "stranger").1;
                assert!(gone.is_none_or(|(_, gone)| gone == "stranger"));
            }
            assert!(places.taken.len() <= LIMITS.all + LIMITS.own_more);
            places.taken.retain(|place| place.holder != "own");
        }
    }

    #[test]
    fn a_place_is_freed_once() {
        let mut places = Places::new(LIMITS);
        let (first, _) = places.take(stranger(1), "a");
        let (second, _) = places.take(stranger(1), "b");
        let (_, gone) = places.take(stranger(1), "c");
        assert_eq!(gone, Some((stranger(1), "a")));
        places.free(first);
        assert_eq!(places.taken.len(), 2);
        places.free(second);
        assert_eq!(places.taken.len(), 1);
    }
}
