//! The blocks in a file, for a restarted agent and for operators; and operators' wishes to lift some, in a file beside it.
//!
//! The agent alone writes the file of blocks, whole each time. An operator's command appends to the other one under its
//! lock, and the agent takes what stands there and empties it under the same lock. Neither is needed for anything but
//! convenience: what cannot be read or written is told, and the agent goes on.

use super::blocks::{Blocks, Held};
use nix::fcntl::OFlag;
use serde::{Deserialize, Serialize};
use shake_proto::handoff::abuse::Subject;
use shake_rules::UnixMillis;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File, Permissions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

/// Bytes of the lifts' file that are read at the most: a hundred thousand lines.
const LIFTS_BYTES_MAX: u64 = 4 << 20;

/// What the file of blocks says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptFile {
    /// Blocks made since the file was begun, by rule.
    pub made: BTreeMap<String, u64>,
    /// Blocks not made, because too many held already.
    pub held_back: u64,
    /// What a dry run would have blocked, by rule.
    pub dry_run: BTreeMap<String, u64>,
    /// What holds, oldest first.
    pub blocks: Vec<KeptBlock>,
}

/// A block as the file has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptBlock {
    /// user, device or prefix.
    pub kind: String,
    /// Its number or name.
    pub name: String,
    /// The rule that was broken.
    pub rule: String,
    /// What was counted.
    pub value: u32,
    /// Blocks before it.
    pub earlier: u32,
    /// Since when, in milliseconds since 1970 UTC.
    pub since_ms: u64,
    /// Until when.
    pub until_ms: u64,
}

impl From<&Held> for KeptBlock {
    fn from(held: &Held) -> Self {
        Self {
            kind: held.subject.kind().to_owned(),
            name: held.subject.name(),
            rule: held.rule.name().to_owned(),
            value: held.value,
            earlier: held.earlier,
            since_ms: held.since.0,
            until_ms: held.until.0,
        }
    }
}

impl KeptBlock {
    fn to_held(&self) -> Option<Held> {
        Some(Held {
            subject: Subject::parse(&self.kind, &self.name)?,
            rule: self.rule.parse().ok()?,
            value: self.value,
            earlier: self.earlier,
            since: UnixMillis(self.since_ms),
            until: UnixMillis(self.until_ms),
            is_lifted: false,
        })
    }
}

impl KeptFile {
    /// Reads a file; an empty one when there is none.
    ///
    /// # Errors
    /// When it cannot be read, or is none of this kind.
    pub fn read(path: &Path) -> io::Result<Self> {
        match std::fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(io::Error::other),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }

    /// Writes it whole, in place of what is there.
    fn write(&self, path: &Path) -> io::Result<()> {
        let directory = match path.parent() {
            Some(directory) if !directory.as_os_str().is_empty() => directory,
            _ => Path::new("."),
        };
        let mut file = tempfile::NamedTempFile::new_in(directory)?;
        serde_json::to_writer_pretty(&mut file, self)?;
        file.write_all(b"\n")?;
        file.persist(path)?;
        Ok(())
    }
}

/// The files of one agent.
#[derive(Debug)]
pub struct Keeper {
    path: PathBuf,
    kept: KeptFile,
}

impl Keeper {
    /// Reads what an earlier agent left. What makes no sense is passed over.
    ///
    /// # Errors
    /// When the file cannot be read; the keeper then begins with an empty one.
    pub fn open(path: PathBuf, now: UnixMillis) -> (Self, Blocks, io::Result<()>) {
        let (kept, read) = match KeptFile::read(&path) {
            Ok(kept) => (kept, Ok(())),
            Err(error) => (KeptFile::default(), Err(error)),
        };
        let mut blocks = Blocks::default();
        for held in kept.blocks.iter().filter_map(KeptBlock::to_held) {
            if held.until > now {
                blocks.put(held);
            }
        }
        (Self { path, kept }, blocks, read)
    }

    /// The sums that the file has.
    pub fn sums(&mut self) -> &mut KeptFile {
        &mut self.kept
    }

    /// Writes the blocks that hold.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&mut self, blocks: &Blocks, now: UnixMillis) -> io::Result<()> {
        self.kept.blocks = blocks.holding(now).map(KeptBlock::from).collect();
        self.kept.write(&self.path)
    }

    /// Takes the wishes of operators: what is to be lifted. `None` stands for everything.
    ///
    /// # Errors
    /// When the file cannot be read or emptied.
    pub fn take_lifts(&self) -> io::Result<Vec<Option<Subject>>> {
        let path = lifts_path(&self.path);
        let mut file = match File::options().read(true).write(true).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        if file.metadata()?.len() == 0 {
            return Ok(Vec::new());
        }
        file.lock()?;
        let mut text = String::new();
        (&mut file).take(LIFTS_BYTES_MAX).read_to_string(&mut text)?;
        file.rewind()?;
        file.set_len(0)?;
        Ok(text.lines().filter_map(parse_lift).collect())
    }
}

fn parse_lift(line: &str) -> Option<Option<Subject>> {
    if line == "all" {
        return Some(None);
    }
    let (kind, name) = line.split_once(' ')?;
    Subject::parse(kind, name).map(Some)
}

fn lifts_path(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".lifts");
    PathBuf::from(name)
}

/// Has the agent whose file of blocks this is lift a block, or all. The wish belongs to whom the directory does, so that the
/// agent can take what root wrote.
///
/// # Errors
/// When the wish cannot be written, or not be given to the directory's owner.
pub fn request_lift(path: &Path, subject: Option<Subject>) -> io::Result<()> {
    let path = lifts_path(path);
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let owner = fs::metadata(directory.unwrap_or(Path::new(".")))?;
    let mut options = File::options();
    options.create(true).append(true).mode(0o600);
    // Root writes in a directory that is another's: through no link, and into no file that has another name.
    let mut file = options
        .custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits())
        .open(&path)?;
    let found = file.metadata()?;
    if !found.is_file() || found.nlink() != 1 {
        let advice = format!("{} is no file of its own; put it aside", path.display());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, advice));
    }
    file.lock()?;
    if found.uid() != owner.uid() {
        fchown(&file, Some(owner.uid()), Some(owner.gid())).map_err(|error| {
            let (path, uid) = (path.display(), owner.uid());
            let advice = format!(
                "cannot give {path} to user {uid}, whose directory it is in: {error}; run this as that user or as root"
            );
            io::Error::new(error.kind(), advice)
        })?;
    }
    if found.mode() & 0o777 != 0o600 {
        file.set_permissions(Permissions::from_mode(0o600))?;
    }
    match subject {
        Some(subject) => writeln!(file, "{subject}"),
        None => writeln!(file, "all"),
    }
}
