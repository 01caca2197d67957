//! The life of one session: connect, say Hello, read what comes, run errands, connect again.

use super::super::gateways::Gateway;
use super::exchange::{connection_error, exchange, read_message};
use super::{Seat, Shared};
use crate::schedule::Micros;
use crate::tally::Tally;
use crate::user::{Action, ConnectNext, ErrandNext, ErrandStart, RequestFailure};
use ::quinn::{Connection, ConnectionError, RecvStream};
use bytes::Bytes;
use prost::Message;
use shake_proto::code::Code;
use shake_proto::wire::v1::{self, request::Kind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

/// Begins every session in its turn: so many a second, and so many handshakes at one time.
pub(super) async fn ramp(shared: Arc<Shared>) {
    let per_second = u64::from(shared.scenario.connects_per_second);
    for index in 0..shared.scenario.sessions {
        shared
            .sleep_until(Micros(u64::from(index) * 1_000_000 / per_second))
            .await;
        let Ok(permit) = shared.connecting.clone().acquire_owned().await else {
            return; // the run is closing
        };
        tokio::spawn(session(shared.clone(), index, permit));
    }
}

async fn session(shared: Arc<Shared>, index: u32, permit: OwnedSemaphorePermit) {
    let mut permit = Some(permit);
    let mut first = true;
    loop {
        if permit.is_none() {
            permit = shared.connecting.clone().acquire_owned().await.ok();
        }
        if permit.is_none() || shared.closing.load(Ordering::Relaxed) {
            return;
        }
        // Boxed, so that the handshake's state is not carried through the whole life of the session.
        let connected = Box::pin(connect(&shared, index)).await;
        permit = None;
        if first && matches!(connected, Ok(_) | Err(ConnectNext::GiveUp)) {
            first = false;
            shared.settled.fetch_add(1, Ordering::Relaxed);
        }
        let next = match connected {
            Ok(connection) => {
                let reason = serve(&shared, index, &connection).await;
                lose(&shared, index, &reason)
            }
            Err(next) => next,
        };
        match next {
            ConnectNext::At(at) => shared.sleep_until(at).await,
            ConnectNext::Elsewhere(at) => {
                go_elsewhere(&shared, index);
                shared.sleep_until(at).await;
            }
            ConnectNext::GiveUp => return,
        }
    }
}

/// Handshake and Hello. Puts the connection into the seat.
async fn connect(shared: &Arc<Shared>, index: u32) -> Result<Connection, ConnectNext> {
    let began = shared.now();
    let scenario = &shared.scenario;
    let fail = |name: &str, message: &str| {
        shared.seat(index, |seat, habits, tally| {
            tally.error(&format!("connect_{name}"), message);
            let next = seat.user.on_connect_failed(shared.now(), name, habits, tally);
            let gateway = shared.gateways().after_failure(seat.gateway, || seat.user.draw());
            go_to(seat, gateway, tally);
            next
        })
    };
    let gateway = shared.seat(index, |seat, _, _| seat.gateway);
    let target = shared.gateways().address(gateway);
    let connecting = shared
        .endpoint(index)
        .connect_with(shared.client.clone(), target, &scenario.server_name)
        .map_err(|error| fail("not_started", &error.to_string()))?;
    let connection = match timeout(Duration::from_millis(scenario.connect_timeout_ms.into()), connecting).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => {
            let (name, message) = connection_error(&error);
            return Err(fail(&name, &message));
        }
        Err(_) => return Err(fail("timed_out", "no handshake within connect_timeout_ms")),
    };
    let hello = shared.seat(index, |seat, _, _| seat.user.hello(shared.token(seat.user.id())));
    let answer = exchange(&connection, Kind::Hello(hello), scenario.request_timeout_ms).await;
    let now = shared.now();
    let welcome = shared.seat(index, |seat, habits, tally| {
        if let Err(failure) = &answer {
            tally.error(&format!("hello_{}", failure.name()), "");
        }
        let actions = seat.user.on_hello(now, answer, habits, tally)?;
        let was_alive = shared
            .lines
            .get(index as usize)
            .is_none_or(|line| line.has_lived_since(now, began));
        tally.hello_answered(seat.user.network(habits), now.since(began), was_alive);
        seat.connection = Some(connection.clone());
        Ok(actions)
    });
    match welcome {
        Ok(actions) => {
            shared.online.fetch_add(1, Ordering::Relaxed);
            act(shared, index, actions);
            Ok(connection)
        }
        Err(next) => {
            connection.close(Code::Done.number().into(), b"");
            Err(next)
        }
    }
}

/// Reads answers and notices until the connection ends.
async fn serve(shared: &Arc<Shared>, index: u32, connection: &Connection) -> ConnectionError {
    let mut notice_stream = pin!(connection.accept_uni());
    loop {
        tokio::select! {
            biased;
            datagram = connection.read_datagram() => match datagram {
                Ok(datagram) => on_datagram(shared, index, datagram),
                Err(reason) => return reason,
            },
            stream = &mut notice_stream => match stream {
                Ok(stream) => {
                    tokio::spawn(on_notice(shared.clone(), index, stream));
                    notice_stream.set(connection.accept_uni());
                }
                Err(reason) => return reason,
            },
        }
    }
}

fn lose(shared: &Shared, index: u32, reason: &ConnectionError) -> ConnectNext {
    shared.online.fetch_sub(1, Ordering::Relaxed);
    if shared.closing.load(Ordering::Relaxed) {
        return ConnectNext::GiveUp;
    }
    let (name, _) = connection_error(reason);
    shared.seat(index, |Seat { user, connection, .. }, habits, tally| {
        *connection = None;
        user.on_connection_lost(shared.now(), &name, habits, tally)
    })
}

