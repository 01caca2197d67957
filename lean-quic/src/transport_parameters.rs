//! Transport parameters (RFC 9000, section 18; RFC 9221, section 3; draft-ietf-quic-ack-frequency-07, section 3): what we
//! offer, and what of the server's we keep.

use super::cid::{Cid, LocalCid};
use super::error::TransportError;
use super::frame::STREAMS_MAX;
use super::varint::{Reader, Writer, varint_bytes};

mod id {
    pub(super) const ORIGINAL_DESTINATION_CONNECTION_ID: u64 = 0x00;
    pub(super) const MAX_IDLE_TIMEOUT: u64 = 0x01;
    pub(super) const STATELESS_RESET_TOKEN: u64 = 0x02;
    pub(super) const MAX_UDP_PAYLOAD_SIZE: u64 = 0x03;
    pub(super) const INITIAL_MAX_DATA: u64 = 0x04;
    pub(super) const INITIAL_MAX_STREAM_DATA_BIDI_LOCAL: u64 = 0x05;
    pub(super) const INITIAL_MAX_STREAM_DATA_BIDI_REMOTE: u64 = 0x06;
    pub(super) const INITIAL_MAX_STREAM_DATA_UNI: u64 = 0x07;
    pub(super) const INITIAL_MAX_STREAMS_BIDI: u64 = 0x08;
    pub(super) const INITIAL_MAX_STREAMS_UNI: u64 = 0x09;
    pub(super) const ACK_DELAY_EXPONENT: u64 = 0x0a;
    pub(super) const MAX_ACK_DELAY: u64 = 0x0b;
    pub(super) const DISABLE_ACTIVE_MIGRATION: u64 = 0x0c;
    pub(super) const PREFERRED_ADDRESS: u64 = 0x0d;
    pub(super) const ACTIVE_CONNECTION_ID_LIMIT: u64 = 0x0e;
    pub(super) const INITIAL_SOURCE_CONNECTION_ID: u64 = 0x0f;
    pub(super) const RETRY_SOURCE_CONNECTION_ID: u64 = 0x10;
    pub(super) const MAX_DATAGRAM_FRAME_SIZE: u64 = 0x20;
    pub(super) const MIN_ACK_DELAY: u64 = 0xff04_de1b;
}

/// The least that every endpoint takes in one UDP datagram (RFC 9000, section 18.2).
const UDP_PAYLOAD_BYTES_MIN: u64 = 1_200;
const ACK_DELAY_EXPONENT_MAX: u64 = 20;
const MAX_ACK_DELAY_MS_BELOW: u64 = 1 << 14;
/// The least that an acknowledgement can wait for here; the server may ask for no less.
pub(super) const ACK_DELAY_US_MIN: u64 = 1_000;
/// Any frame that fits into a packet (RFC 9221, section 3, recommends this value).
pub(super) const DATAGRAM_FRAME_BYTES: u64 = 65_535;

/// What we offer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Offer {
    pub(super) idle_timeout_ms: u64,
    pub(super) udp_payload_bytes_max: u64,
    pub(super) data_max: u64,
    pub(super) stream_data_max: u64,
    pub(super) server_streams_max: u64,
    pub(super) ack_delay_ms_max: u64,
    pub(super) source: LocalCid,
}

impl Offer {
    /// As TLS carries it. What is left out has its default: no bidirectional stream of the server's, two connection
    /// IDs, an acknowledgement delay in units of 8 µs.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut buffer = [0; 128];
        let mut writer = Writer::new(&mut buffer);
        for (id, value) in [
            (id::MAX_IDLE_TIMEOUT, self.idle_timeout_ms),
            (id::MAX_UDP_PAYLOAD_SIZE, self.udp_payload_bytes_max),
            (id::INITIAL_MAX_DATA, self.data_max),
            (id::INITIAL_MAX_STREAM_DATA_BIDI_LOCAL, self.stream_data_max),
            (id::INITIAL_MAX_STREAM_DATA_UNI, self.stream_data_max),
            (id::INITIAL_MAX_STREAMS_UNI, self.server_streams_max),
            (id::MAX_ACK_DELAY, self.ack_delay_ms_max),
            (id::MAX_DATAGRAM_FRAME_SIZE, DATAGRAM_FRAME_BYTES),
            (id::MIN_ACK_DELAY, ACK_DELAY_US_MIN),
        ] {
            writer.varint(id);
            writer.varint(varint_bytes(value) as u64);
            writer.varint(value);
        }
        writer.varint(id::INITIAL_SOURCE_CONNECTION_ID);
        writer.counted(&self.source);
        let written = writer.written();
        buffer[..written].to_vec()
    }
}

