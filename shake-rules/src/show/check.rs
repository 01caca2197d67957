//! Turns the tables of a show file into a plan, and gathers every contradiction with its line.

use super::file::{EventTable, GiftsTable, LimitsTable, PhaseTable, ResourcesTable, ShowFile, SponsorTable};
use super::{Gifts, Manifest, Package, Phase, Show, Sponsor};
use crate::document::{self, Problems};
use crate::hex;
use crate::outcome::{Outcome, Weights};
use crate::split::SHARES_MAX;
use crate::winnings::{PACKETS_PER_USER_MAX, WinLimits};
use crate::{Cents, EventId, SponsorId, UnixMillis};
use std::collections::BTreeMap;
use std::ops::Range;
use toml::Spanned;

/// The moment of what has no time yet.
const NEVER: UnixMillis = UnixMillis(u64::MAX);

/// Reads a show file into a plan; `set` are cues that go before those in the file.
pub(super) fn show(text: &str, started_at: UnixMillis, set: &BTreeMap<String, UnixMillis>) -> Result<Show, Problems> {
    let (file, mut problems) = document::parse::<ShowFile>(text);
    let mut check = Check {
        text,
        problems: &mut problems,
    };
    let starts_at = check.event_start(&file.event, started_at);
    let mut cues = check.cues(&file.cues, starts_at);
    for (name, moment) in &mut cues {
        if let Some(at) = set.get(name) {
            *moment = *at;
        }
    }
    let limits = check.limits(&file.limits);
    let sponsors = check.sponsors(&file.sponsors);
    let known = Known {
        starts_at,
        cues,
        sponsors: &sponsors,
    };
    let mut phases: Vec<Phase> = file
        .phases
        .iter()
        .filter_map(|phase| check.phase(phase, &known))
        .collect();
    phases.sort_by_key(|phase| phase.starts_at);
    check.overlaps(&phases);
    if file.phases.is_empty() {
        check.problems.add_whole("no [[phases]]: a show needs at least one");
    }
    if file.gifts.budget_cents == 0 && phases.iter().any(|phase| phase.gifts.is_some()) {
        check
            .problems
            .add_whole("a phase has gifts, and [gifts] budget_cents is 0; give the event a budget for them");
    }
    let manifest = check.manifest(&file.resources);
    let cues = known
        .cues
        .into_iter()
        .map(|(name, at)| (name, (at != NEVER).then_some(at)))
        .collect();
    let show = Show {
        event: EventId(file.event.id),
        name: file.event.name.clone(),
        limits,
        ticket_lifetime_ms: u64::from(file.limits.ticket_lifetime_s) * 1_000,
        share_lifetime_ms: u64::from(file.limits.share_lifetime_s) * 1_000,
        rest_pace_ms: file.event.rest_pace_ms,
        gift_budget: Cents(file.gifts.budget_cents),
        manifest,
        sponsors,
        cues,
        phases,
    };
    problems.or_value(show)
}

/// What phases refer to.
struct Known<'a> {
    starts_at: UnixMillis,
    cues: BTreeMap<String, UnixMillis>,
    sponsors: &'a BTreeMap<SponsorId, Sponsor>,
}

/// Checks the parts of a show file, and gathers what is wrong.
struct Check<'a> {
    text: &'a str,
    problems: &'a mut Problems,
}

