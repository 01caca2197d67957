//! Acknowledgements of packets that have not been read yet (so that the gateway takes the path for faster than it is), and
//! of packets that were never sent, which end the connection (RFC 9000, section 13.1).

use super::phone::framed;
use super::stage::HostileError;
use super::{Findings, Stage, raw};
use shake_proto::wire::v1::{Shake, request::Kind};
use std::time::Duration;

const ACK: u8 = 0x02;
/// One in so many acknowledges what cannot have been sent.
const BOLD_EVERY: u64 = 50;
/// How far ahead that is.
const FAR: u64 = 1_000_000;
/// In which the gateway answers, while nothing is read.
const HEAD_START: Duration = Duration::from_micros(500);

pub(super) fn run(stage: &Stage, findings: &mut Findings) -> Result<(), HostileError> {
    raw::assault(stage, findings, |raw, number| {
        // Something for the gateway to send.
        let shake = Shake {
            sequence: number as u32,
        };
        let _ = raw.connection.open_request(&framed(Kind::Shake(shake)));
        raw.transmit();
        std::thread::sleep(HEAD_START);
        let expected = raw.connection.next_expected();
        let largest = if number % BOLD_EVERY == 0 {
            expected + FAR
        } else {
            expected
        };
        let mut frames = raw::Frames::default();
        // No delay, no further ranges, and the first one down to packet 0.
        frames.byte(ACK).varint(largest).varint(0).varint(0).varint(largest);
        raw.send_frames(&frames.0)
    })
}
