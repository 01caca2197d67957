//! What hangs on each key: how many sessions and tokens, tickets and cookies of it there are, and until when they are good, as
//! far as this process knows. An operator has to know before the key is retired.

use shake_rules::UnixMillis;
use shake_rules::keys::{KeyTag, Purpose};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What hangs on one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyUse {
    /// Of user tokens: sessions that are here by one of it. Of tickets and cookies: how many were made.
    pub count: u64,
    /// The latest end of what of it was made here or shown here; zero for nothing.
    pub ends_at: UnixMillis,
}

struct Row {
    purpose: Purpose,
    key: KeyTag,
    used: KeyUse,
}

/// By shard, so that none waits for another. Touched by a Hello, a win, a claim, a send and at the end of a session; never by a
/// shake that wins nothing.
pub struct KeyUses(Box<[Mutex<Vec<Row>>]>);

impl KeyUses {
    pub fn new(shards: u16) -> Self {
        Self((0..shards).map(|_| Mutex::default()).collect())
    }

    /// A session of this shard goes from one user-token key's to another's; of none before its first Hello, and to none at its
    /// end.
    pub fn moved(&self, shard: u16, from: Option<KeyTag>, to: Option<(KeyTag, UnixMillis)>) {
        let mut rows = self.rows(shard);
        if let Some(key) = from {
            let used = row(&mut rows, Purpose::UserToken, key);
            used.count = used.count.saturating_sub(1);
        }
        if let Some((key, ends_at)) = to {
            add(row(&mut rows, Purpose::UserToken, key), 1, ends_at);
        }
    }

    /// Something was made with a key, and is good until then.
    pub fn made(&self, shard: u16, purpose: Purpose, key: KeyTag, ends_at: UnixMillis) {
        add(row(&mut self.rows(shard), purpose, key), 1, ends_at);
    }

    /// Something of a key was shown here, or perhaps made elsewhere, that is good until then.
    pub fn known(&self, shard: u16, purpose: Purpose, key: KeyTag, ends_at: UnixMillis) {
        add(row(&mut self.rows(shard), purpose, key), 0, ends_at);
    }

    /// What hangs on a key, on all shards.
    pub fn of(&self, purpose: Purpose, key: KeyTag) -> KeyUse {
        let mut sum = NONE;
        for shard in &self.0 {
            let rows = locked(shard);
            if let Some(row) = rows.iter().find(|row| (row.purpose, row.key) == (purpose, key)) {
                add(&mut sum, row.used.count, row.used.ends_at);
            }
        }
        sum
    }

    fn rows(&self, shard: u16) -> MutexGuard<'_, Vec<Row>> {
        locked(&self.0[usize::from(shard)])
    }
}

const NONE: KeyUse = KeyUse {
    count: 0,
    ends_at: UnixMillis(0),
};

fn add(used: &mut KeyUse, count: u64, ends_at: UnixMillis) {
    used.count += count;
    used.ends_at = used.ends_at.max(ends_at);
}

/// The row of a key. There are few: one for each that held in this process's life.
fn row(rows: &mut Vec<Row>, purpose: Purpose, key: KeyTag) -> &mut KeyUse {
    let at = rows.iter().position(|row| (row.purpose, row.key) == (purpose, key));
    let at = at.unwrap_or_else(|| {
        let used = NONE;
        rows.push(Row { purpose, key, used });
        rows.len() - 1
    });
    &mut rows[at].used
}

fn locked(shard: &Mutex<Vec<Row>>) -> MutexGuard<'_, Vec<Row>> {
    // Nothing panics while it is held.
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use shake_rules::keys::{Key, KeyRing};
    use shake_rules::token::TokenKeys;

    fn tag(id: u8) -> KeyTag {
        TokenKeys::new(&KeyRing::of(Key::new(id, [id; 32]))).tags()[0]
    }

    #[test]
    fn sessions_are_counted_by_the_key_of_their_token() {
        let (old, new, uses) = (tag(1), tag(2), KeyUses::new(2));
        uses.moved(0, None, Some((old, UnixMillis(70))));
        uses.moved(1, None, Some((old, UnixMillis(90))));
        uses.moved(1, None, Some((old, UnixMillis(80))));
        // One says Hello again, with a token of the new key; one ends.
        uses.moved(1, Some(old), Some((new, UnixMillis(95))));
        uses.moved(0, Some(old), None);
        let counts = |key| {
            let used = uses.of(Purpose::UserToken, key);
            (used.count, used.ends_at.0)
        };
        assert_eq!((counts(old), counts(new), counts(tag(3))), ((1, 90), (1, 95), (0, 0)));
        assert_eq!(uses.of(Purpose::Ticket, old), NONE, "another key of the same id");
    }

    #[test]
    fn what_was_made_is_counted_and_what_was_shown_moves_the_end() {
        let (key, uses) = (tag(1), KeyUses::new(2));
        uses.made(0, Purpose::Ticket, key, UnixMillis(50));
        uses.made(1, Purpose::Ticket, key, UnixMillis(40));
        uses.known(1, Purpose::Ticket, key, UnixMillis(60));
        let (count, ends_at) = (2, UnixMillis(60));
        assert_eq!(uses.of(Purpose::Ticket, key), KeyUse { count, ends_at });
        assert_eq!(uses.of(Purpose::Cookie, key), NONE);
    }
}
