//! What tells keys apart that have the same id.

use super::Key;
use ring::digest;

/// Which key made something: its id, and two bytes of its hash. Ids begin anew when a key file is made anew, and a session must
/// not outlive its key because another one has the same id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyTag([u8; 3]);

impl KeyTag {
    /// The tag of a key.
    #[must_use]
    pub fn of(key: &Key) -> Self {
        let hash = digest::digest(&digest::SHA256, key.secret());
        let hash = hash.as_ref();
        Self([key.id, hash[0], hash[1]])
    }

    /// The key's id.
    #[must_use]
    pub fn id(self) -> u8 {
        self.0[0]
    }
}
