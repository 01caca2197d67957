//! Huge pages: for the pages of sessions from the beginning, for the rest of the heap where it is full.
//!
//! To make one takes the kernel some 4 ms, at times 20, because it clears two mebibytes; whoever touches it first waits.
//! So a thread makes those of the sessions shortly before a shard comes to them.
//!
//! What a session holds beside itself (keys, sent packets, tables) lies all over the heap, and with small pages each look
//! at it misses the translation cache, which is dear in a virtual machine. Huge pages for all of the heap from the
//! beginning cost memory that nobody uses: a kilobyte a session. So the same thread looks every few seconds which two mebibytes
//! have nearly all of their small pages in use, and has the kernel put those together (`MADV_COLLAPSE`, Linux 6.1). It
//! copies them, in some milliseconds, in which whoever needs those bytes waits; so it works a tenth of the time while nobody
//! shakes, and a fiftieth while they do.

use nix::errno::Errno;
use nix::sys::mman::{MmapAdvise, madvise};
use std::collections::HashSet;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use std::{fs, io, thread};
use tracing::info;

/// Between two looks at all of the heap.
const LOOK: Duration = Duration::from_secs(2);
/// So often as long as a copy took, nothing is copied. While sessions come this keeps up with them.
const PAUSE: u32 = 9;
/// The same while phones shake: each wait of a shard makes a queue.
const PAUSE_OF_SHAKES: u32 = 49;
/// Bytes of a huge page.
pub const HUGE: usize = 2 << 20;
/// Ranges that may wait to be made. What comes beyond them is made when it is touched.
const AHEAD_MAX: usize = 64;
/// Bytes of the smallest page of every Linux machine that has huge ones of 2 MiB.
const SMALL: usize = 4_096;
/// Small pages of a huge one that must be in use: all but a sixteenth, so that the memory grows by that at most.
const DENSE: usize = HUGE / SMALL / 16 * 15;

/// Asks the kernel to back a block by huge pages. It may refuse; then the block is as good as any. Miri has no kernel.
pub fn want<T>(block: &Vec<T>) {
    if cfg!(miri) {
        return;
    }
    let begin = block.as_ptr().addr().next_multiple_of(SMALL);
    let end = (block.as_ptr().addr() + block.capacity() * size_of::<T>()) / SMALL * SMALL;
    let address = block.as_ptr().with_addr(begin).cast_mut().cast();
    if let (Some(address), true) = (NonNull::new(address), begin < end) {
        // SAFETY: the range is whole pages within the block, and this advice changes no byte of them.
        let _ = unsafe { madvise(address, end - begin, MmapAdvise::MADV_HUGEPAGE) };
    }
}

/// Asks for memory before it is needed.
#[derive(Clone)]
pub struct Prefaulter(SyncSender<Range>);

/// Of the memory, by addresses.
type Range = std::ops::Range<usize>;

impl Prefaulter {
    /// Where to ask, and where what is asked for arrives.
    pub fn new() -> (Self, Receiver<Range>) {
        let (sender, receiver) = mpsc::sync_channel(AHEAD_MAX);
        (Self(sender), receiver)
    }

    /// Has these values' place in a block made soon. When too much is asked for already, or nobody listens, it will be
    /// made when it is touched.
    pub fn make<T>(&self, block: &Vec<T>, values: Range) {
        let begin = block.as_ptr().addr();
        let range = begin + values.start * size_of::<T>()..begin + values.end.min(block.capacity()) * size_of::<T>();
        let _ = self.0.try_send(range);
    }
}

/// Starts the thread. It ends soon after `stop` is set. `is_quiet` tells whether nobody shakes, and `count` shows how many huge
/// pages parts of the heap were put together to.
///
/// # Errors
/// When no thread can be made.
pub fn spawn(
    asked: Receiver<Range>,
    is_quiet: impl Fn() -> bool + Send + 'static,
    count: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name("huge-pages".into()).spawn(move || {
        let idle = Idle {
            asked,
            is_quiet: Box::new(is_quiet),
            stop,
        };
        let mut heap = Heap::default();
        let (mut may_look, mut is_told) = (true, false);
        while !idle.is_stopping() {
            if may_look && let Err(error) = heap.look(&idle) {
                info!(%error, "the heap stays on small pages, which costs more");
                may_look = false;
            }
            if let Some(error) = heap.refused
                && heap.huge.is_empty()
                && !is_told
            {
                info!(%error, "the kernel gives the heap no huge pages, which costs more; Linux 6.1 can");
                is_told = true;
            }
            count.store(heap.huge.len() as u64, Relaxed);
            idle.pass(LOOK);
        }
    })
}

/// The time in which the thread has nothing else to do.
struct Idle {
    asked: Receiver<Range>,
    is_quiet: Box<dyn Fn() -> bool>,
    stop: Arc<AtomicBool>,
}

