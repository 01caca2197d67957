//! Everything that the gateway counts, by name. One shard writes its own set; anyone may read.
//!
//! [`Count`] is the number. What a shard counts of its packets and connections stands in [`quic`].

mod reasons;

pub use quic_shard::counters::Count;
pub use reasons::{Busy, Dropped, Ended, Missed, RejectReason, Shed, SlowDown};

use crate::prometheus::{Page, labelled};
use enum_map::{EnumArray, EnumMap};
use quic_shard::counters as quic;
use quic_shard::counters::histogram;
use shake_proto::code::Code;
use shake_proto::handoff::abuse::Rule;
use shake_proto::reply::Reason;
use shake_proto::request_kind::RequestKind;
use shake_rules::outcome::Outcome;
use std::borrow::Cow;
use std::sync::Arc;

/// The counts of one shard.
#[derive(Default)]
pub struct Counters {
    /// Those of its packets and connections.
    pub quic: Arc<quic::Counters>,
    pub hellos: Count,
    /// Good Hellos of who is blocked.
    pub hellos_blocked: Count,
    /// Cookies that were not taken into account.
    pub cookies_refused: Count,
    pub wins: Count,
    /// Packets in hand that went back to the agent.
    pub grants_returned: Count,
    /// Requests that the agent has.
    pub asks_under_way: Count,
    /// Requests that the ledger answered, apart from refusals and repeats.
    pub answered: Count,
    /// Repeats that got their first answer again.
    pub repeated: Count,
    pub gifts: Count,
    /// Gifts that were due, with nobody to give to or no room in the ring.
    pub gifts_missed: Count,
    pub notices: Count,
    /// Notices that the client gave no room for.
    pub notices_missed: Count,
    /// Agent's replies that nobody waits for any more.
    pub replies_late: Count,
    /// Records of behaviour for the agent's analysis.
    pub events: Count,
    /// The same that found no room.
    pub events_dropped: Count,
    /// Users, devices and prefixes that are blocked now. Each shard has all of them, so the largest is shown, not the sum.
    pub blocks: Count,
    pub blocks_lifted: Count,
    /// Blocks that found no room, and do not hold.
    pub blocks_dropped: Count,
    /// Records or slots of the rings that made no sense.
    pub ring_errors: Count,
    pub shakes: EnumMap<Outcome, Count>,
    pub slowed: EnumMap<SlowDown, Count>,
    pub missed: EnumMap<Missed, Count>,
    pub dropped: EnumMap<Dropped, Count>,
    pub shed: EnumMap<Shed, Count>,
    /// New connections that were refused.
    pub rejected: EnumMap<RejectReason, Count>,
    /// Sessions that the gateway closed.
    pub ended: EnumMap<Ended, Count>,
    /// Requests of the kinds that the ledger answers.
    pub asks: EnumMap<RequestKind, Count>,
    pub busy: EnumMap<Busy, Count>,
    pub refused: EnumMap<Reason, Count>,
    pub streams_refused: EnumMap<Code, Count>,
    /// Blocks taken over from the agent.
    pub blocked: EnumMap<Rule, Count>,
}

fn sum<K: EnumArray<Count>>(counts: &EnumMap<K, Count>) -> u64 {
    counts.values().map(Count::value).sum()
}

impl Counters {
    /// Shakes that got an outcome.
    pub fn shakes_served(&self) -> u64 {
        sum(&self.shakes)
    }

    /// Shakes and packets that the limits kept out: told to slow down, dropped after that, and dropped unread, by us or by
    /// the kernel.
    pub fn shakes_refused(&self) -> u64 {
        let unread = sum(&self.shed) + self.quic.packets_filtered.value();
        sum(&self.slowed) + unread + self.dropped[Dropped::ToldBefore].value()
    }

    /// Packets of sessions that were dropped unread.
    pub fn packets_shed(&self) -> u64 {
        sum(&self.shed)
    }

    /// Requests of every kind that the ledger answers.
    pub fn asks_in_all(&self) -> u64 {
        sum(&self.asks)
    }

    /// Requests that were answered "ask again".
    pub fn busy_in_all(&self) -> u64 {
        sum(&self.busy)
    }

    /// Notices, by whether the client gave room for one.
    pub fn notice(&self, is_sent: bool) -> &Count {
        if is_sent { &self.notices } else { &self.notices_missed }
    }

