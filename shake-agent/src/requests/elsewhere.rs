//! Packets that another writer of the ledger had a moment ago. A code that is read out on television is in every batch of every agent,
//! and one of them has its packet: who asked for it in each batch would do so in vain nearly always, and pay three round trips for it.
//! So nobody here asks again for a while, and then all who wait do at once. The while is drawn, so that no agent always comes after
//! another.

use rand::{Rng, RngExt};
use shake_rules::{PacketId, UnixMillis};
use std::collections::HashMap;
use std::ops::RangeInclusive;

/// How long nobody asks for a packet that another writer had, in milliseconds: several transactions, and little of what a request
/// may wait.
pub const ELSEWHERE_MS: RangeInclusive<u64> = 20..=100;

/// Until when nobody asks for a packet.
#[derive(Debug, Default)]
pub(super) struct Elsewhere(HashMap<PacketId, UnixMillis>);

impl Elsewhere {
    /// Another writer has the packet.
    pub(super) fn note(&mut self, packet: PacketId, now: UnixMillis, rng: &mut impl Rng) {
        if !self.has(packet, now) {
            self.0.insert(packet, now.plus_ms(rng.random_range(ELSEWHERE_MS)));
        }
    }

    /// Forgets what may be asked for again.
    pub(super) fn forget(&mut self, now: UnixMillis) {
        self.0.retain(|_, until| is_ahead(*until, now));
    }

    /// Whether nobody asks for the packet now.
    pub(super) fn has(&self, packet: PacketId, now: UnixMillis) -> bool {
        self.0.get(&packet).is_some_and(|until| is_ahead(*until, now))
    }

    /// Whether every packet may be asked for.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A clock that went back puts nothing off for longer.
fn is_ahead(until: UnixMillis, now: UnixMillis) -> bool {
    (1..=*ELSEWHERE_MS.end()).contains(&until.since_ms(now))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    #[test]
    fn a_packet_is_asked_for_again_after_a_while_that_is_drawn() {
        let mut rng = StdRng::seed_from_u64(1);
        let (packet, at) = (PacketId(1), UnixMillis);
        let mut ends = Vec::new();
        for _ in 0..20 {
            let mut elsewhere = Elsewhere::default();
            assert!(elsewhere.is_empty());
            elsewhere.note(packet, at(1_000), &mut rng);
            let mut later = 1_000..=2_000;
            let end = later.find(|&ms| !elsewhere.has(packet, at(ms))).expect("it ends");
            // Noted once more, it is put off no longer; and by a clock that went back not at all.
            elsewhere.note(packet, at(end - 1), &mut rng);
            assert!(!elsewhere.has(packet, at(end)) && !elsewhere.has(packet, at(900 - 1)));
            assert!(!elsewhere.has(PacketId(2), at(1_000)));
            elsewhere.forget(at(end - 1));
            assert!(!elsewhere.is_empty());
            elsewhere.forget(at(end));
            assert!(elsewhere.is_empty());
            ends.push(end - 1_000);
        }
        assert!(ends.iter().all(|end| ELSEWHERE_MS.contains(end)), "{ends:?}");
        ends.sort_unstable();
        ends.dedup();
        assert!(ends.len() > 5, "{ends:?}");
    }
}
