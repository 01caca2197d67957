//! Gifts: in a phase that has them, the event sends packets to random users who are online. Each shard draws among its
//! own sessions, of each user only the first in all shards, and as often as it has such; so each user has the same chance,
//! however many sessions. The agent funds and announces them.

use super::serving::Serving;
use super::sessions::Sessions;
use rand::{Rng, RngExt};
use shake_proto::handoff::record::Gift;
use shake_rules::throttle::Service;
use shake_rules::{Cents, UserId};

/// Sessions looked at for each recipient, before a draw is given up for lack of users. Where each user has as many sessions as
/// may be, one in four is a first one.
const LOOKS_PER_RECIPIENT: usize = 32;

impl Serving {
    /// Whether the phase has gifts, and the grade lets them be sent.
    pub(super) fn has_gifts(&self) -> bool {
        self.phase
            .is_some_and(|index| self.live.show.phases[index].gifts.is_some() && !self.rules().is_off(Service::Gift))
    }

    /// Sends the gifts that are due.
    pub(super) fn send_gifts(&mut self, sessions: &mut Sessions) {
        if !self.has_gifts() {
            return;
        }
        let Some((phase, gifts)) = self
            .phase
            .and_then(|index| Some((index, self.live.show.phases[index].gifts?)))
        else {
            return;
        };
        let share = self.shared.presence.share_of(self.shard);
        self.gifts.change_rate(gifts.per_second * share);
        while self.gifts.take(self.now.elapsed_ns).is_ok() {
            let recipients = self.draw_recipients(sessions, gifts.recipients.into());
            if recipients.is_empty() || self.ledger.id.is_none() || !self.ledger.link.can_issue() {
                self.counters.gifts_missed.inc();
                continue;
            }
            let mut key = [0; 16];
            self.rng.fill_bytes(&mut key);
            let total = Cents(self.rng.random_range(gifts.min.0..=gifts.max.0));
            let gift = Gift {
                key,
                total,
                recipients,
                stage: self.stage(phase),
                at: self.unix,
            };
            match self.ledger.link.gift(gift) {
                Ok(()) => self.counters.gifts.inc(),
                Err(_) => self.counters.gifts_missed.inc(),
            }
        }
    }

    /// Up to `count` different users at random; fewer when hardly anybody is online.
    fn draw_recipients(&mut self, sessions: &mut Sessions, count: usize) -> Vec<UserId> {
        let mut users: Vec<UserId> = Vec::with_capacity(count);
        for _ in 0..count * LOOKS_PER_RECIPIENT {
            if users.len() == count || self.terms.capacity() == 0 {
                break;
            }
            let index = self.rng.random_range(0..self.terms.capacity());
            if let Some((user, seat)) = self.terms.seat(index)
                && !users.contains(&user)
                && self.shared.presence.sits_first(user, seat)
                && let Some(session) = sessions.get_mut(index)
                && self.blocked_ms(user, session.behaviour.device()).is_none()
            {
                users.push(user);
            }
        }
        users
    }
}
