//! A library that spoils the disk and the clock of the program into which it is loaded (`LD_PRELOAD`), as the page says
//! that `SHAKE_FAULTS` names (see `chaos/control.rs`). The tests of a full disk and of a stepped clock need no rights and
//! no kernel module that way, and a fault begins and ends in the middle of a run.
//!
//! It stands before libc's functions of the same name, does what the page says, and otherwise makes the system call
//! that libc would have made. Without the variable, or when the page cannot be mapped, it changes nothing. It never
//! allocates, and never fails a call on a file outside of the directory.

#[allow(dead_code, reason = "the campaign's side of the page")]
#[path = "../../src/chaos/control.rs"]
mod control;
mod page;

use libc::{c_int, c_long, c_uint, c_void, clockid_t, mmsghdr, off_t, size_t, ssize_t, timespec};
use page::{Page, page};
use std::sync::atomic::Ordering::Relaxed;

/// Sets `errno`; gives what the caller returns.
fn fail(errno: c_int) -> ssize_t {
    // SAFETY: the address of this thread's errno is always valid.
    unsafe { *libc::__errno_location() = errno };
    -1
}

/// Whether the page lets a write of `bytes` pass that goes to `offset`, or to where the file stands.
fn may_write(fd: c_int, offset: Option<off_t>, bytes: size_t) -> bool {
    let Some(page) = page() else { return true };
    let has_room = match page.writes.load(Relaxed) {
        control::WRITES_NONE => false,
        control::WRITES_NO_ROOM => !page::grows(fd, offset, bytes),
        _ => true,
    };
    if has_room || !page.is_below(fd) {
        return true;
    }
    page.writes_failed.fetch_add(1, Relaxed);
    false
}

/// Whether the page lets a sync pass, after the time that it takes longer.
fn may_sync(fd: c_int) -> bool {
    let Some(page) = page() else { return true };
    let (fails, delay_ms) = (
        page.syncs.load(Relaxed) == control::SYNCS_FAIL,
        page.delay_ms.load(Relaxed),
    );
    if (!fails && delay_ms == 0) || !page.is_below(fd) {
        return true;
    }
    if delay_ms > 0 {
        page.delayed.fetch_add(1, Relaxed);
        std::thread::sleep(std::time::Duration::from_millis(delay_ms.into()));
    }
    if fails {
        page.syncs_failed.fetch_add(1, Relaxed);
    }
    !fails
}

fn steps_of(of: impl Fn(&Page) -> i8) -> Option<(&'static Page, i64)> {
    let page = page()?;
    let steps = of(page);
    (steps != 0).then(|| (page, i64::from(steps) * control::CLOCK_STEP_S))
}

/// write(2).
///
/// # Safety
/// As write(2) asks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn write(fd: c_int, bytes: *const c_void, count: size_t) -> ssize_t {
    if !may_write(fd, None, count) {
        return fail(libc::ENOSPC);
    }
    // SAFETY: the caller's arguments, unchanged.
    unsafe { libc::syscall(libc::SYS_write, fd, bytes, count) as ssize_t }
}

/// pwrite(2).
///
/// # Safety
/// As pwrite(2) asks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pwrite(fd: c_int, bytes: *const c_void, count: size_t, offset: off_t) -> ssize_t {
    if !may_write(fd, Some(offset), count) {
        return fail(libc::ENOSPC);
    }
    // SAFETY: the caller's arguments, unchanged.
    unsafe { libc::syscall(libc::SYS_pwrite64, fd, bytes, count, offset) as ssize_t }
}

/// pwrite(2) by its other name.
///
/// # Safety
/// As pwrite(2) asks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pwrite64(fd: c_int, bytes: *const c_void, count: size_t, offset: off_t) -> ssize_t {
    // SAFETY: the caller's arguments, unchanged.
    unsafe { pwrite(fd, bytes, count, offset) }
}

/// ftruncate(2). Making a file longer needs room, too.
#[unsafe(no_mangle)]
pub extern "C" fn ftruncate(fd: c_int, length: off_t) -> c_int {
    if !may_write(fd, Some(length), 0) {
        return fail(libc::ENOSPC) as c_int;
    }
    // SAFETY: it takes no pointer.
    unsafe { libc::syscall(libc::SYS_ftruncate, fd, length) as c_int }
}

