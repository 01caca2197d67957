//! Transport parameters, as this gateway says them and as it takes a phone's.
//!
//! **Connection IDs.** How many a session has is ours to say: a client may ask for up to eight, and each costs some 150
//! bytes. Two is the least that every client takes, and enough to move as often as one likes (RFC 9000, sections 5.1.1, 9.5
//! and 18.2; docs/decisions/0002).
//!
//! **Patience.** Either side probes when an acknowledgement is late by more than a round trip and the other's
//! `max_ack_delay` (RFC 9002, section 6.2.1): two packets, both to be acknowledged. With the usual 25 ms a pause of 60 ms
//! anywhere makes each exchange under way cost several packets more. Of the two sides' probes the gateway's feed themselves:
//! their acknowledgements come late in their turn, for seconds. So we wait for [`MAX_ACK_DELAY`] at least, whatever a phone says.
//! A phone's probes are answered by acknowledgements alone, which nobody answers; and its probe time is what a lost
//! packet of its beginning costs it. So it is told [`ANNOUNCED`]. Acknowledgements leave as early as before.
//!
//! **Riding.** Where phones shake again within that time they are asked to let the acknowledgement of an answer wait for it and
//! ride on the next shake, by the extension for acknowledgement frequency. quinn-proto asks for no more than a round trip, or
//! 25 ms, or else what the phone says is the least that it can do; so what a phone says is read as at least [`MAX_ACK_DELAY`].
//!
//! **Varints.** quinn-proto refuses integers in more bytes than they need, which others may write (RFC 9000, section 16); so
//! it gets them shortened.

use quinn_proto::coding::{Codec, UnexpectedEnd};
use quinn_proto::transport_parameters::{Error, TransportParameters};
use quinn_proto::{Side, VarInt};
use std::time::Duration;

/// RFC 9000, section 18.2. In milliseconds; without the parameter its value is 25.
const MAX_ACK_DELAY_ID: u64 = 0x0b;
/// RFC 9000, section 18.2. Without the parameter its value is two.
const ACTIVE_CONNECTION_ID_LIMIT: u64 = 0x0e;
/// The least that an acknowledgement can wait at its sender, in microseconds; who knows the extension says so
/// (draft-ietf-quic-ack-frequency-07, section 3).
const MIN_ACK_DELAY_ID: u64 = 0xff04_de1b;
/// RFC 9000, section 18.2: parameters that are integers, in both directions.
const INTEGERS: [u64; 11] = [
    0x01,
    0x03,
    0x04,
    0x05,
    0x06,
    0x07,
    0x08,
    0x09,
    0x0a,
    MAX_ACK_DELAY_ID,
    ACTIVE_CONNECTION_ID_LIMIT,
];
/// The `max_ack_delay` that phones are told: their patience with us. A lost Hello costs a round trip or two and this, and a
/// pause that is longer has every phone that waits send two packets more.
const ANNOUNCED: Duration = Duration::from_millis(150);
/// The least that we take a phone's to be: our patience with phones. A quarter more than the usual pace of a show: who goes on
/// shaking acknowledges an answer with the next shake, and is never probed. Longer than the pauses of a busy or virtual
/// machine.
pub const MAX_ACK_DELAY: Duration = Duration::from_millis(1_250);

/// The gateway's parameters as bytes, with the patience that phones shall have.
pub fn write(parameters: &TransportParameters) -> Vec<u8> {
    let mut bytes = Vec::new();
    parameters.write(&mut bytes); // leaves out `max_ack_delay`, because it is the default
    write_integer(&mut bytes, MAX_ACK_DELAY_ID, ANNOUNCED.as_millis() as u64);
    bytes
}

/// Reads a client's parameters, leaves out how many connection IDs it would take, and has patience with it.
///
/// # Errors
/// Those of [`TransportParameters::read`], for all that the client said.
pub fn read(bytes: &[u8]) -> Result<TransportParameters, Error> {
    let said = shortened(bytes)?;
    let all = TransportParameters::read(Side::Server, &mut &said[..])?;
    let Ok(ours) = as_taken(&said) else {
        return Ok(all);
    };
    TransportParameters::read(Side::Server, &mut &ours[..])
}

/// Takes the first parameter off: its number and value.
fn next<'a>(bytes: &mut &'a [u8]) -> Result<(u64, &'a [u8]), UnexpectedEnd> {
    let id = VarInt::decode(bytes)?.into_inner();
    let length = VarInt::decode(bytes)?.into_inner();
    let length = usize::try_from(length).map_err(|_| UnexpectedEnd)?;
    let (value, rest) = bytes.split_at_checked(length).ok_or(UnexpectedEnd)?;
    *bytes = rest;
    Ok((id, value))
}

