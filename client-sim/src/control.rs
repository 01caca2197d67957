//! The channel on which a run is steered while it goes: a Unix socket that only its owner may open.
//!
//! ```text
//! client-sim ctl ── "rate 60000\n" ──▶ socket ──▶ Dial, Stop     (taken by the engine within 50 ms)
//!                ◀─ "ok …\n" or "error …\n" ──  ◀── Board        (filled by the run's observer)
//! ```
//! One connection is one request. A run without a socket is a run that nobody steers.

use crate::engine::{Dial, Snapshot, Stage, Stop};
use crate::report::Percentiles;
use crate::scenario::SHAKES_PER_SECOND_MAX;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::{Mode, umask};
use nix::unistd::getuid;
use serde::{Deserialize, Serialize};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use thiserror::Error;

/// The longest request, in bytes.
const REQUEST_BYTES_MAX: u64 = 64;
/// The longest answer, in bytes.
const ANSWER_BYTES_MAX: u64 = 4_096;
/// Who says nothing for so long is not waited for.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often the listener looks whether the run has ended.
const LOOK_MS: u16 = 100;

/// Why there is no channel.
#[derive(Debug, Error)]
pub enum ControlError {
    /// Another run has it.
    #[error("another run listens at {}; give this one a --control of its own", .0.display())]
    Taken(PathBuf),
    /// It cannot be made.
    #[error("cannot listen at {}: {source}", path.display())]
    Listen {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Nobody answers.
    #[error("no run listens at {} ({source}); is one going, with this --control?", path.display())]
    Nobody {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The run said no.
    #[error("{0}")]
    Refused(String),
}

/// How the run stands, for `ctl status`. Counts are of the whole run so far.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// What the run is busy with.
    pub stage: String,
    /// For how long, in milliseconds.
    pub stage_ms: u64,
    /// The step that is played or comes next.
    pub step: String,
    /// Its rate.
    pub shakes_per_second: u32,
    /// When it ends, since the first step began, in milliseconds.
    pub step_until_ms: u64,
    /// Sessions with a connection.
    pub online: u32,
    /// Shakes sent.
    pub sent: u64,
    /// Shakes answered.
    pub answered: u64,
    /// Shakes not answered in time.
    pub unanswered: u64,
    /// Packets opened.
    pub opened: u64,
    /// 99 of 100 answers came within so many microseconds.
    pub p99_us: u64,
}

/// What the listener tells and whom it tells it.
#[derive(Debug)]
pub(crate) struct Board<'a> {
    dial: Arc<Dial>,
    stop: &'a Stop,
    status: Mutex<Option<Status>>,
    is_over: AtomicBool,
}

impl<'a> Board<'a> {
    pub(crate) fn new(dial: Arc<Dial>, stop: &'a Stop) -> Self {
        Self {
            dial,
            stop,
            status: Mutex::new(None),
            is_over: AtomicBool::new(false),
        }
    }

    pub(crate) fn show(&self, snapshot: &Snapshot<'_>) {
        let (tally, step) = (snapshot.tally, snapshot.step);
        let status = Status {
            stage: stage_name(snapshot.stage).into(),
            stage_ms: (snapshot.stage_s * 1e3) as u64,
            step: step.name.clone(),
            shakes_per_second: step.shakes_per_second,
            step_until_ms: step.until.0 / 1_000,
            online: snapshot.online,
            sent: tally.shakes.sent,
            answered: tally.shakes.answered,
            unanswered: tally.shakes.unanswered,
            opened: tally.claims.opened,
            p99_us: Percentiles::of(&tally.latency).p99_us,
        };
        *self.status.lock().expect("nothing panics under this lock") = Some(status);
    }

