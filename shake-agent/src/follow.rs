//! Follows files that others replace whole while the agent runs; it looks at them from time to time, and takes what is new
//! between two turns. What cannot be read, believed or taken is tried again, and shown until it can be.
//!
//! - The show that operators push, with the cues that they set: the gateway keeps it in its state directory. Only what the
//!   gateway of this mapping wrote in this epoch is followed: a file of its last life says what ran then.
//! - The ticket keys, which `certs rotate` replaces. The agent must have a key before a gateway seals with it, so it does
//!   not wait to be told.

use shake_rules::EventId;
use shake_rules::document::Problems;
use shake_rules::kept::{self, FILES};
use shake_rules::keys::{KeyRing, Purpose};
use shake_rules::show::Show;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tracing::{info, warn};

/// How often files are looked at. A look costs one system call each.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How often what could not be used is tried again.
const RETRY_EVERY: Duration = Duration::from_secs(1);

/// What tells one state of a file from the next: its content, and who may read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    modified: (i64, i64),
    changed: (i64, i64),
    length: u64,
}

impl Stamp {
    /// `None` when there is no such file, or nobody can tell.
    fn of(path: &Path) -> Option<Self> {
        let found = fs::metadata(path).ok()?;
        Some(Self {
            inode: found.ino(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
            length: found.len(),
        })
    }
}

/// When to look, and what was found: pure but for the clock.
#[derive(Debug)]
struct Watch<S> {
    seen: Option<S>,
    looked: Option<Instant>,
    read: Option<Instant>,
    /// Whether what was seen could not be used, and since when.
    failing: Option<Instant>,
    said: String,
}

impl<S: PartialEq> Watch<S> {
    fn new() -> Self {
        Self {
            seen: None,
            looked: None,
            read: None,
            failing: None,
            said: String::new(),
        }
    }

    /// Whether it is time to look.
    fn is_due(&self) -> bool {
        self.looked.is_none_or(|at| at.elapsed() >= LOOK_EVERY)
    }

    /// Notes a look; whether what is seen is to be read: it is new, or could not be used a while ago.
    fn look(&mut self, stamp: S) -> bool {
        let now = Instant::now();
        self.looked = Some(now);
        let is_new = self.seen.as_ref() != Some(&stamp);
        self.seen = Some(stamp);
        let is_old = self.read.is_none_or(|at| now - at >= RETRY_EVERY);
        let is_to_read = is_new || self.failing.is_some() && is_old;
        if is_to_read {
            self.read = Some(now);
        }
        is_to_read
    }

    /// What was seen is used.
    fn used(&mut self) {
        self.failing = None;
        self.said.clear();
    }

    /// What was seen cannot be used. The reason is to be told once, and not while a gateway that starts has just not come
    /// to it: true when it is.
    fn failed(&mut self, reason: &str) -> bool {
        let since = *self.failing.get_or_insert_with(Instant::now);
        let is_to_tell = since.elapsed() >= RETRY_EVERY && self.said != reason;
        if is_to_tell {
            reason.clone_into(&mut self.said);
        }
        is_to_tell
    }
}

/// The ticket keys, and where they come from.
#[derive(Debug)]
pub struct KeyFollower {
    path: PathBuf,
    watch: Watch<Option<Stamp>>,
    keys: KeyRing,
}

impl KeyFollower {
    /// Follows the ticket keys of a certificate directory; `keys` are what the agent goes by until then.
    #[must_use]
    pub fn new(certs: &Path, keys: KeyRing) -> Self {
        Self {
            path: certs.join(Purpose::Ticket.file_name()),
            watch: Watch::new(),
            keys,
        }
    }

