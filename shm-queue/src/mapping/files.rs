//! The files of a mapping and of its doorbells: made whole, opened with care, checked before anything in them is believed.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::stat::Mode;
use nix::sys::statvfs::fstatvfs;

use crate::crash;
use crate::error::Error;
use crate::layout::{self, HEADER_BYTES, Layout, RawHeader};

/// Makes the complete file under its temporary name.
pub(super) fn write_new(temporary: &Path, path: &Path, layout: &Layout, instance: u64) -> Result<(), Error> {
    let io = |action, source| Error::Io {
        action,
        path: temporary.to_owned(),
        source,
    };
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(temporary)
        .map_err(|source| io("create", source))?;
    crash::point("create:temporary-made");
    allocate(&file, path, layout.file_bytes)?;
    file.write_all_at(&layout.header(instance), 0)
        .map_err(|source| io("write", source))
}

/// Opens a file that may be a mapping: a regular one that only this user may open.
pub(super) fn open_file(path: &Path) -> Result<(File, fs::Metadata), Error> {
    let io = |action, source| Error::Io {
        action,
        path: path.to_owned(),
        source,
    };
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        // Not to hang on a FIFO, nor to follow a link that somebody else put there.
        .custom_flags(libc::O_NONBLOCK | libc::O_NOFOLLOW)
        .open(path)
        .map_err(|source| match source.kind() {
            ErrorKind::NotFound => Error::NotFound(path.to_owned()),
            ErrorKind::IsADirectory => Error::NotAFile(path.to_owned()),
            _ if source.raw_os_error() == Some(libc::ELOOP) => Error::NotAFile(path.to_owned()),
            _ => io("open", source),
        })?;
    let metadata = file.metadata().map_err(|source| io("inspect", source))?;
    if !metadata.is_file() {
        return Err(Error::NotAFile(path.to_owned()));
    }
    check_private(path, &metadata)?;
    Ok((file, metadata))
}

/// Has all of a mapping's memory be there from now on.
pub(super) fn allocate(file: &File, path: &Path, bytes: u64) -> Result<(), Error> {
    let free = || fstatvfs(file).map_or(0, |there| there.blocks_available() * there.fragment_size());
    match nix::fcntl::posix_fallocate(file, 0, bytes as libc::off_t) {
        Ok(()) => Ok(()),
        Err(Errno::ENOSPC) => Err(Error::NoRoom {
            path: path.to_owned(),
            needed: bytes,
            free: free(),
        }),
        Err(errno) => Err(Error::Io {
            action: "allocate",
            path: path.to_owned(),
            source: errno.into(),
        }),
    }
}

/// Reads and checks the header block. Everything else of the file is checked where it is used.
pub(super) fn read_header(path: &Path, file: &File, file_bytes: u64, version: u32) -> Result<(u64, Layout), Error> {
    let size = |expected| Error::Size {
        path: path.to_owned(),
        found: file_bytes,
        expected,
    };
    let read = |buffer: &mut [u8]| match file.read_exact_at(buffer, 0) {
        Ok(()) => Ok(()),
        Err(source) if source.kind() == ErrorKind::UnexpectedEof => Err(size(buffer.len() as u64)),
        Err(source) => Err(Error::Io {
            action: "read",
            path: path.to_owned(),
            source,
        }),
    };
    let mut fixed = [0; HEADER_BYTES];
    read(&mut fixed)?;
    let raw = RawHeader::parse(&fixed);
    if raw.magic != layout::MAGIC {
        return Err(Error::Magic {
            path: path.to_owned(),
            found: raw.magic,
            expected: layout::MAGIC,
        });
    }
    if raw.version != version {
        return Err(Error::Version {
            path: path.to_owned(),
            found: raw.version,
            supported: layout::VERSION,
        });
    }
    if raw.rings as usize > layout::RINGS_MAX {
        return Err(Error::Geometry(format!(
            "{} says {} rings, at most {}",
            path.display(),
            raw.rings,
            layout::RINGS_MAX
        )));
    }
    let mut block = vec![0; layout::header_bytes(raw.rings as usize)];
    read(&mut block)?;
    let expected = layout::checksum(&block);
    if raw.checksum != expected {
        return Err(Error::HeaderChecksum {
            path: path.to_owned(),
            found: raw.checksum,
            expected,
        });
    }
    let layout = raw.layout(&block[HEADER_BYTES..]).map_err(|error| match error {
        Error::Geometry(reason) => Error::Geometry(format!("{} says {reason}", path.display())),
        other => other,
    })?;
    if raw.file_bytes != layout.file_bytes || file_bytes != layout.file_bytes {
        return Err(size(layout.file_bytes));
    }
    Ok((raw.instance, layout))
}

pub(super) fn temporary_path(path: &Path, instance: u64) -> PathBuf {
    with_suffix(path, &format!(".{instance:016x}.tmp"))
}

/// Where the FIFO of a doorbell lies.
pub(crate) fn bell_path(path: &Path, bell: usize) -> PathBuf {
    with_suffix(path, &format!(".bell-{bell}"))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

/// Makes a FIFO, or takes the one that an earlier mapping of this user left.
pub(super) fn make_fifo(path: &Path) -> Result<(), Error> {
    let io = |action, source| Error::Io {
        action,
        path: path.to_owned(),
        source,
    };
    match nix::unistd::mkfifo(path, Mode::S_IRUSR | Mode::S_IWUSR) {
        Ok(()) => Ok(()),
        Err(Errno::EEXIST) => {
            // Of the name itself: a link is nobody's doorbell.
            let found = fs::symlink_metadata(path).map_err(|source| io("inspect", source))?;
            check_fifo(path, &found)
        }
        Err(errno) => Err(io("make the FIFO", errno.into())),
    }
}

/// Whether a doorbell is a FIFO that this user alone may ring: who else could, would hear when shakes come, or wake and
/// hold up whoever listens.
pub(crate) fn check_fifo(path: &Path, found: &fs::Metadata) -> Result<(), Error> {
    if !found.file_type().is_fifo() {
        return Err(Error::NotAFifo(path.to_owned()));
    }
    check_private(path, found)
}

pub(super) fn check_private(path: &Path, found: &fs::Metadata) -> Result<(), Error> {
    let mode = found.mode() & 0o777;
    if found.uid() != nix::unistd::geteuid().as_raw() || mode & 0o077 != 0 {
        return Err(Error::NotPrivate {
            path: path.to_owned(),
            owner: found.uid(),
            mode,
        });
    }
    Ok(())
}

pub(super) fn remove_if_there(path: &Path) -> Result<bool, Error> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(source) if source.kind() == ErrorKind::NotFound => Ok(false),
        Err(source) => Err(Error::Io {
            action: "remove",
            path: path.to_owned(),
            source,
        }),
    }
}
