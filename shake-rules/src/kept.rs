//! What a gateway runs of the things that operators change, as it keeps it on disk: `live.toml` in its state directory,
//! and a copy. The gateway writes them whole at each change and reads them at its start; the agent beside it follows them.
//!
//! ```text
//! # remarks
//! format = 2            later formats may have keys that this one passes over
//! sha256 = "…"          of every byte behind this line
//! version = …           the rest is `Kept`, as TOML
//! ```
//! Files without these two lines are of format 1, which had no checksum; they are read.
//!
//! Three rules live here because both programs need them. *Stages*: phases are numbered by name in the order in which they
//! first appeared, so a number in a ticket or in the ledger means the same phase whatever show is pushed later. *Precedence*:
//! what was pushed holds over a restart as long as the configured files are those that it replaced. *Copies*: the newest
//! that is whole.

use crate::document::{self, Problems};
use crate::show::{Moments, Show};
use crate::{EventId, UnixMillis};
use data_encoding::HEXLOWER;
use ring::digest;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The file's name in the state directory, and its copy's.
pub const FILES: [&str; 2] = ["live.toml", "live.copy.toml"];
/// The format that this version writes.
pub const FORMAT: u32 = 2;

/// The moment of a cue that an operator has cancelled, and that waits again: the largest number of TOML.
pub const WAITS_MS: u64 = i64::MAX as u64;

const HEADER: &str = "\
# What this gateway runs: written by it at each change, read at its next start, and followed by the agent.
# Do not edit it; push a change instead. `gateway run --forget-pushed` goes back to the configured files.

";
/// What the line of the format begins with, and that of the checksum.
const FORMAT_KEY: &str = "format = ";
const SHA256_KEY: &str = "sha256 = ";
/// Stages have 16 bits in tickets.
const STAGES_MAX: usize = u16::MAX as usize;

/// What a gateway runs.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Kept {
    /// Only grows.
    pub version: u64,
    /// Who made this version: the name in the operator's certificate; empty for the configured files.
    pub by: String,
    /// When, in milliseconds since 1970 UTC.
    pub at_ms: u64,
    /// Whether anything of it was pushed; otherwise it is what the configured files said.
    pub is_pushed: bool,
    /// The event's number.
    pub event: u32,
    /// What `starts = "now"` means, in milliseconds since 1970 UTC.
    pub started_at_ms: u64,
    /// Names of phases by stage.
    pub stages: Vec<String>,
    /// SHA-256 in hex of the configured show file that `show` replaced or is.
    pub show_base: String,
    /// The same of the throttle file.
    pub throttle_base: String,
    /// The instance of the mapping that the gateway holds, in 16 hex digits, and its epoch there: who follows this is
    /// attached to the same mapping, and believes no file of an earlier life.
    pub mapping_instance: String,
    /// See `mapping_instance`.
    pub mapping_epoch: u32,
    /// The show file's text.
    pub show: String,
    /// The throttle file's text.
    pub throttle: String,
    /// Moments of the cues that operators set, in milliseconds since 1970 UTC; [`WAITS_MS`] for one that was cancelled.
    pub cues: BTreeMap<String, u64>,
    /// Moments at which phases end before their time, by the phase's name, likewise.
    pub cuts: BTreeMap<String, u64>,
}

/// SHA-256 of a text in hex, as `Kept` and the audit log name contents.
#[must_use]
pub fn sha256(text: &str) -> String {
    HEXLOWER.encode(digest::digest(&digest::SHA256, text.as_bytes()).as_ref())
}

impl Kept {
    /// Reads the file.
    ///
    /// # Errors
    /// When it is not such a file, its checksum is another, or it has no version.
    pub fn parse(text: &str) -> Result<Self, Problems> {
        let (kept, mut problems) = document::parse::<Self>(text);
        if !is_whole(text) {
            problems.add_whole("the checksum differs: the file is not as it was written");
        }
        if problems.0.is_empty() && kept.version == 0 {
            problems.add_whole("no version: the file is not whole");
        }
        problems.or_value(kept)
    }

    /// What a damaged file still says, for whoever goes back to the configured files: its version and its stages keep
    /// their meaning. `None` when nothing can be read.
    #[must_use]
    pub fn salvage(text: &str) -> Option<Self> {
        toml::from_str(text).ok()
    }

    /// The file's text.
    #[must_use]
    pub fn to_text(&self) -> String {
        let body = toml::to_string_pretty(self).expect("strings, numbers and tables of numbers are TOML");
        format!(
            "{HEADER}{FORMAT_KEY}{FORMAT}\n{SHA256_KEY}\"{}\"\n{body}",
            sha256(&body)
        )
    }

    /// Whether it was written by the gateway that holds this mapping in this epoch.
    #[must_use]
    pub fn is_of(&self, mapping_instance: u64, mapping_epoch: u32) -> bool {
        self.mapping_instance == instance_name(mapping_instance) && self.mapping_epoch == mapping_epoch
    }

    /// The show, with the cues that operators set.
    ///
    /// # Errors
    /// Every problem, with its line in the show's text.
    pub fn parse_show(&self) -> Result<Show, Problems> {
        let moment = |at| UnixMillis(if at == WAITS_MS { u64::MAX } else { at });
        let moments = |of: &BTreeMap<String, u64>| of.iter().map(|(name, &at)| (name.clone(), moment(at))).collect();
        let moments = Moments {
            started_at: UnixMillis(self.started_at_ms),
            cues: moments(&self.cues),
            cuts: moments(&self.cuts),
        };
        Show::parse_at(&self.show, &moments)
    }