    /// The keys that the agent is to go by from now on, when they are others than before. What cannot be used is told once
    /// and tried again.
    pub fn look(&mut self) -> Option<&KeyRing> {
        if !self.watch.is_due() {
            return None;
        }
        let stamp = Stamp::of(&self.path);
        // Not there: it is being replaced by hand.
        let is_there = stamp.is_some();
        if !self.watch.look(stamp) || !is_there {
            return None;
        }
        let parse =
            |text: String| KeyRing::parse(&text, Purpose::Ticket).map_err(|problems: Problems| problems.to_string());
        let read = fs::read_to_string(&self.path).map_err(|error| error.to_string());
        match read.and_then(parse) {
            Err(reason) => {
                if self.watch.failed(&reason) {
                    warn!(path = %self.path.display(), reason, "the new ticket keys cannot be used; the ones before hold");
                }
                None
            }
            Ok(keys) => {
                self.watch.used();
                if keys == self.keys {
                    return None;
                }
                let accepted: Vec<_> = keys.iter().map(|key| key.id).collect();
                info!(active = keys.active().id, ?accepted, "new ticket keys");
                self.keys = keys;
                Some(&self.keys)
            }
        }
    }
}

/// The gateway that is followed: its mapping, and how often it has taken its side of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leader {
    /// The instance of the mapping.
    pub instance: u64,
    /// The epoch of the gateway's side.
    pub epoch: u32,
}

/// A show that the agent is to take.
#[derive(Debug)]
pub struct Next {
    /// The show.
    pub show: Show,
    version: u64,
}

/// What the follower saw of the files, and for whom.
type Seen = (Leader, [Option<Stamp>; FILES.len()]);

/// The show that the gateway runs, and where it is kept.
#[derive(Debug)]
pub struct Follower {
    directory: Option<PathBuf>,
    watch: Watch<Seen>,
    event: EventId,
    /// What the agent goes by.
    show: Show,
    /// The version of it, when it is the gateway's.
    version: u64,
}

impl Follower {
    /// Follows the files in `directory`, if there is one; `show` is what the agent goes by until then.
    #[must_use]
    pub fn new(directory: Option<&Path>, show: Show) -> Self {
        Self {
            directory: directory.map(Path::to_owned),
            watch: Watch::new(),
            event: show.event,
            show,
            version: 0,
        }
    }

    /// The version of the gateway's show that the agent goes by; 0 when it goes by its own.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The show that the agent is to take now, when it is another than before. It must hear of it what came of that, by
    /// [`Follower::took`] or [`Follower::failed`].
    pub fn look(&mut self, leader: Leader) -> Option<Next> {
        if !self.watch.is_due() {
            return None;
        }
        let directory = self.directory.as_deref()?;
        let stamps = FILES.map(|name| Stamp::of(&directory.join(name)));
        if !self.watch.look((leader, stamps)) {
            return None;
        }
        match read(directory, leader, self.event) {
            Err(reason) => {
                self.failed(&reason);
                None
            }
            Ok(next) if next.show == self.show => {
                self.version = next.version;
                self.watch.used();
                None
            }
            Ok(next) => Some(next),
        }
    }

    /// The agent goes by this show from now on.
    pub fn took(&mut self, next: Next) {
        info!(
            version = next.version,
            show = next.show.name,
            "following the gateway's show"
        );
        self.show = next.show;
        self.version = next.version;
        self.watch.used();
    }

    /// What was found cannot be used, for this reason: it is tried again.
    pub fn failed(&mut self, reason: &str) {
        if self.watch.failed(reason)
            && let Some(directory) = &self.directory
        {
            warn!(
                directory = %directory.display(), reason, version = self.version,
                "cannot follow the gateway's show; the one before holds"
            );
        }
    }
}

/// What the gateway keeps, when it is this one's and of this event.
fn read(directory: &Path, leader: Leader, event: EventId) -> Result<Next, String> {
    let text = |name: &'static str| match fs::read_to_string(directory.join(name)) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.to_string()),
    };
    let kept = kept::newest(FILES.into_iter().map(|name| (name, text(name)))).map_err(|faults| faults.join("; "))?;
    let kept = kept.ok_or("nothing is kept there; give [state] directory that of the gateway")?;
    if !kept.is_of(leader.instance, leader.epoch) {
        return Err("what is kept there is not of the gateway that serves now".to_owned());
    }
    let show = kept.parse_show().map_err(|problems| problems.to_string())?;
    if show.event != event {
        return Err(format!(
            "the gateway's show is of event {}, and the seed of event {event}",
            show.event
        ));
    }
    Ok(Next {
        show,
        version: kept.version,
    })
}

#[cfg(test)]
mod tests;
