//! What a fleet has beside its machines: PostgreSQL, and the way of each agent to it.

use super::plan;
use super::way::Way;
use crate::testbed::{Ground, Programs, Service, deployed, files, machine};
use std::fs;
use std::path::Path;
use xtask::interrupt::Interrupt;

const NAME: &str = "chaos-fleet";
const MACHINES: u8 = 2;

/// See the module.
pub struct Fleet {
    /// By the agent's part.
    pub ways: Vec<Way>,
    pub ground: Ground,
}

impl Fleet {
    /// Machines that are configured and do not run yet, a ledger, and a seed for so many minutes.
    ///
    /// # Errors
    /// As [`Ground::prepare`].
    pub fn prepare(minutes: f64, programs: &Programs, interrupt: &Interrupt) -> anyhow::Result<Self> {
        let flags = plan::seed_flags(minutes, MACHINES.into());
        let ground = Ground::prepare(NAME, MACHINES.into(), programs, &flags, interrupt)?;
        let server = ground.server();
        let ways = ground.places.iter().map(|_| Way::start(server));
        let fleet = Self {
            ways: ways.collect::<anyhow::Result<_>>()?,
            ground,
        };
        for part in 0..fleet.ground.places.len() {
            fleet.configure(part)?;
        }
        Ok(fleet)
    }

    /// How many machines there are.
    pub const fn machines() -> u8 {
        MACHINES
    }

    /// Writes what the machine of a part is configured by.
    pub fn configure(&self, part: usize) -> anyhow::Result<()> {
        let place = &self.ground.places[part];
        place.write(files::SHOW, &plan::show(false))?;
        place.write(files::THROTTLE, &plan::throttle(&deployed(".", "throttle")?)?)?;
        place.write(files::GATEWAY, &plan::gateway(place))?;
        place.write(files::AGENT, &self.agent(part, place.queue(), &place.directory))
    }

    fn agent(&self, part: usize, queue: &Path, directory: &Path) -> String {
        let url = self.ground.agent_url_at(self.ways[part].address);
        plan::agent_of_fleet(&url, &machine(part), queue, directory)
    }

    /// A second agent for a part, in a fresh directory, with no gateway: of an installation of its own, or of a copy of the
    /// first one's state.
    pub fn second_agent(
        &self,
        part: usize,
        is_copy: bool,
        directory: &Path,
        programs: &Programs,
    ) -> anyhow::Result<Service> {
        crate::testbed::remove(directory)?;
        self.ground.furnish(part, directory)?;
        fs::write(directory.join(files::SHOW), plan::show(false))?;
        let config = directory.join(files::AGENT);
        fs::write(&config, self.agent(part, &directory.join("queue"), directory))?;
        if is_copy {
            for entry in fs::read_dir(self.ground.places[part].file(files::STATE))? {
                let entry = entry?;
                if entry.file_type()?.is_file() {
                    fs::copy(entry.path(), directory.join(files::STATE).join(entry.file_name()))?;
                }
            }
        }
        let mut command = programs.command("shake-agent");
        command.args(["run", "--config"]).arg(config);
        Service::start("shake-agent", command, directory.join("shake-agent.log"))
    }
}