    /// The stages of the phases of `show`, in their order; new names get the next numbers.
    ///
    /// # Errors
    /// When there are no numbers left, in which case nothing changes.
    pub fn number_stages(&mut self, show: &Show) -> Result<Vec<u16>, Problems> {
        // A name that stands twice is two phases: each takes the first number of that name that is left.
        let mut of_name: BTreeMap<&str, BTreeSet<usize>> = BTreeMap::new();
        for (stage, name) in self.stages.iter().enumerate() {
            of_name.entry(name).or_default().insert(stage);
        }
        let (mut numbers, mut new) = (Vec::with_capacity(show.phases.len()), Vec::new());
        for phase in &show.phases {
            let known = of_name.get_mut(phase.name.as_str()).and_then(BTreeSet::pop_first);
            let stage = known.unwrap_or_else(|| {
                new.push(phase.name.clone());
                self.stages.len() + new.len() - 1
            });
            if stage > STAGES_MAX {
                let mut problems = Problems::default();
                let message = format!(
                    "phase {:?} would be stage {stage}, and {STAGES_MAX} is the last",
                    phase.name
                );
                problems.add_at(phase.line, message);
                return problems.or_value(Vec::new());
            }
            numbers.push(stage as u16);
        }
        self.stages.append(&mut new);
        Ok(numbers)
    }

    /// What a gateway begins with: this, read from its disk, or else the configured files. The second value says why what
    /// was pushed does not hold any more, when that is so.
    #[must_use]
    pub fn at_start(before: Option<Self>, configured: Configured) -> (Self, Option<&'static str>) {
        let mut fresh = Self {
            version: 1,
            at_ms: configured.now.0,
            event: configured.event.0,
            started_at_ms: configured.now.0,
            show_base: sha256(&configured.show),
            throttle_base: sha256(&configured.throttle),
            show: configured.show,
            throttle: configured.throttle,
            ..Self::default()
        };
        let Some(before) = before else {
            return (fresh, None);
        };
        let why = if !before.is_pushed {
            None
        } else if configured.forget_pushed {
            Some("--forget-pushed")
        } else if before.event != fresh.event {
            Some("the configured show is of another event")
        } else if before.show_base != fresh.show_base {
            Some("the configured show file was edited since")
        } else if before.throttle_base != fresh.throttle_base {
            Some("the configured throttle file was edited since")
        } else {
            return (before, None);
        };
        fresh.version = before.next_version(configured.now);
        if before.event == fresh.event {
            fresh.stages = before.stages;
        }
        (fresh, why)
    }

    /// The version after this one, without an operator. One that lies beyond all that operators may give is given up: behind
    /// it, nothing could be steered any more.
    fn next_version(&self, now: UnixMillis) -> u64 {
        if self.version > version_max(0, now) {
            now.0
        } else {
            self.version + 1
        }
    }
}

/// How far ahead of the clock a version may be, in milliseconds: operators' clocks differ.
const VERSION_AHEAD_MS_MAX: u64 = 600_000;

/// The version that an operator gives to a change: milliseconds since 1970, so that nobody need know the versions of
/// gateways that do not answer; but above `highest`, the highest that is known.
#[must_use]
pub fn new_version(highest: u64, now: UnixMillis) -> u64 {
    now.0.max(highest.saturating_add(1))
}

/// The largest version that a change may have behind `before`.
#[must_use]
pub fn version_max(before: u64, now: UnixMillis) -> u64 {
    new_version(before, now.plus_ms(VERSION_AHEAD_MS_MAX))
}

/// Whether the text is as it was written. One of format 1 cannot tell.
fn is_whole(text: &str) -> bool {
    let is_remark = |line: &&str| line.is_empty() || line.starts_with('#');
    let Some(first) = text.lines().find(|line| !is_remark(line)) else {
        return false;
    };
    if !first.starts_with(FORMAT_KEY) {
        return true;
    }
    let rest = text
        .split_once(FORMAT_KEY)
        .and_then(|(_, rest)| rest.split_once(SHA256_KEY));
    let sum_and_body = rest.and_then(|(_, rest)| rest.split_once('\n'));
    sum_and_body.is_some_and(|(sum, body)| sum.trim_matches('"') == sha256(body))
}

/// The instance of a mapping, as files and logs name it.
#[must_use]
pub fn instance_name(instance: u64) -> String {
    format!("{instance:016x}")
}

/// The newest whole one of several copies of the file, each with its name; each is a text, or why there is none. `None`
/// when all are missing: nothing was ever kept.
///
/// # Errors
/// When something is there and none of it is whole: what is wrong with each.
pub fn newest<'a>(
    copies: impl IntoIterator<Item = (&'a str, Result<Option<String>, String>)>,
) -> Result<Option<Kept>, Vec<String>> {
    let (mut best, mut faults) = (None::<Kept>, Vec::new());
    for (name, copy) in copies {
        match copy {
            Ok(None) => {}
            Err(reason) => faults.push(format!("{name}: {reason}")),
            Ok(Some(text)) => match Kept::parse(&text) {
                Err(problems) => faults.push(format!("{name}: {problems}")),
                Ok(kept) if best.as_ref().is_some_and(|best| best.version >= kept.version) => {}
                Ok(kept) => best = Some(kept),
            },
        }
    }
    match best {
        None if !faults.is_empty() => Err(faults),
        best => Ok(best),
    }
}

/// What the configuration says, for [`Kept::at_start`].
#[derive(Clone, Debug)]
pub struct Configured {
    /// The configured show's text.
    pub show: String,
    /// The configured throttle's text.
    pub throttle: String,
    /// The configured show's event.
    pub event: EventId,
    /// The present.
    pub now: UnixMillis,
    /// Whether the operator asked to drop what was pushed.
    pub forget_pushed: bool,
}

#[cfg(test)]
mod tests;
