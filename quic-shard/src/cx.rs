//! A session in the hands of its application.

use crate::close::Close;
use crate::counters::Counters;
use crate::io::Now;
use crate::session::Transport;
use crate::session_id::SessionId;
use crate::streams::{NoRoom, StreamRules, refuse};
use bytes::Bytes;
use quinn_proto::{SendDatagramError, StreamId};
use std::net::SocketAddr;
use std::time::Instant;

/// One session.
pub struct SessionCx<'a, S, H> {
    /// Which session it is.
    pub id: SessionId,
    /// The present, as of the turn's beginning.
    pub now: &'a Now,
    /// What stands beside the session.
    pub hot: &'a mut H,
    /// The application's part of it.
    pub session: &'a mut S,
    pub(super) transport: &'a mut Transport,
    pub(super) rules: &'a StreamRules,
    pub(super) counters: &'a Counters,
}

impl<S, H> SessionCx<'_, S, H> {
    /// Where the client is.
    pub fn peer(&self) -> SocketAddr {
        self.transport.connection.remote_address()
    }

    /// Whether the client was asked to delay acknowledgements.
    pub fn delays_acks(&self) -> bool {
        self.transport.connection.stats().frame_tx.ack_frequency > 0
    }

    /// Bytes that a datagram may have now; none when the client takes none, or the connection is closed.
    pub fn datagram_room(&mut self) -> Option<usize> {
        let size_max = self.transport.connection.datagrams().max_size()?;
        let is_open = !self.transport.connection.is_closed();
        is_open.then(|| size_max.min(self.transport.connection.datagrams().send_buffer_space()))
    }

    /// Sends a datagram.
    ///
    /// # Errors
    /// When the client takes none, or too many wait.
    pub fn send_datagram(&mut self, bytes: Bytes) -> Result<(), SendDatagramError> {
        self.transport.connection.datagrams().send(bytes, false)
    }

    /// Whether a reply of so many bytes on this stream would reach the client, at once or when it gives credit: to be asked
    /// before anything is done that only the reply can tell.
    pub fn can_reply(&mut self, stream: StreamId, bytes: usize) -> bool {
        self.transport.can_reply(stream, bytes, self.rules)
    }

    /// Sends a whole reply; what the client has no credit for, when it gives some.
    ///
    /// # Errors
    /// When the stream was stopped, or too much waits already. The stream is to be refused then.
    pub fn reply(&mut self, stream: StreamId, bytes: Bytes) -> Result<(), NoRoom> {
        if !self.transport.reply(stream, bytes, self.rules)? {
            self.counters.replies_waited.inc();
        }
        Ok(())
    }

    /// Ends a request's stream in both directions.
    pub fn refuse(&mut self, stream: StreamId, code: u32) {
        refuse(&mut self.transport.connection, stream, code);
    }

    /// Sends a notice on a stream of its own. False when the client gives no room for it.
    pub fn notify(&mut self, bytes: Bytes) -> bool {
        self.transport.notify(bytes, self.rules)
    }

    /// Closes the connection.
    pub fn close(&mut self, close: Close) {
        self.transport.close(self.now.instant, close);
    }

    /// Whether the connection was closed, or is lost.
    pub fn is_closed(&self) -> bool {
        self.transport.connection.is_closed()
    }

    /// When [`on_deadline`](crate::app::App::on_deadline) is called, in place of what was set before.
    pub fn set_deadline(&mut self, at: Option<Instant>) {
        self.transport.set_deadline(at);
    }
}
