//! `Send`: funds a packet from what the user has, for named others or for whoever hears of its code. Once per user.

use super::{Action, Task, is_code};
use crate::schedule::Micros;
use crate::tally::{ErrandKind, Moved, Tally};
use crate::user::{Habits, User};
use bytes::Bytes;
use shake_proto::reply::{Reason, SendResult};
use shake_proto::wire::v1;

/// Shares of a packet that a user sends: fewest and most.
pub const SEND_SHARES: [u64; 2] = [2, 5];

impl User {
    /// Sends a packet, when this user is one who does, has not yet, and has enough for it.
    pub(super) fn send_when_rich(&mut self, now: Micros, habits: &Habits, tally: &mut Tally) -> Option<Action> {
        let balance = self.purse.balance();
        let may = self.roles.sends && !self.purse.has_sent && !self.is_winding_up;
        if !may || balance < habits.packets.send_min_cents {
            return None;
        }
        self.purse.has_sent = true;
        let [fewest, most] = SEND_SHARES;
        let shares = self.jitter.between(fewest, most);
        let by_name = self.jitter.next_u64() & 1 == 0;
        let recipients = if by_name {
            self.others(shares as usize, habits)
        } else {
            Vec::new()
        };
        let mut key = [0; 16];
        key[..8].copy_from_slice(&self.id.to_le_bytes());
        key[8..].copy_from_slice(&(self.jitter.next_u64() ^ habits.run).to_le_bytes());
        let send = v1::Send {
            idempotency_key: Bytes::copy_from_slice(&key),
            total_cents: self.jitter.between(shares, balance),
            shares: shares as u32,
            recipients,
        };
        Some(self.begin(now, Task::Send(send), habits.packets.delay_ms, tally))
    }

    /// So many different other users; nobody when the run has too few.
    fn others(&mut self, count: usize, habits: &Habits) -> Vec<u64> {
        let mut others = Vec::new();
        if (habits.sessions as usize) <= count {
            return others;
        }
        let first_id = self.id - u64::from(self.index);
        while others.len() < count {
            let Some(index) = self.someone_else(habits) else {
                return Vec::new();
            };
            let id = first_id + u64::from(index);
            if !others.contains(&id) {
                others.push(id);
            }
        }
        others
    }

    pub(super) fn on_sent(
        &mut self,
        now: Micros,
        send: &v1::Send,
        result: SendResult,
        habits: &Habits,
        tally: &mut Tally,
        actions: &mut Vec<Action>,
    ) {
        match result {
            SendResult::Sent { packet, code, repeat } if is_code(&code) => {
                tally.packets.sends.done += 1;
                tally.packets.sends.course.repeats += u64::from(repeat);
                tally.packets.sends_named += u64::from(!send.recipients.is_empty());
                tally.sent.push(Moved {
                    packet: packet.0,
                    user: self.id,
                    cents: send.total_cents,
                });
                self.purse.spend(send.total_cents);
                let code = Bytes::copy_from_slice(&code);
                if send.recipients.is_empty() {
                    self.tell_friends(&code, habits, tally, actions);
                }
                actions.extend(self.look(now, code, packet.0, None, Some(send), habits, tally));
            }
            SendResult::Sent { .. } => self.on_senseless(ErrandKind::Send, tally),
            SendResult::Refused(reason) => {
                // The numbers are right, the key is new, and what this user knows to have covers them.
                let is_wrong = matches!(reason, Reason::Amount | Reason::Balance | Reason::KeyUsed);
                tally.violations.sends_refused += u64::from(is_wrong && !self.purse.is_in_doubt);
                tally.refused(ErrandKind::Send, reason);
            }
            SendResult::Busy { .. } => unreachable!("busy is no end of an errand"),
        }
    }
}
