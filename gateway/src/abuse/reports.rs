//! What is told of sessions to the agent's analysis, and when: at once, late, at the end; and of strangers once a second.

use super::conduct::{AbuseCounters, BETWEEN_NS};
use crate::agent_link::AgentLink;
use crate::counters::Counters;
use quic_shard::session_id::SessionId;
use shake_proto::code::Code;
use shake_proto::handoff::abuse::{Event, Strangers};
use shake_rules::UserId;
use shake_rules::prefix::Prefix;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// Sessions whose misdeeds are to be told when that time is over. A further one waits for what it does next.
const LATE_MAX: usize = 1_024;
/// Prefixes of strangers that a shard remembers between two records.
const STRANGERS_MAX: usize = 4_096;
/// How often it tells of them, in nanoseconds.
const STRANGERS_EVERY_NS: u64 = 1_000_000_000;

/// The reports of a shard.
pub struct Reports {
    counters: Arc<Counters>,
    /// Sessions to tell of, and when.
    late: VecDeque<(SessionId, u64)>,
    strangers: StrangersSeen,
}

/// What connections did that have not said Hello, by prefix, since it was last told.
#[derive(Default)]
struct StrangersSeen {
    by_prefix: HashMap<Prefix, (u32, u32)>,
    told_ns: u64,
}

impl StrangersSeen {
    fn count(&mut self, prefix: Prefix, failures: u32, silent: u32) -> bool {
        if self.by_prefix.len() >= STRANGERS_MAX && !self.by_prefix.contains_key(&prefix) {
            return false;
        }
        let seen = self.by_prefix.entry(prefix).or_default();
        *seen = (seen.0.saturating_add(failures), seen.1.saturating_add(silent));
        true
    }
}

impl Reports {
    pub fn new(counters: Arc<Counters>) -> Self {
        Self {
            counters,
            late: VecDeque::new(),
            strangers: StrangersSeen::default(),
        }
    }

    /// Counts that a request of a session was refused with a code, or that what it sent was none.
    pub fn note_refusal(&mut self, session: &mut AbuseCounters, user: Option<UserId>, code: Code) {
        let is_ill = matches!(
            code,
            Code::Malformed
                | Code::Oversized
                | Code::Unknown
                | Code::BeforeHello
                | Code::TokenForged
                | Code::UserChanged
        );
        if code == Code::TokenExpired {
            session.came_late();
        }
        if !is_ill {
            return;
        }
        if user.is_none() {
            // A forged token is a guess at somebody's name, each time.
            if !std::mem::replace(&mut session.has_failed, true) || code == Code::TokenForged {
                self.stranger(session.prefix, 1, 0);
            }
        } else if code == Code::TokenForged {
            session.forged();
        } else {
            session.malformed();
        }
    }

    /// Tells of a session what is due, once something happened to it.
    pub fn tell(
        &mut self,
        link: &mut AgentLink,
        session: &mut AbuseCounters,
        user: Option<UserId>,
        id: SessionId,
        now_ns: u64,
    ) {
        let Some(user) = user else {
            return;
        };
        if session.is_due(now_ns) {
            if let Some(event) = session.take(user, now_ns) {
                self.send(link, &event);
            }
        } else if session.is_bad() && !session.is_late && self.late.len() < LATE_MAX {
            session.is_late = true;
            self.late.push_back((id, now_ns + BETWEEN_NS));
        }
    }

    /// The next session whose misdeeds came too soon after the last to be told at once, and are to be told now.
    pub fn take_late(&mut self, now_ns: u64) -> Option<SessionId> {
        let &(id, due_ns) = self.late.front()?;
        if due_ns > now_ns {
            return None;
        }
        self.late.pop_front();
        Some(id)
    }

    /// Tells of a session that [`Self::take_late`] named.
    pub fn tell_late(
        &mut self,
        link: &mut AgentLink,
        session: &mut AbuseCounters,
        user: Option<UserId>,
        id: SessionId,
        now_ns: u64,
    ) {
        session.is_late = false;
        self.tell(link, session, user, id, now_ns);
    }

    /// Tells the rest of a session that ended.
    pub fn tell_end(&mut self, link: &mut AgentLink, session: &mut AbuseCounters, user: Option<UserId>, now_ns: u64) {
        match user {
            Some(user) => {
                if let Some(event) = session.take(user, now_ns) {
                    self.send(link, &event);
                }
            }
            None if session.is_silent() => self.stranger(session.prefix, 0, 1),
            None => {}
        }
    }

    fn stranger(&mut self, prefix: Prefix, failures: u32, silent: u32) {
        if !self.strangers.count(prefix, failures, silent) {
            self.counters.events_dropped.inc();
        }
    }

    /// Tells of strangers once a second, if there were some. To be called once a turn.
    pub fn tell_of_strangers(&mut self, link: &mut AgentLink, now_ns: u64) {
        if self.strangers.by_prefix.is_empty() || now_ns < self.strangers.told_ns + STRANGERS_EVERY_NS {
            return;
        }
        self.strangers.told_ns = now_ns;
        let mut seen = std::mem::take(&mut self.strangers.by_prefix);
        for (prefix, (failures, silent)) in seen.drain() {
            let event = Event::Strangers(Strangers {
                prefix,
                failures,
                silent,
            });
            self.send(link, &event);
        }
        self.strangers.by_prefix = seen;
    }

    fn send(&self, link: &mut AgentLink, event: &Event) {
        if link.event(event) {
            self.counters.events.inc();
        } else {
            self.counters.events_dropped.inc();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_table_of_strangers_drops() {
        let mut seen = StrangersSeen::default();
        for number in 0..STRANGERS_MAX as u64 {
            assert!(seen.count(Prefix::from_number(number).expect("a prefix"), 1, 0));
        }
        assert!(!seen.count(Prefix::from_number(1 << 40).expect("a prefix"), 1, 0));
        assert!(seen.count(Prefix::from_number(7).expect("a prefix"), 1, 1));
    }
}
