//! The networks between phones and gateway, as a simulation: datagrams and times go in, datagrams and times come out.
//!
//! ```text
//! engine ── send(now, phone, way, datagram) ──▶ path of the phone ── fate ──▶ queue by time ──▶ take(now) ── engine
//! ```
//! A datagram may be lost, come late, be overtaken, or come twice. A phone's NAT may give it another address, and its path
//! may die for a while. The queue is bounded; what does not fit is lost and counted.
//!
//! Invariant: no I/O and no clock. All draws come from the seed and the phone's index, and the n-th datagram of a phone in a
//! direction has the n-th draw of that direction, whatever else is under way.

mod path;
mod profile;
mod queue;
#[cfg(test)]
mod tests;

pub use profile::{DIRECT, Networks, Profile};

use crate::schedule::Micros;
use path::Path;
use queue::Queue;
use serde::{Deserialize, Serialize};
use std::ops::Range;
use std::sync::Arc;

/// A direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the phone to the gateway.
    Out,
    /// From the gateway to the phone.
    In,
}

/// What became of the datagrams of one network's phones, both ways together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    /// Datagrams that entered the network.
    pub datagrams: u64,
    /// Of these, lost at random.
    pub lost: u64,
    /// Lost on a dead path.
    pub dead: u64,
    /// Sent to an address that the phone's NAT has given up.
    pub strayed: u64,
    /// Lost because the simulation's queue was full.
    pub overflowed: u64,
    /// Overtaken by later ones.
    pub reordered: u64,
    /// Delivered twice.
    pub duplicated: u64,
    /// Times that a NAT gave a phone another address.
    pub rebinds: u64,
    /// Times that a path died.
    pub deaths: u64,
}

/// A datagram at the end of its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival<T> {
    /// Where it went.
    pub way: Way,
    /// The phone's index.
    pub phone: u32,
    /// Its bytes.
    pub datagram: Box<[u8]>,
    /// What the engine noted with it.
    pub note: T,
}

/// The networks of some phones, and what is under way in them.
#[derive(Debug)]
pub struct Network<T> {
    networks: Arc<Networks>,
    /// Index of the first phone; the others follow.
    first: u32,
    paths: Vec<Path>,
    under_way: Queue<Arrival<T>>,
    /// By network, in the order of [`Networks::names`].
    counts: Vec<Counts>,
}

impl<T: Clone> Network<T> {
    /// For the phones of these indices, with at most so many datagrams under way.
    #[must_use]
    pub fn new(networks: Arc<Networks>, phones: Range<u32>, datagrams_max: usize) -> Self {
        Self {
            first: phones.start,
            paths: phones.map(|phone| Path::new(&networks, phone)).collect(),
            under_way: Queue::new(datagrams_max),
            counts: vec![Counts::default(); networks.names().count()],
            networks,
        }
    }

    /// Lets a datagram enter.
    pub fn send(&mut self, now: Micros, phone: u32, way: Way, datagram: &[u8], note: T) {
        let path = &mut self.paths[(phone - self.first) as usize];
        let counts = &mut self.counts[path.network()];
        counts.datagrams += 1;
        let profile = self.networks.profiles.get(path.network());
        let arrivals = path.fate(now, way, profile, counts);
        for at in arrivals.into_iter().flatten() {
            let arrival = Arrival {
                way,
                phone,
                datagram: datagram.into(),
                note: note.clone(),
            };
            counts.overflowed += u64::from(!self.under_way.push(at, arrival));
        }
    }

    /// Takes a datagram whose time has come, the earliest first.
    pub fn take(&mut self, now: Micros) -> Option<Arrival<T>> {
        self.under_way.pop(now)
    }

    /// When the next one arrives.
    #[must_use]
    pub fn next_at(&self) -> Option<Micros> {
        self.under_way.next_at()
    }

    /// Whether the phone's path has not been dead since then.
    pub fn has_lived_since(&mut self, now: Micros, phone: u32, since: Micros) -> bool {
        self.live(now, phone).has_lived_since(since)
    }

    /// How many addresses the phone's NAT has given it before the one that it has now.
    pub fn binding(&mut self, now: Micros, phone: u32) -> u32 {
        self.live(now, phone).binding()
    }

    /// The phone's path, as it is now.
    fn live(&mut self, now: Micros, phone: u32) -> &Path {
        let path = &mut self.paths[(phone - self.first) as usize];
        let place = path.network();
        path.live(now, self.networks.profiles.get(place), &mut self.counts[place]);
        path
    }

    /// Counts a datagram that came to an address which the phone's NAT has given up. It goes no further.
    pub fn stray(&mut self, phone: u32) {
        let counts = &mut self.counts[self.paths[(phone - self.first) as usize].network()];
        counts.datagrams += 1;
        counts.strayed += 1;
    }

    /// What became of the datagrams, by network.
    #[must_use]
    pub fn counts(&self) -> &[Counts] {
        &self.counts
    }
}
