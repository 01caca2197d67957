//! The wal-index: memory that the connections of a disk share, and its locks.

use super::body;
use rusqlite::ffi;
use std::ffi::{c_int, c_void};
use std::sync::atomic::{Ordering, fence};
use std::sync::{Arc, Mutex};

/// The wal-index: shared memory between connections. Kept alive by each connection that maps it.
#[derive(Default)]
pub(super) struct Index(Mutex<IndexState>);

#[derive(Default)]
struct IndexState {
    regions: Vec<Box<[u64]>>,
    /// Per lock: how many share it, or -1 when one has it alone.
    locks: [i32; ffi::SQLITE_SHM_NLOCK as usize],
}

pub(super) unsafe extern "C" fn shm_map(
    file: *mut ffi::sqlite3_file,
    region: c_int,
    bytes: c_int,
    extend: c_int,
    at: *mut *mut c_void,
) -> c_int {
    // SAFETY: SQLite gives an open file, and a place for one pointer. The region does not move, and lives as long as the
    // handle, which keeps its index.
    unsafe {
        *at = std::ptr::null_mut();
        let body = body(file);
        if body.alive().is_none() {
            return ffi::SQLITE_IOERR_SHMMAP;
        }
        let index = body.index.get_or_insert_with(|| {
            let mut shared = body.shared.lock().unwrap();
            Arc::clone(shared.index.get_or_insert_default())
        });
        let mut index = index.0.lock().unwrap();
        while extend != 0 && index.regions.len() <= region as usize {
            index.regions.push(vec![0; bytes as usize / 8].into_boxed_slice());
        }
        if let Some(words) = index.regions.get_mut(region as usize) {
            *at = words.as_mut_ptr().cast();
        }
    }
    ffi::SQLITE_OK
}

pub(super) unsafe extern "C" fn shm_lock(
    file: *mut ffi::sqlite3_file,
    first: c_int,
    count: c_int,
    flags: c_int,
) -> c_int {
    // SAFETY: SQLite gives an open file.
    let body = unsafe { body(file) };
    if body.alive().is_none() {
        return ffi::SQLITE_IOERR_SHMLOCK;
    }
    let Some(index) = &body.index else {
        return ffi::SQLITE_IOERR_SHMLOCK;
    };
    let mut index = index.0.lock().unwrap();
    let locks = &mut index.locks[first as usize..(first + count) as usize];
    let shares = flags & ffi::SQLITE_SHM_SHARED != 0;
    if flags & ffi::SQLITE_SHM_UNLOCK != 0 {
        for lock in locks {
            *lock = if shares { *lock - 1 } else { 0 };
        }
        return ffi::SQLITE_OK;
    }
    let free = |lock: &i32| if shares { *lock >= 0 } else { *lock == 0 };
    if !locks.iter().all(free) {
        return ffi::SQLITE_BUSY;
    }
    for lock in locks {
        *lock = if shares { *lock + 1 } else { -1 };
    }
    ffi::SQLITE_OK
}

pub(super) unsafe extern "C" fn shm_barrier(_: *mut ffi::sqlite3_file) {
    fence(Ordering::SeqCst);
}

pub(super) unsafe extern "C" fn shm_unmap(file: *mut ffi::sqlite3_file, _: c_int) -> c_int {
    // SAFETY: SQLite gives an open file.
    let body = unsafe { body(file) };
    let Some(index) = body.index.take() else {
        return ffi::SQLITE_OK;
    };
    let mut shared = body.shared.lock().unwrap();
    let is_ours = shared.index.as_ref().is_some_and(|now| Arc::ptr_eq(now, &index));
    // Ours and the disk's: nobody else has it. The next one to map it finds nothing, and reads the log anew.
    if is_ours && Arc::strong_count(&index) == 2 {
        shared.index = None;
    }
    ffi::SQLITE_OK
}
