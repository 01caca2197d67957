//! Acknowledgements of packets that have not come (so that the gateway sends faster than the path takes), and of packets
//! that were never sent, which end the connection (RFC 9000, section 13.1).

use super::phone::framed;
use super::stage::HostileError;
use super::{Findings, Stage, raw};
use shake_proto::wire::v1::{Wallet, request::Kind};

const ACK: u8 = 0x02;
/// How far ahead the bolder half acknowledges.
const FAR: u64 = 1_000_000;

pub(super) fn run(stage: &Stage, findings: &mut Findings) -> Result<(), HostileError> {
    let request = framed(Kind::Wallet(Wallet {}));
    raw::assault(stage, findings, |raw, number| {
        // Something for the gateway to send.
        let _ = raw.connection.open_request(&request);
        let expected = raw.connection.next_expected();
        let largest = if number % 50 == 0 { expected + FAR } else { expected };
        let mut frames = raw::Frames::default();
        // No delay, no further ranges, and the first one down to packet 0.
        frames.byte(ACK).varint(largest).varint(0).varint(0).varint(largest);
        raw.send_frames(&frames.0)
    })
}
