//! What a shard counts of its packets and connections, and the kinds of numbers that counts are made of.

mod count;
pub mod histogram;

pub use count::Count;
pub use histogram::Histogram;

/// The counts of one shard. It alone writes them; anyone may read.
#[derive(Default)]
pub struct Counters {
    /// Packets that came.
    pub packets_received: Count,
    /// Packets that the kernel dropped because the socket's buffer was full.
    pub packets_overflowed: Count,
    /// Packets that the filter in the kernel dropped.
    pub packets_filtered: Count,
    /// Packets that belong to no connection and start none: garbage, or long gone.
    pub packets_discarded: Count,
    /// Packets that came before their session's handshake was over, and were held until it was; and those beyond what is held.
    pub packets_early: Count,
    /// Those beyond what is held.
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
    /// Packets that went.
    pub packets_sent: Count,
    /// Packets that the kernel did not take.
    pub packets_unsent: Count,
    /// Reads of the socket that failed.
    pub receive_errors: Count,
    /// Sessions that exist now, handshaking ones among them.
    pub sessions: Count,
    /// Of them those that are packed, because they were quiet lately.
    pub sessions_asleep: Count,
    /// Sessions whose handshake is under way.
    pub handshakes_now: Count,
    /// Connections that were let in.
    pub connections_accepted: Count,
    /// Handshakes completed.
    pub connections_established: Count,
    /// Asked to prove their address first.
    pub connections_retried: Count,
    /// Initial packets that could not be accepted.
    pub connections_failed: Count,
    /// Sessions that are gone.
    pub connections_closed: Count,
    /// Replies and notices that had to wait until the client gave credit for all of them.
    pub replies_waited: Count,
    /// The most CPU time, in nanoseconds, that a call took in which a table grew, or the sessions' pages may have.
    pub growth_ns_max: Count,
    /// From the kernel's receipt of a packet to its handling; of the first packet of each batch, for all of the batch.
    pub queue_wait: Histogram,
    /// From the kernel's receipt of what was served to its answer's handing to the kernel.
    pub latency: Histogram,
}

impl Counters {
    /// Every count by its name; what ends in `_max` is a maximum, what ends in `_total` only grows.
    pub fn rows(&self) -> [(&'static str, u64); 24] {
        [
            ("packets_received_total", &self.packets_received),
            ("packets_overflowed_total", &self.packets_overflowed),
            ("packets_filtered_total", &self.packets_filtered),
            ("packets_discarded_total", &self.packets_discarded),
            ("packets_early_total", &self.packets_early),
            ("packets_early_dropped_total", &self.packets_early_dropped),
            ("pings_total", &self.pings),
            ("moves_refused_total", &self.moves_refused),
            ("packets_withheld_total", &self.packets_withheld),
            ("resets_total", &self.resets),
            ("resets_limited_total", &self.resets_limited),
            ("packets_sent_total", &self.packets_sent),
            ("packets_unsent_total", &self.packets_unsent),
            ("receive_errors_total", &self.receive_errors),
            ("sessions", &self.sessions),
            ("sessions_asleep", &self.sessions_asleep),
            ("handshakes", &self.handshakes_now),
            ("connections_accepted_total", &self.connections_accepted),
            ("connections_established_total", &self.connections_established),
            ("connections_retried_total", &self.connections_retried),
            ("connections_failed_total", &self.connections_failed),
            ("connections_closed_total", &self.connections_closed),
            ("replies_waited_total", &self.replies_waited),
            ("growth_ns_max", &self.growth_ns_max),
        ]
        .map(|(name, count)| (name, count.value()))
    }
}
