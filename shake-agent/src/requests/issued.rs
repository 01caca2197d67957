//! `Issued`: a grant went into a ticket for a user.

use super::Judge;
use crate::ledger::{Book, Packet, State, Term};
use shake_proto::handoff::record::Issued;
use shake_rules::{UnixMillis, UserId};
use tracing::warn;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decision {
    Issue,
    /// Known already, by an earlier record or by the claim that overtook it.
    Repeat,
    /// The ledger says otherwise. Nothing is changed: what the ledger has stands.
    Inconsistent,
}

fn decide(found: Option<&Packet>, user: UserId) -> Decision {
    match found {
        Some(packet) if matches!(packet.state, State::Released | State::Lost) => Decision::Issue,
        Some(packet) if packet.user == Some(user) => Decision::Repeat,
        _ => Decision::Inconsistent,
    }
}

impl Judge {
    pub(super) fn issued(&mut self, book: &mut Book, issued: &Issued, now: UnixMillis) {
        let found = book.packet(issued.packet);
        match decide(found.as_ref(), issued.user) {
            Decision::Issue => {
                if found.is_some_and(|packet| packet.state == State::Lost) {
                    book.find_packet(issued.packet);
                    self.counters.packets_found.add(1);
                }
                // What the ticket says was promised. A gateway that does not tell it has the agent's own rules.
                let ends = issued
                    .ends
                    .unwrap_or_else(|| issued.at.min(now).plus_ms(self.rules.ticket_lifetime_ms));
                let term = book.first_heard(Term { began: issued.at, ends }, now);
                book.issue(issued.packet, issued.user, issued.stage, term);
                self.counters.issued.add(1);
            }
            Decision::Repeat => self.counters.issued_repeat.add(1),
            Decision::Inconsistent => {
                self.counters.issued_inconsistent.add(1);
                if self.inconsistent.begins(now.0) {
                    warn!(
                        packet = issued.packet.0,
                        user = issued.user.0,
                        ledger = found.map_or("unreleased", |packet| packet.state.name()),
                        "a shard says that it issued a packet, and the ledger says otherwise; the ledger stands"
                    );
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::requests::tests::released;
    use shake_rules::seed::PacketKind;

    #[test]
    fn only_a_released_packet_is_issued() {
        let (me, other) = (UserId(1), UserId(2));
        let release = released(7, PacketKind::Plain);
        for (found, expected) in [
            (Some((State::Released, None)), Decision::Issue),
            (Some((State::Lost, None)), Decision::Issue),
            (Some((State::Issued, Some(me))), Decision::Repeat),
            (Some((State::Opened, Some(me))), Decision::Repeat),
            (Some((State::Refunded, Some(me))), Decision::Repeat),
            (Some((State::Issued, Some(other))), Decision::Inconsistent),
            (Some((State::Opened, Some(other))), Decision::Inconsistent),
            (Some((State::Void, None)), Decision::Inconsistent),
            (None, Decision::Inconsistent),
        ] {
            let packet = found.map(|(state, user)| Packet {
                state,
                user,
                ..Packet::released(&release, UnixMillis(0))
            });
            assert_eq!(decide(packet.as_ref(), me), expected, "{found:?}");
        }
    }
}
