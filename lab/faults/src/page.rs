//! The page as the program sees it, and what the kernel is asked about files and packets.

use crate::control::{MAGIC, PAGE_BYTES, VARIABLE, at};
use libc::{c_int, c_void, mmsghdr, off_t, size_t, timespec};
use std::ffi::CStr;
use std::io::Write as _;
use std::mem::{MaybeUninit, offset_of};
use std::ptr;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicI8, AtomicPtr, AtomicU8, AtomicU64};

/// The page. All of it may change at any moment, so all of it is atomic.
#[repr(C)]
pub struct Page {
    magic: [AtomicU8; 4],
    pub writes: AtomicU8,
    pub syncs: AtomicU8,
    pub delay_ms: AtomicU8,
    pub clock_steps: AtomicI8,
    pub stamp_steps: AtomicI8,
    _zeros: [AtomicU8; 7],
    pub writes_failed: AtomicU64,
    pub syncs_failed: AtomicU64,
    pub delayed: AtomicU64,
    pub clock_read: AtomicU64,
    _room: [AtomicU64; 2],
    directory: [AtomicU8; PAGE_BYTES - at::DIRECTORY],
}

const _: () = {
    assert!(size_of::<Page>() == PAGE_BYTES);
    assert!(offset_of!(Page, writes) == at::WRITES && offset_of!(Page, syncs) == at::SYNCS);
    assert!(offset_of!(Page, delay_ms) == at::DELAY_MS);
    assert!(offset_of!(Page, clock_steps) == at::CLOCK_STEPS && offset_of!(Page, stamp_steps) == at::STAMP_STEPS);
    assert!(offset_of!(Page, writes_failed) == at::WRITES_FAILED);
    assert!(offset_of!(Page, syncs_failed) == at::SYNCS_FAILED);
    assert!(offset_of!(Page, delayed) == at::DELAYED && offset_of!(Page, clock_read) == at::CLOCK_READ);
    assert!(offset_of!(Page, directory) == at::DIRECTORY);
};

static PAGE: AtomicPtr<Page> = AtomicPtr::new(ptr::null_mut());

/// The page; nothing in a program that nobody spoils.
pub fn page() -> Option<&'static Page> {
    // SAFETY: null, or a mapping of PAGE_BYTES that is never unmapped; every field is atomic.
    unsafe { PAGE.load(Acquire).as_ref() }
}

/// Run by the loader before `main`.
#[used]
#[unsafe(link_section = ".init_array")]
static AT_LOAD: extern "C" fn() = map;

extern "C" fn map() {
    let name = std::ffi::CString::new(VARIABLE).expect("the name has no zero in it");
    // SAFETY: the loader runs this before there is a second thread that could change the environment; open(2) takes the
    // path that getenv gave; mmap(2) makes a new mapping, whose length the file must have, which fstat says.
    let mapped = unsafe {
        let path = libc::getenv(name.as_ptr());
        if path.is_null() {
            return;
        }
        let fd = libc::open(path, libc::O_RDWR | libc::O_CLOEXEC);
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        if fd < 0 || size_of_file(fd) != Some(PAGE_BYTES as off_t) {
            return;
        }
        libc::mmap(ptr::null_mut(), PAGE_BYTES, protection, libc::MAP_SHARED, fd, 0)
    };
    if mapped == libc::MAP_FAILED {
        return;
    }
    let mapped = mapped.cast::<Page>();
    // SAFETY: a fresh mapping of PAGE_BYTES, aligned to a page.
    let is_ours = unsafe { &*mapped }
        .magic
        .iter()
        .map(|byte| byte.load(Relaxed))
        .eq(MAGIC);
    if is_ours {
        PAGE.store(mapped, Release);
    }
}

impl Page {
    /// Whether the file that is open as `fd` lies below the page's directory.
    pub fn is_below(&self, fd: c_int) -> bool {
        let mut link = [0_u8; 32];
        let mut cursor = &mut link[..];
        // With a zero behind it, because the buffer is longer than any number.
        write!(cursor, "/proc/self/fd/{fd}").expect("14 bytes and a number of at most 11");
        let Ok(link) = CStr::from_bytes_until_nul(&link) else {
            return false;
        };
        let mut path = [0_u8; PAGE_BYTES];
        // SAFETY: a string that ends with zero, and a buffer with its length.
        let length = unsafe { libc::readlink(link.as_ptr(), path.as_mut_ptr().cast(), path.len()) };
        let Some(path) = usize::try_from(length).ok().and_then(|length| path.get(..length)) else {
            return false;
        };
        let directory = self.directory.iter().map(|byte| byte.load(Relaxed));
        let mut directory = directory.take_while(|byte| *byte != 0).peekable();
        if directory.peek().is_none() {
            return false;
        }
        let mut path = path.iter().copied();
        directory.all(|byte| path.next() == Some(byte)) && path.next() == Some(b'/')
    }
}

/// Whether a write makes the file longer.
pub fn grows(fd: c_int, offset: Option<off_t>, bytes: size_t) -> bool {
    let Some(size) = size_of_file(fd) else { return false };
    // SAFETY: neither takes a pointer.
    let (stands_at, flags) = unsafe { (libc::lseek(fd, 0, libc::SEEK_CUR), libc::fcntl(fd, libc::F_GETFL)) };
    let appends = flags >= 0 && flags & libc::O_APPEND != 0;
    let from = if appends { size } else { offset.unwrap_or(stands_at) };
    from.saturating_add(bytes as off_t) > size
}

fn size_of_file(fd: c_int) -> Option<off_t> {
    let mut status = MaybeUninit::<libc::stat>::uninit();
    // SAFETY: a place for one `stat`, which is read only if the kernel has filled it.
    unsafe { (libc::fstat(fd, status.as_mut_ptr()) == 0).then(|| status.assume_init().st_size) }
}

/// Moves the time at which the kernel says that it received a packet.
pub fn shift_stamp(message: &mut mmsghdr, seconds: i64) {
    let header = &message.msg_hdr;
    // SAFETY: the kernel has filled the header's control messages; libc's walk stays within their length, and
    // SCM_TIMESTAMPNS carries one timespec, which may stand unaligned.
    unsafe {
        let mut at = libc::CMSG_FIRSTHDR(header);
        while !at.is_null() {
            if ((*at).cmsg_level, (*at).cmsg_type) == (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) {
                let place: *mut c_void = libc::CMSG_DATA(at).cast();
                let mut stamp = place.cast::<timespec>().read_unaligned();
                stamp.tv_sec += seconds;
                place.cast::<timespec>().write_unaligned(stamp);
            }
            at = libc::CMSG_NXTHDR(header, at);
        }
    }
}
