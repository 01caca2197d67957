//! One request and its reply on a bidirectional stream, and the names of what can go wrong on the way.

use crate::tally::code_name;
use crate::user::RequestFailure;
use ::quinn::{Connection, ConnectionError, ReadError, ReadToEndError, RecvStream, WriteError};
use bytes::BytesMut;
use prost::Message;
use shake_proto::code::Code;
use shake_proto::frame::{self, LENGTH_BYTES_MAX, REPLY_BYTES_MAX};
use shake_proto::wire::v1::{self, request::Kind};
use std::time::Duration;

/// Sends the request on a stream of its own, and waits for the whole reply.
pub(super) async fn exchange(
    connection: &Connection,
    kind: Kind,
    timeout_ms: u32,
) -> Result<v1::Reply, RequestFailure> {
    let timeout = Duration::from_millis(timeout_ms.into());
    let reply = async {
        let (mut send, mut receive) = connection.open_bi().await.map_err(|error| lost(&error))?;
        let mut bytes = BytesMut::new();
        frame::encode_stream(&v1::Request { kind: Some(kind) }, &mut bytes);
        match send.write_chunk(bytes.freeze()).await {
            // The gateway may refuse to read and still say why in its reset of the other direction, so go on.
            Ok(()) | Err(WriteError::Stopped(_)) => {}
            Err(WriteError::ConnectionLost(error)) => return Err(lost(&error)),
            Err(_) => return Err(RequestFailure::ConnectionLost),
        }
        let _ = send.finish(); // fails only on a stream that was stopped, whose reset comes below
        read_message(&mut receive).await
    };
    tokio::time::timeout(timeout, reply)
        .await
        .unwrap_or(Err(RequestFailure::Timeout))
}

/// Reads a stream to its end: one message.
pub(super) async fn read_message<M: Message + Default>(stream: &mut RecvStream) -> Result<M, RequestFailure> {
    let bytes = stream
        .read_to_end(REPLY_BYTES_MAX + LENGTH_BYTES_MAX)
        .await
        .map_err(|error| match error {
            ReadToEndError::TooLong => RequestFailure::Malformed(Code::Oversized),
            ReadToEndError::Read(ReadError::Reset(code)) => RequestFailure::Reset(code.into_inner()),
            ReadToEndError::Read(ReadError::ConnectionLost(error)) => lost(&error),
            ReadToEndError::Read(_) => RequestFailure::ConnectionLost,
        })?;
    frame::decode_stream(bytes.into(), REPLY_BYTES_MAX).map_err(RequestFailure::Malformed)
}

/// A request whose connection ended. When the gateway closed it with a code, that code is the answer.
fn lost(error: &ConnectionError) -> RequestFailure {
    match error {
        ConnectionError::ApplicationClosed(close) => RequestFailure::Closed(close.error_code.into_inner()),
        _ => RequestFailure::ConnectionLost,
    }
}

/// The name and the message of why a connection ended.
pub(super) fn connection_error(error: &ConnectionError) -> (String, String) {
    let name = match error {
        ConnectionError::VersionMismatch => "version_mismatch".into(),
        ConnectionError::TransportError(error) => transport_error(error.code.into()),
        ConnectionError::ConnectionClosed(close) => format!("closed_{}", transport_error(close.error_code.into())),
        ConnectionError::ApplicationClosed(close) => format!("closed_{}", code_name(close.error_code.into_inner())),
        ConnectionError::Reset => "reset".into(),
        ConnectionError::TimedOut => "timed_out".into(),
        ConnectionError::LocallyClosed => "left_as_told".into(),
        ConnectionError::CidsExhausted => "connection_ids_exhausted".into(),
    };
    (name, error.to_string())
}

/// The name of a transport error code (RFC 9000, section 20.1). Codes from 0x100 to 0x1ff carry a TLS alert (RFC 9001,
/// section 4.8), whose numbers are in RFC 8446, section 6.
fn transport_error(code: u64) -> String {
    match code {
        0x0 => "no_error".into(),
        0x1 => "internal_error".into(),
        0x2 => "connection_refused".into(),
        0xa => "protocol_violation".into(),
        0x100..=0x1ff => format!("tls_alert_{}", code - 0x100),
        _ => format!("transport_{code:#x}"),
    }
}
