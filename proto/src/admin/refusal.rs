//! Why an operator's request is refused.

use crate::admin_v1 as v1;
use enum_map::Enum;
use strum::{IntoStaticStr, VariantArray};

/// Why a request was refused. The names are those of metrics and of the audit log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Enum, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Refusal {
    /// Not one whole request within its bounds.
    Malformed,
    /// Longer than a request may be.
    Oversized,
    /// A kind that the gateway does not know.
    Unknown,
    /// The file has errors.
    Errors,
    /// The show is of another event.
    OtherEvent,
    /// The gateway has a later version.
    VersionOld,
    /// The gateway has this version with other content.
    VersionTaken,
    /// The show has no such cue.
    CueUnknown,
    /// The cue's moment is over.
    CuePast,
    /// The gateway is draining already.
    Draining,
    /// A file of the certificate directory cannot be used.
    Files,
    /// The version is far ahead of the clock.
    VersionAhead,
    /// A phase of the cue runs, or another phase at the cue's moment.
    PhaseRuns,
    /// The cue was played, and is not asked for again.
    CuePlayed,
}

impl Refusal {
    /// The name in metrics, in logs and on the operator's screen.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// The refusal as the wire carries it.
    #[must_use]
    pub fn to_wire(self) -> v1::Refusal {
        match self {
            Self::Malformed => v1::Refusal::Malformed,
            Self::Oversized => v1::Refusal::Oversized,
            Self::Unknown => v1::Refusal::Unknown,
            Self::Errors => v1::Refusal::Errors,
            Self::OtherEvent => v1::Refusal::OtherEvent,
            Self::VersionOld => v1::Refusal::VersionOld,
            Self::VersionTaken => v1::Refusal::VersionTaken,
            Self::CueUnknown => v1::Refusal::CueUnknown,
            Self::CuePast => v1::Refusal::CuePast,
            Self::Draining => v1::Refusal::Draining,
            Self::Files => v1::Refusal::Files,
            Self::VersionAhead => v1::Refusal::VersionAhead,
            Self::PhaseRuns => v1::Refusal::PhaseRuns,
            Self::CuePlayed => v1::Refusal::CuePlayed,
        }
    }

    /// The refusal of this number on the wire.
    #[must_use]
    pub fn from_wire(number: i32) -> Option<Self> {
        let mut all = Self::VARIANTS.iter().copied();
        all.find(|one| one.to_wire() as i32 == number)
    }
}
