//! Expiry: what was not opened or grabbed in time goes back to who funded it.

use super::Judge;
use crate::ledger::{Book, Origin};
use shake_rules::{PacketId, UnixMillis};

/// The most packets that one commit sends back, so that claims do not wait for them.
pub const EXPIRE_MAX: usize = 256;
/// How long after its time a packet goes back, in milliseconds. A request carries its own time, and may still be on its
/// way through a ring when the packet's time is over.
pub const EXPIRY_GRACE_MS: u64 = 2_000;

impl Judge {
    /// Sends back what of these is over by then, and puts off what a span has put off.
    pub(super) fn send_back(&mut self, book: &mut Book, candidates: &[PacketId], by: UnixMillis) {
        for &id in candidates {
            // Something may have come of it in this transaction.
            let is_due = |due: UnixMillis| due <= by;
            let Some(packet) = book.packet(id).filter(|packet| packet.due.is_some_and(is_due)) else {
                continue;
            };
            // The next sweep finds it again.
            if let Origin::Sent(user) = packet.origin
                && !book.may_change_user(user)
            {
                continue;
            }
            let end = packet.term().map(|term| book.end_of(term));
            if let Some(end) = end.filter(|end| *end > by) {
                book.put_off(id, end);
                continue;
            }
            book.refund(id);
            let counter = match packet.origin {
                Origin::Seed(_) => &self.counters.refunds_seed,
                Origin::Sent(_) => &self.counters.refunds_sent,
                Origin::Gift => &self.counters.refunds_gift,
            };
            counter.add(1);
        }
    }
}
