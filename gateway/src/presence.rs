//! Who is here: the sessions of each user, at most four, in all shards.
//!
//! Shared by all shards, because one user may hold connections to several. It is written to when a session says Hello and when
//! it ends, and read for gifts and notices: a shake never looks at it. What changes with each packet, the time at which a
//! session was last heard of, stands beside it in a number for each session that only its own shard writes.
//!
//! A fifth session is not refused, or who stole a token could lock out its owner. The one that was silent for the longest gives
//! way, which mostly is one whose phone is long gone. It is displaced here; its own shard closes it once it sees that.

mod heard;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use heard::Heard;
use shake_rules::UserId;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

/// Sessions of one user.
pub const SESSIONS_MAX: usize = 4;
/// Tables that the users are spread over. A table grows by moving all of its entries while the shards wait for it; with
/// so many, at a million users each has two thousand.
const TABLES: usize = 512;
/// Displaced sessions that a shard is told of between two turns. Of more it learns when it comes by on its rounds.
const DISPLACED_MAX: usize = 1_024;

/// A session: its shard, its index there, and the serial that tells it from others of the same index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionRef {
    pub index: u32,
    pub serial: u32,
    pub shard: u16,
}

/// The sessions of a user, in the order of their last Hellos. Nearly all users have one.
enum UserSessions {
    One(SessionRef),
    More(Box<Several>),
}

#[derive(Clone, Copy)]
struct Several {
    sessions: [SessionRef; SESSIONS_MAX],
    count: usize,
}

const _: () = assert!(size_of::<UserSessions>() == 16, "one for every user who is here");

pub struct Presence {
    users: DashMap<UserId, UserSessions>,
    shards: Box<[OfShard]>,
    began: Instant,
}

/// On cache lines of its own.
#[repr(align(128))]
struct OfShard {
    heard: Heard,
    /// Users whose first session is here.
    firsts: AtomicUsize,
    /// There is something in `displaced`.
    has_displaced: AtomicBool,
    /// Sessions of this shard that newer ones displaced.
    displaced: Mutex<Vec<SessionRef>>,
}

impl Presence {
    /// For so many shards of so many sessions each, which their number may exceed by those that are being closed.
    pub fn new(shards: u16, sessions_max: usize) -> Self {
        let of_shard = |_| OfShard {
            heard: Heard::new(sessions_max),
            firsts: AtomicUsize::new(0),
            has_displaced: AtomicBool::new(false),
            displaced: Mutex::default(),
        };
        Self {
            users: DashMap::with_shard_amount(TABLES),
            shards: (0..shards).map(of_shard).collect(),
            began: Instant::now(),
        }
    }

    /// A packet of this shard's session came. One store, without a lock.
    pub fn hear(&self, shard: u16, session: usize, now: Instant) {
        self.of(shard)
            .heard
            .note(session, now.saturating_duration_since(self.began));
    }

    /// A session said Hello: it is its user's newest. When the user has too many, it displaces the one that was silent for the
    /// longest.
    pub fn join(&self, user: UserId, session: SessionRef, now: Instant) {
        self.hear(session.shard, session.index as usize, now);
        let displaced = match self.users.entry(user) {
            Entry::Vacant(entry) => {
                entry.insert(UserSessions::One(session));
                self.change_firsts(None, Some(session));
                None
            }
            Entry::Occupied(mut entry) => {
                let mut several = entry.get().all();
                let first = several.first();
                several.remove(session);
                let displaced = (several.count == SESSIONS_MAX).then(|| self.displace_longest_silent(&mut several));
                several.push(session);
                self.change_firsts(first, several.first());
                entry.insert(several.packed());
                displaced
            }
        };
        if let Some(displaced) = displaced {
            self.of(displaced.shard).tell(displaced);
        }
    }

    fn displace_longest_silent(&self, several: &mut Several) -> SessionRef {
        let heard = |session: &&SessionRef| self.of(session.shard).heard.of(session.index as usize);
        let displaced = several.as_slice().iter().min_by_key(heard);
        let displaced = *displaced.expect("it is full");
        several.remove(displaced);
        displaced
    }

