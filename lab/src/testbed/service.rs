//! A program that runs beside the others: its output goes to a file, it says when it is ready, it is ended in bounded
//! time, and it never outlives this one's interest in it.

use anyhow::{Context, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use procfs::process::Process;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};
use xtask::interrupt::Interrupt;

/// How often waits look again.
const TICK: Duration = Duration::from_millis(20);
/// How long a signal may take to show.
const SIGNAL: Duration = Duration::from_secs(2);
/// Lines of a log that an error shows.
const LOG_LINES: usize = 15;

/// A program that serves until it is told to end. Dropping it kills it.
pub struct Service {
    name: &'static str,
    child: Running,
    log: PathBuf,
    notices: Notices,
}

impl Service {
    /// Starts the program with stdout and stderr into `log`, in a process group of its own, so that Ctrl-C at the
    /// terminal reaches only this program, which then ends the others in order.
    pub fn start(name: &'static str, command: Command, log: PathBuf) -> anyhow::Result<Self> {
        let output = log.clone();
        Self::start_with_output(name, command, log, &output)
    }

    /// The same with stdout into another file.
    pub fn start_with_output(
        name: &'static str,
        mut command: Command,
        log: PathBuf,
        output: &Path,
    ) -> anyhow::Result<Self> {
        let create = |path: &Path| File::create(path).with_context(|| format!("cannot write {}", path.display()));
        let errors = create(&log)?;
        let output = if output == log {
            errors
                .try_clone()
                .with_context(|| format!("cannot write {}", log.display()))?
        } else {
            create(output)?
        };
        let notices = Notices::bind(name)?;
        command
            .stdout(output)
            .stderr(errors)
            .env("NOTIFY_SOCKET", &notices.path);
        Ok(Self {
            name,
            child: Running::start(name, command)?,
            log,
            notices,
        })
    }

    /// An error, with the end of the log, when the program is not running any more.
    pub fn check(&mut self) -> anyhow::Result<()> {
        match self.child.0.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("{} ended too early ({status}); {}", self.name, self.log_end()),
        }
    }

    /// Waits until the program says that it is ready.
    ///
    /// # Errors
    /// When it does not in this time, ends before, or the user interrupts.
    pub fn wait_ready(&mut self, patience: &Patience<'_>) -> anyhow::Result<()> {
        let deadline = patience.deadline();
        let mut notice = [0; 1024];
        loop {
            match self.notices.socket.recv(&mut notice) {
                Ok(length)
                    if notice[..length]
                        .split(|&byte| byte == b'\n')
                        .any(|line| line == b"READY=1") =>
                {
                    return Ok(());
                }
                Ok(_) => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) => return Err(error).with_context(|| format!("cannot receive from {}", self.name)),
            }
            patience.interrupt.check()?;
            self.check()?;
            if Instant::now() > deadline {
                bail!(
                    "{} was not ready within {} s; {}",
                    self.name,
                    patience.at_most.as_secs(),
                    self.log_end()
                );
            }
        }
    }

    /// How it ended; `None` while it runs.
    pub fn ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        self.child
            .0
            .try_wait()
            .with_context(|| format!("cannot wait for {}", self.name))
    }

    /// Waits until it has ended by itself.
    ///
    /// # Errors
    /// When it does not in this time, did not exit with 0, or the user interrupts.
    pub fn wait_end(mut self, patience: &Patience<'_>) -> anyhow::Result<()> {
        let deadline = patience.deadline();
        let status = loop {
            if let Some(status) = self.ended()? {
                break status;
            }
            patience.interrupt.check()?;
            let seconds = patience.at_most.as_secs();
            if Instant::now() > deadline {
                bail!(
                    "{} did not end by itself within {seconds} s; {}",
                    self.name,
                    self.log_end()
                );
            }
            thread::sleep(TICK);
        };
        if !status.success() {
            bail!("{} ended with {status}; {}", self.name, self.log_end());
        }
        Ok(())
    }

    /// Kills it; gives how it ended.
    pub fn kill(mut self) -> anyhow::Result<ExitStatus> {
        let mut kill = || {
            self.child.0.kill()?;
            self.child.0.wait()
        };
        kill().with_context(|| format!("cannot kill {}", self.name))
    }

    /// Asks the program to end, and waits.
    ///
    /// # Errors
    /// When it had to be killed, or did not exit with 0.
    pub fn end(mut self, at_most: Duration) -> anyhow::Result<()> {
        self.check()?;
        kill(self.pid(), Signal::SIGTERM).with_context(|| format!("cannot send SIGTERM to {}", self.name))?;
        let deadline = Instant::now() + at_most;
        let status = loop {
            if let Some(status) = self.child.0.try_wait()? {
                break status;
            }
            if Instant::now() > deadline {
                // Dropping `self` kills it.
                bail!(
                    "{} did not end within {} s of SIGTERM; {}",
                    self.name,
                    at_most.as_secs(),
                    self.log_end()
                );
            }
            thread::sleep(TICK);
        };
        if !status.success() {
            bail!("{} ended with {status}; {}", self.name, self.log_end());
        }
        Ok(())
    }

    /// Stops it with SIGSTOP, until [`resume`](Self::resume); true when the kernel says that it stands still.
    ///
    /// # Errors
    /// When the signal cannot be sent, or /proc cannot be read.
    pub fn stop(&self) -> anyhow::Result<bool> {
        kill(self.pid(), Signal::SIGSTOP).with_context(|| format!("cannot send SIGSTOP to {}", self.name))?;
        let until = Instant::now() + SIGNAL;
        while Instant::now() < until {
            let stat = Process::new(self.pid().as_raw()).and_then(|process| process.stat());
            if stat.context("cannot read /proc")?.state == 'T' {
                return Ok(true);
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(false)
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// When the signal cannot be sent.
    pub fn resume(&self) -> anyhow::Result<()> {
        kill(self.pid(), Signal::SIGCONT).with_context(|| format!("cannot send SIGCONT to {}", self.name))
    }

    /// The process.
    pub fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.0.id()).expect("Linux process ids are at most 2^22"))
    }

    /// The last lines of its log, for an error.
    pub fn log_end(&self) -> String {
        end_of(&self.log)
    }
}