fn on_datagram(shared: &Arc<Shared>, index: u32, datagram: Bytes) {
    match v1::ShakeReply::decode(datagram) {
        Ok(reply) => on_shake_reply(shared, index, reply),
        Err(_) => shared.seat(index, |seat, _, tally| seat.user.on_malformed_datagram(tally)),
    }
}

/// Tells the user of a reply, however it came, and begins the claim of what was won.
pub(super) fn on_shake_reply(shared: &Arc<Shared>, index: u32, reply: v1::ShakeReply) {
    let now = shared.now();
    let won = shared.seat(index, |seat, habits, tally| {
        seat.user.on_shake_reply(now, reply, habits, tally)
    });
    act(shared, index, won);
}

/// The run is over: every user finishes what is under way, and some then ask for their wallets.
pub(super) fn wind_up(shared: &Arc<Shared>) {
    for index in 0..shared.scenario.sessions {
        let now = shared.now();
        let action = shared.seat(index, |seat, habits, tally| seat.user.on_winding_up(now, habits, tally));
        act(shared, index, action);
    }
}

/// Does what a user decided to do.
pub(super) fn act(shared: &Arc<Shared>, index: u32, actions: impl IntoIterator<Item = Action>) {
    for action in actions {
        match action {
            Action::Errand(start) => drop(tokio::spawn(errand(shared.clone(), index, start))),
            Action::Leave { at, to } => {
                match to {
                    Some(to) => go_where_told(shared, index, &to),
                    None => go_elsewhere(shared, index),
                }
                drop(tokio::spawn(leave(shared.clone(), index, at)));
            }
            Action::Fetch(fetch) => shared.fetchers.order(fetch),
            Action::Tell { friend_index, code } => {
                let now = shared.now();
                let grab = shared.seat(friend_index, |seat, habits, tally| {
                    seat.user.on_told(now, &code, habits, tally)
                });
                // Hearing of a code begins a grab at the most, so this goes no deeper.
                act(shared, friend_index, grab);
            }
        }
    }
}

async fn errand(shared: Arc<Shared>, index: u32, start: ErrandStart) {
    let ErrandStart { id, mut at } = start;
    loop {
        shared.sleep_until(at).await;
        let now = shared.now();
        let request = shared.seat(index, |seat, _, _| {
            seat.user
                .errand_request(now, id, |user| shared.token(user))
                .map(|request| (seat.connection.clone(), request))
        });
        let Some((connection, request)) = request else {
            return;
        };
        let answer = match connection {
            Some(connection) => exchange(&connection, request, shared.scenario.request_timeout_ms).await,
            None => Err(RequestFailure::Offline),
        };
        let now = shared.now();
        let (next, actions) = shared.seat(index, |seat, habits, tally| {
            seat.user.on_errand(now, id, answer, habits, tally)
        });
        act(&shared, index, actions);
        match next {
            ErrandNext::At(again) => at = again,
            ErrandNext::Done => return,
        }
    }
}

/// The next connection goes to this gateway.
fn go_to(seat: &mut Seat, gateway: Gateway, tally: &mut Tally) {
    tally.sessions.moved += u64::from(gateway.place() != seat.gateway.place());
    seat.gateway = gateway;
}

/// The next connection goes to the gateway of this name.
fn go_where_told(shared: &Shared, index: u32, name: &str) {
    let gateway = shared.gateways().named(name);
    shared.seat(index, |seat, _, tally| match gateway {
        Some(gateway) => go_to(seat, gateway, tally),
        None => tally.error("go_away_alternative_unusable", name),
    });
}

/// The next connection goes to another of the scenario's gateways, if there is one.
fn go_elsewhere(shared: &Shared, index: u32) {
    shared.seat(index, |seat, _, tally| {
        let gateway = shared.gateways().another(seat.gateway, || seat.user.draw());
        go_to(seat, gateway, tally);
    });
}

/// Leaves the connection at this time, as the gateway asked, or when what the user has here is done. One that has ended
/// before is not ended again.
async fn leave(shared: Arc<Shared>, index: u32, at: Micros) {
    let connection = shared.seat(index, |seat, _, _| seat.connection.clone());
    let mut again = Some(at);
    while let Some(at) = again {
        shared.sleep_until(at).await;
        let now = shared.now();
        again = shared.seat(index, |seat, _, _| seat.user.leaves_later(now));
    }
    if let Some(connection) = connection {
        connection.close(Code::GoingAway.number().into(), b"as told");
    }
}

/// Reads a notice, and does what the user makes of it.
async fn on_notice(shared: Arc<Shared>, index: u32, mut stream: RecvStream) {
    let patience = Duration::from_millis(shared.scenario.request_timeout_ms.into());
    let message = timeout(patience, read_message::<v1::Notice>(&mut stream)).await;
    let now = shared.now();
    let action = shared.seat(index, |seat, habits, tally| {
        match message.unwrap_or(Err(RequestFailure::Timeout)) {
            Ok(notice) => seat.user.on_notice(now, &notice, habits, tally),
            Err(failure) => {
                tally.violations.malformed_replies += u64::from(matches!(failure, RequestFailure::Malformed(_)));
                tally.error(&format!("notice_{}", failure.name()), "");
                None
            }
        }
    });
    act(&shared, index, action);
}
