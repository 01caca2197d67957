//! The socket filter: a program in the kernel (eBPF, `SO_ATTACH_BPF`) that drops packets whose connection ID stands in a
//! table which it shares with us. We write into the table without a system call; a packet dropped so costs neither the way
//! through the socket nor a place in its buffer.
//!
//! The table is a cache: an entry may be overwritten by another, and holds for a second at the most, after which packets
//! come to us again and are judged as ever. While none holds the program looks no further than at one word that says so:
//! looking for each packet in two megabytes took 6 % of a sender's time, which over loopback is where it runs.

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
/// Time in the table is in 2^20 nanoseconds, about a millisecond, of `CLOCK_MONOTONIC` and modulo 2^32.
const TICK_BITS: u32 = 20;
/// For so long an entry holds at the most, in nanoseconds: what follows is judged anew.
const HOLD_NS_MAX: u64 = 1_000_000_000;
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
        let program = load(&program(map.as_raw_fd()))?;
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
            if latest == 0 || until.wrapping_sub(latest).cast_signed() > 0 {
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

/// One instruction (RFC 9669, section 3).
#[repr(C)]
#[derive(Clone, Copy)]
struct Instruction {
    code: u8,
    /// Destination in the low four bits, source in the high ones.
    registers: u8,
    offset: i16,
    immediate: i32,
}

/// The program. Registers: 0 result and what a call returns, 1 to 5 arguments, lost in a call, 6 the connection ID, 7 the
/// entry, 8 the time, 9 the packet, 10 the stack's end.
fn program(map: c_int) -> Vec<Instruction> {
    const R0: u8 = 0;
    const R1: u8 = 1;
    const R2: u8 = 2;
    const R3: u8 = 3;
    const R4: u8 = 4;
    const CID: u8 = 6;
    const ENTRY: u8 = 7;
    const NOW: u8 = 8;
    const PACKET: u8 = 9;
    const STACK: u8 = 10;
    const LOAD_BYTES: i32 = 26;
    const LOOKUP: i32 = 1;
    const KTIME: i32 = 5;
    let step = |code, to: u8, from: u8, offset, immediate| Instruction {
        code,
        registers: to | from << 4,
        offset,
        immediate,
    };
    let set = |to, value| step(0xb7, to, 0, 0, value);
    let copy = |to, from| step(0xbf, to, from, 0, 0);
    let add = |to, value| step(0x07, to, 0, 0, value);
    let call = |function| step(0x85, 0, 0, 0, function);
    let load = |code, to, from, offset| step(code, to, from, offset, 0);
    // The labels' places are filled in below.
    const ACCEPT: i16 = i16::MAX;
    let unless = |code, register, value| step(code, register, 0, ACCEPT, value);
    let lookup = [
        // r1 = the map, in two halves; r2 = where the index stands
        step(0x18, R1, 1, 0, map),
        step(0, 0, 0, 0, 0),
        copy(R2, STACK),
        add(R2, -24),
        call(LOOKUP),
        unless(0x15, R0, 0),
    ];
    // ENTRY's last half - NOW, as a signed number of 32 bits; unless it is more than 0, time is up
    let time_left = [
        step(0x1f, ENTRY, NOW, 0, 0),
        step(0x67, ENTRY, 0, 0, 32),
        step(0xc7, ENTRY, 0, 0, 32),
        unless(0xd5, ENTRY, 0),
    ];
    let mut all = vec![copy(PACKET, R1), step(0x62, STACK, 0, -24, LATEST as i32)];
    all.extend(lookup);
    all.extend([
        load(0x79, ENTRY, R0, 0),
        unless(0x15, ENTRY, 0),
        call(KTIME),
        step(0x77, R0, 0, 0, TICK_BITS as i32),
        copy(NOW, R0),
    ]);
    all.extend(time_left);
    all.extend([
        // The last seven bytes of the UDP header, the first of the packet and the eight of its connection ID, so that
        // the latter stand aligned.
        copy(R1, PACKET),
        set(R2, 1),
        copy(R3, STACK),
        add(R3, -16),
        set(R4, 16),
        call(LOAD_BYTES),
        unless(0x55, R0, 0),
        load(0x71, R1, STACK, -9),
        unless(0x45, R1, 0x80),
        load(0x79, CID, STACK, -8),
        step(0xdc, CID, 0, 0, 64), // to the order of the network, that is, the number that we make of it
        // index = its last bits
        copy(R1, CID),
        step(0x57, R1, 0, 0, ENTRIES as i32 - 1),
        step(0x63, STACK, R1, -24, 0),
    ]);
    all.extend(lookup);
    all.extend([
        load(0x79, ENTRY, R0, 0),
        // the tag: 32 bits of the ID
        step(0x77, CID, 0, 0, 16),
        step(0x67, CID, 0, 0, 32),
        step(0x77, CID, 0, 0, 32),
        copy(R1, ENTRY),
        step(0x77, R1, 0, 0, 32),
        step(0x5d, R1, CID, ACCEPT, 0),
    ]);
    all.extend(time_left);
    // counted and dropped
    all.push(step(0x62, STACK, 0, -24, DROPPED as i32));
    all.extend(lookup);
    all.extend([
        set(R1, 1),
        step(0xdb, R0, R1, 0, 0),
        set(R0, 0),
        step(0x95, 0, 0, 0, 0),
        // ACCEPT: all of the packet
        set(R0, -1),
        step(0x95, 0, 0, 0, 0),
    ]);
    let accept = all.len() - 2;
    for (at, instruction) in all.iter_mut().enumerate() {
        if instruction.offset == ACCEPT {
            instruction.offset = (accept - at - 1) as i16;
        }
    }
    all
}
