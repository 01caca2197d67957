//! The show plan: which phase holds when, what a shake is worth in it, who sponsors, and what a user may win.
//!
//! A show file is TOML (a commented one stands in `deploy/show.toml`). [`Show::parse`] turns it into a checked
//! plan and reports every contradiction with its line; a plan that was made is consistent.

use crate::document::{self, Problems};
use crate::outcome::{Outcome, Weights};
use crate::winnings::{PACKETS_PER_USER_MAX, WinLimits};
use crate::{EventId, SponsorId, UnixMillis};
use serde::Deserialize;
use std::collections::BTreeMap;
use toml::Spanned;

/// A checked show plan.
#[derive(Clone, Debug, PartialEq)]
pub struct Show {
    /// The event's number; tickets and cookies carry it.
    pub event: EventId,
    /// The event's name.
    pub name: String,
    /// Limits on what one user wins.
    pub limits: WinLimits,
    /// How long a ticket may be opened after its issue, in milliseconds.
    pub ticket_lifetime_ms: u64,
    /// Pace told outside of any phase, in milliseconds between shakes.
    pub rest_pace_ms: u32,
    /// Sponsors by number.
    pub sponsors: BTreeMap<SponsorId, Sponsor>,
    /// Phases in order of time; they never overlap.
    pub phases: Vec<Phase>,
}

/// Who funds packets.
#[derive(Clone, Debug, PartialEq)]
pub struct Sponsor {
    /// The name that users see.
    pub name: String,
    /// The resource package shown with the sponsor's packets.
    pub resource: u32,
}

/// A span of the show.
#[derive(Clone, Debug, PartialEq)]
pub struct Phase {
    /// The name that operators and users see.
    pub name: String,
    /// First moment of the phase.
    pub starts_at: UnixMillis,
    /// First moment after the phase.
    pub ends_at: UnixMillis,
    /// Pace told to clients, in milliseconds between shakes.
    pub pace_ms: u32,
    /// What a shake turns into.
    pub weights: Weights,
    /// Packets that this gateway gives out per second at the most, over all its shards.
    pub releases_per_second: f64,
    /// What a drawn red packet turns into when there is none to give; never a red packet.
    pub without_packet: Outcome,
    /// The resource shown with each outcome, in the order of [`Outcome::ALL`]; zero for none.
    pub resources: [u32; Outcome::ALL.len()],
}

impl Show {
    /// Reads a show file. `started_at` is what `starts = "now"` means.
    ///
    /// # Errors
    /// Every problem, with its line.
    pub fn parse(text: &str, started_at: UnixMillis) -> Result<Self, Problems> {
        let (file, mut problems) = document::parse::<ShowFile>(text);
        let mut check = Check {
            text,
            problems: &mut problems,
        };
        let starts_at = check.event_start(&file.event, started_at);
        let limits = check.limits(&file.limits);
        let sponsors = check.sponsors(&file.sponsors);
        let mut phases: Vec<Phase> = Vec::new();
        for phase in &file.phases {
            if let Some(phase) = check.phase(phase, starts_at, phases.last()) {
                phases.push(phase);
            }
        }
        if file.phases.is_empty() {
            check.problems.add_whole("no [[phases]]: a show needs at least one");
        }
        let show = Self {
            event: EventId(file.event.id),
            name: file.event.name.clone(),
            limits,
            ticket_lifetime_ms: u64::from(file.limits.ticket_lifetime_s) * 1_000,
            rest_pace_ms: file.event.rest_pace_ms,
            sponsors,
            phases,
        };
        problems.or_value(show)
    }

    /// Index of the phase that holds at `now`.
    #[must_use]
    pub fn phase_at(&self, now: UnixMillis) -> Option<usize> {
        let after = self.phases.partition_point(|phase| phase.starts_at <= now);
        let index = after.checked_sub(1)?;
        (now < self.phases[index].ends_at).then_some(index)
    }

    /// Index of the first phase that starts after `now`.
    #[must_use]
    pub fn phase_after(&self, now: UnixMillis) -> Option<usize> {
        let index = self.phases.partition_point(|phase| phase.starts_at <= now);
        (index < self.phases.len()).then_some(index)
    }
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

