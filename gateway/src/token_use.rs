//! How many sessions hang on each key that signs user tokens, and until when tokens of it are good that were shown here: what
//! an operator has to know before the key is retired.

use shake_rules::UnixMillis;
use shake_rules::token::KeyTag;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What hangs on one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyUse {
    pub key: KeyTag,
    /// Sessions whose token it signed.
    pub sessions: u64,
    /// The latest end of its tokens that were shown to this process.
    pub ends_at: UnixMillis,
}

/// By shard, so that none waits for another. Touched by a Hello and at the end of a session, never by a shake.
pub struct TokenUse(Box<[Mutex<Vec<KeyUse>>]>);

impl TokenUse {
    pub fn new(shards: u16) -> Self {
        Self((0..shards).map(|_| Mutex::default()).collect())
    }

    /// A session of this shard goes from one key's to another's; of none before its first Hello, and to none at its end.
    pub fn moved(&self, shard: u16, from: Option<KeyTag>, to: Option<(KeyTag, UnixMillis)>) {
        let mut all = locked(&self.0[usize::from(shard)]);
        if let Some(used) = all.iter_mut().find(|used| Some(used.key) == from) {
            used.sessions = used.sessions.saturating_sub(1);
        }
        let Some((key, ends_at)) = to else {
            return;
        };
        match all.iter_mut().find(|used| used.key == key) {
            Some(used) => {
                used.sessions += 1;
                used.ends_at = used.ends_at.max(ends_at);
            }
            // Few: keys that held in this process's life.
            None => all.push(KeyUse {
                key,
                sessions: 1,
                ends_at,
            }),
        }
    }

    /// What hangs on a key, on all shards.
    pub fn of(&self, key: KeyTag) -> KeyUse {
        let none = KeyUse {
            key,
            sessions: 0,
            ends_at: UnixMillis(0),
        };
        self.0.iter().fold(none, |sum, shard| {
            let found = locked(shard).iter().find(|used| used.key == key).copied();
            found.map_or(sum, |used| KeyUse {
                key,
                sessions: sum.sessions + used.sessions,
                ends_at: sum.ends_at.max(used.ends_at),
            })
        })
    }
}

fn locked(shard: &Mutex<Vec<KeyUse>>) -> MutexGuard<'_, Vec<KeyUse>> {
    // Nothing panics while it is held.
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use shake_rules::keys::{Key, KeyRing};
    use shake_rules::token::TokenKeys;

    #[test]
    fn sessions_are_counted_by_the_key_of_their_token() {
        let tag = |id: u8| TokenKeys::new(&KeyRing::of(Key::new(id, [id; 32]))).tags()[0];
        let (old, new, used) = (tag(1), tag(2), TokenUse::new(2));
        used.moved(0, None, Some((old, UnixMillis(70))));
        used.moved(1, None, Some((old, UnixMillis(90))));
        used.moved(1, None, Some((old, UnixMillis(80))));
        // One says Hello again, with a token of the new key; one ends.
        used.moved(1, Some(old), Some((new, UnixMillis(95))));
        used.moved(0, Some(old), None);
        let counts = |key| (used.of(key).sessions, used.of(key).ends_at.0);
        assert_eq!((counts(old), counts(new), counts(tag(3))), ((1, 90), (1, 95), (0, 0)));
    }
}
