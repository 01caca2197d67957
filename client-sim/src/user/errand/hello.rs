//! `Hello` once more on the same connection: to learn of what has changed since the last.

use super::{Action, Task};
use crate::schedule::Micros;
use crate::tally::{ErrandKind, Tally};
use crate::user::{Habits, User};
use shake_proto::wire::v1;
use shake_rules::cookie::COOKIE_BYTES_MAX;

impl User {
    pub(in crate::user) fn begin_hello(&mut self, now: Micros, habits: &Habits, tally: &mut Tally) -> Action {
        self.begin(now, Task::Hello, habits.hello_delay_ms, tally)
    }

    /// Whether another Hello is under way.
    pub(in crate::user) fn is_saying_hello(&self) -> bool {
        self.errands.iter().any(|errand| matches!(errand.task, Task::Hello))
    }

    pub(super) fn on_hello_again(
        &mut self,
        now: Micros,
        reply: v1::HelloReply,
        habits: &Habits,
        tally: &mut Tally,
        actions: &mut Vec<Action>,
    ) {
        if reply.cookie.len() > COOKIE_BYTES_MAX {
            return self.on_senseless(ErrandKind::Hello, tally);
        }
        tally.hellos_again.done += 1;
        actions.extend(self.learn(now, reply, habits, tally));
    }
}
