//! Everything that the gateway counts, by name. One shard writes its own set; anyone may read.
//!
//! [`Count`] is the number, [`Histogram`] how long things took.

mod count;
mod histogram;
mod reasons;

pub use count::Count;
pub use histogram::Histogram;
pub use reasons::{Busy, Dropped, Ended, Missed, RejectReason, Shed, SlowDown};

use shake_proto::code::Code;
use shake_proto::handoff::abuse::Rule;
use shake_proto::reply::Reason;
use shake_proto::request_kind::RequestKind;
use shake_rules::outcome::Outcome;
use std::fmt::Write as _;

/// The counts of one shard.
#[derive(Default)]
pub struct Counters {
    pub packets_received: Count,
    /// Packets that the kernel dropped because the socket's buffer was full.
    pub packets_overflowed: Count,
    pub packets_filtered: Count,
    /// Packets that belong to no connection and start none: garbage, or long gone.
    pub packets_discarded: Count,
    /// Packets that came before their session's handshake was over, and were held until it was; and those beyond what is held.
    pub packets_early: Count,
    pub packets_early_dropped: Count,
    /// Pings for replies and notices that were not acknowledged.
    pub pings: Count,
    /// Packets from a new address of a session whose address changes too often.
    pub moves_refused: Count,
    /// Packets to an address that is not the session's, and from which too little came.
    pub packets_withheld: Count,
    /// Stateless resets sent.
    pub resets: Count,
    /// The same that were more than a shard may send.
    pub resets_limited: Count,
    pub packets_sent: Count,
    /// Packets that the kernel did not take.
    pub packets_unsent: Count,
    pub receive_errors: Count,
    /// Sessions that exist now, handshaking ones among them.
    pub sessions: Count,
    /// Of them those that are packed, because they were quiet lately.
    pub sessions_asleep: Count,
    pub handshakes_now: Count,
    pub connections_accepted: Count,
    /// Handshakes completed.
    pub connections_established: Count,
    /// Asked to prove their address first.
    pub connections_retried: Count,
    /// Initial packets that could not be accepted.
    pub connections_failed: Count,
    pub connections_closed: Count,
    pub hellos: Count,
    /// Good Hellos of who is blocked.
    pub hellos_blocked: Count,
    /// Cookies that were not taken into account.
    pub cookies_refused: Count,
    pub wins: Count,
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
    /// Replies and notices that had to wait until the client gave credit for all of them.
    pub replies_waited: Count,
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
    /// The most CPU time, in nanoseconds, that a call took in which a table grew, or the sessions' pages may have.
    pub growth_ns_max: Count,
    shakes: [Count; Outcome::ALL.len()],
    slowed: [Count; SlowDown::ALL.len()],
    missed: [Count; Missed::ALL.len()],
    dropped: [Count; Dropped::ALL.len()],
    shed: [Count; Shed::ALL.len()],
    rejected: [Count; RejectReason::ALL.len()],
    ended: [Count; Ended::ALL.len()],
    asks: [Count; RequestKind::OF_LEDGER.len()],
    busy: [Count; Busy::ALL.len()],
    refused: [Count; Reason::ALL.len()],
    streams_refused: [Count; Code::ALL.len()],
    blocked: [Count; Rule::ALL.len()],
    /// From the kernel's receipt of a packet to its handling; of the first packet of each batch, for all of the batch.
    pub queue_wait: Histogram,
    /// From the kernel's receipt of a shake to its answer's handing to the kernel.
    pub shake_latency: Histogram,
}

fn of<'a, T: PartialEq>(counts: &'a [Count], all: &[T], which: &T) -> &'a Count {
    let index = all.iter().position(|one| one == which);
    &counts[index.expect("every variant stands in its ALL")]
}

fn sum(counts: &[Count]) -> u64 {
    counts.iter().map(Count::value).sum()
}

impl Counters {
    pub fn shake(&self, outcome: Outcome) -> &Count {
        of(&self.shakes, &Outcome::ALL, &outcome)
    }

    pub fn slowed(&self, why: SlowDown) -> &Count {
        of(&self.slowed, &SlowDown::ALL, &why)
    }

    pub fn shed(&self, why: Shed) -> &Count {
        of(&self.shed, &Shed::ALL, &why)
    }

    /// New connections that were refused.
    pub fn rejected(&self, why: RejectReason) -> &Count {
        of(&self.rejected, &RejectReason::ALL, &why)
    }

