//! What sessions are called.

/// Which session of a shard: its index, and the serial that tells it from earlier and later ones of the same index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionId {
    pub index: u32,
    pub serial: u32,
}
