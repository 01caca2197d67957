//! CPU time: of this process, and of its control group (cgroup v2). Shares are between two looks.

use nix::sched::{CpuSet, sched_getaffinity};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const CGROUPS: &str = "/sys/fs/cgroup";

/// Looks at the CPU time that was used.
pub struct Cpu {
    cores: f64,
    cgroup: Option<Cgroup>,
    last: Look,
}

#[derive(Clone, Copy)]
struct Look {
    at: Instant,
    process: Duration,
    cgroup: Duration,
}

/// CPU shares since the look before, 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shares {
    pub process: f64,
    /// Zero when there is no control group to look at.
    pub cgroup: f64,
}

impl Cpu {
    pub fn new(at: Instant) -> Self {
        let cores = cores();
        let cgroup = Cgroup::find(cores);
        let last = Look::take(at, cgroup.as_ref());
        Self { cores, cgroup, last }
    }

    /// The shares since the last call.
    pub fn look(&mut self, at: Instant) -> Shares {
        let look = Look::take(at, self.cgroup.as_ref());
        let elapsed_s = (look.at - self.last.at).as_secs_f64().max(1e-6);
        let share = |now: Duration, before: Duration, cores: f64| {
            (now.saturating_sub(before).as_secs_f64() / elapsed_s / cores).clamp(0.0, 1.0)
        };
        let limit = self.cgroup.as_ref().map_or(1.0, |cgroup| cgroup.cores);
        let shares = Shares {
            process: share(
                look.process,
                self.last.process,
                self.cores.min(limit.max(1e-3)).max(1e-3),
            ),
            cgroup: share(look.cgroup, self.last.cgroup, limit),
        };
        self.last = look;
        shares
    }
}

impl Look {
    fn take(at: Instant, cgroup: Option<&Cgroup>) -> Self {
        let process = process_time();
        let cgroup = cgroup.and_then(Cgroup::used).unwrap_or_default();
        Self { at, process, cgroup }
    }
}

/// CPU time of this process in all.
pub fn process_time() -> Duration {
    clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

/// Cores that this process may run on.
fn cores() -> f64 {
    let count = sched_getaffinity(Pid::from_raw(0)).map_or(1, |set| {
        (0..CpuSet::count())
            .filter(|&core| set.is_set(core).unwrap_or(false))
            .count()
    });
    count.max(1) as f64
}

/// The control group of this process, when cgroup v2 counts CPU time.
struct Cgroup {
    stat: PathBuf,
    /// What the group and those above it allow, in cores.
    cores: f64,
}

impl Cgroup {
    fn find(cores: f64) -> Option<Self> {
        let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
        let directory = Path::new(CGROUPS).join(own_path(&groups)?);
        let stat = directory.join("cpu.stat");
        used(&fs::read_to_string(&stat).ok()?)?;
        let limits = directory.ancestors().take_while(|path| path.starts_with(CGROUPS));
        let limit = limits
            .filter_map(|path| limit_cores(&fs::read_to_string(path.join("cpu.max")).ok()?))
            .fold(cores, f64::min);
        Some(Self { stat, cores: limit })
    }

    fn used(&self) -> Option<Duration> {
        used(&fs::read_to_string(&self.stat).ok()?)
    }
}

/// The path of the v2 group in `/proc/self/cgroup`, below the mount.
fn own_path(text: &str) -> Option<&str> {
    text.lines().find_map(|line| line.strip_prefix("0::/"))
}

/// The time in a `cpu.stat`.
fn used(text: &str) -> Option<Duration> {
    let micros = text.lines().find_map(|line| line.strip_prefix("usage_usec "))?;
    Some(Duration::from_micros(micros.trim().parse().ok()?))
}

/// The limit in a `cpu.max`, in cores; `None` for no limit.
fn limit_cores(text: &str) -> Option<f64> {
    let (quota, period) = text.trim().split_once(' ')?;
    let (quota, period): (f64, f64) = (quota.parse().ok()?, period.parse().ok()?);
    (quota > 0.0 && period > 0.0).then_some(quota / period)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_control_groups_are_read() {
        assert_eq!(
            own_path("9:cpu:/x\n0::/system.slice/gateway.service\n"),
            Some("system.slice/gateway.service")
        );
        assert_eq!(own_path("9:cpu:/x\n"), None);
        assert_eq!(
            used("usage_usec 2500000\nuser_usec 1\n"),
            Some(Duration::from_millis(2_500))
        );
        assert_eq!(used("nr_periods 0\n"), None);
        assert_eq!(limit_cores("150000 100000\n"), Some(1.5));
        assert_eq!(limit_cores("max 100000\n"), None);
    }

    #[test]
    fn work_shows_in_the_share() {
        let began = Instant::now();
        let mut cpu = Cpu::new(began);
        let mut sum = 0_u64;
        while began.elapsed() < Duration::from_millis(50) {
            sum = std::hint::black_box(sum.wrapping_mul(31).wrapping_add(7));
        }
        let shares = cpu.look(Instant::now());
        assert!(shares.process > 0.0 && shares.process <= 1.0, "{shares:?}");
        assert!(process_time() > Duration::ZERO && sum != 1);
    }
}
