//! A connection ID by value: at most 20 bytes (RFC 9000, section 17.2).

use std::fmt;

/// The longest connection ID of version 1.
pub(super) const CID_BYTES_MAX: usize = 20;
/// The length of the IDs that we choose. A short header does not say it, so all of ours have the same.
pub const LOCAL_CID_BYTES: usize = 8;

/// The ID by which the server's packets name one of our connections.
pub type LocalCid = [u8; LOCAL_CID_BYTES];

/// A connection ID of up to 20 bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Cid {
    length: u8,
    bytes: [u8; CID_BYTES_MAX],
}

impl Cid {
    /// `None` when it is longer than version 1 allows.
    pub(super) fn new(id: &[u8]) -> Option<Self> {
        let mut bytes = [0; CID_BYTES_MAX];
        bytes.get_mut(..id.len())?.copy_from_slice(id);
        Some(Self {
            length: id.len() as u8,
            bytes,
        })
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }

    pub(super) fn len(&self) -> usize {
        self.length.into()
    }
}

impl From<LocalCid> for Cid {
    fn from(id: LocalCid) -> Self {
        Self::new(&id).expect("8 bytes are at most 20")
    }
}

impl fmt::Debug for Cid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_slice().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
