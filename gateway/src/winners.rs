//! What each user has won, as far as this gateway knows: its own wins, and what the users' cookies said.
//!
//! Shared by all shards, because one user may hold connections to several. Only users who won something are in it,
//! and their number is capped: past the cap nobody new wins (it fails closed). No guard is held across another access.

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use shake_rules::UserId;
use shake_rules::winnings::{WinLimits, Winnings, Won};

/// Tables that the users are spread over. A table grows by moving all of its entries while the shards wait for it; with
/// so many, at four million users each has eight thousand.
const TABLES: usize = 512;

pub struct Winners {
    users: DashMap<UserId, Packed>,
    users_max: usize,
}

/// [`Winnings`] without the room for more: nearly all have one packet or two, and a table has places that are empty.
type Packed = Box<[Won]>;

fn unpack(packed: &Packed) -> Winnings {
    packed.iter().copied().collect()
}

/// Why a win was not reserved.
#[derive(Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The user has won as much as one user may.
    Limit,
    /// No room for another user.
    Full,
}

impl Winners {
    pub fn new(users_max: usize) -> Self {
        Self {
            users: DashMap::with_shard_amount(TABLES),
            users_max,
        }
    }

    /// What the user has won.
    pub fn of(&self, user: UserId) -> Winnings {
        self.users.get(&user).map(|packed| unpack(&packed)).unwrap_or_default()
    }

    /// Takes over what a cookie says. Returns all that is known. Past the cap a cookie of a new user is not kept;
    /// that user can win nothing then either.
    pub fn merge(&self, user: UserId, said: &Winnings) -> Winnings {
        if said.as_slice().is_empty() || (self.is_full() && !self.users.contains_key(&user)) {
            return self.of(user);
        }
        let mut packed = self.users.entry(user).or_default();
        let mut known = unpack(&packed);
        known.merge(said);
        *packed = known.as_slice().into();
        known
    }

    /// Whether the user may win nothing more at all.
    pub fn is_at_limit(&self, user: UserId, limits: WinLimits) -> bool {
        self.of(user).is_full(limits)
    }

    /// Counts a win in, if the limits allow it; check and change are one step for all shards. Returns what the user
    /// has won with it.
    pub fn reserve(&self, user: UserId, won: Won, limits: WinLimits) -> Result<Winnings, Refusal> {
        let is_full = self.is_full();
        match self.users.entry(user) {
            Entry::Vacant(_) if is_full => Err(Refusal::Full),
            entry => {
                let mut packed = entry.or_default();
                let mut known = unpack(&packed);
                if !known.allow(won.sponsor, limits) {
                    return Err(Refusal::Limit);
                }
                known.add(won);
                *packed = known.as_slice().into();
                Ok(known)
            }
        }
    }

    fn is_full(&self) -> bool {
        self.users.len() >= self.users_max
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shake_rules::{PacketId, SponsorId};

    const LIMITS: WinLimits = WinLimits {
        packets_per_user: 3,
        packets_per_sponsor: 1,
    };

    fn won(packet: u64, sponsor: u16) -> Won {
        Won {
            packet: PacketId(packet),
            sponsor: SponsorId(sponsor),
        }
    }

    #[test]
    fn limits_hold_whatever_the_cookie_says() {
        let winners = Winners::new(10);
        let user = UserId(1);
        assert!(winners.reserve(user, won(1, 1), LIMITS).is_ok());
        assert_eq!(winners.reserve(user, won(2, 1), LIMITS), Err(Refusal::Limit));
        // A replayed older cookie takes nothing back; one from another gateway adds.
        let mut other = Winnings::default();
        other.add(won(9, 2));
        assert_eq!(winners.merge(user, &Winnings::default()).as_slice().len(), 1);
        assert_eq!(winners.merge(user, &other).as_slice().len(), 2);
        assert!(winners.reserve(user, won(3, 3), LIMITS).is_ok());
        assert!(winners.is_at_limit(user, LIMITS));
        assert_eq!(winners.reserve(user, won(4, 4), LIMITS), Err(Refusal::Limit));
    }

    #[test]
    fn past_the_cap_it_fails_closed() {
        let winners = Winners::new(1);
        assert!(winners.reserve(UserId(1), won(1, 1), LIMITS).is_ok());
        assert_eq!(winners.reserve(UserId(2), won(2, 2), LIMITS), Err(Refusal::Full));
        assert!(winners.reserve(UserId(1), won(2, 2), LIMITS).is_ok());
    }

    #[test]
    fn many_threads_reserve_no_more_than_the_limit() {
        let winners = Winners::new(10);
        let count = std::sync::atomic::AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for thread in 0..8_u64 {
                let (winners, count) = (&winners, &count);
                scope.spawn(move || {
                    for index in 0..100 {
                        let packet = thread * 100 + index;
                        if winners.reserve(UserId(5), won(packet, packet as u16), LIMITS).is_ok() {
                            count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        assert_eq!(count.into_inner(), 3);
    }
}
