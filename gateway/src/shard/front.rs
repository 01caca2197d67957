//! What a shard looks at before it fetches a session: whether a packet is worth opening at all, and where the keys lie
//! that open it. A session is a hundred cache lines; this is one, and of all sessions together it is an array small
//! enough for the caches of many machines. So a packet that is shed costs one line, not a hundred.

use super::admit::Gate;
use super::pages::prefetch_lines;
use crate::tls::KeyLines;

/// One stands beside every session, under the same index.
#[repr(align(64))]
pub struct Front {
    /// What the session's user has used up of the limits.
    pub gate: Gate,
    keys: KeyLines,
}

const _: () = assert!(size_of::<Option<Front>>() == 64, "a line of the caches");

impl Front {
    pub fn new() -> Self {
        Self {
            gate: Gate::default(),
            keys: KeyLines::default(),
        }
    }

    /// Notes where the session's keys lie, if some were made since this was last called for any session of this thread.
    pub fn note_keys(&mut self) {
        if let Some(keys) = KeyLines::take_newest() {
            self.keys = keys;
        }
    }

    /// Asks the processor for the session's keys.
    pub fn prefetch_keys(&self) {
        for line in self.keys.addresses() {
            prefetch_lines(line, 1);
        }
    }
}