/// What of the server's parameters matters to this client. Defaults as in RFC 9000, section 18.2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ServerParameters {
    pub(super) original_destination: Option<Cid>,
    pub(super) initial_source: Option<Cid>,
    pub(super) retry_source: Option<Cid>,
    pub(super) reset_token: Option<[u8; 16]>,
    /// The connection ID of sequence number 1, with its token (RFC 9000, section 5.1.1). The address itself is not
    /// used: migrating to it is the client's choice (section 9.6).
    pub(super) preferred: Option<(Cid, [u8; 16])>,
    pub(super) idle_timeout_ms: u64,
    pub(super) data_max: u64,
    /// For streams that we open.
    pub(super) stream_data_max: u64,
    pub(super) streams_max: u64,
    pub(super) ack_delay_exponent: u8,
    pub(super) ack_delay_ms_max: u64,
    /// Whole frame, 0 when the server takes none.
    pub(super) datagram_frame_bytes_max: u64,
}

impl Default for ServerParameters {
    fn default() -> Self {
        Self {
            original_destination: None,
            initial_source: None,
            retry_source: None,
            reset_token: None,
            preferred: None,
            idle_timeout_ms: 0,
            data_max: 0,
            stream_data_max: 0,
            streams_max: 0,
            ack_delay_exponent: 3,
            ack_delay_ms_max: 25,
            datagram_frame_bytes_max: 0,
        }
    }
}

impl ServerParameters {
    /// # Errors
    /// TRANSPORT_PARAMETER_ERROR for what does not decode, comes twice or is out of bounds (RFC 9000, sections 7.4
    /// and 18.2). What is unknown is passed over (section 7.4.2).
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, TransportError> {
        let mut parameters = Self::default();
        let mut reader = Reader::new(bytes);
        let mut seen = 0_u64;
        while !reader.is_empty() {
            let id = reader.varint().map_err(|_| CUT_SHORT)?;
            let value = reader.counted().map_err(|_| CUT_SHORT)?;
            if id < 64 {
                if seen & 1 << id != 0 {
                    return Err(TransportError::parameter("a transport parameter comes twice"));
                }
                seen |= 1 << id;
            }
            parameters.take(id, value)?;
        }
        Ok(parameters)
    }

    fn take(&mut self, id: u64, value: &[u8]) -> Result<(), TransportError> {
        match id {
            id::ORIGINAL_DESTINATION_CONNECTION_ID => self.original_destination = Some(cid(value)?),
            id::INITIAL_SOURCE_CONNECTION_ID => self.initial_source = Some(cid(value)?),
            id::RETRY_SOURCE_CONNECTION_ID => self.retry_source = Some(cid(value)?),
            id::STATELESS_RESET_TOKEN => {
                self.reset_token = Some(value.try_into().map_err(|_| OUT_OF_BOUNDS)?);
            }
            id::PREFERRED_ADDRESS => self.preferred = Some(preferred(value)?),
            id::MAX_IDLE_TIMEOUT => self.idle_timeout_ms = integer(value, 0, u64::MAX)?,
            id::MAX_UDP_PAYLOAD_SIZE => {
                integer(value, UDP_PAYLOAD_BYTES_MIN, u64::MAX)?; // we send no more than the least
            }
            id::INITIAL_MAX_DATA => self.data_max = integer(value, 0, u64::MAX)?,
            id::INITIAL_MAX_STREAM_DATA_BIDI_REMOTE => self.stream_data_max = integer(value, 0, u64::MAX)?,
            id::INITIAL_MAX_STREAM_DATA_BIDI_LOCAL | id::INITIAL_MAX_STREAM_DATA_UNI => {
                integer(value, 0, u64::MAX)?;
            }
            id::INITIAL_MAX_STREAMS_BIDI => self.streams_max = integer(value, 0, STREAMS_MAX)?,
            id::INITIAL_MAX_STREAMS_UNI => {
                integer(value, 0, STREAMS_MAX)?;
            }
            id::ACK_DELAY_EXPONENT => self.ack_delay_exponent = integer(value, 0, ACK_DELAY_EXPONENT_MAX)? as u8,
            id::MAX_ACK_DELAY => self.ack_delay_ms_max = integer(value, 0, MAX_ACK_DELAY_MS_BELOW - 1)?,
            id::DISABLE_ACTIVE_MIGRATION if !value.is_empty() => return Err(OUT_OF_BOUNDS),
            id::ACTIVE_CONNECTION_ID_LIMIT => {
                integer(value, 2, u64::MAX)?; // we give out one, which any limit allows
            }
            id::MAX_DATAGRAM_FRAME_SIZE => self.datagram_frame_bytes_max = integer(value, 0, u64::MAX)?,
            _ => {}
        }
        Ok(())
    }

