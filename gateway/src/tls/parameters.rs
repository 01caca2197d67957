//! The transport parameters of a phone, as this gateway takes them. How many connection IDs a session has is ours to
//! say: a client may ask for up to eight, and each costs some 150 bytes. Two is the least that every client takes, and
//! enough to move to another address under a new ID (RFC 9000, sections 5.1.1 and 18.2).

use quinn_proto::coding::{Codec, UnexpectedEnd};
use quinn_proto::transport_parameters::{Error, TransportParameters};
use quinn_proto::{Side, VarInt};

/// RFC 9000, section 18.2. Without the parameter its value is two.
const ACTIVE_CONNECTION_ID_LIMIT: u64 = 0x0e;

/// Reads a client's parameters, and leaves out how many connection IDs it would take.
///
/// # Errors
/// Those of [`TransportParameters::read`], for all that the client said.
pub fn read(bytes: &[u8]) -> Result<TransportParameters, Error> {
    let all = TransportParameters::read(Side::Server, &mut &bytes[..])?;
    let Ok(kept) = without_id_limit(bytes) else {
        return Ok(all);
    };
    TransportParameters::read(Side::Server, &mut &kept[..])
}

fn without_id_limit(mut bytes: &[u8]) -> Result<Vec<u8>, UnexpectedEnd> {
    let mut kept = Vec::with_capacity(bytes.len());
    while !bytes.is_empty() {
        let mut rest = bytes;
        let id = VarInt::decode(&mut rest)?;
        let length = VarInt::decode(&mut rest)?.into_inner();
        let value_end = bytes.len() - rest.len() + usize::try_from(length).map_err(|_| UnexpectedEnd)?;
        let (parameter, rest) = bytes.split_at_checked(value_end).ok_or(UnexpectedEnd)?;
        if id.into_inner() != ACTIVE_CONNECTION_ID_LIMIT {
            kept.extend_from_slice(parameter);
        }
        bytes = rest;
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_id_limit_is_left_out() {
        // max_idle_timeout = 30,000; active_connection_id_limit = 8; initial_max_data = 64; an unknown one.
        let said = [
            0x01, 0x04, 0x80, 0x00, 0x75, 0x30, 0x0e, 0x01, 0x08, 0x04, 0x02, 0x40, 0x40, 0x1b, 0x00,
        ];
        let kept = [&said[..6], &said[9..]].concat();
        assert_eq!(without_id_limit(&said), Ok(kept.clone()));
        let expected = TransportParameters::read(Side::Server, &mut &kept[..]);
        assert_eq!(read(&said), expected);
        assert_ne!(read(&said), TransportParameters::read(Side::Server, &mut &said[..]));
    }

    #[test]
    fn what_the_client_may_not_say_is_still_refused() {
        // A limit of one; a limit twice; a value that is cut off.
        for said in [
            &[0x0e, 0x01, 0x01][..],
            &[0x0e, 0x01, 0x04, 0x0e, 0x01, 0x04],
            &[0x0e, 0x02, 0x04],
        ] {
            assert!(read(said).is_err(), "{said:?}");
        }
    }
}
