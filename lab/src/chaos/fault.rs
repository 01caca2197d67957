//! The kinds of faults: what each is called, what it strikes, and how strong and long it may be. Pure.

use super::control::CLOCK_STEP_S;
use clap::ValueEnum;
use std::fmt;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Kind {
    /// SIGKILL of the gateway, started again
    KillGateway,
    /// SIGKILL of the agent, started again
    KillAgent,
    /// SIGKILL of the simulator; its users come again and know nothing
    KillPhones,
    /// SIGSTOP of the gateway, then SIGCONT
    StopGateway,
    /// SIGSTOP of the agent, then SIGCONT
    StopAgent,
    /// SIGSTOP of the simulator, then SIGCONT
    StopPhones,
    /// both killed, the shared mapping removed, both started again
    Reboot,
    /// no room on the ledger's disk
    DiskFull,
    /// every sync of the ledger fails
    SyncFails,
    /// every sync of the ledger takes longer
    SlowDisk,
    /// no room for the settlement file
    SettlementFull,
    /// no room for the gateway's state, while the gateway is killed and started again
    StateFull,
    /// the wall clock of gateway and agent steps, and later back
    Clock,
    /// UDP packets are lost
    Loss,
    /// UDP packets overtake each other
    Reorder,
    /// UDP packets come twice
    Duplicate,
    /// no UDP packet comes through
    Blackhole,
    /// fleet: PostgreSQL ends at once, as in a crash, and is started again
    KillPostgres,
    /// fleet: SIGSTOP of all of PostgreSQL, then SIGCONT
    StopPostgres,
    /// fleet: PostgreSQL is shut down in good order, and started again
    ShutPostgres,
    /// fleet: an agent's way to PostgreSQL is closed
    Cut,
    /// fleet: a COMMIT does not reach PostgreSQL, and the connection breaks
    CommitLost,
    /// fleet: PostgreSQL's answer to a COMMIT does not come back, and the connection breaks
    AnswerLost,
    /// fleet: nothing passes between an agent and PostgreSQL, either way
    Silence,
    /// fleet: a second agent for a part, of another installation and then of a copied one
    TwoAgents,
    /// fleet: a machine and its disk are gone; its part is retired, and adopted by a new machine
    Retire,
    /// fleet: a machine and its disk are gone; its part is adopted by a new machine
    Adopt,
    /// fleet: PostgreSQL comes back without its last commits, as a standby may that is promoted
    OldStandby,
}

/// What a fault strikes. Two faults of one round that strike the same never overlap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Gateway,
    Agent,
    Phones,
    LedgerDisk,
    StateDisk,
    Clock,
    Network,
    Postgres,
    /// From an agent to PostgreSQL.
    Way,
}

/// What holds of a kind.
pub struct Traits {
    pub name: &'static str,
    pub strikes: &'static [Part],
    /// How long it lasts, in milliseconds: least and most.
    pub lasts_ms: (u32, u32),
    /// How strong it is: least and most, in `unit`.
    pub strength: (u32, u32),
    pub unit: &'static str,
}

impl Kind {
    /// All kinds of a fleet, or of one machine with its ledger in a file, in the order in which schedules deal them.
    pub fn all(of_fleet: bool) -> Vec<Self> {
        let is_of = |kind: &Self| {
            if of_fleet {
                !kind.is_of_a_file()
            } else {
                !kind.is_of_a_server()
            }
        };
        Self::value_variants().iter().copied().filter(is_of).collect()
    }

    /// Whether a fleet does not know it: it spoils disks or clocks of one machine, or does a part of what [`Blackhole`](Self::Blackhole) does.
    const fn is_of_a_file(self) -> bool {
        matches!(
            self,
            Self::DiskFull
                | Self::SyncFails
                | Self::SlowDisk
                | Self::SettlementFull
                | Self::StateFull
                | Self::Clock
                | Self::Loss
                | Self::Reorder
                | Self::Duplicate
        )
    }

    /// Whether only a fleet knows it.
    fn is_of_a_server(self) -> bool {
        let strikes = self.traits().strikes;
        strikes.contains(&Part::Postgres) || strikes.contains(&Part::Way)
    }

