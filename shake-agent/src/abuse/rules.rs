//! What counts as abuse: the thresholds of `[abuse]` in agent.toml, checked.

use ipnet::IpNet;
use shake_proto::handoff::abuse::{Rule, Subject};

/// The rules with their figures. A rule of 0 is off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Verdicts are told and counted, and nobody is blocked.
    pub dry_run: bool,
    /// What was done within about so long counts, in milliseconds.
    pub window_ms: u64,
    /// For so long a prefix's good Hellos, a device's users and wins, and earlier blocks are remembered, in milliseconds.
    pub memory_ms: u64,
    /// A first block's time; each further one within the memory takes twice as long. In milliseconds.
    pub block_ms: u64,
    /// The longest block, in milliseconds.
    pub block_ms_max: u64,
    /// Users, devices and prefixes that are remembered, of each so many.
    pub subjects_max: usize,
    /// Of the users seen lately at most so many percent are blocked at one time; devices and prefixes likewise.
    pub blocked_percent_max: u32,
    /// So many may be blocked of each, whatever the percentage.
    pub blocked_free: u32,
    /// Networks whose prefixes are never blocked.
    pub exempt: Vec<IpNet>,
    /// Refused shakes of a user.
    pub flood: u32,
    /// Requests of a user to the ledger.
    pub requests: u32,
    /// Forged tickets, cookies and codes of a user.
    pub forgery: u32,
    /// Others' tickets that a user shows.
    pub theft: u32,
    /// Things of a user that are no message.
    pub malformed: u32,
    /// Connections of a user.
    pub churn: u32,
    /// Moves of a user's sessions to other addresses.
    pub moves: u32,
    /// Users on one device.
    pub farm: u32,
    /// Wins on one device.
    pub harvest: u32,
    /// Failures of a prefix before Hello.
    pub strangers: u32,
    /// So many failures must come on each good Hello of the prefix.
    pub strangers_ratio: u32,
}

impl Rules {
    /// The threshold of a rule.
    #[must_use]
    pub fn threshold(&self, rule: Rule) -> u32 {
        match rule {
            Rule::Flood => self.flood,
            Rule::Requests => self.requests,
            Rule::Forgery => self.forgery,
            Rule::Theft => self.theft,
            Rule::Malformed => self.malformed,
            Rule::Churn => self.churn,
            Rule::Moves => self.moves,
            Rule::Farm => self.farm,
            Rule::Harvest => self.harvest,
            Rule::Strangers => self.strangers,
        }
    }

    /// Whether so much breaks the rule.
    #[must_use]
    pub fn is_broken(&self, rule: Rule, value: f32) -> bool {
        let threshold = self.threshold(rule);
        threshold > 0 && value >= threshold as f32
    }

    /// Whether a subject is never blocked.
    #[must_use]
    pub fn is_exempt(&self, subject: Subject) -> bool {
        match subject {
            Subject::Prefix(prefix) => {
                let address = prefix.first_address();
                self.exempt.iter().any(|network| network.contains(&address))
            }
            Subject::User(_) | Subject::Device(_) => false,
        }
    }

    /// How long a block takes that comes after so many.
    #[must_use]
    pub fn block_ms(&self, earlier: u32) -> u64 {
        let times = 1_u64.checked_shl(earlier).unwrap_or(u64::MAX);
        self.block_ms.saturating_mul(times).min(self.block_ms_max)
    }
}
