//! A few sessions that shake as fast as the rate allows, whatever pace they are told.

use super::stage::HostileError;
use super::{Findings, Stage, raw};

pub(super) fn run(stage: &Stage, findings: &mut Findings) -> Result<(), HostileError> {
    raw::assault(stage, findings, |raw, number| {
        raw.sealed_shake(number as u32).is_some_and(|packet| raw.send(&packet))
    })
}
