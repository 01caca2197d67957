//! Questions for what users won at other gateways, which wait to be asked.

use quic_shard::session_id::SessionId;
use rate_limit::Shared as Limited;
use std::collections::VecDeque;

/// Questions a second of a gateway.
const PER_SECOND: f64 = 50.0;
/// The longest that one waits, in seconds.
const WAIT_S_MAX: f64 = 60.0;

/// Questions of a shard.
pub struct Elsewhere {
    /// Sessions whose question was not asked yet, oldest first.
    pub waiting: VecDeque<SessionId>,
    /// The most of them.
    pub waiting_max: usize,
    /// How often one may be asked.
    pub rate: Limited,
}

impl Elsewhere {
    /// Of one of so many shards.
    pub fn new(shards: u16) -> Self {
        let per_second = PER_SECOND / f64::from(shards);
        Self {
            waiting: VecDeque::new(),
            waiting_max: (per_second * WAIT_S_MAX) as usize,
            rate: Limited::evenly(per_second),
        }
    }
}
