//! What a user knows of the own money: the sum of what was heard, never asked for.

use crate::tally::Tally;
use bytes::Bytes;
use std::hash::{DefaultHasher, Hash, Hasher};

/// The money that a user has heard of.
#[derive(Debug, Default)]
pub(super) struct Purse {
    /// What came out of each packet, in cents.
    shares: Vec<(u64, u64)>,
    /// Fingerprints of the codes that gave a share.
    grabbed: Vec<u64>,
    gained: u64,
    spent: u64,
    /// Whether a claim, grab or send ended without an answer, so that the balance is not known.
    pub(super) is_in_doubt: bool,
    pub(super) has_sent: bool,
    pub(super) has_asked_wallet: bool,
}

impl Purse {
    /// The gateway says that the user has got so much of a packet. Says whether that is news.
    pub(super) fn take(&mut self, packet: u64, cents: u64, repeat: bool, tally: &mut Tally) -> bool {
        tally.violations.empty_shares += u64::from(cents == 0);
        match self.shares.iter().find(|(known, _)| *known == packet) {
            Some((_, first)) => {
                tally.violations.answers_changed += u64::from(*first != cents);
                tally.violations.paid_twice += u64::from(!repeat);
                false
            }
            None => {
                self.shares.push((packet, cents));
                self.gained = self.gained.saturating_add(cents);
                true
            }
        }
    }

    pub(super) fn spend(&mut self, cents: u64) {
        self.spent = self.spent.saturating_add(cents);
    }

    /// What the user has at the least, in cents.
    pub(super) fn balance(&self) -> u64 {
        self.gained.saturating_sub(self.spent)
    }

    /// What the user has funded packets with, in cents.
    pub(super) fn spent(&self) -> u64 {
        self.spent
    }

    /// How many packets the user has a share of.
    pub(super) fn taken(&self) -> usize {
        self.shares.len()
    }

    pub(super) fn remember_grab(&mut self, code: &Bytes) {
        if !self.has_grabbed(code) {
            self.grabbed.push(fingerprint(code));
        }
    }

    pub(super) fn has_grabbed(&self, code: &Bytes) -> bool {
        self.grabbed.contains(&fingerprint(code))
    }
}

fn fingerprint(code: &Bytes) -> u64 {
    let mut hasher = DefaultHasher::new();
    code.hash(&mut hasher);
    hasher.finish()
}
