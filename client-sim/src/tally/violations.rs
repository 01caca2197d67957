//! What no correct gateway does, by name.

use serde::{Deserialize, Serialize};

/// Replies that no correct gateway sends. Any of these fails the run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Violations {
    /// Replies that do not decode, are of the wrong kind, or lack what their outcome needs.
    pub malformed_replies: u64,
    /// Packets opened with another sponsor than the win named.
    pub wrong_sponsor: u64,
    /// Packets opened by more than one claim; found when the parts of a run are put together.
    pub opened_twice: Vec<u64>,
    /// Sent packets of which more was grabbed than was put in; found when the parts of a run are put together.
    pub overdrawn: Vec<u64>,
    /// Answers that say something else than the first answer to the same user about the same packet.
    pub answers_changed: u64,
    /// Money given once more to the same user out of the same packet, and not called a repeat.
    pub paid_twice: u64,
    /// Shares of nothing.
    pub empty_shares: u64,
    /// Grabs of an offered packet that was then unknown, or not for this user.
    pub offers_broken: u64,
    /// Sends refused for their numbers or for lack of money, although both were right.
    pub sends_refused: u64,
    /// Views that do not add up, or disagree with what the user knows.
    pub views_wrong: u64,
    /// Wallets that do not add up, or disagree with what the user knows.
    pub wallets_wrong: u64,
}

impl Violations {
    /// Whether there is none.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.counts().iter().all(|(_, count)| *count == 0)
    }

    /// All counts by name.
    #[must_use]
    pub fn counts(&self) -> [(&'static str, u64); 11] {
        [
            ("malformed_replies", self.malformed_replies),
            ("wrong_sponsor", self.wrong_sponsor),
            ("opened_twice", self.opened_twice.len() as u64),
            ("overdrawn", self.overdrawn.len() as u64),
            ("answers_changed", self.answers_changed),
            ("paid_twice", self.paid_twice),
            ("empty_shares", self.empty_shares),
            ("offers_broken", self.offers_broken),
            ("sends_refused", self.sends_refused),
            ("views_wrong", self.views_wrong),
            ("wallets_wrong", self.wallets_wrong),
        ]
    }
}
