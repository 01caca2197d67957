//! What came of a round.

use crate::chaos::fault::Planned;
use crate::chaos::journal::Recovery;
use std::time::Duration;

/// How a fault went.
#[derive(Clone, Debug)]
pub struct Struck {
    pub fault: Planned,
    /// When it was at work, since the first beat of the round.
    pub from_ms: u64,
    pub until_ms: u64,
    /// How often it took effect, as whoever did it knows: a death by SIGKILL, a call that failed, a packet lost.
    pub bites: u64,
    /// The gateway entered the mode that goes with it.
    pub was_shown: bool,
}

/// What came of a round.
#[derive(Debug)]
pub struct Outcome {
    pub round: u32,
    pub struck: Vec<Struck>,
    pub shakes: u64,
    pub served: u64,
    pub credits: u64,
    pub cents: u64,
    pub recoveries: Vec<Recovery>,
    /// Money that does not agree: the campaign ends with it.
    pub wrong: Vec<String>,
    /// Everything else that is not as it must be.
    pub amiss: Vec<String>,
    pub took: Duration,
}

impl Outcome {
    /// The longest until shakes and claims were both back.
    pub fn back_ms(&self) -> Option<u64> {
        let of = |recovery: &Recovery| Some(recovery.shakes_ms?.max(recovery.claims_ms?));
        self.recoveries
            .iter()
            .map(of)
            .collect::<Option<Vec<_>>>()?
            .into_iter()
            .max()
    }
}
