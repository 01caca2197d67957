//! Degraded modes: what the gateway does without at the moment. Each has a name, and is entered and left by itself.

/// One degraded mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// No heartbeat of the agent: shakes are served, nothing can be won once the grants in hand are gone, and what needs
    /// the ledger is answered busy.
    AgentAway,
    /// A shard's request ring is full: no wins, and what needs the ledger is answered busy.
    RingFull,
    /// The agent cannot write its ledger: claims wait, as busy.
    LedgerReadOnly,
    /// What runs is known to be old: an operator is silent for too long, the show is over, or what was pushed could not
    /// be kept.
    ConfigStale,
    /// The agent's settlement target is away: credits wait in its outbox.
    SettlementDown,
    /// The wall clock jumped: phases follow it, and countdowns told before were wrong.
    ClockJumped,
}

impl Mode {
    /// All modes.
    pub const ALL: [Self; 6] = [
        Self::AgentAway,
        Self::RingFull,
        Self::LedgerReadOnly,
        Self::ConfigStale,
        Self::SettlementDown,
        Self::ClockJumped,
    ];

    /// The name in status and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::AgentAway => "agent_away",
            Self::RingFull => "ring_full",
            Self::LedgerReadOnly => "ledger_read_only",
            Self::ConfigStale => "config_stale",
            Self::SettlementDown => "settlement_down",
            Self::ClockJumped => "clock_jumped",
        }
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

    /// One bit for each mode, in the order of [`Mode::ALL`].
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

    /// The modes that hold, in the order of [`Mode::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Mode> {
        Mode::ALL.into_iter().filter(move |mode| self.has(*mode))
    }
}
