//! Transport parameters, as this gateway says them and as it takes a phone's.
//!
//! **Connection IDs.** How many a session has is ours to say: a client may ask for up to eight, and each costs some 150
//! bytes. Two is the least that every client takes, and enough to move to another address under a new ID (RFC 9000,
//! sections 5.1.1 and 18.2).
//!
//! **Patience.** Either side probes when an acknowledgement is late by more than a round trip and the other's
//! `max_ack_delay` (RFC 9002, section 6.2.1): two packets, both to be acknowledged. With the usual 25 ms a pause of 60 ms
//! anywhere makes each exchange under way cost several packets more, the answers to those come late in their turn, and
//! the storm feeds itself for seconds. Both sides are made to wait [`PATIENCE`] instead. Acknowledgements still leave
//! as early as before; only the loss of a claim or of its reply is noticed that much later.
//!
//! **Riding.** Where phones shake again within that time they are asked to let the acknowledgement of an answer wait for it and
//! ride on the next shake, by the extension for acknowledgement frequency. quinn-proto asks for no more than a round trip, or
//! 25 ms, or else what the phone says is the least that it can do; so what a phone says is read as at least [`PATIENCE`].

use quinn_proto::coding::{Codec, UnexpectedEnd};
use quinn_proto::transport_parameters::{Error, TransportParameters};
use quinn_proto::{Side, VarInt};
use std::time::Duration;

/// RFC 9000, section 18.2. In milliseconds; without the parameter its value is 25.
const MAX_ACK_DELAY: u64 = 0x0b;
/// RFC 9000, section 18.2. Without the parameter its value is two.
const ACTIVE_CONNECTION_ID_LIMIT: u64 = 0x0e;
/// The least that an acknowledgement can wait at its sender, in microseconds; who knows the extension says so
/// (draft-ietf-quic-ack-frequency-07, section 3).
const MIN_ACK_DELAY: u64 = 0xff04_de1b;
/// A quarter more than the usual pace of a show: who goes on shaking acknowledges an answer with the next shake, and is never
/// probed. Longer than the pauses of a busy or virtual machine.
pub const PATIENCE: Duration = Duration::from_millis(1_250);

/// The gateway's parameters as bytes, with the patience that phones shall have.
pub fn write(parameters: &TransportParameters) -> Vec<u8> {
    let mut bytes = Vec::new();
    parameters.write(&mut bytes); // leaves out `max_ack_delay`, because it is the default
    write_integer(&mut bytes, MAX_ACK_DELAY, PATIENCE.as_millis() as u64);
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
    let mut patience = PATIENCE.as_millis() as u64;
    while !bytes.is_empty() {
        let mut rest = bytes;
        let id = VarInt::decode(&mut rest)?.into_inner();
        let length = VarInt::decode(&mut rest)?.into_inner();
        let length = usize::try_from(length).map_err(|_| UnexpectedEnd)?;
        let (mut value, rest) = rest.split_at_checked(length).ok_or(UnexpectedEnd)?;
        match id {
            ACTIVE_CONNECTION_ID_LIMIT => {}
            MAX_ACK_DELAY => patience = patience.max(VarInt::decode(&mut value)?.into_inner()),
            MIN_ACK_DELAY => {
                let least = VarInt::decode(&mut value)?.into_inner();
                write_integer(&mut taken, MIN_ACK_DELAY, least.max(PATIENCE.as_micros() as u64));
            }
            _ => taken.extend_from_slice(&bytes[..bytes.len() - rest.len()]),
        }
        bytes = rest;
    }
    write_integer(&mut taken, MAX_ACK_DELAY, patience);
    Ok(taken)
}

fn write_integer(bytes: &mut Vec<u8>, id: u64, integer: u64) {
    let mut value = Vec::with_capacity(8);
    encode(integer, &mut value);
    encode(id, bytes);
    encode(value.len() as u64, bytes);
    bytes.append(&mut value);
}

fn encode(integer: u64, bytes: &mut Vec<u8>) {
    VarInt::from_u64(integer).expect("under 2^62").encode(bytes);
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
        let taken = [&said[..6], &said[9..], &[0x0b, 0x02, 0x44, 0xe2]].concat();
        assert_eq!(as_taken(&said), Ok(taken.clone()));
        let expected = TransportParameters::read(Side::Server, &mut &taken[..]);
        assert_eq!(read(&said), expected);
        assert_ne!(read(&said), TransportParameters::read(Side::Server, &mut &said[..]));
    }

    #[test]
    fn a_client_that_takes_longer_is_believed() {
        let (short, long) = ([0x0b, 0x01, 10], [0x0b, 0x02, 0x46, 0x00]);
        assert_eq!(as_taken(&short), Ok(vec![0x0b, 0x02, 0x44, 0xe2]));
        assert_eq!(as_taken(&long), Ok(long.to_vec()));
    }

    #[test]
    fn whoever_can_wait_is_read_as_if_no_less_could_be_asked() {
        let said = [0xc0, 0, 0, 0, 0xff, 0x04, 0xde, 0x1b, 0x02, 0x43, 0xe8];
        let ride = [&said[..8], &[0x04, 0x80, 0x13, 0x12, 0xd0], &[0x0b, 0x02, 0x44, 0xe2]].concat();
        assert_eq!(as_taken(&said), Ok(ride.clone()));
        assert_eq!(read(&said), TransportParameters::read(Side::Server, &mut &ride[..]));
        assert!(read(&said).is_ok());
        // 1.5 s, of 2 s that are said to be the most.
        let longer = [&said[..8], &[0x04, 0x80, 0x16, 0xe3, 0x60], &[0x0b, 0x02, 0x47, 0xd0]].concat();
        assert_eq!(as_taken(&longer), Ok(longer));
    }

    #[test]
    fn phones_are_told_to_have_patience() {
        let defaults = TransportParameters::read(Side::Client, &mut &[][..]).expect("nothing is required of a server");
        let said = write(&defaults);
        let at_phone = TransportParameters::read(Side::Client, &mut &said[..]);
        assert!(said.ends_with(&[0x0b, 0x02, 0x44, 0xe2]), "{said:?}");
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
