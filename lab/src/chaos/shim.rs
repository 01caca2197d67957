//! The library that spoils disks and clocks, and the page that steers it in one program.

use super::control::{MAGIC, PAGE_BYTES, VARIABLE, at};
use anyhow::{Context, bail, ensure};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use xtask::interrupt::Interrupt;
use xtask::workspace::{self, cargo};

/// Builds the library; gives where it is.
///
/// # Errors
/// When it does not build.
pub fn build(interrupt: &Interrupt) -> anyhow::Result<PathBuf> {
    let status = cargo(["build", "--quiet", "-p", "faults"])
        .status()
        .context("cannot run cargo")?;
    interrupt.check()?;
    ensure!(status.success(), "cargo build -p faults: {status}");
    let library = workspace::target().join("debug/libfaults.so");
    if !library.is_file() {
        bail!("{} is not there after its build", library.display());
    }
    Ok(library)
}

/// The page of one program, which outlives the lives of the program.
pub struct Page {
    file: File,
    path: PathBuf,
    library: PathBuf,
}

impl Page {
    /// A page that spoils nothing. Disk faults will strike files below `directory`.
    pub fn create(path: PathBuf, library: PathBuf, directory: &Path) -> anyhow::Result<Self> {
        let create = || {
            let file = File::options()
                .read(true)
                .write(true)
                .create(true)
                .truncate(true)
                .open(&path)?;
            file.set_len(PAGE_BYTES as u64)?;
            file.write_all_at(&MAGIC, 0)?;
            Ok::<_, std::io::Error>(file)
        };
        let file = create().with_context(|| format!("cannot write {}", path.display()))?;
        let page = Self { file, path, library };
        page.strike_below(directory)?;
        Ok(page)
    }

    /// Disk faults strike files below this directory from now on. Not to be called while one is at work.
    pub fn strike_below(&self, directory: &Path) -> anyhow::Result<()> {
        let real = directory
            .canonicalize()
            .with_context(|| format!("cannot resolve {}", directory.display()))?;
        let bytes = real.as_os_str().as_encoded_bytes();
        let mut field = [0; PAGE_BYTES - at::DIRECTORY];
        ensure!(
            bytes.len() < field.len(),
            "{} is too long for the page of faults",
            real.display()
        );
        field[..bytes.len()].copy_from_slice(bytes);
        self.write(at::DIRECTORY, &field)
    }

    /// Has the program load the library, and read this page.
    pub fn load_into(&self, command: &mut Command) {
        command.env("LD_PRELOAD", &self.library).env(VARIABLE, &self.path);
    }

    /// Sets one byte.
    pub fn set(&self, at: usize, value: u8) -> anyhow::Result<()> {
        self.write(at, &[value])
    }

    /// Reads one of the program's counters.
    pub fn count(&self, at: usize) -> anyhow::Result<u64> {
        let mut bytes = [0; 8];
        self.file
            .read_exact_at(&mut bytes, at as u64)
            .with_context(|| format!("cannot read {}", self.path.display()))?;
        Ok(u64::from_ne_bytes(bytes))
    }

    fn write(&self, at: usize, bytes: &[u8]) -> anyhow::Result<()> {
        self.file
            .write_all_at(bytes, at as u64)
            .with_context(|| format!("cannot write {}", self.path.display()))
    }
}