    fn phase(&mut self, table: &Spanned<PhaseTable>, event_start: UnixMillis, before: Option<&Phase>) -> Option<Phase> {
        let phase = table.as_ref();
        let starts_at = event_start.plus_ms((phase.start_s * 1e3) as u64);
        let ends_at = event_start.plus_ms((phase.end_s * 1e3) as u64);
        let mut good = true;
        let mut wrong = |message: String| {
            self.problems.add(self.text, table.span(), message);
            good = false;
        };
        let name = &phase.name;
        if !(phase.start_s >= 0.0 && phase.end_s > phase.start_s && phase.end_s < 1e9) {
            wrong(format!(
                "phase {name:?} runs from second {} to second {}; start_s must be 0 or more, and end_s after it",
                phase.start_s, phase.end_s
            ));
        } else if let Some(before) = before
            && starts_at < before.ends_at
        {
            wrong(format!(
                "phase {name:?} starts before phase {:?} ends; list phases in order of time, without overlap",
                before.name
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
        good.then_some(Phase {
            name: phase.name.clone(),
            starts_at,
            ends_at,
            pace_ms: phase.pace_ms,
            weights: weights?,
            releases_per_second: phase.releases_per_second,
            without_packet: without_packet?,
            resources: resources?,
        })
    }

    fn weights(&mut self, span: std::ops::Range<usize>, phase: &PhaseTable) -> Option<Weights> {
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

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct ShowFile {
    event: EventTable,
    limits: LimitsTable,
    sponsors: Vec<Spanned<SponsorTable>>,
    phases: Vec<Spanned<PhaseTable>>,
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct EventTable {
    id: u32,
    name: String,
    starts: Option<Spanned<String>>,
    rest_pace_ms: u32,
}

impl Default for EventTable {
    fn default() -> Self {
        Self {
            id: 1,
            name: "show".into(),
            starts: None,
            rest_pace_ms: 5_000,
        }
    }
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct LimitsTable {
    packets_per_user: Spanned<u8>,
    packets_per_sponsor: Spanned<u8>,
    ticket_lifetime_s: u32,
}

impl Default for LimitsTable {
    fn default() -> Self {
        Self {
            packets_per_user: Spanned::new(0..0, 3),
            packets_per_sponsor: Spanned::new(0..0, 1),
            ticket_lifetime_s: 86_400,
        }
    }
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct SponsorTable {
    id: u16,
    name: String,
    resource: u32,
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct PhaseTable {
    name: String,
    start_s: f64,
    end_s: f64,
    pace_ms: u32,
    releases_per_second: f64,
    without_packet: Option<Spanned<String>>,
    weights: BTreeMap<Spanned<String>, u32>,
    resources: BTreeMap<Spanned<String>, u32>,
}

impl Default for PhaseTable {
    fn default() -> Self {
        Self {
            name: String::new(),
            start_s: 0.0,
            end_s: 0.0,
            pace_ms: 1_000,
            releases_per_second: 0.0,
            without_packet: None,
            weights: BTreeMap::new(),
            resources: BTreeMap::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
[event]
id = 7
name = "gala"
starts = "2027-02-05T20:00:00+08:00"

[limits]
packets_per_user = 2

[[sponsors]]
id = 1
name = "Acme"
resource = 9

[[phases]]
name = "opening"
start_s = 0
end_s = 10
releases_per_second = 83
without_packet = "greeting"
weights = { greeting = 3, red_packet = 1 }
resources = { greeting = 65 }

[[phases]]
name = "final"
start_s = 20.5
end_s = 30
weights = { nothing = 1 }
"#;

    #[test]
    fn a_good_show_and_its_phases_in_time() {
        let show = Show::parse(GOOD, UnixMillis(0)).expect("good");
        assert_eq!(
            (
                show.event,
                show.limits.packets_per_user,
                show.limits.packets_per_sponsor
            ),
            (EventId(7), 2, 1)
        );
        let start = show.phases[0].starts_at;
        assert_eq!(start, UnixMillis(1_801_828_800_000));
        let at = |ms| (show.phase_at(start.plus_ms(ms)), show.phase_after(start.plus_ms(ms)));
        assert_eq!(show.phase_at(UnixMillis(start.0 - 1)), None);
        assert_eq!(at(0), (Some(0), Some(1)));
        assert_eq!(at(9_999), (Some(0), Some(1)));
        assert_eq!(at(10_000), (None, Some(1)));
        assert_eq!(at(20_500), (Some(1), None));
        assert_eq!(at(30_000), (None, None));
    }

    /// Each edit of the good file must be refused at that line with that word.
    #[test]
    fn contradictions_have_a_line_and_a_reason() {
        let cases = [
            ("id = 7", "id = 7\nidd = 8", 4, "idd"),
            ("2027-02-05T20:00:00+08:00", "soon", 5, "soon"),
            ("packets_per_user = 2", "packets_per_user = 9", 8, "1 to 8"),
            ("end_s = 10", "end_s = 21", 24, "overlap"),
            ("end_s = 10", "end_s = 0", 15, "after it"),
            ("releases_per_second = 83", "releases_per_second = -1", 15, "0 or more"),
            ("greeting = 3, red", "hello = 3, red", 21, "hello"),
            ("{ nothing = 1 }", "{ nothing = 0 }", 24, "above zero"),
            (
                "without_packet = \"greeting\"",
                "without_packet = \"red_packet\"",
                20,
                "must be one of",
            ),
        ];
        for (from, to, line, word) in cases {
            let text = GOOD.replacen(from, to, 1);
            let problems = Show::parse(&text, UnixMillis(0)).expect_err(to);
            assert!(
                problems.0.iter().any(|p| p.line == line && p.message.contains(word)),
                "{to}: wanted line {line} with {word:?}, got:\n{problems}"
            );
        }
    }
}
