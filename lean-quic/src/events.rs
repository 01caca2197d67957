//! What a connection tells its driver, and what it refuses.

use super::error::CloseReason;
use thiserror::Error;

/// Names a request stream of one connection (RFC 9000, section 2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u64);

/// Something happened. Events are handed to the driver while a datagram or timeout is worked on, and never stored.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// The handshake is complete: datagrams and requests may go out.
    Connected,
    /// A DATAGRAM came.
    Datagram(&'a [u8]),
    /// The whole response to a request.
    Response {
        /// The request's stream.
        stream: StreamId,
        /// The response.
        bytes: Vec<u8>,
    },
    /// The server ended a response with an error code.
    StreamReset {
        /// The request's stream.
        stream: StreamId,
        /// The application's code.
        code: u64,
    },
    /// A response longer than [`Config::response_bytes_max`](super::Config::response_bytes_max). It is not read on.
    Oversized {
        /// The request's stream.
        stream: StreamId,
    },
    /// The server takes requests again, after one was refused with [`Refused::StreamLimit`].
    StreamsAvailable,
    /// The whole of a stream that the server opened.
    Notice(Vec<u8>),
    /// A stream of the server's that it broke off, or that was too long.
    NoticeLost,
    /// From now on a stateless reset ends with this token (RFC 9000, section 10.3). It bears a random connection ID,
    /// so a driver with many connections needs the token to find the one it is for.
    ResetToken([u8; 16]),
    /// The connection is over; this comes once, and last.
    Closed(CloseReason),
}

/// Takes events.
pub type Sink<'a> = &'a mut dyn FnMut(Event<'_>);

/// What an application asked for and did not get.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Refused {
    /// There is no connection yet, or no more.
    #[error("not connected")]
    NotConnected,
    /// The server takes no DATAGRAM frames (RFC 9221, section 3).
    #[error("the server takes no datagrams")]
    DatagramsUnsupported,
    /// More bytes than may be sent.
    #[error("too large")]
    TooLarge,
    /// What was asked before has not gone out yet.
    #[error("busy")]
    Busy,
    /// The server grants no more streams for now (RFC 9000, section 4.6).
    #[error("the server's stream limit is reached")]
    StreamLimit,
}
