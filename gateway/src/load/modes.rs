//! Degraded modes: what the gateway does without at the moment. Each has a name, and is entered and left by itself.

use shake_proto::handoff::status::AgentStatus;
use shake_rules::throttle::ModeLimits;
use strum::{IntoStaticStr, VariantArray};

/// How long an agent may take to follow a show, in milliseconds. It looks ten times a second.
const FOLLOW_MS_MAX: u64 = 3_000;

/// One degraded mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Mode {
    /// No heartbeat of the agent: shakes are served, nothing can be won once the grants in hand are gone, and what needs
    /// the ledger is answered busy.
    AgentAway,
    /// A shard's request ring is full: no wins, and what needs the ledger is answered busy.
    RingFull,
    /// The agent cannot write its ledger: claims wait, as busy.
    LedgerReadOnly,
    /// The agent cannot reach its ledger: what needs it is answered busy here, and wins go on with the grants in hand.
    LedgerAway,
    /// Another agent has the part of the ledger, or the ledger came back older and is halted for all: nothing can be won here. Where it is
    /// only here, phones had better go elsewhere.
    PartLost,
    /// What runs is known to be old: an operator is silent for too long, the show is over, or what was pushed could not
    /// be kept.
    ConfigStale,
    /// The agent's settlement target is away: credits wait in its outbox.
    SettlementDown,
    /// The wall clock jumped. Nothing follows it before it has kept to its new time: somebody should look at it.
    ClockJumped,
    /// The agent does not run the show that runs here: it cannot read, believe or take what is kept.
    ShowDiffers,
    /// The agent cannot read the seed: no packets are released, and once the grants in hand are gone nothing can be won.
    FeedStopped,
}

impl Mode {
    /// The name in status and metrics.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// The modes that hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Modes(u32);

impl Modes {
    /// The modes of a word that [`Modes::bits`] gave.
    pub fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// One bit for each mode, in their order.
    pub fn bits(self) -> u32 {
        self.0
    }

    /// Adds or removes a mode.
    pub fn set(&mut self, mode: Mode, holds: bool) {
        let bit = 1 << mode as u32;
        self.0 = if holds { self.0 | bit } else { self.0 & !bit };
    }

    /// Whether a mode holds.
    pub fn has(self, mode: Mode) -> bool {
        self.0 & (1 << mode as u32) != 0
    }

    /// The modes that hold, in their order.
    pub fn iter(self) -> impl Iterator<Item = Mode> {
        Mode::VARIANTS.iter().copied().filter(move |mode| self.has(*mode))
    }
}

/// How long the ring counts as full after the last push that found no room, in milliseconds.
const RING_FULL_HOLD_MS: u64 = 2_000;

/// What the modes are judged by, at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Facts {
    /// CLOCK_MONOTONIC, in milliseconds.
    pub monotonic_ms: u64,
    /// The wall clock, in milliseconds since 1970.
    pub unix_ms: u64,
    pub agent_is_here: bool,
    /// What the agent says of itself.
    pub agent: AgentStatus,
    /// The version of the show that the agent is to run; `None` when it need not follow.
    pub show_version: Option<u64>,
    /// A push into a request ring failed since the last look.
    pub was_ring_full: bool,
    /// No phase of the show is left.
    pub is_show_over: bool,
    /// What runs is not what is kept on disk.
    pub is_config_unkept: bool,
    /// When an operator was last heard; `None` for never in this life.
    pub operator_heard_ms: Option<u64>,
}

/// Enters and leaves the modes.
#[derive(Default)]
pub struct Judge {
    /// When it first looked.
    began_ms: Option<u64>,
    ring_full_at_ms: Option<u64>,
    /// Wall clock less monotonic clock, at the last look.
    clock_offset_ms: Option<i64>,
    clock_jumped_at_ms: Option<u64>,
    /// Since when the agent has run another show.
    differs_since_ms: Option<u64>,
}