impl Idle {
    fn is_stopping(&self) -> bool {
        self.stop.load(Relaxed)
    }

    /// Lets the shards work after a copy that took so long.
    fn pass_after(&self, took: Duration) {
        self.pass(took * if (self.is_quiet)() { PAUSE } else { PAUSE_OF_SHAKES });
    }

    /// Makes what shards ask for, for so long; not on when the gateway stops.
    fn pass(&self, time: Duration) {
        const STEP: Duration = Duration::from_millis(100);
        let until = Instant::now() + time;
        while let Some(left) = until.checked_duration_since(Instant::now())
            && !self.is_stopping()
        {
            match self.asked.recv_timeout(left.min(STEP)) {
                Ok(range) => make(range),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => thread::sleep(left.min(STEP)),
            }
        }
    }
}

/// Has the kernel make the pages of a range, as if each was written to. It may refuse; then they are made when they are.
fn make(range: Range) {
    let begin = range.start / SMALL * SMALL;
    if let Some(address) = NonNull::new(std::ptr::without_provenance_mut(begin)) {
        // SAFETY: this advice changes no byte of the range, whatever is mapped there.
        let _ = unsafe {
            madvise(
                address,
                range.end.saturating_sub(begin),
                MmapAdvise::MADV_POPULATE_WRITE,
            )
        };
    }
}

/// Which huge pages of the heap are known to be whole, by address.
#[derive(Default)]
struct Heap {
    huge: HashSet<usize>,
    /// Why the kernel did not put a range together, the last time.
    refused: Option<Errno>,
}

impl Heap {
    /// Looks at all of the heap once.
    ///
    /// # Errors
    /// When the mappings cannot be read, or what is in memory is not told.
    fn look(&mut self, idle: &Idle) -> io::Result<()> {
        for (begin, end) in anonymous(&fs::read_to_string("/proc/self/maps")?) {
            for address in (begin.next_multiple_of(HUGE)..end).step_by(HUGE) {
                if address + HUGE > end || idle.is_stopping() {
                    break;
                }
                idle.asked.try_iter().for_each(make);
                if let Some(took) = self.visit(address)? {
                    idle.pass_after(took);
                }
            }
        }
        Ok(())
    }

    /// Puts one range together if it is dense, and says how long that took.
    ///
    /// # Errors
    /// When the kernel does not tell what is in memory.
    fn visit(&mut self, address: usize) -> io::Result<Option<Duration>> {
        let used = resident(address)?;
        if used < HUGE / SMALL {
            self.huge.remove(&address);
        }
        if used < DENSE || self.huge.contains(&address) {
            return Ok(None);
        }
        let began = Instant::now();
        match collapse(address) {
            Ok(()) => _ = self.huge.insert(address),
            // Unmapped meanwhile, or no memory in one piece: perhaps at the next look.
            Err(error) => self.refused = Some(error),
        }
        Ok(Some(began.elapsed()))
    }
}

/// The private anonymous mappings that can be written, as in `/proc/self/maps`: the heap, the stacks.
fn anonymous(maps: &str) -> impl Iterator<Item = (usize, usize)> {
    maps.lines().filter_map(|line| {
        let mut fields = line.split_ascii_whitespace();
        let (range, rights, inode) = (fields.next()?, fields.next()?, fields.nth(2)?);
        let (begin, end) = range.split_once('-')?;
        let address = |hex| usize::from_str_radix(hex, 16).ok();
        (rights == "rw-p" && inode == "0").then_some((address(begin)?, address(end)?))
    })
}

/// How many small pages of a huge one are in memory; none if it is not mapped.
fn resident(address: usize) -> Result<usize, Errno> {
    let mut pages = [0_u8; HUGE / SMALL];
    // SAFETY: the kernel writes one byte for each page of the range into `pages`, and reads nothing of the range.
    let result = unsafe { libc::mincore(address as *mut libc::c_void, HUGE, pages.as_mut_ptr()) };
    match Errno::result(result) {
        Ok(_) => Ok(pages.iter().filter(|page| **page & 1 == 1).count()),
        Err(Errno::ENOMEM | Errno::EAGAIN) => Ok(0),
        // A sandbox without this call.
        Err(error) => Err(error),
    }
}

/// Of `linux/mman.h`, since Linux 6.1. The headers of musl do not have it.
const MADV_COLLAPSE: libc::c_int = 25;