/// The same with every integer in as few bytes as it needs. A value that is no integer, or more than one, stays as it is.
fn shortened(mut bytes: &[u8]) -> Result<Vec<u8>, UnexpectedEnd> {
    let mut short = Vec::with_capacity(bytes.len());
    while !bytes.is_empty() {
        let before = bytes;
        let (id, mut value) = next(&mut bytes)?;
        match VarInt::decode(&mut value) {
            Ok(integer) if value.is_empty() && INTEGERS.contains(&id) => {
                write_integer(&mut short, id, integer.into_inner());
            }
            _ => short.extend_from_slice(&before[..before.len() - bytes.len()]),
        }
    }
    Ok(short)
}

fn as_taken(mut bytes: &[u8]) -> Result<Vec<u8>, UnexpectedEnd> {
    let mut taken = Vec::with_capacity(bytes.len() + 8);
    let mut patience = MAX_ACK_DELAY.as_millis() as u64;
    while !bytes.is_empty() {
        let before = bytes;
        let (id, mut value) = next(&mut bytes)?;
        match id {
            ACTIVE_CONNECTION_ID_LIMIT => {}
            MAX_ACK_DELAY_ID => patience = patience.max(VarInt::decode(&mut value)?.into_inner()),
            MIN_ACK_DELAY_ID => {
                let least = VarInt::decode(&mut value)?.into_inner();
                write_integer(
                    &mut taken,
                    MIN_ACK_DELAY_ID,
                    least.max(MAX_ACK_DELAY.as_micros() as u64),
                );
            }
            _ => taken.extend_from_slice(&before[..before.len() - bytes.len()]),
        }
    }
    write_integer(&mut taken, MAX_ACK_DELAY_ID, patience);
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
    fn integers_may_take_more_bytes_than_they_need() {
        // Each integer in 1, 2, 4 and 8 bytes, and so its number and length: what RFC 9000, section 16, lets a client write.
        let wide = |integer: u64, size: u32| {
            let bytes = (integer | u64::from(size.trailing_zeros()) << (size * 8 - 2)).to_be_bytes();
            bytes[8 - size as usize..].to_vec()
        };
        // Of each a value that differs from its default, and that is allowed.
        let values = INTEGERS.map(|id| (id, if id == 0x03 { 1_300 } else { 19 }));
        let all = |sizes: [u32; 3]| {
            values.iter().fold(Vec::new(), |said, &(id, value)| {
                let size = if value == 19 { sizes[2] } else { sizes[2].max(2) };
                [said, wide(id, sizes[0]), wide(size.into(), sizes[1]), wide(value, size)].concat()
            })
        };
        let shortest = all([1, 1, 1]);
        let expected = TransportParameters::read(Side::Server, &mut &shortest[..]).expect("all are allowed");
        for sizes in [
            [1, 1, 1],
            [2, 1, 1],
            [1, 4, 1],
            [1, 1, 2],
            [1, 1, 4],
            [1, 1, 8],
            [8, 8, 8],
        ] {
            let said = shortened(&all(sizes)).expect("nothing is cut off");
            assert_eq!(said, shortest, "{sizes:?}");
            assert_eq!(TransportParameters::read(Side::Server, &mut &said[..]), Ok(expected));
            assert!(read(&all(sizes)).is_ok(), "{sizes:?}");
        }
        // The same of a value that may be absent: how long a datagram may be, and the extension's.
        let known = read(&[
            0x20, 0x08, 0xc0, 0, 0, 0, 0, 0, 4, 0xb0, 0xc0, 0, 0, 0, 0xff, 0x04, 0xde, 0x1b, 0x04, 0x80, 0, 3, 0xe8,
        ]);
        assert!(known.is_ok(), "{known:?}");
    }

    #[test]
    fn phones_are_told_to_have_patience() {
        let defaults = TransportParameters::read(Side::Client, &mut &[][..]).expect("nothing is required of a server");
        let said = write(&defaults);
        let at_phone = TransportParameters::read(Side::Client, &mut &said[..]);
        assert!(said.ends_with(&[0x0b, 0x02, 0x40, 0x96]), "{said:?}");
        assert!(at_phone.is_ok(), "{at_phone:?}");
    }

    #[test]
    fn what_the_client_may_not_say_is_still_refused() {
        // A limit of one; a limit twice; a value that is cut off, or too long; a delay twice, of which one in two bytes.
        for said in [
            &[0x0e, 0x01, 0x01][..],
            &[0x0e, 0x01, 0x04, 0x0e, 0x01, 0x04],
            &[0x0e, 0x02, 0x04],
            &[0x0e, 0x02, 0x04, 0x04],
            &[0x0e, 0x02, 0x40],
            &[0x0b, 0x01, 10, 0x0b, 0x02, 0x40, 10],
        ] {
            assert!(read(said).is_err(), "{said:?}");
        }
    }
}
