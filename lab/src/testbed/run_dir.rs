//! The directory of a run, its free ports, and the shared mapping's name; cleans up what is outside of the directory.

use anyhow::{Context, bail};
use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use xtask::workspace;

/// A fresh directory, and the names and addresses that the programs use.
pub struct Place {
    /// `target/NAME`.
    pub directory: PathBuf,
    /// Where the gateway listens.
    pub gateway: SocketAddr,
    /// Where it serves its metrics.
    pub metrics: SocketAddr,
    /// Where it takes operators.
    pub admin: SocketAddr,
    queue: Queue,
    _lock: File,
}

impl Place {
    /// Removes what an earlier run of this name left, makes the directory with mode 0700, and finds free loopback
    /// ports.
    ///
    /// # Errors
    /// Also when another run is at work in the directory.
    pub fn fresh(name: &str) -> anyhow::Result<Self> {
        let directory = workspace::target().join(name);
        let lock = lock(&workspace::target().join(format!("{name}.lock")))?;
        remove(&directory)?;
        let make = || {
            fs::create_dir_all(&directory)?;
            fs::set_permissions(&directory, fs::Permissions::from_mode(0o700))
        };
        make().with_context(|| format!("cannot make {}", directory.display()))?;
        // Bound and let go: what is free now is free a moment later unless someone takes just this one, and then the
        // gateway says so.
        let any = (Ipv4Addr::LOCALHOST, 0);
        // Both at a time, so that they are not the same.
        let bound = [UdpSocket::bind(any), UdpSocket::bind(any)];
        let [gateway, admin] = bound.map(|socket| socket.and_then(|socket| socket.local_addr()));
        let gateway = gateway.context("no free UDP port")?;
        let admin = admin.context("no second free UDP port")?;
        let metrics = TcpListener::bind(any)
            .and_then(|socket| socket.local_addr())
            .context("no free TCP port")?;
        Ok(Self {
            directory,
            gateway,
            metrics,
            admin,
            queue: Queue::named_for_this_process(name),
            _lock: lock,
        })
    }

    /// A file of the directory.
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Writes a file of the directory.
    pub fn write(&self, name: &str, text: &str) -> anyhow::Result<()> {
        let path = self.file(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    /// The file of the shared mapping.
    pub fn queue(&self) -> &Path {
        &self.queue.path
    }

    /// Removes the shared mapping, as a reboot does.
    pub fn remove_queue(&self) {
        remove_with_suffixes(&self.queue.path);
    }

    /// Leaves the shared mapping where it is; gives its path.
    pub fn keep_queue(&mut self) -> &Path {
        self.queue.keep = true;
        &self.queue.path
    }
}

/// Removes a directory, if it is there.
///
/// # Errors
/// When it is there and stays.
pub fn remove(directory: &Path) -> anyhow::Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", directory.display()))
        }
        _ => Ok(()),
    }
}

/// The lock that lets one run at a time use the directory. The kernel drops it with the process.
fn lock(path: &Path) -> anyhow::Result<File> {
    let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            bail!("another run is at work (it holds {}); wait for its end", path.display())
        }
        Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("cannot lock {}", path.display())),
    }
}

/// The shared mapping's file and its doorbells, which are removed in the end.
struct Queue {
    path: PathBuf,
    keep: bool,
}

impl Queue {
    fn named_for_this_process(place: &str) -> Self {
        let name = format!("shake-xtask-{}-{}", std::process::id(), place.replace('/', "-"));
        let shared_memory = Path::new("/dev/shm");
        let parent = if shared_memory.is_dir() {
            shared_memory.to_owned()
        } else {
            std::env::temp_dir()
        };
        Self {
            path: parent.join(name),
            keep: false,
        }
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        if !self.keep {
            remove_with_suffixes(&self.path);
        }
    }
}

/// Removes the file and those beside it whose names go on with a dot.
fn remove_with_suffixes(path: &Path) {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return;
    };
    let name = name.to_string_lossy();
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let found = entry.file_name();
        let rest = found.to_str().and_then(|found| found.strip_prefix(&*name));
        if rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.')) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn one_run_at_a_time() {
        let path = std::env::temp_dir().join(format!("xtask-test-{}-lock", std::process::id()));
        let held = lock(&path).unwrap();
        assert!(lock(&path).unwrap_err().to_string().contains("another run is at work"));
        drop(held);
        lock(&path).unwrap();
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn each_place_has_a_mapping_of_its_own_directly_in_shared_memory() {
        let [one, other] = ["bench/one", "bench/other"].map(Queue::named_for_this_process);
        assert_ne!(one.path, other.path);
        assert_eq!(one.path.parent(), other.path.parent());
        assert!(one.path.parent().unwrap().is_dir());
    }

    #[test]
    fn removes_the_mapping_and_its_doorbells_only() {
        let directory = std::env::temp_dir().join(format!("xtask-test-{}-place", std::process::id()));
        fs::create_dir(&directory).unwrap();
        for name in ["queue", "queue.bell-0", "queue.bell-1", "queue2", "other"] {
            fs::write(directory.join(name), "").unwrap();
        }
        remove_with_suffixes(&directory.join("queue"));
        let mut left: Vec<_> = fs::read_dir(&directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        left.sort();
        fs::remove_dir_all(&directory).unwrap();
        assert_eq!(left, ["other", "queue2"]);
    }
}
