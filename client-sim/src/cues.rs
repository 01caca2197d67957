//! Gives the cues of a scenario: runs the operator's command lines at their times, one after the other, beside the run.
//!
//! ```text
//! observer ── begin(origin, start) ──▶ thread "cues" ── at its time ──▶ child process ──▶ CueGiven
//! ```
//! A cue that fails is a line of the report, not the end of the run. Ending the cues kills a child that still runs.

use crate::scenario::Cue;
use crate::schedule::Micros;
use serde::{Deserialize, Serialize};
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A command that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(30);
/// Time between two looks at a child.
const LOOK: Duration = Duration::from_millis(5);
/// How long the last words of a failed command are waited for.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// Longest part kept of what a failed command says, in characters.
const SAID_CHARS_MAX: usize = 400;

/// A cue that was given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CueGiven {
    /// Its name.
    pub name: String,
    /// The command line.
    pub command: String,
    /// When its program was started, since the start of the run.
    pub started_s: f64,
    /// How long it took.
    pub took_ms: f64,
    /// What went wrong: `not_started`, `exit_<code>`, `killed`, `timed_out`; nothing when all is well.
    pub error: Option<String>,
    /// What the program said, when it failed.
    pub said: String,
}

impl CueGiven {
    /// When its program was started, in milliseconds since the start of the run.
    pub(crate) fn started_ms(&self) -> u64 {
        (self.started_s * 1e3) as u64
    }
}

/// The thread that gives them.
#[derive(Debug)]
pub struct Cues {
    thread: JoinHandle<Vec<CueGiven>>,
    /// Dropped to end them.
    end: Sender<()>,
}

impl Cues {
    /// Starts giving cues, whose times count from `start`, a time since `origin`.
    ///
    /// # Errors
    /// When there is no thread for it.
    pub fn begin(cues: Vec<Cue>, origin: Instant, start: Micros) -> std::io::Result<Self> {
        let (end, is_over) = channel();
        let thread = std::thread::Builder::new().name("cues".into()).spawn(move || {
            let mut given = Vec::new();
            for cue in &cues {
                let at = origin + Duration::from(start.plus(cue.at));
                if !sleep_until(at, &is_over) {
                    break;
                }
                given.push(give(cue, origin, &is_over));
            }
            given
        })?;
        Ok(Self { thread, end })
    }

    /// Gives no more; what was given.
    #[must_use]
    pub fn end(self) -> Vec<CueGiven> {
        drop(self.end);
        self.thread
            .join()
            .expect("the thread runs programs and keeps what they say; it asserts nothing")
    }
}

/// Says whether the time has come, rather than the end.
fn sleep_until(at: Instant, is_over: &Receiver<()>) -> bool {
    let wait = at.saturating_duration_since(Instant::now());
    matches!(is_over.recv_timeout(wait), Err(RecvTimeoutError::Timeout))
}

fn give(cue: &Cue, origin: Instant, is_over: &Receiver<()>) -> CueGiven {
    let started = Instant::now();
    let (error, said) = run(cue, started, is_over);
    CueGiven {
        name: cue.name.clone(),
        command: cue.command.join(" "),
        started_s: started.saturating_duration_since(origin).as_secs_f64(),
        took_ms: started.elapsed().as_secs_f64() * 1e3,
        error,
        said,
    }
}

/// Runs the command line. Gives the name of what went wrong, and what the program said to it.
fn run(cue: &Cue, started: Instant, is_over: &Receiver<()>) -> (Option<String>, String) {
    let [program, arguments @ ..] = &cue.command[..] else {
        return (Some("not_started".into()), "the command is empty".into());
    };
    // One pipe for both: the operator's program tells a refusal where it tells a success.
    let spawn = || {
        let (said, says) = std::io::pipe()?;
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null());
        let child = command.stdout(says.try_clone()?).stderr(says).spawn()?;
        Ok((child, said))
    };
    let (mut child, mut said) = match spawn() {
        Ok(both) => both,
        Err(error) => {
            let error: std::io::Error = error;
            return (Some("not_started".into()), format!("{program}: {error}"));
        }
    };
    // Read beside the waiting: a program that says much must not wait for its reader.
    let (tell, told) = channel();
    std::thread::spawn(move || {
        let mut text = Vec::new();
        let _ = said.by_ref().take(SAID_CHARS_MAX as u64 * 4).read_to_end(&mut text);
        let _ = tell.send(String::from_utf8_lossy(&text).trim().to_owned());
        let _ = std::io::copy(&mut said, &mut std::io::sink()); // a closed pipe would kill who says more
    });
    let error = wait(&mut child, started, is_over);
    if error.is_none() {
        return (None, String::new());
    }
    // A child of the program's own may hold the pipe open; it is not waited for.
    let said = told.recv_timeout(LAST_WORDS).unwrap_or_default();
    (error, said.chars().take(SAID_CHARS_MAX).collect())
}

