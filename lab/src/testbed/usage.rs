//! What processes have used so far, and what the host kept from the machine, as the kernel counts it.

use anyhow::Context;
use nix::unistd::Pid;
use procfs::process::Process;
use procfs::{CurrentSI, KernelStats};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Totals of one process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// CPU time of all threads, in user and kernel mode, in whole clock ticks (10 ms).
    pub cpu: Duration,
    /// Times that a thread of it went to sleep of its own accord.
    pub sleeps: u64,
    /// Resident memory now, in bytes.
    pub resident_bytes: u64,
    /// The most that it ever was.
    pub resident_bytes_max: u64,
}

impl Usage {
    /// Reads the totals of a living process.
    pub fn of(pid: Pid) -> anyhow::Result<Self> {
        let read = || {
            let process = Process::new(pid.as_raw())?;
            let mut sleeps = 0;
            // The status of a process counts its first thread alone.
            for task in process.tasks()? {
                sleeps += task?.status()?.voluntary_ctxt_switches.unwrap_or_default();
            }
            Ok::<_, procfs::ProcError>((process.stat()?, process.status()?, sleeps))
        };
        let (stat, status, sleeps) = read().with_context(|| format!("cannot read /proc/{pid}"))?;
        let ticks = stat.utime + stat.stime;
        Ok(Self {
            cpu: Duration::from_secs_f64(ticks as f64 / procfs::ticks_per_second() as f64),
            sleeps,
            resident_bytes: status.vmrss.unwrap_or_default() * 1024,
            resident_bytes_max: status.vmhwm.unwrap_or_default() * 1024,
        })
    }
}

/// CPU time that the host of this virtual machine gave to others while programs here wanted it, since it was started, as
/// a share of one processor's for each that there is: 1 s of both processors of two is 1 s. What is measured while much
/// is stolen says little. Nothing where the kernel does not tell.
pub fn stolen() -> Duration {
    let Ok(stats) = KernelStats::current() else {
        return Duration::ZERO;
    };
    let ticks = stats.total.steal.unwrap_or_default() as f64 / stats.cpu_time.len().max(1) as f64;
    Duration::from_secs_f64(ticks / procfs::ticks_per_second() as f64)
}

/// Reads processes again and again, in a thread of its own, until it is asked for what it read.
pub struct Sampler {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Samples>,
}

/// What was read, in order of time.
#[derive(Debug, Default)]
pub struct Samples(Vec<Sample>);

/// One reading of all processes, in the order in which they were named.
#[derive(Debug)]
struct Sample {
    at_unix_ms: u64,
    usages: Vec<Usage>,
    stolen: Duration,
}

/// What a process did in a span of time.
#[derive(Clone, Copy, Debug)]
pub struct Spell {
    /// How long it was.
    pub length: Duration,
    /// CPU time of all threads.
    pub cpu: Duration,
    /// Times that a thread went to sleep.
    pub sleeps: u64,
    /// The share of the machine's CPU time that its host gave to others, 0 to 1 ([`stolen`]).
    pub stolen_share: f64,
}

impl Sampler {
    /// Between two readings.
    const EVERY: Duration = Duration::from_millis(100);

    /// Reads these processes from now on. One that has ended keeps its last reading.
    pub fn watch(pids: Vec<Pid>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut samples = Samples::default();
            let mut usages = vec![Usage::default(); pids.len()];
            // Relaxed: the flag guards no other memory.
            while !stopped.load(Ordering::Relaxed) {
                for (usage, pid) in usages.iter_mut().zip(&pids) {
                    *usage = Usage::of(*pid).unwrap_or(*usage);
                }
                samples.0.push(Sample {
                    at_unix_ms: unix_ms(),
                    usages: usages.clone(),
                    stolen: stolen(),
                });
                thread::sleep(Self::EVERY);
            }
            samples
        });
        Self { stop, thread }
    }

    /// Ends the thread and gives what it read.
    pub fn finish(self) -> Samples {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or_default()
    }
}

impl Samples {
    /// What a process did between two moments, or rather between the readings that are nearest to them.
    pub fn between(&self, process: usize, from_unix_ms: u64, to_unix_ms: u64) -> Option<Spell> {
        let at = |moment: u64| self.0.iter().min_by_key(|sample| sample.at_unix_ms.abs_diff(moment));
        let (first, last) = (at(from_unix_ms)?, at(to_unix_ms)?);
        let length_ms = last.at_unix_ms.checked_sub(first.at_unix_ms)?;
        let (before, after) = (first.usages.get(process)?, last.usages.get(process)?);
        let length = Duration::from_millis(length_ms);
        (length_ms > 0).then(|| Spell {
            length,
            cpu: after.cpu.saturating_sub(before.cpu),
            sleeps: after.sleeps.saturating_sub(before.sleeps),
            stolen_share: last.stolen.saturating_sub(first.stolen).as_secs_f64() / length.as_secs_f64(),
        })
    }

    /// The most resident memory that a process ever had.
    pub fn resident_bytes_max(&self, process: usize) -> u64 {
        let most = |sample: &Sample| sample.usages.get(process).map(|usage| usage.resident_bytes_max);
        self.0.iter().filter_map(most).max().unwrap_or_default()
    }

    /// Resident memory of a process when it was last read before this moment: what comes right after it, as when all phones
    /// close after the last step, is not of it.
    pub fn resident_bytes_at(&self, process: usize, unix_ms: u64) -> u64 {
        let before = self.0.iter().rfind(|sample| sample.at_unix_ms < unix_ms);
        before
            .or(self.0.first())
            .and_then(|sample| sample.usages.get(process))
            .map_or(0, |usage| usage.resident_bytes)
    }
}

/// Milliseconds since 1970.
pub fn unix_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| now.as_millis() as u64)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn memory_is_of_what_was_read_before() {
        let sample = |at_unix_ms, resident_bytes| Sample {
            at_unix_ms,
            usages: vec![Usage {
                resident_bytes,
                ..Usage::default()
            }],
            stolen: Duration::ZERO,
        };
        let samples = Samples(vec![sample(1_000, 7), sample(1_100, 8), sample(1_201, 9)]);
        let read = [500, 1_100, 1_101, 1_200, 2_000].map(|at| samples.resident_bytes_at(0, at));
        assert_eq!(read, [7, 7, 8, 8, 9]);
    }

    #[test]
    fn a_process_is_watched() {
        let sampler = Sampler::watch(vec![Pid::this()]);
        let began = unix_ms();
        while unix_ms() < began + 400 {
            std::hint::black_box(began);
        }
        let samples = sampler.finish();
        let spell = samples.between(0, began, began + 400).unwrap();
        assert!(spell.cpu > Duration::ZERO && spell.length > Duration::ZERO, "{spell:?}");
        assert!((0.0..1.0).contains(&spell.stolen_share), "{spell:?}");
        assert!(samples.resident_bytes_max(0) >= samples.resident_bytes_at(0, began));
        assert!(samples.resident_bytes_at(0, began) > 0);
        assert!(
            samples.between(1, began, began + 400).is_none(),
            "there is no second process"
        );
    }
}
