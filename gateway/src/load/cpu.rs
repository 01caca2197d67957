//! CPU time: of this process, and of its control group. Shares are between two looks, and of what may be used: of a machine
//! of 64 cores a gateway of two shards uses two at the most, and is then as busy as it can be.

use host::groups::Groups;
use nix::sched::{CpuSet, sched_getaffinity};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;
use std::time::{Duration, Instant};

/// Looks at the CPU time that was used.
pub struct Cpu {
    /// Cores that this process may run on.
    cores: f64,
    shards: u16,
    groups: Groups,
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
    /// For a process that serves with so many shards.
    pub fn new(at: Instant, shards: u16, groups: Groups) -> Self {
        Self {
            cores: cores(),
            shards,
            last: Look::take(at, &groups),
            groups,
        }
    }

    /// The shares since the last call.
    pub fn look(&mut self, at: Instant) -> Shares {
        let look = Look::take(at, &self.groups);
        let elapsed_s = (look.at - self.last.at).as_secs_f64().max(1e-6);
        let share = |now: Duration, before: Duration, cores: f64| {
            (now.saturating_sub(before).as_secs_f64() / elapsed_s / cores).clamp(0.0, 1.0)
        };
        // Quotas may be changed at any time.
        let group_cores = least(self.cores, self.groups.cores());
        let own_cores = least(group_cores, Some(self.shards.into()));
        let shares = Shares {
            process: share(look.process, self.last.process, own_cores),
            cgroup: share(look.cgroup, self.last.cgroup, group_cores),
        };
        self.last = look;
        shares
    }
}

impl Look {
    fn take(at: Instant, groups: &Groups) -> Self {
        let process = process_time();
        let cgroup = groups.cpu_used().unwrap_or_default();
        Self { at, process, cgroup }
    }
}

/// CPU time of this process in all.
pub fn process_time() -> Duration {
    clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

/// The least of what there is and what is allowed, in cores; never nothing, because shares are of it.
fn least(there: f64, allowed: Option<f64>) -> f64 {
    there.min(allowed.unwrap_or(there)).max(1e-3)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_of_what_there_is_and_what_is_allowed_counts() {
        assert_eq!(least(8.0, Some(1.5)), 1.5);
        assert_eq!(least(2.0, Some(4.0)), 2.0);
        assert_eq!(least(3.0, None), 3.0);
    }

    #[test]
    fn a_gateway_whose_shards_are_busy_is_as_busy_as_it_can_be() {
        let used = process_time();
        for (shards, least_share) in [(1, 0.99), (2, 0.49)] {
            let began = Instant::now();
            let mut cpu = Cpu::new(began, shards, Groups::default());
            (cpu.cores, cpu.last.process) = (8.0, Duration::ZERO);
            // As if one core had been busy all the time.
            let share = cpu.look(began + used).process;
            assert!(share >= least_share, "{shards} shards of 8 cores: {share}");
        }
    }

    #[test]
    fn work_shows_in_the_share() {
        let began = Instant::now();
        let mut cpu = Cpu::new(began, 1, Groups::default());
        let mut sum = 0_u64;
        while began.elapsed() < Duration::from_millis(50) {
            sum = std::hint::black_box(sum.wrapping_mul(31).wrapping_add(7));
        }
        let shares = cpu.look(Instant::now());
        assert!(shares.process > 0.0 && shares.process <= 1.0, "{shares:?}");
        assert!(process_time() > Duration::ZERO && sum != 1);
    }
}
