//! A fleet on this machine: one PostgreSQL that keeps the ledger, and machines with a gateway and an agent each. A machine is a
//! directory for its disk, and a mapping for its memory; both go when it is destroyed.

use super::super::{ask, plan, read, reports};
use crate::testbed::{self, Patience, Place, Programs, START, Stage, files, remove, run_to_file};
use anyhow::Context;
use local_postgres::{AGENT, Server};
use shake_agent::abuse::KeptFile;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use xtask::interrupt::Interrupt;

/// The seed's parts, in the fleet's own place.
const SEEDS: &str = "seeds";
const DATABASE: &str = "event";
/// The state directory of both programs, as they are configured.
const STATE: &str = "state";

/// See the module. Machines end before the server does.
pub struct Fleet {
    /// Certificates, seeds, what the phones do, and what was said of it in the end.
    pub base: Place,
    pub machines: Vec<Machine>,
    database: Server,
}

/// A gateway with its agent.
pub struct Machine {
    pub place: Place,
    /// Not before it is started, nor after it is destroyed.
    stage: Option<Stage>,
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
        let base = Place::fresh(name)?;
        testbed::make_certs(&base, programs, interrupt)?;
        let parts = [
            "--parts".into(),
            machines.to_string(),
            "--certs".into(),
            base.file(files::CERTS).display().to_string(),
        ];
        let flags: Vec<String> = seed_flags.iter().cloned().chain(parts).collect();
        testbed::make_seed(&base, SEEDS, programs, &flags, interrupt)?;
        // Where root runs this, the server is another user's, who cannot read the place.
        let database = Server::start(&std::env::temp_dir(), &[])?;
        database.database(DATABASE)?;
        let mut fleet = Self {
            base,
            machines: Vec::new(),
            database,
        };
        for part in 0..machines {
            let machine = fleet.machine(name, part, show)?;
            fleet.machines.push(machine);
        }
        fleet.make_ledger(programs, interrupt)?;
        Ok(fleet)
    }

    fn machine(&self, name: &str, part: usize, show: &str) -> anyhow::Result<Machine> {
        let machine = format!("machine-{part}");
        let place = Place::fresh(&format!("{name}/{machine}"))?;
        symlink(self.base.file(files::CERTS), place.file(files::CERTS)).context("cannot link the certificates")?;
        let seed = self.seed(part);
        fs::copy(&seed, place.file(files::SEED)).with_context(|| format!("cannot copy {}", seed.display()))?;
        // The agent begins before the gateway, and keeps in it what says that the part is its own.
        fs::create_dir(place.file(STATE)).context("cannot make the state directory")?;
        let url = self.database.agent_url(DATABASE);
        place.write(files::SHOW, show)?;
        place.write(files::GATEWAY, &plan::gateway(&place))?;
        let agent = plan::agent_of_fleet(&url, &machine, place.queue(), &place.directory);
        place.write(files::AGENT, &agent)?;
        Ok(Machine { place, stage: None })
    }

    fn seed(&self, part: usize) -> PathBuf {
        self.base.file(SEEDS).join(format!("seed-{part}.bin"))
    }

    /// Where the ledger is, for its owner.
    fn url(&self) -> String {
        self.database.url(DATABASE)
    }

    fn make_ledger(&self, programs: &Programs, interrupt: &Interrupt) -> anyhow::Result<()> {
        let mut init = programs.command("shake-agent");
        init.args(["ledger", "init", "--url", &self.url(), "--agents", AGENT])
            .args((0..self.machines.len()).map(|part| self.seed(part)));
        let patience = Patience {
            at_most: START,
            interrupt,
        };
        let log = self.base.file("ledger-init.log");
        run_to_file("shake-agent ledger init", init, &log, &patience, || Ok(()))?.success()
    }

    /// Starts every machine.
    ///
    /// # Errors
    /// When one is not ready in time.
    pub fn start(&mut self, programs: &Programs, interrupt: &Interrupt) -> anyhow::Result<()> {
        let show = self
            .machines
            .first()
            .context("a fleet has a machine")?
            .place
            .file(files::SHOW);
        let show = fs::read_to_string(&show).with_context(|| format!("cannot read {}", show.display()))?;
        let show = plan::begins_now(&show);
        for machine in &mut self.machines {
            machine.place.write(files::SHOW, &show)?;
            machine.stage = Some(Stage::start(&machine.place, programs, interrupt)?);
        }
        Ok(())
    }

    /// An error when a program has ended that should run.
    pub fn check(&mut self) -> anyhow::Result<()> {
        let mut stages = self.machines.iter_mut().filter_map(|machine| machine.stage.as_mut());
        stages.try_for_each(Stage::check)
    }

    /// Kills both programs of a machine, and takes away all that it had on disk and in memory.
    ///
    /// # Errors
    /// When it is gone already, or cannot be.
    pub fn destroy(&mut self, machine: usize) -> anyhow::Result<()> {
        let Machine { place, stage } = &mut self.machines[machine];
        let Stage { gateway, agent } = stage.take().context("the machine does not run")?;
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
        let mut stages = self.machines.iter_mut().filter_map(|machine| machine.stage.take());
        stages.try_for_each(Stage::end)
    }

    /// Audits the ledger against all parts of the seed, and reads who was paid what. The machines that are left have ended.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub fn books(&self, programs: &Programs, interrupt: &Interrupt) -> anyhow::Result<FleetBooks> {
        let url = self.url();
        let ask = |name, args: &[&str], output| {
            let mut command = programs.command("shake-agent");
            command.args(args).args(["--ledger", &url, "--on-primary"]);
            ask(name, command, &self.base.file(output), interrupt)
        };
        let (seeds, certs) = (self.base.file(SEEDS), self.base.file(files::CERTS));
        let (seeds, certs) = (seeds.display().to_string(), certs.display().to_string());
        // An unbalanced audit ends with an error as well; its report says more.
        let audit = ["audit", "--json", "--fleet", &seeds, "--certs", &certs];
        ask("shake-agent audit", &audit, files::AUDIT)?;
        for (what, output) in [
            ("outbox", files::OUTBOX),
            ("packets", files::PACKETS),
            ("users", files::USERS),
        ] {
            let export = ["ledger", "export", "--format", "csv", "--what", what];
            ask("shake-agent ledger export", &export, output)?.success()?;
        }
        let text = |name| read(&self.base.file(name), |text| Ok(text.to_owned()));
        let (outbox, packets, users) = (text(files::OUTBOX)?, text(files::PACKETS)?, text(files::USERS)?);
        let mut blocks = KeptFile::default();
        for machine in self.machines.iter().filter(|machine| machine.place.directory.exists()) {
            let more = read(&machine.place.file(files::BLOCKS), |text| {
                Ok(serde_json::from_str(text)?)
            })?;
            reports::join_blocks(&mut blocks, more);
        }
        Ok(FleetBooks {
            books: reports::Books {
                audit: read(&self.base.file(files::AUDIT), |text| Ok(serde_json::from_str(text)?))?,
                blocks,
                credits: reports::credits(&outbox)?,
                unpaid: reports::unpaid_by_outbox(&outbox, &users)?,
            },
            crossed: reports::Crossed::read(&outbox, &packets)?,
        })
    }
}
