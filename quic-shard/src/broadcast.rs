//! Telling all sessions of a shard something, at a pace. Half a million packets in one turn would be a burst that delays all
//! that is behind it, so a broadcast walks over the sessions a few at a time.

use crate::app::{App, Pace};
use crate::state::{State, mark};

/// The most slots that a turn looks at, also after a pause.
const SLOTS_PER_TURN: usize = 256;

/// One walk over all slots, which need not begin at the first.
struct Walk<B> {
    what: B,
    began_ns: u64,
    takes_ns: u64,
    slots: usize,
    done: usize,
}

impl<B> Walk<B> {
    /// How many slots are due.
    fn due(&self, now_ns: u64) -> usize {
        let share = (now_ns.saturating_sub(self.began_ns)) as f64 / self.takes_ns.max(1) as f64;
        let target = (share.min(1.0) * self.slots as f64).ceil() as usize;
        target.saturating_sub(self.done).min(SLOTS_PER_TURN)
    }
}

/// The broadcasts of a shard, of which one is under way at the most.
pub struct Broadcasts<B> {
    walk: Option<Walk<B>>,
    /// Where the walk stands. The next goes on from here, so that a change during one does not keep the last from hearing.
    cursor: usize,
}

impl<B> Default for Broadcasts<B> {
    fn default() -> Self {
        Self { walk: None, cursor: 0 }
    }
}

impl<B: Copy> Broadcasts<B> {
    /// Whether a turn is due soon although nothing arrives.
    pub fn is_under_way(&self) -> bool {
        self.walk.is_some()
    }

    /// Begins one, in place of the one under way.
    pub fn begin(&mut self, what: B, slots: usize, now_ns: u64, pace: Pace) {
        let takes_ns = match pace {
            Pace::PerSecond(rate) => (slots as f64 / rate * 1e9) as u64,
            Pace::Over(time) => time.as_nanos() as u64,
        };
        self.walk = Some(Walk {
            what,
            began_ns: now_ns,
            takes_ns,
            slots,
            done: 0,
        });
    }

    /// Ends the one under way if it is such a one.
    pub fn cancel_if(&mut self, is_such: fn(B) -> bool) {
        self.walk.take_if(|walk| is_such(walk.what));
    }
}

/// Goes on with the broadcast under way.
pub fn go_on<A: App>(state: &mut State<A::Session, A::Hot>, app: &mut A, broadcasts: &mut Broadcasts<A::Broadcast>) {
    let Some(mut walk) = broadcasts.walk.take() else {
        return;
    };
    for _ in 0..walk.due(state.now.elapsed_ns) {
        broadcasts.cursor = (broadcasts.cursor + 1) % walk.slots.max(1);
        let index = broadcasts.cursor;
        if let Some(session) = state.table.get_mut(index)
            && !session.transport.connection.is_closed()
        {
            mark(session, index, &mut state.dirty);
            if let Some(mut cx) = state.cx(index) {
                app.on_broadcast(&mut cx, walk.what);
            }
        }
        walk.done += 1;
    }
    if walk.done < walk.slots {
        broadcasts.walk = Some(walk);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_walk_is_even_bounded_and_whole() {
        let mut broadcasts = Broadcasts::default();
        broadcasts.begin((), 1_000, 5, Pace::Over(Duration::from_millis(100)));
        let walk = broadcasts.walk.as_mut().expect("begun");
        assert_eq!(walk.due(5), 0);
        assert_eq!(walk.due(5 + 10_000_000), 100);
        walk.done = 100;
        assert_eq!(walk.due(5 + 10_000_000), 0);
        assert_eq!(walk.due(u64::MAX), SLOTS_PER_TURN);
        walk.done = 990;
        assert_eq!(walk.due(u64::MAX), 10);
    }

    #[test]
    fn a_rate_is_of_sessions_a_second_and_only_such_are_cancelled() {
        let mut broadcasts = Broadcasts::default();
        broadcasts.begin(7, 40_000, 0, Pace::PerSecond(20_000.0));
        let walk = broadcasts.walk.as_mut().expect("begun");
        walk.done = 19_900;
        assert_eq!(walk.due(1_000_000_000), 100);
        broadcasts.cancel_if(|what| what == 8);
        assert!(broadcasts.is_under_way());
        broadcasts.cancel_if(|what| what == 7);
        assert!(!broadcasts.is_under_way());
    }
}
