//! A machine of the guide: a directory that stands for its disk, a gateway and an agent when its units are started, and
//! what its names, ports and paths are here.

use crate::testbed::{END, Patience, Place, Programs, START, Service};
use anyhow::{Context, bail, ensure};
use std::fs;
use std::path::Path;
use xtask::interrupt::Interrupt;

/// One of the guide's machines.
pub struct Machine {
    /// `gw1` for `gw1.example`.
    pub name: &'static str,
    /// Its disk, its ports and its shared memory.
    pub place: Place,
    gateway: Option<Service>,
    agent: Option<Service>,
    /// What `systemd-run` started, by its unit.
    transient: Vec<(String, Service)>,
}

impl Machine {
    /// One that has nothing yet but its directories, beside the desk of this name.
    pub fn fresh(name: &'static str, desk: &str) -> anyhow::Result<Self> {
        let place = Place::fresh(&format!("{desk}-{name}"))?;
        for directory in ["root", "etc", "var/lib"] {
            let path = place.file(directory);
            fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        }
        Ok(Self {
            name,
            place,
            gateway: None,
            agent: None,
            transient: Vec::new(),
        })
    }

    /// Whether `ssh` means it by this name.
    pub fn is(&self, host: &str) -> bool {
        let host = host.rsplit('@').next().unwrap_or(host);
        host.split('.').next() == Some(self.name)
    }

    /// Whether its gateway runs.
    pub fn is_up(&self) -> bool {
        self.gateway.is_some()
    }

    /// A line as it is typed there: with the paths of this disk.
    pub fn line(&self, line: &str) -> String {
        let disk = self.place.directory.display();
        ["/etc/shake", "/var/lib/shake"]
            .iter()
            .fold(line.to_owned(), |line, path| {
                line.replace(path, &format!("{disk}{path}"))
            })
    }

    /// `systemctl VERB UNIT`: what the units would do.
    ///
    /// # Errors
    /// When the program does not start or end as it should, or the verb is not known.
    pub fn systemctl(
        &mut self,
        verb: &str,
        unit: &str,
        programs: &Programs,
        interrupt: &Interrupt,
    ) -> anyhow::Result<()> {
        if let Some(at) = self.transient.iter().position(|(name, _)| name == unit) {
            ensure!(verb == "stop", "systemctl {verb} of a transient unit is not known here");
            return self.transient.remove(at).1.end(END);
        }
        let (name, config) = match unit.trim_end_matches(".service") {
            "gateway" => ("gateway", "gateway.toml"),
            "shake-agent" => ("shake-agent", "agent.toml"),
            other => bail!("no unit {other}"),
        };
        match (verb, name) {
            // The agent starts first: `Wants=` and `After=` of gateway.service.
            ("start", "gateway") => {
                self.agent = Some(self.start("shake-agent", "agent.toml", programs, interrupt)?);
                self.gateway = Some(self.start(name, config, programs, interrupt)?);
            }
            ("start", _) => self.agent = Some(self.start(name, config, programs, interrupt)?),
            ("stop", "gateway") => self.gateway.take().context("it does not run")?.end(END)?,
            ("stop", _) => {
                // A gateway that was drained ends by itself, and stays down.
                if let Some(gateway) = self.gateway.take() {
                    let at_most = END;
                    gateway.wait_end(&Patience { at_most, interrupt })?;
                }
                self.agent.take().context("it does not run")?.end(END)?;
            }
            _ => bail!("systemctl {verb} is not known here"),
        }
        Ok(())
    }

    /// `systemd-run --unit NAME --uid USER PROGRAM run --config FILE`: a unit without a file.
    ///
    /// # Errors
    /// When the program does not start as it should, or something else is to be run.
    pub fn systemd_run(&mut self, words: &[&str], programs: &Programs, interrupt: &Interrupt) -> anyhow::Result<()> {
        let &["--unit", unit, "--uid", "shake", program, "run", "--config", file] = words else {
            bail!("systemd-run {} is not known here", words.join(" "));
        };
        let name = match program {
            "gateway" => "gateway",
            "shake-agent" => "shake-agent",
            other => bail!("no program {other}"),
        };
        let config = self.place.directory.join(file.trim_start_matches('/'));
        let service = self.start_as(unit, name, &config, programs, interrupt)?;
        self.transient.push((unit.to_owned(), service));
        Ok(())
    }

    /// Gives the configurations that came to it the paths and ports of this run.
    ///
    /// # Errors
    /// When a file cannot be read or written.
    pub fn settle(&self) -> anyhow::Result<()> {
        let queue = self.place.queue();
        let gateway = format!(
            "[listen]\naddress = \"{}\"\n[metrics]\naddress = \"{}\"\n[queue]\npath = {queue:?}\n",
            self.place.gateway, self.place.metrics
        );
        self.settle_file("gateway.toml", &gateway)?;
        self.settle_file("agent.toml", &format!("[queue]\npath = {queue:?}\n"))?;
        // That of the rehearsal names its mapping itself.
        let ports = gateway.split("[queue]").next().unwrap_or_default();
        self.settle_file("rehearsal/gateway.toml", ports)?;
        self.settle_file("rehearsal/agent.toml", "# No ports.\n")
    }

    fn settle_file(&self, name: &str, ports: &str) -> anyhow::Result<()> {
        let path = self.place.file("etc/shake").join(name);
        let text = match fs::read_to_string(&path) {
            Ok(text) if !text.contains(ports) => text,
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        let disk = self.place.directory.display();
        let text = text
            .replace("\"/etc/shake", &format!("\"{disk}/etc/shake"))
            .replace("\"/var/lib/shake", &format!("\"{disk}/var/lib/shake"))
            // Beside this machine's, and removed with it.
            .replace(
                "/dev/shm/shake-rehearsal",
                &format!("{}.rehearsal", self.place.queue().display()),
            );
        fs::write(&path, format!("{text}\n# Of this run.\n{ports}"))
            .with_context(|| format!("cannot write {}", path.display()))
    }

    fn start(
        &self,
        name: &'static str,
        config: &str,
        programs: &Programs,
        interrupt: &Interrupt,
    ) -> anyhow::Result<Service> {
        // `StateDirectory=` of the units.
        for directory in ["var/lib/shake-gateway", "var/lib/shake-agent"] {
            let path = self.place.file(directory);
            fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        }
        let config = self.place.file("etc/shake").join(config);
        self.start_as(name, name, &config, programs, interrupt)
    }

    fn start_as(
        &self,
        unit: &str,
        name: &'static str,
        config: &Path,
        programs: &Programs,
        interrupt: &Interrupt,
    ) -> anyhow::Result<Service> {
        let mut command = programs.command(name);
        command.args(["run", "--config"]).arg(config);
        let mut service = Service::start(name, command, self.place.file(&format!("{unit}.log")))?;
        service.wait_ready(&Patience {
            at_most: START,
            interrupt,
        })?;
        Ok(service)
    }
}
