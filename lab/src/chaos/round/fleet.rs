//! How the faults that only a fleet knows begin and end.

use super::Round;
use crate::chaos::cast::wait_refused;
use crate::chaos::fault::{Kind, Planned};
use crate::chaos::fleet::Fleet;
use crate::chaos::stage::{Machine, Stage};
use crate::chaos::way::State;
use crate::testbed::{Programs, remove, run_to_file};
use anyhow::Context;
use std::process::Command;

/// Why an agent that lost its part, never had it, or knows of a newer ledger says that it ends.
const TAKEN_OVER: &str = "another agent has taken over";
const OTHERS_PART: &str = "belongs to the agent of another installation";
const OLDER: &str = "came back older";
/// The same of one that starts, by its state directory.
const LOST_COMMITS: &str = "lost commits";

impl Round<'_, '_> {
    /// Begins a fault of a fleet; true when it took effect and nobody else counts that.
    pub(super) fn begin_fault_of_fleet(&mut self, fault: &Planned) -> anyhow::Result<bool> {
        let part = fault.target();
        match fault.kind {
            Kind::TwoAgents => return self.begin_two_agents(part),
            Kind::Retire | Kind::Adopt => return self.destroy(part, fault.kind),
            _ => {}
        }
        let Fleet { ground, ways } = self.fleet()?;
        let database = &mut ground.database;
        match fault.kind {
            Kind::KillPostgres => database.crash(),
            Kind::ShutPostgres => database.shut_down(),
            Kind::StopPostgres => return Ok(database.freeze()?),
            Kind::OldStandby => {
                database.shut_down();
                database.keep_copy()?;
                database.start_again()?;
                self.kept = self.fleet()?.ground.commits()?;
                return Ok(false);
            }
            _ => {
                ways[part].set(state(fault.kind));
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Ends a fault of a fleet; true when it took effect only now.
    pub(super) fn end_fault_of_fleet(&mut self, fault: &Planned) -> anyhow::Result<bool> {
        let part = fault.target();
        match fault.kind {
            Kind::KillPostgres | Kind::ShutPostgres => self.fleet()?.ground.database.start_again()?,
            Kind::StopPostgres => self.fleet()?.ground.database.thaw(),
            Kind::TwoAgents => {
                let second = self.second_agent.take().context("there is a second agent")?;
                second.kill()?;
                self.stage.machines[part].agent.start()?;
            }
            Kind::Retire | Kind::Adopt => self.rebuild(part)?,
            Kind::OldStandby => return self.promote_old_standby(),
            _ => self.fleet()?.ways[part].set(State::Open),
        }
        Ok(false)
    }

    fn fleet(&mut self) -> anyhow::Result<&mut Fleet> {
        self.stage.fleet.as_mut().context("there is a fleet")
    }

    /// An agent of another installation is refused; that of a copied one has the part, and the first one ends for good.
    fn begin_two_agents(&mut self, part: usize) -> anyhow::Result<bool> {
        let patience = self.stage.patience();
        let directory = self.directory.join("second-agent");
        let Stage {
            fleet,
            machines,
            programs,
            ..
        } = &mut *self.stage;
        let fleet = fleet.as_ref().context("there is a fleet")?;
        let stranger = fleet.second_agent(part, false, &directory, programs)?;
        wait_refused(stranger, "an agent of another installation", &[OTHERS_PART], &patience)?;
        self.second_agent = Some(fleet.second_agent(part, true, &directory, programs)?);
        machines[part].agent.wait_refused(&[TAKEN_OVER], &patience)?;
        Ok(true)
    }

    /// A machine and all that it had are gone; its part is retired where the kind says so.
    fn destroy(&mut self, part: usize, kind: Kind) -> anyhow::Result<bool> {
        let machine = &mut self.stage.machines[part];
        let is_gone = machine.crash()?;
        remove(&machine.place.directory)?;
        if kind == Kind::Retire {
            self.run_part("retire", part, |_, _, _| {})?;
        }
        Ok(is_gone)
    }

    /// A new machine, which is found where the one before was, adopts its part.
    fn rebuild(&mut self, part: usize) -> anyhow::Result<()> {
        let place = self.stage.machines[part].place.clone();
        let fleet = self.fleet()?;
        fleet.ground.furnish(part, &place.directory)?;
        fleet.configure(part)?;
        self.run_part("adopt", part, |adopt, fleet, machine| {
            adopt.arg("--seed").arg(fleet.ground.seed(part));
            adopt.arg("--by").arg(machine.place.file(crate::testbed::files::AGENT));
        })?;
        let machine = &mut self.stage.machines[part];
        machine.agent.start()?;
        machine.gateway.start()
    }

    /// `shake-agent part retire | adopt`, though the part was seen a moment ago: its agent is known to be dead.
    fn run_part(
        &self,
        what: &str,
        part: usize,
        more: impl FnOnce(&mut Command, &Fleet, &Machine),
    ) -> anyhow::Result<()> {
        let stage = &*self.stage;
        let programs: &Programs = stage.programs;
        let fleet = stage.fleet.as_ref().context("there is a fleet")?;
        let mut command = programs.command("shake-agent");
        command.args(["part", what, &part.to_string(), "--force"]);
        command.args(["--url", &fleet.ground.agent_url()]);
        more(&mut command, fleet, &stage.machines[part]);
        let log = self.directory.join(format!("part-{what}.log"));
        run_to_file("shake-agent part", command, &log, &stage.patience(), || Ok(()))?.success()
    }

    /// The server of before the copy was made takes the place of the one that is there: each agent refuses it, also when it is
    /// started again. Then the right one is back, and all go on.
    fn promote_old_standby(&mut self) -> anyhow::Result<bool> {
        let patience = self.stage.patience();
        let all_wrote = patience.wait(|| {
            for machine in &mut self.stage.machines {
                machine.agent.look(true)?;
            }
            let now = self.fleet()?.ground.commits()?;
            // Of two commits the first was acknowledged: whoever has lost none goes on, and may.
            let has_written = |(now, kept): (&i64, &i64)| *now >= kept + 2;
            Ok(now.iter().zip(&self.kept).all(has_written).then_some(()))
        })?;
        all_wrote.context("not every agent writes to a server that is there")?;
        let database = &mut self.fleet()?.ground.database;
        database.crash();
        database.exchange_with_copy()?;
        database.start_again()?;
        for machine in &mut self.stage.machines {
            // One that fell a moment ago is started only now.
            machine.agent.wait_refused(&[OLDER, LOST_COMMITS], &patience)?;
            machine.agent.start()?;
            machine.agent.wait_refused(&[LOST_COMMITS], &patience)?;
        }
        let database = &mut self.fleet()?.ground.database;
        database.crash();
        database.exchange_with_copy()?;
        database.start_again()?;
        for machine in &mut self.stage.machines {
            machine.agent.start()?;
        }
        Ok(true)
    }
}

fn state(kind: Kind) -> State {
    match kind {
        Kind::Cut => State::Closed,
        Kind::Silence => State::Silent,
        Kind::CommitLost => State::LosesCommit,
        _ => State::LosesAnswer,
    }
}
