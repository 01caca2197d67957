//! `Grab`: a user takes a share of a packet by its code.

use super::Judge;
use crate::ledger::{Batch, LedgerError, Packet, State};
use shake_proto::reply::{GrabResult, Reason};
use shake_proto::request::Grab;
use shake_rules::{Cents, PacketId, UnixMillis, UserId};

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
        && (packet.user.is_none() || packet.is_opened)
        && !matches!(packet.state, State::Released | State::Void | State::Lost | State::Paid)
}

impl Judge {
    /// `at` is the time of the request; see [`super::claim`].
    pub(super) fn grab(
        &mut self,
        batch: &mut Batch<'_>,
        user: UserId,
        at: UnixMillis,
        grab: &Grab,
    ) -> Result<GrabResult, LedgerError> {
        let Some((id, packet)) = self.packet_of_code(batch, &grab.code)? else {
            return Ok(GrabResult::Refused(self.count_refusal(Reason::PacketUnknown)));
        };
        let share = batch.share_of(id, user)?;
        let is_entitled = packet.recipients == 0 || batch.is_offered(id, user)?;
        let grabbed = |amount, repeat| GrabResult::Grabbed {
            packet: id,
            amount,
            repeat,
        };
        let is_over = packet.term.is_some_and(|term| at >= batch.end_of(term));
        Ok(match decide(&packet, share, is_entitled, is_over) {
            Decision::Draw => {
                let amount = self.draw(packet.left, packet.shares_left);
                batch.grab(id, &packet, user, amount)?;
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
            Decision::Refuse(reason) => GrabResult::Refused(self.count_refusal(reason)),
        })
    }

    /// The packet of a code that is authentic and may have been handed out.
    pub(super) fn packet_of_code(
        &self,
        batch: &mut Batch<'_>,
        code: &[u8],
    ) -> Result<Option<(PacketId, Packet)>, LedgerError> {
        let Ok(id) = self.codes.packet(&self.ledger, code) else {
            return Ok(None);
        };
        Ok(batch.packet(id)?.filter(has_code).map(|packet| (id, packet)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Origin;

    #[test]
    fn what_each_state_answers() {
        let packet = |state| Packet {
            origin: Origin::Sent(UserId(1)),
            amount: Cents(10),
            shares: 3,
            left: Cents(10),
            shares_left: 3,
            recipients: 0,
            state,
            user: None,
            is_opened: false,
            due: None,
            made: UnixMillis(0),
            term: None,
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
