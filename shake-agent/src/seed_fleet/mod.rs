//! Seeds for a fleet: one file per gateway, and a manifest that names them all.
//!
//! Invariant: the manifest appears last and goes away first, so a directory with a manifest has the files that it was
//! written for. [`verify`](verify::verify) proves it afterwards, wherever the directory was copied.

pub mod manifest;
pub mod verify;

mod ids;
mod report;
#[cfg(test)]
mod tests;

pub use manifest::{Manifest, ManifestKeys};
pub use report::{FileReport, Report};

use crate::seed_draw::{Packets, Request};
use crate::seed_generate::{self, COUNT_MAX, GenerateError, Made, Part};
use manifest::Fleet;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use tempfile::{NamedTempFile, TempPath};

/// Most files of a fleet.
pub const PARTS_MAX: u16 = 4_096;
/// The manifest's name.
pub const MANIFEST: &str = "manifest.json";

/// The name of a part's file.
#[must_use]
pub fn file_name(part: u16) -> String {
    format!("seed-{part}.bin")
}

/// Makes `parts` seed files and their manifest in `directory`, which is made when it is not there. The packets are drawn as
/// one seed and dealt out evenly. `random` gives 64 random bits a call; `progress` is told how many records are written.
///
/// # Errors
/// [`GenerateError`]. Without `force`, nothing is changed when there is a seed already; with it, the files there are
/// replaced only once all new ones are durable. When that last step fails there is no manifest.
pub fn generate(
    request: &Request,
    parts: u16,
    directory: &Path,
    force: bool,
    keys: Option<&ManifestKeys>,
    random: impl FnMut() -> u64,
    mut progress: impl FnMut(u64),
) -> Result<Manifest, GenerateError> {
    if !(1..=PARTS_MAX).contains(&parts) || u64::from(parts) > request.count {
        return Err(GenerateError::Parts {
            parts,
            count: request.count,
            max: PARTS_MAX,
        });
    }
    if request.count.div_ceil(parts.into()) > COUNT_MAX {
        return Err(GenerateError::Count(request.count));
    }
    let io = |source| GenerateError::io(directory, source);
    fs::create_dir_all(directory).map_err(io)?;
    let old = existing(directory).map_err(io)?;
    if let (false, Some(path)) = (force, old.first()) {
        return Err(GenerateError::Exists(path.clone()));
    }
    let packets = Packets::draw(request, random)?;
    let mut staged: Vec<(TempPath, Made)> = Vec::with_capacity(parts.into());
    let mut written = 0;
    for part in divide(request, parts) {
        let begun = written;
        let file = seed_generate::stage(directory, &part, &packets, &mut |done| progress(begun + done)).map_err(io)?;
        written += part.count;
        staged.push(file);
    }
    let fleet = Fleet::of(request, staged.iter().map(|(_, made)| made));
    let manifest = Manifest::new(fleet, keys);
    for path in old {
        fs::remove_file(&path).map_err(|source| GenerateError::io(&path, source))?;
    }
    for (part, (temporary, _)) in (0..).zip(staged) {
        let path = directory.join(file_name(part));
        seed_generate::put_in_place(temporary, &path, false).map_err(|source| GenerateError::io(&path, source))?;
    }
    write_manifest(directory, &manifest).map_err(|source| GenerateError::io(&directory.join(MANIFEST), source))?;
    Ok(manifest)
}

/// The parts of a seed: as even as can be, the first ones get one more.
fn divide(request: &Request, parts: u16) -> impl Iterator<Item = Part> {
    let (event, count) = (request.event, request.count);
    let (each, more) = (count / u64::from(parts), count % u64::from(parts));
    (0..parts).map(move |part| {
        let before = u64::from(part);
        Part {
            event,
            part,
            parts,
            start: before * each + before.min(more),
            count: each + u64::from(before < more),
        }
    })
}

/// Manifest and seed files in a directory, the manifest first.
fn existing(directory: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if is_ours(&entry.file_name().to_string_lossy()) {
            found.push(entry.path());
        }
    }
    found.sort_by_key(|path| (!path.ends_with(MANIFEST), path.clone()));
    Ok(found)
}

fn is_ours(name: &str) -> bool {
    let part = name.strip_prefix("seed-").and_then(|rest| rest.strip_suffix(".bin"));
    name == MANIFEST || part.is_some_and(|part| part.parse::<u16>().is_ok())
}

fn write_manifest(directory: &Path, manifest: &Manifest) -> std::io::Result<()> {
    let mut temporary = NamedTempFile::new_in(directory)?;
    temporary.write_all(manifest.to_text().as_bytes())?;
    temporary.as_file().sync_all()?;
    // The names of the seed files are durable before that of the manifest.
    File::open(directory)?.sync_all()?;
    temporary
        .persist_noclobber(directory.join(MANIFEST))
        .map_err(|error| error.error)?;
    File::open(directory)?.sync_all()
}
