//! A lean QUIC version 1 client: after the handshake a session keeps its keys, its packet numbers, and what must be
//! acknowledged, in under a kilobyte.
//!
//! It implements RFC 9000, 9001, 9002 and 9221 as far as a client needs them. It does no I/O and reads no clock. The
//! caller owns sockets, timers and the map from connection IDs to connections, and drives each [`Connection`] like this:
//!
//! ```text
//! socket ─▶ handle_datagram(now, bytes, events) ─▶ poll_transmit(now, buffer) until None ─▶ socket
//!           handle_timeout(now, events)        ─┘   then next_timeout() says when to come back
//!           send_datagram, open_request, …     ─┘
//! ```
//!
//! What it leaves out, as the protocol allows: 0-RTT and session tickets, migration, MTU discovery, ECN, key updates
//! of its own, pacing, streams that are read or written piece by piece, and every cipher suite but AES-128-GCM.
//!
//! The modules stand in the order in which a packet meets them.

#![forbid(unsafe_code)]

mod time;

mod error;
mod events;

mod cid;
mod varint;

mod header;
mod keys;
mod packet;

mod frame;
mod transport_parameters;

mod received;
mod recovery;
mod space;

mod buffers;
mod ranges;

mod cids;
mod handshake;
mod streams;
mod verifier;

mod connection;

#[cfg(feature = "fuzzing")]
pub mod fuzzing;

#[cfg(test)]
mod tests;

pub use cid::{LOCAL_CID_BYTES, LocalCid};
pub use connection::{Connection, seal_initial};
pub use error::{CloseReason, Code, TransportError};
pub use events::{Event, Refused, Sink, StreamId};
pub use time::Micros;

use rustls::RootCertStore;
use rustls::client::Resumption;
use rustls::crypto::ring::{cipher_suite::TLS13_AES_128_GCM_SHA256, default_provider};
use std::sync::Arc;
use verifier::Verifier;

/// Every datagram sent is at most this long: what any path carries (RFC 9000, section 14.1).
pub const DATAGRAM_BYTES: usize = 1_200;
/// What the server is told it may send in one datagram. A caller's receive buffers are of this size.
pub const RECEIVE_BYTES_MAX: usize = 1_500;
/// The longest payload of a DATAGRAM frame that surely goes out, an acknowledgement beside it or not.
pub const DATAGRAM_PAYLOAD_BYTES_MAX: usize = 1_000;

/// How connections behave; shared by all of them.
#[derive(Debug)]
pub struct Config {
    /// TLS, as [`tls`] makes it.
    pub tls: rustls::ClientConfig,
    /// Offered to the server; the smaller of both holds. Zero for none.
    pub idle_timeout: Micros,
    /// After so long without a packet a PING goes out. Zero for never.
    pub keep_alive: Micros,
    /// How long an acknowledgement may wait for something to ride on, in milliseconds, below 16,384. The server's
    /// probe timeouts grow by as much (RFC 9002, section 6.2.1).
    pub ack_delay_ms_max: u16,
    /// The longest request.
    pub request_bytes_max: u32,
    /// The longest response, and the longest notice.
    pub response_bytes_max: u32,
    /// Streams that the server may have open at one time.
    pub notices_max: u32,
}

/// TLS 1.3 with TLS_AES_128_GCM_SHA256 alone, so that the keys of all sessions have one compact form; no session
/// tickets are kept.
///
/// # Errors
/// No roots, or the provider does not accept it, which would be a defect of ours.
pub fn tls(roots: RootCertStore, alpn: &[u8]) -> Result<rustls::ClientConfig, rustls::Error> {
    let mut provider = default_provider();
    provider.cipher_suites = vec![TLS13_AES_128_GCM_SHA256];
    let provider = Arc::new(provider);
    let verifier = Verifier::new(roots, provider.clone())?;
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous() // rustls's word for any verifier of one's own; ours asks rustls's
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    tls.alpn_protocols = vec![alpn.to_vec()];
    tls.resumption = Resumption::disabled();
    Ok(tls)
}
