//! The instructions (eBPF) that the socket filter runs on each packet.
//!
//! ```text
//! does any entry hold? ─no─▶ accept
//!   yes ▼
//! the entry that the connection ID falls on: this ID, and does it hold? ─no─▶ accept
//!   yes ▼
//! counted and dropped
//! ```
//! Registers: 0 result and what a call returns, 1 to 5 arguments, lost in a call, 6 the connection ID, 7 the entry, 8 the
//! time, 9 the packet, 10 the stack's end.

use libc::c_int;

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

/// Functions of the kernel, by their numbers.
const LOAD_BYTES: i32 = 26;
const LOOKUP: i32 = 1;
const KTIME: i32 = 5;

/// Where on the stack the index of a word stands.
const INDEX: i16 = -24;
/// Stands for the way to the end of the program, where a packet is accepted, until its length is known.
const ACCEPT: i16 = i16::MAX;

/// The table that the program reads.
pub struct Places {
    /// The map's descriptor.
    pub map: c_int,
    /// Entries, a power of two.
    pub entries: usize,
    /// The word that counts the packets dropped.
    pub dropped: usize,
    /// The word that says until when any entry holds.
    pub latest: usize,
    /// Nanoseconds of a tick, as a power of two.
    pub tick_bits: u32,
    /// No time in the table is further ahead than so many ticks; one that seems to be is over.
    pub hold_ticks_max: u32,
}

/// One instruction (RFC 9669, section 3).
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Instruction {
    code: u8,
    /// Destination in the low four bits, source in the high ones.
    registers: u8,
    offset: i16,
    immediate: i32,
}

/// The whole program.
pub fn filter_program(places: &Places) -> Vec<Instruction> {
    let parts = [
        unless_any_holds(places),
        unless_this_holds(places),
        count_and_drop(places),
    ];
    let mut all: Vec<_> = parts.into_iter().flatten().collect();
    // ACCEPT: all of the packet
    let accept = all.len();
    all.extend([set(R0, -1), end()]);
    for (at, instruction) in all.iter_mut().enumerate() {
        if instruction.offset == ACCEPT {
            instruction.offset = (accept - at - 1) as i16;
        }
    }
    all
}

/// Accepts while no entry holds: one word says so for all.
fn unless_any_holds(places: &Places) -> Vec<Instruction> {
    let mut part = vec![copy(PACKET, R1), store(INDEX, places.latest as i32)];
    part.extend(look_up(places.map));
    part.extend([
        load(0x79, ENTRY, R0, 0),
        unless(0x15, ENTRY, 0),
        call(KTIME),
        step(0x77, R0, 0, 0, places.tick_bits as i32),
        copy(NOW, R0),
    ]);
    part.extend(unless_time_is_left(places.hold_ticks_max));
    part
}

/// Accepts what has a long header, or a connection ID that the entry is not of, or whose time is up.
fn unless_this_holds(places: &Places) -> Vec<Instruction> {
    let mut part = vec![
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
        step(0x57, R1, 0, 0, places.entries as i32 - 1),
        step(0x63, STACK, R1, INDEX, 0),
    ];
    part.extend(look_up(places.map));
    part.extend([
        load(0x79, ENTRY, R0, 0),
        // the tag: 32 bits of the ID
        step(0x77, CID, 0, 0, 16),
        step(0x67, CID, 0, 0, 32),
        step(0x77, CID, 0, 0, 32),
        copy(R1, ENTRY),
        step(0x77, R1, 0, 0, 32),
        step(0x5d, R1, CID, ACCEPT, 0),
    ]);
    part.extend(unless_time_is_left(places.hold_ticks_max));
    part
}

fn count_and_drop(places: &Places) -> Vec<Instruction> {
    let mut part = vec![store(INDEX, places.dropped as i32)];
    part.extend(look_up(places.map));
    part.extend([set(R1, 1), step(0xdb, R0, R1, 0, 0), set(R0, 0), end()]);
    part
}

/// The address of the word whose index stands on the stack.
fn look_up(map: c_int) -> [Instruction; 6] {
    [
        // r1 = the map, in two halves; r2 = where the index stands
        step(0x18, R1, 1, 0, map),
        step(0, 0, 0, 0, 0),
        copy(R2, STACK),
        add(R2, INDEX.into()),
        call(LOOKUP),
        unless(0x15, R0, 0),
    ]
}

/// Accepts unless the last half of ENTRY is after NOW, and by no more than an entry holds, modulo 2^32.
fn unless_time_is_left(hold_ticks_max: u32) -> [Instruction; 5] {
    [
        step(0x1f, ENTRY, NOW, 0, 0),
        step(0x67, ENTRY, 0, 0, 32),
        step(0x77, ENTRY, 0, 0, 32),
        unless(0x15, ENTRY, 0),
        unless(0x25, ENTRY, hold_ticks_max as i32),
    ]
}

const fn step(code: u8, to: u8, from: u8, offset: i16, immediate: i32) -> Instruction {
    Instruction {
        code,
        registers: to | from << 4,
        offset,
        immediate,
    }
}

const fn set(to: u8, value: i32) -> Instruction {
    step(0xb7, to, 0, 0, value)
}

const fn copy(to: u8, from: u8) -> Instruction {
    step(0xbf, to, from, 0, 0)
}

const fn add(to: u8, value: i32) -> Instruction {
    step(0x07, to, 0, 0, value)
}

const fn call(function: i32) -> Instruction {
    step(0x85, 0, 0, 0, function)
}

const fn load(code: u8, to: u8, from: u8, offset: i16) -> Instruction {
    step(code, to, from, offset, 0)
}

/// Puts a number of 32 bits on the stack.
const fn store(at: i16, value: i32) -> Instruction {
    step(0x62, STACK, 0, at, value)
}

/// Accepts when the comparison holds.
const fn unless(code: u8, register: u8, value: i32) -> Instruction {
    step(code, register, 0, ACCEPT, value)
}

const fn end() -> Instruction {
    step(0x95, 0, 0, 0, 0)
}
