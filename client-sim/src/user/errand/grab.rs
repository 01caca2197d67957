//! `Grab`: takes a share of a packet that the user was offered or told of.

use super::{Action, Task, is_code};
use crate::schedule::Micros;
use crate::tally::{ErrandKind, Moved, Tally};
use crate::user::{Habits, User};
use bytes::Bytes;
use shake_proto::reply::{GrabResult, Reason};
use shake_proto::wire::v1;

impl User {
    /// The gateway says that a packet is for this user.
    pub(in crate::user) fn on_offer(
        &mut self,
        now: Micros,
        offer: &v1::PacketOffered,
        habits: &Habits,
        tally: &mut Tally,
    ) -> Option<Action> {
        if !is_code(&offer.code) {
            tally.violations.malformed_replies += 1;
            return None;
        }
        tally.packets.offers += 1;
        self.grab(now, &offer.code, true, habits, tally)
    }

    /// A friend tells of a code.
    pub fn on_told(&mut self, now: Micros, code: &Bytes, habits: &Habits, tally: &mut Tally) -> Option<Action> {
        tally.packets.codes_heard += 1;
        self.grab(now, code, false, habits, tally)
    }

    /// Grabs unless the user never does, is at it, or begins nothing new any more. What was grabbed before is grabbed
    /// again when it is heard of again: the answer must be the same.
    fn grab(
        &mut self,
        now: Micros,
        code: &Bytes,
        was_offered: bool,
        habits: &Habits,
        tally: &mut Tally,
    ) -> Option<Action> {
        let is_at_it = |task: &Task| matches!(task, Task::Grab { code: other, .. } if other == code);
        if !self.roles.grabs || self.is_winding_up || self.errands.iter().any(|errand| is_at_it(&errand.task)) {
            tally.packets.ignored += 1;
            return None;
        }
        let task = Task::Grab {
            code: Bytes::copy_from_slice(code),
            was_offered,
        };
        Some(self.begin(now, task, habits.packets.delay_ms, tally))
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "the answer, what was asked, and what every handler gets"
    )]
    pub(super) fn on_grab(
        &mut self,
        now: Micros,
        code: Bytes,
        was_offered: bool,
        result: GrabResult,
        habits: &Habits,
        tally: &mut Tally,
        actions: &mut Vec<Action>,
    ) {
        let has_share = self.purse.has_grabbed(&code);
        match result {
            GrabResult::Grabbed { packet, amount, repeat } => {
                let (packet, cents) = (packet.0, amount.0);
                tally.packets.grabs.done += 1;
                tally.packets.grabs.course.repeats += u64::from(repeat);
                let user = self.id;
                if self.purse.take(packet, cents, repeat, tally) {
                    tally.grabbed.push(Moved { packet, user, cents });
                }
                self.purse.remember_grab(&code);
                if !has_share {
                    if self.roles.repeats {
                        actions.extend(self.grab(now, &code, was_offered, habits, tally));
                    }
                    actions.extend(self.look(now, code, packet, Some(cents), None, habits, tally));
                }
                actions.extend(self.send_when_rich(now, habits, tally));
            }
            GrabResult::Empty => {
                tally.packets.grabs_empty += 1;
                tally.violations.answers_changed += u64::from(has_share);
            }
            GrabResult::Refused(reason) => {
                tally.violations.answers_changed += u64::from(has_share);
                let is_broken = matches!(reason, Reason::NotEntitled | Reason::PacketUnknown);
                tally.violations.offers_broken += u64::from(was_offered && is_broken);
                tally.refused(ErrandKind::Grab, reason);
            }
            GrabResult::Busy { .. } => unreachable!("busy is no end of an errand"),
        }
    }
}
