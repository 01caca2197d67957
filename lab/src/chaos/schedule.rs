//! Which faults strike when: a pure function of the seed, the kinds and the round's number. The same three give the same
//! schedule, whatever happened in the rounds before.

use super::fault::{Kind, Planned};

/// Most faults of a round.
const FAULTS_MAX: u64 = 3;
/// The first fault comes at this time at the latest, in milliseconds after all phones shake.
const FROM_MS: (u64, u64) = (1_000, 3_500);
/// Time between two faults that strike the same, in milliseconds.
const GAP_MS: (u64, u64) = (100, 1_500);

/// SplitMix64 (G. Steele, D. Lea, C. Flood, "Fast Splittable Pseudorandom Number Generators", 2014): the same draws from
/// the same seed, in every release.
#[derive(Clone, Debug)]
pub struct Draws(u64);

impl Draws {
    /// Draws of their own for each `stream` of a seed.
    pub fn new(seed: u64, stream: u64) -> Self {
        let mut draws = Self(seed ^ stream.wrapping_mul(0xd6e8_feb8_6659_fd93));
        draws.0 = draws.next();
        draws
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// An even draw from low to high, both included.
    pub fn between(&mut self, (low, high): (u64, u64)) -> u64 {
        let width = u128::from(high - low) + 1;
        low + ((u128::from(self.next()) * width) >> 64) as u64
    }
}

/// Streams of the seed: one for the order of the kinds, one for the machines that are struck, one for each round.
const DECKS: u64 = 1 << 40;
const MACHINES: u64 = 1 << 41;

/// What a schedule is drawn from, beside the round.
#[derive(Clone, Debug)]
pub struct Deck {
    pub seed: u64,
    pub kinds: Vec<Kind>,
    /// How many machines there are to strike.
    pub machines: u8,
}

/// The faults of a round, in the order of their beginning. Rounds count from 1.
///
/// Kinds are dealt from a shuffled deck of all, so that each comes once before one comes again, and a campaign of ten
/// rounds meets every kind.
pub fn faults(deck: &Deck, round: u32) -> Vec<Planned> {
    let Deck {
        seed,
        ref kinds,
        machines,
    } = *deck;
    let dealt: u64 = (1..round).map(|before| count(seed, before)).sum();
    let mut draws = Draws::new(seed, round.into());
    let mut planned: Vec<Planned> = Vec::new();
    for at in dealt..dealt + count(seed, round) {
        let fault = place(card(seed, kinds, at), &planned, &mut draws);
        let is_of_one = machines > 1 && fault.kind.is_of_one_machine();
        let drawn = || Draws::new(seed, MACHINES + at).between((0, u64::from(machines) - 1)) as u8;
        planned.push(Planned {
            machine: is_of_one.then(drawn),
            ..fault
        });
    }
    planned.sort_by_key(|fault| fault.from_ms);
    planned
}

/// How many faults a round has.
fn count(seed: u64, round: u32) -> u64 {
    Draws::new(!seed, round.into()).between((1, FAULTS_MAX))
}

/// The kind at this place of deck after deck.
fn card(seed: u64, kinds: &[Kind], at: u64) -> Kind {
    let (deck, place) = (at / kinds.len() as u64, at % kinds.len() as u64);
    let mut draws = Draws::new(seed, DECKS + deck);
    let mut cards = kinds.to_vec();
    // Fisher and Yates, from the end.
    for last in (1..cards.len()).rev() {
        cards.swap(last, draws.between((0, last as u64)) as usize);
    }
    cards[place as usize]
}

/// Draws time and strength; moves the fault behind those that it would collide with.
fn place(kind: Kind, planned: &[Planned], draws: &mut Draws) -> Planned {
    let traits = kind.traits();
    let mut draw = |(low, high): (u32, u32)| draws.between((low.into(), high.into())) as u32;
    let lasts_ms = draw(traits.lasts_ms);
    let strength = draw(traits.strength);
    let mut from_ms = draws.between(FROM_MS) as u32;
    let mut others: Vec<_> = planned.iter().filter(|other| other.kind.excludes(kind)).collect();
    others.sort_by_key(|other| other.from_ms);
    for other in others {
        if from_ms < other.until_ms + GAP_MS.0 as u32 && other.from_ms < from_ms + lasts_ms {
            from_ms = other.until_ms + draws.between(GAP_MS) as u32;
        }
    }
    Planned {
        kind,
        from_ms,
        until_ms: from_ms + lasts_ms,
        strength,
        machine: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn deck(seed: u64, kinds: &[Kind], machines: u8) -> Deck {
        let kinds = kinds.to_vec();
        Deck { seed, kinds, machines }
    }

    fn of_a_machine(seed: u64) -> Deck {
        deck(seed, &Kind::all(false), 1)
    }

    #[test]
    fn the_same_seed_gives_the_same_schedule() {
        let all = |seed| {
            (1..50)
                .map(|round| faults(&of_a_machine(seed), round))
                .collect::<Vec<_>>()
        };
        assert_eq!(all(7), all(7));
        assert_ne!(all(7), all(8));
        // A round does not depend on whether those before it were played.
        assert_eq!(all(7)[30], faults(&of_a_machine(7), 31));
        // As it was in the first release: a seed in an old report still repeats its schedule.
        let texts: Vec<_> = faults(&of_a_machine(1), 1).iter().map(ToString::to_string).collect();
        assert_eq!(texts, FIRST, "the schedule of seed 1 has changed");
    }

    const FIRST: [&str; 1] = ["loss 38 % 2.9-5.6 s"];

    #[test]
    fn every_kind_comes_before_one_comes_again() {
        let all = Kind::all(false);
        let mut seen = BTreeSet::new();
        let mut dealt = 0;
        for at in 0..all.len() as u64 * 3 {
            seen.insert(card(3, &all, at));
            dealt += 1;
            if dealt % all.len() == 0 {
                assert_eq!(seen.len(), all.len());
                seen.clear();
            }
        }
    }

    #[test]
    fn faults_keep_their_bounds_and_never_strike_the_same_at_once() {
        let mut struck = BTreeSet::new();
        for seed in 0..200 {
            for round in 1..20 {
                let planned = faults(&of_a_machine(seed), round);
                keep_their_bounds(&planned);
                assert!(planned.iter().all(|fault| fault.machine.is_none()));
                let planned = faults(&deck(seed, &Kind::all(true), 2), round);
                keep_their_bounds(&planned);
                struck.extend(planned.iter().filter_map(|fault| fault.machine));
            }
        }
        assert_eq!(struck, [0, 1].into(), "each machine has its turn");
    }

    fn keep_their_bounds(planned: &[Planned]) {
        assert!((1..=FAULTS_MAX as usize).contains(&planned.len()));
        for (at, fault) in planned.iter().enumerate() {
            let traits = fault.kind.traits();
            let lasts_ms = fault.until_ms - fault.from_ms;
            assert!((traits.lasts_ms.0..=traits.lasts_ms.1).contains(&lasts_ms));
            assert!((traits.strength.0..=traits.strength.1).contains(&fault.strength));
            assert!(fault.until_ms < 20_000, "{fault}");
            for other in planned[at + 1..].iter().filter(|other| other.kind.excludes(fault.kind)) {
                assert!(
                    other.from_ms >= fault.until_ms || fault.from_ms >= other.until_ms,
                    "{fault}, {other}"
                );
            }
        }
    }

    #[test]
    fn few_kinds_are_enough() {
        for round in 1..10 {
            let planned = faults(&deck(5, &[Kind::Loss], 1), round);
            assert!(planned.iter().all(|fault| fault.kind == Kind::Loss));
        }
    }
}
