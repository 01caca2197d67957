//! What an operator asks for, checked, and why it may be refused (`admin.proto`).

mod refusal;

pub use refusal::Refusal;

use crate::admin_v1 as v1;
use std::collections::BTreeMap;

/// The most bytes of a file in a request: a show is some kilobytes.
pub const FILE_BYTES_MAX: usize = 1 << 20;
/// The most bytes of a request: two files, and the moments of a thousand cues and as many phases with the longest names.
pub const REQUEST_BYTES_MAX: usize = 3 << 20;
/// The most bytes of a reply, likewise.
pub const REPLY_BYTES_MAX: usize = 3 << 20;
/// The UDP port when none is set.
pub const PORT: u16 = 4434;
/// The most gateways that a drain may name.
pub const ALTERNATIVES_MAX: usize = 16;
/// The shortest and the longest window of a drain, in milliseconds.
pub const DRAIN_MS: std::ops::RangeInclusive<u32> = 1_000..=3_600_000;
/// The longest name of a cue or host.
const NAME_BYTES_MAX: usize = 255;

/// A request that a gateway serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Change what runs.
    Change(Change),
    /// Tell how things stand.
    Status,
    /// Send the sessions away and end.
    Drain(Drain),
    /// Stay, when a drain is under way.
    CancelDrain,
    /// Tell what runs, whole.
    Running,
    /// Read the certificate directory anew.
    Reload {
        /// Change nothing, tell what would be.
        dry_run: bool,
    },
}

/// A change of what runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What changes.
    pub what: What,
    /// The version that it makes; not 0.
    pub version: u64,
    /// Change nothing, tell what would be.
    pub dry_run: bool,
    /// What `starts = "now"` means in a show that is pushed, in milliseconds since 1970 UTC; `None` for when it arrives.
    pub now_ms: Option<u64>,
}

/// What changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// The show file becomes this text.
    Show(String),
    /// The throttle file becomes this text.
    Throttle(String),
    /// A cue has a moment.
    Cue(Cue),
    /// The cue of this name waits again.
    CancelCue(String),
    /// Everything becomes what another gateway runs.
    Adopt(Box<Running>),
}

/// A cue's moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cue {
    /// The cue's name.
    pub name: String,
    /// Its moment, in milliseconds since 1970 UTC.
    pub at_ms: u64,
    /// Its phases are to be played once more.
    pub again: bool,
    /// What runs at its moment is to end then.
    pub cut: bool,
}

/// What a gateway runs. Moments are in milliseconds since 1970 UTC by the gateway's clock.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Running {
    /// The show file's text.
    pub show: String,
    /// The throttle file's text.
    pub throttle: String,
    /// What `starts = "now"` means.
    pub started_at_ms: u64,
    /// Moments of the cues that operators set, by name.
    pub cues: BTreeMap<String, u64>,
    /// Moments at which phases end before their time, by name.
    pub cuts: BTreeMap<String, u64>,
}

impl What {
    /// The name in logs.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Show(_) => "show",
            Self::Throttle(_) => "throttle",
            Self::Cue(_) => "cue",
            Self::CancelCue(_) => "cancel_cue",
            Self::Adopt(_) => "adopt",
        }
    }
}

/// Send the sessions away and end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drain {
    /// Within [`DRAIN_MS`].
    pub over_ms: u32,
    /// Each a `host:port`; at most [`ALTERNATIVES_MAX`].
    pub alternatives: Vec<String>,
    /// Change nothing, tell what would be.
    pub dry_run: bool,
}

impl TryFrom<v1::Request> for Request {
    type Error = Refusal;

    fn try_from(request: v1::Request) -> Result<Self, Refusal> {
        use v1::request::Kind;
        match request.kind.ok_or(Refusal::Unknown)? {
            Kind::Push(push) => push.try_into().map(Self::Change),
            Kind::Cue(cue) => cue.try_into().map(Self::Change),
            Kind::Status(v1::StatusRequest {}) => Ok(Self::Status),
            Kind::Drain(drain) => drain.try_into().map(Self::Drain),
            Kind::Reload(v1::Reload { dry_run }) => Ok(Self::Reload { dry_run }),
            Kind::CancelCue(cancel) => cancel.try_into().map(Self::Change),
            Kind::CancelDrain(v1::CancelDrain {}) => Ok(Self::CancelDrain),
            Kind::Running(v1::RunningRequest {}) => Ok(Self::Running),
            Kind::Adopt(adopt) => adopt.try_into().map(Self::Change),
        }
    }
}