    fn families(&self) -> Vec<Family> {
        let plain = [
            ("gateway_hellos_total", &self.hellos),
            ("gateway_hellos_blocked_total", &self.hellos_blocked),
            ("gateway_cookies_refused_total", &self.cookies_refused),
            ("gateway_wins_total", &self.wins),
            ("gateway_grants_returned_total", &self.grants_returned),
            ("gateway_asks_under_way", &self.asks_under_way),
            ("gateway_asks_answered_total", &self.answered),
            ("gateway_asks_repeated_total", &self.repeated),
            ("gateway_gifts_total", &self.gifts),
            ("gateway_gifts_missed_total", &self.gifts_missed),
            ("gateway_notices_total", &self.notices),
            ("gateway_notices_missed_total", &self.notices_missed),
            ("gateway_replies_late_total", &self.replies_late),
            ("gateway_events_total", &self.events),
            ("gateway_events_dropped_total", &self.events_dropped),
            ("gateway_blocks_max", &self.blocks),
            ("gateway_blocks_lifted_total", &self.blocks_lifted),
            ("gateway_blocks_dropped_total", &self.blocks_dropped),
            ("gateway_ring_errors_total", &self.ring_errors),
        ];
        let one = |metric, value| Family {
            metric,
            label: "",
            values: vec![("", value)],
        };
        let quic = self.quic.rows().into_iter();
        let quic = quic.map(|(name, value)| one(Cow::from(format!("gateway_{name}")), value));
        let plain = plain.map(|(metric, count)| one(Cow::from(metric), count.value()));
        let asks = self.asks.iter().filter(|(kind, _)| kind.is_of_ledger());
        let labelled = [
            family("gateway_shakes_total", "outcome", &self.shakes),
            family("gateway_shakes_refused_total", "reason", &self.slowed),
            family("gateway_packets_shed_total", "reason", &self.shed),
            family("gateway_connections_refused_total", "reason", &self.rejected),
            family("gateway_sessions_ended_total", "reason", &self.ended),
            family("gateway_wins_missed_total", "reason", &self.missed),
            family("gateway_datagrams_dropped_total", "reason", &self.dropped),
            family("gateway_asks_total", "kind", asks),
            family("gateway_asks_busy_total", "reason", &self.busy),
            family("gateway_asks_refused_total", "reason", &self.refused),
            family("gateway_streams_refused_total", "code", &self.streams_refused),
            family("gateway_blocks_total", "rule", &self.blocked),
        ];
        quic.chain(plain).chain(labelled).collect()
    }
}

/// The counts of one metric, by the values of its label; one that has none has one count, of no label.
struct Family {
    metric: Cow<'static, str>,
    label: &'static str,
    values: Vec<(&'static str, u64)>,
}

fn family<'a, K: Into<&'static str>>(
    metric: &'static str,
    label: &'static str,
    counts: impl IntoIterator<Item = (K, &'a Count)>,
) -> Family {
    let value = |(which, count): (K, &Count)| (which.into(), count.value());
    Family {
        metric: metric.into(),
        label,
        values: counts.into_iter().map(value).collect(),
    }
}

/// All shards' counts, each summed over the shards; of a maximum, the largest.
fn summed<'a>(mut shards: impl Iterator<Item = &'a Counters>) -> Vec<Family> {
    let mut sums = shards.next().map(Counters::families).unwrap_or_default();
    for counters in shards {
        for (sum, more) in sums.iter_mut().zip(counters.families()) {
            let is_max = sum.metric.ends_with("_max");
            for ((_, sum), (_, more)) in sum.values.iter_mut().zip(more.values) {
                *sum = if is_max { more.max(*sum) } else { *sum + more };
            }
        }
    }
    sums
}

/// All shards' counts by name with labels, as [`show`] has them.
pub fn sums<'a>(shards: impl Iterator<Item = &'a Counters>) -> Vec<(String, u64)> {
    let named = |family: Family| {
        family.values.into_iter().map(move |(of, sum)| match family.label {
            "" => (family.metric.clone().into_owned(), sum),
            label => (labelled(&family.metric, label, of), sum),
        })
    };
    summed(shards).into_iter().flat_map(named).collect()
}

/// Shows all shards' counts, each summed over the shards; of a maximum, the largest.
pub fn show<'a>(shards: impl Iterator<Item = &'a Counters> + Clone, page: &mut Page) {
    for family in summed(shards.clone()) {
        match family.label {
            "" => page.metric(&family.metric, family.values[0].1),
            label => page.family(&family.metric, label, family.values),
        }
    }
    let waits = shards.clone().map(|counters| &counters.quic.queue_wait);
    page.text(&histogram::render("gateway_queue_wait_seconds", waits));
    let latencies = shards.map(|counters| &counters.quic.latency);
    page.text(&histogram::render("gateway_shake_latency_seconds", latencies));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_summed_and_every_family_is_there() {
        let shards = [Counters::default(), Counters::default()];
        for shard in &shards {
            shard.shakes[Outcome::Greeting].add(2);
            shard.streams_refused[Code::TokenForged].inc();
        }
        shards[1].quic.growth_ns_max.set(7);
        shards[0].quic.growth_ns_max.set(5);
        let mut page = Page::default();
        show(shards.iter(), &mut page);
        let text = page.into_text();
        for line in [
            "gateway_shakes_total{outcome=\"greeting\"} 4",
            "gateway_streams_refused_total{code=\"token_forged\"} 2",
            "gateway_asks_busy_total{reason=\"agent_away\"} 0",
            "# TYPE gateway_sessions gauge",
            "gateway_growth_ns_max 7",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
    }
}
