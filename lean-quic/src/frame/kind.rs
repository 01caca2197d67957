//! Frame types (RFC 9000, table 3; RFC 9221, section 4; draft-ietf-quic-ack-frequency-07, sections 4 and 5).

pub(in super::super) const PADDING: u8 = 0x00;
pub(in super::super) const PING: u8 = 0x01;
pub(in super::super) const ACK: u8 = 0x02;
pub(in super::super) const ACK_ECN: u8 = 0x03;
pub(in super::super) const RESET_STREAM: u8 = 0x04;
pub(in super::super) const STOP_SENDING: u8 = 0x05;
pub(in super::super) const CRYPTO: u8 = 0x06;
pub(in super::super) const NEW_TOKEN: u8 = 0x07;
/// With the bits OFF (4), LEN (2) and FIN (1).
pub(in super::super) const STREAM: u8 = 0x08;
pub(in super::super) const STREAM_LAST: u8 = 0x0f;
pub(in super::super) const MAX_DATA: u8 = 0x10;
pub(in super::super) const MAX_STREAM_DATA: u8 = 0x11;
pub(in super::super) const MAX_STREAMS_BIDI: u8 = 0x12;
pub(in super::super) const MAX_STREAMS_UNI: u8 = 0x13;
pub(in super::super) const DATA_BLOCKED: u8 = 0x14;
pub(in super::super) const STREAM_DATA_BLOCKED: u8 = 0x15;
pub(in super::super) const STREAMS_BLOCKED_BIDI: u8 = 0x16;
pub(in super::super) const STREAMS_BLOCKED_UNI: u8 = 0x17;
pub(in super::super) const NEW_CONNECTION_ID: u8 = 0x18;
pub(in super::super) const RETIRE_CONNECTION_ID: u8 = 0x19;
pub(in super::super) const PATH_CHALLENGE: u8 = 0x1a;
pub(in super::super) const PATH_RESPONSE: u8 = 0x1b;
pub(in super::super) const CLOSE_TRANSPORT: u8 = 0x1c;
pub(in super::super) const CLOSE_APPLICATION: u8 = 0x1d;
pub(in super::super) const HANDSHAKE_DONE: u8 = 0x1e;
pub(in super::super) const IMMEDIATE_ACK: u8 = 0x1f;
/// The first byte of a type of two bytes, and the second of the only one that is known, 0xaf.
pub(in super::super) const TWO_BYTES: u8 = 0x40;
pub(in super::super) const ACK_FREQUENCY: u8 = 0xaf;
/// With the bit LEN (1).
pub(in super::super) const DATAGRAM: u8 = 0x30;
pub(in super::super) const DATAGRAM_WITH_LENGTH: u8 = 0x31;
