//! What sessions do by the clock.

use crate::app::App;
use crate::drive::forget;
use crate::session::Due;
use crate::state::{State, mark};

/// So many places before its turn a session is fetched: long enough for the memory to answer, and so few that all of what
/// was fetched is still in the caches.
pub const AHEAD: usize = 8;

/// Fires the timers that are due. `fired` is used again from turn to turn.
pub fn fire<A: App>(state: &mut State<A::Session, A::Hot>, app: &mut A, fired: &mut Vec<usize>) {
    let now = state.now.instant;
    state.wheel.advance(state.tick(), fired);
    for at in 0..fired.len() {
        if let Some(&next) = fired.get(at + 2 * AHEAD) {
            state.table.prefetch_slot(next);
        }
        if let Some(&next) = fired.get(at + AHEAD)
            && state.table.packed_until(next).is_none_or(|deadline| deadline <= now)
        {
            state.fetch(next);
        }
        let index = fired[at];
        if let Some(deadline) = state.table.packed_until(index)
            && deadline > now
        {
            // It has moved since. Most have, and most sessions are packed meanwhile: nothing more is looked at.
            state.wheel.arm(index, state.tick_of(deadline));
            continue;
        }
        fire_one(state, app, index);
    }
    fired.clear();
}

fn fire_one<A: App>(state: &mut State<A::Session, A::Hot>, app: &mut A, index: usize) {
    let now = state.now.instant;
    let Some(session) = state.table.get_mut(index) else {
        return;
    };
    let transport = &mut session.transport;
    let is_timeout = transport.connection.poll_timeout().is_some_and(|at| at <= now);
    if is_timeout {
        transport.connection.handle_timeout(now);
    }
    match transport.due(now) {
        None if !is_timeout => return state.arm(index),
        None => {}
        Some(Due::End) => return forget(state, app, index),
        Some(Due::Ping) => {
            transport.count_ping(now);
            if app.may_ping() {
                transport.connection.ping();
                state.counters.pings.inc();
            }
        }
        Some(Due::Deadline) => {
            if let Some(mut cx) = state.cx(index) {
                cx.set_deadline(None);
                app.on_deadline(&mut cx);
            }
        }
    }
    if let Some(session) = state.table.get_mut(index) {
        mark(session, index, &mut state.dirty);
    }
}