    /// Proves that the IDs in the packets' headers are those that the server saw and chose (RFC 9000, section 7.3).
    pub(super) fn check_ids(&self, original: &Cid, source: &Cid, retry: Option<&Cid>) -> Result<(), TransportError> {
        let genuine = self.original_destination.as_ref() == Some(original)
            && self.initial_source.as_ref() == Some(source)
            && self.retry_source.as_ref() == retry;
        if !genuine {
            return Err(TransportError::parameter(
                "the server's connection IDs are not those of the handshake",
            ));
        }
        Ok(())
    }
}

const CUT_SHORT: TransportError = TransportError::parameter("the transport parameters are cut short");
const OUT_OF_BOUNDS: TransportError = TransportError::parameter("a transport parameter is out of bounds");

fn integer(value: &[u8], least: u64, most: u64) -> Result<u64, TransportError> {
    let mut reader = Reader::new(value);
    let integer = reader.varint().map_err(|_| CUT_SHORT)?;
    if reader.is_empty() && (least..=most).contains(&integer) {
        Ok(integer)
    } else {
        Err(OUT_OF_BOUNDS)
    }
}

fn cid(value: &[u8]) -> Result<Cid, TransportError> {
    Cid::new(value).ok_or(OUT_OF_BOUNDS)
}

/// RFC 9000, section 18.2: an IPv4 address and port, an IPv6 address and port, a connection ID that is not empty, its
/// token.
fn preferred(value: &[u8]) -> Result<(Cid, [u8; 16]), TransportError> {
    let mut reader = Reader::new(value);
    let mut read = || {
        reader.bytes(4 + 2 + 16 + 2)?;
        let length = reader.u8()?;
        let id = reader.bytes(length.into())?;
        Ok((id, reader.array()?, reader.is_empty()))
    };
    let (id, token, is_whole) = read().map_err(|_: super::varint::Truncated| CUT_SHORT)?;
    if id.is_empty() || !is_whole {
        return Err(OUT_OF_BOUNDS);
    }
    Ok((cid(id)?, token))
}

#[cfg(test)]
mod tests {
    use super::super::error::Code;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bounds_and_repetitions_are_errors_and_the_unknown_is_passed_over() {
        let cases: [(&[u8], bool); 11] = [
            (&[], true),
            (&[0x0a, 1, 20], true),
            (&[0x0a, 1, 21], false),
            (&[0x0b, 2, 0x7f, 0xff], true),
            (&[0x0b, 4, 0x80, 0, 0x40, 0], false),
            (&[0x03, 2, 0x44, 0xaf], false),
            (&[0x02, 1, 0], false),
            (&[0x04, 1, 1, 0x04, 1, 1], false),
            (&[0x3f, 1, 9], true),
            (&[0x0c, 1, 0], false),
            (&[0x04, 2, 1, 1], false),
        ];
        for (bytes, fine) in cases {
            let decoded = ServerParameters::decode(bytes);
            assert_eq!(decoded.is_ok(), fine, "{bytes:02x?}");
            assert!(
                decoded
                    .err()
                    .is_none_or(|error| error.code == Code::TRANSPORT_PARAMETER_ERROR)
            );
        }
    }

    #[test]
    fn what_we_offer_decodes() {
        let offer = Offer {
            idle_timeout_ms: 30_000,
            udp_payload_bytes_max: 1_500,
            data_max: 1 << 20,
            stream_data_max: 5_000,
            server_streams_max: 4,
            ack_delay_ms_max: 16_000,
            source: [7; 8],
        };
        let decoded = ServerParameters::decode(&offer.encode()).expect("it is well formed");
        assert_eq!(decoded.idle_timeout_ms, 30_000);
        assert_eq!(decoded.ack_delay_ms_max, 16_000);
        assert_eq!(decoded.datagram_frame_bytes_max, DATAGRAM_FRAME_BYTES);
        assert_eq!(decoded.initial_source, Some(Cid::from([7; 8])));
    }

    proptest! {
        #[test]
        fn any_bytes_decode_or_not(bytes in prop::collection::vec(0_u8..0x22, 0..100)) {
            let _ = ServerParameters::decode(&bytes);
        }
    }
}
