//! Streams that are opened and reset at once, over and over: each costs the gateway a slot, an event and a new credit
//! (the "rapid reset" of HTTP/2, CVE-2023-44487).

use super::stage::HostileError;
use super::{Findings, Stage, raw};

/// Streams of one packet.
const STREAMS_EACH: u64 = 4;
/// Frame types (RFC 9000, section 19).
const RESET_STREAM: u8 = 0x04;
const STOP_SENDING: u8 = 0x05;
const STREAM_WITH_LENGTH: u8 = 0x0a;

pub(super) fn run(stage: &Stage, findings: &mut Findings) -> Result<(), HostileError> {
    raw::assault(stage, findings, |raw, _| {
        // Stream 0 was the Hello's. A session that outruns its credit is closed by name.
        let mut frames = raw::Frames::default();
        let first = 1 + raw.acts * STREAMS_EACH;
        for index in first..first + STREAMS_EACH {
            let stream = index * 4;
            frames.byte(STREAM_WITH_LENGTH).varint(stream).varint(1).byte(0);
            frames.byte(RESET_STREAM).varint(stream).varint(0).varint(1);
            frames.byte(STOP_SENDING).varint(stream).varint(0);
        }
        raw.send_frames(&frames.0)
    })
}
