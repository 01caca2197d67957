//! What came of it: counts by name, the latency histograms, the money that moved. Tallies of parts of a run add up.
//!
//! Every sum that a reader may rely on is written down and tested here: see [`Tally::open_ends`].

mod errands;
mod networks;
mod packets;
mod phases;
mod sessions;
mod steps;
mod sum;
mod versions;
mod violations;

pub use errands::{Claims, Course, ErrandKind, Errands};
pub use networks::{NetworkTally, Networks};
pub use packets::{Moved, Packages, Packets};
pub use phases::{PhaseId, Phases};
pub use sessions::{Sessions, Shakes};
pub use steps::{StepCounts, StepShakes, Steps};
pub(crate) use sum::Sum;
pub use versions::{Version, Versions};
pub use violations::Violations;

use crate::schedule::Micros;
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
    /// The same by the network of the phone; nothing when there are no networks.
    pub networks: Networks,
    /// Errors by name.
    pub errors: BTreeMap<String, ErrorCount>,
    /// What a correct gateway never does.
    pub violations: Violations,
}

/// An empty histogram of latencies.
fn latencies() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_US_MAX, LATENCY_DIGITS)
        .expect("1 is positive, the bound is over twice that, and there are at most 5 digits")
}

impl Default for Tally {
    fn default() -> Self {
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
            latency: latencies(),
            claim_latency: latencies(),
            connect_latency: latencies(),
            networks: Networks::default(),
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

    /// The Hello of a new connection was answered, so long after the connection's first packet; and whether the phone's path was
    /// alive all the while.
    pub fn hello_answered(&mut self, network: Option<usize>, took: Micros, was_alive: bool) {
        self.connect_latency.saturating_record(took.0.max(1));
        self.networks.count(network, |counts| {
            counts.hellos += 1;
            if was_alive {
                counts.hello_latency.saturating_record(took.0.max(1));
            } else {
                counts.hellos_over_dead_paths += 1;
            }
        });
    }

    /// Counts a final refusal.
    pub fn refusal(&mut self, reason: Reason) {
        self.refused(ErrandKind::Claim, reason);
    }

    /// Counts a final refusal of any kind of errand.
    pub fn refused(&mut self, kind: ErrandKind, reason: Reason) {
        *self.errand(kind).refused.entry(reason.name().to_owned()).or_default() += 1;
    }

    /// An errand begins. A claim is begun by a win, which is counted as such.
    pub(crate) fn begin(&mut self, kind: ErrandKind) {
        let errands = match kind {
            ErrandKind::Claim => return,
            ErrandKind::Send => &mut self.packets.sends,
            ErrandKind::Grab => &mut self.packets.grabs,
            ErrandKind::View => &mut self.packets.views,
            ErrandKind::Wallet => &mut self.packets.wallets,
            ErrandKind::Hello => &mut self.hellos_again,
        };
        errands.begun += 1;
    }

    /// Where the errands of a kind are counted on their way.
    pub(crate) fn errand(&mut self, kind: ErrandKind) -> &mut Course {
        match kind {
            ErrandKind::Claim => &mut self.claims.course,
            ErrandKind::Send => &mut self.packets.sends.course,
            ErrandKind::Grab => &mut self.packets.grabs.course,
            ErrandKind::View => &mut self.packets.views.course,
            ErrandKind::Wallet => &mut self.packets.wallets.course,
            ErrandKind::Hello => &mut self.hellos_again.course,
        }
    }

    /// Counts the resource that a reply names, when no manifest has it. Without a manifest there is nothing to compare.
    pub fn resource(&mut self, id: u32) {
        let packages = &mut self.packages;
        let is_unknown = id != 0 && !packages.ids.is_empty() && !packages.ids.contains(&id);
        packages.unknown_ids += u64::from(is_unknown);
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

    /// Whether the end of anything is not counted yet.
    #[must_use]
    pub fn has_open_ends(&self) -> bool {
        self.open_ends() != (0, 0) || self.packets.open_ends() > 0
    }

    /// Shakes and claims whose end is not counted yet: sent less answered and unanswered; wins less every way in
    /// which a claim can end. Both are zero once the run is over.
    #[must_use]
    pub fn open_ends(&self) -> (u64, u64) {
        let answered = self.shakes.answered + self.shakes.unanswered;
        (self.shakes.sent.saturating_sub(answered), self.claims.open_ends())
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
    use strum::VariantArray as _;

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
                    tally.refusal(Reason::VARIANTS[outcome as usize]);
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
