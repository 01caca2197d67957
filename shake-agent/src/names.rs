//! Sponsors and phases by name: as the gateway ran them last, else as a show file has them.

use crate::config::{Config, DEFAULT_SHOW};
use shake_rules::kept::{self, FILES, Kept};
use shake_rules::show::Show;
use shake_rules::{EventId, SponsorId, UnixMillis};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// What things are called, and how long tickets live.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// The event; empty when no show tells.
    pub event: String,
    sponsors: BTreeMap<SponsorId, String>,
    /// By stage.
    phases: Vec<String>,
    /// The longest that any of the shows has tickets live, in milliseconds.
    pub ticket_lifetime_ms: u64,
}

impl Names {
    /// Reads what the gateway keeps in the state directory, and the configured show. A file that cannot be read, or is of
    /// another event, names nothing: the numbers stand then.
    #[must_use]
    pub fn read(config: &Config, event: EventId) -> Self {
        let configured = if config.show.as_os_str().is_empty() {
            Some(DEFAULT_SHOW.to_owned())
        } else {
            fs::read_to_string(&config.show).ok()
        };
        let configured = configured.and_then(|text| Show::parse(&text, UnixMillis(0)).ok());
        let kept = config.state.as_deref().and_then(newest);
        let pushed = kept.as_ref().and_then(|kept| kept.parse_show().ok());
        let mut names = Self::default();
        for show in [configured, pushed].into_iter().flatten() {
            if show.event == event {
                names.take(show);
            }
        }
        // A stage means the same phase whatever show was pushed later.
        if let Some(kept) = kept.filter(|kept| kept.event == event.0 && !kept.stages.is_empty()) {
            names.phases = kept.stages;
        }
        names
    }

    /// Reads a show file, which must be of the event.
    ///
    /// # Errors
    /// What is wrong with the file, in a line.
    pub fn of_file(path: &Path, event: EventId) -> Result<Self, String> {
        let fault = |what: String| format!("{}: {what}", path.display());
        let text = fs::read_to_string(path).map_err(|error| fault(error.to_string()))?;
        let show = Show::parse(&text, UnixMillis(0)).map_err(|problems| fault(problems.to_string()))?;
        if show.event != event {
            return Err(fault(format!(
                "it is the show of event {}, and the books are of event {event}",
                show.event
            )));
        }
        let mut names = Self::default();
        names.take(show);
        Ok(names)
    }

    fn take(&mut self, show: Show) {
        self.event = show.name;
        self.sponsors
            .extend(show.sponsors.into_iter().map(|(id, sponsor)| (id, sponsor.name)));
        self.phases = show.phases.into_iter().map(|phase| phase.name).collect();
        self.ticket_lifetime_ms = self.ticket_lifetime_ms.max(show.ticket_lifetime_ms);
    }

    /// A sponsor.
    #[must_use]
    pub fn sponsor(&self, id: u16) -> String {
        match self.sponsors.get(&SponsorId(id)) {
            _ if id == 0 => "the event (gifts)".to_owned(),
            Some(name) => name.clone(),
            None => format!("sponsor {id}"),
        }
    }

    /// A phase.
    #[must_use]
    pub fn phase(&self, stage: Option<u16>) -> String {
        let Some(stage) = stage else {
            return "no phase".to_owned();
        };
        let name = self.phases.get(usize::from(stage)).cloned();
        name.unwrap_or_else(|| format!("phase {}", u32::from(stage) + 1))
    }
}

fn newest(state: &Path) -> Option<Kept> {
    let copies = FILES.map(|name| (name, fs::read_to_string(state.join(name)).ok()));
    kept::newest(copies.into_iter().map(|(name, text)| (name, Ok(text))))
        .ok()
        .flatten()
}
