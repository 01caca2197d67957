//! Turns the tables of a show file into a plan, and gathers every contradiction with its line.

mod manifest;
mod phase;

use super::file::{EventTable, LimitsTable, Moment, ShowFile, SponsorTable};
use super::{Moments, Phase, Show, Sponsor};
use crate::document::{self, Kind, Problems};
use crate::outcome::Outcome;
use crate::winnings::{PACKETS_PER_USER_MAX, WinLimits};
use crate::{Cents, EventId, SponsorId, UnixMillis};
pub(super) use manifest::MANIFEST_BYTES_MAX;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::Range;
use strum::VariantNames as _;
use toml::Spanned;

/// The moment of what has no time yet.
const NEVER: UnixMillis = UnixMillis(u64::MAX);
/// The longest name of an event, a phase, a sponsor or a cue: names travel in replies whose length is limited.
pub(super) const NAME_BYTES_MAX: usize = 255;
/// The most phases of a show. Stages are numbered over all shows of an event with 16 bits.
const PHASES_MAX: usize = 1_000;
/// The most cues of a show: `status` tells all.
const CUES_MAX: usize = 1_000;
/// The longest pace, in milliseconds: an hour. The shortest is one.
const PACE_MS_MAX: u32 = 3_600_000;
/// The longest that a ticket is good or shares may be grabbed, in seconds: a year.
const LIFETIME_S_MAX: u32 = 31_536_000;
/// The most that an event gives away in gifts, in cents: so far, sums of money stay far from the ledger's 63 bits.
const BUDGET_CENTS_MAX: u64 = 100_000_000_000_000;

/// Reads a show file into a plan.
pub(super) fn show(text: &str, moments: &Moments) -> Result<Show, Problems> {
    let (file, mut problems) = document::parse::<ShowFile>(text);
    let mut check = Check {
        text,
        problems: &mut problems,
    };
    let starts_at = check.event_start(&file.event, moments.started_at);
    let mut cues = check.cues(&file.cues, starts_at);
    for (name, moment) in &mut cues {
        if let Some(at) = moments.cues.get(name) {
            *moment = *at;
        }
    }
    let limits = check.limits(&file.limits);
    let lifetime = |check: &mut Check<'_>, key: &str, value: &Spanned<u32>| {
        u64::from(check.within(key, value, 1, LIFETIME_S_MAX)) * 1_000
    };
    let ticket_lifetime_ms = lifetime(&mut check, "ticket_lifetime_s", &file.limits.ticket_lifetime_s);
    let share_lifetime_ms = lifetime(&mut check, "share_lifetime_s", &file.limits.share_lifetime_s);
    let rest_pace_ms = check.within("rest_pace_ms", &file.event.rest_pace_ms, 1, PACE_MS_MAX);
    let budget = check.within("budget_cents", &file.gifts.budget_cents, 0, BUDGET_CENTS_MAX);
    check.name("the event's name", file.event.name.as_ref(), file.event.name.span());
    let sponsors = check.sponsors(&file.sponsors);
    let known = Known {
        starts_at,
        cues,
        cuts: &moments.cuts,
        sponsors: &sponsors,
        gift_budget: Cents(budget),
    };
    if let Some(beyond) = file.phases.get(PHASES_MAX) {
        let message = format!("there are {} phases, and {PHASES_MAX} may be", file.phases.len());
        check.problems.add(text, beyond.span(), message);
    }
    let mut phases: Vec<Phase> = file
        .phases
        .iter()
        .take(PHASES_MAX)
        .filter_map(|phase| check.phase(phase, &known))
        .collect();
    phases.sort_by_key(|phase| phase.starts_at);
    check.overlaps(&phases);
    if file.phases.is_empty() {
        check.problems.add_whole("no [[phases]]: a show needs at least one");
    }
    let manifest = check.manifest(&file.resources);
    let cues = known
        .cues
        .into_iter()
        .map(|(name, at)| (name, (at != NEVER).then_some(at)))
        .collect();
    let show = Show {
        event: EventId(file.event.id),
        starts_now: file
            .event
            .starts
            .as_ref()
            .is_none_or(|starts| starts.as_ref().0 == "now"),
        name: file.event.name.into_inner(),
        limits,
        ticket_lifetime_ms,
        share_lifetime_ms,
        rest_pace_ms,
        gift_budget: Cents(budget),
        manifest,
        sponsors,
        cues,
        phases,
    };
    problems.of(text, Kind::Show).or_value(show)
}

/// What phases refer to.
struct Known<'a> {
    starts_at: UnixMillis,
    cues: BTreeMap<String, UnixMillis>,
    cuts: &'a BTreeMap<String, UnixMillis>,
    sponsors: &'a BTreeMap<SponsorId, Sponsor>,
    gift_budget: Cents,
}

