//! Counts of what users do with packets among themselves, and of the packages they fetch.

use super::add_map;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap};

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

/// Where the errands of one kind are counted; the same for every kind.
pub(crate) struct Course<'a> {
    /// Claims are begun by a win, which is counted as such.
    pub(crate) begun: Option<&'a mut u64>,
    pub(crate) refused: &'a mut BTreeMap<String, u64>,
    pub(crate) busy: &'a mut u64,
    pub(crate) retries: &'a mut u64,
    pub(crate) gave_up: &'a mut u64,
    pub(crate) failed: &'a mut u64,
    pub(crate) unfinished: &'a mut u64,
}

/// Counts of errands of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Errands {
    /// Begun.
    pub begun: u64,
    /// Answered as asked; for a grab, with a share.
    pub done: u64,
    /// Of these, told that it had been done before.
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

impl Errands {
    pub(super) fn course(&mut self) -> Course<'_> {
        Course {
            begun: Some(&mut self.begun),
            refused: &mut self.refused,
            busy: &mut self.busy,
            retries: &mut self.retries,
            gave_up: &mut self.gave_up,
            failed: &mut self.failed,
            unfinished: &mut self.unfinished,
        }
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.begun += other.begun;
        self.done += other.done;
        self.repeats += other.repeats;
        add_map(&mut self.refused, &other.refused);
        self.busy += other.busy;
        self.retries += other.retries;
        self.gave_up += other.gave_up;
        self.failed += other.failed;
        self.unfinished += other.unfinished;
    }

    /// Begun less every way in which an errand can end.
    fn open_ends(&self) -> u64 {
        let refused: u64 = self.refused.values().sum();
        let ended = self.done + refused + self.gave_up + self.failed + self.unfinished;
        self.begun.saturating_sub(ended)
    }
}

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
    pub(super) fn add(&mut self, other: &Self) {
        self.sends.add(&other.sends);
        self.sends_named += other.sends_named;
        self.grabs.add(&other.grabs);
        self.grabs_empty += other.grabs_empty;
        self.views.add(&other.views);
        self.wallets.add(&other.wallets);
        self.wallets_equal += other.wallets_equal;
        self.wallets_with_refunds += other.wallets_with_refunds;
        self.wallets_not_compared += other.wallets_not_compared;
        self.offers += other.offers;
        self.codes_told += other.codes_told;
        self.codes_heard += other.codes_heard;
        self.ignored += other.ignored;
    }

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
    /// Adds what another part of the run counted.
    pub fn add(&mut self, other: &Self) {
        self.manifests += other.manifests;
        self.ids.extend(&other.ids);
        self.begun += other.begun;
        self.outside_window += other.outside_window;
        self.fetched += other.fetched;
        self.bytes += other.bytes;
        add_map(&mut self.failures, &other.failures);
        self.unknown_ids += other.unknown_ids;
    }

    /// Fetches planned that had not ended when the run did.
    #[must_use]
    pub fn unfinished(&self) -> u64 {
        self.begun
            .saturating_sub(self.fetched + self.failures.values().sum::<u64>())
    }
}
