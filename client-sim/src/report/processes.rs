//! CPU and memory of processes, from /proc, and what the machine is.

use procfs::process::Process;
use procfs::{Current, WithCurrentSystemInfo};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A process to watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watched {
    /// The name in the report.
    pub name: String,
    /// Its id.
    pub pid: i32,
}

impl std::str::FromStr for Watched {
    type Err = String;

    /// Reads `NAME=PID`.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} must be NAME=PID, such as gateway=4711");
        let (name, pid) = text.split_once('=').ok_or_else(wrong)?;
        let pid = pid.parse().ok().filter(|pid| *pid > 0).ok_or_else(wrong)?;
        if name.is_empty() {
            return Err(wrong());
        }
        let name = name.to_owned();
        Ok(Self { name, pid })
    }
}

/// What a process used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// CPU time since the row before, of the time on the clock; above 1 with several threads.
    pub cpu_share: f64,
    /// Resident memory.
    pub memory_bytes: u64,
}

/// Reads what processes use. One that has ended is left out from then on.
#[derive(Debug)]
pub(super) struct Processes {
    watched: Vec<(String, Process, f64)>,
}

impl Processes {
    /// Watches these and this process itself. Gives also the names of those that are not there.
    pub(super) fn new(watched: &[Watched]) -> (Self, Vec<String>) {
        let mut missing = Vec::new();
        let own = Process::myself().ok().map(|own| ("client-sim".to_owned(), own, 0.0));
        let mut all: Vec<_> = own.into_iter().collect();
        for Watched { name, pid } in watched {
            match Process::new(*pid) {
                Ok(process) => all.push((name.clone(), process, 0.0)),
                Err(_) => missing.push(name.clone()),
            }
        }
        let mut processes = Self { watched: all };
        processes.read(1.0); // the first reading is what the next counts from
        (processes, missing)
    }

    /// What each used in the last `span_s` seconds.
    pub(super) fn read(&mut self, span_s: f64) -> BTreeMap<String, Usage> {
        let mut usages = BTreeMap::new();
        self.watched.retain_mut(|(name, process, cpu_before_s)| {
            let Ok(stat) = process.stat() else {
                return false;
            };
            let cpu_s = (stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64;
            let usage = Usage {
                cpu_share: (cpu_s - *cpu_before_s).max(0.0) / span_s.max(1e-3),
                memory_bytes: stat.rss_bytes().get(),
            };
            *cpu_before_s = cpu_s;
            usages.insert(name.clone(), usage);
            true
        });
        usages
    }
}

/// Where a run took place.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Environment {
    /// The kernel's version.
    pub kernel: String,
    /// The processor's model.
    pub cpu: String,
    /// Processors.
    pub cores: usize,
    /// Memory of the machine.
    pub memory_bytes: u64,
    /// The version of this program.
    pub version: String,
    /// The exact command line.
    pub command: String,
}

impl Environment {
    /// This machine and this command line.
    #[must_use]
    pub fn here() -> Self {
        let cpu = procfs::CpuInfo::current().ok();
        let model = cpu.as_ref().and_then(|cpu| cpu.model_name(0)).unwrap_or("unknown");
        Self {
            kernel: std::fs::read_to_string("/proc/sys/kernel/osrelease")
                .map_or("unknown".into(), |text| text.trim().to_owned()),
            cpu: model.to_owned(),
            cores: cpu.as_ref().map_or(0, procfs::CpuInfo::num_cores),
            memory_bytes: procfs::Meminfo::current().map_or(0, |memory| memory.mem_total),
            version: env!("CARGO_PKG_VERSION").into(),
            command: std::env::args().collect::<Vec<_>>().join(" "),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_ids_are_checked() {
        let good: Watched = "gateway=12".parse().expect("good");
        assert_eq!((good.name.as_str(), good.pid), ("gateway", 12));
        for bad in ["gateway", "=12", "gateway=", "gateway=-1", "gateway=x"] {
            assert!(bad.parse::<Watched>().is_err(), "{bad}");
        }
    }

    #[test]
    fn this_process_is_seen_and_a_missing_one_is_named() {
        let gone = Watched {
            name: "gone".into(),
            pid: i32::MAX,
        };
        let (mut processes, missing) = Processes::new(&[gone]);
        assert_eq!(missing, ["gone"]);
        let usages = processes.read(1.0);
        assert!(usages["client-sim"].memory_bytes > 1 << 20);
        assert!(Environment::here().cores > 0);
    }
}