impl Judge {
    /// The modes that hold at this moment.
    pub fn look(&mut self, facts: &Facts, limits: &ModeLimits) -> Modes {
        let now_ms = facts.monotonic_ms;
        let began_ms = *self.began_ms.get_or_insert(now_ms);
        if facts.was_ring_full {
            self.ring_full_at_ms = Some(now_ms);
        }
        // A clock that is slewed changes by less than a thousandth; what is compared is one look with the next.
        let offset_ms = facts.unix_ms as i64 - now_ms as i64;
        let before_ms = self.clock_offset_ms.replace(offset_ms).unwrap_or(offset_ms);
        if offset_ms.abs_diff(before_ms) >= limits.clock_step_ms.into() {
            self.clock_jumped_at_ms = Some(now_ms);
        }
        let holds = |at_ms: Option<u64>, hold_ms: u64| at_ms.is_some_and(|at| now_ms.saturating_sub(at) < hold_ms);
        let silent_ms = now_ms.saturating_sub(facts.operator_heard_ms.unwrap_or(began_ms));
        let silent_ms_max = u64::from(limits.operator_silent_s_max) * 1_000;
        let mut modes = Modes::default();
        modes.set(Mode::AgentAway, !facts.agent_is_here);
        modes.set(Mode::RingFull, holds(self.ring_full_at_ms, RING_FULL_HOLD_MS));
        // The word of an agent that is away is old.
        modes.set(
            Mode::LedgerReadOnly,
            facts.agent_is_here && facts.agent.ledger_read_only,
        );
        modes.set(Mode::LedgerAway, facts.agent_is_here && facts.agent.ledger_away);
        // Said by an agent that ended.
        modes.set(Mode::PartLost, facts.agent.part_lost);
        modes.set(Mode::SettlementDown, facts.agent_is_here && facts.agent.settlement_down);
        modes.set(Mode::FeedStopped, facts.agent_is_here && facts.agent.feed_stopped);
        let wanted = facts.show_version.map(AgentStatus::show_version_of);
        let differs = facts.agent_is_here && wanted.is_some_and(|version| version != facts.agent.show_version);
        self.differs_since_ms = differs.then_some(self.differs_since_ms.unwrap_or(now_ms));
        let is_following = |since: u64| now_ms.saturating_sub(since) < FOLLOW_MS_MAX;
        modes.set(
            Mode::ShowDiffers,
            self.differs_since_ms.is_some_and(|since| !is_following(since)),
        );
        let is_silent = silent_ms_max > 0 && silent_ms > silent_ms_max;
        modes.set(
            Mode::ConfigStale,
            facts.is_show_over || facts.is_config_unkept || is_silent,
        );
        let jumped_hold_ms = u64::from(limits.clock_jumped_hold_s) * 1_000;
        modes.set(Mode::ClockJumped, holds(self.clock_jumped_at_ms, jumped_hold_ms));
        modes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: ModeLimits = ModeLimits {
        clock_step_ms: 500,
        clock_jumped_hold_s: 30,
        operator_silent_s_max: 60,
    };

    fn at(ms: u64) -> Facts {
        Facts {
            monotonic_ms: 1_000_000 + ms,
            unix_ms: 1_800_000_000_000 + ms,
            agent_is_here: true,
            operator_heard_ms: Some(1_000_000 + ms),
            ..Facts::default()
        }
    }

    /// Enters `mode` with facts that `change` made worse at 100 ms, and tells when it is left again once they are good.
    fn check(mode: Mode, change: impl Fn(&mut Facts), left_after_ms: u64) {
        let mut judge = Judge::default();
        assert_eq!(judge.look(&at(0), &LIMITS), Modes::default(), "{mode:?}: good at first");
        let mut bad = at(100);
        change(&mut bad);
        let modes = judge.look(&bad, &LIMITS);
        assert_eq!(modes.iter().collect::<Vec<_>>(), [mode], "entered alone");
        for ms in (200..=100 + left_after_ms + 100).step_by(100) {
            let expected = ms - 100 < left_after_ms;
            assert_eq!(judge.look(&at(ms), &LIMITS).has(mode), expected, "{mode:?} at {ms} ms");
        }
    }

    #[test]
    fn each_mode_is_entered_and_left() {
        check(Mode::AgentAway, |facts| facts.agent_is_here = false, 100);
        check(Mode::RingFull, |facts| facts.was_ring_full = true, RING_FULL_HOLD_MS);
        check(Mode::LedgerReadOnly, |facts| facts.agent.ledger_read_only = true, 100);
        check(Mode::LedgerAway, |facts| facts.agent.ledger_away = true, 100);
        check(Mode::PartLost, |facts| facts.agent.part_lost = true, 100);
        check(Mode::SettlementDown, |facts| facts.agent.settlement_down = true, 100);
        check(Mode::FeedStopped, |facts| facts.agent.feed_stopped = true, 100);
        check(Mode::ConfigStale, |facts| facts.is_show_over = true, 100);
        check(Mode::ConfigStale, |facts| facts.is_config_unkept = true, 100);
        check(Mode::ConfigStale, |facts| facts.operator_heard_ms = Some(900_000), 100);
    }

    #[test]
    fn an_agent_has_a_while_to_follow_a_show_and_need_not_where_none_is_kept() {
        let version = 1_800_000_000_000 + (1 << 48);
        let facts = |ms, wanted, runs| {
            let mut facts = at(ms);
            facts.show_version = wanted;
            facts.agent.show_version = AgentStatus::show_version_of(runs);
            facts
        };
        for (wanted, runs, differs) in [
            (None, 0, false),
            (Some(version), version, false),
            (Some(version), 0, true),
            (Some(version), version + 1, true),
        ] {
            let mut judge = Judge::default();
            let differs_at =
                |judge: &mut Judge, ms| judge.look(&facts(ms, wanted, runs), &LIMITS).has(Mode::ShowDiffers);
            assert!(!differs_at(&mut judge, 0) && !differs_at(&mut judge, FOLLOW_MS_MAX - 1));
            assert_eq!(differs_at(&mut judge, FOLLOW_MS_MAX), differs, "{runs} for {wanted:?}");
            // It follows; and the next version has a while of its own.
            assert!(
                !judge
                    .look(&facts(FOLLOW_MS_MAX + 1, Some(version), version), &LIMITS)
                    .has(Mode::ShowDiffers)
            );
            assert!(!differs_at(&mut judge, FOLLOW_MS_MAX + 2));
        }
    }

    /// A jump lasts as an offset; the mode is about the moment, and forward and backward jumps count alike.
    #[test]
    fn a_jump_of_the_clock_is_seen_and_forgotten() {
        for step in [-700_i64, 700] {
            let mut judge = Judge::default();
            let jumped = |ms: u64| Facts {
                unix_ms: at(ms).unix_ms.wrapping_add_signed(step),
                ..at(ms)
            };
            assert!(!judge.look(&at(0), &LIMITS).has(Mode::ClockJumped));
            assert!(judge.look(&jumped(100), &LIMITS).has(Mode::ClockJumped));
            assert!(judge.look(&jumped(30_000), &LIMITS).has(Mode::ClockJumped));
            assert!(!judge.look(&jumped(30_000 + 100), &LIMITS).has(Mode::ClockJumped));
        }
    }

    #[test]
    fn the_word_of_an_agent_that_is_away_is_not_believed() {
        let mut facts = at(0);
        facts.agent_is_here = false;
        facts.agent.ledger_read_only = true;
        let modes = Judge::default().look(&facts, &LIMITS);
        assert_eq!(modes.iter().collect::<Vec<_>>(), [Mode::AgentAway]);
    }
}
