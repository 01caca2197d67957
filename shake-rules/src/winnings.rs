//! What one user has won: a small set of packets. Knowledge of it lives in several places (the cookie that the
//! client carries, the gateway's memory, the ledger), and is merged by union, which is a join: it forgets
//! nothing, and merging twice or in another order changes nothing. So a client gains nothing by dropping or
//! replaying its cookie.

use crate::{PacketId, SponsorId};

/// The most packets that a user may win in one event, whatever a show file asks for.
pub const PACKETS_PER_USER_MAX: usize = 8;

/// Who may win how much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WinLimits {
    /// Packets that a user may win over the whole event; at most [`PACKETS_PER_USER_MAX`].
    pub packets_per_user: u8,
    /// Packets that a user may win of one sponsor.
    pub packets_per_sponsor: u8,
}

/// One packet won.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Won {
    /// The packet.
    pub packet: PacketId,
    /// Who funded it.
    pub sponsor: SponsorId,
}

/// The set of packets that one user has won, in order of packet id.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Winnings {
    len: u8,
    won: [Won; PACKETS_PER_USER_MAX],
}

impl Winnings {
    /// The packets won, in order of packet id.
    #[must_use]
    pub fn as_slice(&self) -> &[Won] {
        &self.won[..usize::from(self.len)]
    }

    /// Adds a packet. A packet that is there already, or one too many, changes nothing: a user at the cap wins
    /// no more either way.
    pub fn add(&mut self, won: Won) {
        let len = usize::from(self.len);
        let Err(at) = self.as_slice().binary_search_by_key(&won.packet, |w| w.packet) else {
            return;
        };
        if len < PACKETS_PER_USER_MAX {
            self.won.copy_within(at..len, at + 1);
            self.won[at] = won;
            self.len += 1;
        }
    }

    /// Takes over all that `other` knows.
    pub fn merge(&mut self, other: &Self) {
        for won in other.as_slice() {
            self.add(*won);
        }
    }

    /// Whether one more packet of this sponsor stays within the limits.
    #[must_use]
    pub fn allow(&self, sponsor: SponsorId, limits: WinLimits) -> bool {
        let of_sponsor = self.as_slice().iter().filter(|won| won.sponsor == sponsor).count();
        self.as_slice().len() < usize::from(limits.packets_per_user)
            && of_sponsor < usize::from(limits.packets_per_sponsor)
    }

    /// Whether the user may win nothing more of anyone.
    #[must_use]
    pub fn is_full(&self, limits: WinLimits) -> bool {
        self.as_slice().len() >= usize::from(limits.packets_per_user)
    }
}

impl FromIterator<Won> for Winnings {
    fn from_iter<I: IntoIterator<Item = Won>>(packets: I) -> Self {
        let mut winnings = Self::default();
        packets.into_iter().for_each(|won| winnings.add(won));
        winnings
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn set(packets: &[(u64, u16)]) -> Winnings {
        let won = |&(packet, sponsor)| Won {
            packet: PacketId(packet),
            sponsor: SponsorId(sponsor),
        };
        packets.iter().map(won).collect()
    }

    fn merged(a: &Winnings, b: &Winnings) -> Winnings {
        let mut merged = *a;
        merged.merge(b);
        merged
    }

    #[test]
    fn limits() {
        let limits = WinLimits {
            packets_per_user: 3,
            packets_per_sponsor: 1,
        };
        let won = set(&[(1, 10), (2, 11)]);
        assert!(won.allow(SponsorId(12), limits));
        assert!(!won.allow(SponsorId(10), limits));
        assert!(!set(&[(1, 10), (2, 11), (3, 12)]).allow(SponsorId(13), limits));
    }

    proptest! {
        /// Against a map as the oracle, within the cap.
        #[test]
        fn merging_is_a_join(
            a in proptest::collection::vec((0_u64..6, 0_u16..3), 0..4),
            b in proptest::collection::vec((6_u64..9, 0_u16..3), 0..4),
        ) {
            let (x, y) = (set(&a), set(&b));
            prop_assert_eq!(merged(&x, &y), merged(&y, &x));
            prop_assert_eq!(merged(&x, &x), x);
            prop_assert_eq!(merged(&merged(&x, &y), &y), merged(&x, &y));
            let mut oracle = BTreeMap::new();
            for (packet, sponsor) in a.into_iter().chain(b) {
                oracle.entry(packet).or_insert(sponsor);
            }
            let found: Vec<_> = merged(&x, &y).as_slice().iter().map(|w| (w.packet.0, w.sponsor.0)).collect();
            prop_assert_eq!(found, oracle.into_iter().collect::<Vec<_>>());
        }
    }
}
