//! The heartbeat: tells the gateway that the agent lives, also while a commit is slow. A thread of its own beats for as long
//! as the loop made progress lately, so an agent that hangs for good does not look alive.

use host::clock::{self, Clock};
use shm_queue::Attachment;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tracing::error;

/// Time between beats; the gateway expects one at least every 100 ms.
const BEAT_EVERY: Duration = Duration::from_millis(40);
/// A loop that made no turn for so long counts as hung: no commit of a working disk takes this long.
const HUNG_AFTER_MS: u64 = 10_000;

/// Beats until it is dropped.
#[derive(Debug)]
pub struct Heartbeat {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    /// When the loop began its last turn, CLOCK_MONOTONIC in milliseconds.
    progress_ms: AtomicU64,
    stop: AtomicBool,
}

impl Heartbeat {
    /// Starts to beat, and to tell the clock. The attachment is held until this is dropped.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn spawn(attachment: Attachment, clock: Clock) -> io::Result<Self> {
        attachment.set_clock(clock.offset_ms());
        let shared = Arc::new(Shared {
            progress_ms: AtomicU64::new(clock::monotonic_ms()),
            stop: AtomicBool::new(false),
        });
        let theirs = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("heartbeat".into())
            .spawn(move || beat(&attachment, &clock, &theirs))?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// The loop begins a turn.
    pub fn progress(&self, now_ms: u64) {
        self.shared.progress_ms.store(now_ms, Ordering::Relaxed);
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A panic there was reported by the panic hook.
            let _ = thread.join();
        }
    }
}

fn beat(attachment: &Attachment, clock: &Clock, shared: &Shared) {
    let mut hung = false;
    while !shared.stop.load(Ordering::Relaxed) {
        let now_ms = clock::monotonic_ms();
        let still_ms = now_ms.saturating_sub(shared.progress_ms.load(Ordering::Relaxed));
        if still_ms < HUNG_AFTER_MS {
            attachment.set_clock(clock.offset_ms());
            attachment.beat(now_ms);
            hung = false;
        } else if !hung {
            hung = true;
            error!(
                still_ms,
                "the agent hangs (the disk, as a rule); it stops to tell the gateway that it lives"
            );
        }
        thread::park_timeout(BEAT_EVERY);
    }
}