    pub fn traits(self) -> Traits {
        use Part::{Agent, Clock, Gateway, LedgerDisk, Network, Phones, Postgres, StateDisk, Way};
        let of = |name, strikes, lasts_ms, strength, unit| Traits {
            name,
            strikes,
            lasts_ms,
            strength,
            unit,
        };
        const NONE: (u32, u32) = (0, 0);
        match self {
            Self::KillGateway => of("kill-gateway", &[Gateway], (20, 1_500), NONE, ""),
            Self::KillAgent => of("kill-agent", &[Agent], (20, 1_500), NONE, ""),
            Self::KillPhones => of("kill-phones", &[Phones], (20, 800), NONE, ""),
            Self::StopGateway => of("stop-gateway", &[Gateway], (300, 4_000), NONE, ""),
            Self::StopAgent => of("stop-agent", &[Agent], (300, 4_000), NONE, ""),
            Self::StopPhones => of("stop-phones", &[Phones], (300, 3_000), NONE, ""),
            Self::Reboot => of("reboot", &[Gateway, Agent], (100, 1_500), NONE, ""),
            Self::DiskFull => of("disk-full", &[LedgerDisk], (800, 4_000), NONE, ""),
            Self::SyncFails => of("sync-fails", &[LedgerDisk], (800, 4_000), NONE, ""),
            Self::SlowDisk => of("slow-disk", &[LedgerDisk], (1_500, 4_000), (20, 200), "ms"),
            Self::SettlementFull => of("settlement-full", &[LedgerDisk], (1_000, 3_000), NONE, ""),
            Self::StateFull => of("state-full", &[Gateway, StateDisk], (600, 1_500), NONE, ""),
            // Half of them are backwards: see `Planned::clock_steps`.
            Self::Clock => of("clock", &[Clock], (500, 3_000), (1, 120), "× 10 s"),
            Self::Loss => of("loss", &[Network], (1_000, 4_000), (5, 40), "%"),
            Self::Reorder => of("reorder", &[Network], (1_000, 4_000), (10, 60), "%"),
            Self::Duplicate => of("duplicate", &[Network], (1_000, 4_000), (10, 60), "%"),
            Self::Blackhole => of("blackhole", &[Network], (500, 4_000), NONE, ""),
            Self::KillPostgres => of("kill-postgres", &[Postgres], (20, 1_500), NONE, ""),
            // An agent waits for a second before it takes the server for away.
            Self::StopPostgres => of("stop-postgres", &[Postgres], (1_500, 4_000), NONE, ""),
            Self::ShutPostgres => of("shut-postgres", &[Postgres], (1_000, 4_000), NONE, ""),
            Self::Cut => of("cut", &[Way], (1_000, 4_000), NONE, ""),
            Self::CommitLost => of("commit-lost", &[Way], (20, 1_500), NONE, ""),
            Self::AnswerLost => of("answer-lost", &[Way], (20, 1_500), NONE, ""),
            Self::Silence => of("silence", &[Way], (1_500, 4_000), NONE, ""),
            Self::TwoAgents => of("two-agents", &[Agent, Postgres, Way], (500, 2_000), NONE, ""),
            Self::Retire => of("retire", &[Gateway, Agent, Postgres, Way], (500, 4_000), NONE, ""),
            Self::Adopt => of("adopt", &[Gateway, Agent, Postgres, Way], (500, 4_000), NONE, ""),
            Self::OldStandby => of("old-standby", &[Agent, Postgres, Way], (2_000, 4_000), NONE, ""),
        }
    }

    pub fn name(self) -> &'static str {
        self.traits().name
    }

    /// Whether the agent may end by it, to be started again: as one does that no longer knows what is on its disk, or that finds no
    /// server when it starts.
    pub const fn ends_the_agent(self) -> bool {
        matches!(
            self,
            Self::DiskFull
                | Self::SyncFails
                | Self::KillPostgres
                | Self::StopPostgres
                | Self::ShutPostgres
                | Self::Cut
                | Self::CommitLost
                | Self::AnswerLost
                | Self::Silence
                | Self::OldStandby
        )
    }

    /// Whether it lasts until the gateway says so, within bounds.
    pub const fn lasts_until_shown(self) -> bool {
        matches!(
            self,
            Self::DiskFull | Self::SyncFails | Self::StopPostgres | Self::ShutPostgres | Self::Cut | Self::Silence
        )
    }

    /// Whether it strikes one machine of a fleet, and not all or none.
    pub const fn is_of_one_machine(self) -> bool {
        !matches!(
            self,
            Self::KillPhones
                | Self::StopPhones
                | Self::KillPostgres
                | Self::StopPostgres
                | Self::ShutPostgres
                | Self::OldStandby
        )
    }

    /// Whether the two may not be at work at the same time.
    pub fn excludes(self, other: Self) -> bool {
        let theirs = other.traits().strikes;
        self.traits().strikes.iter().any(|part| theirs.contains(part))
    }
}

