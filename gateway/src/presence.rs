//! Who is here: the sessions of each user, at most four, in all shards.
//!
//! Shared by all shards, because one user may hold connections to several. It is written to when a session says Hello and when
//! it ends, and read for gifts and notices: a shake never looks at it. What changes with each packet, the time at which a
//! session was last heard of, stands beside it in a number for each session that only its own shard writes.
//!
//! A fifth session is not refused, or who stole a token could lock out its owner. The one that was silent for the longest gives
//! way, which mostly is one whose phone is long gone. Its seat is taken here; its own shard closes it once it sees that.

mod heard;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use heard::Heard;
use shake_rules::UserId;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

/// Sessions of one user.
pub const SEATS: usize = 4;
/// Tables that the users are spread over. A table grows by moving all of its entries while the shards wait for it; with
/// so many, at a million users each has two thousand.
const TABLES: usize = 512;
/// Seats that a shard is told of between two turns. Of more it learns when it comes by on its rounds.
const TAKEN_MAX: usize = 1_024;

/// A session: its shard, its index there, and the serial that tells it from others of the same index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionRef {
    pub session: u32,
    pub serial: u32,
    pub shard: u16,
}

/// The sessions of a user, in the order of their last Hellos. Nearly all users have one.
enum Seats {
    One(SessionRef),
    More(Box<Several>),
}

#[derive(Clone, Copy)]
struct Several {
    seats: [SessionRef; SEATS],
    count: usize,
}

const _: () = assert!(size_of::<Seats>() == 16, "one for every user who is here");

pub struct Presence {
    seats: DashMap<UserId, Seats>,
    shards: Box<[OfShard]>,
    began: Instant,
}

/// On cache lines of its own.
#[repr(align(128))]
struct OfShard {
    heard: Heard,
    /// Users whose first seat is here.
    firsts: AtomicUsize,
    /// There is something in `taken`.
    has_taken: AtomicBool,
    /// Seats of this shard's sessions that were given to newer ones.
    taken: Mutex<Vec<SessionRef>>,
}

impl Presence {
    /// For so many shards of so many sessions each, which their number may exceed by those that are being closed.
    pub fn new(shards: u16, sessions_max: usize) -> Self {
        let of_shard = |_| OfShard {
            heard: Heard::new(sessions_max),
            firsts: AtomicUsize::new(0),
            has_taken: AtomicBool::new(false),
            taken: Mutex::default(),
        };
        Self {
            seats: DashMap::with_shard_amount(TABLES),
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

    /// A session said Hello: it has its user's newest seat. When the user has too many, the longest silent one loses its own.
    pub fn sit(&self, user: UserId, seat: SessionRef, now: Instant) {
        self.hear(seat.shard, seat.session as usize, now);
        let taken = match self.seats.entry(user) {
            Entry::Vacant(entry) => {
                entry.insert(Seats::One(seat));
                self.change_firsts(None, Some(seat));
                None
            }
            Entry::Occupied(mut entry) => {
                let mut several = entry.get().all();
                let first = several.first();
                several.remove(seat);
                let taken = (several.count == SEATS).then(|| self.take_longest_silent(&mut several));
                several.push(seat);
                self.change_firsts(first, several.first());
                entry.insert(several.packed());
                taken
            }
        };
        if let Some(taken) = taken {
            self.of(taken.shard).tell(taken);
        }
    }

    fn take_longest_silent(&self, several: &mut Several) -> SessionRef {
        let heard = |seat: &&SessionRef| self.of(seat.shard).heard.of(seat.session as usize);
        let taken = several.as_slice().iter().min_by_key(heard);
        let taken = *taken.expect("it is full");
        several.remove(taken);
        taken
    }

    /// A session ended.
    pub fn leave(&self, user: UserId, seat: SessionRef) {
        let Entry::Occupied(mut entry) = self.seats.entry(user) else {
            return;
        };
        let mut several = entry.get().all();
        let first = several.first();
        several.remove(seat);
        self.change_firsts(first, several.first());
        if several.count == 0 {
            entry.remove();
        } else {
            entry.insert(several.packed());
        }
    }

    /// Whether a session has a seat.
    pub fn sits(&self, user: UserId, seat: SessionRef) -> bool {
        let seats = self.seats.get(&user);
        seats.is_some_and(|seats| seats.all().as_slice().contains(&seat))
    }

    /// Whether a session has its user's first seat. Each user has just one, however many sessions and shards.
    pub fn sits_first(&self, user: UserId, seat: SessionRef) -> bool {
        self.seats
            .get(&user)
            .is_some_and(|seats| seats.all().first() == Some(seat))
    }

    /// Of the user's sessions in this shard the one that said Hello last.
    pub fn newest_in(&self, shard: u16, user: UserId) -> Option<SessionRef> {
        let all = self.seats.get(&user)?.all();
        all.as_slice().iter().rfind(|seat| seat.shard == shard).copied()
    }

    /// The share of all users whose first seat is in this shard; zero when nobody is here.
    pub fn share_of(&self, shard: u16) -> f64 {
        let all: usize = self.shards.iter().map(|shard| shard.firsts.load(Relaxed)).sum();
        self.of(shard).firsts.load(Relaxed) as f64 / all.max(1) as f64
    }

    /// Takes note of the seats of this shard's sessions that were given to newer ones.
    pub fn take_taken(&self, shard: u16, into: &mut Vec<SessionRef>) {
        let shard = self.of(shard);
        // Relaxed, for the lock orders the rest; what is missed now is seen in the next turn.
        if shard.has_taken.load(Relaxed) {
            let mut taken = shard.taken.lock().expect("nobody panics while holding it");
            shard.has_taken.store(false, Relaxed);
            into.append(&mut taken);
        }
    }

    fn change_firsts(&self, before: Option<SessionRef>, after: Option<SessionRef>) {
        let shard = |seat: Option<SessionRef>| seat.map(|seat| seat.shard);
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
    fn tell(&self, seat: SessionRef) {
        let mut taken = self.taken.lock().expect("nobody panics while holding it");
        if taken.len() < TAKEN_MAX {
            taken.push(seat);
        }
        self.has_taken.store(true, Relaxed);
    }
}

impl Seats {
    fn all(&self) -> Several {
        match self {
            Self::One(seat) => Several {
                seats: [*seat; SEATS],
                count: 1,
            },
            Self::More(several) => **several,
        }
    }
}

impl Several {
    fn as_slice(&self) -> &[SessionRef] {
        &self.seats[..self.count]
    }

    fn first(&self) -> Option<SessionRef> {
        self.as_slice().first().copied()
    }

    fn remove(&mut self, seat: SessionRef) {
        if let Some(at) = self.as_slice().iter().position(|one| *one == seat) {
            self.seats.copy_within(at + 1..self.count, at);
            self.count -= 1;
        }
    }

    /// There is room.
    fn push(&mut self, seat: SessionRef) {
        self.seats[self.count] = seat;
        self.count += 1;
    }

    /// There is one at least.
    fn packed(self) -> Seats {
        match self.as_slice() {
            [only] => Seats::One(*only),
            _ => Seats::More(Box::new(self)),
        }
    }
}

#[cfg(test)]
mod tests;
