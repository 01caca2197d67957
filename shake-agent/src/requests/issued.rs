//! `Issued`: a grant went into a ticket for a user.

use super::Judge;
use crate::ledger::{Batch, LedgerError, Packet, State, Term};
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
    pub(super) fn issued(
        &mut self,
        batch: &mut Batch<'_>,
        issued: &Issued,
        now: UnixMillis,
    ) -> Result<(), LedgerError> {
        let found = batch.packet(issued.packet)?;
        match decide(found.as_ref(), issued.user) {
            Decision::Issue => {
                if let Some(lost) = found.filter(|packet| packet.state == State::Lost) {
                    batch.find_packet(issued.packet, &lost)?;
                    self.counters.packets_found.add(1);
                }
                // What the ticket says was promised. A gateway that does not tell it has the agent's own rules.
                let ends = issued
                    .ends
                    .unwrap_or_else(|| issued.at.min(now).plus_ms(self.rules.ticket_lifetime_ms));
                let term = batch.first_heard(Term { began: issued.at, ends }, now);
                batch.issue(issued.packet, issued.user, issued.stage, term)?;
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
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Origin;
    use shake_rules::{Cents, SponsorId};

    #[test]
    fn only_a_released_packet_is_issued() {
        let (me, other) = (UserId(1), UserId(2));
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
                origin: Origin::Seed(SponsorId(1)),
                amount: Cents(1),
                shares: 1,
                left: Cents(1),
                shares_left: 1,
                recipients: 0,
                state,
                user,
                is_opened: false,
                due: None,
                made: UnixMillis(0),
                term: None,
            });
            assert_eq!(decide(packet.as_ref(), me), expected, "{found:?}");
        }
    }
}
