//! Who is here: the newest session of each user. Many small tables in place of a large one, because a table grows by
//! moving all of its entries, and a shard with half a million users must not stand still for it.

use shake_rules::UserId;
use std::collections::HashMap;

/// Tables. At a million users on two shards each has 6,250 entries, of the 7,168 that its size takes.
const TABLES: u64 = 80;

/// A session: its index and serial.
type Seat = (u32, u32);

pub struct Online {
    tables: Vec<HashMap<UserId, Seat>>,
}

impl Online {
    pub fn new() -> Self {
        Self {
            tables: (0..TABLES).map(|_| HashMap::new()).collect(),
        }
    }

    /// Notes the newest session of a user.
    pub fn insert(&mut self, user: UserId, session: usize, serial: u32) {
        self.table(user).insert(user, (session as u32, serial));
    }

    /// The index of the user's newest session.
    pub fn session(&mut self, user: UserId) -> Option<usize> {
        self.table(user).get(&user).map(|(session, _)| *session as usize)
    }

    /// Forgets a session, unless the user has a newer one.
    pub fn remove(&mut self, user: UserId, session: usize, serial: u32) {
        let table = self.table(user);
        if table.get(&user) == Some(&(session as u32, serial)) {
            table.remove(&user);
        }
    }

    /// User ids are numbered in order; the high bits of this product are not (Fibonacci hashing).
    fn table(&mut self, user: UserId) -> &mut HashMap<UserId, Seat> {
        let hash = user.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        &mut self.tables[(hash % TABLES) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_newest_session_counts() {
        let mut online = Online::new();
        let user = UserId(7);
        online.insert(user, 1, 10);
        online.insert(user, 2, 11);
        online.remove(user, 1, 10);
        assert_eq!(online.session(user), Some(2));
        online.remove(user, 2, 11);
        assert_eq!(online.session(user), None);
    }

    #[test]
    fn users_in_order_fill_the_tables_alike() {
        let mut online = Online::new();
        for user in 0..80_000 {
            online.insert(UserId(user * 2), user as usize, 0);
        }
        assert!(online.tables.iter().all(|table| (900..1_100).contains(&table.len())));
    }
}
