//! `gateway check-config`: everything that a start needs and that can be looked at without starting.

use crate::config::Config;
use crate::control::barred::Barred;
use crate::control::transport;
use crate::run;
use crate::tls::Secrets;
use anyhow::{Context, Result, ensure};
use nix::unistd::{AccessFlags, access};
use std::path::Path;

/// Everything that is wrong with a configuration, its show and its directories. A phase that is over is an error here,
/// because the file is about to be used; `run` goes on without it, because it may be a restart in the middle of the show.
/// Gives what is good, to be told.
///
/// # Errors
/// All of it, a line each.
pub fn check(config: &Config) -> Result<String> {
    let mut faults = Vec::new();
    let mut phases = (String::new(), 0);
    match run::read_show(config) {
        Ok(show) => {
            let now = run::now()?;
            let file = config.show_file.as_deref().unwrap_or(Path::new("(built-in show)"));
            for phase in show.past_phases(now) {
                let (file, line, name) = (file.display(), phase.line, &phase.name);
                faults.push(anyhow::anyhow!("{file}:{line}: phase {name:?} is over already"));
            }
            phases = (show.name.clone(), show.phases.len());
        }
        Err(fault) => faults.push(fault),
    }
    faults.extend(run::read_throttle(config).err());
    faults.extend(files(config));
    faults.extend(state(config).err());
    if !faults.is_empty() {
        return Err(run::all(faults));
    }
    let (shards, address, sessions) = (config.shards, config.address, config.sessions_in_all);
    let (name, phases) = phases;
    Ok(format!(
        "good: {shards} shard(s) on {address}, up to {sessions} sessions, show {name:?} with {phases} phase(s)"
    ))
}

/// What is wrong with the certificate directory.
fn files(config: &Config) -> Vec<anyhow::Error> {
    let mut faults = Vec::new();
    let certs = &config.certs_directory;
    match Secrets::read(config, None) {
        Ok(secrets) => {
            let now = run::now().unwrap_or_default();
            if let Some(fault) = secrets.certificate.fault_at(now) {
                faults.push(anyhow::anyhow!("{}: {fault}", certs.join("server.pem").display()));
            }
        }
        Err(all) => faults.extend(all),
    }
    if config.admin_address.is_some() {
        faults.extend(transport::server_config(certs).err());
        faults.extend(Barred::read(certs).err());
    }
    // The certificate is the operators' as well, and one fault of it is told once.
    let mut told: Vec<String> = Vec::new();
    faults.retain(|fault| {
        let text = format!("{fault:#}");
        let is_new = !told.contains(&text);
        told.push(text);
        is_new
    });
    faults
}

/// Whether the state directory is there and may be written, or may be made.
fn state(config: &Config) -> Result<()> {
    let Some(directory) = &config.state_directory else {
        return Ok(());
    };
    ensure!(
        directory.is_dir() || !directory.exists(),
        "[state] directory {} is no directory",
        directory.display()
    );
    let nearest = directory
        .ancestors()
        .find(|path| path.exists())
        .unwrap_or(Path::new("."));
    access(nearest, AccessFlags::W_OK | AccessFlags::X_OK).with_context(|| {
        let (directory, nearest) = (directory.display(), nearest.display());
        format!("[state] directory {directory}: this user may not write in {nearest}")
    })
}
