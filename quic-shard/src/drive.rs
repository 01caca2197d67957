//! Driving sessions: for each that something happened to its events are handled, its packets go into the outgoing batch, what
//! it tells the endpoint is passed on, its timer is armed.

use crate::app::{App, Cx, TooLong};
use crate::io::Io;
use crate::session::Session;
use crate::state::State;
use crate::streams::Read;
use quinn_proto::{Dir, Event, StreamEvent, StreamId};
use std::time::Duration;

/// How long a closed session repeats to who missed it why it was closed. RFC 9000, section 10.2, asks for three probe
/// timeouts, with our patience some three seconds, and lets an endpoint end earlier that answers what comes later with
/// stateless resets, as ours do. Memory is why: who opens and closes connections by the hundred is given six kilobytes for
/// each of this time.
pub const CLOSING: Duration = Duration::from_secs(1);

/// Brings every session that something happened to up to date: its events, its packets, its timer.
pub fn drive<A: App>(state: &mut State<A::Session, A::Hot>, app: &mut A, io: &mut impl Io) {
    let mut dirty = std::mem::take(&mut state.dirty);
    for index in dirty.drain(..) {
        drive_one(state, app, io, index);
    }
    state.anti_amplification.clear();
    // Nothing above touches a session, so the list that grew meanwhile is this one.
    state.dirty = dirty;
}

fn drive_one<A: App>(state: &mut State<A::Session, A::Hot>, app: &mut A, io: &mut impl Io, index: usize) {
    let Some(session) = state.table.get_mut(index) else {
        return;
    };
    session.transport.is_dirty = false;
    if session.transport.is_handshaking {
        handshake_events(state, app, index);
    }
    let Some(mut cx) = state.cx(index) else {
        return;
    };
    while let Some(event) = cx.transport.connection.poll() {
        on_event(app, &mut cx, event);
    }
    app.after_events(&mut cx);
    let now = cx.now.instant;
    cx.transport.expect_acks(now);
    transmit(state, io, index);
    if pass_endpoint_events(state, app, index) {
        transmit(state, io, index);
    }
    if let Some(line) = state.hot.get_mut(index) {
        line.note_leaf();
    }
    begin_closing(state, app, index);
    state.arm(index);
}

/// The events of a session up to the end of its handshake.
fn handshake_events<A: App>(state: &mut State<A::Session, A::Hot>, app: &mut A, index: usize) {
    loop {
        let Some(mut cx) = state.cx(index) else {
            return;
        };
        let Some(event) = cx.transport.connection.poll() else {
            return;
        };
        let is_over = matches!(event, Event::Connected | Event::ConnectionLost { .. });
        let is_connected = matches!(event, Event::Connected);
        if is_over {
            cx.transport.is_handshaking = false;
        }
        on_event(app, &mut cx, event);
        if is_over {
            state.handshaking -= 1;
            let buffered = state.buffered.take(index);
            if is_connected && let Some(session) = state.table.get_mut(index) {
                // What they bring is polled next.
                for packet in buffered {
                    session.transport.connection.handle_event(packet);
                }
            }
            return;
        }
    }
}

fn on_event<A: App>(app: &mut A, cx: &mut Cx<'_, A>, event: Event) {
    match event {
        Event::Connected => {
            cx.counters.connections_established.inc();
            app.on_established(cx);
        }
        Event::DatagramReceived => {
            while let Some(datagram) = cx.transport.connection.datagrams().recv() {
                app.on_datagram(cx, datagram);
            }
        }
        Event::Stream(StreamEvent::Opened { dir: Dir::Bi }) => {
            while let Some(stream) = cx.transport.accept() {
                read(app, cx, stream);
            }
        }
        Event::Stream(StreamEvent::Readable { id }) => read(app, cx, id),
        Event::Stream(StreamEvent::Writable { id }) => cx.transport.write_on(id, cx.rules),
        Event::Stream(StreamEvent::Stopped { id, .. }) => cx.transport.give_up(id, cx.rules),
        Event::Stream(StreamEvent::Finished { .. }) => cx.transport.is_heard(),
        // The rest needs no answer: the handshake's data, and the end of a connection (it drains by its timers).
        _ => {}
    }
}

/// Takes what has come on a request's stream.
fn read<A: App>(app: &mut A, cx: &mut Cx<'_, A>, stream: StreamId) {
    match cx.transport.read(stream, cx.rules) {
        Read::Incomplete | Read::Gone => {}
        Read::Request(bytes) => app.on_request(cx, stream, Ok(bytes)),
        Read::TooLong => app.on_request(cx, stream, Err(TooLong)),
    }
}

/// Notes that a connection was closed, by either side, and the packet that says so is out.
fn begin_closing<A: App>(state: &mut State<A::Session, A::Hot>, app: &mut A, index: usize) {
    if let Some(session) = state.table.get_mut(index)
        && session.transport.connection.is_closed()
        && !session.transport.is_closing()
    {
        session.transport.end_at(state.now.instant + CLOSING);
        app.on_closing(session.transport.id(index), &mut session.app);
        state.buffered.take(index);
    }
}

/// Puts the packets that a session has to send into the outgoing batch.
fn transmit<S, H>(state: &mut State<S, H>, io: &mut impl Io, index: usize) {
    loop {
        state.make_room(io);
        let Some(session) = state.table.get_mut(index) else {
            return;
        };
        let connection = &mut session.transport.connection;
        let Some(transmit) = connection.poll_transmit(state.now.instant, 1, state.outgoing.buffer()) else {
            return;
        };
        if transmit.destination != connection.remote_address()
            && !state.anti_amplification.may_send(index, transmit.destination)
        {
            state.counters.packets_withheld.inc();
            continue;
        }
        state.outgoing.push(&transmit);
    }
}

/// Passes events between a connection and the endpoint. Says whether the connection got any; removes it when it is drained.
fn pass_endpoint_events<A: App>(state: &mut State<A::Session, A::Hot>, app: &mut A, index: usize) -> bool {
    let mut got_any = false;
    while let Some(session) = state.table.get_mut(index) {
        let Some(event) = session.transport.connection.poll_endpoint_events() else {
            break;
        };
        let is_drained = event.is_drained();
        let place = session.transport.place;
        let endpoints = &mut state.endpoints;
        let answer = state.stalls.of_tables(|| endpoints.handle_event(place, event));
        if let Some(event) = answer {
            session.transport.connection.handle_event(event);
            got_any = true;
        }
        if is_drained && let Some(session) = state.remove(index) {
            over(app, index, session);
        }
    }
    got_any
}

/// Forgets a session that was closed a while ago.
pub fn forget<A: App>(state: &mut State<A::Session, A::Hot>, app: &mut A, index: usize) {
    if let Some(session) = state.forget(index) {
        over(app, index, session);
    }
}

/// Tells the application that a session is gone.
fn over<A: App>(app: &mut A, index: usize, session: Session<A::Session>) {
    let id = session.transport.id(index);
    let mut part = session.app;
    if !session.transport.is_closing() {
        app.on_closing(id, &mut part);
    }
    app.on_closed(id, part);
}
