//! Walks the schedule in time order and hands what is due to the connections.
//!
//! A few tasks do this for all sessions, a tick at a time: no task and no timer per shake or per session.

use super::exchange::exchange;
use super::session::{act, on_shake_reply};
use super::{Seat, Shared};
use crate::schedule::{Due, Micros};
use crate::user::{RequestFailure, ShakeNext};
use ::quinn::{Connection, SendDatagramError};
use bytes::BytesMut;
use shake_proto::code::Code;
use shake_proto::frame;
use shake_proto::wire::v1::{self, request::Kind};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::MissedTickBehavior;

/// Time between two walks; a shake is sent this much after its time at the most, unless the machine is overloaded.
const TICK: Duration = Duration::from_millis(1);
/// After so many shakes in one walk the sockets get their turn, also on a single thread.
const BATCH: u32 = 64;
/// Shakes are encoded into chunks of this size.
const ARENA_BYTES: usize = 16 << 10;

/// Starts as many shakers as there are threads. Each takes what is due next, in turn with the others.
pub(super) fn spawn_all(shared: &Arc<Shared>) {
    for _ in 0..shared.scenario.threads {
        let shared = shared.clone();
        tokio::spawn(async move { shake_all(&shared).await });
    }
}

/// Goes on after the last shake, because the rate may be raised until the shaking is over.
async fn shake_all(shared: &Arc<Shared>) {
    let mut arena = BytesMut::new();
    // Shakes of phones that may not shake yet, by the time at which they are due again.
    let mut held: BinaryHeap<Reverse<(Micros, u32, u32)>> = BinaryHeap::new();
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    while !shared.shaken.load(Ordering::Relaxed) {
        ticks.tick().await;
        let mut now = shared.now();
        let mut batch = 0;
        while !shared.shaken.load(Ordering::Relaxed) {
            let due = match held.peek() {
                Some(Reverse((at, ..))) if *at <= now => {
                    held.pop()
                        .map(|Reverse((at, session, sequence))| Due { at, session, sequence })
                }
                _ => shared.schedule().pop(now),
            };
            let Some(due) = due else {
                break;
            };
            if let Some(at) = shake(shared, due, now, &mut arena) {
                held.push(Reverse((at, due.session, due.sequence)));
            }
            batch += 1;
            if batch == BATCH {
                batch = 0;
                tokio::task::yield_now().await;
                now = shared.now();
            }
        }
    }
}

/// Sends a shake that is due. Gives when it is due again, if the phone may not shake yet.
fn shake(shared: &Arc<Shared>, slot: Due, now: Micros, arena: &mut BytesMut) -> Option<Micros> {
    let mut due_again = None;
    let mut instead = None;
    let on_stream = shared.seat(slot.session, |Seat { user, connection, .. }, habits, tally| {
        let shake = match user.on_shake_due(now, slot.at, slot.sequence, habits, tally) {
            ShakeNext::Send(shake) => shake,
            ShakeNext::At(at) => {
                due_again = Some(at);
                return None;
            }
            ShakeNext::Instead(action) => {
                instead = Some(action);
                return None;
            }
            ShakeNext::LeftOut => return None,
        };
        let Some(connection) = connection else {
            user.on_shake_failed(slot.sequence, "offline", tally);
            return None;
        };
        if user.shakes_on_streams() {
            return Some((connection.clone(), shake));
        }
        let datagram = frame::encode_datagram(&shake, arena, ARENA_BYTES);
        if let Err(error) = connection.send_datagram(datagram) {
            let reason = match error {
                SendDatagramError::UnsupportedByPeer => "datagrams_unsupported",
                SendDatagramError::Disabled => "datagrams_disabled",
                SendDatagramError::TooLarge => "datagram_too_large",
                SendDatagramError::ConnectionLost(_) => "connection_lost",
            };
            user.on_shake_failed(slot.sequence, reason, tally);
        }
        None
    });
    act(shared, slot.session, instead);
    if let Some((connection, shake)) = on_stream {
        tokio::spawn(shake_on_stream(shared.clone(), slot.session, connection, shake));
    }
    due_again
}

async fn shake_on_stream(shared: Arc<Shared>, index: u32, connection: Connection, shake: v1::Shake) {
    let patience_ms = (shared.scenario.habits.shake_timeout.0 / 1_000) as u32;
    let answer = exchange(&connection, Kind::Shake(shake), patience_ms).await;
    let failure = match answer.map(|reply| reply.kind) {
        Ok(Some(v1::reply::Kind::Shake(reply))) => {
            on_shake_reply(&shared, index, reply);
            return;
        }
        Ok(_) => RequestFailure::Malformed(Code::Unknown),
        Err(failure) => failure,
    };
    shared.seat(index, |seat, _, tally| {
        tally.violations.malformed_replies += u64::from(matches!(failure, RequestFailure::Malformed(_)));
        seat.user.on_shake_failed(shake.sequence, &failure.name(), tally);
    });
}