    /// A session ended.
    pub fn leave(&self, user: UserId, session: SessionRef) {
        let Entry::Occupied(mut entry) = self.users.entry(user) else {
            return;
        };
        let mut several = entry.get().all();
        let first = several.first();
        several.remove(session);
        self.change_firsts(first, several.first());
        if several.count == 0 {
            entry.remove();
        } else {
            entry.insert(several.packed());
        }
    }

    /// Whether a session is among its user's, and was not displaced.
    pub fn is_present(&self, user: UserId, session: SessionRef) -> bool {
        let sessions = self.users.get(&user);
        sessions.is_some_and(|sessions| sessions.all().as_slice().contains(&session))
    }

    /// Whether a session is its user's first. Each user has just one, however many sessions and shards.
    pub fn is_first(&self, user: UserId, session: SessionRef) -> bool {
        self.users
            .get(&user)
            .is_some_and(|sessions| sessions.all().first() == Some(session))
    }

    /// Of the user's sessions in this shard the one that said Hello last.
    pub fn newest_in(&self, shard: u16, user: UserId) -> Option<SessionRef> {
        let all = self.users.get(&user)?.all();
        all.as_slice().iter().rfind(|session| session.shard == shard).copied()
    }

    /// The share of all users whose first session is in this shard; zero when nobody is here.
    pub fn share_of(&self, shard: u16) -> f64 {
        let all: usize = self.shards.iter().map(|shard| shard.firsts.load(Relaxed)).sum();
        self.of(shard).firsts.load(Relaxed) as f64 / all.max(1) as f64
    }

    /// Takes note of the sessions of this shard that newer ones displaced.
    pub fn take_displaced(&self, shard: u16, into: &mut Vec<SessionRef>) {
        let shard = self.of(shard);
        // Relaxed, for the lock orders the rest; what is missed now is seen in the next turn.
        if shard.has_displaced.load(Relaxed) {
            let mut displaced = shard.displaced.lock().expect("nobody panics while holding it");
            shard.has_displaced.store(false, Relaxed);
            into.append(&mut displaced);
        }
    }

    fn change_firsts(&self, before: Option<SessionRef>, after: Option<SessionRef>) {
        let shard = |session: Option<SessionRef>| session.map(|session| session.shard);
        if shard(before) == shard(after) {
            return;
        }
        if let Some(before) = before {
            self.of(before.shard).firsts.fetch_sub(1, Relaxed);
        }
        if let Some(after) = after {
            self.of(after.shard).firsts.fetch_add(1, Relaxed);
        }
    }

    fn of(&self, shard: u16) -> &OfShard {
        &self.shards[usize::from(shard)]
    }
}

impl OfShard {
    fn tell(&self, session: SessionRef) {
        let mut displaced = self.displaced.lock().expect("nobody panics while holding it");
        if displaced.len() < DISPLACED_MAX {
            displaced.push(session);
        }
        self.has_displaced.store(true, Relaxed);
    }
}

impl UserSessions {
    fn all(&self) -> Several {
        match self {
            Self::One(session) => Several {
                sessions: [*session; SESSIONS_MAX],
                count: 1,
            },
            Self::More(several) => **several,
        }
    }
}

impl Several {
    fn as_slice(&self) -> &[SessionRef] {
        &self.sessions[..self.count]
    }

    fn first(&self) -> Option<SessionRef> {
        self.as_slice().first().copied()
    }

    fn remove(&mut self, session: SessionRef) {
        if let Some(at) = self.as_slice().iter().position(|one| *one == session) {
            self.sessions.copy_within(at + 1..self.count, at);
            self.count -= 1;
        }
    }

    /// There is room.
    fn push(&mut self, session: SessionRef) {
        self.sessions[self.count] = session;
        self.count += 1;
    }

    /// There is one at least.
    fn packed(self) -> UserSessions {
        match self.as_slice() {
            [only] => UserSessions::One(*only),
            _ => UserSessions::More(Box::new(self)),
        }
    }
}

#[cfg(test)]
mod tests;
