//! How much memory this process may use, and how full that is.

use crate::groups::{Bound, Groups};
use nix::sys::sysinfo::sysinfo;
use nix::unistd::{SysconfVar, sysconf};
use std::fs;

/// Every limit of this process's memory at this moment: the machine's, and those of its control groups.
#[derive(Clone, Debug)]
pub struct Memory(Vec<Bound>);

impl Memory {
    /// Looks. What cannot be read sets no limit.
    #[must_use]
    pub fn look(groups: &Groups) -> Self {
        let mut bounds = groups.memory();
        bounds.extend(machine());
        Self(bounds)
    }

    /// The least limit; `None` when nothing could be read.
    #[must_use]
    pub fn least(&self) -> Option<&Bound> {
        self.0.iter().min_by_key(|bound| bound.limit)
    }

    /// The part in use of what is fullest, 0 to 1.
    #[must_use]
    pub fn in_use(&self) -> f64 {
        let parts = self.0.iter().map(|bound| bound.used as f64 / bound.limit.max(1) as f64);
        parts.fold(0.0, f64::max).min(1.0)
    }
}

/// The machine's memory. A service that sees of /proc only its processes (ProcSubset=pid) knows of what is in use only its own.
fn machine() -> Option<Bound> {
    let limit = sysinfo().ok()?.ram_total();
    let used = fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| available(&text))
        .map_or_else(own, |available| Some(limit.saturating_sub(available)));
    Some(Bound {
        by: "the machine's memory".to_owned(),
        limit,
        used: used.unwrap_or(0),
    })
}

/// What the kernel could give out, in bytes.
fn available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib << 10)
}

/// What this process has in memory, in bytes.
fn own() -> Option<u64> {
    let statm = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    let page_bytes = sysconf(SysconfVar::PAGE_SIZE).ok()??;
    Some(pages * page_bytes.cast_unsigned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound(limit: u64, used: u64) -> Bound {
        Bound {
            by: limit.to_string(),
            limit,
            used,
        }
    }

    #[test]
    fn the_least_limit_bounds_and_the_fullest_counts() {
        let memory = Memory(vec![bound(100, 93), bound(90, 10), bound(1_000, 0)]);
        assert_eq!(memory.least().map(|least| least.limit), Some(90));
        assert!((memory.in_use() - 0.93).abs() < 1e-9);
        assert_eq!((Memory(vec![]).least(), Memory(vec![]).in_use()), (None, 0.0));
    }

    #[test]
    fn the_machine_tells_its_memory() {
        assert_eq!(available("MemTotal:  9 kB\nMemAvailable:   2048 kB\n"), Some(2 << 20));
        assert_eq!(available("MemTotal:  9 kB\n"), None);
        let machine = machine().expect("Linux tells it");
        assert!(machine.used > 0 && machine.used < machine.limit, "{machine:?}");
        assert!(own().expect("Linux tells it") > 1 << 18);
    }
}
