//! What a phone knows of the show: the version of the gateway's configuration, and the countdown of its phases.
//!
//! A countdown is kept in the phone's own monotonic time from the moment at which it was heard, so that neither clock
//! need be right.

use super::{Action, Habits, User};
use crate::schedule::Micros;
use crate::tally::{PhaseId, Tally};
use shake_proto::wire::v1;

/// The phase that holds and the one that comes next, as last told. Every user has one, so its times are whole
/// milliseconds of the run, of which 32 bits count 49 days.
#[derive(Clone, Copy, Debug)]
pub(super) struct Countdown {
    current: PhaseId,
    next: PhaseId,
    current_ends_ms: u32,
    next_starts_ms: u32,
    next_ends_ms: u32,
}

impl Countdown {
    /// Before anything was told: no phase.
    pub(super) const NONE: Self = Self {
        current: PhaseId::NONE,
        next: PhaseId::NONE,
        current_ends_ms: 0,
        next_starts_ms: 0,
        next_ends_ms: 0,
    };

    fn heard(now: Micros, current: Option<&v1::Phase>, next: Option<&v1::Phase>, tally: &mut Tally) -> Self {
        let after = |span_ms: u64| u32::try_from(whole_ms(now).saturating_add(span_ms)).unwrap_or(u32::MAX);
        let mut countdown = Self::NONE;
        if let Some(phase) = current {
            countdown.current = tally.phases.id(&phase.name);
            countdown.current_ends_ms = after(phase.ends_in_ms);
        }
        if let Some(phase) = next {
            countdown.next = tally.phases.id(&phase.name);
            countdown.next_starts_ms = after(phase.starts_in_ms);
            countdown.next_ends_ms = after(phase.ends_in_ms);
        }
        countdown
    }

    /// The phase that holds at this time.
    fn at(&self, now: Micros) -> PhaseId {
        let now_ms = whole_ms(now);
        if (self.next_starts_ms.into()..self.next_ends_ms.into()).contains(&now_ms) {
            self.next
        } else if now_ms < self.current_ends_ms.into() {
            self.current
        } else {
            PhaseId::NONE
        }
    }
}

fn whole_ms(time: Micros) -> u64 {
    time.0 / 1_000
}

impl User {
    /// Takes what an answer to a Hello says of the show and of this user.
    pub(super) fn learn(
        &mut self,
        now: Micros,
        reply: v1::HelloReply,
        habits: &Habits,
        tally: &mut Tally,
    ) -> Vec<Action> {
        self.manners.on_answer(reply.pace_ms);
        self.keep_cookie(&reply.cookie);
        let (current, next) = (reply.current_phase.as_ref(), reply.next_phase.as_ref());
        self.countdown = Countdown::heard(now, current, next, tally);
        self.see_version(now, reply.config_version, tally);
        match reply.manifest {
            Some(manifest) => self.take_manifest(now, manifest, reply.server_time_ms, habits, tally),
            None => Vec::new(),
        }
    }

    /// The gateway told of a change of phase. A grown version makes the phone say Hello again.
    pub(super) fn on_phase_changed(
        &mut self,
        now: Micros,
        changed: &v1::PhaseChanged,
        habits: &Habits,
        tally: &mut Tally,
    ) -> Option<Action> {
        tally.sessions.phase_notices += 1;
        let (current, next) = (changed.current_phase.as_ref(), changed.next_phase.as_ref());
        self.countdown = Countdown::heard(now, current, next, tally);
        self.hello_when_changed(now, changed.config_version, habits, tally)
    }

    /// An answer named the gateway's version. Begins another Hello when it has grown, once for all that is heard until
    /// the answer to it: the countdown that the phone follows may be an old one.
    pub(super) fn hello_when_changed(
        &mut self,
        now: Micros,
        version: u64,
        habits: &Habits,
        tally: &mut Tally,
    ) -> Option<Action> {
        let has_grown = self.see_version(now, version, tally);
        (has_grown && !self.is_winding_up && !self.is_saying_hello()).then(|| self.begin_hello(now, habits, tally))
    }

    /// Counts the first sight of a version. Says whether it is news to a phone that knew an older one.
    fn see_version(&mut self, now: Micros, version: u64, tally: &mut Tally) -> bool {
        if version <= self.config_version {
            return false;
        }
        let known = std::mem::replace(&mut self.config_version, version);
        tally.versions.see(known, version, now);
        known > 0
    }

    /// The phase that the phone takes this moment for.
    pub(super) fn phase(&self, now: Micros) -> PhaseId {
        self.countdown.at(now)
    }
}
