//! `reload --pid`: SIGHUP to a gateway of this machine, and what became of it, by the report that it leaves in its state
//! directory. For service managers: it needs no operator's certificate, and its exit code says whether the files were taken.

use crate::control::report::{self, Report};
use anyhow::{Context, Result, bail};
use host::console;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// The longest wait for the report. The shards take new files within milliseconds; reading them may wait for a disk.
const PATIENCE: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Has the gateway of this process read its files anew. `state` is its state directory.
pub fn reload(pid: i32, state: Option<&Path>) -> Result<ExitCode> {
    let state = state.context("[state] directory is empty, so the gateway has no place to say what becomes of it")?;
    let before = report::read(state);
    let process = Pid::from_raw(pid);
    kill(process, Signal::SIGHUP).with_context(|| format!("cannot signal process {pid}"))?;
    let began = Instant::now();
    loop {
        match report::read(state) {
            Some(report) if before.as_ref() != Some(&report) => return tell(&report),
            _ if kill(process, None).is_err() => bail!("process {pid} has ended"),
            _ if began.elapsed() >= PATIENCE => bail!(
                "process {pid} has not said in {} s what became of it; is {} its state directory?",
                PATIENCE.as_secs(),
                state.display()
            ),
            _ => std::thread::sleep(LOOK_EVERY),
        }
    }
}

fn tell(report: &Report) -> Result<ExitCode> {
    let result = if report.is_done { "reloaded" } else { "REFUSED" };
    let lines: String = report.lines.iter().map(|line| format!("\n    {line}")).collect();
    console::line(&format!("{result}  {}{lines}", report.message))?;
    Ok(if report.is_done {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
