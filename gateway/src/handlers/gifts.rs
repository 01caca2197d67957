//! Gifts: in a phase that has them, the event sends packets to random users who are online. Each shard draws among its
//! own sessions, of each user only the first in all shards, and as often as it has such; so each user has the same chance,
//! however many sessions. The agent funds and announces them.

use crate::gateway::Gateway;
use crate::phone::Phones;
use rand::{Rng, RngExt};
use shake_proto::handoff::record::Gift;
use shake_rules::throttle::Service;
use shake_rules::{Cents, UserId};

/// Sessions looked at for each recipient, before a draw is given up for lack of users. Where each user has as many sessions as
/// may be, one in four is a first one.
const LOOKS_PER_RECIPIENT: usize = 32;

/// Whether the phase has gifts, and the grade lets them be sent.
pub fn has_gifts(app: &Gateway) -> bool {
    let phases = &app.conditions.live.show.phases;
    let phase = app.conditions.phase;
    phase.is_some_and(|index| phases[index].gifts.is_some() && !app.rules().is_off(Service::Gift))
}

/// Sends the gifts that are due.
pub fn send_gifts(app: &mut Gateway, phones: &mut Phones<'_>) {
    if !has_gifts(app) {
        return;
    }
    let phase = app.conditions.phase;
    let Some((phase, gifts)) = phase.and_then(|index| Some((index, app.conditions.live.show.phases[index].gifts?)))
    else {
        return;
    };
    let share = app.shared.presence.share_of(app.shard);
    app.gifts.change_rate(gifts.per_second * share);
    while app.gifts.take(app.conditions.now.elapsed_ns).is_ok() {
        let recipients = draw_recipients(app, phones, gifts.recipients.into());
        let link = &mut app.ledger.link;
        if recipients.is_empty() || app.ledger.id.is_none() || link.is_part_lost() || !link.can_issue() {
            app.counters.gifts_missed.inc();
            continue;
        }
        let mut key = [0; 16];
        app.seals.rng.fill_bytes(&mut key);
        let total = Cents(app.seals.rng.random_range(gifts.min.0..=gifts.max.0));
        let gift = Gift {
            key,
            total,
            recipients,
            stage: app.conditions.stage(phase),
            at: app.conditions.unix,
        };
        match app.ledger.link.gift(gift) {
            Ok(()) => app.counters.gifts.inc(),
            Err(_) => app.counters.gifts_missed.inc(),
        }
    }
}

/// Up to `count` different users at random; fewer when hardly anybody is online.
fn draw_recipients(app: &mut Gateway, phones: &mut Phones<'_>, count: usize) -> Vec<UserId> {
    let mut users: Vec<UserId> = Vec::with_capacity(count);
    for _ in 0..count * LOOKS_PER_RECIPIENT {
        if users.len() == count || app.credentials.capacity() == 0 {
            break;
        }
        let index = app.seals.rng.random_range(0..app.credentials.capacity());
        if let Some((user, session)) = app.credentials.session(index)
            && !users.contains(&user)
            && app.shared.presence.is_first(user, session)
            && let Some(phone) = phones.at(index)
            && app.blocked_ms(user, phone.behaviour.device()).is_none()
        {
            users.push(user);
        }
    }
    users
}
