//! A phone: the application's part of a session.

use crate::abuse::AbuseCounters;
use crate::limits::{SessionLimits, UserLimits};
use quic_shard::AllSessions;
use quic_shard::cx::SessionCx;
use shake_rules::UserId;

/// A phone in the hands of a handler.
pub type PhoneCx<'a> = SessionCx<'a, Phone, UserLimits>;
/// All phones of a shard.
pub type Phones<'a> = AllSessions<'a, Phone, UserLimits>;

/// What is known of a phone; packed with its connection while it is idle.
pub struct Phone {
    /// Set by the first Hello.
    pub user: Option<UserId>,
    /// Said by the last Hello.
    pub takes_notices: bool,
    /// What it did since it was last told of.
    pub behaviour: AbuseCounters,
    /// What it has used up of the limits.
    pub limits: SessionLimits,
}

impl Phone {
    pub fn new(behaviour: AbuseCounters) -> Self {
        Self {
            user: None,
            takes_notices: false,
            behaviour,
            limits: SessionLimits::default(),
        }
    }
}
