//! Questions what waits for a user that were put off until they may be asked.

use quic_shard::session_id::SessionId;
use std::collections::VecDeque;

/// Questions of a shard, at the most: as many as it has sessions at its largest. Sessions that have gone count until theirs is
/// due, and while the agent is away. Of eight mebibytes.
const MAX: usize = 524_288;

/// One question.
struct Question {
    session: SessionId,
    /// When it is due, in nanoseconds since the shard began.
    due_ns: u64,
}

/// Those of a shard. A session has one at the most.
#[derive(Default)]
pub struct PutOff(VecDeque<Question>);

impl PutOff {
    /// Whether there is no room for one more.
    pub fn is_full(&self) -> bool {
        self.0.len() >= MAX
    }

    /// Puts one off until then. Later ones are due later.
    pub fn push(&mut self, session: SessionId, due_ns: u64) {
        self.0.push_back(Question { session, due_ns });
    }

    /// The next that is due.
    pub fn take_due(&mut self, now_ns: u64) -> Option<SessionId> {
        self.0.front().filter(|question| question.due_ns <= now_ns)?;
        self.0.pop_front().map(|question| question.session)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_taken_once_when_it_is_due() {
        let (mut put_off, session) = (PutOff::default(), |index| SessionId { index, serial: 1 });
        put_off.push(session(1), 10);
        put_off.push(session(2), 20);
        assert_eq!(put_off.take_due(9), None);
        assert_eq!(put_off.take_due(10), Some(session(1)));
        assert_eq!(put_off.take_due(19), None);
        assert_eq!(put_off.take_due(20), Some(session(2)));
        assert_eq!(put_off.take_due(u64::MAX), None);
    }
}
