//! The agent's steady clock, looked after by a thread of its own. The agent leads: a gateway beside it goes by its clock, so
//! that no end is ever judged by a clock that is behind the one that made it.

use host::clock::{Clock, Keeper, monotonic_ms};
use shake_proto::handoff::topology::SILENT_MS_MAX;
use shm_queue::{Mapping, Side};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tracing::warn;

/// Time between looks at the machine's clocks.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Keeps the clock until it is dropped.
#[derive(Debug)]
pub struct Timekeeper {
    shared: Arc<Shared>,
    clock: Clock,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    keeper: Mutex<Keeper>,
    stop: AtomicBool,
}

impl Timekeeper {
    /// Starts by the clock of a gateway that runs already at this mapping, else by the wall clock.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn spawn(queue: &Path) -> io::Result<Self> {
        let beside = Mapping::open(queue).ok().and_then(|mapping| clock_of(&mapping));
        let keeper = Keeper::start(beside);
        let clock = keeper.clock();
        let shared = Arc::new(Shared {
            keeper: Mutex::new(keeper),
            stop: AtomicBool::new(false),
        });
        let theirs = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("timekeeper".into())
            .spawn(move || keep(&theirs))?;
        Ok(Self {
            shared,
            clock,
            thread: Some(thread),
        })
    }

    /// The clock.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Goes by the clock of the gateway that lives at this mapping: its tickets are out. From then on the agent leads.
    pub fn meet(&self, mapping: &Mapping) {
        if let Some(offset_ms) = clock_of(mapping) {
            look(&self.shared, Some(offset_ms));
        }
    }
}

impl Drop for Timekeeper {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A panic there was reported by the panic hook.
            let _ = thread.join();
        }
    }
}

fn clock_of(mapping: &Mapping) -> Option<i64> {
    mapping.peer(Side::Front).clock(monotonic_ms(), SILENT_MS_MAX)
}

fn keep(shared: &Shared) {
    while !shared.stop.load(Ordering::Relaxed) {
        look(shared, None);
        thread::park_timeout(LOOK_EVERY);
    }
}

fn look(shared: &Shared, leads: Option<i64>) {
    // Whatever happened to another holder: an offset is one number.
    let mut keeper = shared.keeper.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(step_ms) = keeper.look(leads) {
        warn!(step_ms, "the clock was set, and is followed from now on");
    }
}
