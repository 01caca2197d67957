//! What all rounds share: the machines, and what a fleet has beside them.

use super::books::View;
use super::cast::{Member, directories};
use super::fleet::Fleet;
use super::lookout::Lookout;
use super::plan;
use super::shim::Page;
use crate::testbed::{self, Patience, Place, Programs, files, machine, run_to_file};
use anyhow::{Context, ensure};
use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};
use xtask::interrupt::Interrupt;

/// The show that operators push for a round; what stands in the configuration is the one without gifts.
pub const LOUD_SHOW: &str = "loud.toml";
/// How long a command of the agent or the operator may take.
pub const COMMAND: Duration = Duration::from_secs(60);
/// Between two tries of an operator.
const AGAIN: Duration = Duration::from_millis(100);

/// See the module. Machines end before their server does.
pub struct Stage<'a> {
    pub machines: Vec<Machine>,
    /// What a fleet has; `None` of one machine with its ledger in a file.
    pub fleet: Option<Fleet>,
    /// Where what all machines share lies, and what came of the rounds.
    pub place: Rc<Place>,
    pub programs: &'a Programs,
    pub interrupt: &'a Interrupt,
    /// What phones were told in all rounds.
    pub all: View,
    /// The longest that service may be away after faults are over.
    pub back_ms_max: u64,
}

/// A gateway with its agent.
pub struct Machine {
    pub place: Rc<Place>,
    pub gateway: Member,
    pub agent: Member,
    pub lookout: Lookout,
}

impl Machine {
    /// Two programs that are configured, and do not run yet. Their disks can fail below these directories: the agent's, the
    /// gateway's. Pages and logs lie in `base`, each name behind `label`, and outlive the machine's own disk.
    pub fn new(
        base: &Place,
        place: &Rc<Place>,
        label: &str,
        programs: &Programs,
        library: &Path,
        disks: [&str; 2],
    ) -> anyhow::Result<Self> {
        let member = |name, config, directory: &str| {
            let label = format!("{label}{name}");
            let page = base.file(&format!("{label}.faults"));
            let page = Page::create(page, library.to_owned(), &place.file(directory))?;
            anyhow::Ok(Member::new(name, programs, place.file(config), base.file(&label), page))
        };
        Ok(Self {
            agent: member("shake-agent", files::AGENT, disks[0])?,
            gateway: member("gateway", files::GATEWAY, disks[1])?,
            lookout: Lookout::start(place.metrics)?,
            place: Rc::clone(place),
        })
    }

    fn start(&mut self, interrupt: &Interrupt) -> anyhow::Result<()> {
        for member in [&mut self.agent, &mut self.gateway] {
            member.start()?;
            member.wait_ready(interrupt)?;
        }
        Ok(())
    }

    /// Kills both, and removes what they had in memory; true when both died of it, and the memory is gone.
    pub fn crash(&mut self) -> anyhow::Result<bool> {
        let both = [self.gateway.kill()?, self.agent.kill()?];
        let was_there = self.place.queue().exists();
        self.place.remove_queue();
        Ok(both == [true; 2] && was_there && !self.place.queue().exists())
    }
}

impl<'a> Stage<'a> {
    /// With these machines, which are started, and the two shows of each round.
    pub fn start(
        place: Rc<Place>,
        mut machines: Vec<Machine>,
        fleet: Option<Fleet>,
        programs: &'a Programs,
        back_ms_max: u64,
        interrupt: &'a Interrupt,
    ) -> anyhow::Result<Self> {
        for (show, has_gifts) in [(files::SHOW, false), (LOUD_SHOW, true)] {
            place.write(show, &plan::show(has_gifts))?;
        }
        for machine in &mut machines {
            machine.start(interrupt)?;
        }
        Ok(Self {
            machines,
            fleet,
            place,
            programs,
            interrupt,
            all: View::default(),
            back_ms_max,
        })
    }

