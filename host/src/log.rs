//! The log of the programs that serve. A line goes into a queue, and a thread of its own writes it to standard error.
//!
//! | what happens                          | what becomes of the line                |
//! |---------------------------------------|-----------------------------------------|
//! | the reader stands still               | it waits; from 4,096 on they are lost   |
//! | the pipe or the terminal was closed   | it is lost                              |
//! | the disk is full                      | it is lost                              |
//!
//! Whoever logs never waits, and never fails. What is lost is counted ([`lines_lost`]), and told in the log as soon as it
//! can be written again. (tracing-appender has such a queue, but writes to standard error itself, with `eprintln!`, when
//! the reader stands still at the end.)

mod filter;
mod queue;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use queue::Queue;
use std::fs::File;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The longest wait at the end for a reader that stands still.
const END_MAX: Duration = Duration::from_secs(1);

static LOST: AtomicU64 = AtomicU64::new(0);

/// Lines of the log that were lost since the start.
#[must_use]
pub fn lines_lost() -> u64 {
    LOST.load(Ordering::Relaxed)
}

/// The log, until it is dropped: that waits for what is queued, for a second at most.
pub struct Log(Queue);

/// Starts to log what is of this level, or what RUST_LOG says. Empty, RUST_LOG counts as unset; faulty, it is told and
/// the level holds. Colours only on a terminal, and not where NO_COLOR is set (<https://no-color.org>).
///
/// Panics go into the log too, so that a thread that panics never waits for its reader.
///
/// # Errors
/// What the system said: no descriptor or no thread could be had.
pub fn start(level: &str) -> io::Result<Log> {
    let stderr = io::stderr();
    let with_colours = stderr.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty());
    // Not through std's handle: its lock would be held while the reader stands still.
    let out = Descriptor(File::from(stderr.as_fd().try_clone_to_owned()?));
    let queue = Queue::start(out, &LOST)?;
    let wanted = std::env::var_os("RUST_LOG").map(|filter| filter.to_string_lossy().into_owned());
    let (filter, remark) = filter::filter(wanted.as_deref(), level);
    if let Some(remark) = remark {
        queue.line(format!("{remark}\n").as_bytes());
    }
    let writer = queue.clone();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(with_colours)
        .log_internal_errors(false)
        .with_writer(move || writer.clone())
        .init();
    tell_panics(queue.clone());
    Ok(Log(queue))
}

impl Drop for Log {
    fn drop(&mut self) {
        self.0.flush(END_MAX);
    }
}

/// The default hook writes to standard error itself, and would wait for whoever reads it.
fn tell_panics(queue: Queue) {
    std::panic::set_hook(Box::new(move |panic| {
        let thread = std::thread::current();
        let name = thread.name().unwrap_or("without a name");
        let trace = std::backtrace::Backtrace::capture();
        queue.line(format!("thread {name:?} {panic}\n{trace}\n").as_bytes());
        queue.flush(END_MAX);
    }));
}

/// A descriptor that may be set not to block: whoever shares it with us may have done so.
struct Descriptor(File);

impl Write for Descriptor {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.0.write(bytes) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    poll(
                        &mut [PollFd::new(self.0.as_fd(), PollFlags::POLLOUT)],
                        PollTimeout::NONE,
                    )?;
                }
                written => return written,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
