use super::super::error::Code;
use super::*;
use proptest::prelude::*;

fn check(level: Level, bytes: &[u8], expected: Result<Frame<'_>, Code>) {
    let frame = next(level, &mut Reader::new(bytes)).map_err(|error| error.code);
    assert_eq!(frame, expected, "{bytes:02x?}");
}

#[test]
fn frames_decode_by_the_book_or_name_what_is_wrong() {
    check(Level::Initial, &[kind::PING], Ok(Frame::Ping));
    check(Level::Initial, &[kind::MAX_DATA, 1], Err(Code::PROTOCOL_VIOLATION));
    check(
        Level::Handshake,
        &[kind::CLOSE_APPLICATION, 0, 0],
        Err(Code::PROTOCOL_VIOLATION),
    );
    check(Level::Data, &[kind::MAX_DATA], Err(Code::FRAME_ENCODING_ERROR));
    check(Level::Data, &[0x20], Err(Code::FRAME_ENCODING_ERROR));
    check(Level::Data, &[0x40, kind::PING], Err(Code::FRAME_ENCODING_ERROR));
    check(Level::Data, &[kind::NEW_TOKEN, 0], Err(Code::FRAME_ENCODING_ERROR));
    check(Level::Data, &[kind::IMMEDIATE_ACK], Ok(Frame::ImmediateAck));
    check(
        Level::Data,
        &[kind::TWO_BYTES, kind::ACK_FREQUENCY, 3, 2, 0x80, 0x07, 0xa1, 0x20, 0],
        Ok(Frame::AckFrequency {
            sequence: 3,
            rules: AckRules {
                eliciting_max: 2,
                delay_us: 500_000,
                ignores_order: true,
            },
        }),
    );
    check(
        Level::Data,
        &[kind::TWO_BYTES, kind::ACK_FREQUENCY, 3, 2, 9],
        Err(Code::FRAME_ENCODING_ERROR),
    );
    check(
        Level::Handshake,
        &[kind::TWO_BYTES, kind::ACK_FREQUENCY, 3, 2, 9, 0],
        Err(Code::PROTOCOL_VIOLATION),
    );
    check(Level::Data, &[kind::DATAGRAM, 7, 8], Ok(Frame::Datagram(&[7, 8])));
    check(
        Level::Data,
        &[kind::DATAGRAM_WITH_LENGTH, 1, 8, 0],
        Ok(Frame::Datagram(&[8])),
    );
    check(
        Level::Data,
        &[0x0b, 4, 2, 5, 6, 0],
        Ok(Frame::Stream {
            stream: 4,
            offset: 0,
            data: &[5, 6],
            fin: true,
        }),
    );
    let too_many = [
        &[kind::MAX_STREAMS_BIDI][..],
        &(0xd000_0000_0000_0001_u64).to_be_bytes(),
    ]
    .concat();
    check(Level::Data, &too_many, Err(Code::FRAME_ENCODING_ERROR));
    check(Level::Data, &[kind::ACK, 3, 0, 0, 4], Err(Code::FRAME_ENCODING_ERROR));
    check(
        Level::Data,
        &[kind::ACK, 9, 0, 1, 1, 6, 0],
        Ok(Frame::Ack(Ack {
            largest: 9,
            delay: 0,
            first_range: 1,
            further: &[6, 0],
        })),
    );
    check(
        Level::Data,
        &[kind::ACK, 9, 0, 1, 1, 6, 1],
        Err(Code::FRAME_ENCODING_ERROR),
    );
    check(
        Level::Data,
        &[kind::NEW_CONNECTION_ID, 1, 2, 1, 0],
        Err(Code::FRAME_ENCODING_ERROR),
    );
}

#[test]
fn the_ranges_of_an_ack_come_newest_first() {
    let bytes = [kind::ACK, 20, 0, 2, 1, 3, 2, 0, 5];
    let Ok(Frame::Ack(ack)) = next(Level::Data, &mut Reader::new(&bytes)) else {
        panic!("it decodes");
    };
    assert_eq!(ack.ranges().collect::<Vec<_>>(), [(19, 20), (12, 14), (5, 10)]);
}

proptest! {
    #[test]
    fn any_bytes_decode_or_not(bytes in prop::collection::vec(any::<u8>(), 1..200), first in 0_u8..0x41) {
        let bytes = [&[first][..], &bytes].concat();
        let mut reader = Reader::new(&bytes);
        while !reader.is_empty() {
            match next(Level::Data, &mut reader) {
                Ok(Frame::Ack(ack)) => {
                    prop_assert!(ack.ranges().all(|(least, largest)| least <= largest));
                }
                Ok(_) => {}
                Err(_) => break,
            }
        }
    }
}
