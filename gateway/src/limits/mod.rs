//! Who gets in: what the grade of load and the limits of one user, one address prefix and one shard admit. Nothing here
//! allocates on a shake's path, and nothing but the load is shared.
//!
//! | limiter | what it limits |
//! |---|---|
//! | [`PacketLimiter`] | packets of a session, before they are decrypted |
//! | [`ShakeLimiter`] | shakes of a user, a prefix and the shard |
//! | [`RequestLimiter`] | requests to the ledger |
//! | [`ConnectionLimiter`] | new connections |
//!
//! A refusal must be far cheaper than a service. So a user over the limit is told once, and then dropped; and most of
//! such a user's packets are dropped before they are decrypted, which is where the cost of a packet lies. One of some is
//! let through, so that what rides on streams arrives by QUIC's own retransmission; and a user with a fresh win is
//! not shut out for that, so that the claim comes through at once.

mod connections;
mod packets;
mod prefixes;
mod present;
mod requests;
mod session;
mod shakes;
mod user;

pub use connections::{Applicant, ConnectionLimiter, Decision};
pub use packets::{PacketLimiter, Spending};
pub use present::{Present, retry_ms};
pub use requests::RequestLimiter;
pub use session::{BETWEEN_OFFERS_NS, Offers, SessionLimits};
pub use shakes::{ShakeLimiter, Verdict, shake_of_blocked};
pub use user::UserLimits;

use crate::config_store::Live;
use crate::load::state::LoadState;
use shake_rules::grade::Grade;
use shake_rules::throttle::pace::{UserLimit, fair_pace_ms};
use std::sync::atomic::Ordering::Relaxed;

/// One shard's limits.
pub struct Limits {
    pub present: Present,
    pub packets: PacketLimiter,
    pub shakes: ShakeLimiter,
    pub requests: RequestLimiter,
    pub connections: ConnectionLimiter,
    /// Of the configuration that they were made from.
    version: u64,
    shards: u16,
}

impl Limits {
    /// Those of one of so many shards, which each have their part.
    pub fn new(shards: u16) -> Self {
        Self {
            present: Present::new(),
            packets: PacketLimiter::new(),
            shakes: ShakeLimiter::new(shards),
            requests: RequestLimiter::new(),
            connections: ConnectionLimiter::new(shards),
            version: 0,
            shards,
        }
    }

    /// Takes the grade and what is live for this turn, and makes the pace and the limits from them. `show_pace_ms` is the
    /// phase's, `now_ns` since the shard began.
    pub fn begin_turn(&mut self, live: &Live, load: &LoadState, show_pace_ms: u32, now_ns: u64) {
        self.present.now_ns = now_ns;
        let grade = load.grade();
        let rules = live.throttle.at(grade);
        if grade != self.present.grade || live.version != self.version {
            self.present.grade = grade;
            self.version = live.version;
            self.packets.take_rules(rules);
            self.shakes.take_rules(rules, self.shards);
            self.requests.take_rules(rules, self.shards);
            self.connections.take_rules(rules, self.shards);
        }
        self.present.pace_ms = if grade > Grade::default() {
            let (shakers, invited) = (load.shakers.load(Relaxed), load.invited_per_second.value());
            fair_pace_ms(rules, show_pace_ms, shakers, invited)
        } else {
            0
        };
        self.present.user = UserLimit::new(rules.user, self.present.pace_ms);
        self.shakes.begin_turn(now_ns);
    }
}

#[cfg(test)]
mod tests;
