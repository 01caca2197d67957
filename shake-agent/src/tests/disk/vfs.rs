//! The disk as SQLite sees it: a VFS (<https://www.sqlite.org/vfs.html>) that is the default in this test program. Files in
//! a directory that has a [`Disk`](super::Disk) live there; all others are passed on to the VFS that was the default.

mod index;

use super::{Fault, File, State};
use index::{Index, shm_barrier, shm_lock, shm_map, shm_unmap};
use rusqlite::ffi;
use std::collections::BTreeMap;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Arc, Mutex, Once};

/// A disk, and what its users share.
#[derive(Clone)]
struct Mount {
    state: Arc<Mutex<State>>,
    shared: Arc<Mutex<Shared>>,
}

static DISKS: Mutex<BTreeMap<PathBuf, Mount>> = Mutex::new(BTreeMap::new());
/// The VFS that was the default.
static REAL: AtomicPtr<ffi::sqlite3_vfs> = AtomicPtr::new(std::ptr::null_mut());

/// Puts a disk under a directory.
pub(super) fn put(directory: PathBuf, state: Arc<Mutex<State>>) {
    static REGISTERED: Once = Once::new();
    REGISTERED.call_once(register);
    let shared = Arc::new(Mutex::new(Shared::default()));
    DISKS.lock().unwrap().insert(directory, Mount { state, shared });
}

/// Takes the disk away; open files stay.
pub(super) fn remove(directory: &Path) {
    DISKS.lock().unwrap().remove(directory);
}

fn register() {
    // SAFETY: finding and registering a VFS is allowed at any time. The copy lives for good, and everything in it that is
    // not replaced works with its own `pAppData`, which is copied along.
    unsafe {
        let real = ffi::sqlite3_vfs_find(std::ptr::null());
        REAL.store(real, Ordering::Release);
        let mut ours = *real;
        ours.zName = c"disk".as_ptr();
        ours.pNext = std::ptr::null_mut();
        ours.szOsFile = ours.szOsFile.max(size_of::<Handle>() as c_int);
        ours.xOpen = Some(open);
        ours.xDelete = Some(delete);
        ours.xAccess = Some(access);
        assert_eq!(ffi::sqlite3_vfs_register(Box::leak(Box::new(ours)), 1), ffi::SQLITE_OK);
    }
}

/// What all connections of a disk share beside the files: locks and the wal-index, of one life of the process.
#[derive(Default)]
struct Shared {
    life: u64,
    /// Per file: who holds which lock.
    locks: BTreeMap<String, BTreeMap<u64, c_int>>,
    index: Option<Arc<Index>>,
    handles: u64,
}

/// An open file, in the memory that SQLite gives for it.
#[repr(C)]
struct Handle {
    base: ffi::sqlite3_file,
    body: *mut Body,
}

struct Body {
    name: String,
    number: u64,
    life: u64,
    state: Arc<Mutex<State>>,
    shared: Arc<Mutex<Shared>>,
    index: Option<Arc<Index>>,
}

impl Body {
    /// The disk; `None` once the process that opened the file is dead.
    fn alive(&self) -> Option<std::sync::MutexGuard<'_, State>> {
        let state = self.state.lock().unwrap();
        (!state.is_dead(self.life)).then_some(state)
    }

    fn file<T>(&self, work: impl FnOnce(&mut File) -> T) -> Option<T> {
        self.alive()?.files.get_mut(&self.name).map(work)
    }
}

fn outcome(result: Option<Result<(), Fault>>, broken: c_int) -> c_int {
    match result {
        Some(Ok(())) => ffi::SQLITE_OK,
        Some(Err(Fault::Full)) => ffi::SQLITE_FULL,
        Some(Err(Fault::Broken)) | None => broken,
    }
}

/// The disk of a file, and the file's name on it.
///
/// # Safety
/// `name` is null or a C string.
unsafe fn find(name: *const c_char) -> Option<(Mount, String)> {
    if name.is_null() {
        return None;
    }
    // SAFETY: the caller's promise.
    let path = Path::new(unsafe { CStr::from_ptr(name) }.to_str().ok()?);
    let disks = DISKS.lock().unwrap();
    let mount = disks.get(path.parent()?)?.clone();
    Some((mount, path.file_name()?.to_str()?.to_owned()))
}

