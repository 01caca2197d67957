//! The socket filter: a program in the kernel (eBPF, `SO_ATTACH_BPF`) that drops packets whose connection ID stands in a
//! table which it shares with us. We write into the table without a system call; a packet dropped so costs neither the way
//! through the socket nor a place in its buffer.
//!
//! The table is a cache: an entry may be overwritten by another, and holds for a second at the most, after which packets
//! come to us again and are judged as ever. While none holds the program looks no further than at one word that says so:
//! looking for each packet in two megabytes took 6 % of a sender's time, which over loopback is where it runs.

use super::filter_program::{Instruction, Places, filter_program};
use libc::{c_int, c_long};
use std::io;
use std::mem;
use std::num::NonZeroUsize;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

/// Entries, a power of two. Behind them stand the number of packets dropped, and until when any entry holds; 0 when there
/// never was one.
const ENTRIES: usize = 1 << 18;
const DROPPED: usize = ENTRIES;
const LATEST: usize = ENTRIES + 1;
const WORDS: usize = ENTRIES + 2;
/// Time in the table is in 2^20 nanoseconds, about a millisecond, of `CLOCK_MONOTONIC` and modulo 2^32: it comes round every
/// 52 days. So what is further ahead than an entry holds is over, and not to come.
const TICK_BITS: u32 = 20;
/// For so long an entry holds at the most, in nanoseconds: what follows is judged anew.
const HOLD_NS_MAX: u64 = 1_000_000_000;
/// The same in ticks, and the one that has begun.
const HOLD_TICKS_MAX: u32 = (HOLD_NS_MAX >> TICK_BITS) as u32 + 1;
/// A shorter time is not worth an entry.
const HOLD_NS_MIN: u64 = 10_000_000;

/// One socket's table.
pub struct Filter {
    /// [`WORDS`] of them.
    table: NonNull<AtomicU64>,
}

// SAFETY: the table is shared memory of atomics, which any thread may use.
unsafe impl Send for Filter {}

impl Filter {
    /// Attaches the program to a socket whose connection IDs are of eight bytes.
    ///
    /// # Errors
    /// When the kernel does not have it, or the process may not (`CAP_BPF`).
    pub fn attach(socket: BorrowedFd<'_>) -> io::Result<Self> {
        let map = new_map()?;
        let program = load(&filter_program(&Places {
            map: map.as_raw_fd(),
            entries: ENTRIES,
            dropped: DROPPED,
            latest: LATEST,
            tick_bits: TICK_BITS,
            hold_ticks_max: HOLD_TICKS_MAX,
        }))?;
        let fd: c_int = program.as_raw_fd();
        // SAFETY: the kernel reads one descriptor's number, which is borrowed for the call.
        let attached = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_ATTACH_BPF,
                std::ptr::from_ref(&fd).cast(),
                mem::size_of::<c_int>() as u32,
            )
        };
        if attached < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: a fresh mapping of a map of this size, which nothing else in this process names.
        let table = unsafe {
            nix::sys::mman::mmap(
                None,
                NonZeroUsize::new(WORDS * mem::size_of::<u64>()).expect("not zero"),
                nix::sys::mman::ProtFlags::PROT_READ | nix::sys::mman::ProtFlags::PROT_WRITE,
                nix::sys::mman::MapFlags::MAP_SHARED,
                &map,
                0,
            )?
        };
        Ok(Self { table: table.cast() })
    }

    /// Has packets with this connection ID dropped for `hold_ns` from `now_ns` on, of `CLOCK_MONOTONIC`.
    pub fn add(&self, cid: u64, hold_ns: u64, now_ns: u64) {
        if hold_ns >= HOLD_NS_MIN {
            let until = ((now_ns + hold_ns.min(HOLD_NS_MAX)) >> TICK_BITS) as u32;
            let tag = (cid >> 16) as u32;
            let at = cid as usize % ENTRIES;
            self.table()[at].store(u64::from(tag) << 32 | u64::from(until), Relaxed);
            let latest = self.table()[LATEST].load(Relaxed) as u32;
            let now = (now_ns >> TICK_BITS) as u32;
            if until.wrapping_sub(now) > ticks_left(latest, now) {
                self.table()[LATEST].store(u64::from(until.max(1)), Relaxed);
            }
        }
    }

    /// Packets dropped so far.
    pub fn dropped(&self) -> u64 {
        self.table()[DROPPED].load(Relaxed)
    }

    fn table(&self) -> &[AtomicU64] {
        // SAFETY: the mapping has this length and lives until `drop`; the kernel changes it by whole words only.
        unsafe { std::slice::from_raw_parts(self.table.as_ptr(), WORDS) }
    }
}

impl Drop for Filter {
    fn drop(&mut self) {
        // SAFETY: mapped by `attach` with this length; no reference to it outlives `self`.
        let _ = unsafe { nix::sys::mman::munmap(self.table.cast(), WORDS * mem::size_of::<u64>()) };
    }
}

/// Ticks until `until`; none when it is over.
fn ticks_left(until: u32, now: u32) -> u32 {
    match until.wrapping_sub(now) {
        left if until != 0 && left <= HOLD_TICKS_MAX => left,
        _ => 0,
    }
}

/// `struct bpf_attr` of `BPF_MAP_CREATE`, as far as it is used (`linux/bpf.h`).
#[repr(C)]
#[derive(Default)]
struct MapCreate {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
}

fn new_map() -> io::Result<OwnedFd> {
    const MAP_CREATE: c_long = 0;
    const TYPE_ARRAY: u32 = 2;
    const MMAPABLE: u32 = 1 << 10;
    bpf(
        MAP_CREATE,
        &MapCreate {
            map_type: TYPE_ARRAY,
            key_size: 4,
            value_size: 8,
            max_entries: WORDS as u32,
            map_flags: MMAPABLE,
        },
    )
}

/// The same of `BPF_PROG_LOAD`.
#[repr(C)]
#[derive(Default)]
struct ProgramLoad {
    program_type: u32,
    instructions: u32,
    instructions_at: u64,
    license_at: u64,
    log_level: u32,
    log_size: u32,
    log_at: u64,
}

fn load(program: &[Instruction]) -> io::Result<OwnedFd> {
    const PROG_LOAD: c_long = 5;
    const TYPE_SOCKET_FILTER: u32 = 1;
    bpf(
        PROG_LOAD,
        &ProgramLoad {
            program_type: TYPE_SOCKET_FILTER,
            instructions: program.len() as u32,
            instructions_at: program.as_ptr().expose_provenance() as u64,
            license_at: c"Dual MIT/GPL".as_ptr().expose_provenance() as u64,
            ..ProgramLoad::default()
        },
    )
}

/// A call of bpf(2) that gives a descriptor.
fn bpf<T>(command: c_long, attributes: &T) -> io::Result<OwnedFd> {
    // SAFETY: the kernel reads `attributes`, and what it points at, during the call.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_ref(attributes),
            mem::size_of::<T>(),
        )
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a fresh descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as c_int) })
}
