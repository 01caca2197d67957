//! The shakes of a user: which of the intended ones are sent, what the answers mean, and those that stay unanswered.

use super::{Action, Habits, Pending, ShakeNext, User};
use crate::schedule::Micros;
use crate::tally::Tally;
use bytes::Bytes;
use shake_proto::wire::v1;
use shake_rules::cookie::COOKIE_BYTES_MAX;
use shake_rules::ticket::TICKET_BYTES;

impl User {
    /// A shake is due: by the schedule, or because its time has come at last, which a phone that was held back waits for.
    /// Latency counts from `due`.
    pub fn on_shake_due(
        &mut self,
        now: Micros,
        due: Micros,
        sequence: u32,
        habits: &Habits,
        tally: &mut Tally,
    ) -> ShakeNext {
        self.expire(now, habits, tally);
        let was_held = self.held == Some(sequence);
        if was_held {
            self.held = None;
        }
        if !self.online {
            tally.shakes.skipped_offline += 1;
            tally.steps.skipped_offline(due);
            return ShakeNext::LeftOut;
        }
        if let Some(leave) = self.forsake(now, habits) {
            tally.shakes.skipped_offline += 1;
            tally.steps.skipped_offline(due);
            return ShakeNext::Instead(leave);
        }
        // One shake waits for the pace, and stands for all that are intended until then.
        if self.held.is_some() || self.is_winding_up {
            tally.shakes.held_back += 1;
            tally.steps.held_back(due);
            return ShakeNext::LeftOut;
        }
        if !self.manners.may_shake(due) {
            self.held = Some(sequence);
            return ShakeNext::At(self.manners.allowed_at());
        }
        tally.shakes.postponed += u64::from(was_held);
        self.manners.on_sent(due);
        self.pending.push_back(Pending { sequence, due });
        tally.shakes.sent += 1;
        tally.networks.count(self.network(habits), |counts| counts.sent += 1);
        tally.steps.sent(due);
        tally.shakes.sent_on_streams += u64::from(self.roles.is_on_streams);
        ShakeNext::Send(v1::Shake { sequence })
    }

    /// The run is over, and with it the shake that waits for the pace.
    pub(super) fn give_up_held_shake(&mut self, tally: &mut Tally) {
        if self.held.take().is_some() {
            tally.shakes.held_back += 1;
            tally.steps.held_back(Micros(u64::MAX));
        }
    }

    /// The transport did not take a shake, or its stream failed.
    pub fn on_shake_failed(&mut self, sequence: u32, reason: &str, tally: &mut Tally) {
        tally.error(&format!("shake_{reason}"), "");
        if let Some(at) = self.pending.iter().position(|pending| pending.sequence == sequence) {
            let pending = self.pending.remove(at).expect("`position` found it");
            tally.shakes.unanswered += 1;
            tally.steps.unanswered(pending.due);
        }
    }

    /// A shake was answered. Gives the claim of what it won, and another Hello when the show has changed.
    pub fn on_shake_reply(
        &mut self,
        now: Micros,
        reply: v1::ShakeReply,
        habits: &Habits,
        tally: &mut Tally,
    ) -> Vec<Action> {
        self.expire(now, habits, tally);
        self.unheard = 0;
        match self
            .pending
            .iter()
            .position(|pending| pending.sequence == reply.sequence)
        {
            Some(at) => {
                let pending = self.pending.remove(at).expect("`position` found it");
                tally.shakes.answered += 1;
                tally
                    .networks
                    .count(self.network(habits), |counts| counts.answered += 1);
                tally.latency.saturating_record(now.since(pending.due).0.max(1));
                tally.steps.answered(pending.due, now.since(pending.due));
            }
            // A phone shows a late answer all the same, and a late win is claimed.
            None if reply.sequence < self.settled_below => tally.shakes.late += 1,
            None => {
                tally.shakes.unexpected += 1;
                return Vec::new();
            }
        }
        tally.outcome(self.phase(now), reply.outcome);
        tally.resource(reply.resource_id);
        self.manners.on_answer(reply.pace_ms);
        let hello = self.hello_when_changed(now, reply.config_version, habits, tally);
        let claim = match v1::Outcome::try_from(reply.outcome) {
            Ok(v1::Outcome::SlowDown) => {
                self.slow_down(now, &reply, tally);
                None
            }
            Ok(v1::Outcome::RedPacket) => self.win(now, reply.red_packet, habits, tally),
            _ => None,
        };
        claim.into_iter().chain(hello).collect()
    }

    /// A datagram arrived that is no reply.
    pub fn on_malformed_datagram(&mut self, tally: &mut Tally) {
        tally.violations.malformed_replies += 1;
        tally.error("datagram_malformed", "");
    }

    fn slow_down(&mut self, now: Micros, reply: &v1::ShakeReply, tally: &mut Tally) {
        let Some(slow_down) = reply.slow_down else {
            tally.violations.malformed_replies += 1;
            return;
        };
        tally.slow_down(slow_down.grade);
        self.manners
            .on_slow_down(now, slow_down.retry_after_ms, &mut self.jitter);
    }

    fn win(
        &mut self,
        now: Micros,
        packet: Option<v1::RedPacket>,
        habits: &Habits,
        tally: &mut Tally,
    ) -> Option<Action> {
        let complete = packet.filter(|packet| {
            (1..=TICKET_BYTES).contains(&packet.ticket.len()) && packet.cookie.len() <= COOKIE_BYTES_MAX
        });
        let Some(packet) = complete else {
            tally.violations.malformed_replies += 1;
            return None;
        };
        self.keep_cookie(&packet.cookie);
        tally.claims.wins += 1;
        if self.roles.hoards {
            tally.claims.hoarded += 1;
            return None;
        }
        Some(self.begin_claim(now, &packet, habits, tally))
    }

    pub(super) fn keep_cookie(&mut self, cookie: &Bytes) {
        if !cookie.is_empty() {
            // A copy: a slice would keep the whole datagram's buffer alive for as long as the user lives.
            self.cookie = Bytes::copy_from_slice(cookie);
        }
    }

    /// Counts the shakes whose time is over.
    pub fn expire(&mut self, now: Micros, habits: &Habits, tally: &mut Tally) {
        while let Some(oldest) = self.pending.front()
            && oldest.due.plus(habits.shake_timeout) <= now
        {
            let due = oldest.due;
            self.settled_below = oldest.sequence + 1;
            self.pending.pop_front();
            tally.shakes.unanswered += 1;
            tally.steps.unanswered(due);
            let is_new = self.manners.on_silence(now, due, &habits.silence, &mut self.jitter);
            self.unheard = self.unheard.saturating_add(u8::from(is_new));
        }
    }

    pub(super) fn give_up_shakes(&mut self, tally: &mut Tally) {
        if let Some(newest) = self.pending.back() {
            self.settled_below = newest.sequence + 1;
        }
        tally.shakes.unanswered += self.pending.len() as u64;
        self.pending
            .iter()
            .for_each(|pending| tally.steps.unanswered(pending.due));
        self.pending.clear();
    }
}
