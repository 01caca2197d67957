//! Time in the simulation: the machine's clocks, and the steady clocks that gateway and agent make of them.

use host::steady::Steady;
use shake_rules::UnixMillis;

/// How often a living program looks at the machine's clocks.
const LOOK_EVERY_MS: u64 = 100;
/// What passes at once without a look: nobody ran.
const UNSEEN_MS: u64 = 60_000;
/// The time of day when the machine was booted.
const BOOTED_MS: i64 = 1_000_000;

/// Who runs.
#[derive(Clone, Copy, Debug)]
pub struct Alive {
    pub gate: bool,
    pub agent: bool,
}

pub struct Time {
    /// CLOCK_BOOTTIME; it never steps.
    pub boot_ms: u64,
    /// How far the wall clock is off the truth.
    pub off_ms: i64,
    gate: Steady,
    agent: Steady,
}

impl Time {
    pub fn new() -> Self {
        Self {
            boot_ms: 0,
            off_ms: 0,
            gate: Steady::by(BOOTED_MS),
            agent: Steady::by(BOOTED_MS),
        }
    }

    /// The gateway's time.
    pub fn of_gate(&self) -> UnixMillis {
        UnixMillis(self.gate.at(self.boot_ms))
    }

    /// The agent's time.
    pub fn of_agent(&self) -> UnixMillis {
        UnixMillis(self.agent.at(self.boot_ms))
    }

    fn wall_ms(&self) -> u64 {
        self.boot_ms.saturating_add_signed(BOOTED_MS + self.off_ms)
    }

    /// A gateway starts, beside the agent or alone.
    pub fn start_gate(&mut self, agent_lives: bool) {
        self.gate = if agent_lives {
            self.agent.clone()
        } else {
            Steady::start(self.boot_ms, self.wall_ms())
        };
    }

    /// An agent starts, beside the gateway or alone.
    pub fn start_agent(&mut self, gate_lives: bool) {
        self.agent = if gate_lives {
            self.gate.clone()
        } else {
            Steady::start(self.boot_ms, self.wall_ms())
        };
    }

    /// So much time passes.
    pub fn pass(&mut self, ms: u64, alive: Alive) {
        let step_ms = if ms > UNSEEN_MS { ms } else { LOOK_EVERY_MS };
        let end_ms = self.boot_ms + ms;
        while self.boot_ms < end_ms {
            self.boot_ms = (self.boot_ms + step_ms).min(end_ms);
            self.look(alive);
        }
    }

    /// The gateway follows an agent that lives, one look behind.
    fn look(&mut self, alive: Alive) {
        let wall_ms = self.wall_ms();
        if alive.agent {
            self.gate.follow(self.agent.offset_ms());
            self.agent.look(self.boot_ms, wall_ms);
        } else if alive.gate {
            self.gate.look(self.boot_ms, wall_ms);
        }
    }
}
