//! The mapping file: made whole or not at all, checked before any of it is believed, told from its successors.

mod files;

use files::{allocate, make_fifo, open_file, read_header, remove_if_there, temporary_path, write_new};
pub(crate) use files::{bell_path, check_fifo};

use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use nix::sys::statvfs::statvfs;

use crate::attach::{self, Attachment};
use crate::crash;
use crate::error::Error;
use crate::fault::CorruptCursors;
use crate::layout::{self, Geometry, Layout, Side};
use crate::memory::Memory;
use crate::owner::{Owner, OwnerWords};
use crate::ring;
use crate::sync::Ordering;

/// How often `open_or_create` starts again when another process makes or removes the file in between.
const OPEN_OR_CREATE_TRIES: u32 = 16;

/// A mapping file, open and mapped. Clones share it.
#[derive(Debug, Clone)]
pub struct Mapping(pub(crate) Arc<Inner>);

#[derive(Debug)]
pub(crate) struct Inner {
    /// Carries the locks of the sides: they belong to this open file description.
    pub(crate) file: File,
    pub(crate) path: PathBuf,
    pub(crate) memory: Memory,
    pub(crate) layout: Layout,
    /// Sides attached through this very description, which the file locks cannot tell apart.
    pub(crate) attached_here: [AtomicBool; 2],
    instance: u64,
}

impl Inner {
    pub(crate) fn owner_words(&self) -> OwnerWords<'_> {
        let line = self.layout.side(Side::Back);
        OwnerWords {
            identity: [
                self.memory.word(line + layout::SIDE_IDENTITY),
                self.memory.word(line + layout::SIDE_IDENTITY + 8),
            ],
            named: self.memory.half_word(line + layout::SIDE_NAMED),
            part: self.memory.half_word(line + layout::SIDE_PART),
        }
    }
}

/// What one side shows to the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// How often that side has been attached; 0 means never. It changes with every restart.
    pub epoch: u32,
    /// What that side last gave to [`Attachment::beat`], in CLOCK_MONOTONIC milliseconds (which two processes of one
    /// machine share). 0 after it detached in good order.
    pub heartbeat_ms: u64,
    /// What that side last gave to [`Attachment::set_status`]; 0 since it attached until it does. Its meaning is the
    /// application's. It stays when the side detaches or dies, so read it together with the heartbeat.
    pub status: u64,
    /// What that side last gave to [`Attachment::set_clock`]; 0 since it attached until it does.
    pub clock_offset_ms: i64,
}

impl Peer {
    /// Whether its heartbeat is at most `silent_ms_max` old. `now_ms` is CLOCK_MONOTONIC.
    #[must_use]
    pub fn is_alive(&self, now_ms: u64, silent_ms_max: u64) -> bool {
        self.heartbeat_ms != 0 && now_ms.saturating_sub(self.heartbeat_ms) <= silent_ms_max
    }

    /// The offset of the clock that it goes by, while it is alive and has told it.
    #[must_use]
    pub fn clock(&self, now_ms: u64, silent_ms_max: u64) -> Option<i64> {
        (self.is_alive(now_ms, silent_ms_max) && self.clock_offset_ms != 0).then_some(self.clock_offset_ms)
    }
}

impl Mapping {
    /// Makes a new mapping, mode 0600, with its doorbells' FIFOs beside it (`<path>.bell-N`), and opens it.
    ///
    /// The file is completed under a temporary name in the same directory and then linked to `path`, so whoever opens
    /// `path` finds a whole mapping or none. All of its memory is allocated here, so that a full disk or /dev/shm is an error
    /// now and no signal later. A process that dies in here leaves at worst a file `<path>.<16 hex digits>.tmp`.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`] when there is anything at `path`; [`Error::Geometry`]; [`Error::Io`].
    pub fn create(path: &Path, geometry: &Geometry) -> Result<Mapping, Error> {
        let layout = Layout::new(geometry.clone())?;
        // Spares the work; what decides is the link below.
        if fs::symlink_metadata(path).is_ok() {
            return Err(Error::AlreadyExists(path.to_owned()));
        }
        let instance = rand::random::<u64>();
        let temporary = temporary_path(path, instance);
        let outcome = write_new(&temporary, path, &layout, instance).and_then(|()| {
            for bell in 0..usize::from(geometry.bells) {
                make_fifo(&bell_path(path, bell))?;
            }
            crash::point("create:temporary-complete");
            // A hard link refuses to replace what is there, which a rename does not.
            fs::hard_link(&temporary, path).map_err(|source| match source.kind() {
                ErrorKind::AlreadyExists => Error::AlreadyExists(path.to_owned()),
                _ => Error::Io {
                    action: "create",
                    path: path.to_owned(),
                    source,
                },
            })
        });
        crash::point("create:linked");
        // Whoever opened `path` since may have removed the temporary name already.
        let removed = remove_if_there(&temporary);
        outcome?;
        removed?;
        Mapping::open(path)
    }

