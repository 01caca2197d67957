//! NEW_CONNECTION_ID with a retirement each, which the gateway has to confirm, and RETIRE_CONNECTION_ID of the
//! gateway's own, which it has to replace (RFC 9000, section 5.1). What waits to be confirmed is bounded.

use super::stage::HostileError;
use super::{Findings, Stage, raw};

/// NEW_CONNECTION_ID frames of one packet.
const FRAMES_EACH: u64 = 30;
/// Frame types (RFC 9000, section 19).
const NEW_CONNECTION_ID: u8 = 0x18;
const RETIRE_CONNECTION_ID: u8 = 0x19;
const CID_BYTES: u8 = 8;

pub(super) fn run(stage: &Stage, findings: &mut Findings) -> Result<(), HostileError> {
    raw::assault(stage, findings, |raw, number| {
        let mut frames = raw::Frames::default();
        if number % 2 == 0 {
            let first = 1 + raw.acts * FRAMES_EACH;
            for sequence in first..first + FRAMES_EACH {
                frames.byte(NEW_CONNECTION_ID).varint(sequence).varint(sequence);
                frames.byte(CID_BYTES).bytes(&sequence.to_be_bytes());
                frames.bytes(&[sequence as u8; 16]);
            }
        } else {
            // One at a time: to retire an ID that was not issued yet ends the connection.
            frames.byte(RETIRE_CONNECTION_ID).varint(1 + raw.acts);
        }
        raw.send_frames(&frames.0)
    })
}
