//! Transport parameters, as this gateway says them and as it takes a phone's.
//!
//! **Connection IDs.** How many a session has is ours to say: a client may ask for up to eight, and each costs some 150
//! bytes. Two is the least that every client takes, and enough to move to another address under a new ID (RFC 9000,
//! sections 5.1.1 and 18.2).
//!
//! **Patience.** Either side probes when an acknowledgement is late by more than a round trip and the other's
//! `max_ack_delay` (RFC 9002, section 6.2.1): two packets, both to be acknowledged. With the usual 25 ms a pause of 60 ms
//! anywhere makes each exchange under way cost several packets more, the answers to those come late in their turn, and
//! the storm feeds itself for seconds. Both sides are made to wait [`PATIENCE_MS`] instead. Acknowledgements still leave
//! as early as before; only the loss of a claim or of its reply is noticed that much later.

use quinn_proto::coding::{Codec, UnexpectedEnd};
use quinn_proto::transport_parameters::{Error, TransportParameters};
use quinn_proto::{Side, VarInt};

/// RFC 9000, section 18.2. In milliseconds; without the parameter its value is 25.
const MAX_ACK_DELAY: u64 = 0x0b;
/// RFC 9000, section 18.2. Without the parameter its value is two.
const ACTIVE_CONNECTION_ID_LIMIT: u64 = 0x0e;
/// About the time between two shakes: who goes on shaking acknowledges an answer with the next shake, and is never probed.
/// Longer than the pauses of a busy or virtual machine.
const PATIENCE_MS: VarInt = VarInt::from_u32(1_000);

/// The gateway's parameters as bytes, with the patience that phones shall have.
pub fn write(parameters: &TransportParameters) -> Vec<u8> {
    let mut bytes = Vec::new();
    parameters.write(&mut bytes); // leaves out `max_ack_delay`, because it is the default
    write_max_ack_delay(&mut bytes, PATIENCE_MS);
    bytes
}

/// Reads a client's parameters, leaves out how many connection IDs it would take, and has patience with it.
///
/// # Errors
/// Those of [`TransportParameters::read`], for all that the client said.
pub fn read(bytes: &[u8]) -> Result<TransportParameters, Error> {
    let all = TransportParameters::read(Side::Server, &mut &bytes[..])?;
    let Ok(ours) = as_taken(bytes) else {
        return Ok(all);
    };
    TransportParameters::read(Side::Server, &mut &ours[..])
}

fn as_taken(mut bytes: &[u8]) -> Result<Vec<u8>, UnexpectedEnd> {
    let mut taken = Vec::with_capacity(bytes.len() + 8);
    let mut patience = PATIENCE_MS;
    while !bytes.is_empty() {
        let mut rest = bytes;
        let id = VarInt::decode(&mut rest)?.into_inner();
        let length = VarInt::decode(&mut rest)?.into_inner();
        let length = usize::try_from(length).map_err(|_| UnexpectedEnd)?;
        let (mut value, rest) = rest.split_at_checked(length).ok_or(UnexpectedEnd)?;
        match id {
            ACTIVE_CONNECTION_ID_LIMIT => {}
            MAX_ACK_DELAY => patience = patience.max(VarInt::decode(&mut value)?),
            _ => taken.extend_from_slice(&bytes[..bytes.len() - rest.len()]),
        }
        bytes = rest;
    }
    write_max_ack_delay(&mut taken, patience);
    Ok(taken)
}

fn write_max_ack_delay(bytes: &mut Vec<u8>, ms: VarInt) {
    let mut value = Vec::with_capacity(8);
    ms.encode(&mut value);
    for number in [MAX_ACK_DELAY, value.len() as u64] {
        VarInt::from_u64(number).expect("both are under 64").encode(bytes);
    }
    bytes.append(&mut value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_limit_is_left_out_and_patience_added() {
        // max_idle_timeout = 30,000; active_connection_id_limit = 8; initial_max_data = 64; an unknown one.
        let said = [
            0x01, 0x04, 0x80, 0x00, 0x75, 0x30, 0x0e, 0x01, 0x08, 0x04, 0x02, 0x40, 0x40, 0x1b, 0x00,
        ];
        let taken = [&said[..6], &said[9..], &[0x0b, 0x02, 0x43, 0xe8]].concat();
        assert_eq!(as_taken(&said), Ok(taken.clone()));
        let expected = TransportParameters::read(Side::Server, &mut &taken[..]);
        assert_eq!(read(&said), expected);
        assert_ne!(read(&said), TransportParameters::read(Side::Server, &mut &said[..]));
    }

    #[test]
    fn a_client_that_takes_longer_is_believed() {
        let (short, long) = ([0x0b, 0x01, 10], [0x0b, 0x02, 0x44, 0x00]);
        assert_eq!(as_taken(&short), Ok(vec![0x0b, 0x02, 0x43, 0xe8]));
        assert_eq!(as_taken(&long), Ok(long.to_vec()));
    }

    #[test]
    fn phones_are_told_to_have_patience() {
        let defaults = TransportParameters::read(Side::Client, &mut &[][..]).expect("nothing is required of a server");
        let said = write(&defaults);
        let at_phone = TransportParameters::read(Side::Client, &mut &said[..]);
        assert!(said.ends_with(&[0x0b, 0x02, 0x43, 0xe8]), "{said:?}");
        assert!(at_phone.is_ok(), "{at_phone:?}");
    }

    #[test]
    fn what_the_client_may_not_say_is_still_refused() {
        // A limit of one; a limit twice; a value that is cut off; a delay twice.
        for said in [
            &[0x0e, 0x01, 0x01][..],
            &[0x0e, 0x01, 0x04, 0x0e, 0x01, 0x04],
            &[0x0e, 0x02, 0x04],
            &[0x0b, 0x01, 10, 0x0b, 0x01, 10],
        ] {
            assert!(read(said).is_err(), "{said:?}");
        }
    }
}