    /// One machine, with its ledger in a file, and a seed for so many minutes.
    pub fn of_one_machine(
        minutes: f64,
        programs: &'a Programs,
        library: &Path,
        back_ms_max: u64,
        interrupt: &'a Interrupt,
    ) -> anyhow::Result<Self> {
        let place = Rc::new(Place::fresh("chaos")?);
        testbed::make_certs_and_seed(&place, programs, &plan::seed_flags(minutes, 1), interrupt)?;
        for directory in [directories::LEDGER, directories::SETTLEMENT, files::STATE] {
            let path = place.file(directory);
            fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        }
        place.write(files::THROTTLE, &plan::throttle(&testbed::deployed(".", "throttle")?)?)?;
        place.write(files::GATEWAY, &plan::gateway(&place))?;
        place.write(files::AGENT, &plan::agent(&place))?;
        let disks = [directories::LEDGER, files::STATE];
        let machine = Machine::new(&place, &place, "", programs, library, disks)?;
        Self::start(place, vec![machine], None, programs, back_ms_max, interrupt)
    }

    /// A fleet, whose ledger is in PostgreSQL, with seeds for so many minutes.
    pub fn of_a_fleet(
        minutes: f64,
        programs: &'a Programs,
        library: &Path,
        back_ms_max: u64,
        interrupt: &'a Interrupt,
    ) -> anyhow::Result<Self> {
        let fleet = Fleet::prepare(minutes, programs, interrupt)?;
        let base = Rc::clone(&fleet.ground.base);
        let places = fleet.ground.places.iter().enumerate();
        let machines = places.map(|(part, place)| {
            let label = format!("{}-", machine(part));
            Machine::new(&base, place, &label, programs, library, [files::STATE; 2])
        });
        let machines = machines.collect::<anyhow::Result<_>>()?;
        Self::start(base, machines, Some(fleet), programs, back_ms_max, interrupt)
    }

    /// Ends all in good order, gateways first.
    pub fn end(&mut self) -> anyhow::Result<()> {
        for machine in &mut self.machines {
            machine.gateway.end()?;
        }
        self.machines.iter_mut().try_for_each(|machine| machine.agent.end())
    }

    /// How often a service manager had to start an agent again.
    pub fn falls(&self) -> u32 {
        self.machines.iter().map(|machine| machine.agent.falls).sum()
    }

    /// How long a command of the agent or the operator is waited for.
    pub fn patience(&self) -> Patience<'a> {
        Patience {
            at_most: COMMAND,
            interrupt: self.interrupt,
        }
    }

    /// A question to the ledger.
    pub fn question(&self, args: &[&str]) -> Command {
        match &self.fleet {
            Some(fleet) => fleet.ground.question(self.programs, args),
            None => {
                let mut command = self.programs.command("shake-agent");
                command.args(args).arg("--config").arg(self.place.file(files::AGENT));
                command
            }
        }
    }

    /// The audit of the ledger.
    pub fn audit(&self) -> Command {
        match &self.fleet {
            Some(fleet) => fleet.ground.audit(self.programs),
            None => self.question(&["audit", "--json"]),
        }
    }

    /// Pushes a show to every gateway, as an operator does, who tries again while one is not there. It also ends `config_stale`. What
    /// came of it goes into files of this directory.
    pub fn push(&self, file: &str, directory: &Path) -> anyhow::Result<()> {
        for machine in &self.machines {
            self.push_to(machine, file, directory)?;
        }
        Ok(())
    }

    fn push_to(&self, machine: &Machine, file: &str, directory: &Path) -> anyhow::Result<()> {
        let until = Instant::now() + COMMAND;
        loop {
            let mut push = self.programs.command("gateway");
            push.args(["push", "show"]).arg(self.place.file(file));
            push.arg("--target").arg(machine.place.admin.to_string());
            push.arg("--certs").arg(self.place.file(files::CERTS));
            let log = directory.join("push.log");
            push.stderr(File::create(&log).with_context(|| format!("cannot write {}", log.display()))?);
            let pushed = directory.join("pushed");
            if run_to_file("gateway push", push, &pushed, &self.patience(), || Ok(()))?.is_success() {
                return Ok(());
            }
            ensure!(
                Instant::now() < until,
                "the gateway took no push; see {}",
                log.display()
            );
            thread::sleep(AGAIN);
        }
    }
}
