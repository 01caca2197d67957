//! The counts of each network's phones, by the network's place in the scenario.

use super::LATENCY_US_MAX;
use super::sum::Sum;
use crate::network::Counts;
use hdrhistogram::Histogram;
use std::collections::BTreeMap;

/// Two digits, because every network of every part of a run has such histograms: a percentile is right to 1 %.
const LATENCY_DIGITS: u8 = 2;

/// What came of the phones of one network.
#[derive(Clone, Debug)]
pub struct NetworkTally {
    /// Hellos of new connections that were answered.
    pub hellos: u64,
    /// Of these, over a path that was dead for a part of the time.
    pub hellos_over_dead_paths: u64,
    /// Failed tries to connect, by the name of the reason.
    pub connect_failures: BTreeMap<String, u64>,
    /// Failed Hellos, by the name of the reason.
    pub hello_failures: BTreeMap<String, u64>,
    /// Connections lost after their Hello.
    pub lost: u64,
    /// Shakes handed to the transport.
    pub sent: u64,
    /// Shakes answered in time; the others stay unanswered.
    pub answered: u64,
    /// From the first packet of a connection to the answer to its Hello, in microseconds. Without those over dead paths: their
    /// phones had no network.
    pub hello_latency: Histogram<u64>,
    /// From the first try of a claim to its open packet, in microseconds.
    pub claim_latency: Histogram<u64>,
    /// What became of the datagrams.
    pub datagrams: Counts,
}

impl Default for NetworkTally {
    fn default() -> Self {
        let latencies = || {
            Histogram::new_with_bounds(1, LATENCY_US_MAX, LATENCY_DIGITS)
                .expect("1 is positive, the bound is over twice that, and there are at most 5 digits")
        };
        Self {
            hellos: 0,
            hellos_over_dead_paths: 0,
            connect_failures: BTreeMap::new(),
            hello_failures: BTreeMap::new(),
            lost: 0,
            sent: 0,
            answered: 0,
            hello_latency: latencies(),
            claim_latency: latencies(),
            datagrams: Counts::default(),
        }
    }
}

/// The counts of all networks that anything was counted of. Without a network nothing is counted.
#[derive(Clone, Debug, Default)]
pub struct Networks(Vec<NetworkTally>);

impl Networks {
    /// The counts, by the network's place.
    #[must_use]
    pub fn counts(&self) -> &[NetworkTally] {
        &self.0
    }

    /// Counts something of a phone on this network, if it is on one.
    pub(crate) fn count(&mut self, network: Option<usize>, count: impl FnOnce(&mut NetworkTally)) {
        if let Some(place) = network {
            if self.0.len() <= place {
                self.0.resize_with(place + 1, NetworkTally::default);
            }
            count(&mut self.0[place]);
        }
    }

    /// Adds what a simulation counted of datagrams.
    pub(crate) fn add_datagrams(&mut self, counts: &[Counts]) {
        for (place, datagrams) in counts.iter().enumerate() {
            self.count(Some(place), |counts| Sum::add(&mut counts.datagrams, datagrams));
        }
    }
}

impl Sum for Networks {
    fn add(&mut self, other: &Self) {
        for (place, theirs) in other.0.iter().enumerate() {
            self.count(Some(place), |mine| Sum::add(mine, theirs));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_add_up_whichever_networks_they_saw() {
        let mut parts = [Networks::default(), Networks::default()];
        parts[0].count(None, |_| unreachable!("that phone is on no network"));
        parts[0].count(Some(2), |counts| counts.sent += 5);
        parts[1].count(Some(0), |counts| counts.hello_latency.saturating_record(1_000));
        parts[1].count(Some(2), |counts| counts.sent += 2);
        let lost = Counts {
            lost: 3,
            ..Counts::default()
        };
        parts[1].add_datagrams(&[Counts::default(), lost]);
        let mut sum = Networks::default();
        parts.iter().for_each(|part| sum.add(part));
        let found = sum.counts().iter();
        let found: Vec<_> = found
            .map(|counts| (counts.sent, counts.hello_latency.len(), counts.datagrams.lost))
            .collect();
        assert_eq!(found, [(0, 1, 0), (0, 0, 3), (7, 0, 0)]);
    }
}
