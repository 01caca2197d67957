//! Until when a session may stay, and whose it is: of each session what its user's token says, by the same index. Apart from the
//! sessions, because it is looked at on rounds over all of them, and to look at a session is to wake it: 24 bytes for each in
//! place of three kilobytes.

use crate::presence::SessionRef;
use quic_shard::memory::huge_pages::Prefaulter;
use quic_shard::memory::paged_slab::PagedSlab;
use shake_rules::keys::KeyTag;
use shake_rules::token::{TokenKeys, UserToken};
use shake_rules::{UnixMillis, UserId};

/// Bytes of a page of credentials; few where tests make some.
const PAGE_BYTES: usize = if cfg!(test) { 4_096 } else { 32 << 20 };

/// Of one session.
#[derive(Clone, Copy, Debug)]
pub struct Credential {
    user: UserId,
    /// The end of the token.
    ends_at: UnixMillis,
    serial: u32,
    /// The key that signed the token.
    key: KeyTag,
    /// Said Hello; before that only the serial says something.
    is_named: bool,
}

const _: () = assert!(size_of::<Option<Credential>>() == 24, "one for every session");

/// What a Hello proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proof {
    pub token: UserToken,
    pub key: KeyTag,
}

impl Credential {
    pub fn new(serial: u32) -> Self {
        Self {
            user: UserId(0),
            ends_at: UnixMillis(0),
            serial,
            key: KeyTag::default(),
            is_named: false,
        }
    }

    /// Takes a Hello's token. A later one moves the end forwards, never back; one whose key is gone gives way to any other.
    pub fn prove(&mut self, proof: Proof, keys: &TokenKeys) {
        let Proof { token, key } = proof;
        let is_held = self.is_named && keys.tags().contains(&self.key);
        if !is_held || token.expires_at > self.ends_at {
            (self.ends_at, self.key) = (token.expires_at, key);
        }
        (self.user, self.is_named) = (token.user, true);
    }

    /// Who it is, once a Hello was good.
    pub fn user(&self) -> Option<UserId> {
        self.is_named.then_some(self.user)
    }

    pub fn serial(&self) -> u32 {
        self.serial
    }

    pub fn ends_at(&self) -> UnixMillis {
        self.ends_at
    }

    /// The key that signed its token, once a Hello was good.
    pub fn signer(&self) -> Option<KeyTag> {
        self.is_named.then_some(self.key)
    }

    pub fn key(&self) -> KeyTag {
        self.key
    }
}

/// Of all sessions of a shard.
pub struct Credentials {
    shard: u16,
    all: PagedSlab<Credential, PAGE_BYTES>,
}

impl Credentials {
    pub fn new(shard: u16, prefaulter: Prefaulter) -> Self {
        Self {
            shard,
            all: PagedSlab::new(prefaulter),
        }
    }

    /// Puts one in for a session that has just begun; gives its index, which is the session's.
    pub fn insert(&mut self, serial: u32) -> usize {
        self.all.insert(Credential::new(serial))
    }

    pub fn remove(&mut self, index: usize) {
        self.all.remove(index);
    }

    pub fn get(&self, index: usize) -> Option<&Credential> {
        self.all.get(index)
    }

    pub fn get_mut(&mut self, index: usize) -> Option<&mut Credential> {
        self.all.get_mut(index)
    }

    /// The session of this index and serial, if it is still there.
    pub fn of(&self, index: usize, serial: u32) -> Option<&Credential> {
        self.get(index).filter(|credential| credential.serial == serial)
    }

    /// One more than the highest index that was ever used.
    pub fn capacity(&self) -> usize {
        self.all.capacity()
    }

    /// Whose session it is, and how all shards name it.
    pub fn session(&self, index: usize) -> Option<(UserId, SessionRef)> {
        let credential = self.get(index)?;
        let session = SessionRef {
            index: index as u32,
            serial: credential.serial,
            shard: self.shard,
        };
        Some((credential.user()?, session))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shake_rules::keys::{Key, KeyRing};

    fn keys(id: u8) -> TokenKeys {
        TokenKeys::new(&KeyRing::of(Key::new(id, [id; 32])))
    }

    fn proof(ends_at: u64, keys: &TokenKeys) -> Proof {
        Proof {
            token: UserToken {
                user: UserId(5),
                expires_at: UnixMillis(ends_at),
            },
            key: keys.tags()[0],
        }
    }

    #[test]
    fn a_later_token_moves_the_end_forwards_only() {
        let keys = keys(1);
        let mut credential = Credential::new(9);
        assert_eq!(credential.user(), None);
        for (ends_at, expected) in [(1_000, 1_000), (3_000, 3_000), (2_000, 3_000)] {
            credential.prove(proof(ends_at, &keys), &keys);
            assert_eq!(
                (credential.user(), credential.ends_at()),
                (Some(UserId(5)), UnixMillis(expected))
            );
        }
    }

    #[test]
    fn a_key_that_is_gone_gives_way_to_any_other() {
        let (old, new) = (keys(1), keys(2));
        let mut credential = Credential::new(9);
        credential.prove(proof(3_000, &old), &old);
        credential.prove(proof(2_000, &new), &new);
        assert_eq!(
            (credential.ends_at(), credential.key()),
            (UnixMillis(2_000), new.tags()[0])
        );
    }
}
