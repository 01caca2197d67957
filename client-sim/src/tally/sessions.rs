//! Counts of the sessions themselves, and of shakes.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Counts of sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sessions {
    /// Hellos answered, the first of each session.
    pub connected: u64,
    /// Hellos answered after a connection was lost.
    pub reconnected: u64,
    /// Sessions that gave up.
    pub failed: u64,
    /// Connections lost after their Hello.
    pub lost: u64,
    /// Failed tries to connect, by the name of the reason.
    pub connect_failures: BTreeMap<String, u64>,
    /// Failed Hellos, by the name of the reason.
    pub hello_failures: BTreeMap<String, u64>,
    /// Times that a session turned to another gateway, because it was told to, or its own was silent, gone or could not be
    /// reached.
    pub moved: u64,
    /// Notices to go away.
    pub told_to_go_away: u64,
    /// Notices of a change of phase.
    pub phase_notices: u64,
}

/// Counts of shakes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Shakes {
    /// Handed to the transport.
    pub sent: u64,
    /// Of these, on streams.
    pub sent_on_streams: u64,
    /// Answered in time.
    pub answered: u64,
    /// Not answered in time, or not before the connection or the run ended.
    pub unanswered: u64,
    /// Answers after the time was over. Their shakes are among the unanswered.
    pub late: u64,
    /// Answers to a sequence that was not sent, or a second answer.
    pub unexpected: u64,
    /// Left out by users who obey: the pace, a slow down or silence did not allow them yet, and one that was due before
    /// waited for it already.
    pub held_back: u64,
    /// Of those sent: later than scheduled, because the pace, a slow down or silence did not allow them before.
    pub postponed: u64,
    /// Left out because the session had no connection.
    pub skipped_offline: u64,
}
