//! What came of it: counts by name, the latency histograms, the money that moved. Tallies of parts of a run add up.
//!
//! Every sum that a reader may rely on is written down and tested here: see [`Tally::open_ends`].

mod packets;
mod phases;
mod steps;
mod versions;
mod violations;

pub(crate) use packets::Course;
pub use packets::{ErrandKind, Errands, Moved, Packages, Packets};
pub use phases::{PhaseId, Phases};
pub use steps::{StepCounts, Steps};
pub use versions::{Version, Versions};
pub use violations::Violations;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use shake_proto::code::Code;
use shake_proto::reply::Reason;
use shake_proto::wire::v1;
use std::collections::{BTreeMap, HashMap};

/// The longest latency that the histograms tell apart, in microseconds; longer ones count as this.
const LATENCY_US_MAX: u64 = 600_000_000;
/// Three digits: a percentile is right to 0.1 %.
const LATENCY_DIGITS: u8 = 3;
/// Different error names kept; the rest are counted together, so that a strange server cannot fill the memory.
const ERROR_NAMES_MAX: usize = 256;
/// Longest example kept of an error's message, in bytes.
const EXAMPLE_BYTES_MAX: usize = 200;

/// Grades of load that the contract has, from 0 up.
pub const GRADES: usize = 5;

/// The outcomes that the contract has, by their number on the wire.
pub const OUTCOMES: [(v1::Outcome, &str); 8] = [
    (v1::Outcome::Nothing, "nothing"),
    (v1::Outcome::Greeting, "greeting"),
    (v1::Outcome::FamilyPhoto, "family_photo"),
    (v1::Outcome::FriendCard, "friend_card"),
    (v1::Outcome::RestPage, "rest_page"),
    (v1::Outcome::ServerHang, "server_hang"),
    (v1::Outcome::RedPacket, "red_packet"),
    (v1::Outcome::SlowDown, "slow_down"),
];

/// A packet that a client was told is open, and its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Opened {
    /// The packet.
    pub packet: u64,
    /// Who opened it.
    pub user: u64,
    /// Who funded it.
    pub sponsor: u32,
    /// What is in it.
    pub cents: u64,
}

/// Counts of sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sessions {
    /// Hellos answered, the first of each session.
    pub connected: u64,
    /// Hellos answered after a connection was lost.
    pub reconnected: u64,
    /// Sessions that gave up.
    pub failed: u64,
    /// Connections lost after their Hello.
    pub lost: u64,
    /// Failed tries to connect, by the name of the reason.
    pub connect_failures: BTreeMap<String, u64>,
    /// Failed Hellos, by the name of the reason.
    pub hello_failures: BTreeMap<String, u64>,
    /// Notices to go away.
    pub told_to_go_away: u64,
    /// Notices of a change of phase.
    pub phase_notices: u64,
}

/// Counts of shakes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Shakes {
    /// Handed to the transport.
    pub sent: u64,
    /// Of these, on streams.
    pub sent_on_streams: u64,
    /// Answered in time.
    pub answered: u64,
    /// Not answered in time, or not before the connection or the run ended.
    pub unanswered: u64,
    /// Answers after the time was over. Their shakes are among the unanswered.
    pub late: u64,
    /// Answers to a sequence that was not sent, or a second answer.
    pub unexpected: u64,
    /// Left out by users who obey: the pace, a slow down or silence did not allow them yet, and one that was due before
    /// waited for it already.
    pub held_back: u64,
    /// Of those sent: later than scheduled, because the pace, a slow down or silence did not allow them before.
    pub postponed: u64,
    /// Left out because the session had no connection.
    pub skipped_offline: u64,
}

/// Counts of claims.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Claims {
    /// Red packets won, each claimed once.
    pub wins: u64,
    /// Claims that were answered with the open packet.
    pub opened: u64,
    /// Of these, told that it had been opened before: an earlier answer was lost.
    pub repeats: u64,
    /// Final refusals, by the name of the reason.
    pub refused: BTreeMap<String, u64>,
    /// Busy answers. Each is followed by another try, or by giving up.
    pub busy: u64,
    /// Tries after the first.
    pub retries: u64,
    /// Claims that used up their tries.
    pub gave_up: u64,
    /// Claims that met an error which another try would meet again.
    pub failed: u64,
    /// Claims still under way when the run ended.
    pub unfinished: u64,
    /// Wins that were never claimed, because the user hoards.
    pub hoarded: u64,
    /// Of the opened, split packets: the winner got a share and a code.
    pub split: u64,
}

/// How often an error was met, and the first message it came with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ErrorCount {
    /// How often.
    pub count: u64,
    /// The first message; may be empty.
    pub example: String,
}