    /// Whether there is room for a mapping that is to be made at `path`. Makes nothing.
    ///
    /// # Errors
    /// [`Error::NoRoom`]; [`Error::Geometry`]; [`Error::Io`] when its directory is not there.
    pub fn check_room(path: &Path, geometry: &Geometry) -> Result<(), Error> {
        let needed = Layout::new(geometry.clone())?.file_bytes;
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let directory = directory.unwrap_or(Path::new("."));
        let there = statvfs(directory).map_err(|errno| Error::Io {
            action: "look at",
            path: directory.to_owned(),
            source: errno.into(),
        })?;
        let free = there.blocks_available() * there.fragment_size();
        if needed <= free {
            return Ok(());
        }
        Err(Error::NoRoom {
            path: path.to_owned(),
            needed,
            free,
        })
    }

    /// Opens a mapping that exists. Magic, version, checksum, geometry and size are all checked first.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::NotAFile`], [`Error::NotPrivate`], [`Error::Magic`], [`Error::Version`], [`Error::Size`],
    /// [`Error::HeaderChecksum`], [`Error::Geometry`] or [`Error::Io`].
    pub fn open(path: &Path) -> Result<Mapping, Error> {
        let io = |action, source| Error::Io {
            action,
            path: path.to_owned(),
            source,
        };
        let (file, metadata) = open_file(path)?;
        let (instance, layout) = read_header(path, &file, metadata.len(), layout::VERSION)?;
        // A copied file may be sparse; a write to a hole on a full disk would be a signal.
        allocate(&file, path, layout.file_bytes)?;
        // The maker may have died between linking the file and removing its temporary name.
        let _ = fs::remove_file(temporary_path(path, instance));
        let memory = Memory::map(&file, layout.file_bytes as usize).map_err(|source| io("map", source))?;
        Ok(Mapping(Arc::new(Inner {
            file,
            path: path.to_owned(),
            memory,
            layout,
            attached_here: [AtomicBool::new(false), AtomicBool::new(false)],
            instance,
        })))
    }

    /// Opens the mapping at `path`, or makes it if there is none. Of two processes that do so at once, one makes it and both
    /// get the same.
    ///
    /// # Errors
    /// [`Error::GeometryDiffers`] when there is one of another geometry; otherwise as [`Mapping::open`] and
    /// [`Mapping::create`].
    pub fn open_or_create(path: &Path, geometry: &Geometry) -> Result<Mapping, Error> {
        let mut tries = 0;
        loop {
            tries += 1;
            let error = match Mapping::open(path) {
                Ok(mapping) if mapping.geometry() == geometry => return Ok(mapping),
                Ok(mapping) => {
                    return Err(Error::GeometryDiffers {
                        path: path.to_owned(),
                        found: Box::new(mapping.geometry().clone()),
                        wanted: Box::new(geometry.clone()),
                    });
                }
                Err(Error::NotFound(_)) => match Mapping::create(path, geometry) {
                    Ok(mapping) => return Ok(mapping),
                    Err(error @ (Error::AlreadyExists(_) | Error::NotFound(_))) => error,
                    Err(error) => return Err(error),
                },
                Err(error) => return Err(error),
            };
            if tries == OPEN_OR_CREATE_TRIES {
                return Err(error);
            }
        }
    }

    /// A random number given at creation. It tells this mapping from one made later at the same path, whose positions
    /// begin at zero again.
    #[must_use]
    pub fn instance(&self) -> u64 {
        self.0.instance
    }

    /// The rings, bells and sleepers of this mapping.
    #[must_use]
    pub fn geometry(&self) -> &Geometry {
        &self.0.layout.geometry
    }

    /// The path at which it was opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// Takes one side for this process, raises that side's epoch, stores its first heartbeat and clears its status. `now_ms` is
    /// CLOCK_MONOTONIC in milliseconds.
    ///
    /// At most one attachment of a side is alive on the whole machine; the kernel frees the side when its process dies. (A
    /// child forked without exec keeps it taken as long as the child lives.)
    ///
    /// # Errors
    /// [`Error::SideTaken`], or [`Error::Io`] when locking fails otherwise.
    pub fn attach(&self, side: Side, now_ms: u64) -> Result<Attachment, Error> {
        Attachment::take(self, side, now_ms)
    }

    /// What `side` shows: its epoch, its last heartbeat and its status.
    #[must_use]
    pub fn peer(&self, side: Side) -> Peer {
        let line = self.0.layout.side(side);
        // SYNC POINT E: pairs with the release in `Attachment::take`; whoever sees an epoch sees heartbeat and status
        // of it, or of a later one.
        let epoch = self
            .0
            .memory
            .half_word(line + layout::SIDE_EPOCH)
            .load(Ordering::Acquire);
        let heartbeat_ms = self
            .0
            .memory
            .word(line + layout::SIDE_HEARTBEAT)
            .load(Ordering::Relaxed);
        let status = self.0.memory.word(line + layout::SIDE_STATUS).load(Ordering::Relaxed);
        let clock = self.0.memory.word(line + layout::SIDE_CLOCK).load(Ordering::Relaxed);
        Peer {
            epoch,
            heartbeat_ms,
            status,
            clock_offset_ms: clock.cast_signed(),
        }
    }