impl Check<'_> {
    fn event_start(&mut self, event: &EventTable, started_at: UnixMillis) -> UnixMillis {
        let Some(starts) = &event.starts else {
            return started_at;
        };
        match starts.as_ref().as_str() {
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
        cues: &BTreeMap<Spanned<String>, Spanned<String>>,
        starts_at: UnixMillis,
    ) -> BTreeMap<String, UnixMillis> {
        let mut moments = BTreeMap::new();
        for (name, value) in cues {
            let text = value.as_ref().as_str();
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

    fn phase(&mut self, table: &Spanned<PhaseTable>, known: &Known<'_>) -> Option<Phase> {
        let phase = table.as_ref();
        let name = &phase.name;
        let from = self.cue(phase, known)?;
        let before = self.problems.0.len();
        let mut wrong = |message: String| self.problems.add(self.text, table.span(), message);
        if !(phase.start_s >= 0.0 && phase.end_s > phase.start_s && phase.end_s < 1e9) {
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
        if phase.pace_ms == 0 {
            wrong(format!(
                "phase {name:?} has pace_ms = 0; the pace is the time between a client's shakes"
            ));
        }
        let weights = self.weights(table.span(), phase);
        let without_packet = self.without_packet(phase);
        let resources = self.by_outcome(&phase.resources);
        let sponsors = self.mix(phase, known.sponsors);
        let gifts = phase.gifts.as_ref().map(|gifts| self.gifts(gifts));
        if self.problems.0.len() > before {
            return None;
        }
        Some(Phase {
            name: phase.name.clone(),
            starts_at: from.plus_ms((phase.start_s * 1e3) as u64),
            ends_at: from.plus_ms((phase.end_s * 1e3) as u64),
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

    fn overlaps(&mut self, phases: &[Phase]) {
        for pair in phases.windows(2) {
            let (before, after) = (&pair[0], &pair[1]);
            if after.starts_at != NEVER && after.starts_at < before.ends_at {
                let message = format!("phases overlap: {:?} starts before {:?} ends", after.name, before.name);
                self.problems.0.push(document::Problem {
                    line: after.line.max(before.line),
                    message,
                });
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

    fn gifts(&mut self, table: &Spanned<GiftsTable>) -> Gifts {
        let gifts = table.as_ref();
        let mut wrong = |message: String| self.problems.add(self.text, table.span(), message);
        if !(gifts.per_second > 0.0 && gifts.per_second < 1e6) {
            wrong(format!(
                "gifts: per_second = {} must be above 0 and below 1,000,000",
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
        Gifts {
            per_second: gifts.per_second,
            recipients: gifts.recipients,
            min: Cents(gifts.min_cents),
            max: Cents(gifts.max_cents),
        }
    }

    fn manifest(&mut self, table: &ResourcesTable) -> Manifest {
        let mut packages: Vec<Package> = Vec::new();
        for entry in &table.packages {
            let package = entry.as_ref();
            let mut wrong = |message: String| self.problems.add(self.text, entry.span(), message);
            if packages.iter().any(|other| other.id == package.id) {
                wrong(format!(
                    "resource package {} stands twice; give each its own id",
                    package.id
                ));
            }
            let sha256 = hex::decode(&package.sha256).and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
            let window = timestamp(&package.fetch_after).zip(timestamp(&package.fetch_before));
            if !(package.address.starts_with("http://") || package.address.starts_with("https://")) {
                wrong(format!(
                    "address = {:?} must start with http:// or https://",
                    package.address
                ));
            }
            match (sha256, window) {
                (None, _) => wrong(format!("the sha256 of package {} must be 64 hex digits", package.id)),
                (_, Some((after, before))) if after < before => packages.push(Package {
                    id: package.id,
                    address: package.address.clone(),
                    size_bytes: package.size_bytes,
                    sha256: sha256.unwrap_or_default(),
                    fetch_after: after,
                    fetch_before: before,
                }),
                _ => wrong(format!(
                    "package {} is fetched from {:?} to {:?}; both must be times, the second later",
                    package.id, package.fetch_after, package.fetch_before
                )),
            }
        }
        if !packages.is_empty() && table.version == 0 {
            self.problems
                .add_whole("[resources] has packages and version 0; clients hold version 0 when they hold none");
        }
        Manifest {
            version: table.version,
            packages,
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
        match Outcome::from_name(named.as_ref()) {
            Some(outcome) if outcome != Outcome::RedPacket => Some(outcome),
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

    fn by_outcome(&mut self, named: &BTreeMap<Spanned<String>, u32>) -> Option<[u32; Outcome::ALL.len()]> {
        let mut values = [0; Outcome::ALL.len()];
        let mut good = true;
        for (name, value) in named {
            match Outcome::ALL.iter().position(|outcome| outcome.name() == name.as_ref()) {
                Some(index) => values[index] = *value,
                None => {
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

fn outcome_names() -> String {
    Outcome::ALL.map(Outcome::name).join(", ")
}

fn timestamp(text: &str) -> Option<UnixMillis> {
    let at: jiff::Timestamp = text.parse().ok()?;
    u64::try_from(at.as_millisecond()).ok().map(UnixMillis)
}
