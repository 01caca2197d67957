//! Counts of what users do with packets among themselves, and of the packages they fetch.

use super::errands::Errands;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Counts of what users do with packets among themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Packets {
    /// Packets sent.
    pub sends: Errands,
    /// Of those done, for named recipients; the others were for anyone with the code.
    pub sends_named: u64,
    /// Shares grabbed.
    pub grabs: Errands,
    /// Told that everything had been grabbed; not among the done.
    pub grabs_empty: u64,
    /// Looks at packets.
    pub views: Errands,
    /// Wallets asked for.
    pub wallets: Errands,
    /// Of those done, exactly what the user knew.
    pub wallets_equal: u64,
    /// More than the user knew, by no more than the user had sent: it came back.
    pub wallets_with_refunds: u64,
    /// Not compared: an errand of the user ended without an answer, or went on meanwhile.
    pub wallets_not_compared: u64,
    /// Offers heard from the gateway.
    pub offers: u64,
    /// Codes that users told friends.
    pub codes_told: u64,
    /// Codes that friends heard; fewer than told when the run ends.
    pub codes_heard: u64,
    /// Offers and codes that users did not grab by, because they never do, were at it, or the run was ending.
    pub ignored: u64,
}

impl Packets {
    /// Errands whose end is not counted yet; zero once the run is over.
    #[must_use]
    pub fn open_ends(&self) -> u64 {
        let open: u64 = [&self.sends, &self.grabs, &self.views, &self.wallets]
            .map(Errands::open_ends)
            .iter()
            .sum();
        open.saturating_sub(self.grabs_empty)
    }
}

/// Money that moved by one packet of one user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moved {
    /// The packet.
    pub packet: u64,
    /// Who got or gave it.
    pub user: u64,
    /// How much.
    pub cents: u64,
}

/// Packets of which more was grabbed than their senders put in.
pub(super) fn overdrawn(sent: &[Moved], grabbed: &[Moved]) -> Vec<u64> {
    let mut left: HashMap<u64, i128> = HashMap::with_capacity(sent.len());
    for moved in sent {
        left.insert(moved.packet, moved.cents.into());
    }
    for moved in grabbed {
        if let Some(left) = left.get_mut(&moved.packet) {
            *left -= i128::from(moved.cents);
        }
    }
    let mut overdrawn: Vec<u64> = left
        .into_iter()
        .filter(|(_, left)| *left < 0)
        .map(|(packet, _)| packet)
        .collect();
    overdrawn.sort_unstable();
    overdrawn
}

/// Counts of the resource packages.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Packages {
    /// Hellos answered with a manifest.
    pub manifests: u64,
    /// Every id that a manifest had.
    #[serde(skip)]
    pub ids: BTreeSet<u32>,
    /// Fetches planned.
    pub begun: u64,
    /// Not planned: the window to fetch does not meet the run.
    pub outside_window: u64,
    /// Fetched, with size and checksum right.
    pub fetched: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// Failed, by the name of the reason.
    pub failures: BTreeMap<String, u64>,
    /// Replies that named a resource which no manifest has.
    pub unknown_ids: u64,
}

impl Packages {
    /// Fetches planned that had not ended when the run did.
    #[must_use]
    pub fn unfinished(&self) -> u64 {
        self.begun
            .saturating_sub(self.fetched + self.failures.values().sum::<u64>())
    }
}
