//! What a session's connection tells, passed on: datagrams and request streams to their handlers.

use super::session::Session;
use crate::app::Gateway;
use crate::handlers::{on_datagram, on_stream};
use crate::limits::UserLimits;
use quinn_proto::{Dir, Event, StreamEvent};

pub(super) fn handle_event(
    session: &mut Session,
    limits: &mut UserLimits,
    index: usize,
    app: &mut Gateway,
    event: Event,
) {
    match event {
        Event::Connected => {
            session.behaviour.established();
            app.counters.connections_established.inc();
            if std::mem::take(&mut limits.is_uncharged) {
                app.charge(session.connection.remote_address().ip());
            }
        }
        Event::DatagramReceived => {
            while let Some(datagram) = session.connection.datagrams().recv() {
                on_datagram(app, session, limits, datagram);
            }
        }
        Event::Stream(StreamEvent::Opened { dir: Dir::Bi }) => {
            while let Some(stream) = session.accept() {
                on_stream(app, session, limits, index, stream);
            }
        }
        Event::Stream(StreamEvent::Readable { id }) => on_stream(app, session, limits, index, id),
        Event::Stream(StreamEvent::Writable { id }) => session.write_on(id),
        Event::Stream(StreamEvent::Stopped { id, .. }) => session.give_up(id),
        Event::Stream(StreamEvent::Finished { .. }) => session.is_heard(),
        // The rest needs no answer: the handshake's data, and the end of a connection (it drains by its timers).
        _ => {}
    }
}
