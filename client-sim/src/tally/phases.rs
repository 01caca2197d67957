//! Outcomes by the phase of the show in which they came, as each phone knew it.

use super::OUTCOMES;
use super::sum::Sum;
use std::collections::BTreeMap;

/// Names of phases kept; the rest are counted together.
const NAMES_MAX: usize = 64;
/// Longest part of a name kept, in characters.
const NAME_CHARS_MAX: usize = 64;
/// What the time between phases is called, and before any was told of.
const NO_PHASE: &str = "no_phase";
const OTHER: &str = "other";

/// A phase, by its place in the tally that named it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PhaseId(u8);

impl PhaseId {
    /// Between phases.
    pub const NONE: Self = Self(0);
}

/// Outcomes by phase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Phases(Vec<(String, [u64; OUTCOMES.len()])>);

impl Default for Phases {
    fn default() -> Self {
        Self(vec![(NO_PHASE.into(), [0; OUTCOMES.len()])])
    }
}

impl Phases {
    /// The phase of this name.
    pub fn id(&mut self, name: &str) -> PhaseId {
        let name: String = name.chars().take(NAME_CHARS_MAX).collect();
        let known = |phases: &Self, name: &str| phases.0.iter().position(|(known, _)| known == name);
        let at = known(self, &name).or_else(|| {
            let name = if self.0.len() < NAMES_MAX { &name } else { OTHER };
            known(self, name).or_else(|| {
                self.0.push((name.to_owned(), [0; OUTCOMES.len()]));
                Some(self.0.len() - 1)
            })
        });
        PhaseId(at.and_then(|at| u8::try_from(at).ok()).unwrap_or(0))
    }

    /// Counts an outcome, by its place in [`OUTCOMES`].
    pub(super) fn count(&mut self, phase: PhaseId, outcome: usize) {
        if let Some((_, outcomes)) = self.0.get_mut(usize::from(phase.0)) {
            outcomes[outcome] += 1;
        }
    }

    /// What happened, by the names of phases and outcomes.
    #[must_use]
    pub fn by_name(&self) -> BTreeMap<String, BTreeMap<String, u64>> {
        let named = |outcomes: &[u64; OUTCOMES.len()]| -> BTreeMap<String, u64> {
            let all = OUTCOMES.iter().zip(outcomes).filter(|(_, count)| **count > 0);
            all.map(|((_, name), count)| ((*name).to_owned(), *count)).collect()
        };
        let phases = self.0.iter().map(|(name, outcomes)| (name.clone(), named(outcomes)));
        phases.filter(|(_, outcomes)| !outcomes.is_empty()).collect()
    }
}

impl Sum for Phases {
    fn add(&mut self, other: &Self) {
        for (name, theirs) in &other.0 {
            let at = self.id(name);
            self.0[usize::from(at.0)].1.add(theirs);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_add_up_by_name_in_whatever_order_they_heard() {
        let (mut one, mut two) = (Phases::default(), Phases::default());
        let (warm, main) = (one.id("warm"), one.id("main"));
        one.count(warm, 1);
        one.count(main, 6);
        let (main, warm) = (two.id("main"), two.id("warm"));
        two.count(main, 6);
        two.count(warm, 0);
        two.count(PhaseId::NONE, 0);
        one.add(&two);
        let by_name = one.by_name();
        assert_eq!(by_name["main"]["red_packet"], 2);
        assert_eq!((by_name["warm"]["greeting"], by_name["warm"]["nothing"]), (1, 1));
        assert_eq!(by_name[NO_PHASE]["nothing"], 1);
    }

    #[test]
    fn a_gateway_that_makes_up_names_fills_no_memory() {
        let mut phases = Phases::default();
        for index in 0..1_000 {
            let id = phases.id(&format!("phase {index}"));
            phases.count(id, 1);
        }
        assert_eq!(phases.0.len(), NAMES_MAX + 1);
        assert_eq!(phases.by_name()[OTHER]["greeting"], 1_000 - (NAMES_MAX as u64 - 1));
    }
}
