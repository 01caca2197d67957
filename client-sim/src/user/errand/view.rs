//! `PacketView`: looks at who got how much of a packet that the user had a part in.

use super::{Action, Task};
use crate::schedule::Micros;
use crate::tally::{ErrandKind, Tally};
use crate::user::{Habits, User};
use bytes::Bytes;
use shake_proto::reply::{PacketState, ViewResult};
use shake_proto::wire::v1;

/// What is looked at, and what the user knows of it.
#[derive(Debug)]
pub(super) struct Look {
    pub(super) code: Bytes,
    packet: u64,
    /// The user's own share, in cents.
    own: Option<u64>,
    /// Cents and shares of a packet that the user sent.
    sent: Option<(u64, u32)>,
}

impl User {
    /// Looks, when this user is one who does.
    #[expect(
        clippy::too_many_arguments,
        reason = "what is known of the packet, and what every handler gets"
    )]
    pub(super) fn look(
        &mut self,
        now: Micros,
        code: Bytes,
        packet: u64,
        own: Option<u64>,
        sent: Option<&v1::Send>,
        habits: &Habits,
        tally: &mut Tally,
    ) -> Option<Action> {
        if !self.roles.looks || self.is_winding_up {
            return None;
        }
        let look = Look {
            code,
            packet,
            own,
            sent: sent.map(|send| (send.total_cents, send.shares)),
        };
        Some(self.begin(now, Task::View(look), habits.packets.delay_ms, tally))
    }

    pub(super) fn on_view(&mut self, look: &Look, result: ViewResult, tally: &mut Tally) {
        match result {
            ViewResult::State(state) => {
                tally.packets.views.done += 1;
                tally.violations.views_wrong += u64::from(!is_right(&state, look, self.id));
            }
            ViewResult::Refused(reason) => {
                // Whoever had a part in a packet may look at it.
                tally.violations.views_wrong += 1;
                tally.refused(ErrandKind::View, reason);
            }
            ViewResult::Busy { .. } => unreachable!("busy is no end of an errand"),
        }
    }
}

/// Whether the view agrees with itself and with what the user knows.
fn is_right(state: &PacketState, look: &Look, user: u64) -> bool {
    let taken: u64 = state
        .taken
        .iter()
        .map(|share| share.amount.0)
        .fold(0, u64::saturating_add);
    let taken_shares = state.taken.len() as u64;
    let (shares, shares_left) = (u64::from(state.shares), u64::from(state.shares_left));
    // What nobody grabbed in time went back to who funded it: then less is accounted for.
    let went_back = shares_left == 0 && taken_shares < shares;
    let adds_up = if went_back {
        taken.saturating_add(state.left.0) <= state.total.0
    } else {
        taken.checked_add(state.left.0) == Some(state.total.0) && taken_shares + shares_left == shares
    };
    let mut users: Vec<u64> = state.taken.iter().map(|share| share.user.0).collect();
    users.sort_unstable();
    let each_once = users.windows(2).all(|pair| pair[0] != pair[1]);
    let best: Vec<_> = state.taken.iter().filter(|share| share.is_best).collect();
    let largest = state.taken.iter().map(|share| share.amount).max();
    let best_is_largest = match best[..] {
        [] => true,
        [best] => shares_left == 0 && Some(best.amount) == largest,
        _ => false,
    };
    let own = state
        .taken
        .iter()
        .find(|share| share.user.0 == user)
        .map(|share| share.amount.0);
    state.packet.0 == look.packet
        && adds_up
        && each_once
        && best_is_largest
        && state.taken.iter().all(|share| share.amount.0 >= 1)
        && state.left.0 >= shares_left
        && look.own.is_none_or(|known| own == Some(known))
        && look
            .sent
            .is_none_or(|sent| sent == (state.total.0, state.shares.into()))
}
