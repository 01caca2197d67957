//! What sessions are called.

/// Which session of a shard: its index, and the serial that tells it from earlier and later ones of the same index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionId {
    /// The place of the session; others have it after it.
    pub index: u32,
    /// The number of the session in its shard.
    pub serial: u32,
}
