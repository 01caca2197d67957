//! A ledger in a file on the simulated disk and, beside it, in maps that know no faults. What the file gives must be what the maps
//! have; after a fault it has all of the transaction that failed, or nothing of it.

use super::super::conformance::memory::{Content, Memory};
use crate::ledger::{
    Differences, Incarnation, LedgerError, Listing, Look, Needed, Reached, Seen, Sqlite, Standing, Store, View,
};
use shake_rules::{PacketId, UnixMillis};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

/// What outlives an agent: what is committed, and what a transaction would have made of it that failed or was cut off.
#[derive(Clone, Debug, Default)]
pub struct Maps(Arc<Mutex<(Memory, Option<Content>)>>);

impl Maps {
    fn get(&self) -> MutexGuard<'_, (Memory, Option<Content>)> {
        // An agent that dies may do so in a commit.
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn committed(&self) -> Memory {
        self.get().0.clone()
    }
}

#[derive(Debug)]
pub struct Twin {
    file: Sqlite,
    maps: Maps,
}

impl Twin {
    pub fn open(path: &Path, maps: &Maps) -> Result<Self, LedgerError> {
        let (file, maps) = (Sqlite::open(path)?, maps.clone());
        Ok(Self { file, maps })
    }

    pub fn checkpoint(&self) -> Result<(), LedgerError> {
        self.file.checkpoint()
    }

    /// Whether the file has this content. How often a small commit was tried in between is nobody's to know.
    fn has(&self, content: &Content, found: &Standing, incarnation: Incarnation) -> Result<bool, LedgerError> {
        let memory = Memory::of(content.clone());
        let expected = Standing {
            stamp: found.stamp,
            ..memory.standing(incarnation)?
        };
        if expected != *found || content.standing.stamp > found.stamp {
            return Ok(false);
        }
        let needed = Needed {
            packets: content.packets.keys().copied().collect(),
            users: content.users.keys().copied().collect(),
            shares: content.shares.keys().copied().collect(),
            offers: content.offers.iter().map(|(row, _)| (row.packet, row.user)).collect(),
            sends: content.sends.keys().copied().collect(),
            lanes: content.lanes.keys().copied().collect(),
            ..Needed::default()
        };
        let (mut found, mut expected) = (View::default(), View::default());
        self.file.load(&needed, &mut found)?;
        memory.load(&needed, &mut expected)?;
        Ok(found == expected)
    }
}

impl Store for Twin {
    fn place(&self) -> &Path {
        self.file.place()
    }

    fn standing(&self, incarnation: Incarnation) -> Result<Standing, LedgerError> {
        let found = self.file.standing(incarnation)?;
        let committed = self.maps.committed().content().clone();
        let failed = self.maps.get().1.clone();
        for content in failed.into_iter().chain([committed]) {
            if self.has(&content, &found, incarnation)? {
                let mut content = content;
                content.standing.stamp = found.stamp;
                *self.maps.get() = (Memory::of(content), None);
                return Ok(found);
            }
        }
        panic!("the file has neither what was committed nor what was tried: {found:?}");
    }

    fn reopen(&mut self) -> Result<Reached, LedgerError> {
        self.file.reopen()
    }

    fn begin(&mut self) -> Result<(), LedgerError> {
        self.file.begin()
    }

    fn load(&self, needed: &Needed, view: &mut View) -> Result<(), LedgerError> {
        let (mut found, mut expected) = (View::default(), View::default());
        self.file.load(needed, &mut found)?;
        let committed = self.maps.committed();
        committed.load(needed, &mut expected)?;
        assert_eq!(found, expected);
        committed.load(needed, view)
    }

    fn list(&self, listing: &Listing, view: &mut View) -> Result<Vec<PacketId>, LedgerError> {
        let (mut found, mut expected) = (View::default(), View::default());
        let listed = self.file.list(listing, &mut found)?;
        let committed = self.maps.committed();
        assert_eq!(committed.list(listing, &mut expected)?, listed, "{listing:?}");
        assert_eq!(found, expected);
        committed.list(listing, view)
    }

    fn commit(&mut self, differences: &Differences) -> Result<(), LedgerError> {
        let mut content = self.maps.committed().content().clone();
        content.apply(differences);
        self.maps.get().1 = Some(content);
        self.file.commit(differences)?;
        let mut maps = self.maps.get();
        let content = maps.1.take().expect("it was put there above");
        maps.0 = Memory::of(content);
        Ok(())
    }

    fn roll_back(&mut self) {
        self.file.roll_back();
    }

    fn look(&self, look: &Look) -> Result<Seen, LedgerError> {
        let found = self.file.look(look)?;
        // Nobody looks between a failure and the next opening but phones, who are shown what is committed: it may be either.
        if self.maps.get().1.is_none() {
            assert_eq!(found, self.maps.committed().look(look)?, "{look:?}");
        }
        Ok(found)
    }

    fn are_out(&self) -> Result<bool, LedgerError> {
        let found = self.file.are_out()?;
        if self.maps.get().1.is_none() {
            assert_eq!(found, self.maps.committed().are_out()?);
        }
        Ok(found)
    }

    fn first_due(&self) -> Result<Option<UnixMillis>, LedgerError> {
        let found = self.file.first_due()?;
        if self.maps.get().1.is_none() {
            assert_eq!(found, self.maps.committed().first_due()?);
        }
        Ok(found)
    }

    fn last_lost(&self) -> Result<Option<UnixMillis>, LedgerError> {
        self.file.last_lost()
    }
}