/// All counts of a run, or of a part of it.
#[derive(Clone, Debug)]
pub struct Tally {
    /// Sessions.
    pub sessions: Sessions,
    /// Shakes.
    pub shakes: Shakes,
    /// The same shakes, by the step in which they were due.
    pub steps: Steps,
    /// Answers in time or late, in the order of [`OUTCOMES`].
    pub outcomes: [u64; OUTCOMES.len()],
    /// Answers with an outcome that the contract does not have, by its number.
    pub unknown_outcomes: BTreeMap<i32, u64>,
    /// The same by the phase that the phone knew.
    pub phases: Phases,
    /// Answers to slow down, by the grade in them; the last place is for grades that the contract does not have.
    pub slow_downs: [u64; GRADES + 1],
    /// Who saw which version of the gateway's configuration when.
    pub versions: Versions,
    /// Hellos said once more on a connection, because the show had changed.
    pub hellos_again: Errands,
    /// Claims.
    pub claims: Claims,
    /// What users do with packets among themselves.
    pub packets: Packets,
    /// Resource packages.
    pub packages: Packages,
    /// Every packet opened.
    pub opened: Vec<Opened>,
    /// Every share grabbed, once.
    pub grabbed: Vec<Moved>,
    /// Every packet sent.
    pub sent: Vec<Moved>,
    /// From the intended send time of a shake to its answer, in microseconds.
    pub latency: Histogram<u64>,
    /// From the first try of a claim to its open packet, in microseconds.
    pub claim_latency: Histogram<u64>,
    /// From the first packet of a connection to the answer to its Hello, in microseconds.
    pub connect_latency: Histogram<u64>,
    /// Errors by name.
    pub errors: BTreeMap<String, ErrorCount>,
    /// What a correct gateway never does.
    pub violations: Violations,
}

impl Default for Tally {
    fn default() -> Self {
        let histogram = || {
            Histogram::new_with_bounds(1, LATENCY_US_MAX, LATENCY_DIGITS)
                .expect("1 is positive, the bound is over twice that, and there are at most 5 digits")
        };
        Self {
            sessions: Sessions::default(),
            shakes: Shakes::default(),
            steps: Steps::default(),
            outcomes: [0; OUTCOMES.len()],
            unknown_outcomes: BTreeMap::new(),
            phases: Phases::default(),
            slow_downs: [0; GRADES + 1],
            versions: Versions::default(),
            hellos_again: Errands::default(),
            claims: Claims::default(),
            packets: Packets::default(),
            packages: Packages::default(),
            opened: Vec::new(),
            grabbed: Vec::new(),
            sent: Vec::new(),
            latency: histogram(),
            claim_latency: histogram(),
            connect_latency: histogram(),
            errors: BTreeMap::new(),
            violations: Violations::default(),
        }
    }
}

impl Tally {
    /// Counts an outcome by its number on the wire, and by the phase in which it came.
    pub fn outcome(&mut self, phase: PhaseId, number: i32) {
        match OUTCOMES.iter().position(|(outcome, _)| *outcome as i32 == number) {
            Some(index) => {
                self.outcomes[index] += 1;
                self.phases.count(phase, index);
            }
            None => *self.unknown_outcomes.entry(number).or_default() += 1,
        }
    }

    /// Counts an answer to slow down by its grade.
    pub fn slow_down(&mut self, grade: u32) {
        self.slow_downs[(grade as usize).min(GRADES)] += 1;
    }

    /// Counts an error under its name.
    pub fn error(&mut self, name: &str, message: &str) {
        let name = if self.errors.contains_key(name) || self.errors.len() < ERROR_NAMES_MAX {
            name
        } else {
            "other"
        };
        let entry = self.errors.entry(name.to_owned()).or_default();
        if entry.count == 0 {
            entry.example = message.chars().take(EXAMPLE_BYTES_MAX).collect();
        }
        entry.count += 1;
    }

    /// Counts a final refusal.
    pub fn refusal(&mut self, reason: Reason) {
        self.refused(ErrandKind::Claim, reason);
    }

    /// Counts a final refusal of any kind of errand.
    pub fn refused(&mut self, kind: ErrandKind, reason: Reason) {
        *self.errand(kind).refused.entry(reason.name().to_owned()).or_default() += 1;
    }