/// ftruncate(2) by its other name.
#[unsafe(no_mangle)]
pub extern "C" fn ftruncate64(fd: c_int, length: off_t) -> c_int {
    ftruncate(fd, length)
}

/// fallocate(2).
#[unsafe(no_mangle)]
pub extern "C" fn fallocate(fd: c_int, mode: c_int, offset: off_t, length: off_t) -> c_int {
    if !may_write(fd, Some(offset), length as size_t) {
        return fail(libc::ENOSPC) as c_int;
    }
    // SAFETY: it takes no pointer.
    unsafe { libc::syscall(libc::SYS_fallocate, fd, mode, offset, length) as c_int }
}

/// fallocate(2) by its other name.
#[unsafe(no_mangle)]
pub extern "C" fn fallocate64(fd: c_int, mode: c_int, offset: off_t, length: off_t) -> c_int {
    fallocate(fd, mode, offset, length)
}

/// posix_fallocate(3), which returns its error.
#[unsafe(no_mangle)]
pub extern "C" fn posix_fallocate(fd: c_int, offset: off_t, length: off_t) -> c_int {
    if fallocate(fd, 0, offset, length) == 0 {
        return 0;
    }
    // SAFETY: the address of this thread's errno is always valid.
    unsafe { *libc::__errno_location() }
}

/// posix_fallocate(3) by its other name.
#[unsafe(no_mangle)]
pub extern "C" fn posix_fallocate64(fd: c_int, offset: off_t, length: off_t) -> c_int {
    posix_fallocate(fd, offset, length)
}

/// fsync(2).
#[unsafe(no_mangle)]
pub extern "C" fn fsync(fd: c_int) -> c_int {
    sync(fd, libc::SYS_fsync)
}

/// fdatasync(2).
#[unsafe(no_mangle)]
pub extern "C" fn fdatasync(fd: c_int) -> c_int {
    sync(fd, libc::SYS_fdatasync)
}

fn sync(fd: c_int, call: c_long) -> c_int {
    if !may_sync(fd) {
        return fail(libc::EIO) as c_int;
    }
    // SAFETY: it takes no pointer.
    unsafe { libc::syscall(call, fd) as c_int }
}

/// clock_gettime(2).
///
/// # Safety
/// As clock_gettime(2) asks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_gettime(clock: clockid_t, time: *mut timespec) -> c_int {
    // SAFETY: the caller's arguments, unchanged.
    let done = unsafe { libc::syscall(libc::SYS_clock_gettime, clock, time) as c_int };
    let is_wall = matches!(clock, libc::CLOCK_REALTIME | libc::CLOCK_REALTIME_COARSE);
    if done == 0
        && is_wall
        && let Some((page, seconds)) = steps_of(|page| page.clock_steps.load(Relaxed))
    {
        page.clock_read.fetch_add(1, Relaxed);
        // SAFETY: the kernel has just written a timespec there.
        unsafe { (*time).tv_sec += seconds };
    }
    done
}

/// recvmmsg(2): the kernel's timestamps of packets are of the wall clock.
///
/// # Safety
/// As recvmmsg(2) asks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn recvmmsg(
    fd: c_int,
    messages: *mut mmsghdr,
    count: c_uint,
    flags: c_int,
    timeout: *mut timespec,
) -> c_int {
    // SAFETY: the caller's arguments, unchanged.
    let received = unsafe { libc::syscall(libc::SYS_recvmmsg, fd, messages, count, flags, timeout) as c_int };
    if received > 0
        && let Some((_, seconds)) = steps_of(|page| page.stamp_steps.load(Relaxed))
    {
        // SAFETY: the kernel has just filled so many of the caller's messages.
        let filled = unsafe { std::slice::from_raw_parts_mut(messages, received as usize) };
        filled
            .iter_mut()
            .for_each(|message| page::shift_stamp(message, seconds));
    }
    received
}