/// How long to wait, and what ends the wait early.
pub struct Patience<'a> {
    /// The longest wait.
    pub at_most: Duration,
    /// The user.
    pub interrupt: &'a Interrupt,
}

impl Patience<'_> {
    fn deadline(&self) -> Instant {
        Instant::now() + self.at_most
    }
}

/// How a program that was run to its end ended.
pub struct Ended {
    name: &'static str,
    code: ExitStatus,
    output: PathBuf,
}

impl Ended {
    /// It exited with 0.
    pub fn is_success(&self) -> bool {
        self.code.success()
    }

    /// An error unless it exited with 0.
    pub fn success(&self) -> anyhow::Result<()> {
        if !self.is_success() {
            bail!("{} ended with {}; {}", self.name, self.code, end_of(&self.output));
        }
        Ok(())
    }
}

/// Runs a program to its end, with stdout into `output`; stderr passes through. `meanwhile` is asked again and again;
/// its error, like the end of patience, ends the program.
pub fn run_to_file(
    name: &'static str,
    mut command: Command,
    output: &Path,
    patience: &Patience<'_>,
    mut meanwhile: impl FnMut() -> anyhow::Result<()>,
) -> anyhow::Result<Ended> {
    let file = File::create(output).with_context(|| format!("cannot write {}", output.display()))?;
    command.stdout(file);
    let mut child = Running::start(name, command)?;
    let deadline = patience.deadline();
    loop {
        if let Some(code) = child.0.try_wait()? {
            return Ok(Ended {
                name,
                code,
                output: output.to_owned(),
            });
        }
        patience.interrupt.check()?;
        meanwhile()?;
        if Instant::now() > deadline {
            bail!("{name} did not end within {} s", patience.at_most.as_secs());
        }
        thread::sleep(TICK);
    }
}

/// A child process that is killed when it is dropped.
struct Running(Child);