/// The body of a file that [`open`] opened.
///
/// # Safety
/// `file` was opened by [`open`] and not closed since.
unsafe fn body<'a>(file: *mut ffi::sqlite3_file) -> &'a mut Body {
    // SAFETY: such a file is a `Handle` whose body is alive until `close`, and SQLite uses a file from one thread at a time.
    unsafe { &mut *(*file.cast::<Handle>()).body }
}

unsafe extern "C" fn open(
    _: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    // SAFETY: SQLite gives a name or null, and room for a file of `szOsFile` bytes, which a `Handle` fits; what is not ours
    // is passed on as it came.
    unsafe {
        let Some((Mount { state, shared }, name_here)) = find(name) else {
            let real = REAL.load(Ordering::Acquire);
            return (*real).xOpen.expect("every VFS opens files")(real, name, file, flags, out_flags);
        };
        (*file).pMethods = std::ptr::null();
        let life = {
            let mut state = state.lock().unwrap();
            if flags & ffi::SQLITE_OPEN_CREATE != 0 {
                state.files.entry(name_here.clone()).or_default();
            } else if !state.files.contains_key(&name_here) {
                return ffi::SQLITE_CANTOPEN;
            }
            state.deaths()
        };
        let number = {
            let mut shared = shared.lock().unwrap();
            if shared.life != life {
                *shared = Shared {
                    life,
                    handles: shared.handles,
                    ..Shared::default()
                };
            }
            shared.handles += 1;
            shared.handles
        };
        let body = Body {
            name: name_here,
            number,
            life,
            state,
            shared,
            index: None,
        };
        (*file.cast::<Handle>()).body = Box::into_raw(Box::new(body));
        (*file).pMethods = &raw const METHODS;
        if !out_flags.is_null() {
            *out_flags = flags;
        }
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn delete(_: *mut ffi::sqlite3_vfs, name: *const c_char, sync_directory: c_int) -> c_int {
    // SAFETY: as in `open`.
    unsafe {
        let Some((Mount { state, .. }, name_here)) = find(name) else {
            let real = REAL.load(Ordering::Acquire);
            return (*real).xDelete.expect("every VFS deletes files")(real, name, sync_directory);
        };
        match state.lock().unwrap().files.remove(&name_here) {
            Some(_) => ffi::SQLITE_OK,
            None => ffi::SQLITE_IOERR_DELETE_NOENT,
        }
    }
}

unsafe extern "C" fn access(_: *mut ffi::sqlite3_vfs, name: *const c_char, flags: c_int, result: *mut c_int) -> c_int {
    // SAFETY: as in `open`; the result is a place for one number.
    unsafe {
        let Some((Mount { state, .. }, name_here)) = find(name) else {
            let real = REAL.load(Ordering::Acquire);
            return (*real).xAccess.expect("every VFS looks for files")(real, name, flags, result);
        };
        *result = state.lock().unwrap().files.contains_key(&name_here).into();
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: the body was made by `open`, and this is the file's last use.
    let body = unsafe { Box::from_raw((*file.cast::<Handle>()).body) };
    let mut shared = body.shared.lock().unwrap();
    if let Some(locks) = shared.locks.get_mut(&body.name) {
        locks.remove(&body.number);
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn read(
    file: *mut ffi::sqlite3_file,
    to: *mut c_void,
    count: c_int,
    at: ffi::sqlite3_int64,
) -> c_int {
    // SAFETY: SQLite gives an open file, and room for `count` bytes.
    let (body, to) = unsafe {
        (
            body(file),
            std::slice::from_raw_parts_mut(to.cast::<u8>(), count as usize),
        )
    };
    let read = body.file(|file| {
        let from = file.cached.get(at as usize..).unwrap_or(&[]);
        let there = from.len().min(to.len());
        to[..there].copy_from_slice(&from[..there]);
        to[there..].fill(0);
        there == to.len()
    });
    match read {
        Some(true) => ffi::SQLITE_OK,
        Some(false) => ffi::SQLITE_IOERR_SHORT_READ,
        None => ffi::SQLITE_IOERR_READ,
    }
}

unsafe extern "C" fn write(
    file: *mut ffi::sqlite3_file,
    from: *const c_void,
    count: c_int,
    at: ffi::sqlite3_int64,
) -> c_int {
    // SAFETY: SQLite gives an open file, and `count` bytes.
    let (body, bytes) = unsafe {
        (
            body(file),
            std::slice::from_raw_parts(from.cast::<u8>(), count as usize),
        )
    };
    let written = body
        .alive()
        .map(|mut state| state.write(&body.name, at as usize, bytes));
    outcome(written, ffi::SQLITE_IOERR_WRITE)
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, length: ffi::sqlite3_int64) -> c_int {
    // SAFETY: SQLite gives an open file.
    let body = unsafe { body(file) };
    let cut = body.alive().map(|mut state| state.cut(&body.name, length as usize));
    outcome(cut, ffi::SQLITE_IOERR_TRUNCATE)
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, _: c_int) -> c_int {
    // SAFETY: SQLite gives an open file.
    let body = unsafe { body(file) };
    let synced = body.alive().map(|mut state| state.sync(&body.name));
    outcome(synced, ffi::SQLITE_IOERR_FSYNC)
}

unsafe extern "C" fn file_size(file: *mut ffi::sqlite3_file, size: *mut ffi::sqlite3_int64) -> c_int {
    // SAFETY: SQLite gives an open file, and a place for one number.
    unsafe {
        match body(file).file(|file| file.cached.len()) {
            Some(length) => *size = length as ffi::sqlite3_int64,
            None => return ffi::SQLITE_IOERR_FSTAT,
        }
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn lock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    // SAFETY: SQLite gives an open file.
    let body = unsafe { body(file) };
    if body.alive().is_none() {
        return ffi::SQLITE_IOERR_LOCK;
    }
    let mut shared = body.shared.lock().unwrap();
    let locks = shared.locks.entry(body.name.clone()).or_default();
    let others = locks.iter().filter(|(number, _)| **number != body.number);
    let most = others.map(|(_, level)| *level).max().unwrap_or(ffi::SQLITE_LOCK_NONE);
    let compatible = match level {
        ffi::SQLITE_LOCK_SHARED => most < ffi::SQLITE_LOCK_PENDING,
        ffi::SQLITE_LOCK_RESERVED => most < ffi::SQLITE_LOCK_RESERVED,
        _ => most == ffi::SQLITE_LOCK_NONE,
    };
    if !compatible {
        return ffi::SQLITE_BUSY;
    }
    let held = locks.entry(body.number).or_default();
    *held = (*held).max(level);
    ffi::SQLITE_OK
}

unsafe extern "C" fn unlock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    // SAFETY: SQLite gives an open file.
    let body = unsafe { body(file) };
    if body.alive().is_some() {
        let mut shared = body.shared.lock().unwrap();
        shared
            .locks
            .entry(body.name.clone())
            .or_default()
            .insert(body.number, level);
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn check_reserved_lock(file: *mut ffi::sqlite3_file, result: *mut c_int) -> c_int {
    // SAFETY: SQLite gives an open file, and a place for one number.
    unsafe {
        let body = body(file);
        let shared = body.shared.lock().unwrap();
        let locks = shared.locks.get(&body.name);
        let reserved = locks.is_some_and(|locks| locks.values().any(|level| *level >= ffi::SQLITE_LOCK_RESERVED));
        *result = reserved.into();
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn file_control(_: *mut ffi::sqlite3_file, _: c_int, _: *mut c_void) -> c_int {
    ffi::SQLITE_NOTFOUND
}

unsafe extern "C" fn sector_size(_: *mut ffi::sqlite3_file) -> c_int {
    4_096
}

/// As SQLite takes it of a disk under Linux: a torn write damages nothing beside what it writes.
unsafe extern "C" fn device_characteristics(_: *mut ffi::sqlite3_file) -> c_int {
    ffi::SQLITE_IOCAP_POWERSAFE_OVERWRITE
}

static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};
