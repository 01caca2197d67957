//! How a change of the gateway's configuration reached the sessions: who saw which version first when.
//!
//! Times are whole milliseconds since the start of the run, counted, not listed: a version costs as much memory as its
//! spreading took milliseconds, whatever the number of sessions.

use super::sum::Sum;
use crate::schedule::Micros;
use std::collections::BTreeMap;

/// Versions kept; of later ones only the number is.
const VERSIONS_MAX: usize = 4_096;

/// First sights of versions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Versions {
    by_number: BTreeMap<u64, Version>,
    /// Sights of versions that are not kept.
    pub not_kept: u64,
}

/// How one version spread.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Version {
    /// Sessions that know this version and no later one.
    pub sessions: u64,
    /// First sight by any session, in milliseconds since the start of the run.
    pub first_ms: u64,
    /// Sessions that came to it from an older version, by the millisecond of the first sight. A session's first Hello is
    /// not among them: nothing was pushed to it.
    pub sights: BTreeMap<u64, u64>,
}

impl Versions {
    /// A session that knew `known` (zero: nothing yet) sees `seen` for the first time.
    pub fn see(&mut self, known: u64, seen: u64, now: Micros) {
        if let Some(known) = self.by_number.get_mut(&known) {
            known.sessions = known.sessions.saturating_sub(1);
        }
        let is_kept = self.by_number.contains_key(&seen) || self.by_number.len() < VERSIONS_MAX;
        if !is_kept {
            self.not_kept += 1;
            return;
        }
        let now_ms = now.0 / 1_000;
        let first = Version {
            first_ms: now_ms,
            ..Version::default()
        };
        let version = self.by_number.entry(seen).or_insert(first);
        version.sessions += 1;
        if known > 0 {
            *version.sights.entry(now_ms).or_default() += 1;
        }
    }

    /// All versions, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &Version)> {
        self.by_number.iter().map(|(number, version)| (*number, version))
    }
}

impl Sum for Versions {
    fn add(&mut self, other: &Self) {
        self.not_kept += other.not_kept;
        for (number, theirs) in &other.by_number {
            let mine = self.by_number.entry(*number).or_insert_with(|| Version {
                first_ms: theirs.first_ms,
                ..Version::default()
            });
            mine.sessions += theirs.sessions;
            mine.first_ms = mine.first_ms.min(theirs.first_ms);
            mine.sights.add(&theirs.sights);
        }
    }
}

impl Version {
    /// How many sessions came to it from an older version.
    #[must_use]
    pub fn reached(&self) -> u64 {
        self.sights.values().sum()
    }

    /// From a moment (in milliseconds of the run) until this share of those who came to it had seen it, in
    /// milliseconds; zero when nobody did.
    #[must_use]
    pub fn within_ms(&self, share: f64, from_ms: u64) -> u64 {
        let wanted = (self.reached() as f64 * share).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (at_ms, count) in &self.sights {
            seen += count;
            if seen >= wanted {
                return at_ms.saturating_sub(from_ms);
            }
        }
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Micros {
        Micros::from_ms(ms)
    }

    #[test]
    fn parts_add_up_and_percentiles_count_from_the_first_sight() {
        let (mut one, mut two) = (Versions::default(), Versions::default());
        for part in [&mut one, &mut two] {
            (0..50).for_each(|_| part.see(0, 7, ms(1)));
        }
        // A push is seen by one session after the other; the first of them in the second part.
        (0..50).for_each(|index| two.see(7, 8, ms(1_000 + index)));
        (0..49).for_each(|index| one.see(7, 8, ms(1_050 + index)));
        one.add(&two);
        let versions: Vec<_> = one.iter().collect();
        let [(7, old), (8, new)] = versions[..] else {
            panic!("two versions, not {versions:?}");
        };
        assert_eq!(
            (old.sessions, old.reached(), new.sessions, new.reached()),
            (1, 0, 99, 99)
        );
        assert_eq!(new.first_ms, 1_000);
        assert_eq!(new.within_ms(0.5, new.first_ms), 49);
        assert_eq!(new.within_ms(1.0, new.first_ms), 98);
        assert_eq!(new.within_ms(1.0, 990), 108, "from the push, when that is known");
        assert_eq!(old.within_ms(0.5, 0), 0);
    }

    #[test]
    fn versions_without_end_fill_no_memory() {
        let mut versions = Versions::default();
        for number in 1..=VERSIONS_MAX as u64 + 10 {
            versions.see(number - 1, number, ms(number));
        }
        assert_eq!((versions.by_number.len(), versions.not_kept), (VERSIONS_MAX, 10));
    }
}