    /// Sessions that the gateway closed.
    pub fn ended(&self, why: Ended) -> &Count {
        of(&self.ended, &Ended::ALL, &why)
    }

    /// Shakes that got an outcome.
    pub fn shakes_served(&self) -> u64 {
        sum(&self.shakes)
    }

    /// Shakes and packets that the limits kept out: told to slow down, dropped after that, and dropped unread, by us or by
    /// the kernel.
    pub fn shakes_refused(&self) -> u64 {
        let unread = sum(&self.shed) + self.packets_filtered.value();
        sum(&self.slowed) + unread + self.dropped(Dropped::ToldBefore).value()
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

    pub fn missed(&self, why: Missed) -> &Count {
        of(&self.missed, &Missed::ALL, &why)
    }

    pub fn dropped(&self, why: Dropped) -> &Count {
        of(&self.dropped, &Dropped::ALL, &why)
    }

    /// Requests of a kind that the ledger answers.
    pub fn ask(&self, kind: RequestKind) -> &Count {
        of(&self.asks, &RequestKind::OF_LEDGER, &kind)
    }

    pub fn busy(&self, why: Busy) -> &Count {
        of(&self.busy, &Busy::ALL, &why)
    }

    pub fn refused(&self, reason: Reason) -> &Count {
        of(&self.refused, &Reason::ALL, &reason)
    }

    /// Blocks taken over from the agent.
    pub fn blocked(&self, rule: Rule) -> &Count {
        of(&self.blocked, &Rule::ALL, &rule)
    }

    pub fn stream_refused(&self, code: Code) -> &Count {
        of(&self.streams_refused, &Code::ALL, &code)
    }

    /// Every count as (metric, label, value of the label, count).
    fn rows(&self) -> Vec<(&'static str, &'static str, &'static str, u64)> {
        let plain = [
            ("gateway_packets_received_total", &self.packets_received),
            ("gateway_packets_overflowed_total", &self.packets_overflowed),
            ("gateway_packets_filtered_total", &self.packets_filtered),
            ("gateway_packets_discarded_total", &self.packets_discarded),
            ("gateway_packets_early_total", &self.packets_early),
            ("gateway_packets_early_dropped_total", &self.packets_early_dropped),
            ("gateway_pings_total", &self.pings),
            ("gateway_moves_refused_total", &self.moves_refused),
            ("gateway_packets_withheld_total", &self.packets_withheld),
            ("gateway_resets_total", &self.resets),
            ("gateway_resets_limited_total", &self.resets_limited),
            ("gateway_packets_sent_total", &self.packets_sent),
            ("gateway_packets_unsent_total", &self.packets_unsent),
            ("gateway_receive_errors_total", &self.receive_errors),
            ("gateway_sessions", &self.sessions),
            ("gateway_sessions_asleep", &self.sessions_asleep),
            ("gateway_handshakes", &self.handshakes_now),
            ("gateway_connections_accepted_total", &self.connections_accepted),
            ("gateway_connections_established_total", &self.connections_established),
            ("gateway_connections_retried_total", &self.connections_retried),
            ("gateway_connections_failed_total", &self.connections_failed),
            ("gateway_connections_closed_total", &self.connections_closed),
            ("gateway_hellos_total", &self.hellos),
            ("gateway_hellos_blocked_total", &self.hellos_blocked),
            ("gateway_cookies_refused_total", &self.cookies_refused),
            ("gateway_wins_total", &self.wins),
            ("gateway_asks_under_way", &self.asks_under_way),
            ("gateway_asks_answered_total", &self.answered),
            ("gateway_asks_repeated_total", &self.repeated),
            ("gateway_gifts_total", &self.gifts),
            ("gateway_gifts_missed_total", &self.gifts_missed),
            ("gateway_notices_total", &self.notices),
            ("gateway_notices_missed_total", &self.notices_missed),
            ("gateway_replies_waited_total", &self.replies_waited),
            ("gateway_replies_late_total", &self.replies_late),
            ("gateway_events_total", &self.events),
            ("gateway_events_dropped_total", &self.events_dropped),
            ("gateway_blocks_max", &self.blocks),
            ("gateway_blocks_lifted_total", &self.blocks_lifted),
            ("gateway_blocks_dropped_total", &self.blocks_dropped),
            ("gateway_ring_errors_total", &self.ring_errors),
            ("gateway_growth_ns_max", &self.growth_ns_max),
        ];
        let mut rows: Vec<_> = plain
            .into_iter()
            .map(|(metric, count)| (metric, "", "", count.value()))
            .collect();
        let mut family = |metric, label, names: &[&'static str], counts: &[Count]| {
            rows.extend(
                names
                    .iter()
                    .zip(counts)
                    .map(|(name, count)| (metric, label, *name, count.value())),
            );
        };
        family(
            "gateway_shakes_total",
            "outcome",
            &Outcome::ALL.map(Outcome::name),
            &self.shakes,
        );
        family(
            "gateway_shakes_refused_total",
            "reason",
            &SlowDown::ALL.map(SlowDown::name),
            &self.slowed,
        );
        family(
            "gateway_packets_shed_total",
            "reason",
            &Shed::ALL.map(Shed::name),
            &self.shed,
        );
        family(
            "gateway_connections_refused_total",
            "reason",
            &RejectReason::ALL.map(RejectReason::name),
            &self.rejected,
        );
        family(
            "gateway_sessions_ended_total",
            "reason",
            &Ended::ALL.map(Ended::name),
            &self.ended,
        );
        family(
            "gateway_wins_missed_total",
            "reason",
            &Missed::ALL.map(Missed::name),
            &self.missed,
        );
        family(
            "gateway_datagrams_dropped_total",
            "reason",
            &Dropped::ALL.map(Dropped::name),
            &self.dropped,
        );
        family(
            "gateway_asks_total",
            "kind",
            &RequestKind::OF_LEDGER.map(RequestKind::name),
            &self.asks,
        );
        family(
            "gateway_asks_busy_total",
            "reason",
            &Busy::ALL.map(Busy::name),
            &self.busy,
        );
        family(
            "gateway_asks_refused_total",
            "reason",
            &Reason::ALL.map(Reason::name),
            &self.refused,
        );
        family(
            "gateway_streams_refused_total",
            "code",
            &Code::ALL.map(Code::name),
            &self.streams_refused,
        );
        family(
            "gateway_blocks_total",
            "rule",
            &Rule::ALL.map(Rule::name),
            &self.blocked,
        );
        rows
    }
}

/// All shards' counts by name with labels, each summed over the shards; of a maximum, the largest.
pub fn sums<'a>(shards: impl Iterator<Item = &'a Counters>) -> Vec<(String, u64)> {
    let named =
        |(metric, label, value, sum): (&str, &str, &str, u64)| (format!("{metric}{}", labels(label, value)), sum);
    summed(shards).into_iter().map(named).collect()
}

