//! Ctrl-C and SIGTERM as a flag that every wait looks at, so that what was started is ended in order.

use anyhow::{Context, bail};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether the user wants everything to end. Cheap to clone and to ask.
#[derive(Clone, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Takes the signals from now on. By handlers and not by a blocked mask, because child processes inherit the mask
    /// and would never hear of a SIGTERM.
    pub fn watch() -> anyhow::Result<Self> {
        let interrupt = Self::default();
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            flag::register(signal, interrupt.0.clone()).context("cannot handle signals")?;
        }
        Ok(interrupt)
    }

    /// A signal came.
    pub fn came(&self) -> bool {
        // Relaxed: the flag guards no other memory.
        self.0.load(Ordering::Relaxed)
    }

    /// An error once a signal came.
    pub fn check(&self) -> anyhow::Result<()> {
        if self.came() {
            bail!("interrupted");
        }
        Ok(())
    }
}
