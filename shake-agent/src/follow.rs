//! Follows files that others replace whole while the agent runs; it looks at them from time to time, and takes what is new
//! between two turns.
//!
//! - The show that operators push, with the cues that they set: the gateway keeps it in `live.toml` of its state directory.
//! - The ticket keys, which `certs rotate` replaces. The agent must have a key before a gateway seals with it, so it does
//!   not wait to be told.

use shake_rules::EventId;
use shake_rules::document::Problems;
use shake_rules::kept::{FILE, Kept};
use shake_rules::keys::{KeyRing, Purpose};
use shake_rules::show::Show;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tracing::{info, warn};

/// How often a file is looked at. A look costs one system call.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What tells one content of the file from the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    modified: (i64, i64),
    length: u64,
}

/// A file, and what was last seen of it.
#[derive(Debug)]
struct Watched {
    path: PathBuf,
    seen: Option<Stamp>,
    looked: Option<Instant>,
}

impl Watched {
    fn new(path: PathBuf) -> Self {
        Self {
            path,
            seen: None,
            looked: None,
        }
    }

    /// The text, when it is time to look and the file is another than before.
    fn look(&mut self) -> Option<io::Result<String>> {
        if self.looked.is_some_and(|at| at.elapsed() < LOOK_EVERY) {
            return None;
        }
        self.looked = Some(Instant::now());
        // Not there: nobody has written it yet, or it is being replaced by hand.
        let found = fs::metadata(&self.path).ok()?;
        let stamp = Stamp {
            inode: found.ino(),
            modified: (found.mtime(), found.mtime_nsec()),
            length: found.len(),
        };
        if self.seen.replace(stamp) == Some(stamp) {
            return None;
        }
        Some(fs::read_to_string(&self.path))
    }
}

/// The ticket keys, and where they come from.
#[derive(Debug)]
pub struct KeyFollower {
    file: Watched,
    keys: KeyRing,
}

impl KeyFollower {
    /// Follows the ticket keys of a certificate directory; `keys` are what the agent goes by until then.
    #[must_use]
    pub fn new(certs: &Path, keys: KeyRing) -> Self {
        Self {
            file: Watched::new(certs.join(Purpose::Ticket.file_name())),
            keys,
        }
    }

    /// The keys that the agent is to go by from now on, when they are others than before. What cannot be used is told once
    /// and passed over.
    pub fn look(&mut self) -> Option<&KeyRing> {
        let read = self.file.look()?;
        let parse =
            |text: String| KeyRing::parse(&text, Purpose::Ticket).map_err(|problems: Problems| problems.to_string());
        match read.map_err(|error| error.to_string()).and_then(parse) {
            Err(reason) => {
                warn!(path = %self.file.path.display(), reason, "the new ticket keys cannot be used; the ones before hold");
                None
            }
            Ok(keys) if keys == self.keys => None,
            Ok(keys) => {
                let accepted: Vec<_> = keys.iter().map(|key| key.id).collect();
                info!(active = keys.active().id, ?accepted, "new ticket keys");
                self.keys = keys;
                Some(&self.keys)
            }
        }
    }
}

/// The show that the gateway runs, and where it is kept.
#[derive(Debug)]
pub struct Follower {
    file: Option<Watched>,
    event: EventId,
    /// What the agent goes by.
    show: Show,
}

impl Follower {
    /// Follows the file in `directory`, if there is one; `show` is what the agent goes by until then.
    #[must_use]
    pub fn new(directory: Option<&Path>, show: Show) -> Self {
        Self {
            file: directory.map(|directory| Watched::new(directory.join(FILE))),
            event: show.event,
            show,
        }
    }

    /// The show that the agent is to go by from now on, when it is another than before. What makes no sense or is of
    /// another event is told once and passed over.
    pub fn look(&mut self) -> Option<&Show> {
        let file = self.file.as_mut()?;
        let read = file.look()?;
        let path = &file.path;
        let read = read.map_err(|error| error.to_string()).and_then(|text| {
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
            follower.file.as_mut().expect("it follows one").looked = None;
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

    #[test]
    fn new_keys_are_taken_once_and_what_makes_no_sense_never() {
        use shake_rules::keys::Key;
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join(Purpose::Ticket.file_name());
        let first = KeyRing::of(Key::new(1, [1; 32]));
        let second = first.with_waiting([2; 32]).expect("none waits");
        let mut follower = KeyFollower::new(directory.path(), first.clone());
        let mut look = |text: &str| {
            fs::write(directory.path().join("new"), text).expect("written");
            fs::rename(directory.path().join("new"), &path).expect("in place");
            follower.file.looked = None;
            follower.look().cloned()
        };
        assert_eq!(look(&first.to_file(Purpose::Ticket)), None, "it has these already");
        assert_eq!(look(&second.to_file(Purpose::Ticket)), Some(second.clone()));
        assert_eq!(look(&second.to_file(Purpose::Cookie)), None, "of another purpose");
        assert_eq!(look("purpose = "), None);
        assert_eq!(look(&first.to_file(Purpose::Ticket)), Some(first));
    }
}