impl TryFrom<v1::Push> for Change {
    type Error = Refusal;

    fn try_from(push: v1::Push) -> Result<Self, Refusal> {
        let what = match v1::Kind::try_from(push.kind) {
            Ok(v1::Kind::Show) => What::Show(push.text),
            Ok(v1::Kind::Throttle) => What::Throttle(push.text),
            Ok(v1::Kind::Unspecified) | Err(_) => return Err(Refusal::Unknown),
        };
        if !is_moment(push.now_ms) {
            return Err(Refusal::Malformed);
        }
        let now_ms = (push.now_ms > 0).then_some(push.now_ms);
        Ok(Change {
            now_ms,
            ..change(what, push.version, push.dry_run)?
        })
    }
}

impl TryFrom<v1::Cue> for Change {
    type Error = Refusal;

    fn try_from(cue: v1::Cue) -> Result<Self, Refusal> {
        if cue.name.len() > NAME_BYTES_MAX || !is_moment(cue.at_ms) {
            return Err(Refusal::Malformed);
        }
        let what = What::Cue(Cue {
            name: cue.name,
            at_ms: cue.at_ms,
            again: cue.again,
            cut: cue.cut,
        });
        change(what, cue.version, cue.dry_run)
    }
}

impl TryFrom<v1::CancelCue> for Change {
    type Error = Refusal;

    fn try_from(cancel: v1::CancelCue) -> Result<Self, Refusal> {
        if cancel.name.len() > NAME_BYTES_MAX {
            return Err(Refusal::Malformed);
        }
        change(What::CancelCue(cancel.name), cancel.version, cancel.dry_run)
    }
}

impl TryFrom<v1::Adopt> for Change {
    type Error = Refusal;

    fn try_from(adopt: v1::Adopt) -> Result<Self, Refusal> {
        let running = adopt.running.ok_or(Refusal::Malformed)?;
        let mut moments = running.cues.iter().chain(&running.cuts);
        let all_good = moments.all(|(name, &at)| name.len() <= NAME_BYTES_MAX && is_moment(at));
        if !all_good || !is_moment(running.started_at_ms) {
            return Err(Refusal::Malformed);
        }
        let what = What::Adopt(Box::new(Running {
            show: running.show,
            throttle: running.throttle,
            started_at_ms: running.started_at_ms,
            cues: running.cues.into_iter().collect(),
            cuts: running.cuts.into_iter().collect(),
        }));
        change(what, running.version, adopt.dry_run)
    }
}

/// Whether TOML can hold it as an integer, and the ledger as a time.
fn is_moment(ms: u64) -> bool {
    ms <= i64::MAX as u64
}

fn change(what: What, version: u64, dry_run: bool) -> Result<Change, Refusal> {
    // As far as TOML's integers reach, so that a version can always be kept on disk.
    if version == 0 || version > i64::MAX as u64 {
        return Err(Refusal::Malformed);
    }
    let is_long = |text: &String| text.len() > FILE_BYTES_MAX;
    if match &what {
        What::Show(text) | What::Throttle(text) => is_long(text),
        What::Adopt(running) => is_long(&running.show) || is_long(&running.throttle),
        What::Cue(_) | What::CancelCue(_) => false,
    } {
        return Err(Refusal::Oversized);
    }
    Ok(Change {
        what,
        version,
        dry_run,
        now_ms: None,
    })
}

impl TryFrom<v1::Drain> for Drain {
    type Error = Refusal;

    fn try_from(drain: v1::Drain) -> Result<Self, Refusal> {
        let all_good = drain.alternatives.iter().all(|host| is_host_and_port(host));
        if !DRAIN_MS.contains(&drain.over_ms) || drain.alternatives.len() > ALTERNATIVES_MAX || !all_good {
            return Err(Refusal::Malformed);
        }
        Ok(Self {
            over_ms: drain.over_ms,
            alternatives: drain.alternatives,
            dry_run: drain.dry_run,
        })
    }
}

