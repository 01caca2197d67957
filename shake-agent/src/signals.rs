//! SIGTERM and SIGINT: the first asks the agent to end in good order, the second ends it at once. SIGHUP, by which the gateway
//! reads its keys anew, changes nothing: the agent follows keys and show by itself.

use nix::sys::signal::{SigSet, Signal};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use tracing::info;

/// What comes this soon after the first is the same wish: `timeout`, terminals with a supervisor and the like signal the
/// process and its group both.
const SAME_WISH: Duration = Duration::from_millis(500);
/// Exit code after a second signal: 128 + SIGINT, as shells have it.
const EXIT_AT_ONCE: i32 = 130;

/// Whether the agent was asked to end.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Blocks the signals in this thread and those it starts from now on, and waits for them in a thread of its own. Call
    /// it before any other thread is started.
    ///
    /// # Errors
    /// When the mask cannot be set or the thread not be started.
    pub fn on_signals() -> io::Result<Self> {
        let mut signals = SigSet::empty();
        signals.add(Signal::SIGTERM);
        signals.add(Signal::SIGINT);
        signals.add(Signal::SIGHUP);
        signals.thread_block()?;
        let stop = Self::default();
        let theirs = stop.clone();
        thread::Builder::new().name("signals".into()).spawn(move || {
            // An error of `wait` means a set that the kernel does not know: this one it knows.
            let mut first: Option<Instant> = None;
            while let Ok(signal) = signals.wait() {
                if signal == Signal::SIGHUP {
                    info!("SIGHUP: keys and show are followed as they change, and nothing else is read anew; restart for a new configuration");
                    continue;
                }
                match first {
                    Some(at) if at.elapsed() < SAME_WISH => continue,
                    Some(_) => std::process::exit(EXIT_AT_ONCE),
                    None => first = Some(Instant::now()),
                }
                theirs.ask();
                info!(%signal, "ending in good order; a second signal ends at once");
            }
        })?;
        Ok(stop)
    }

    /// Asks the agent to end.
    pub fn ask(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it was asked.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