    /// Where the errands of a kind are counted.
    pub(crate) fn errand(&mut self, kind: ErrandKind) -> Course<'_> {
        match kind {
            ErrandKind::Claim => self.claims.course(),
            ErrandKind::Send => self.packets.sends.course(),
            ErrandKind::Grab => self.packets.grabs.course(),
            ErrandKind::View => self.packets.views.course(),
            ErrandKind::Wallet => self.packets.wallets.course(),
            ErrandKind::Hello => self.hellos_again.course(),
        }
    }

    /// Counts the resource that a reply names, when no manifest has it. Without a manifest there is nothing to compare.
    pub fn resource(&mut self, id: u32) {
        let packages = &mut self.packages;
        let is_unknown = id != 0 && !packages.ids.is_empty() && !packages.ids.contains(&id);
        packages.unknown_ids += u64::from(is_unknown);
    }

    /// Adds another part of the run.
    pub fn add(&mut self, other: &Self) {
        let (mine, theirs) = (&mut self.sessions, &other.sessions);
        mine.connected += theirs.connected;
        mine.reconnected += theirs.reconnected;
        mine.failed += theirs.failed;
        mine.lost += theirs.lost;
        mine.told_to_go_away += theirs.told_to_go_away;
        mine.phase_notices += theirs.phase_notices;
        add_map(&mut mine.connect_failures, &theirs.connect_failures);
        add_map(&mut mine.hello_failures, &theirs.hello_failures);
        self.shakes.add(&other.shakes);
        self.steps.add(&other.steps);
        self.claims.add(&other.claims);
        self.outcomes
            .iter_mut()
            .zip(other.outcomes)
            .for_each(|(mine, theirs)| *mine += theirs);
        add_map(&mut self.unknown_outcomes, &other.unknown_outcomes);
        self.phases.add(&other.phases);
        self.slow_downs
            .iter_mut()
            .zip(other.slow_downs)
            .for_each(|(mine, theirs)| *mine += theirs);
        self.versions.add(&other.versions);
        self.hellos_again.add(&other.hellos_again);
        self.packets.add(&other.packets);
        self.packages.add(&other.packages);
        self.opened.extend_from_slice(&other.opened);
        self.grabbed.extend_from_slice(&other.grabbed);
        self.sent.extend_from_slice(&other.sent);
        for (mine, theirs) in [
            (&mut self.latency, &other.latency),
            (&mut self.claim_latency, &other.claim_latency),
            (&mut self.connect_latency, &other.connect_latency),
        ] {
            mine.add(theirs).expect("both have the bounds of `Tally::default`");
        }
        for (name, theirs) in &other.errors {
            let mine = self.errors.entry(name.clone()).or_default();
            if mine.count == 0 {
                mine.example.clone_from(&theirs.example);
            }
            mine.count += theirs.count;
        }
        self.violations.add(&other.violations);
    }

    /// Looks over the packets sent in the whole run for one of which more was grabbed than was put in.
    pub fn find_overdrawn(&mut self) {
        self.violations.overdrawn = packets::overdrawn(&self.sent, &self.grabbed);
    }

    /// Looks over the packets opened in the whole run for one that two claims got.
    pub fn find_opened_twice(&mut self) {
        let mut claims: HashMap<u64, u32> = HashMap::with_capacity(self.opened.len());
        for opened in &self.opened {
            *claims.entry(opened.packet).or_default() += 1;
        }
        let mut twice: Vec<u64> = claims
            .into_iter()
            .filter(|(_, count)| *count > 1)
            .map(|(packet, _)| packet)
            .collect();
        twice.sort_unstable();
        self.violations.opened_twice = twice;
    }

    /// Cents in the packets opened.
    #[must_use]
    pub fn cents(&self) -> u64 {
        self.opened.iter().map(|opened| opened.cents).sum()
    }

    /// Cents in the packets opened, by sponsor.
    #[must_use]
    pub fn cents_by_sponsor(&self) -> BTreeMap<u32, u64> {
        let mut sums = BTreeMap::new();
        for opened in &self.opened {
            *sums.entry(opened.sponsor).or_default() += opened.cents;
        }
        sums
    }

    /// Shakes and claims whose end is not counted yet: sent less answered and unanswered; wins less every way in
    /// which a claim can end. Both are zero once the run is over.
    #[must_use]
    pub fn open_ends(&self) -> (u64, u64) {
        let claims = &self.claims;
        let refused: u64 = claims.refused.values().sum();
        let ended = claims.opened + refused + claims.gave_up + claims.failed + claims.unfinished + claims.hoarded;
        let answered = self.shakes.answered + self.shakes.unanswered;
        (
            self.shakes.sent.saturating_sub(answered),
            claims.wins.saturating_sub(ended),
        )
    }
}

