//! One phone's path: when each of its datagrams arrives, which address it has, and when it is dead.

use super::{Counts, Networks, Profile, Way};
use crate::backoff::Jitter;
use crate::schedule::Micros;

/// Keeps the draws of a path apart from each other and from all others of the run.
const SALTS: [u64; 5] = [0x6f75_7421, 0x696e_2121, 0x6e61_7421, 0x6465_6164, 0x7274_7421];
/// The least time between a datagram and its double, at the most.
const DOUBLE_MS: u64 = 1;
const NEVER: Micros = Micros(u64::MAX);

#[derive(Debug)]
pub(super) struct Path {
    network: u32,
    binding: u32,
    /// From end to end in one direction, without jitter.
    one_way: Micros,
    /// Of datagrams, by direction.
    fates: [Jitter; 2],
    /// When the last datagram of each direction arrives that keeps its place.
    last: [Micros; 2],
    rebinding: Jitter,
    rebinds_at: Micros,
    dying: Jitter,
    is_dead: bool,
    /// Since when it is dead no more, as of the last [`live`](Self::live); zero when it never died.
    alive_since: Micros,
    /// When it dies, or when it is dead no more.
    turns_at: Micros,
}

impl Path {
    pub(super) fn new(networks: &Networks, phone: u32) -> Self {
        let place = networks.place(phone);
        let mut draws = SALTS.map(|salt| Jitter::new(networks.seed ^ salt, phone.into()));
        let profile = networks.profiles.get(place);
        // The first time falls anywhere, so that not all come together.
        let first = |draws: &mut Jitter, every: fn(&Profile) -> Micros| match profile.map(every) {
            Some(every) if every > Micros::ZERO => Micros(draws.between(1, every.0)),
            _ => NEVER,
        };
        let rebinds_at = first(&mut draws[2], |profile| profile.rebinds_every);
        let turns_at = first(&mut draws[3], |profile| profile.dies_every);
        let round_trip = profile.map_or(0, |profile| between(&mut draws[4], profile.round_trip).0);
        let [out, incoming, rebinding, dying, _] = draws;
        Self {
            network: place as u32,
            binding: 0,
            one_way: Micros(round_trip / 2),
            fates: [out, incoming],
            last: [Micros::ZERO; 2],
            rebinding,
            rebinds_at,
            dying,
            is_dead: false,
            alive_since: Micros::ZERO,
            turns_at,
        }
    }

    /// Its network's place.
    pub(super) fn network(&self) -> usize {
        self.network as usize
    }

    /// How many addresses it had before this one, as of the last [`live`](Self::live).
    pub(super) fn binding(&self) -> u32 {
        self.binding
    }

    /// Whether it has not been dead since then, as of the last [`live`](Self::live).
    pub(super) fn has_lived_since(&self, since: Micros) -> bool {
        !self.is_dead && self.alive_since <= since
    }

    /// Lets happen what happens to it by itself until now.
    pub(super) fn live(&mut self, now: Micros, profile: Option<&Profile>, counts: &mut Counts) {
        let Some(profile) = profile else {
            return;
        };
        while self.rebinds_at <= now {
            self.binding += 1;
            counts.rebinds += 1;
            self.rebinds_at = self.rebinds_at.plus(around(&mut self.rebinding, profile.rebinds_every));
        }
        while self.turns_at <= now {
            self.is_dead = !self.is_dead;
            let lasts = if self.is_dead {
                counts.deaths += 1;
                between(&mut self.dying, profile.dead_for)
            } else {
                self.binding += 1;
                self.alive_since = self.turns_at;
                around(&mut self.dying, profile.dies_every)
            };
            self.turns_at = self.turns_at.plus(lasts);
        }
    }

    /// When a datagram that enters now arrives: not at all, once, or twice.
    pub(super) fn fate(
        &mut self,
        now: Micros,
        way: Way,
        profile: Option<&Profile>,
        counts: &mut Counts,
    ) -> [Option<Micros>; 2] {
        self.live(now, profile, counts);
        let Some(profile) = profile else {
            return [Some(now), None];
        };
        let draws = &mut self.fates[way as usize];
        // All are drawn for every datagram, so that what becomes of one shifts no draw of the next.
        let [is_lost, is_overtaken, is_double] =
            [profile.loss, profile.reordering, profile.duplication].map(|share| chance(draws, share));
        let jitter = draws.between(0, profile.jitter.0);
        let later = between(draws, profile.reordered_by);
        let double_later = draws.between(0, profile.jitter.0.max(Micros::from_ms(DOUBLE_MS).0));
        if self.is_dead {
            counts.dead += 1;
            return [None, None];
        }
        if is_lost {
            counts.lost += 1;
            return [None, None];
        }
        let alone = now.plus(self.one_way).plus(Micros(jitter));
        let last = &mut self.last[way as usize];
        let at = alone.max(*last);
        let at = if is_overtaken {
            counts.reordered += 1;
            at.plus(later)
        } else {
            *last = at;
            at
        };
        counts.duplicated += u64::from(is_double);
        [Some(at), is_double.then(|| at.plus(Micros(double_later)))]
    }
}

/// Whether a draw falls into the share. 53 bits are what a float holds exactly, so that a share of 1 is always.
fn chance(draws: &mut Jitter, share: f64) -> bool {
    ((draws.next_u64() >> 11) as f64) < share * 2_f64.powi(53)
}

fn between(draws: &mut Jitter, [least, most]: [Micros; 2]) -> Micros {
    Micros(draws.between(least.0, most.0))
}

/// From half of the mean to half as much again, and never nothing.
fn around(draws: &mut Jitter, mean: Micros) -> Micros {
    Micros(draws.between(mean.0 / 2, mean.0 / 2 + mean.0).max(1))
}
