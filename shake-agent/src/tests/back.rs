//! The agent's side of the rings, in the test's own process and on the test's own time.

use super::support::{EVENT, Event, judge, show};
use crate::counters::Counters;
use crate::feed::{self, Feed};
use crate::lanes::{Lanes, LanesError};
use crate::ledger::Ledger;
use crate::seed_file::SeedFile;
use crate::turn::{Agent, Turn};
use shake_rules::{Cents, UnixMillis};
use shm_queue::{Mapping, Side};
use std::sync::Arc;

/// The time at which an agent is opened.
pub const NOW: UnixMillis = UnixMillis(1);

pub struct Back {
    pub agent: Agent,
    pub lanes: Lanes,
    pub counters: Arc<Counters>,
    pub now: UnixMillis,
}

impl Back {
    pub fn open(event: &Event) -> Result<Self, LanesError> {
        let counters = Arc::new(Counters::default());
        let seed = SeedFile::open(&event.seed()).unwrap();
        let mut ledger = Ledger::open(&event.ledger())?;
        let bound = ledger.bind_seed(&seed, Cents(0), NOW)?;
        let attachment = Mapping::open(&event.path("rings"))?.attach(Side::Back, 1)?;
        let mut lanes = Lanes::open(&attachment, &mut ledger, Arc::clone(&counters), NOW)?;
        feed::recover(&mut ledger, &mut lanes, EVENT, &counters, NOW)?;
        let feed = Feed::new(seed, &bound, show().phases, 8);
        let agent = Agent::new(ledger, feed, judge(Arc::clone(&counters)), Arc::clone(&counters), 512);
        Ok(Self {
            agent,
            lanes,
            counters,
            now: NOW,
        })
    }

    /// Turns until there is nothing to do.
    pub fn work(&mut self) {
        while self.agent.turn(&mut self.lanes, self.now) == Turn::Worked {}
    }

    /// So much time passes, and then it works.
    pub fn work_after(&mut self, ms: u64) {
        self.now = self.now.plus_ms(ms);
        self.work();
    }

    pub fn is_read_only(&self) -> bool {
        self.agent.ledger().failure().is_some()
    }
}
