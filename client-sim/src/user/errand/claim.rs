//! `Claim`: opens a red packet. For a split packet the winner gets a share, and a code for friends.

use super::{Action, Task, is_code};
use crate::schedule::Micros;
use crate::tally::{ErrandKind, Opened, Tally};
use crate::user::{Habits, User};
use bytes::Bytes;
use shake_proto::reply::ClaimResult;
use shake_proto::wire::v1;

impl User {
    pub(in crate::user) fn begin_claim(
        &mut self,
        now: Micros,
        packet: &v1::RedPacket,
        habits: &Habits,
        tally: &mut Tally,
    ) -> Action {
        let task = Task::Claim {
            ticket: Bytes::copy_from_slice(&packet.ticket),
            sponsor: packet.sponsor_id,
        };
        self.begin(now, task, habits.claim_delay_ms, tally)
    }

    pub(super) fn on_claim(
        &mut self,
        now: Micros,
        promised_sponsor: u32,
        result: ClaimResult,
        habits: &Habits,
        tally: &mut Tally,
        actions: &mut Vec<Action>,
    ) {
        let (packet, amount, sponsor, code, repeat) = match result {
            ClaimResult::Opened {
                packet,
                amount,
                sponsor,
                code,
                repeat,
            } => (packet.0, amount.0, u32::from(sponsor.0), code, repeat),
            ClaimResult::Refused(reason) => return tally.refusal(reason),
            ClaimResult::Busy { .. } => unreachable!("busy is no end of an errand"),
        };
        if !code.is_empty() && !is_code(&code) {
            return self.on_senseless(ErrandKind::Claim, tally);
        }
        tally.claims.opened += 1;
        tally.claims.course.repeats += u64::from(repeat);
        tally.violations.wrong_sponsor += u64::from(sponsor != promised_sponsor);
        tally.opened.push(Opened {
            packet,
            user: self.id,
            sponsor,
            cents: amount,
        });
        self.purse.take(packet, amount, repeat, tally);
        if !code.is_empty() {
            tally.claims.split += 1;
            let code = Bytes::copy_from_slice(&code);
            if self.roles.shares_codes {
                self.tell_friends(&code, habits, tally, actions);
            }
            actions.extend(self.look(now, code, packet, Some(amount), None, habits, tally));
        }
        actions.extend(self.send_when_rich(now, habits, tally));
    }
}