/// One fault of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planned {
    pub kind: Kind,
    /// Since all phones shake, in milliseconds.
    pub from_ms: u32,
    pub until_ms: u32,
    /// In the unit of its kind.
    pub strength: u32,
    /// Which machine of a fleet; `None` of what strikes all or none, and where there is one alone.
    pub machine: Option<u8>,
}

impl Planned {
    /// The place of the machine that it strikes.
    pub fn target(&self) -> usize {
        self.machine.unwrap_or(0).into()
    }

    /// By how many steps the clock goes ahead: even strengths forwards, odd ones backwards.
    pub fn clock_steps(&self) -> i8 {
        let steps = i8::try_from(self.strength).expect("`Traits::strength` of the clock fits");
        if self.strength.is_multiple_of(2) { steps } else { -steps }
    }
}

impl fmt::Display for Planned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.name())?;
        if let Some(machine) = self.machine {
            write!(f, " of {machine}")?;
        }
        let unit = self.kind.traits().unit;
        if self.kind == Kind::Clock {
            write!(f, " {:+} s", i64::from(self.clock_steps()) * CLOCK_STEP_S)?;
        } else if !unit.is_empty() {
            write!(f, " {} {unit}", self.strength)?;
        }
        let (from_s, until_s) = (f64::from(self.from_ms) / 1e3, f64::from(self.until_ms) / 1e3);
        write!(f, " {from_s:.1}-{until_s:.1} s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_command_line_and_strengths_fit_a_byte() {
        for kind in Kind::value_variants() {
            assert!(Kind::all(true).contains(kind) || Kind::all(false).contains(kind));
            let value = kind.to_possible_value().expect("none is skipped");
            let traits = kind.traits();
            assert_eq!(value.get_name(), traits.name);
            assert!(traits.lasts_ms.0 < traits.lasts_ms.1 && traits.strength.0 <= traits.strength.1);
            assert!(traits.strength.1 <= if *kind == Kind::Clock { 127 } else { 255 });
            assert!(!traits.strikes.is_empty());
        }
    }

    #[test]
    fn a_fleet_and_a_machine_know_their_own_and_some_in_common() {
        let (fleet, machine) = (Kind::all(true), Kind::all(false));
        assert_eq!((fleet.len(), machine.len()), (19, 17));
        let both: Vec<_> = fleet.iter().filter(|kind| machine.contains(kind)).collect();
        assert_eq!((both.len(), both.contains(&&Kind::Blackhole)), (8, true));
        assert!(fleet.contains(&Kind::CommitLost) && machine.contains(&Kind::Clock));
    }

    #[test]
    fn what_strikes_the_same_excludes_itself() {
        assert!(Kind::Reboot.excludes(Kind::KillAgent) && Kind::KillAgent.excludes(Kind::Reboot));
        assert!(Kind::Loss.excludes(Kind::Blackhole));
        assert!(!Kind::KillGateway.excludes(Kind::DiskFull));
    }

    #[test]
    fn a_clock_goes_both_ways() {
        let step = |strength| Planned {
            kind: Kind::Clock,
            from_ms: 500,
            until_ms: 1_500,
            strength,
            machine: None,
        };
        assert_eq!((step(4).clock_steps(), step(5).clock_steps()), (4, -5));
        assert_eq!(step(5).to_string(), "clock -50 s 0.5-1.5 s");
    }

    #[test]
    fn in_a_fleet_the_machine_is_named() {
        let cut = Planned {
            kind: Kind::Cut,
            from_ms: 500,
            until_ms: 1_500,
            strength: 0,
            machine: Some(1),
        };
        assert_eq!(cut.to_string(), "cut of 1 0.5-1.5 s");
    }
}
