//! Rounds over all sessions of a shard, one a minute: who must go is closed on the way. That is whose token has ended, whose
//! token was signed by a key that was retired, and who was displaced by a newer session of the same user. Closed one by one, because
//! a million tokens may well end at the same moment, and each phone makes a handshake to come back.

use crate::counters::Ended;
use crate::credentials::Credential;
use shake_rules::UnixMillis;
use shake_rules::keys::KeyTag;
use shake_rules::token::TokenKeys;
use std::time::Duration;

/// How long a round takes, and so the longest that a session stays after its token's end.
const ROUND: Duration = Duration::from_secs(60);
/// Sessions of a key that was retired are closed over so long, the last round on top: ten minutes in all.
const RETIRED_OVER: Duration = Duration::from_secs(540);
/// The most that a turn looks at.
const LOOKS_PER_TURN: usize = 1_024;

/// Where a round stands.
#[derive(Default)]
pub struct Rounds {
    /// Nanoseconds since the shard began.
    began_ns: u64,
    done: usize,
    retired: Vec<Retired>,
}

/// A key that signs no more.
struct Retired {
    key: KeyTag,
    at_ns: u64,
}

impl Rounds {
    /// The sessions that are due now, of so many. Who comes in meanwhile is seen in this round too.
    pub fn due(&mut self, sessions: usize, now_ns: u64) -> std::ops::Range<usize> {
        let round_ns = ROUND.as_nanos() as u64;
        let since_ns = now_ns.saturating_sub(self.began_ns);
        let target = u128::from(since_ns.min(round_ns)) * sessions as u128 / u128::from(round_ns);
        let from = self.done;
        self.done = (target as usize).clamp(from, from + LOOKS_PER_TURN);
        let due = from..self.done;
        if since_ns >= round_ns && self.done >= sessions {
            (self.began_ns, self.done) = (now_ns, 0);
        }
        due
    }

    /// Other keys hold from now on: notes those that are gone.
    pub fn take_keys(&mut self, before: &TokenKeys, after: &TokenKeys, now_ns: u64) {
        self.retired.retain(|retired| !after.tags().contains(&retired.key));
        for &key in before.tags() {
            let is_noted = self.retired.iter().any(|retired| retired.key == key);
            if !after.tags().contains(&key) && !is_noted {
                self.retired.push(Retired { key, at_ns: now_ns });
            }
        }
        // Ten minutes after it was retired nobody has a key any more.
        let over_ns = 2 * (RETIRED_OVER + ROUND).as_nanos() as u64;
        self.retired.retain(|retired| now_ns < retired.at_ns + over_ns);
    }

    /// Why a session must go by its token; nothing for one that may stay.
    pub fn ended(&self, credential: &Credential, keys: &TokenKeys, now: UnixMillis, now_ns: u64) -> Option<Ended> {
        if now >= credential.ends_at() {
            return Some(Ended::TokenOver);
        }
        if keys.tags().contains(&credential.key()) {
            return None;
        }
        let at_ns = self.retired.iter().find(|retired| retired.key == credential.key());
        let since_ns = now_ns.saturating_sub(at_ns.map_or(0, |retired| retired.at_ns));
        // Serials in order, spread evenly (Fibonacci hashing).
        let part = u64::from(credential.serial().wrapping_mul(0x9e37_79b9));
        let spread_ns = part * (RETIRED_OVER.as_nanos() as u64 >> 32);
        (at_ns.is_none() || since_ns >= spread_ns).then_some(Ended::KeyRetired)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credentials::Proof;
    use shake_rules::UserId;
    use shake_rules::keys::{Key, KeyRing};
    use shake_rules::token::UserToken;

    const SECOND: u64 = 1_000_000_000;
    const END: UnixMillis = UnixMillis(5_000);

    fn keys(id: u8) -> TokenKeys {
        TokenKeys::new(&KeyRing::of(Key::new(id, [id; 32])))
    }

    fn credential(serial: u32, keys: &TokenKeys) -> Credential {
        let token = UserToken {
            user: UserId(1),
            expires_at: END,
        };
        let mut credential = Credential::new(serial);
        let key = keys.tags()[0];
        credential.prove(Proof { token, key }, keys);
        credential
    }

    #[test]
    fn a_round_is_even_and_sees_every_session_once() {
        let mut rounds = Rounds::default();
        let mut seen = [0; 100];
        for ms in 0..120_000 {
            let due = rounds.due(seen.len(), ms * 1_000_000);
            assert!(due.len() <= 1);
            due.for_each(|index| seen[index] += 1);
        }
        assert!(seen.iter().all(|count| (1..=2).contains(count)), "{seen:?}");
        // After a pause it catches up by parts, and an empty shard has nothing to do.
        let mut rounds = Rounds::default();
        assert_eq!(rounds.due(1_000_000, 60 * SECOND).len(), LOOKS_PER_TURN);
        assert!(Rounds::default().due(0, 600 * SECOND).is_empty());
    }

    #[test]
    fn whoever_comes_late_waits_no_longer_than_a_round() {
        let mut rounds = Rounds::default();
        let mut last = 0;
        let (mut sessions, mut longest) = (10, 0);
        for second in 0..300 {
            sessions += usize::from(second % 7 == 0);
            for index in rounds.due(sessions, second * SECOND) {
                if index == 9 {
                    longest = longest.max(second - last);
                    last = second;
                }
            }
        }
        assert!((50..=61).contains(&longest), "{longest}");
    }

    #[test]
    fn a_session_ends_with_its_token() {
        let (rounds, keys) = (Rounds::default(), keys(1));
        let ended = |now| rounds.ended(&credential(1, &keys), &keys, UnixMillis(now), 0);
        assert_eq!((ended(4_999), ended(5_000)), (None, Some(Ended::TokenOver)));
    }

    #[test]
    fn sessions_of_a_retired_key_go_over_ten_minutes() {
        let (old, new) = (keys(1), keys(2));
        let mut rounds = Rounds::default();
        let now = UnixMillis(0);
        rounds.take_keys(&old, &old, 7 * SECOND);
        assert_eq!(rounds.ended(&credential(1, &old), &old, now, 8 * SECOND), None);
        rounds.take_keys(&old, &new, 10 * SECOND);
        let gone = |rounds: &Rounds, second: u64| {
            let ended = |serial: &u32| {
                rounds
                    .ended(&credential(*serial, &old), &new, now, second * SECOND)
                    .is_some()
            };
            (1..=1_000).filter(ended).count()
        };
        assert_eq!(gone(&rounds, 10), 0);
        for (second, expected) in [(10 + 54, 100), (10 + 270, 500), (10 + 540, 1_000)] {
            assert!(gone(&rounds, second).abs_diff(expected) <= 5, "after {second} s");
        }
        assert_eq!(rounds.ended(&credential(1, &new), &new, now, 900 * SECOND), None);
        // It is back before they are gone, by an operator who thought better of it.
        rounds.take_keys(&new, &old, 20 * SECOND);
        assert!(rounds.retired.iter().all(|retired| retired.key != old.tags()[0]));
        // Long gone, and forgotten.
        rounds.take_keys(&old, &new, 30 * SECOND);
        rounds.take_keys(&new, &new, 5_000 * SECOND);
        assert_eq!(gone(&rounds, 5_000), 1_000);
    }
}
