//! What a process has used so far, as the kernel counts it.

use anyhow::Context;
use nix::unistd::Pid;
use procfs::process::Process;
use std::time::Duration;

/// Totals of one process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// CPU time of all threads, in user and kernel mode, in whole clock ticks (10 ms).
    pub cpu: Duration,
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
            Ok::<_, procfs::ProcError>((process.stat()?, process.status()?))
        };
        let (stat, status) = read().with_context(|| format!("cannot read /proc/{pid}"))?;
        let ticks = stat.utime + stat.stime;
        Ok(Self {
            cpu: Duration::from_secs_f64(ticks as f64 / procfs::ticks_per_second() as f64),
            resident_bytes: status.vmrss.unwrap_or_default() * 1024,
            resident_bytes_max: status.vmhwm.unwrap_or_default() * 1024,
        })
    }
}
