//! Where PostgreSQL's programs are: on this machine, or fetched once from the Python package index.

use crate::Error;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// Names the directory of `postgres` and `initdb`, before any other place.
pub const VARIABLE: &str = "SHAKE_POSTGRES_BIN";
/// The package that carries PostgreSQL 16.2, and the wheel that is taken of it: its programs need no Python.
const PACKAGE: &str = "pgserver==0.1.4";
const WHEEL: [&str; 6] = [
    "--python-version",
    "3.12",
    "--platform",
    "manylinux2014_x86_64",
    "--only-binary",
    ":all:",
];
/// The oldest major version whose statements the ledger uses.
const OLDEST: u32 = 15;

/// The directory of `postgres` and `initdb`.
pub fn find() -> Result<PathBuf, Error> {
    if let Some(named) = env::var_os(VARIABLE) {
        let named = PathBuf::from(named);
        return if is_whole(&named) {
            Ok(named)
        } else {
            Err(Error::NotThere(named))
        };
    }
    match on_machine() {
        Some(found) => Ok(found),
        None => fetched(),
    }
}

fn is_whole(directory: &Path) -> bool {
    directory.join("postgres").is_file() && directory.join("initdb").is_file()
}

/// Debian keeps each major version apart, and none of them in the path.
fn on_machine() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = versions
        .filter_map(|entry| {
            Some((
                entry.file_name().to_str()?.parse::<u32>().ok()?,
                entry.path().join("bin"),
            ))
        })
        .filter(|(version, bin)| *version >= OLDEST && is_whole(bin))
        .max();
    newest.map(|(_, bin)| bin)
}

/// From the package index, where a user of the server's may read it. Root runs no PostgreSQL, and what a checkout of root's
/// holds another user may not be able to read.
fn fetched() -> Result<PathBuf, Error> {
    let me = nix::unistd::geteuid().as_raw();
    let kept = env::temp_dir().join(format!("local-postgres-{me}-16.2"));
    let bin = kept.join("pgserver/pginstall/bin");
    if kept
        .symlink_metadata()
        .is_ok_and(|kept| kept.uid() == me && kept.is_dir())
        && is_whole(&bin)
    {
        return Ok(bin);
    }
    let fresh = tempfile::Builder::new()
        .prefix("local-postgres-")
        .tempdir()
        .map_err(Error::io("make a directory in", env::temp_dir()))?;
    let wheel = fresh.path().join("wheel");
    let content = fresh.path().join("content");
    let mut download = Command::new("python3");
    download
        .args(["-m", "pip", "--quiet", "download", "--no-deps", "--dest"])
        .arg(&wheel)
        .args(WHEEL)
        .arg(PACKAGE);
    run(download)?;
    let found = fs::read_dir(&wheel)
        .map_err(Error::io("read", &wheel))?
        .flatten()
        .next();
    let found = found.ok_or_else(|| Error::NotThere(wheel.clone()))?.path();
    let mut unpack = Command::new("python3");
    unpack.args(["-m", "zipfile", "--extract"]).arg(found).arg(&content);
    run(unpack)?;
    let programs = content.join("pgserver/pginstall/bin");
    // A zip file's rights are not restored.
    for program in fs::read_dir(&programs).map_err(Error::io("read", &programs))?.flatten() {
        let path = program.path();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).map_err(Error::io("allow to run", &path))?;
    }
    if let Err(source) = fs::rename(&content, &kept) {
        // Another process may have been faster.
        if !is_whole(&bin) {
            return Err(Error::io("move the programs to", &kept)(source));
        }
    }
    Ok(bin)
}

fn run(mut command: Command) -> Result<(), Error> {
    let shown = format!("{command:?}");
    match command.output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(Error::NoPrograms {
            command: shown,
            reason: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        }),
        Err(source) => Err(Error::NoPrograms {
            command: shown,
            reason: source.to_string(),
        }),
    }
}
