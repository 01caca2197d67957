//! The agent's side of the rings, in the test's own process and on the test's own time.

use super::support::{Event, ring, show};
use crate::counters::Counters;
use crate::feed::Feed;
use crate::lanes::{Lanes, LanesError};
use crate::ledger::{Ledger, Sqlite, Store};
use crate::requests::{Judge, Rules};
use crate::seed_file::SeedFile;
use crate::turn::{Agent, Turn};
use rand::SeedableRng;
use rand::rngs::StdRng;
use shake_rules::show::Show;
use shake_rules::{Cents, UnixMillis};
use shm_queue::{Mapping, Side};
use std::sync::Arc;

/// Most requests in one of its commits.
pub const BATCH_MAX: usize = 512;
/// The time at which an agent is opened.
pub const NOW: UnixMillis = UnixMillis(1);

pub struct Back<S = Sqlite> {
    pub agent: Agent<S>,
    pub lanes: Lanes,
    pub counters: Arc<Counters>,
    pub now: UnixMillis,
}

/// What an agent is opened with.
pub struct Setting {
    pub show: Show,
    pub now: UnixMillis,
    /// Draws the shares.
    pub rng: u64,
}

impl Back {
    pub fn open(event: &Event) -> Result<Self, LanesError> {
        Self::open_at(event, NOW)
    }

    pub fn open_at(event: &Event, now: UnixMillis) -> Result<Self, LanesError> {
        let show = Show {
            gift_budget: Cents(0),
            ..show()
        };
        let mapping = Mapping::open(&event.path("rings"))?;
        Self::open_on(&mapping, event, Setting { show, now, rng: 7 })
    }

    /// On rings that are there.
    pub fn open_on(mapping: &Mapping, event: &Event, setting: Setting) -> Result<Self, LanesError> {
        Self::serve(Ledger::open(&event.ledger())?, mapping, event, setting)
    }
}

impl<S: Store> Back<S> {
    /// Serves a ledger on rings that are there.
    pub fn serve(
        mut ledger: Ledger<S>,
        mapping: &Mapping,
        event: &Event,
        setting: Setting,
    ) -> Result<Self, LanesError> {
        let Setting { show, now, rng } = setting;
        let counters = Arc::new(Counters::default());
        let seed = SeedFile::open(&event.seed()).unwrap();
        let bound = ledger.bind_seed(&seed, show.gift_budget, now)?;
        let attachment = mapping.attach(Side::Back, 1)?;
        let mut lanes = Lanes::open(&attachment, &mut ledger, Arc::clone(&counters), now)?;
        let identity = bound.identity.expect("every ledger of this version has one");
        let judge = Judge::new(
            Rules::new(&show, 0),
            identity,
            &ring(),
            StdRng::seed_from_u64(rng),
            Arc::clone(&counters),
        );
        let feed = Feed::new(seed, &bound, show.phases, 8);
        let mut agent = Agent::new(ledger, feed, judge, Arc::clone(&counters), BATCH_MAX);
        agent.recover_grants(&mut lanes, now)?;
        Ok(Self {
            agent,
            lanes,
            counters,
            now,
        })
    }

    /// Turns until there is nothing to do.
    pub fn work(&mut self) {
        while self.agent.turn(&mut self.lanes, self.now) == Turn::Worked {}
    }

    /// So much time passes while it works as it should: it commits now and then.
    pub fn live_for(&mut self, ms: u64) {
        let end = self.now.plus_ms(ms);
        while self.now < end {
            self.now = self.now.plus_ms(500).min(end);
            self.work();
        }
    }

    /// It moves over to other rings, as the real one does when its mapping was replaced.
    pub fn bind(&mut self, mapping: &Mapping) -> Result<(), LanesError> {
        let attachment = mapping.attach(Side::Back, 1)?;
        let (ledger, counters) = (self.agent.ledger_mut(), &self.counters);
        let mut lanes = Lanes::open(&attachment, ledger, Arc::clone(counters), self.now)?;
        self.agent.recover_grants(&mut lanes, self.now)?;
        self.lanes = lanes;
        Ok(())
    }

    /// So much time passes, in which it does nothing, and then it works.
    pub fn work_after(&mut self, ms: u64) {
        self.now = self.now.plus_ms(ms);
        self.work();
    }

    pub fn is_read_only(&self) -> bool {
        self.agent.ledger().failure().is_some()
    }
}
