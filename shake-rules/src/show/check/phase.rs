//! The phases of a show file.

use super::{Check, Known, NEVER, PACE_MS_MAX, outcome_names};
use crate::document;
use crate::outcome::{Outcome, Weights};
use crate::show::Sponsor;
use crate::show::file::{GiftsTable, PhaseTable};
use crate::show::{Gifts, Phase};
use crate::split::SHARES_MAX;
use crate::{Cents, SponsorId, UnixMillis};
use enum_map::EnumMap;
use std::collections::BTreeMap;
use std::ops::Range;
use toml::Spanned;

/// The least rate of gifts that counts as one: less, and an evening has none.
const PER_SECOND_MIN: f64 = 0.0001;
/// A phase of no time has no moment in which it holds.
const PHASE_S_MIN: f64 = 0.001;

impl Check<'_> {
    pub(super) fn phase(&mut self, table: &Spanned<PhaseTable>, known: &Known<'_>) -> Option<Phase> {
        let phase = table.as_ref();
        let name = &phase.name;
        let from = self.cue(phase, known)?;
        let before = self.problems.0.len();
        self.name("the phase's name", name, table.span());
        let mut wrong = |message: String| self.problems.add(self.text, table.span(), message);
        if !(phase.start_s >= 0.0 && phase.end_s >= phase.start_s + PHASE_S_MIN && phase.end_s < 1e9) {
            wrong(format!(
                "phase {name:?} runs from second {} to second {}; start_s must be 0 or more, and end_s after it",
                phase.start_s, phase.end_s
            ));
        }
        if phase.releases_per_second.is_nan() || phase.releases_per_second < 0.0 {
            wrong(format!(
                "releases_per_second = {} must be 0 or more",
                phase.releases_per_second
            ));
        }
        if !(1..=PACE_MS_MAX).contains(&phase.pace_ms) {
            wrong(format!(
                "phase {name:?} has pace_ms = {}; the pace is the time between a client's shakes, 1 to {PACE_MS_MAX}",
                phase.pace_ms
            ));
        }
        let weights = self.weights(table.span(), phase);
        let without_packet = self.without_packet(phase);
        let resources = self.by_outcome(&phase.resources);
        let sponsors = self.mix(phase, known.sponsors);
        let gifts = phase.gifts.as_ref().map(|gifts| self.gifts(gifts, known.gift_budget));
        if self.problems.0.len() > before {
            return None;
        }
        let starts_at = from.plus_ms((phase.start_s * 1e3) as u64);
        let ends_at = from.plus_ms((phase.end_s * 1e3) as u64);
        let cut = known.cuts.get(name).copied().filter(|&at| at > starts_at);
        Some(Phase {
            name: phase.name.clone(),
            cue: phase.cue.as_ref().map(|cue| cue.as_ref().clone()),
            starts_at,
            ends_at: cut.map_or(ends_at, |at| at.min(ends_at)),
            pace_ms: phase.pace_ms,
            line: document::line_of(self.text, table.span().start),
            weights: weights?,
            sponsors,
            gifts,
            releases_per_second: phase.releases_per_second,
            without_packet: without_packet?,
            resources: resources?,
        })
    }

    /// The moment from which a phase counts its seconds.
    fn cue(&mut self, phase: &PhaseTable, known: &Known<'_>) -> Option<UnixMillis> {
        let Some(cue) = &phase.cue else {
            return Some(known.starts_at);
        };
        let moment = known.cues.get(cue.as_ref()).copied();
        if moment.is_none() {
            let message = format!("cue = {:?} does not stand in [cues]", cue.as_ref());
            self.problems.add(self.text, cue.span(), message);
        }
        moment
    }

    pub(super) fn overlaps(&mut self, phases: &[Phase]) {
        for pair in phases.windows(2) {
            let (before, after) = (&pair[0], &pair[1]);
            if after.starts_at != NEVER && after.starts_at < before.ends_at {
                let message = format!("phases overlap: {:?} starts before {:?} ends", after.name, before.name);
                self.problems.add_at(after.line.max(before.line), message);
            }
        }
    }

    /// Whose packets a phase releases; all sponsors alike when it does not say.
    fn mix(&mut self, phase: &PhaseTable, sponsors: &BTreeMap<SponsorId, Sponsor>) -> BTreeMap<SponsorId, u32> {
        let mut mix = BTreeMap::new();
        for (name, &weight) in &phase.sponsors {
            let id = name
                .as_ref()
                .parse()
                .ok()
                .map(SponsorId)
                .filter(|id| sponsors.contains_key(id));
            match id {
                Some(id) if weight > 0 => drop(mix.insert(id, weight)),
                Some(_) => self.problems.add(
                    self.text,
                    name.span(),
                    format!("sponsor {} has weight 0; leave it out", name.as_ref()),
                ),
                None => {
                    let message = format!("sponsor {} does not stand in [[sponsors]]", name.as_ref());
                    self.problems.add(self.text, name.span(), message);
                }
            }
        }
        if phase.sponsors.is_empty() {
            mix = sponsors.keys().map(|&id| (id, 1)).collect();
        }
        mix
    }

    fn gifts(&mut self, table: &Spanned<GiftsTable>, budget: Cents) -> Gifts {
        let gifts = table.as_ref();
        let mut wrong = |message: String| self.problems.add(self.text, table.span(), message);
        if !(gifts.per_second >= PER_SECOND_MIN && gifts.per_second < 1e6) {
            wrong(format!(
                "gifts: per_second = {} must be {PER_SECOND_MIN} or more and below 1,000,000",
                gifts.per_second
            ));
        }
        if gifts.recipients == 0 || gifts.recipients > SHARES_MAX {
            wrong(format!(
                "gifts: recipients = {} must be 1 to {SHARES_MAX}",
                gifts.recipients
            ));
        }
        if gifts.min_cents < u64::from(gifts.recipients) || gifts.max_cents < gifts.min_cents {
            wrong(format!(
                "gifts: {} to {} cents; each of the {} recipients must get a cent at least",
                gifts.min_cents, gifts.max_cents, gifts.recipients
            ));
        }
        if budget.0 < gifts.min_cents.max(1) {
            wrong(format!(
                "gifts of {} cents and more, and [gifts] budget_cents is {}; give the event a budget for them",
                gifts.min_cents, budget
            ));
        }
        // As far as the budget's own bound, and the arithmetic of shares.
        if gifts.max_cents > super::BUDGET_CENTS_MAX {
            wrong(format!(
                "gifts: max_cents = {} must be {} at the most",
                gifts.max_cents,
                super::BUDGET_CENTS_MAX
            ));
        }
        Gifts {
            per_second: gifts.per_second,
            recipients: gifts.recipients,
            min: Cents(gifts.min_cents),
            max: Cents(gifts.max_cents),
        }
    }

    fn weights(&mut self, span: Range<usize>, phase: &PhaseTable) -> Option<Weights> {
        let weights = Weights::new(self.by_outcome(&phase.weights)?);
        if weights.is_none() {
            let message = format!(
                "phase {:?} has no weight above zero; give [phases.weights] at least one",
                phase.name
            );
            self.problems.add(self.text, span, message);
        }
        weights
    }

    fn without_packet(&mut self, phase: &PhaseTable) -> Option<Outcome> {
        let Some(named) = &phase.without_packet else {
            return Some(Outcome::Nothing);
        };
        match named.as_ref().parse() {
            Ok(outcome) if outcome != Outcome::RedPacket => Some(outcome),
            _ => {
                let message = format!(
                    "without_packet = {:?} must be one of {}",
                    named.as_ref(),
                    outcome_names()
                );
                self.problems.add(self.text, named.span(), message);
                None
            }
        }
    }

    fn by_outcome(&mut self, named: &BTreeMap<Spanned<String>, u32>) -> Option<EnumMap<Outcome, u32>> {
        let mut values = EnumMap::default();
        let mut good = true;
        for (name, value) in named {
            match name.as_ref().parse::<Outcome>() {
                Ok(outcome) => values[outcome] = *value,
                Err(_) => {
                    let message = format!(
                        "unknown outcome {:?}; it must be one of {}",
                        name.as_ref(),
                        outcome_names()
                    );
                    self.problems.add(self.text, name.span(), message);
                    good = false;
                }
            }
        }
        good.then_some(values)
    }
}
