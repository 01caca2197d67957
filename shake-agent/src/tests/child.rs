//! A test that runs in a process of its own, which may die at a named step.

use super::support::PATIENCE;
use crate::crash::DIE_AT;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// What a process is stopped by that aborts.
pub const ABORT: i32 = 6;

/// Starts the test of this name, which finds its directory in the variable.
pub fn spawn(test: &str, variable: &str, directory: &Path, die_at: Option<&str>) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", test, "--nocapture"])
        .env(variable, directory)
        .env_remove(DIE_AT)
        .stdout(Stdio::null());
    if let Some(die_at) = die_at {
        command.env(DIE_AT, die_at).stderr(Stdio::null());
    }
    command.spawn().unwrap()
}

/// Waits for its end.
pub fn wait(child: &mut Child) -> ExitStatus {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if begun.elapsed() > PATIENCE {
            child.kill().unwrap();
            panic!("the child hangs");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}
