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
use std::collections::BTreeMap;

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
    /// The resource shown with each outcome, in the order of [`Outcome::ALL`]; zero for none.
    pub resources: [u32; Outcome::ALL.len()],
}

impl Show {
    /// Reads a show file. `started_at` is what `starts = "now"` means.
    ///
    /// # Errors
    /// Every problem, with its line.
    pub fn parse(text: &str, started_at: UnixMillis) -> Result<Self, Problems> {
        check::show(text, started_at, &BTreeMap::new())
    }

    /// The same, with cues that an operator has set: they go before the times in the file. One that the file does not
    /// have changes nothing.
    ///
    /// # Errors
    /// Every problem, with its line.
    pub fn parse_with_cues(
        text: &str,
        started_at: UnixMillis,
        set: &BTreeMap<String, UnixMillis>,
    ) -> Result<Self, Problems> {
        check::show(text, started_at, set)
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

    #[test]
    fn cues_move_their_phases_and_an_unset_cue_waits() {
        let with = |cue: &str| {
            let text = GOOD.replace("[limits]", &format!("[cues]\nfinal = {cue:?}\n[limits]"));
            text.replace("start_s = 20.5", "cue = \"final\"\nstart_s = 20.5")
        };
        let start = UnixMillis(1_801_828_800_000);
        let moved = Show::parse(&with("+60s"), UnixMillis(0)).expect("good");
        assert_eq!(moved.phases[1].starts_at, start.plus_ms(80_500));
        let waits = Show::parse(&with(""), UnixMillis(0)).expect("good");
        assert_eq!(waits.phases[1].starts_at, UnixMillis(u64::MAX));
        assert_eq!(waits.phase_after(start.plus_ms(1 << 40)), Some(1));
        assert_eq!(waits.phase_at(start.plus_ms(1 << 40)), None);
        assert_eq!(waits.past_phases(start.plus_ms(10_000)).count(), 1);
        let at = start.plus_ms(40_000);
        let set = BTreeMap::from([("final".to_owned(), at), ("gone".to_owned(), at)]);
        let set = Show::parse_with_cues(&with(""), UnixMillis(0), &set).expect("good");
        assert_eq!(set.phases[1].starts_at, at.plus_ms(20_500));
        assert_eq!(set.cues, BTreeMap::from([("final".to_owned(), Some(at))]));
        let early = BTreeMap::from([("final".to_owned(), UnixMillis(start.0 - 15_000))]);
        let problems = Show::parse_with_cues(&with(""), UnixMillis(0), &early).expect_err("in the first phase");
        assert!(problems.to_string().contains("overlap"), "{problems}");
    }

    #[test]
    fn a_manifest_is_read_and_its_mistakes_named() {
        let with = |address: &str, sha: &str, after: &str| {
            format!(
                "{GOOD}\n[resources]\nversion = 3\n[[resources.packages]]\nid = 1\naddress = {address:?}\nsize_bytes = 9\n\
                 sha256 = {sha:?}\nfetch_after = {after:?}\nfetch_before = \"2027-02-02T00:00:00Z\"\n"
            )
        };
        let sha = "ab".repeat(32);
        let good = Show::parse(&with("http://a/b", &sha, "2027-02-01T00:00:00Z"), UnixMillis(0)).expect("good");
        assert_eq!(
            (good.manifest.version, good.manifest.packages[0].sha256),
            (3, [0xab; 32])
        );
        for (address, sha, after, word) in [
            ("ftp://a", sha.as_str(), "2027-02-01T00:00:00Z", "http"),
            ("http://a", "abc", "2027-02-01T00:00:00Z", "sha256"),
            ("http://a", sha.as_str(), "2027-02-03T00:00:00Z", "later"),
        ] {
            let problems = Show::parse(&with(address, sha, after), UnixMillis(0)).expect_err(word);
            assert!(problems.to_string().contains(word), "{problems}");
        }
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
