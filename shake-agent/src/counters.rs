//! Every counter of the agent, in one place. They only grow, and start at zero with the process. What a failed transaction
//! did is counted, and once more when it is repeated.

use enum_map::EnumMap;
use shake_proto::reply::Reason;
use std::sync::atomic::{AtomicU64, Ordering};

/// A number that grows. Written by the ledger's thread, read by whoever reports.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// What it has counted.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Raises it to `value` if that is more.
    pub fn raise(&self, value: u64) {
        self.0.fetch_max(value, Ordering::Relaxed);
    }

    /// Gives what it holds and begins again at zero.
    pub fn take(&self) -> u64 {
        self.0.swap(0, Ordering::Relaxed)
    }
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// All counters. Their names are those of the fields, and `refused_<reason>`.
        #[derive(Debug, Default)]
        pub struct Counters {
            $($(#[$doc])* pub $name: Counter,)*
            /// Asks refused, by why.
            pub refused: EnumMap<Reason, Counter>,
            /// The slowest commit since the last status line, in microseconds.
            pub commit_us_max: Counter,
        }

        impl Counters {
            /// Every counter that only grows, by name.
            #[must_use]
            pub fn all(&self) -> Vec<(String, u64)> {
                let named = [$((stringify!($name), self.$name.value()),)*];
                named
                    .into_iter()
                    .map(|(name, value)| (name.to_owned(), value))
                    .chain(self.refused.iter().map(|(reason, counter)| {
                        (format!("refused_{}", reason.name()), counter.value())
                    }))
                    .collect()
            }
        }
    };
}

counters! {
    /// Records taken from the request rings.
    requests_read,
    /// Packets noted as issued.
    issued,
    /// `Issued` records for what was noted already.
    issued_repeat,
    /// `Issued` records that contradict the ledger.
    issued_inconsistent,
    /// Packets opened.
    claims_opened,
    /// Claims of what the same user had opened before.
    claims_repeat,
    /// Claims with a ticket of a key that the agent has not read yet; answered "busy".
    claims_key_unknown,
    /// Packets that users sent.
    sends_made,
    /// Sends whose key had made a packet before.
    sends_repeat,
    /// Sends that had waited for over 30 seconds; nothing was made.
    sends_too_old,
    /// Packets that the event gave.
    gifts_made,
    /// Gifts whose key had made a packet before.
    gifts_repeat,
    /// Gifts that the event's budget did not cover; nothing was made.
    gifts_unfunded,
    /// Gifts with fewer cents than recipients, with a recipient named twice, or with another gift's key; nothing was made.
    gifts_inconsistent,
    /// Shares grabbed.
    grabs_made,
    /// Grabs by users who had their share before.
    grabs_repeat,
    /// Grabs that came when everything was taken.
    grabs_empty,
    /// Packets shown to who holds their code.
    views,
    /// Wallets shown.
    wallets,
    /// Packets told to users who asked what waits for them.
    offers_told,
    /// Packets of the seed that went back to their sponsor, whole or in part.
    refunds_seed,
    /// Sent packets that went back to their sender, whole or in part.
    refunds_sent,
    /// Gifts that went back to the event, whole or in part.
    refunds_gift,
    /// Asks answered "busy", because the ledger refuses writes.
    asks_busy,
    /// Lives of shards seen to begin.
    shards_started,
    /// `ShardStarted` records that name grants which were never pushed.
    shards_started_inconsistent,
    /// Packets released.
    packets_released,
    /// Grants that shards gave back.
    packets_returned,
    /// `Returned` records for what stands elsewhere by now.
    packets_returned_repeat,
    /// Of those that were given back, packets released again.
    packets_released_again,
    /// Packets that became void: no ticket was made for them.
    packets_voided,
    /// Packets that were lost with their mapping or ring: tickets for them may be out.
    packets_lost,
    /// The same of which a ticket or its record was seen.
    packets_found,
    /// Authentic tickets for packets that are void: there should be none.
    tickets_void,
    /// Grants put into the rings.
    grants_pushed,
    /// Replies put into the rings.
    replies_pushed,
    /// Replies dropped because ring and backlog were full; the phones ask again.
    replies_dropped,
    /// Notices put into the rings, once for each shard.
    notices_pushed,
    /// Notices dropped because a ring was full; the packets are found at the users' next Hello.
    notices_dropped,
    /// Records that do not decode.
    records_bad,
    /// Slots whose bytes were damaged.
    slots_corrupt,
    /// Rings whose cursors were damaged; they are not read any more.
    rings_broken,
    /// Transactions committed.
    commits,
    /// Commits that were tried again, because another writer of the ledger stood in the way.
    commits_again,
    /// Records that the ledger's server refused each time: put aside in its table `refused`, and nothing came of them.
    records_refused,
    /// Times that the ledger became read-only, because a commit failed.
    ledger_outages,
    /// Tries to write again while it was.
    ledger_retries,
    /// Lines that the settlement target took.
    lines_settled,
    /// Tries to settle that failed.
    settlement_failures,
    /// Records of behaviour taken from the event rings.
    events_read,
    /// Users, devices and prefixes blocked.
    blocks_made,
    /// The same that a dry run would have blocked.
    blocks_dry_run,
    /// The same that were not blocked because so many were already.
    blocks_held_back,
    /// Blocks that operators lifted.
    blocks_lifted,
    /// Whether the feed stopped at a damaged seed record: 0 or 1.
    feed_stopped,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_of_metrics_names_each_counter() {
        let page = include_str!("../../docs/metrics.md");
        let all = Counters::default().all();
        assert!(all.len() > 50);
        for (name, _) in all {
            let is_told = name.starts_with("refused_") || page.contains(&format!("| `{name}` |"));
            assert!(is_told, "{name} is not in docs/metrics.md");
        }
    }
}
