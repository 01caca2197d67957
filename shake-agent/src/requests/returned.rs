//! `Returned`: a shard gives a grant back.

use super::{Judge, Origin};
use crate::ledger::{self, Book, Packet, State};
use shake_proto::handoff::record::Returned;
use shake_rules::SponsorId;

/// Whose packet it is, and the index of its record, if it stands where the shard says. A record that comes twice may name what
/// was released again since, and to whom it belongs then.
fn stands(found: Option<&Packet>, lane: i64, position: u64) -> Option<(SponsorId, u64)> {
    let packet = found.filter(|packet| packet.state == State::Released)?;
    let granted = packet.granted.filter(|at| (at.lane, at.position) == (lane, position))?;
    match packet.origin {
        ledger::Origin::Seed(sponsor) => Some((sponsor, granted.seed_index)),
        ledger::Origin::Sent(_) | ledger::Origin::Gift => None,
    }
}

impl Judge {
    pub(super) fn returned(&mut self, book: &mut Book, origin: Origin, returned: &Returned) {
        let found = book.packet(returned.packet);
        let Some((sponsor, seed_index)) = stands(found.as_ref(), origin.lane, returned.position) else {
            self.counters.packets_returned_repeat.add(1);
            return;
        };
        book.take_back(returned.packet, seed_index);
        self.taken_back.push((sponsor, seed_index));
        self.counters.packets_returned.add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Granted;
    use crate::requests::tests::released;
    use shake_rules::UnixMillis;
    use shake_rules::seed::PacketKind;

    #[test]
    fn only_what_still_stands_there_is_taken_back() {
        let packet = Packet::released(&released(7, PacketKind::Plain), UnixMillis(0));
        let found = stands(Some(&packet), 1, 7);
        assert_eq!(found, Some((SponsorId(3), 7)));
        assert_eq!(stands(Some(&packet), 2, 7), None, "another ring");
        assert_eq!(stands(Some(&packet), 1, 8), None, "another place");
        assert_eq!(stands(None, 1, 7), None);
        for state in [State::Issued, State::Opened, State::Void, State::Lost] {
            let packet = Packet { state, ..packet };
            assert_eq!(stands(Some(&packet), 1, 7), None, "{state:?}");
        }
        let back = Granted {
            seed_index: 7,
            lane: ledger::NO_LANE,
            position: 7,
        };
        let packet = Packet {
            granted: Some(back),
            ..packet
        };
        assert_eq!(stands(Some(&packet), 1, 7), None, "it came back before");
    }
}
