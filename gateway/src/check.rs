//! `gateway check-config`: everything that a start needs and that can be looked at without starting, in one pass.

use crate::config::{self, Config};
use crate::control::barred::Barred;
use crate::control::{audit, disk, report, transport};
use crate::secrets::Secrets;
use crate::{fit, own_id, run, shape};
use anyhow::{Context, Error, Result, anyhow, ensure};
use host::clock::wall;
use host::user;
use nix::unistd::{AccessFlags, access};
use shake_rules::kept;
use std::net::{IpAddr, TcpListener, UdpSocket};
use std::path::Path;

/// A configuration that a start could begin with.
pub struct Good {
    /// What it is, in a line.
    pub told: String,
    /// What is good to know, and keeps nothing from starting.
    pub remarks: Vec<String>,
}

/// Everything that is wrong with a configuration, what it names, and where it is to run. A phase that is over is an error here,
/// because the file is about to be used; `run` goes on without it, because it may be a restart in the middle of the show.
///
/// # Errors
/// All of it, a line each. Of a table with an error only that is told, because nobody knows what it ought to say.
pub fn check(path: Option<&Path>) -> Result<Good> {
    let (text, directory) = config::text_of(path)?;
    let (mut config, problems) = Config::parse_what_can_be(&text, &directory);
    let wrong = problems.tables(&text);
    let is_told = |tables: &[&str]| match &wrong {
        Some(wrong) => tables.iter().all(|table| !wrong.contains(table)),
        None => false,
    };
    let mut found = Found::default();
    found.remarks.extend(fit::fit(&mut config));
    if let Err(problems) = problems.or_value(()) {
        let name = config::name_of(path);
        found
            .faults
            .extend(problems.0.iter().map(|problem| anyhow!(problem.located(&name))));
    }
    let mut phases = (String::new(), 0);
    if is_told(&["show"]) {
        phases = found.show(&config);
    }
    if is_told(&["throttle"]) {
        found.faults.extend(run::read_throttle(&config).err());
    }
    if is_told(&["certs", "admin"]) {
        found.certificates(&config);
    }
    if is_told(&["state"]) {
        found.faults.extend(state(&config).err().unwrap_or_default());
    }
    if is_told(&["queue", "listen"]) {
        found.mapping(&config);
    }
    found.faults.extend(addresses(&config));
    let (shards, address, sessions) = (config.shards, config.address, config.sessions_in_all);
    let (name, phases) = phases;
    found.or_good(format!(
        "good: {shards} shard(s) on {address}, up to {sessions} sessions, show {name:?} with {phases} phase(s)"
    ))
}

#[derive(Default)]
struct Found {
    faults: Vec<Error>,
    remarks: Vec<String>,
}

impl Found {
    /// Name of the show, and how many phases it has.
    fn show(&mut self, config: &Config) -> (String, usize) {
        let read = run::read_show(config).and_then(|show| Ok((show, wall()?)));
        let (show, now) = match read {
            Ok(read) => read,
            Err(fault) => {
                self.faults.push(fault);
                return (String::new(), 0);
            }
        };
        let file = config.show_file.as_deref().unwrap_or(Path::new("(built-in show)"));
        for phase in show.past_phases(now) {
            let (file, line, name) = (file.display(), phase.line, &phase.name);
            self.faults
                .push(anyhow!("{file}:{line}: phase {name:?} is over already"));
        }
        (show.name.clone(), show.phases.len())
    }

