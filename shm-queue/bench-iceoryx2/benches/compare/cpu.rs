//! Which CPUs the two processes run on.

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// The CPUs that this process may use. To be asked before it is bound to one.
pub fn allowed() -> Vec<usize> {
    let set = sched_getaffinity(Pid::from_raw(0)).expect("the calling thread exists");
    (0..CpuSet::count())
        .filter(|cpu| set.is_set(*cpu).unwrap_or(false))
        .collect()
}

/// Binds the calling thread to one CPU.
pub fn bind(cpu: usize) {
    let mut set = CpuSet::new();
    set.set(cpu).expect("an allowed CPU");
    sched_setaffinity(Pid::from_raw(0), &set).expect("an allowed CPU");
}
