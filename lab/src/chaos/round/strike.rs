//! How each fault begins and ends, and what counts as its effect.

use super::{Round, Running};
use crate::chaos::cast::{Member, directories};
use crate::chaos::control::{SYNCS_FAIL, WRITES_NO_ROOM, WRITES_NONE, WRITES_WELL, at};
use crate::chaos::fault::{Kind, Planned};
use crate::chaos::link::Badness;
use crate::chaos::stage::Machine;
use crate::chaos::way::Way;
use crate::testbed::unix_ms;
use std::os::unix::process::ExitStatusExt;
use std::thread;
use std::time::{Duration, Instant};

/// Packets that were under way when the clock stepped bear the time before for so long.
const UNDER_WAY: Duration = Duration::from_millis(10);

impl Round<'_, '_> {
    /// Begins a fault; true when it took effect and nobody else counts that.
    pub(super) fn begin_fault(&mut self, fault: &Planned) -> anyhow::Result<bool> {
        let Machine {
            gateway, agent, place, ..
        } = &mut self.stage.machines[fault.target()];
        let strength = fault.strength;
        match fault.kind {
            Kind::KillGateway => return gateway.kill(),
            Kind::KillAgent => return agent.kill(),
            Kind::KillPhones => return self.kill_phones(),
            Kind::StopGateway => return gateway.stop(),
            Kind::StopAgent => return agent.stop(),
            Kind::StopPhones => return self.phones.as_ref().map_or(Ok(false), |phones| phones.service.stop()),
            Kind::Reboot => return self.stage.machines[fault.target()].crash(),
            Kind::DiskFull | Kind::SettlementFull => {
                let of_ledger = fault.kind == Kind::DiskFull;
                let directory = if of_ledger {
                    directories::LEDGER
                } else {
                    directories::SETTLEMENT
                };
                agent.page.strike_below(&place.file(directory))?;
                agent.page.set(at::WRITES, WRITES_NO_ROOM)?;
            }
            Kind::SyncFails | Kind::SlowDisk => {
                agent.page.strike_below(&place.file(directories::LEDGER))?;
                if fault.kind == Kind::SyncFails {
                    agent.page.set(at::SYNCS, SYNCS_FAIL)?;
                } else {
                    agent.page.set(at::DELAY_MS, strength as u8)?;
                }
            }
            Kind::StateFull => {
                gateway.page.set(at::WRITES, WRITES_NO_ROOM)?;
                gateway.kill()?;
                gateway.start()?;
            }
            Kind::Clock => step_clock([gateway, agent], fault.clock_steps())?,
            Kind::Loss | Kind::Reorder | Kind::Duplicate | Kind::Blackhole => {
                self.proxies[fault.target()].set(badness(fault));
            }
            _ => return self.begin_fault_of_fleet(fault),
        }
        Ok(false)
    }

    /// Whether a fault has done what it does: for one that stops the ledger, that the gateway says so.
    pub(super) fn is_felt(&self, running: &Running) -> anyhow::Result<bool> {
        let fault = &running.fault;
        let has_bitten = self
            .counter(fault)?
            .zip(running.counted)
            .is_none_or(|(now, before)| now > before);
        let from_ms = running.from_ms.unwrap_or_default();
        let is_shown = |mode| self.saw_enter(fault, mode, from_ms, unix_ms());
        Ok(has_bitten && (!fault.kind.lasts_until_shown() || mode_of(fault.kind).is_none_or(is_shown)))
    }

    /// Whether the gateway before which a fault strikes, or any where it strikes all, entered a mode in this span of time.
    pub(super) fn saw_enter(&self, fault: &Planned, mode: &str, from_ms: u64, until_ms: u64) -> bool {
        let mut machines = self.stage.machines.iter().enumerate();
        machines.any(|(place, machine)| {
            let is_struck = fault.machine.is_none_or(|struck| usize::from(struck) == place);
            is_struck && machine.lookout.saw_enter(mode, from_ms, until_ms)
        })
    }

    /// Makes a fault stronger that lasts longer than planned, because nothing felt it: a log that is written over from
    /// its beginning finds room for many commits on a disk where nothing may grow.
    pub(super) fn press(&self, fault: &Planned) -> anyhow::Result<()> {
        if fault.kind == Kind::DiskFull {
            self.stage.machines[fault.target()]
                .agent
                .page
                .set(at::WRITES, WRITES_NONE)?;
        }
        Ok(())
    }

