//! Packets that overtook the end of their session's handshake: the Hello that came before Finished, or whose Finished was
//! lost. quinn-proto would throw them away, and a phone misses one only a probe later. They are held before quinn-proto sees
//! them, because it would take them for repeats afterwards; and handed in, in their order, once the handshake is over.
//!
//! A session of which nothing is held costs nothing here, so whoever is settled does not.

use std::collections::HashMap;

/// Of one session: a Hello, the first requests behind it, and a probe for them.
const PACKETS_MAX: usize = 4;
/// Of all sessions of a shard: 6 MB of the longest packets.
const IN_ALL_MAX: usize = 4_096;

/// Packets as `T`, by the index of their session.
pub struct BufferedPackets<T> {
    held: HashMap<usize, Vec<T>>,
    count: usize,
}

impl<T> Default for BufferedPackets<T> {
    fn default() -> Self {
        Self {
            held: HashMap::new(),
            count: 0,
        }
    }
}

impl<T> BufferedPackets<T> {
    /// Holds a session's packet. False when there are too many, and it is dropped.
    pub fn hold(&mut self, session: usize, packet: T) -> bool {
        if self.count == IN_ALL_MAX {
            return false;
        }
        let held = self.held.entry(session).or_default();
        if held.len() == PACKETS_MAX {
            return false;
        }
        held.push(packet);
        self.count += 1;
        true
    }

    /// What is held of a session, in the order in which it came. Also to be called when a session ends.
    pub fn take(&mut self, session: usize) -> Vec<T> {
        if self.count == 0 {
            return Vec::new();
        }
        let held = self.held.remove(&session).unwrap_or_default();
        self.count -= held.len();
        held
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_has_four_in_their_order() {
        let mut buffered = BufferedPackets::default();
        assert!(buffered.take(7).is_empty());
        let kept = [1, 2, 3, 4, 5].map(|packet| buffered.hold(7, packet));
        assert_eq!(kept, [true, true, true, true, false]);
        assert!(buffered.hold(8, 6), "another has its own");
        assert_eq!(buffered.take(7), [1, 2, 3, 4]);
        assert!(buffered.take(7).is_empty());
        assert_eq!((buffered.take(8), buffered.count, buffered.held.len()), (vec![6], 0, 0));
    }

    #[test]
    fn all_sessions_together_have_some_thousands() {
        let mut buffered = BufferedPackets::default();
        let kept = (0..2 * IN_ALL_MAX)
            .filter(|&session| buffered.hold(session, session))
            .count();
        assert_eq!((kept, buffered.held.len()), (IN_ALL_MAX, IN_ALL_MAX));
        assert_eq!(buffered.take(3), [3]);
        assert!(buffered.hold(3, 0), "there is room again");
    }
}