    /// The certificate directory: what a start reads of it, and what ought not to lie there.
    fn certificates(&mut self, config: &Config) {
        let certs = &config.certs_directory;
        match Secrets::read(config, None) {
            Ok(secrets) => {
                let now = wall().unwrap_or_default();
                if let Some(fault) = secrets.certificate.fault_at(now) {
                    let file = certs.join("server.pem");
                    self.faults.push(anyhow!("{}: {fault}", file.display()));
                }
                if !secrets.certificate.is_of_authority {
                    self.remarks.push(format!(
                        "{}/server.pem is not of the authority in ca.pem beside it; do phones trust the one that it is of?",
                        certs.display()
                    ));
                }
            }
            Err(all) => self.faults.extend(all),
        }
        if config.admin_address.is_some() && certs.exists() {
            self.faults.extend(transport::server_config(certs).err());
            self.faults.extend(Barred::read(certs).err());
        }
        for name in ["ca.key.pem", "operator.key.pem"] {
            if certs.join(name).exists() {
                self.remarks.push(format!(
                    "{}/{name} is not needed here: whoever gets it, of this machine, could steer every gateway; keep it elsewhere",
                    certs.display()
                ));
            }
        }
    }

    fn mapping(&mut self, config: &Config) {
        match shape::check(config) {
            Ok(remark) => self.remarks.extend(remark),
            Err(fault) => self.faults.push(fault),
        }
        // /dev/shm itself is anybody's; another place may not be.
        let directory = config.queue_path.parent().unwrap_or(Path::new("."));
        if directory.is_dir() {
            self.faults.extend(may_write("[queue] path", directory).err());
        }
    }

    fn or_good(self, told: String) -> Result<Good> {
        // The certificate is the operators' as well, and one fault of it is told once.
        let mut lines: Vec<String> = Vec::new();
        for fault in self.faults {
            let line = format!("{fault:#}");
            if !lines.contains(&line) {
                lines.push(line);
            }
        }
        ensure!(lines.is_empty(), "{} error(s)\n{}", lines.len(), lines.join("\n"));
        Ok(Good {
            told,
            remarks: self.remarks,
        })
    }
}

/// Whether the state directory is there and may be written, or may be made, and what was kept in it can be read.
fn state(config: &Config) -> Result<(), Vec<Error>> {
    const KEY: &str = "[state] directory";
    let Some(directory) = &config.state_directory else {
        return Ok(());
    };
    if directory.exists() && !directory.is_dir() {
        return Err(vec![anyhow!("{KEY} {} is no directory", directory.display())]);
    }
    let nearest = directory
        .ancestors()
        .find(|path| path.exists() || path.as_os_str().is_empty());
    let nearest = nearest
        .filter(|path| !path.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let mut faults = Vec::new();
    faults.extend(may_write(KEY, nearest).err());
    faults.extend(user::owns(directory).context(KEY).err());
    for name in kept::FILES.into_iter().chain([own_id::FILE, report::FILE, audit::FILE]) {
        let file = directory.join(name);
        // Perhaps made by another user who started the gateway by hand once.
        if file.exists() {
            let may = access(&file, AccessFlags::R_OK | AccessFlags::W_OK);
            let may = may.with_context(|| format!("{KEY}: this user may not read and write {}", file.display()));
            faults.extend(may.err());
        }
    }
    if faults.is_empty() {
        faults.extend(disk::read(directory).context(KEY).err());
    }
    if faults.is_empty() { Ok(()) } else { Err(faults) }
}

fn may_write(key: &str, directory: &Path) -> Result<()> {
    access(directory, AccessFlags::W_OK | AccessFlags::X_OK)
        .with_context(|| format!("{key}: this user may not write in {}", directory.display()))
}

/// Addresses that this machine does not have. Whether a port is taken says nothing: the gateway that has it may be the one
/// that is to be started anew.
fn addresses(config: &Config) -> Vec<Error> {
    let udp = |at: IpAddr| UdpSocket::bind((at, 0)).map(drop);
    let tcp = |at: IpAddr| TcpListener::bind((at, 0)).map(drop);
    let phones = Some(("[listen] address", config.address, udp(config.address.ip())));
    let admin = config.admin_address.map(|at| ("[admin] address", at, udp(at.ip())));
    let metrics = config.metrics_address.map(|at| ("[metrics] address", at, tcp(at.ip())));
    let all = [phones, admin, metrics].into_iter().flatten();
    all.filter_map(|(key, at, bound)| {
        let fault = bound.err()?;
        Some(anyhow!("{key} = \"{at}\" cannot be had on this machine: {fault}"))
    })
    .collect()
}