    /// Ends a fault; true when it took effect only now, and nobody else counts that.
    pub(super) fn end_fault(&mut self, fault: &Planned) -> anyhow::Result<bool> {
        let mut has_bitten = false;
        let Machine { gateway, agent, .. } = &mut self.stage.machines[fault.target()];
        match fault.kind {
            Kind::KillGateway => gateway.start()?,
            Kind::KillAgent => agent.start()?,
            Kind::KillPhones => self.start_phones(u64::from(self.number))?,
            Kind::StopGateway => gateway.resume()?,
            Kind::StopAgent => agent.resume()?,
            Kind::StopPhones => self.phones.as_ref().map_or(Ok(()), |phones| phones.service.resume())?,
            Kind::Reboot => {
                agent.start()?;
                gateway.start()?;
            }
            Kind::DiskFull | Kind::SettlementFull => agent.page.set(at::WRITES, WRITES_WELL)?,
            Kind::SyncFails => agent.page.set(at::SYNCS, 0)?,
            Kind::SlowDisk => agent.page.set(at::DELAY_MS, 0)?,
            Kind::StateFull => gateway.page.set(at::WRITES, WRITES_WELL)?,
            Kind::Clock => step_clock([gateway, agent], 0)?,
            Kind::Loss | Kind::Reorder | Kind::Duplicate | Kind::Blackhole => {
                self.proxies[fault.target()].set(Badness::default());
            }
            _ => has_bitten = self.end_fault_of_fleet(fault)?,
        }
        if fault.kind.ends_the_agent() {
            self.store_failed_at = Some(Instant::now());
        }
        Ok(has_bitten)
    }

    fn kill_phones(&mut self) -> anyhow::Result<bool> {
        let Some(phones) = self.phones.take() else {
            return Ok(false);
        };
        self.dead_lives.push(phones.journal);
        Ok(phones.service.kill()?.signal() == Some(9))
    }

    /// How often what a fault does was done so far; none for those that are seen at their beginning.
    pub(super) fn counter(&self, fault: &Planned) -> anyhow::Result<Option<u64>> {
        let Machine { gateway, agent, .. } = &self.stage.machines[fault.target()];
        let done = self.proxies[fault.target()].done();
        let way = self.stage.fleet.as_ref().map(|fleet| &fleet.ways[fault.target()]);
        Ok(Some(match fault.kind {
            Kind::DiskFull | Kind::SettlementFull => agent.page.count(at::WRITES_FAILED)?,
            Kind::SyncFails => agent.page.count(at::SYNCS_FAILED)?,
            Kind::SlowDisk => agent.page.count(at::DELAYED)?,
            Kind::StateFull => gateway.page.count(at::WRITES_FAILED)?,
            // Both must see it.
            Kind::Clock => gateway
                .page
                .count(at::CLOCK_READ)?
                .min(agent.page.count(at::CLOCK_READ)?),
            Kind::Loss | Kind::Blackhole => done.lost,
            Kind::Reorder => done.late,
            Kind::Duplicate => done.twice,
            Kind::Cut | Kind::CommitLost | Kind::AnswerLost | Kind::Silence => way.map_or(0, Way::done),
            _ => return Ok(None),
        }))
    }
}

/// The degraded mode that goes with a fault, if any.
pub fn mode_of(kind: Kind) -> Option<&'static str> {
    match kind {
        // One that is killed is back before it is missed.
        Kind::StopAgent => Some("agent_away"),
        Kind::DiskFull | Kind::SyncFails => Some("ledger_read_only"),
        Kind::SettlementFull => Some("settlement_down"),
        Kind::StateFull => Some("config_stale"),
        Kind::Clock => Some("clock_jumped"),
        // One that crashes is often back before it is missed.
        Kind::StopPostgres | Kind::ShutPostgres | Kind::Cut | Kind::Silence => Some("ledger_away"),
        Kind::TwoAgents | Kind::OldStandby => Some("part_lost"),
        _ => None,
    }
}

fn badness(fault: &Planned) -> Badness {
    let good = Badness::default();
    let percent = fault.strength;
    match fault.kind {
        Kind::Loss => Badness { loss: percent, ..good },
        Kind::Reorder => Badness {
            reorder: percent,
            ..good
        },
        Kind::Duplicate => Badness {
            duplicate: percent,
            ..good
        },
        _ => Badness { loss: 100, ..good },
    }
}

/// Steps the wall clock of both, and a moment later that of the packets that they receive.
fn step_clock(members: [&mut Member; 2], steps: i8) -> anyhow::Result<()> {
    for (at, wait) in [(at::CLOCK_STEPS, UNDER_WAY), (at::STAMP_STEPS, Duration::ZERO)] {
        for member in &members {
            member.page.set(at, steps.cast_unsigned())?;
        }
        thread::sleep(wait);
    }
    Ok(())
}
