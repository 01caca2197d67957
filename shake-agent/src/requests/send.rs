//! `Send`: a user funds a packet from what they have.

use super::{BUSY_RETRY_AFTER_MS, Judge};
use crate::ledger::{Book, Making, Origin};
use ring::digest;
use shake_proto::handoff::record::{Ask, Notice};
use shake_proto::reply::{Reason, SendResult};
use shake_proto::request::Send;
use shake_rules::split::SHARES_MAX;
use shake_rules::{Cents, UnixMillis, UserId};

/// A send that has waited for longer is not carried out, in milliseconds: the contract promises it to who was told "busy".
const SEND_AGE_MAX_MS: u64 = 30_000;

/// Whether the numbers make sense: at least a cent for each share and for each who is named, everybody named once, and a taker
/// for each share.
fn check_amounts(send: &Send) -> Result<(), Reason> {
    let shares_are_some = (1..=SHARES_MAX).contains(&send.shares);
    let receivers = usize::from(send.shares).max(send.recipients.len());
    let enough = send.total.0 >= receivers as u64 && i64::try_from(send.total.0).is_ok();
    let takers = send.recipients.is_empty() || usize::from(send.shares) <= send.recipients.len();
    if shares_are_some && enough && takers && are_distinct(&send.recipients) {
        Ok(())
    } else {
        Err(Reason::Amount)
    }
}

/// Whether nobody is named twice.
pub(super) fn are_distinct(users: &[UserId]) -> bool {
    let mut sorted = users.to_vec();
    sorted.sort_unstable();
    sorted.windows(2).all(|pair| pair[0] != pair[1])
}

/// SHA-256 of what is asked for, with the recipients in order: a list that is shuffled is the same request.
pub(super) fn hash_of(total: Cents, tag: u16, recipients: &[UserId]) -> [u8; 32] {
    let mut sorted = recipients.to_vec();
    sorted.sort_unstable();
    let mut content = digest::Context::new(&digest::SHA256);
    content.update(&total.0.to_be_bytes());
    content.update(&tag.to_be_bytes());
    for user in sorted {
        content.update(&user.0.to_be_bytes());
    }
    content
        .finish()
        .as_ref()
        .try_into()
        .expect("a SHA-256 digest has 32 bytes")
}

impl Judge {
    /// The result, and who is to be told. `hash` is that of the content, `at` the time of the request.
    pub(super) fn send(
        &mut self,
        book: &mut Book,
        ask: &Ask,
        send: &Send,
        hash: [u8; 32],
        at: UnixMillis,
        now: UnixMillis,
    ) -> (SendResult, Vec<Notice>) {
        let origin = Origin::Sent(ask.user);
        let sent = |judge: &Self, packet, repeat| SendResult::Sent {
            packet,
            code: judge.code(packet),
            repeat,
        };
        let refused = |judge: &Self, reason| (SendResult::Refused(judge.count_refusal(reason)), Vec::new());
        // The key first: what it made is told whatever else is wrong by now.
        if let Some(made) = book.made_with(origin, &send.key) {
            if made.hash != hash {
                return refused(self, Reason::KeyUsed);
            }
            self.counters.sends_repeat.add(1);
            return (sent(self, made.packet, true), Vec::new());
        }
        if now.since_ms(at) > SEND_AGE_MAX_MS {
            // The user was told "busy" long ago, and may have done something else with the money.
            self.counters.sends_too_old.add(1);
            let retry_after_ms = BUSY_RETRY_AFTER_MS;
            return (SendResult::Busy { retry_after_ms }, Vec::new());
        }
        if let Err(reason) = check_amounts(send) {
            return refused(self, reason);
        }
        let balance = book.user(ask.user).map_or(0, |account| account.balance);
        if u64::try_from(balance).unwrap_or(0) < send.total.0 {
            return refused(self, Reason::Balance);
        }
        let packet = book.make_packet(
            self.rules.part,
            &Making {
                origin,
                key: &send.key,
                hash,
                amount: send.total,
                shares: send.shares,
                recipients: &send.recipients,
                stage: None,
                due: now.plus_ms(self.rules.share_lifetime_ms),
            },
        );
        self.counters.sends_made.add(1);
        let tell = |&recipient| self.notice(recipient, packet, Some(ask.user));
        let notices = send.recipients.iter().map(tell).collect();
        (sent(self, packet, false), notices)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_sense_and_what_does_not() {
        let check = |total, shares, recipients: &[u64]| {
            check_amounts(&Send {
                key: [0; 16],
                total: Cents(total),
                shares,
                recipients: recipients.iter().copied().map(UserId).collect(),
            })
            .is_ok()
        };
        for (total, shares, recipients, expected) in [
            (1, 1, &[][..], true),
            (100, 100, &[], true),
            (2, 2, &[5, 6], true),
            (2, 1, &[5, 6], true),
            (1, 1, &[5, 6], false),
            (1, 1, &[5], true),
            (2, 1, &[5, 6, 7], false),
            (0, 0, &[], false),
            (5, 0, &[], false),
            (99, 100, &[], false),
            (200, 101, &[], false),
            (u64::MAX, 1, &[], false),
            (2, 2, &[5, 5], false),
            (3, 3, &[5, 6], false),
        ] {
            assert_eq!(
                check(total, shares, recipients),
                expected,
                "{total} {shares} {recipients:?}"
            );
        }
    }
}
