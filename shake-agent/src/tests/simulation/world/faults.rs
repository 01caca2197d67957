//! What befalls the world: deaths, broken disks, lost power, replaced mappings, clocks that jump.

use super::World;
use crate::tests::support::geometry;
use shm_queue::Mapping;

impl World {
    pub(super) fn fault(&mut self) {
        match self.party.below(16) {
            0 => {
                self.party.note("gateway died");
                self.party.gate = None;
            }
            1 => {
                self.party.note("agent killed");
                self.kill_agent();
            }
            2 => {
                let after = self.party.below(30) as u32;
                self.disk.state().dies_after = Some(after);
            }
            3 => {
                let room = self.party.below(40_000) as usize;
                self.party.note("disk full");
                self.disk.state().room = Some(room);
            }
            4 => {
                let syncs = 1 + self.party.below(3) as u32;
                self.party.note("sync failed");
                self.disk.state().failing_syncs = syncs;
            }
            5 => {
                let writes = 1 + self.party.below(3) as u32;
                self.party.note("write failed");
                self.disk.state().failing_writes = writes;
            }
            6 if self.party.below(2) == 0 => self.lose_power(),
            7 => self.checkpoint(),
            8 => self.party.give(),
            9 => drop(self.event.assert_balanced()),
            10 => self.replace_mapping(),
            11 => {
                self.party.note("clock jumped");
                let far = 2_000 + self.party.below(300_000) as i64;
                self.time.off_ms = if self.party.below(2) == 0 { far } else { -far };
            }
            12 => {
                self.party.note("clock set right");
                self.time.off_ms = 0;
            }
            _ => self.disk.state().mend(),
        }
    }

    pub(super) fn kill_agent(&mut self) {
        self.disk.state().kill();
        self.back = None;
        self.bury();
    }

    /// The machine goes down: unsynced writes are lost or torn, and the rings, which lie in memory, are gone.
    pub(super) fn lose_power(&mut self) {
        self.party.note("power lost");
        self.disk.state().lose_power();
        self.back = None;
        self.party.gate = None;
        self.bury();
        Mapping::remove(&self.event.path("rings")).unwrap();
        self.rings = Mapping::create(&self.event.path("rings"), &geometry(self.party.shards())).unwrap();
    }

    /// Somebody removes the mapping, and the next gateway makes another. An agent that lives reads the old one to its end
    /// first, however long its ledger cannot be written; one that dies meanwhile never sees it again.
    pub(super) fn replace_mapping(&mut self) {
        if self.party.below(3) > 0 || self.old_rings.is_some() {
            return;
        }
        self.party.note("mapping replaced");
        self.party.gate = None;
        Mapping::remove(&self.event.path("rings")).unwrap();
        self.rings = Mapping::create(&self.event.path("rings"), &geometry(self.party.shards())).unwrap();
        self.old_rings = self.back.as_mut().map(|back| {
            back.agent.pause_feed(true);
            back.lanes.ends()
        });
    }

    pub(super) fn checkpoint(&mut self) {
        let Some(back) = &self.back else { return };
        // On a broken disk it fails, and nothing comes of it.
        let done = back.agent.ledger().store().checkpoint().is_ok();
        if done {
            self.party.note("checkpoint");
        }
        self.find_the_dead();
    }
}
