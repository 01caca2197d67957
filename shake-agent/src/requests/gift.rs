//! `Gift`: the event sends a packet to users who were online when it was drawn.

use super::send::are_distinct;
use super::{Answer, Audience, Judge};
use crate::ledger::{Book, Making, Origin};
use shake_proto::handoff::record::Gift;
use shake_rules::UnixMillis;
use tracing::warn;

impl Judge {
    /// `hash` is that of the gift's content.
    pub(super) fn gift(&mut self, book: &mut Book, gift: &Gift, hash: [u8; 32], now: UnixMillis) -> Answer {
        let mut answer = Answer::default();
        if let Some(made) = book.made_with(Origin::Gift, &gift.key) {
            let is_repeat = made.hash == hash;
            let counter = if is_repeat {
                &self.counters.gifts_repeat
            } else {
                &self.counters.gifts_inconsistent
            };
            counter.add(1);
            if !is_repeat && self.inconsistent.begins(now.0) {
                warn!(
                    packet = made.packet.0,
                    "a gift's key made another gift before; nothing is made"
                );
            }
            return answer;
        }
        // Decoding has bounded the number of recipients.
        let shares = gift.recipients.len() as u16;
        let enough = gift.total.0 >= u64::from(shares);
        if shares == 0 || !enough || !are_distinct(&gift.recipients) {
            self.counters.gifts_inconsistent.add(1);
            return answer;
        }
        if u64::try_from(book.gift_budget_left()).unwrap_or(0) < gift.total.0 {
            self.counters.gifts_unfunded.add(1);
            if self.unfunded.begins(now.0) {
                warn!(
                    "the event's budget for gifts is used up; raise [gifts] budget_cents of the show and restart the agent"
                );
            }
            return answer;
        }
        let packet = book.make_packet(
            self.rules.part,
            &Making {
                origin: Origin::Gift,
                key: &gift.key,
                hash,
                amount: gift.total,
                shares,
                recipients: &gift.recipients,
                stage: Some(gift.stage),
                due: now.plus_ms(self.rules.share_lifetime_ms),
            },
        );
        self.counters.gifts_made.add(1);
        answer.notices = gift
            .recipients
            .iter()
            .map(|&user| self.notice(user, packet, None))
            .collect();
        answer.audience = Audience::Everyone;
        answer
    }
}
