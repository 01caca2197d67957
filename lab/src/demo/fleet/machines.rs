//! The machines of a fleet on this machine, with a gateway and an agent each.

use super::super::{ask, plan, read, reports};
use crate::testbed::{Ground, Programs, Stage, files, machine, remove};
use anyhow::Context;
use shake_agent::abuse::KeptFile;
use std::fs;
use xtask::interrupt::Interrupt;

/// See the module. Machines end before the server does.
pub struct Fleet {
    /// By part: none before it is started, nor after it is destroyed.
    stages: Vec<Option<Stage>>,
    pub ground: Ground,
}

/// What the one ledger says.
pub struct FleetBooks {
    pub books: reports::Books,
    pub crossed: reports::Crossed,
}

impl Fleet {
    /// So many machines, and a ledger with a part for each; nothing runs yet but the database.
    ///
    /// # Errors
    /// When there is no PostgreSQL, a program failed, or another run is at work.
    pub fn prepare(
        name: &str,
        machines: usize,
        programs: &Programs,
        seed_flags: &[String],
        show: &str,
        interrupt: &Interrupt,
    ) -> anyhow::Result<Self> {
        let ground = Ground::prepare(name, machines, programs, seed_flags, interrupt)?;
        let url = ground.agent_url();
        for (part, place) in ground.places.iter().enumerate() {
            place.write(files::SHOW, show)?;
            place.write(files::GATEWAY, &plan::gateway(place))?;
            let agent = plan::agent_of_fleet(&url, &machine(part), place.queue(), &place.directory);
            place.write(files::AGENT, &agent)?;
        }
        Ok(Self {
            stages: ground.places.iter().map(|_| None).collect(),
            ground,
        })
    }

    /// Starts every machine.
    ///
    /// # Errors
    /// When one is not ready in time.
    pub fn start(&mut self, programs: &Programs, interrupt: &Interrupt) -> anyhow::Result<()> {
        let first = self.ground.places.first().context("a fleet has a machine")?;
        let show = first.file(files::SHOW);
        let show = fs::read_to_string(&show).with_context(|| format!("cannot read {}", show.display()))?;
        let show = plan::begins_now(&show);
        for (stage, place) in self.stages.iter_mut().zip(&self.ground.places) {
            place.write(files::SHOW, &show)?;
            *stage = Some(Stage::start(place, programs, interrupt)?);
        }
        Ok(())
    }

    /// An error when a program has ended that should run.
    pub fn check(&mut self) -> anyhow::Result<()> {
        self.stages.iter_mut().flatten().try_for_each(Stage::check)
    }

    /// Kills both programs of a machine, and takes away all that it had on disk and in memory.
    ///
    /// # Errors
    /// When it is gone already, or cannot be.
    pub fn destroy(&mut self, machine: usize) -> anyhow::Result<()> {
        let place = &self.ground.places[machine];
        let Stage { gateway, agent } = self.stages[machine].take().context("the machine does not run")?;
        gateway.kill()?;
        agent.kill()?;
        place.remove_queue();
        remove(&place.directory)
    }

    /// Ends the machines that are left.
    ///
    /// # Errors
    /// When a program had to be killed or did not exit with 0.
    pub fn end(&mut self) -> anyhow::Result<()> {
        self.stages.iter_mut().filter_map(Option::take).try_for_each(Stage::end)
    }

    /// Audits the ledger against all parts of the seed, and reads who was paid what. The machines that are left have ended.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub fn books(&self, programs: &Programs, interrupt: &Interrupt) -> anyhow::Result<FleetBooks> {
        let base = &self.ground.base;
        // An unbalanced audit ends with an error as well; its report says more.
        let audit = self.ground.audit(programs);
        ask("shake-agent audit", audit, &base.file(files::AUDIT), interrupt)?;
        for (what, output) in [
            ("outbox", files::OUTBOX),
            ("packets", files::PACKETS),
            ("users", files::USERS),
        ] {
            let export = ["ledger", "export", "--format", "csv", "--what", what];
            let export = self.ground.question(programs, &export);
            ask("shake-agent ledger export", export, &base.file(output), interrupt)?.success()?;
        }
        let text = |name| read(&base.file(name), |text| Ok(text.to_owned()));
        let (outbox, packets, users) = (text(files::OUTBOX)?, text(files::PACKETS)?, text(files::USERS)?);
        let mut blocks = KeptFile::default();
        for place in self.ground.places.iter().filter(|place| place.directory.exists()) {
            let more = read(&place.file(files::BLOCKS), |text| Ok(serde_json::from_str(text)?))?;
            reports::join_blocks(&mut blocks, more);
        }
        Ok(FleetBooks {
            books: reports::Books {
                audit: read(&base.file(files::AUDIT), |text| Ok(serde_json::from_str(text)?))?,
                blocks,
                credits: reports::credits(&outbox)?,
                unpaid: reports::unpaid_by_outbox(&outbox, &users)?,
            },
            crossed: reports::Crossed::read(&outbox, &packets)?,
        })
    }
}
