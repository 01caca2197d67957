//! Why a connection ends: what we find wrong with the server (RFC 9000, section 20.1), and what it tells us.

use super::varint::Truncated;
use thiserror::Error;

/// The transport error codes that this client sends (RFC 9000, section 20.1; RFC 9001, section 6.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code(pub u64);

impl Code {
    /// No error.
    pub const NO_ERROR: Self = Self(0x00);
    /// A limit of our own.
    pub const INTERNAL_ERROR: Self = Self(0x01);
    /// More bytes than granted.
    pub const FLOW_CONTROL_ERROR: Self = Self(0x03);
    /// More streams than granted.
    pub const STREAM_LIMIT_ERROR: Self = Self(0x04);
    /// A frame for a stream that cannot have it.
    pub const STREAM_STATE_ERROR: Self = Self(0x05);
    /// A final size that changed.
    pub const FINAL_SIZE_ERROR: Self = Self(0x06);
    /// A frame that does not decode.
    pub const FRAME_ENCODING_ERROR: Self = Self(0x07);
    /// Transport parameters that do not decode, or are not allowed.
    pub const TRANSPORT_PARAMETER_ERROR: Self = Self(0x08);
    /// More connection IDs than allowed.
    pub const CONNECTION_ID_LIMIT_ERROR: Self = Self(0x09);
    /// Anything else that the protocol forbids.
    pub const PROTOCOL_VIOLATION: Self = Self(0x0a);
    /// In an Initial or Handshake packet, in the place of an application's code.
    pub const APPLICATION_ERROR: Self = Self(0x0c);
    /// More handshake bytes than we hold.
    pub const CRYPTO_BUFFER_EXCEEDED: Self = Self(0x0d);
    /// Keys changed against the rules.
    pub const KEY_UPDATE_ERROR: Self = Self(0x0e);
    /// A key has protected as many packets as it may.
    pub const AEAD_LIMIT_REACHED: Self = Self(0x0f);

    /// A TLS alert as a transport error (RFC 9001, section 4.8).
    #[must_use]
    pub const fn tls_alert(alert: u8) -> Self {
        Self(0x100 + alert as u64)
    }
}

/// What the server did wrong, or a limit of ours that it hit. Closes the connection.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("transport error {:#x}: {reason}", code.0)]
pub struct TransportError {
    /// The code that the server is told.
    pub code: Code,
    /// The reason that the server is told.
    pub reason: &'static str,
}

impl TransportError {
    pub(super) const fn new(code: Code, reason: &'static str) -> Self {
        Self { code, reason }
    }

    pub(super) const fn violation(reason: &'static str) -> Self {
        Self::new(Code::PROTOCOL_VIOLATION, reason)
    }

    pub(super) const fn encoding(reason: &'static str) -> Self {
        Self::new(Code::FRAME_ENCODING_ERROR, reason)
    }

    pub(super) const fn parameter(reason: &'static str) -> Self {
        Self::new(Code::TRANSPORT_PARAMETER_ERROR, reason)
    }
}

/// A frame that ends before its fields do (RFC 9000, section 12.4).
impl From<Truncated> for TransportError {
    fn from(_: Truncated) -> Self {
        Self::encoding("a frame is cut short")
    }
}

/// Why a connection ended.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum CloseReason {
    /// The server speaks no version 1 of QUIC (RFC 9000, section 6.2).
    #[error("the server does not speak QUIC version 1")]
    VersionMismatch,
    /// The server broke a rule, or hit a limit of ours.
    #[error(transparent)]
    Local(#[from] TransportError),
    /// The server's transport layer closed.
    #[error("closed by the server's transport with code {0:#x}")]
    Transport(u64),
    /// The server's application closed.
    #[error("closed by the server with code {0}")]
    Application(u64),
    /// The server has forgotten the connection (RFC 9000, section 10.3).
    #[error("reset by the server")]
    Reset,
    /// Nothing came for as long as the idle timeout (RFC 9000, section 10.1).
    #[error("timed out")]
    TimedOut,
    /// We closed it.
    #[error("closed here")]
    Here,
}
