//! What a gateway runs of the things that operators change, as it keeps it on disk: `live.toml` in its state directory.
//! The gateway writes it whole at each change and reads it at its start; the agent beside it follows it.
//!
//! Two rules live here because both programs need them. *Stages*: phases are numbered by name in the order in which they
//! first appeared, so a number in a ticket or in the ledger means the same phase whatever show is pushed later. *Precedence*:
//! what was pushed holds over a restart as long as the configured files are those that it replaced.

use crate::document::{self, Problems};
use crate::show::Show;
use crate::{EventId, UnixMillis, hex};
use ring::digest;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The file's name in the state directory.
pub const FILE: &str = "live.toml";

const HEADER: &str = "\
# What this gateway runs: written by it at each change, read at its next start, and followed by the agent.
# Do not edit it; push a change instead. `gateway run --forget-pushed` goes back to the configured files.

";

/// What a gateway runs.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
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
    /// The show file's text.
    pub show: String,
    /// The throttle file's text.
    pub throttle: String,
    /// Moments of the cues that operators set, in milliseconds since 1970 UTC.
    pub cues: BTreeMap<String, u64>,
}

/// SHA-256 of a text in hex, as `Kept` and the audit log name contents.
#[must_use]
pub fn sha256(text: &str) -> String {
    hex::encode(digest::digest(&digest::SHA256, text.as_bytes()).as_ref())
}

impl Kept {
    /// Reads the file.
    ///
    /// # Errors
    /// When it is not such a file, or has no version.
    pub fn parse(text: &str) -> Result<Self, Problems> {
        let (kept, mut problems) = document::parse::<Self>(text);
        if problems.0.is_empty() && kept.version == 0 {
            problems.add_whole("no version: the file is not whole");
        }
        problems.or_value(kept)
    }

    /// The file's text.
    #[must_use]
    pub fn to_text(&self) -> String {
        let body = toml::to_string_pretty(self).expect("strings, numbers and one table of numbers are TOML");
        format!("{HEADER}{body}")
    }

    /// The show, with the cues that operators set.
    ///
    /// # Errors
    /// Every problem, with its line in the show's text.
    pub fn parse_show(&self) -> Result<Show, Problems> {
        let cues = self
            .cues
            .iter()
            .map(|(name, &at)| (name.clone(), UnixMillis(at)))
            .collect();
        Show::parse_with_cues(&self.show, UnixMillis(self.started_at_ms), &cues)
    }

    /// The stages of the phases of `show`, in their order; new names get the next numbers.
    pub fn number_stages(&mut self, show: &Show) -> Vec<u16> {
        let mut numbers = Vec::with_capacity(show.phases.len());
        for phase in &show.phases {
            // A name that stands twice is two phases: each takes the first number of that name that is left.
            let known = (0..self.stages.len())
                .find(|&stage| self.stages[stage] == phase.name && !numbers.contains(&(stage as u16)));
            let stage = known.unwrap_or_else(|| {
                self.stages.push(phase.name.clone());
                self.stages.len() - 1
            });
            numbers.push(stage as u16);
        }
        numbers
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
        fresh.version = before.version + 1;
        if before.event == fresh.event {
            fresh.stages = before.stages;
        }
        (fresh, why)
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
mod tests {
    use super::*;

    const SHOW: &str = "[cues]\nc = \"\"\n[[phases]]\nname = \"a\"\nend_s = 1\nweights = { nothing = 1 }\n\
                        [[phases]]\nname = \"b\"\ncue = \"c\"\nend_s = 1\nweights = { nothing = 1 } # '''\n";

    fn configured(show: &str) -> Configured {
        Configured {
            show: show.to_owned(),
            throttle: "x = 1\n".to_owned(),
            event: EventId(1),
            now: UnixMillis(5_000),
            forget_pushed: false,
        }
    }

    #[test]
    fn it_reads_back_as_written_and_half_of_it_does_not() {
        let (mut kept, _) = Kept::at_start(None, configured(SHOW));
        kept.cues.insert("c".into(), 9_000);
        kept.by = "Ann \"the\" operator".into();
        let text = kept.to_text();
        assert_eq!(Kept::parse(&text), Ok(kept.clone()));
        assert_eq!(kept.parse_show().expect("good").phases[1].starts_at, UnixMillis(9_000));
        Kept::parse(&text[..text.len() / 2]).expect_err("half a file");
        Kept::parse("").expect_err("nothing");
    }

    #[test]
    fn stages_keep_their_names() {
        let (mut kept, _) = Kept::at_start(None, configured(SHOW));
        let show = kept.parse_show().expect("good");
        assert_eq!(kept.number_stages(&show), [0, 1]);
        // The cue puts b before a; then a phase is added, and one of the same name twice.
        kept.cues.insert("c".into(), 1_000);
        assert_eq!(kept.number_stages(&kept.parse_show().expect("good")), [1, 0]);
        kept.show = SHOW.replace("\"a\"", "\"new\"");
        assert_eq!(kept.number_stages(&kept.parse_show().expect("good")), [1, 2]);
        kept.show = SHOW.replace("\"a\"", "\"b\"");
        assert_eq!(kept.number_stages(&kept.parse_show().expect("good")), [1, 3]);
        assert_eq!(kept.stages, ["a", "b", "new", "b"]);
    }

    #[test]
    fn what_was_pushed_holds_until_the_configured_files_change() {
        let (mut before, _) = Kept::at_start(None, configured(SHOW));
        let start = |before: &Kept, configured| Kept::at_start(Some(before.clone()), configured);
        // Nothing was pushed: the configuration holds, and versions and stages go on.
        before.stages = vec!["a".into()];
        before.version = 4;
        let (kept, why) = start(&before, configured("other = 1"));
        assert_eq!((kept.version, kept.stages.len(), why), (5, 1, None));
        assert_eq!(kept.show, "other = 1");
        before.is_pushed = true;
        before.show = "pushed".into();
        assert_eq!(start(&before, configured(SHOW)), (before.clone(), None));
        let forget = Configured {
            forget_pushed: true,
            ..configured(SHOW)
        };
        for configured in [forget, configured("edited")] {
            let text = configured.show.clone();
            let (kept, why) = start(&before, configured);
            assert_eq!((kept.version, kept.show, kept.is_pushed), (5, text, false));
            assert!(why.is_some());
        }
    }
}