impl Shakes {
    fn add(&mut self, other: &Self) {
        self.sent += other.sent;
        self.sent_on_streams += other.sent_on_streams;
        self.answered += other.answered;
        self.unanswered += other.unanswered;
        self.late += other.late;
        self.unexpected += other.unexpected;
        self.held_back += other.held_back;
        self.postponed += other.postponed;
        self.skipped_offline += other.skipped_offline;
    }
}

impl Claims {
    fn add(&mut self, other: &Self) {
        self.wins += other.wins;
        self.opened += other.opened;
        self.repeats += other.repeats;
        add_map(&mut self.refused, &other.refused);
        self.busy += other.busy;
        self.retries += other.retries;
        self.gave_up += other.gave_up;
        self.failed += other.failed;
        self.unfinished += other.unfinished;
        self.hoarded += other.hoarded;
        self.split += other.split;
    }

    fn course(&mut self) -> Course<'_> {
        Course {
            begun: None,
            refused: &mut self.refused,
            busy: &mut self.busy,
            retries: &mut self.retries,
            gave_up: &mut self.gave_up,
            failed: &mut self.failed,
            unfinished: &mut self.unfinished,
        }
    }
}

fn add_map<K: Ord + Clone>(mine: &mut BTreeMap<K, u64>, theirs: &BTreeMap<K, u64>) {
    for (name, count) in theirs {
        *mine.entry(name.clone()).or_default() += count;
    }
}

/// The name of an error code that a peer sent, also of one that the contract does not have.
#[must_use]
pub fn code_name(number: u64) -> String {
    Code::from_number(number).map_or_else(|| format!("code_{number:#x}"), |code| code.name().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn opened(packet: u64, sponsor: u32, cents: u64) -> Opened {
        Opened {
            packet,
            user: packet,
            sponsor,
            cents,
        }
    }

    proptest! {
        /// However the events of a run fall into parts, the parts add up to the whole.
        #[test]
        fn parts_add_up(events in proptest::collection::vec((0_usize..4, 0_i32..12, 1_u64..100_000), 0..100)) {
            let mut whole = Tally::default();
            let mut parts = vec![Tally::default(); 4];
            for (part, outcome, value) in events {
                for tally in [&mut whole, &mut parts[part]] {
                    tally.shakes.sent += 2;
                    tally.shakes.answered += 1;
                    tally.outcome(PhaseId::NONE, outcome);
                    tally.slow_down(outcome as u32);
                    tally.latency.saturating_record(value);
                    tally.error(&format!("error_{outcome}"), "said so");
                    tally.refusal(Reason::ALL[outcome as usize]);
                    tally.claims.wins += 1;
                    tally.opened.push(opened(value, outcome as u32, value));
                }
            }
            let mut sum = Tally::default();
            parts.iter().for_each(|part| sum.add(part));
            prop_assert_eq!(&sum.shakes, &whole.shakes);
            prop_assert_eq!(&sum.claims, &whole.claims);
            prop_assert_eq!(sum.outcomes, whole.outcomes);
            prop_assert_eq!(&sum.phases, &whole.phases);
            prop_assert_eq!(sum.slow_downs, whole.slow_downs);
            prop_assert_eq!(&sum.unknown_outcomes, &whole.unknown_outcomes);
            prop_assert_eq!(&sum.errors, &whole.errors);
            prop_assert_eq!(&sum.latency, &whole.latency);
            prop_assert_eq!(sum.cents_by_sponsor(), whole.cents_by_sponsor());
            prop_assert_eq!(sum.cents_by_sponsor().values().sum::<u64>(), whole.cents());
            prop_assert_eq!(sum.open_ends(), whole.open_ends());
        }
    }

    #[test]
    fn a_packet_opened_twice_is_found_across_parts() {
        let (mut one, mut two) = (Tally::default(), Tally::default());
        one.opened.extend([opened(1, 1, 5), opened(2, 1, 5)]);
        two.opened.extend([opened(3, 2, 5), opened(2, 2, 5)]);
        one.add(&two);
        one.find_opened_twice();
        assert_eq!(one.violations.opened_twice, [2]);
        assert!(!one.violations.is_clean());
    }

    #[test]
    fn error_names_are_bounded_and_keep_their_first_example() {
        let mut tally = Tally::default();
        for index in 0..ERROR_NAMES_MAX + 10 {
            tally.error(&format!("error_{index}"), "first");
        }
        tally.error("error_0", "second");
        assert_eq!(
            (tally.errors["error_0"].count, tally.errors["error_0"].example.as_str()),
            (2, "first")
        );
        assert_eq!(tally.errors["other"].count, 10);
        assert_eq!(code_name(0x106), "token_forged");
        assert_eq!(code_name(7), "code_0x7");
    }
}
