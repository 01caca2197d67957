//! Requests that wait for what another writer of the ledger has: they are put back, the ring's cursor stays before them, and nobody
//! else waits for it.

use crate::lanes::{Incoming, Lanes};
use crate::requests::{Answer, Judge};
use shake_proto::handoff::record::Request;
use shake_rules::UnixMillis;

/// So long a request waits, in milliseconds. Then it is answered busy.
const WAIT_MS_MAX: u64 = 2_000;

/// Puts those back at once that would be asked for in vain. One whose time is over is tried once more.
pub(crate) fn put_back(inbox: &mut Vec<Incoming>, judge: &Judge, lanes: &mut Lanes, now: UnixMillis) {
    let may_wait =
        |incoming: &mut Incoming| incoming.waited_ms(now) < WAIT_MS_MAX && judge.is_elsewhere(&incoming.request, now);
    for incoming in inbox.extract_if(.., may_wait) {
        lanes.put_back(incoming, now);
    }
}

/// These, which nothing came of, are put back for the next turn; what has waited for long is answered busy.
pub(crate) fn put_off(
    waiting: &[usize],
    inbox: &mut Vec<Incoming>,
    judge: &mut Judge,
    lanes: &mut Lanes,
    answers: &mut Vec<(usize, Answer)>,
    now: UnixMillis,
) {
    // From the last one on, so that the numbers of those before hold.
    for &at in waiting.iter().rev() {
        let incoming = inbox.swap_remove(at);
        if incoming.waited_ms(now) < WAIT_MS_MAX {
            lanes.put_back(incoming, now);
        } else if let Request::Ask(ask) = &incoming.request
            && !incoming.is_answered
        {
            answers.push((incoming.lane, judge.busy(ask, false)));
        }
    }
}