impl Running {
    fn start(name: &str, mut command: Command) -> anyhow::Result<Self> {
        let child = command.stdin(Stdio::null()).process_group(0).spawn();
        child
            .map(Self)
            .with_context(|| format!("cannot start {name} ({})", command.get_program().display()))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only when the program has ended and been waited for, which is what they are for.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The last lines of a log, for an error.
fn end_of(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    let end = &lines[lines.len().saturating_sub(LOG_LINES)..];
    format!("the end of {}:\n  {}", log.display(), end.join("\n  "))
}

/// The socket to which the program sends `READY=1`, by the protocol of sd_notify(3).
struct Notices {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Notices {
    /// In the directory for temporary files, because a socket's path has at most 107 bytes.
    fn bind(name: &str) -> anyhow::Result<Self> {
        // Of one name there may be several.
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Relaxed);
        let path = std::env::temp_dir().join(format!("shake-xtask-{}-{name}-{number}.socket", std::process::id()));
        // One of an earlier process with the same number, if any.
        let _ = fs::remove_file(&path);
        let socket = UnixDatagram::bind(&path).with_context(|| format!("cannot bind {}", path.display()))?;
        let notices = Self { socket, path };
        notices
            .socket
            .set_read_timeout(Some(TICK))
            .context("cannot bound the wait for a notice")?;
        Ok(notices)
    }
}

impl Drop for Notices {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    /// A shell script as a service, and its log, which goes away with the test.
    fn shell(name: &'static str, script: &str) -> (Service, RemovedLater) {
        let log = std::env::temp_dir().join(format!("xtask-test-{}-{name}.log", std::process::id()));
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        let service = Service::start(name, command, log.clone()).unwrap();
        (service, RemovedLater(log))
    }

    struct RemovedLater(PathBuf);

    impl Drop for RemovedLater {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.0);
        }
    }

    /// Waits until the script has said that its trap stands.
    fn wait_for_log(service: &Service, word: &str) {
        let deadline = Instant::now() + LONG;
        while !service.log_end().contains(word) {
            assert!(Instant::now() < deadline, "{}", service.log_end());
            thread::sleep(TICK);
        }
    }

    #[test]
    fn ends_when_asked() {
        // As the real runs do: whatever is done here about signals, the program must still hear of its own.
        let _interrupt = Interrupt::watch().unwrap();
        let (service, _log) = shell("obeys", "trap 'exit 0' TERM; echo set; while :; do sleep 0.01; done");
        wait_for_log(&service, "set");
        let pid = service.pid();
        service.end(LONG).unwrap();
        assert!(kill(pid, None).is_err(), "it is gone");
    }

    #[test]
    fn is_killed_when_it_does_not_end() {
        let (service, _log) = shell("ignores", "trap '' TERM; echo set; while :; do sleep 0.01; done");
        wait_for_log(&service, "set");
        let pid = service.pid();
        let error = service.end(Duration::from_millis(100)).unwrap_err().to_string();
        assert!(error.contains("did not end") && error.contains("set"), "{error}");
        assert!(kill(pid, None).is_err(), "it is gone");
    }

    #[test]
    fn an_early_end_is_told_with_the_log() {
        let (mut service, _log) = shell("fails", "echo 'no such file' >&2; exit 3");
        let error = service
            .wait_ready(&Patience {
                at_most: LONG,
                interrupt: &Interrupt::default(),
            })
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("exit status: 3") && error.contains("no such file"),
            "{error}"
        );
    }

    #[test]
    fn ready_is_what_the_program_says() {
        let (mut service, _log) = shell("slow", "echo \"$NOTIFY_SOCKET\"; sleep 600");
        wait_for_log(&service, ".socket");
        let program = UnixDatagram::unbound().unwrap();
        program.connect(&service.notices.path).unwrap();
        program.send(b"STATUS=reading the seed\n").unwrap();
        let short = Patience {
            at_most: Duration::from_millis(60),
            interrupt: &Interrupt::default(),
        };
        assert!(service.wait_ready(&short).is_err());
        program.send(b"STATUS=serving\nREADY=1\n").unwrap();
        service
            .wait_ready(&Patience {
                at_most: LONG,
                interrupt: &Interrupt::default(),
            })
            .unwrap();
    }
}
