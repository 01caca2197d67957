//! The show plan: which phase holds when, what a shake is worth in it, who sponsors, and what a user may win.
//!
//! A show file is TOML (a commented one stands in `deploy/show.toml`). [`Show::parse`] turns it into a checked
//! plan and reports every contradiction with its line; a plan that was made is consistent.

mod check;
mod file;

use crate::document::Problems;
use crate::outcome::{Outcome, Weights};
use crate::winnings::WinLimits;
use crate::{Cents, EventId, SponsorId, UnixMillis};
use enum_map::EnumMap;
use std::collections::BTreeMap;

/// The most bytes of a manifest in a reply (`HelloReply`): a show whose packages need more is refused.
pub const MANIFEST_BYTES_MAX: usize = check::MANIFEST_BYTES_MAX;
/// The longest name of an event, a phase, a sponsor or a cue, in bytes.
pub const NAME_BYTES_MAX: usize = check::NAME_BYTES_MAX;

/// A checked show plan.
#[derive(Clone, Debug, PartialEq)]
pub struct Show {
    /// The event's number; tickets and cookies carry it.
    pub event: EventId,
    /// The event's name.
    pub name: String,
    /// Whether second 0 of its phases is `starts = "now"`, which is also what holds when the file does not say.
    pub starts_now: bool,
    /// Limits on what one user wins.
    pub limits: WinLimits,
    /// How long a ticket may be opened after its issue, in milliseconds.
    pub ticket_lifetime_ms: u64,
    /// How long the shares of a split, sent or given packet may be grabbed, in milliseconds. What is left then goes
    /// back to who funded it.
    pub share_lifetime_ms: u64,
    /// Pace told outside of any phase, in milliseconds between shakes.
    pub rest_pace_ms: u32,
    /// What the event itself gives away in gifts, over all phases.
    pub gift_budget: Cents,
    /// What clients fetch before the show.
    pub manifest: Manifest,
    /// Sponsors by number.
    pub sponsors: BTreeMap<SponsorId, Sponsor>,
    /// The moments of the cues by name; `None` for one that waits for the operator.
    pub cues: BTreeMap<String, Option<UnixMillis>>,
    /// Phases in order of time; they never overlap. Those whose cue has no time yet stand last, at the end of time.
    pub phases: Vec<Phase>,
}

/// The resource packages of a show. Only their ids travel during it.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Manifest {
    /// Grows with each change; 0 when there are no packages.
    pub version: u64,
    /// The packages.
    pub packages: Vec<Package>,
}

/// One resource package.
#[derive(Clone, Debug, PartialEq)]
pub struct Package {
    /// The id that replies carry.
    pub id: u32,
    /// Where it is fetched: an absolute HTTP or HTTPS address.
    pub address: String,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// SHA-256 of its content.
    pub sha256: [u8; 32],
    /// Clients fetch it at a random moment from `fetch_after` on, and before `fetch_before`.
    pub fetch_after: UnixMillis,
    /// See `fetch_after`.
    pub fetch_before: UnixMillis,
}

/// Packets that the event sends to random users who are online.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gifts {
    /// Packets per second, over all shards of this gateway.
    pub per_second: f64,
    /// Users that each packet is for; each gets one share.
    pub recipients: u16,
    /// Smallest packet.
    pub min: Cents,
    /// Largest packet.
    pub max: Cents,
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
    /// The cue from whose moment its seconds count; `None` for the start of the event.
    pub cue: Option<String>,
    /// First moment of the phase.
    pub starts_at: UnixMillis,
    /// First moment after the phase.
    pub ends_at: UnixMillis,
    /// Pace told to clients, in milliseconds between shakes.
    pub pace_ms: u32,
    /// Line of the show file.
    pub line: usize,
    /// What a shake turns into.
    pub weights: Weights,
    /// Whose packets are released, by weight; never empty.
    pub sponsors: BTreeMap<SponsorId, u32>,
    /// Packets to random users; `None` for none.
    pub gifts: Option<Gifts>,
    /// Packets that this gateway gives out per second at the most, over all its shards.
    pub releases_per_second: f64,
    /// What a drawn red packet turns into when there is none to give; never a red packet.
    pub without_packet: Outcome,
    /// The resource shown with each outcome; zero for none.
    pub resources: EnumMap<Outcome, u32>,
}

/// Moments that do not stand in the show file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Moments {
    /// What `starts = "now"` means.
    pub started_at: UnixMillis,
    /// Cues that an operator has set: they go before the times in the file. One that the file does not have changes
    /// nothing.
    pub cues: BTreeMap<String, UnixMillis>,
    /// When phases end before their time, by name. One that the file does not have changes nothing, nor does one from before
    /// the phase begins: it ended an earlier playing of it.
    pub cuts: BTreeMap<String, UnixMillis>,
}

impl Show {
    /// Reads a show file. `started_at` is what `starts = "now"` means.
    ///
    /// # Errors
    /// Every problem, with its line.
    pub fn parse(text: &str, started_at: UnixMillis) -> Result<Self, Problems> {
        Self::parse_at(
            text,
            &Moments {
                started_at,
                ..Moments::default()
            },
        )
    }

    /// The same, with moments that operators have set.
    ///
    /// # Errors
    /// Every problem, with its line.
    pub fn parse_at(text: &str, moments: &Moments) -> Result<Self, Problems> {
        check::show(text, moments)
    }

    /// The phases that count from the moment of this cue, in order of time.
    pub fn phases_of<'a>(&'a self, cue: &'a str) -> impl Iterator<Item = &'a Phase> {
        self.phases
            .iter()
            .filter(move |phase| phase.cue.as_deref() == Some(cue))
    }

    /// The first phase that has begun at `now`.
    #[must_use]
    pub fn first_begun(&self, now: UnixMillis) -> Option<&Phase> {
        self.phases.first().filter(|phase| phase.starts_at <= now)
    }

    /// The phases that were over before `now`: a mistake in a new show file, ordinary after a restart.
    pub fn past_phases(&self, now: UnixMillis) -> impl Iterator<Item = &Phase> {
        self.phases.iter().filter(move |phase| phase.ends_at <= now)
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

#[cfg(test)]
mod tests;