/// Checks the parts of a show file, and gathers what is wrong.
struct Check<'a> {
    text: &'a str,
    problems: &'a mut Problems,
}

impl Check<'_> {
    fn within<T: PartialOrd + Copy + Display>(&mut self, key: &str, value: &Spanned<T>, min: T, max: T) -> T {
        let found = *value.as_ref();
        if !(found >= min && found <= max) {
            let message = format!("{key} = {found} must be {min} to {max}");
            self.problems.add(self.text, value.span(), message);
        }
        found
    }

    /// A name that travels to phones or operators.
    fn name(&mut self, what: &str, name: &str, span: Range<usize>) {
        let bytes = name.len();
        if bytes > NAME_BYTES_MAX {
            let message = format!("{what} has {bytes} bytes, and {NAME_BYTES_MAX} may be");
            self.problems.add(self.text, span, message);
        }
    }

    fn event_start(&mut self, event: &EventTable, started_at: UnixMillis) -> UnixMillis {
        let Some(starts) = &event.starts else {
            return started_at;
        };
        match starts.as_ref().0.as_str() {
            "now" => started_at,
            text => match timestamp(text) {
                Some(at) => at,
                None => {
                    let message = format!(
                        "starts = {text:?} is neither \"now\" nor a time such as \"2027-02-05T20:00:00+08:00\""
                    );
                    self.problems.add(self.text, starts.span(), message);
                    started_at
                }
            },
        }
    }

    fn limits(&mut self, limits: &LimitsTable) -> WinLimits {
        let max = PACKETS_PER_USER_MAX as u8;
        let mut bounded = |name: &str, value: &Spanned<u8>| {
            let found = *value.as_ref();
            if found == 0 || found > max {
                let message = format!("{name} = {found} must be 1 to {max}");
                self.problems.add(self.text, value.span(), message);
            }
            found
        };
        WinLimits {
            packets_per_user: bounded("packets_per_user", &limits.packets_per_user),
            packets_per_sponsor: bounded("packets_per_sponsor", &limits.packets_per_sponsor),
        }
    }

    fn sponsors(&mut self, tables: &[Spanned<SponsorTable>]) -> BTreeMap<SponsorId, Sponsor> {
        let mut sponsors = BTreeMap::new();
        for table in tables {
            let sponsor = table.as_ref();
            self.name("the sponsor's name", &sponsor.name, table.span());
            if sponsor.id == 0 {
                let message = "sponsor id 0 is the event itself, which funds gifts; give the sponsor another";
                self.problems.add(self.text, table.span(), message);
            }
            let entry = Sponsor {
                name: sponsor.name.clone(),
                resource: sponsor.resource,
            };
            if sponsors.insert(SponsorId(sponsor.id), entry).is_some() {
                let message = format!("sponsor id {} stands twice; give each sponsor its own", sponsor.id);
                self.problems.add(self.text, table.span(), message);
            }
        }
        sponsors
    }

    /// The moments of the cues: a time, `+` seconds after the start of the event, or empty for not yet.
    fn cues(
        &mut self,
        cues: &BTreeMap<Spanned<String>, Spanned<Moment>>,
        starts_at: UnixMillis,
    ) -> BTreeMap<String, UnixMillis> {
        let mut moments = BTreeMap::new();
        if let Some((beyond, _)) = cues.iter().nth(CUES_MAX) {
            let message = format!("there are {} cues, and {CUES_MAX} may be", cues.len());
            self.problems.add(self.text, beyond.span(), message);
        }
        for (name, value) in cues {
            self.name("the cue's name", name.as_ref(), name.span());
            let text = value.as_ref().0.as_str();
            let moment = match text
                .strip_prefix('+')
                .map(|seconds| seconds.trim_end_matches('s').parse::<f64>())
            {
                _ if text.is_empty() => Some(NEVER),
                Some(Ok(seconds)) if (0.0..1e9).contains(&seconds) => Some(starts_at.plus_ms((seconds * 1e3) as u64)),
                _ => timestamp(text),
            };
            if moment.is_none() {
                let message = format!(
                    "cue {} = {text:?} is neither a time such as \"2027-02-05T20:00:00+08:00\", nor seconds after the start such as \"+90s\", nor empty",
                    name.as_ref()
                );
                self.problems.add(self.text, value.span(), message);
            }
            moments.insert(name.as_ref().clone(), moment.unwrap_or(NEVER));
        }
        moments
    }
}

fn outcome_names() -> String {
    Outcome::VARIANTS.join(", ")
}

fn timestamp(text: &str) -> Option<UnixMillis> {
    let at: jiff::Timestamp = text.parse().ok()?;
    u64::try_from(at.as_millisecond()).ok().map(UnixMillis)
}
