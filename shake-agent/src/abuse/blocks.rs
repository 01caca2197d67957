//! The blocks that hold, in the order in which they were made or changed. Each has a version that only grows, so that
//! whoever is to hear of them (a shard) asks for what came after the last that it heard of.

use shake_proto::handoff::abuse::{Block, Rule, Subject};
use shake_rules::UnixMillis;
use std::collections::{BTreeMap, HashMap};

/// Blocks at one time. Past it nobody new is blocked.
const BLOCKS_MAX: usize = 16_384;

/// A block with its reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Who.
    pub subject: Subject,
    /// The rule that was broken.
    pub rule: Rule,
    /// What was counted when it was.
    pub value: u32,
    /// Blocks of this subject that went before, within the rules' memory.
    pub earlier: u32,
    /// Since when.
    pub since: UnixMillis,
    /// Until when, unless it is lifted.
    pub until: UnixMillis,
    /// An operator lifted it. It stands here until its time is over, so that every shard hears of it.
    pub is_lifted: bool,
}

impl Held {
    /// What the shards are told.
    #[must_use]
    pub fn to_record(&self) -> Block {
        Block {
            subject: self.subject,
            until: if self.is_lifted { UnixMillis(0) } else { self.until },
            rule: self.rule,
        }
    }
}

/// All blocks.
#[derive(Debug, Default)]
pub struct Blocks {
    by_version: BTreeMap<u64, Held>,
    versions: HashMap<Subject, u64>,
    newest: u64,
}

impl Blocks {
    /// Makes a block, in place of the one that the subject may have. False when there are too many.
    pub fn put(&mut self, held: Held) -> bool {
        match self.versions.get(&held.subject) {
            Some(version) => {
                self.by_version.remove(version);
            }
            None if self.by_version.len() >= BLOCKS_MAX => return false,
            None => {}
        }
        self.newest += 1;
        self.versions.insert(held.subject, self.newest);
        self.by_version.insert(self.newest, held);
        true
    }

    /// Lifts a block. False when the subject has none.
    pub fn lift(&mut self, subject: Subject, now: UnixMillis) -> bool {
        let Some(held) = self.of(subject, now).copied() else {
            return false;
        };
        self.put(Held {
            is_lifted: true,
            ..held
        })
    }

    /// The block of a subject that holds now.
    #[must_use]
    pub fn of(&self, subject: Subject, now: UnixMillis) -> Option<&Held> {
        let held = self.by_version.get(self.versions.get(&subject)?)?;
        (!held.is_lifted && held.until > now).then_some(held)
    }

    /// Whether the subject is blocked, and for more than half of the block's time yet: what it does meanwhile is no repeat.
    #[must_use]
    pub fn is_fresh(&self, subject: Subject, now: UnixMillis) -> bool {
        self.of(subject, now)
            .is_some_and(|held| held.until.since_ms(now) * 2 > held.until.since_ms(held.since))
    }

    /// Forgets what is over. Says whether anything was.
    pub fn expire(&mut self, now: UnixMillis) -> bool {
        let before = self.by_version.len();
        self.by_version.retain(|_, held| held.until > now);
        if self.by_version.len() == before {
            return false;
        }
        let Self {
            by_version, versions, ..
        } = self;
        versions.retain(|_, version| by_version.contains_key(version));
        true
    }

    /// What was made or changed after this version, oldest first.
    pub fn after(&self, version: u64) -> impl Iterator<Item = (u64, &Held)> {
        self.by_version
            .range(version.saturating_add(1)..)
            .map(|(version, held)| (*version, held))
    }

    /// What holds now, oldest first.
    pub fn holding(&self, now: UnixMillis) -> impl Iterator<Item = &Held> {
        self.by_version
            .values()
            .filter(move |held| !held.is_lifted && held.until > now)
    }

    /// The newest version.
    #[must_use]
    pub fn newest(&self) -> u64 {
        self.newest
    }
}
