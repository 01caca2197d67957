//! Counts of errands: requests of users that are tried until they are answered. Claims are errands that a win begins.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A kind of errand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrandKind {
    /// Open a packet.
    Claim,
    /// Fund one.
    Send,
    /// Take a share of one.
    Grab,
    /// See who got how much.
    View,
    /// Ask for the balance.
    Wallet,
    /// Say Hello once more.
    Hello,
}

impl ErrandKind {
    /// The name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Claim => "claim",
            Self::Send => "send",
            Self::Grab => "grab",
            Self::View => "view",
            Self::Wallet => "wallet",
            Self::Hello => "hello_again",
        }
    }

    /// Whether an errand of this kind that ends without an answer may have moved money.
    pub(crate) fn moves_money(self) -> bool {
        matches!(self, Self::Claim | Self::Send | Self::Grab)
    }
}

/// Where errands may go on their way; the same for every kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Course {
    /// Of the done, told that it had been done before: an earlier answer was lost.
    pub repeats: u64,
    /// Final refusals, by the name of the reason.
    pub refused: BTreeMap<String, u64>,
    /// Busy answers. Each is followed by another try, or by giving up.
    pub busy: u64,
    /// Tries after the first.
    pub retries: u64,
    /// Used up their tries.
    pub gave_up: u64,
    /// Met an error which another try would meet again.
    pub failed: u64,
    /// Still under way when the run ended.
    pub unfinished: u64,
}

impl Course {
    /// Those that ended without what was asked for.
    fn ended(&self) -> u64 {
        self.refused.values().sum::<u64>() + self.without_answer()
    }

    /// Those whose end is not known: they may have moved money or not.
    #[must_use]
    pub fn without_answer(&self) -> u64 {
        self.gave_up + self.failed + self.unfinished
    }
}

/// Counts of errands of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Errands {
    /// Begun.
    pub begun: u64,
    /// Answered as asked; for a grab, with a share.
    pub done: u64,
    /// The rest of their way.
    #[serde(flatten)]
    pub course: Course,
}

impl Errands {
    /// Begun less every way in which an errand can end.
    pub(super) fn open_ends(&self) -> u64 {
        self.begun.saturating_sub(self.done + self.course.ended())
    }
}

/// Counts of claims.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Claims {
    /// Red packets won, each claimed once.
    pub wins: u64,
    /// Claims that were answered with the open packet.
    pub opened: u64,
    /// The rest of their way.
    #[serde(flatten)]
    pub course: Course,
    /// Wins that were never claimed, because the user hoards.
    pub hoarded: u64,
    /// Of the opened, split packets: the winner got a share and a code.
    pub split: u64,
}

impl Claims {
    /// Wins less every way in which a claim can end.
    pub(super) fn open_ends(&self) -> u64 {
        self.wins
            .saturating_sub(self.opened + self.hoarded + self.course.ended())
    }
}