/// Has the kernel put the small pages of a range into a huge one.
fn collapse(address: usize) -> Result<(), Errno> {
    // SAFETY: this advice changes no byte of the range, whatever is mapped there.
    let result = unsafe { libc::madvise(address as *mut libc::c_void, HUGE, MADV_COLLAPSE) };
    Errno::result(result).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous};
    use std::num::NonZeroUsize;

    /// A huge page's worth of bytes on small pages, of which so many were written.
    fn small_pages(used: usize) -> &'static mut [u8] {
        let bytes = NonZeroUsize::new(2 * HUGE).expect("not zero");
        let rights = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping of this size, which nothing else knows of and nobody unmaps.
        let block = unsafe {
            let begin = mmap_anonymous(None, bytes, rights, MapFlags::MAP_PRIVATE).expect("room for four mebibytes");
            let skipped = begin.as_ptr().addr().next_multiple_of(HUGE) - begin.as_ptr().addr();
            let begin = begin.byte_add(skipped);
            madvise(begin, HUGE, MmapAdvise::MADV_NOHUGEPAGE).expect("small pages");
            let block = NonNull::slice_from_raw_parts(begin.cast::<u8>(), HUGE).as_mut();
            for page in 0..used {
                block[page * SMALL] = page as u8;
            }
            block
        };
        assert_eq!(resident(block.as_ptr().addr()), Ok(used));
        block
    }

    /// Allows huge pages, and visits; the kernel may have been faster.
    fn visit(heap: &mut Heap, block: &mut [u8]) -> Option<Duration> {
        let begin = NonNull::from(&mut *block).cast();
        // SAFETY: this advice changes no byte of the block.
        unsafe { madvise(begin, HUGE, MmapAdvise::MADV_HUGEPAGE).expect("huge pages from now on") };
        heap.visit(block.as_ptr().addr()).expect("a kernel since Linux 6.1")
    }

    #[test]
    fn full_ranges_are_put_together_and_keep_their_bytes() {
        let block = small_pages(DENSE);
        let address = block.as_ptr().addr();
        let mut heap = Heap::default();
        visit(&mut heap, block);
        assert!(heap.huge.contains(&address));
        assert_eq!(
            resident(address),
            Ok(HUGE / SMALL),
            "the pages between were made as well"
        );
        assert!((0..DENSE).all(|page| block[page * SMALL] == page as u8));
        assert!(block[DENSE * SMALL..].iter().all(|byte| *byte == 0));
        assert_eq!(heap.visit(address).expect("nothing to do"), None);
    }

    #[test]
    fn what_is_asked_for_is_there_before_it_is_touched() {
        let (prefaulter, asked) = Prefaulter::new();
        let block: Vec<[u8; 1_000]> = Vec::with_capacity(3 * HUGE / 1_000);
        want(&block);
        let second = block.as_ptr().addr().next_multiple_of(HUGE) + HUGE;
        assert_eq!(resident(second), Ok(0));
        prefaulter.make(&block, HUGE / 1_000..block.capacity() + 1);
        asked.try_iter().for_each(make);
        assert_eq!(resident(second), Ok(HUGE / SMALL));
        assert_eq!(block.len(), 0);
    }

    #[test]
    fn ranges_with_room_stay_as_they_are() {
        let block = small_pages(DENSE - 1);
        let address = block.as_ptr().addr();
        let mut heap = Heap::default();
        assert_eq!(heap.visit(address).expect("nothing to do"), None);
        assert_eq!(resident(address), Ok(DENSE - 1));
    }

    #[test]
    fn what_was_given_back_is_put_together_again() {
        let block = small_pages(DENSE);
        let address = block.as_ptr().addr();
        let mut heap = Heap::default();
        visit(&mut heap, block);
        let begin = NonNull::from(&mut *block).cast();
        // SAFETY: nobody holds a reference into the block; its bytes are zero afterwards.
        unsafe { madvise(begin, HUGE, MmapAdvise::MADV_DONTNEED).expect("given back") };
        assert_eq!(heap.visit(address).expect("nothing to do"), None);
        assert!(!heap.huge.contains(&address));
        block.fill(1);
        visit(&mut heap, block);
        assert!(heap.huge.contains(&address));
    }

    #[test]
    fn only_what_is_anonymous_and_writable_is_looked_at() {
        let maps = "7f0000000000-7f0000400000 rw-p 00000000 00:00 0 \n\
                    7f0000400000-7f0000600000 r--p 00000000 00:00 0 \n\
                    7f0000600000-7f0000800000 rw-s 00000000 00:1b 42 /dev/shm/shake\n\
                    7f0000800000-7f0000a00000 rw-p 00000000 08:01 7 /usr/lib/libc.so.6\n\
                    7ffc00000000-7ffc00021000 rw-p 00000000 00:00 0 [stack]\n\
                    nonsense\n";
        let found: Vec<_> = anonymous(maps).collect();
        let heap = (0x7f00_0000_0000, 0x7f00_0040_0000);
        assert_eq!(found, [heap, (0x7ffc_0000_0000, 0x7ffc_0002_1000)]);
    }
}
