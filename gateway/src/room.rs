//! Room in a full shard: who must go so that a newcomer comes in. First who is blocked, then who has not said Hello for three
//! seconds. A block itself closes nobody: each would be back with a handshake, which costs more than the packets that are
//! dropped of who stays.
//!
//! Finding somebody is bounded work for each newcomer: those without a Hello stand in a queue; the blocked are looked for a few
//! sessions at a time, for a block is of a user or a device, and no table leads from there to a session.

use crate::credentials::Credentials;
use quic_shard::CLOSING;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Who has said no Hello for so long may be closed: an honest phone says it with its first packet after the handshake.
const NAMELESS: Duration = Duration::from_secs(3);
/// Sessions looked at for each newcomer.
const LOOKS: usize = 64;
/// When all were looked at, the next look begins so long after the last.
const BETWEEN_LOOKS: Duration = Duration::from_secs(10);
/// One in so many, or a few, may be in their end while a newcomer has their place: what the shard takes beyond its limit.
const LEAVING_PART: usize = 64;
const LEAVING_FEW: usize = 8;

/// Who may be closed.
#[derive(Default)]
pub struct Room {
    /// Sessions that had not said Hello when they were put in, oldest first: index, serial, and when they came.
    nameless: VecDeque<(u32, u32, Instant)>,
    /// Where the look for the blocked stands, and when it was last at its end.
    cursor: usize,
    whole_look_at: Option<Instant>,
    /// When those were closed who made room and are not forgotten yet.
    leaving: VecDeque<Instant>,
}

impl Room {
    /// Notes a newcomer. The queue is cleared by two places of it for each that comes in, so it has as many as came within the
    /// time that a Hello may take.
    pub fn note(&mut self, index: usize, serial: u32, now: Instant, credentials: &Credentials) {
        for _ in 0..2 {
            if self
                .nameless
                .front()
                .is_some_and(|&front| !is_nameless(front, credentials))
            {
                self.nameless.pop_front();
            }
        }
        self.nameless.push_back((index as u32, serial, now));
    }

    /// How many places are still taken by those who made room.
    pub fn leaving(&mut self, now: Instant) -> usize {
        while self.leaving.front().is_some_and(|&closed| now >= closed + CLOSING) {
            self.leaving.pop_front();
        }
        self.leaving.len()
    }

    /// Whether somebody may be closed for a newcomer, in a shard of so many sessions.
    pub fn may_make(&mut self, now: Instant, sessions_max: usize) -> bool {
        self.leaving(now) < (sessions_max / LEAVING_PART).max(LEAVING_FEW)
    }

    /// Somebody was closed.
    pub fn made(&mut self, now: Instant) {
        self.leaving.push_back(now);
    }

    /// Whoever has said no Hello for the longest, if it is too long.
    pub fn take_nameless(&mut self, now: Instant, credentials: &Credentials) -> Option<usize> {
        while let Some(&front) = self.nameless.front() {
            let (index, _, came) = front;
            if !is_nameless(front, credentials) {
                self.nameless.pop_front();
            } else if now < came + NAMELESS {
                return None;
            } else {
                self.nameless.pop_front();
                return Some(index as usize);
            }
        }
        None
    }

    /// The next sessions to look at for a block, of so many.
    pub fn looks(&mut self, sessions: usize, now: Instant) -> std::ops::Range<usize> {
        if self.whole_look_at.is_some_and(|at| now < at + BETWEEN_LOOKS) {
            return 0..0;
        }
        let from = self.cursor.min(sessions);
        self.cursor = (from + LOOKS).min(sessions);
        let range = from..self.cursor;
        if self.cursor == sessions {
            (self.cursor, self.whole_look_at) = (0, Some(now));
        }
        range
    }

    /// The look for the blocked goes on behind this session.
    pub fn go_on_from(&mut self, index: usize) {
        (self.cursor, self.whole_look_at) = (index + 1, None);
    }
}

fn is_nameless((index, serial, _): (u32, u32, Instant), credentials: &Credentials) -> bool {
    let credential = credentials.of(index as usize, serial);
    credential.is_some_and(|credential| credential.user().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credentials::Proof;
    use quic_shard::memory::huge_pages::Prefaulter;
    use shake_rules::keys::{Key, KeyRing};
    use shake_rules::token::{TokenKeys, UserToken};
    use shake_rules::{UnixMillis, UserId};

    const LATER: Duration = Duration::from_secs(4);

    fn say_hello(credentials: &mut Credentials, index: usize) {
        let keys = TokenKeys::new(&KeyRing::of(Key::new(1, [1; 32])));
        let token = UserToken {
            user: UserId(1),
            expires_at: UnixMillis(u64::MAX),
        };
        let key = keys.tags()[0];
        credentials
            .get_mut(index)
            .expect("it is there")
            .prove(Proof { token, key }, &keys);
    }

    #[test]
    fn the_nameless_go_by_age_and_who_said_hello_stays() {
        let (mut credentials, mut room) = (Credentials::new(0, Prefaulter::new().0), Room::default());
        let start = Instant::now();
        for serial in 1..=4 {
            let index = credentials.insert(serial);
            room.note(index, serial, start, &credentials);
        }
        say_hello(&mut credentials, 0);
        credentials.remove(1);
        // Another session has the index of the one that is gone.
        assert_eq!(credentials.insert(9), 1);
        assert_eq!(
            room.take_nameless(start + NAMELESS / 2, &credentials),
            None,
            "they may be on the way"
        );
        assert_eq!(room.take_nameless(start + LATER, &credentials), Some(2));
        say_hello(&mut credentials, 3);
        assert_eq!(room.take_nameless(start + LATER, &credentials), None);
    }

    #[test]
    fn the_queue_is_as_long_as_those_without_a_hello() {
        let (mut credentials, mut room) = (Credentials::new(0, Prefaulter::new().0), Room::default());
        let now = Instant::now();
        for serial in 0..10_000 {
            let index = credentials.insert(serial);
            room.note(index, serial, now, &credentials);
            say_hello(&mut credentials, index);
        }
        assert!(room.nameless.len() <= 2, "{}", room.nameless.len());
    }

    #[test]
    fn a_place_is_made_once_for_each_who_is_closed() {
        let mut room = Room::default();
        let now = Instant::now();
        room.leaving.push_back(now);
        room.leaving.push_back(now + CLOSING / 2);
        let leaving = [CLOSING / 2, CLOSING, CLOSING * 2].map(|later| room.leaving(now + later));
        assert_eq!(leaving, [2, 1, 0]);
    }

    #[test]
    fn each_newcomer_pays_for_some_looks_and_a_whole_look_for_ten_seconds() {
        let mut room = Room::default();
        let now = Instant::now();
        assert_eq!(room.looks(100, now), 0..64);
        room.go_on_from(70);
        assert_eq!(room.looks(100, now), 71..100);
        assert_eq!(room.looks(100, now + BETWEEN_LOOKS / 2), 0..0);
        assert_eq!(room.looks(100, now + BETWEEN_LOOKS), 0..64);
    }
}
