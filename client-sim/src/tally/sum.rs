//! How the counts of parts of a run add up: field by field, and no field may be left out.

use super::{
    Claims, Course, Errands, ErrorCount, NetworkTally, Packages, Packets, Sessions, Shakes, StepShakes, Tally,
    Violations,
};
use crate::network::Counts;
use hdrhistogram::Histogram;
use std::collections::{BTreeMap, BTreeSet};

/// What is counted in parts.
pub(crate) trait Sum {
    /// Adds another part of the run.
    fn add(&mut self, other: &Self);
}

impl Sum for u64 {
    fn add(&mut self, other: &Self) {
        *self += other;
    }
}

impl<T: Sum, const N: usize> Sum for [T; N] {
    fn add(&mut self, other: &Self) {
        self.iter_mut().zip(other).for_each(|(mine, theirs)| mine.add(theirs));
    }
}

impl<T: Clone> Sum for Vec<T> {
    fn add(&mut self, other: &Self) {
        self.extend_from_slice(other);
    }
}

impl<K: Ord + Clone, V: Sum + Default> Sum for BTreeMap<K, V> {
    fn add(&mut self, other: &Self) {
        for (name, theirs) in other {
            self.entry(name.clone()).or_default().add(theirs);
        }
    }
}

impl<T: Ord + Clone> Sum for BTreeSet<T> {
    fn add(&mut self, other: &Self) {
        self.extend(other.iter().cloned());
    }
}

impl Sum for Histogram<u64> {
    fn add(&mut self, other: &Self) {
        Histogram::add(self, other).expect("all have the bounds of `latencies`");
    }
}

impl Sum for ErrorCount {
    fn add(&mut self, other: &Self) {
        if self.count == 0 {
            self.example.clone_from(&other.example);
        }
        self.count += other.count;
    }
}

/// Structs whose sum is that of their fields.
macro_rules! sums {
    ($($name:ident { $($field:ident),* $(,)? })*) => {$(
        impl Sum for $name {
            fn add(&mut self, other: &Self) {
                let $name { $($field),* } = other;
                $(Sum::add(&mut self.$field, $field);)*
            }
        }
    )*};
}

sums! {
    Sessions {
        connected, reconnected, failed, lost, connect_failures, hello_failures, moved, told_to_go_away, phase_notices,
    }
    Shakes { sent, sent_on_streams, answered, unanswered, late, unexpected, held_back, postponed, skipped_offline }
    NetworkTally { hellos, hellos_over_dead_paths, connect_failures, hello_failures, lost, sent, answered, hello_latency, claim_latency, datagrams }
    Counts { datagrams, lost, dead, strayed, overflowed, reordered, duplicated, rebinds, deaths }
    StepShakes { sent, answered, unanswered, held_back, skipped_offline }
    Course { repeats, refused, busy, retries, gave_up, failed, unfinished }
    Errands { begun, done, course }
    Claims { wins, opened, course, hoarded, split }
    Packets {
        sends, sends_named, grabs, grabs_empty, views, wallets, wallets_equal, wallets_with_refunds,
        wallets_not_compared, offers, codes_told, codes_heard, ignored,
    }
    Packages { manifests, ids, begun, outside_window, fetched, bytes, failures, unknown_ids }
    Violations {
        malformed_replies, wrong_sponsor, opened_twice, overdrawn, answers_changed, paid_twice, empty_shares,
        offers_broken, sends_refused, views_wrong, wallets_wrong,
    }
    Tally {
        sessions, shakes, steps, outcomes, unknown_outcomes, phases, slow_downs, versions, hellos_again, claims, packets,
        packages, opened, grabbed, sent, latency, claim_latency, connect_latency, networks, errors, violations,
    }
}
