//! A disk in memory, with the faults of a real one: it is full, a write or sync fails, the process dies at some operation,
//! the power goes and takes what was not synced. Ledgers in its directory live on it, because [`vfs`] is SQLite's default in
//! this test program; everything else about them is the code that ships.
//!
//! Like the kernel, it keeps two contents of each file: what programs see (the page cache) and what is durable. After a
//! failed sync each write since the last one is durable or not, *and counts as clean*: the next sync says nothing of it.
//! Names of files are durable at once.

mod vfs;

use super::support::{Event, splitmix};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

/// Why an operation failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No room.
    Full,
    /// The device gave an error, or the process is dead.
    Broken,
}

/// One change of a file since its last sync.
#[derive(Debug)]
enum Change {
    Write { at: usize, bytes: Vec<u8> },
    Cut(usize),
}

impl Change {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Write { at, bytes } => {
                if content.len() < at + bytes.len() {
                    content.resize(at + bytes.len(), 0);
                }
                content[*at..at + bytes.len()].copy_from_slice(bytes);
            }
            Self::Cut(length) => content.truncate(*length),
        }
    }
}

#[derive(Debug, Default)]
struct File {
    /// What programs see.
    cached: Vec<u8>,
    /// What survives the power.
    durable: Vec<u8>,
    /// What the next sync makes durable.
    dirty: Vec<Change>,
}

impl File {
    fn change(&mut self, change: Change) {
        change.apply(&mut self.cached);
        self.dirty.push(change);
    }
}

/// What is wrong with the disk, and how the program on it lives.
#[derive(Debug, Default)]
pub struct State {
    files: BTreeMap<String, File>,
    /// Grows with each death; handles of an earlier life are dead.
    life: u64,
    random: u64,
    /// Bytes that files may still grow by; `None` for any number.
    pub room: Option<usize>,
    /// So many of the next syncs fail.
    pub failing_syncs: u32,
    /// So many of the next writes fail.
    pub failing_writes: u32,
    /// The process dies at the write or sync after so many.
    pub dies_after: Option<u32>,
    /// Syncs that worked.
    pub syncs: u64,
}

impl State {
    fn chance(&mut self, one_in: u64) -> bool {
        splitmix(&mut self.random).is_multiple_of(one_in)
    }

    /// A write or sync is about to happen. False when the process dies in it.
    fn survives(&mut self) -> bool {
        match &mut self.dies_after {
            None => true,
            Some(0) => {
                self.kill();
                false
            }
            Some(left) => {
                *left -= 1;
                true
            }
        }
    }

    fn write(&mut self, name: &str, at: usize, bytes: &[u8]) -> Result<(), Fault> {
        if !self.survives() {
            // The kernel had some of it when the process died.
            let some = splitmix(&mut self.random) as usize % (bytes.len() + 1);
            if let Some(file) = self.files.get_mut(name) {
                let bytes = bytes[..some].to_vec();
                file.change(Change::Write { at, bytes });
            }
            return Err(Fault::Broken);
        }
        if self.failing_writes > 0 {
            self.failing_writes -= 1;
            return Err(Fault::Broken);
        }
        let file = self.files.get_mut(name).ok_or(Fault::Broken)?;
        let grows = (at + bytes.len()).saturating_sub(file.cached.len());
        if let Some(room) = &mut self.room {
            *room = room.checked_sub(grows).ok_or(Fault::Full)?;
        }
        let bytes = bytes.to_vec();
        file.change(Change::Write { at, bytes });
        Ok(())
    }

    fn cut(&mut self, name: &str, length: usize) -> Result<(), Fault> {
        if !self.survives() {
            return Err(Fault::Broken);
        }
        let file = self.files.get_mut(name).ok_or(Fault::Broken)?;
        file.change(Change::Cut(length));
        Ok(())
    }

    fn sync(&mut self, name: &str) -> Result<(), Fault> {
        if !self.survives() {
            return Err(Fault::Broken);
        }
        let fails = self.failing_syncs > 0;
        let dirty = std::mem::take(&mut self.files.get_mut(name).ok_or(Fault::Broken)?.dirty);
        for change in dirty {
            if fails && self.chance(2) {
                continue;
            }
            if let Some(file) = self.files.get_mut(name) {
                change.apply(&mut file.durable);
            }
        }
        if fails {
            self.failing_syncs -= 1;
            return Err(Fault::Broken);
        }
        self.syncs += 1;
        Ok(())
    }

    /// The process dies: its handles are of no use any more. What it wrote stays in the cache.
    pub fn kill(&mut self) {
        self.life += 1;
        self.dies_after = None;
    }

    /// The power goes. Of what was not synced each change is there, lost, or torn, whatever their order was.
    pub fn lose_power(&mut self) {
        self.kill();
        let names: Vec<String> = self.files.keys().cloned().collect();
        for name in names {
            let dirty = std::mem::take(&mut self.files.get_mut(&name).expect("it was just listed").dirty);
            for mut change in dirty {
                if self.chance(3) {
                    continue;
                }
                if let Change::Write { bytes, .. } = &mut change
                    && self.chance(2)
                {
                    let kept = splitmix(&mut self.random) as usize % (bytes.len() + 1);
                    bytes.truncate(kept);
                }
                let file = self.files.get_mut(&name).expect("it was just listed");
                change.apply(&mut file.durable);
            }
            let file = self.files.get_mut(&name).expect("it was just listed");
            file.cached.clone_from(&file.durable);
        }
    }

    /// Everything works from now on.
    pub fn mend(&mut self) {
        (self.room, self.failing_syncs, self.failing_writes, self.dies_after) = (None, 0, 0, None);
    }

    /// Whether the process that opened files in that life is dead.
    fn is_dead(&self, life: u64) -> bool {
        self.life != life
    }

    /// How many processes have died on it.
    pub fn deaths(&self) -> u64 {
        self.life
    }
}

/// The disk under one event's ledger, for as long as it lives.
pub struct Disk {
    directory: PathBuf,
    state: Arc<Mutex<State>>,
}

impl Disk {
    /// Puts the ledger of `event` on a disk of its own. `seed` decides what is lost and torn.
    pub fn under(event: &Event, seed: u64) -> Self {
        let directory = event.directory.path().canonicalize().unwrap();
        // Those who only read look whether there is a file before they ask SQLite.
        std::fs::write(event.ledger(), b"").unwrap();
        let state = Arc::new(Mutex::new(State {
            random: seed,
            ..State::default()
        }));
        vfs::put(directory.clone(), Arc::clone(&state));
        Self { directory, state }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        vfs::remove(&self.directory);
    }
}