    /// Whose mapping this is, once Back has named it.
    #[must_use]
    pub fn owner(&self) -> Option<Owner> {
        self.0.owner_words().read()
    }

    /// What Back last gave to [`Attachment::set_stamp`]; 0 before. It stays when Back detaches or dies.
    #[must_use]
    pub fn stamp(&self) -> u64 {
        let line = self.0.layout.side(Side::Back);
        self.0.memory.word(line + layout::SIDE_STAMP).load(Ordering::Relaxed)
    }

    /// Records of a ring that its consumer has not committed. While its producer lives, there may be more at once.
    ///
    /// # Errors
    /// [`Error::NoSuchRing`]; [`Error::Corrupt`] when the cursors contradict each other.
    pub fn unread(&self, ring: usize) -> Result<u64, Error> {
        let rings = self.geometry().rings.len();
        if ring >= rings {
            return Err(Error::NoSuchRing { ring, rings });
        }
        let at = self.0.layout.ring(ring);
        let cursor = |word: usize| self.0.memory.word(at + word * 8).load(Ordering::Acquire);
        // The head first: it never passes a tail that is read after it.
        let (head, tail) = (cursor(ring::HEAD_WORD), cursor(ring::TAIL_WORD));
        let unread = tail.wrapping_sub(head);
        let slots = self.geometry().rings[ring].slots;
        if unread > slots.into() {
            let source = CorruptCursors { head, tail, slots };
            return Err(Error::Corrupt { ring, source });
        }
        Ok(unread)
    }

    /// Whether the file at `path` is still this mapping: false when it was removed or replaced, and then the other side
    /// may be waiting at a new one.
    ///
    /// # Errors
    /// [`Error::Io`] when the path cannot be inspected.
    pub fn still_at(&self, path: &Path) -> Result<bool, Error> {
        let io = |source| Error::Io {
            action: "inspect",
            path: path.to_owned(),
            source,
        };
        let ours = self.0.file.metadata().map_err(io)?;
        match fs::symlink_metadata(path) {
            // Our descriptor keeps the inode alive, so its number cannot have been given to another file.
            Ok(there) => Ok(there.dev() == ours.dev() && there.ino() == ours.ino()),
            Err(source) if source.kind() == ErrorKind::NotFound => Ok(false),
            Err(source) => Err(io(source)),
        }
    }

    /// Removes a mapping of the layout version before this one, when no record is left in any ring that `matters`. Its other
    /// rings may hold what nobody misses. False when what lies at `path` is no such mapping, or nothing.
    ///
    /// # Errors
    /// [`Error::UnreadOfOld`]: let the program of that version read what is left; [`Error::SideTaken`] while its front side
    /// lives; otherwise as [`Mapping::open`].
    pub fn retire_old(path: &Path, matters: impl Fn(usize) -> bool) -> Result<bool, Error> {
        let (file, metadata) = match open_file(path) {
            Ok(opened) => opened,
            Err(Error::NotFound(_)) => return Ok(false),
            Err(error) => return Err(error),
        };
        let layout = match read_header(path, &file, metadata.len(), layout::VERSION_BEFORE) {
            Ok((_, layout)) => layout,
            Err(Error::Version { .. }) => return Ok(false),
            Err(error) => return Err(error),
        };
        // Nobody pushes from here on: the lock ends with the file.
        attach::lock_side(&file, Side::Front).map_err(|errno| attach::lock_error(path, Side::Front, errno))?;
        for number in (0..layout.geometry.rings.len()).filter(|&number| matters(number)) {
            let cursor = |word: usize| -> Result<u64, Error> {
                let mut bytes = [0; 8];
                let at = layout.ring(number) + word * 8;
                file.read_exact_at(&mut bytes, at as u64).map_err(|source| Error::Io {
                    action: "read",
                    path: path.to_owned(),
                    source,
                })?;
                Ok(u64::from_ne_bytes(bytes))
            };
            let (head, tail) = (cursor(ring::HEAD_WORD)?, cursor(ring::TAIL_WORD)?);
            if head != tail {
                return Err(Error::UnreadOfOld {
                    path: path.to_owned(),
                    found: layout::VERSION_BEFORE,
                    ring: number,
                    unread: tail.wrapping_sub(head),
                });
            }
        }
        Mapping::remove(path)?;
        Ok(true)
    }

    /// Removes the mapping at `path` and its doorbells' FIFOs, for when neither process runs. One that has it open
    /// keeps it, and sees by [`Mapping::still_at`] that nobody will come there any more. Nothing at `path` is no error.
    ///
    /// # Errors
    /// [`Error::Io`] when something is there and cannot be removed.
    pub fn remove(path: &Path) -> Result<(), Error> {
        remove_if_there(path)?;
        // Whatever the geometry was: bells are numbered without gaps.
        for bell in 0..usize::from(layout::BELLS_MAX) {
            if !remove_if_there(&bell_path(path, bell))? {
                break;
            }
        }
        Ok(())
    }
}