fn wait(child: &mut Child, started: Instant, is_over: &Receiver<()>) -> Option<String> {
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => return None,
            Ok(Some(status)) => {
                return Some(status.code().map_or("killed".into(), |code| format!("exit_{code}")));
            }
            Ok(None) => {}
            Err(error) => return Some(format!("lost_{}", error.kind())),
        }
        let is_late = started.elapsed() > PATIENCE;
        if !sleep_until(Instant::now() + LOOK, is_over) || is_late {
            let _ = child.kill(); // it may have ended by itself meanwhile
            let _ = child.wait();
            return Some(if is_late { "timed_out".into() } else { "killed".into() });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cue(at_ms: u64, name: &str, command: &[&str]) -> Cue {
        Cue {
            at: Micros::from_ms(at_ms),
            name: name.into(),
            command: command.iter().map(|part| (*part).to_owned()).collect(),
        }
    }

    #[test]
    fn commands_run_in_their_turn_and_errors_have_names() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let file = folder.path().join("said");
        let program = folder.path().join("operator.sh");
        let script = format!("#!/bin/sh\necho \"$@\" >> {}\n", file.display());
        std::fs::write(&program, script).expect("written");
        let program = program.display().to_string();
        let cues = vec![
            cue(0, "warm", &["sh", &program, "cue", "warm", "--in", "2s"]),
            cue(20, "main", &["sh", &program, "cue", "main"]),
            cue(30, "refused", &["sh", "-c", "echo no such; echo phase >&2; exit 3"]),
            cue(40, "missing", &["/nonexistent/program"]),
        ];
        let cues = Cues::begin(cues, Instant::now(), Micros::ZERO).expect("a thread");
        while !cues.thread.is_finished() {
            std::thread::sleep(LOOK);
        }
        let given = cues.end();
        let errors: Vec<_> = given.iter().map(|given| given.error.as_deref()).collect();
        assert_eq!(errors, [None, None, Some("exit_3"), Some("not_started")]);
        assert_eq!(given[2].said, "no such\nphase");
        assert!(given[3].said.contains("/nonexistent/program"));
        assert!(given.windows(2).all(|pair| pair[0].started_s <= pair[1].started_s));
        assert!(given[1].started_ms() >= 20);
        let said = std::fs::read_to_string(&file).expect("the program wrote it");
        assert_eq!(said, "cue warm --in 2s\ncue main\n");
    }

    #[test]
    fn who_says_much_is_heard_out() {
        let cues = vec![cue(0, "loud", &["sh", "-c", "yes | head -c 300000; exit 4"])];
        let cues = Cues::begin(cues, Instant::now(), Micros::ZERO).expect("a thread");
        while !cues.thread.is_finished() {
            std::thread::sleep(LOOK);
        }
        let given = cues.end();
        assert_eq!(given[0].error.as_deref(), Some("exit_4"));
        assert_eq!(given[0].said.chars().count(), SAID_CHARS_MAX);
    }

    #[test]
    fn the_end_of_the_run_ends_a_command_and_gives_no_more() {
        let cues = vec![cue(0, "long", &["sleep", "600"]), cue(0, "never", &["true"])];
        let cues = Cues::begin(cues, Instant::now(), Micros::ZERO).expect("a thread");
        std::thread::sleep(Duration::from_millis(50));
        let given = cues.end();
        assert!(given.len() <= 1);
        assert!(given.iter().all(|given| given.error.as_deref() == Some("killed")));
    }
}
