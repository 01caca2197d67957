//! The state directory: what runs is written whole and durably at each change, and read at the start.

use shake_rules::kept::{FILE, Kept};
use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// What the file system refused.
#[derive(Debug, Error)]
#[error("cannot {action} {}: {source}", path.display())]
pub struct DiskError {
    action: &'static str,
    path: PathBuf,
    source: io::Error,
}

fn failed<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> DiskError + 'a {
    move |source| DiskError {
        action,
        path: path.to_owned(),
        source,
    }
}

pub struct Disk {
    directory: PathBuf,
}

impl Disk {
    /// Takes the directory; makes it, for its owner alone, when it is not there.
    pub fn open(directory: &Path) -> Result<Self, DiskError> {
        if !directory.is_dir() {
            let mut builder = DirBuilder::new();
            builder.recursive(true).mode(0o700);
            builder
                .create(directory)
                .map_err(failed("make the state directory", directory))?;
        }
        Ok(Self {
            directory: directory.to_owned(),
        })
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// What was kept last; `None` when nothing ever was. The error says why it cannot be used.
    pub fn read(&self) -> Result<Option<Kept>, String> {
        let path = self.path(FILE);
        match fs::read_to_string(&path) {
            Ok(text) => Kept::parse(&text)
                .map(Some)
                .map_err(|problems| format!("{}: {problems}", path.display())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(format!("cannot read {}: {error}", path.display())),
        }
    }

    /// Writes what is to run: under another name first, durable, and then in place of the old, so that at any moment one
    /// of the two is there, whole.
    pub fn write(&self, kept: &Kept) -> Result<(), DiskError> {
        let (path, new) = (self.path(FILE), self.path("live.toml.new"));
        let write = || {
            let mut options = File::options();
            let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&new)?;
            file.write_all(kept.to_text().as_bytes())?;
            file.sync_all()
        };
        write().map_err(failed("write", &new))?;
        fs::rename(&new, &path).map_err(failed("replace", &path))?;
        let flush = || File::open(&self.directory)?.sync_all();
        flush().map_err(failed("flush", &self.directory))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn what_is_written_is_read_and_for_its_owner_alone() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let disk = Disk::open(&directory.path().join("state")).expect("made");
        assert_eq!(disk.read(), Ok(None));
        let kept = Kept {
            version: 3,
            show: "x = 1\n".into(),
            ..Kept::default()
        };
        disk.write(&kept).expect("written");
        assert_eq!(disk.read(), Ok(Some(kept)));
        let mode = |path: PathBuf| fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!((mode(disk.path(FILE)), mode(disk.directory.clone())), (0o600, 0o700));
        fs::write(disk.path(FILE), "version = ").expect("written");
        assert!(disk.read().is_err());
    }
}
