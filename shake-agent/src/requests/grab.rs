//! `Grab`: a user takes a share of a packet by its code.

use super::{BUSY_RETRY_AFTER_MS, Judge};
use crate::ledger::{Book, Packet, State};
use shake_proto::handoff::record::Ask;
use shake_proto::reply::{GrabResult, Reason};
use shake_rules::{Cents, PacketId, UnixMillis};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decision {
    Draw,
    Repeat(Cents),
    Empty,
    Refuse(Reason),
}

/// What a user gets who holds the code, given the user's share so far, whether the packet is for them, and whether its time
/// is over.
fn decide(packet: &Packet, share: Option<Cents>, is_entitled: bool, is_over: bool) -> Decision {
    if let Some(share) = share {
        return Decision::Repeat(share);
    }
    if !is_entitled {
        return Decision::Refuse(Reason::NotEntitled);
    }
    match packet.state {
        State::Open if is_over => Decision::Refuse(Reason::PacketExpired),
        State::Open => Decision::Draw,
        State::Opened => Decision::Empty,
        State::Refunded => Decision::Refuse(Reason::PacketExpired),
        State::Released | State::Issued | State::Void | State::Lost | State::Paid => {
            Decision::Refuse(Reason::PacketUnknown)
        }
    }
}

/// Whether a code of this packet can have been handed out: it was sent, given, or opened to be shared.
pub(super) fn has_code(packet: &Packet) -> bool {
    packet.is_shared()
        && (packet.user.is_none() || packet.is_opened())
        && !matches!(packet.state, State::Released | State::Void | State::Lost | State::Paid)
}

impl Judge {
    /// `packet` is that of the code, if it is authentic; `at` is the time of the request, see [`super::claim`].
    pub(super) fn grab(&mut self, book: &mut Book, ask: &Ask, packet: Option<PacketId>, at: UnixMillis) -> GrabResult {
        let user = ask.user;
        let found = packet.and_then(|id| Some((id, book.packet(id).filter(has_code)?)));
        let Some((id, packet)) = found else {
            return GrabResult::Refused(self.count_refusal(Reason::PacketUnknown));
        };
        let share = book.share_of(id, user);
        let is_entitled = packet.recipients == 0 || book.is_offered(id, user);
        let grabbed = |amount, repeat| GrabResult::Grabbed {
            packet: id,
            amount,
            repeat,
        };
        let is_over = packet.term().is_some_and(|term| at >= book.end_of(term));
        match decide(&packet, share, is_entitled, is_over) {
            Decision::Draw => {
                let amount = self.draw(packet.left, packet.shares_left);
                book.grab(id, user, amount);
                self.counters.grabs_made.add(1);
                grabbed(amount, false)
            }
            Decision::Repeat(amount) => {
                self.counters.grabs_repeat.add(1);
                grabbed(amount, true)
            }
            Decision::Empty => {
                self.counters.grabs_empty.add(1);
                GrabResult::Empty
            }
            Decision::Refuse(Reason::PacketExpired) if self.doubts_time && packet.state == State::Open => {
                self.counters.asks_busy.add(1);
                let retry_after_ms = BUSY_RETRY_AFTER_MS;
                GrabResult::Busy { retry_after_ms }
            }
            Decision::Refuse(reason) => GrabResult::Refused(self.count_refusal(reason)),
        }
    }

    /// The packet of a code that is authentic.
    pub(super) fn open_code(&self, code: &[u8]) -> Option<PacketId> {
        self.codes.packet(&self.ledger, code).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Making, Origin};
    use shake_rules::UserId;

    #[test]
    fn what_each_state_answers() {
        let making = Making {
            origin: Origin::Sent(UserId(1)),
            key: &[0; 16],
            hash: [0; 32],
            amount: Cents(10),
            shares: 3,
            recipients: &[],
            stage: None,
            due: UnixMillis(1),
        };
        let packet = |state| Packet {
            state,
            ..Packet::sent(&making, UnixMillis(0))
        };
        let refuse = Decision::Refuse;
        for (state, share, is_entitled, is_over, expected) in [
            (State::Open, None, true, false, Decision::Draw),
            (State::Open, None, true, true, refuse(Reason::PacketExpired)),
            (State::Open, None, false, false, refuse(Reason::NotEntitled)),
            (State::Open, Some(Cents(3)), true, true, Decision::Repeat(Cents(3))),
            (State::Opened, None, true, false, Decision::Empty),
            (State::Opened, None, false, false, refuse(Reason::NotEntitled)),
            (State::Refunded, None, true, false, refuse(Reason::PacketExpired)),
            (State::Refunded, Some(Cents(3)), true, false, Decision::Repeat(Cents(3))),
            (State::Issued, None, true, false, refuse(Reason::PacketUnknown)),
        ] {
            let found = decide(&packet(state), share, is_entitled, is_over);
            assert_eq!(found, expected, "{state:?} {share:?} {is_entitled} {is_over}");
        }
    }
}