fn labels(label: &str, value: &str) -> String {
    if label.is_empty() {
        String::new()
    } else {
        format!("{{{label}=\"{value}\"}}")
    }
}

fn summed<'a>(shards: impl Iterator<Item = &'a Counters>) -> Vec<(&'static str, &'static str, &'static str, u64)> {
    let mut sums: Vec<(&str, &str, &str, u64)> = Vec::new();
    for counters in shards {
        let rows = counters.rows();
        if sums.is_empty() {
            sums = rows;
        } else {
            for (sum, row) in sums.iter_mut().zip(rows) {
                sum.3 = if sum.0.ends_with("_max") {
                    sum.3.max(row.3)
                } else {
                    sum.3 + row.3
                };
            }
        }
    }
    sums
}

/// The same in the Prometheus text format.
pub fn render<'a>(shards: impl Iterator<Item = &'a Counters> + Clone) -> String {
    let mut text = String::new();
    let mut last = "";
    for (metric, label, value, sum) in summed(shards.clone()) {
        if metric != last {
            let kind = if metric.ends_with("_total") { "counter" } else { "gauge" };
            writeln!(text, "# TYPE {metric} {kind}").expect("writing to a String cannot fail");
            last = metric;
        }
        writeln!(text, "{metric}{} {sum}", labels(label, value)).expect("writing to a String cannot fail");
    }
    let waits = shards.clone().map(|counters| &counters.queue_wait);
    text.push_str(&histogram::render("gateway_queue_wait_seconds", waits));
    let latencies = shards.map(|counters| &counters.shake_latency);
    text.push_str(&histogram::render("gateway_shake_latency_seconds", latencies));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_summed_and_every_family_is_there() {
        let shards = [Counters::default(), Counters::default()];
        for shard in &shards {
            shard.shake(Outcome::Greeting).add(2);
            shard.stream_refused(Code::TokenForged).inc();
        }
        shards[1].growth_ns_max.set(7);
        shards[0].growth_ns_max.set(5);
        let text = render(shards.iter());
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
