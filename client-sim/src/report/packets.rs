//! The part of the report about what users do with packets among themselves, and the packages they fetch.

use crate::tally::{self, Moved, Tally};
use serde::Serialize;
use std::collections::BTreeMap;

/// What users did with packets among themselves.
#[derive(Clone, Debug, Serialize)]
pub struct Packets {
    /// Packets sent.
    pub sends: Errands,
    /// Of those done, for named recipients; the others were for anyone with the code.
    pub sends_named: u64,
    /// Shares grabbed. `done` is with a share, repeats included.
    pub grabs: Errands,
    /// Grabs that came when everything was taken; not among the done.
    pub grabs_empty: u64,
    /// Looks at who got how much.
    pub views: Errands,
    /// Wallets asked for.
    pub wallets: Errands,
    /// Of those done, exactly what the user knew.
    pub wallets_equal: u64,
    /// More than the user knew, by what can have come back of a packet that the user sent.
    pub wallets_with_refunds: u64,
    /// Not compared: something of the user ended without an answer or went on meanwhile.
    pub wallets_not_compared: u64,
    /// Offers heard from the gateway.
    pub offers: u64,
    /// Codes told to friends.
    pub codes_told: u64,
    /// Codes that friends heard.
    pub codes_heard: u64,
    /// Offers and codes that users made nothing of.
    pub ignored: u64,
}

/// Errands of one kind: begun = done (and empty) + refused + gave_up + failed + unfinished.
#[derive(Clone, Debug, Serialize)]
pub struct Errands {
    /// Begun.
    pub begun: u64,
    /// Answered as asked.
    pub done: u64,
    /// Of these, done before.
    pub repeats: u64,
    /// Final refusals by reason.
    pub refused: BTreeMap<&'static str, u64>,
    /// Busy answers.
    pub busy: u64,
    /// Tries after the first.
    pub retries: u64,
    /// Out of tries.
    pub gave_up: u64,
    /// Ended by an error.
    pub failed: u64,
    /// Under way when the run ended.
    pub unfinished: u64,
}

/// Money that moved, in cents.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Cents {
    /// Out of red packets, to those who won them.
    pub opened: u64,
    /// Out of shared packets, to those who grabbed.
    pub grabbed: u64,
    /// Into packets that users sent.
    pub sent: u64,
}

/// Resource packages.
#[derive(Clone, Debug, Serialize)]
pub struct Packages {
    /// Hellos answered with a manifest.
    pub manifests: u64,
    /// Fetches planned.
    pub begun: u64,
    /// Not planned: the window does not meet the run.
    pub outside_window: u64,
    /// Fetched, size and checksum right.
    pub fetched: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// Failed, by name.
    pub failures: BTreeMap<String, u64>,
    /// Planned, and not ended when the run did.
    pub unfinished: u64,
    /// Replies that name a resource which no manifest has; none when there is no manifest.
    pub unknown_ids: u64,
}

impl Packets {
    pub(super) fn of(tally: &Tally) -> Self {
        let packets = &tally.packets;
        let mut grabs = Errands::of(&packets.grabs);
        grabs.done -= packets.grabs_empty;
        Self {
            sends: Errands::of(&packets.sends),
            sends_named: packets.sends_named,
            grabs,
            grabs_empty: packets.grabs_empty,
            views: Errands::of(&packets.views),
            wallets: Errands::of(&packets.wallets),
            wallets_equal: packets.wallets_equal,
            wallets_with_refunds: packets.wallets_with_refunds,
            wallets_not_compared: packets.wallets_not_compared,
            offers: packets.offers,
            codes_told: packets.codes_told,
            codes_heard: packets.codes_heard,
            ignored: packets.ignored,
        }
    }
}

impl Errands {
    fn of(errands: &tally::Errands) -> Self {
        Self {
            begun: errands.begun,
            done: errands.answered,
            repeats: errands.repeats,
            refused: errands.refused.clone(),
            busy: errands.busy,
            retries: errands.retries,
            gave_up: errands.gave_up,
            failed: errands.failed,
            unfinished: errands.unfinished,
        }
    }
}

impl Cents {
    pub(super) fn of(tally: &Tally) -> Self {
        let sum = |moved: &[Moved]| moved.iter().map(|moved| moved.cents).sum();
        Self {
            opened: tally.cents(),
            grabbed: sum(&tally.grabbed),
            sent: sum(&tally.sent),
        }
    }
}

impl Packages {
    pub(super) fn of(packages: &tally::Packages) -> Self {
        Self {
            manifests: packages.manifests,
            begun: packages.begun,
            outside_window: packages.outside_window,
            fetched: packages.fetched,
            bytes: packages.bytes,
            failures: packages.failures.clone(),
            unfinished: packages.unfinished(),
            unknown_ids: packages.unknown_ids,
        }
    }
}
