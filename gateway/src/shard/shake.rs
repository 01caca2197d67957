//! `Shake`: draws the outcome, and on a win issues a packet; or says "slow down".

use super::serving::{Serving, Shaker};
use crate::counters::{Dropped, Missed};
use crate::limits::{Limits, UserLimits, Verdict};
use crate::winners::Refusal;
use bytes::Bytes;
use rand::Rng;
use shake_proto::handoff::record::Issued;
use shake_proto::reply::outcome_to_wire;
use shake_proto::request::Shake;
use shake_proto::wire::v1;
use shake_rules::keys::Purpose;
use shake_rules::outcome::Outcome;
use shake_rules::ticket::Ticket;
use shake_rules::winnings::Won;
use shake_rules::{SponsorId, UserId};

impl Serving {
    /// The reply to a shake; none for a user who shakes on after being told to slow down.
    pub fn shake(
        &mut self,
        user: UserId,
        shake: Shake,
        shaker: Shaker,
        limits: &mut UserLimits,
    ) -> Option<v1::ShakeReply> {
        let show_pace_ms = self.show_pace_ms();
        let (live, rng) = (&self.live, &mut self.rng);
        let Limits { shakes, present, .. } = &mut self.limits;
        match shakes.shake(present, limits, shaker.address, live, show_pace_ms, rng) {
            Verdict::Serve { pace_ms } => Some(self.serve_shake(user, shake, pace_ms, limits, shaker.can_be_told)),
            Verdict::Refuse { why, retry_after_ms } => {
                self.counters.slowed(why).inc();
                Some(self.slow_down(shake, retry_after_ms))
            }
            Verdict::Drop => {
                self.counters.dropped(Dropped::ToldBefore).inc();
                None
            }
        }
    }

    /// The same on a stream, where every request gets an answer.
    pub(super) fn shake_on_stream(
        &mut self,
        user: UserId,
        shake: Shake,
        shaker: Shaker,
        limits: &mut UserLimits,
    ) -> v1::ShakeReply {
        let retry_after_ms = self.rules().retry_ms[1];
        match self.shake(user, shake, shaker, limits) {
            Some(reply) => reply,
            None => self.slow_down(shake, retry_after_ms),
        }
    }

    pub(super) fn slow_down(&self, shake: Shake, retry_after_ms: u32) -> v1::ShakeReply {
        v1::ShakeReply {
            sequence: shake.sequence,
            outcome: v1::Outcome::SlowDown as i32,
            resource_id: 0,
            pace_ms: retry_after_ms.max(self.show_pace_ms()),
            config_version: self.live.version,
            red_packet: None,
            slow_down: Some(v1::SlowDown {
                grade: self.limits.present.grade().number().into(),
                retry_after_ms,
                blocked: false,
            }),
        }
    }

    fn serve_shake(
        &mut self,
        user: UserId,
        shake: Shake,
        pace_ms: u32,
        limits: &mut UserLimits,
        can_be_told: bool,
    ) -> v1::ShakeReply {
        let (outcome, resource_id, red_packet) = match self.phase {
            Some(index) => self.draw(user, index, can_be_told),
            None => (Outcome::RestPage, 0, None),
        };
        self.counters.shake(outcome).inc();
        if red_packet.is_some() {
            limits.won(&self.limits.present);
        }
        v1::ShakeReply {
            sequence: shake.sequence,
            outcome: outcome_to_wire(outcome) as i32,
            resource_id,
            pace_ms,
            config_version: self.live.version,
            red_packet,
            slow_down: None,
        }
    }

    fn draw(&mut self, user: UserId, index: usize, can_be_told: bool) -> (Outcome, u32, Option<v1::RedPacket>) {
        let random = self.rng.next_u64();
        let phase = &self.live.show.phases[index];
        let (resources, without_packet) = (phase.resources, phase.without_packet);
        let mut outcome = phase.weights.draw(random);
        if outcome == Outcome::RedPacket {
            let won = if can_be_told {
                self.win(user, index)
            } else {
                Err(Missed::Untold)
            };
            match won {
                Ok((sponsor, won)) => {
                    let resource = self
                        .live
                        .show
                        .sponsors
                        .get(&sponsor)
                        .map_or(0, |sponsor| sponsor.resource);
                    return (outcome, resource, Some(won));
                }
                Err(missed) => {
                    self.counters.missed(missed).inc();
                    outcome = without_packet;
                }
            }
        }
        let at = Outcome::ALL
            .iter()
            .position(|one| *one == outcome)
            .expect("every outcome stands in ALL");
        (outcome, resources[at], None)
    }

    /// Gives the next packet to `user`, in this order: check that the issue can be recorded, count the win into the
    /// user's limits, move the grant ring's cursor, record the issue, make the ticket. A failure or a crash between
    /// two steps costs a packet at worst, and never gives one twice.
    fn win(&mut self, user: UserId, phase: usize) -> Result<(SponsorId, v1::RedPacket), Missed> {
        if self.release.wait_ns(self.now.elapsed_ns) > 0 {
            return Err(Missed::NotDue);
        }
        let limits = self.live.show.limits;
        if self.shared.winners.is_at_limit(user, limits) {
            return Err(Missed::UserLimit);
        }
        let ledger = self.ledger.id.ok_or(Missed::LedgerUnknown)?;
        if !self.ledger.link.can_issue() {
            return Err(Missed::RingFull);
        }
        let grant = self.ledger.link.next_grant().ok_or(Missed::NoGrant)?;
        if grant.event != self.live.show.event {
            return Err(Missed::OtherEvent);
        }
        let won = Won {
            packet: grant.packet,
            sponsor: grant.sponsor,
        };
        let winnings = self
            .shared
            .winners
            .reserve(user, won, limits)
            .map_err(|refusal| match refusal {
                Refusal::Limit => Missed::UserLimit,
                Refusal::Full => Missed::WinnersFull,
            })?;
        let stage = self.stage(phase);
        let issued_at = self.unix;
        let expires_at = issued_at.plus_ms(self.live.show.ticket_lifetime_ms);
        let issued = Issued {
            packet: grant.packet,
            user,
            stage,
            at: issued_at,
            ends: Some(expires_at),
        };
        self.ledger.link.issue(&issued).map_err(|_| Missed::RingFull)?;
        let released = self.release.take(self.now.elapsed_ns);
        debug_assert!(released.is_ok(), "it was due, and it is the same moment");
        self.counters.wins.inc();
        let ticket = Ticket {
            event: grant.event,
            packet: grant.packet,
            user,
            sponsor: grant.sponsor,
            stage,
            issued_at,
            expires_at,
        };
        let mut nonce = [0; 12];
        self.rng.fill_bytes(&mut nonce);
        self.secrets.tickets.seal(&ledger, &ticket, nonce, &mut self.ticket);
        let key = self.secrets.tickets.maker();
        self.shared.key_uses.made(self.shard, Purpose::Ticket, key, expires_at);
        let packet = v1::RedPacket {
            ticket: Bytes::copy_from_slice(&self.ticket),
            sponsor_id: grant.sponsor.0.into(),
            cookie: self.cookie_of(user, &winnings),
        };
        Ok((grant.sponsor, packet))
    }
}
