//! Follows what the gateway beside this agent runs: the show that operators push, with the cues that they set. The gateway
//! keeps it in `live.toml` of its state directory and replaces the file whole at each change; the agent looks at the file
//! from time to time, and takes a new show between two turns.

use shake_rules::EventId;
use shake_rules::kept::{FILE, Kept};
use shake_rules::show::Show;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tracing::{info, warn};

/// How often the file is looked at. A look costs one system call.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What tells one content of the file from the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    modified: (i64, i64),
    length: u64,
}

/// The file, and what was last seen of it.
#[derive(Debug)]
pub struct Follower {
    path: Option<PathBuf>,
    event: EventId,
    seen: Option<Stamp>,
    looked: Option<Instant>,
    /// What the agent goes by.
    show: Show,
}

impl Follower {
    /// Follows the file in `directory`, if there is one; `show` is what the agent goes by until then.
    #[must_use]
    pub fn new(directory: Option<&Path>, show: Show) -> Self {
        Self {
            path: directory.map(|directory| directory.join(FILE)),
            event: show.event,
            seen: None,
            looked: None,
            show,
        }
    }

    /// The show that the agent is to go by from now on, when it is another than before. What makes no sense or is of
    /// another event is told once and passed over.
    pub fn look(&mut self) -> Option<&Show> {
        if self.looked.is_some_and(|at| at.elapsed() < LOOK_EVERY) {
            return None;
        }
        self.looked = Some(Instant::now());
        let path = self.path.as_ref()?;
        // Not there: no gateway has run here yet, or it keeps nothing.
        let found = fs::metadata(path).ok()?;
        let stamp = Stamp {
            inode: found.ino(),
            modified: (found.mtime(), found.mtime_nsec()),
            length: found.len(),
        };
        if self.seen.replace(stamp) == Some(stamp) {
            return None;
        }
        let read = fs::read_to_string(path)
            .map_err(|error| error.to_string())
            .and_then(|text| {
                let kept = Kept::parse(&text).map_err(|problems| problems.to_string())?;
                let show = kept.parse_show().map_err(|problems| problems.to_string())?;
                Ok((kept.version, show))
            });
        match read {
            Err(reason) => {
                warn!(path = %path.display(), reason, "cannot follow the gateway's show; the one before holds")
            }
            Ok((version, show)) if show.event != self.event => {
                let (theirs, ours) = (show.event.0, self.event.0);
                warn!(path = %path.display(), version, theirs, ours, "the gateway's show is of another event; the one before holds");
            }
            Ok((_, show)) if show == self.show => {}
            Ok((version, show)) => {
                info!(version, show = show.name, "following the gateway's show");
                self.show = show;
                return Some(&self.show);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shake_rules::UnixMillis;
    use shake_rules::kept::Configured;

    const SHOW: &str = "[[phases]]\nname = \"a\"\nend_s = 1\nweights = { nothing = 1 }\n";

    #[test]
    fn a_new_show_is_taken_once_and_what_makes_no_sense_never() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let show = |text: &str| Show::parse(text, UnixMillis(1_000)).expect("good");
        let mut follower = Follower::new(Some(directory.path()), show(SHOW));
        let mut look = |text: Option<String>| {
            if let Some(text) = text {
                fs::write(directory.path().join("new"), text).expect("written");
                fs::rename(directory.path().join("new"), directory.path().join(FILE)).expect("in place");
            }
            follower.looked = None;
            follower.look().map(|show| show.phases[0].name.clone())
        };
        let kept = |text: &str| {
            let configured = Configured {
                show: text.to_owned(),
                throttle: String::new(),
                event: EventId(1),
                now: UnixMillis(1_000),
                forget_pushed: false,
            };
            Some(Kept::at_start(None, configured).0.to_text())
        };
        assert_eq!(look(None), None);
        assert_eq!(look(kept(SHOW)), None, "it has this already");
        assert_eq!(look(kept(&SHOW.replace("\"a\"", "\"b\""))), Some("b".to_owned()));
        assert_eq!(look(None), None);
        assert_eq!(look(Some("version = ".to_owned())), None);
        assert_eq!(look(kept(&format!("[event]\nid = 2\n{SHOW}"))), None);
        assert_eq!(look(kept(SHOW)), Some("a".to_owned()));
    }
}
