//! The real program as a process.
#![allow(
    dead_code,
    missing_docs,
    clippy::unwrap_used,
    reason = "each test binary uses a part of it"
)]

use crate::support::{Event, PATIENCE};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// The program, in the event's directory.
pub fn agent(event: &Event) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shake-agent"));
    command
        .current_dir(event.directory.path())
        .env_remove("RUST_LOG")
        .env_remove("NOTIFY_SOCKET");
    command
}

/// A running agent, killed when the test ends early.
pub struct Running(Child);

impl Running {
    pub fn start(event: &Event) -> Self {
        Self::start_as(event, ["run", "--config", "agent.toml"])
    }

    /// By these arguments alone.
    pub fn start_as<'a>(event: &Event, arguments: impl IntoIterator<Item = &'a str>) -> Self {
        let mut command = agent(event);
        command.args(arguments).stderr(Stdio::null());
        Self::of(command)
    }

    /// What this command starts.
    pub fn of(mut command: Command) -> Self {
        Self(command.spawn().unwrap())
    }

    /// Where no file may become larger than `bytes`: writes beyond it fail, as on a full disk.
    pub fn start_with_room(event: &Event, bytes: u64) -> Self {
        // A signal that is ignored stays so over exec; without that, the first write over the limit would end the program.
        let script = "trap '' XFSZ; exec \"$0\" run --config agent.toml";
        let agent = agent(event);
        let mut command = Command::new("prlimit");
        command
            .arg(format!("--fsize={bytes}:unlimited"))
            .args(["sh", "-c", script])
            .arg(agent.get_program())
            .current_dir(event.directory.path())
            .stderr(Stdio::null());
        Self(command.spawn().unwrap())
    }

    /// Makes room on the disk.
    pub fn make_room(&self) {
        let pid = self.0.id().to_string();
        let status = Command::new("prlimit")
            .args(["--fsize=unlimited:unlimited", "--pid", &pid])
            .status();
        assert!(status.unwrap().success());
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.0.id().cast_signed()), signal).unwrap();
    }

    pub fn wait(&mut self) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status;
            }
            assert!(begun.elapsed() < PATIENCE, "the agent does not end");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