/// Whether this is a name or address, a colon and a port.
#[must_use]
pub fn is_host_and_port(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else {
        return false;
    };
    let named = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':' | b'[' | b']');
    !host.is_empty()
        && text.len() <= NAME_BYTES_MAX
        && host.bytes().all(named)
        && port.parse::<u16>().is_ok_and(|port| port != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use v1::request::Kind;

    #[test]
    fn bounds_have_names() {
        let push = |kind: i32, version| {
            let text = "x".to_owned();
            Kind::Push(v1::Push {
                kind,
                text,
                version,
                dry_run: false,
                now_ms: if kind == 2 { i64::MAX as u64 } else { 0 },
            })
        };
        let cue = |name: usize, at_ms, version| {
            let name = "c".repeat(name);
            Kind::Cue(v1::Cue {
                name,
                at_ms,
                version,
                dry_run: true,
                ..Default::default()
            })
        };
        let adopt = |show: usize, at_ms, version| {
            let running = v1::Running {
                show: "s".repeat(show),
                version,
                cues: [("c".to_owned(), at_ms)].into(),
                ..Default::default()
            };
            Kind::Adopt(v1::Adopt {
                running: Some(running),
                dry_run: false,
            })
        };
        let drain = |over_ms, alternative: &str, count| {
            let alternatives = vec![alternative.to_owned(); count];
            Kind::Drain(v1::Drain {
                over_ms,
                alternatives,
                dry_run: false,
            })
        };
        for (kind, refusal) in [
            (None, Some(Refusal::Unknown)),
            (Some(push(1, 1)), None),
            (Some(push(2, 1)), None),
            (
                Some(Kind::Push(v1::Push {
                    kind: 1,
                    version: 1,
                    now_ms: u64::MAX,
                    ..Default::default()
                })),
                Some(Refusal::Malformed),
            ),
            (Some(push(0, 1)), Some(Refusal::Unknown)),
            (Some(push(9, 1)), Some(Refusal::Unknown)),
            (Some(push(1, 0)), Some(Refusal::Malformed)),
            (Some(push(1, u64::MAX)), Some(Refusal::Malformed)),
            (Some(cue(10, 5, 1)), None),
            (Some(cue(256, 5, 1)), Some(Refusal::Malformed)),
            (Some(cue(10, u64::MAX, 1)), Some(Refusal::Malformed)),
            (Some(adopt(FILE_BYTES_MAX, 5, 1)), None),
            (Some(adopt(FILE_BYTES_MAX + 1, 5, 1)), Some(Refusal::Oversized)),
            (Some(adopt(1, u64::MAX, 1)), Some(Refusal::Malformed)),
            (Some(adopt(1, 5, 0)), Some(Refusal::Malformed)),
            (Some(Kind::Adopt(v1::Adopt::default())), Some(Refusal::Malformed)),
            (Some(Kind::Status(v1::StatusRequest {})), None),
            (Some(Kind::Reload(v1::Reload { dry_run: true })), None),
            (Some(drain(30_000, "gw2.example:4433", 16)), None),
            (Some(drain(30_000, "[::1]:4433", 1)), None),
            (Some(drain(30_000, "gw2.example:4433", 17)), Some(Refusal::Malformed)),
            (Some(drain(999, "", 0)), Some(Refusal::Malformed)),
            (Some(drain(30_000, "gw2.example", 1)), Some(Refusal::Malformed)),
            (Some(drain(30_000, "gw 2:1", 1)), Some(Refusal::Malformed)),
            (Some(drain(30_000, "gw2:0", 1)), Some(Refusal::Malformed)),
        ] {
            let found = Request::try_from(v1::Request { kind: kind.clone() }).err();
            assert_eq!(found, refusal, "{kind:?}");
        }
    }

    #[test]
    fn refusals_round_trip() {
        use strum::VariantArray as _;
        for &refusal in Refusal::VARIANTS {
            assert_eq!(Refusal::from_wire(refusal.to_wire() as i32), Some(refusal));
        }
        assert_eq!(Refusal::from_wire(0), None);
    }
}
