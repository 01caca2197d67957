//! What a table asks of the values that it may pack.

use super::delta::ByteRange;
use crate::session::{Session, Transport};
use quinn_proto::ServerConfig;
use std::mem::offset_of;
use std::time::Instant;

/// A value that may be packed while nothing happens to it.
///
/// # Safety
/// Where two values have the same address at the same place within [`Self::SHARING`], it is of something that lives as long as
/// their table: it is static, or a part of what both were put in with as [`Self::Shared`].
pub unsafe trait Packable {
    /// What such values share, and the table keeps alive.
    type Shared;
    /// The bytes of a value in which it may have addresses of what it shares.
    const SHARING: ByteRange;

    /// When something is to happen to it by the clock; nothing while something is under way for it.
    fn idle_until(&mut self, now: Instant) -> Option<Instant>;
}

// SAFETY: of the addresses in a connection (quinn-proto 0.11) three are of something that it shares: the configuration of its
// side, the transport configuration that this holds, and the configuration of its endpoint, which lives as long as the shard
// serves. All else that it has on the heap is its own. The application's part may share what it likes, and is left out.
unsafe impl<S> Packable for Session<S> {
    type Shared = ServerConfig;
    const SHARING: ByteRange = {
        let begin = offset_of!(Self, transport);
        begin..begin + size_of::<Transport>()
    };

    #[inline]
    fn idle_until(&mut self, now: Instant) -> Option<Instant> {
        let transport = &mut self.transport;
        transport
            .deadline()
            .filter(|deadline| transport.is_quiet(now, *deadline))
    }
}
