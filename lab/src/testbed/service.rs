//! A program that runs beside the others: its output goes to a file, it says when it is ready, it is ended in bounded
//! time, and it never outlives this one, however that ends.

use anyhow::{Context, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use procfs::process::Process;
use std::env;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
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
        command.env("NOTIFY_SOCKET", &notices.path);
        Ok(Self {
            name,
            child: Running::start(name, &command, output, errors.into())?,
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
        let ready = patience.wait(|| {
            let is_ready = self.notices.is_ready();
            if is_ready.with_context(|| format!("cannot receive from {}", self.name))? {
                return Ok(Some(()));
            }
            self.check()?;
            Ok(None)
        })?;
        ready.with_context(|| {
            let (name, seconds) = (self.name, patience.at_most.as_secs());
            format!("{name} was not ready within {seconds} s; {}", self.log_end())
        })
    }

    /// Waits for the first line that the program prints.
    ///
    /// # Errors
    /// When there is none in this time, the program ends before, or the user interrupts.
    pub fn wait_line(&mut self, patience: &Patience<'_>) -> anyhow::Result<String> {
        let line = patience.wait(|| {
            let text = fs::read_to_string(&self.log);
            let text = text.with_context(|| format!("cannot read {}", self.log.display()))?;
            if let Some((line, _)) = text.split_once('\n') {
                return Ok(Some(line.to_owned()));
            }
            self.check()?;
            Ok(None)
        })?;
        line.with_context(|| {
            let (name, seconds) = (self.name, patience.at_most.as_secs());
            format!("{name} printed nothing within {seconds} s")
        })
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
        let ended = patience.wait(|| self.ended())?;
        let status = ended.with_context(|| {
            let (name, seconds) = (self.name, patience.at_most.as_secs());
            format!("{name} did not end by itself within {seconds} s; {}", self.log_end())
        })?;
        self.success(status)
    }

    fn success(&self, status: ExitStatus) -> anyhow::Result<()> {
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
        // Also when the user wants an end of everything: in order.
        let interrupt = &Interrupt::default();
        let ended = Patience { at_most, interrupt }.wait(|| self.ended())?;
        // Dropping `self` kills it.
        let status = ended.with_context(|| {
            let (name, seconds) = (self.name, at_most.as_secs());
            format!("{name} did not end within {seconds} s of SIGTERM; {}", self.log_end())
        })?;
        self.success(status)
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
    /// Asks again and again until there is an answer; none when the time is over.
    ///
    /// # Errors
    /// What `ask` fails with; when the user interrupts.
    pub fn wait<T>(&self, mut ask: impl FnMut() -> anyhow::Result<Option<T>>) -> anyhow::Result<Option<T>> {
        let deadline = Instant::now() + self.at_most;
        loop {
            if let Some(answer) = ask()? {
                return Ok(Some(answer));
            }
            self.interrupt.check()?;
            if Instant::now() > deadline {
                return Ok(None);
            }
            thread::sleep(TICK);
        }
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
    command: Command,
    output: &Path,
    patience: &Patience<'_>,
    mut meanwhile: impl FnMut() -> anyhow::Result<()>,
) -> anyhow::Result<Ended> {
    let file = File::create(output).with_context(|| format!("cannot write {}", output.display()))?;
    let mut child = Running::start(name, &command, file, Stdio::inherit())?;
    let ended = patience.wait(|| {
        let ended = child.0.try_wait()?;
        if ended.is_none() {
            meanwhile()?;
        }
        Ok(ended)
    })?;
    let code = ended.with_context(|| format!("{name} did not end within {} s", patience.at_most.as_secs()))?;
    Ok(Ended {
        name,
        code,
        output: output.to_owned(),
    })
}

/// A child process that is killed when it is dropped, and by the kernel when this process dies before that.
struct Running(Child);

impl Running {
    /// Starts a command by way of setpriv (util-linux), which has the kernel kill it with the thread that started it, and
    /// becomes the command.
    fn start(name: &str, command: &Command, output: File, errors: Stdio) -> anyhow::Result<Self> {
        let mut guarded = Command::new(setpriv()?);
        guarded
            .args(["--pdeathsig", "KILL", "--"])
            .arg(command.get_program())
            .args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => guarded.env(name, value),
                None => guarded.env_remove(name),
            };
        }
        if let Some(directory) = command.get_current_dir() {
            guarded.current_dir(directory);
        }
        guarded.stdin(Stdio::null()).stdout(output).stderr(errors);
        let child = guarded.process_group(0).spawn();
        child
            .map(Self)
            .with_context(|| format!("cannot start {name}: cannot run setpriv"))
    }
}

/// Where setpriv is, by this process's own path: a command may have another, with a setpriv that only plays it.
fn setpriv() -> anyhow::Result<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut places = env::split_paths(&path).map(|folder| folder.join("setpriv"));
    places
        .find(|place| place.is_file())
        .context("setpriv is not installed; it is of util-linux")
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
        let nonblocking = notices.socket.set_nonblocking(true);
        nonblocking.context("cannot bound the wait for a notice")?;
        Ok(notices)
    }

    /// Whether the program has said so since it was asked last.
    fn is_ready(&self) -> io::Result<bool> {
        let mut notice = [0; 1024];
        loop {
            match self.socket.recv(&mut notice) {
                Ok(length)
                    if notice[..length]
                        .split(|&byte| byte == b'\n')
                        .any(|line| line == b"READY=1") =>
                {
                    return Ok(true);
                }
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
    }
}

impl Drop for Notices {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests;
