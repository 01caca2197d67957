//! The packets that a shard has in hand, and which of them the phase wants. Their ring is first in, first out, and the agent
//! fills it for half a minute ahead: what was released for another phase goes back, as it comes to the ring's head. All goes
//! back when the gateway drains, or the show is over.
//!
//! Only what was there at the change of the phase, or came within two seconds of it, is judged so. An agent that goes by another
//! show would otherwise get back for ever what it releases again.

use crate::agent_link::AgentLink;
use crate::conditions::Conditions;
use shake_proto::handoff::record::Grant;
use shake_rules::SponsorId;
use std::time::Duration;

/// For so long packets come in that the agent released for the phase before.
const SETTLES: Duration = Duration::from_secs(2);
/// The most that a turn gives back, and the most that a win does.
const PER_TURN: usize = 256;
const PER_WIN: usize = 32;

/// The packets that a shard has in hand.
#[derive(Default)]
pub struct InHand {
    /// What stands before this position was released before the phase had settled.
    unsettled_end: u64,
    settles_ns: u64,
    is_draining: bool,
}

impl InHand {
    /// Another phase holds, or another show, or the gateway begins or ends to drain.
    pub fn change(&mut self, link: &AgentLink, is_draining: bool, now_ns: u64) {
        self.settles_ns = now_ns + SETTLES.as_nanos() as u64;
        self.is_draining = is_draining;
        link.say_draining(is_draining);
    }

    /// Gives back what is not wanted at the ring's head. To be called once a turn.
    pub fn sort_out(&mut self, conditions: &Conditions, link: &mut AgentLink) {
        if self.is_draining || conditions.now.elapsed_ns < self.settles_ns {
            self.unsettled_end = link.grants_end();
        }
        self.wanted_within(conditions, link, PER_TURN);
    }

    /// The next packet that is wanted. It stays in the ring; those before it that are not wanted go back.
    pub fn next(&self, conditions: &Conditions, link: &mut AgentLink) -> Option<Grant> {
        self.wanted_within(conditions, link, PER_WIN)
    }

    fn wanted_within(&self, conditions: &Conditions, link: &mut AgentLink, most: usize) -> Option<Grant> {
        for _ in 0..=most {
            let (position, grant) = link.next_grant()?;
            if position >= self.unsettled_end || self.wants(conditions, grant.sponsor) {
                return Some(grant);
            }
            link.give_back(grant.packet).ok()?;
        }
        None
    }

    fn wants(&self, conditions: &Conditions, sponsor: SponsorId) -> bool {
        let phases = &conditions.live.show.phases;
        match conditions.phase {
            _ if self.is_draining => false,
            Some(index) => phases[index].sponsors.get(&sponsor).is_some_and(|weight| *weight > 0),
            // Between two phases the agent fills for the one before.
            None => phases.is_empty() || conditions.live.show.phase_after(conditions.unix).is_some(),
        }
    }
}