    /// Ends the listener, within [`LOOK_MS`].
    pub(crate) fn close(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    /// Does what a request says; gives the answer.
    fn answer(&self, request: &str) -> Result<String, String> {
        let status = self.status.lock().expect("nothing panics under this lock").clone();
        let status = status.ok_or("the run has not begun yet; try again")?;
        match request.trim().split_once(' ') {
            None if request.trim() == "status" => serde_json::to_string(&status).map_err(|error| error.to_string()),
            None if request.trim() == "stop" => {
                self.stop.ask();
                Ok(format!("ends the {} stage", status.stage))
            }
            Some(("rate", rate)) => self.change_rate(&status, rate),
            _ => Err(format!(
                "{:?} is no request; there are status, stop and rate N",
                request.trim()
            )),
        }
    }

    fn change_rate(&self, status: &Status, rate: &str) -> Result<String, String> {
        let rate: Option<u32> = rate.parse().ok().filter(|rate| *rate <= SHAKES_PER_SECOND_MAX);
        let rate = rate.ok_or_else(|| format!("the rate must be 0 to {SHAKES_PER_SECOND_MAX} shakes per second"))?;
        if status.stage != stage_name(Stage::Shaking) {
            return Err(format!(
                "the run is {}; its rate can be changed while it is shaking",
                status.stage
            ));
        }
        self.dial.turn(rate);
        let rest_s = status.step_until_ms.saturating_sub(status.stage_ms) / 1_000;
        Ok(format!(
            "from {} to {rate} shakes/s, for the {rest_s} s that are left of this step",
            status.shakes_per_second
        ))
    }
}

fn stage_name(stage: Stage) -> &'static str {
    match stage {
        Stage::Connecting => "connecting",
        Stage::Waiting => "waiting for its start",
        Stage::Shaking => "shaking",
        Stage::Settling => "settling",
        Stage::Closing => "closing",
    }
}

/// Where a run listens unless told otherwise: one for each user of the machine.
#[must_use]
pub fn default_path() -> PathBuf {
    match std::env::var_os("XDG_RUNTIME_DIR").filter(|folder| !folder.is_empty()) {
        Some(folder) => Path::new(&folder).join("client-sim.sock"),
        None => format!("/tmp/client-sim-{}.sock", getuid()).into(),
    }
}

/// Whether a run listens there.
#[must_use]
pub fn is_taken(path: &Path) -> bool {
    UnixStream::connect(path).is_ok()
}

/// The socket of a run. Dropping it removes the file.
#[derive(Debug)]
pub(crate) struct Listener {
    listener: UnixListener,
    path: PathBuf,
}

impl Listener {
    /// Listens; the file of a run that is gone is replaced.
    pub(crate) fn open(path: &Path) -> Result<Self, ControlError> {
        if is_taken(path) {
            return Err(ControlError::Taken(path.to_owned()));
        }
        let fail = |source| ControlError::Listen {
            path: path.to_owned(),
            source,
        };
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(fail(error)),
            _ => {}
        }
        // Mode 0600 from the first moment on. The mask is the whole process's, for the length of one call.
        let before = umask(Mode::from_bits_truncate(0o177));
        let bound = UnixListener::bind(path);
        umask(before);
        let listener = bound.map_err(fail)?;
        listener.set_nonblocking(true).map_err(fail)?;
        Ok(Self {
            listener,
            path: path.to_owned(),
        })
    }

    /// Answers until the board is closed.
    pub(crate) fn serve(&self, board: &Board<'_>) {
        while !board.is_over.load(Ordering::Relaxed) {
            let mut one = [PollFd::new(self.listener.as_fd(), PollFlags::POLLIN)];
            let _ = poll(&mut one, PollTimeout::from(LOOK_MS));
            if let Ok((stream, _)) = self.listener.accept() {
                let _ = serve_one(stream, board); // who went away needs no answer
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

fn serve_one(mut stream: UnixStream, board: &Board<'_>) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut request = String::new();
    BufReader::new((&stream).take(REQUEST_BYTES_MAX)).read_line(&mut request)?;
    let answer = match board.answer(&request) {
        Ok(answer) => format!("ok {answer}\n"),
        Err(reason) => format!("error {reason}\n"),
    };
    stream.write_all(answer.as_bytes())
}

/// Asks the run that listens at `path`; gives its answer.
///
/// # Errors
/// When none listens, or when it refuses.
pub fn ask(path: &Path, request: &str) -> Result<String, ControlError> {
    let fail = |source| ControlError::Nobody {
        path: path.to_owned(),
        source,
    };
    let mut stream = UnixStream::connect(path).map_err(fail)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(fail)?;
    stream.write_all(format!("{request}\n").as_bytes()).map_err(fail)?;
    let mut answer = String::new();
    BufReader::new(stream.take(ANSWER_BYTES_MAX))
        .read_line(&mut answer)
        .map_err(fail)?;
    match answer.trim_end().split_once(' ') {
        Some(("ok", answer)) => Ok(answer.to_owned()),
        Some(("error", reason)) => Err(ControlError::Refused(reason.to_owned())),
        _ => Err(fail(io::Error::other(format!("it answered {answer:?}")))),
    }
}
