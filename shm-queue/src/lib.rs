//! Crash-safe single-producer single-consumer rings in a file that two processes map.
//!
//! ```text
//!        Front (one process)                              Back (the other)
//!   Producer ──push──▶ ring 0  ▒▒▒▒▒▒▒▒▒░░░░░░ ──read──▶ Consumer ──commit──┐
//!                      head ◀──────────────────────────────────────────────┘
//!   Consumer ◀──read── ring 1  ▒▒▒░░░░░░░░░░░░ ◀──push── Producer
//!   Sleeper  ──notify────────▶ futex word  ────────────▶ Sleeper::wait
//!   Bell     ◀──poll────────── FIFO + flag ◀──────────── Bell::ring
//!                    Mapping: one file, mode 0600, by default in /dev/shm
//! ```
//!
//! The crate holds the file's layout, the ring arithmetic, the exclusive attachment of each side, heartbeats,
//! and wake-ups. What the rings carry, how many there are and what each is for is the caller's.
//!
//! What holds at every instruction, whichever process dies there:
//! - A record becomes visible by one release store of the ring's tail, after its bytes are written. Before the store it
//!   does not exist, after it the record is whole. A restarted producer continues at the shared tail, and
//!   [`Producer::position`] tells it whether its last push happened.
//! - A slot is reused only after [`Consumer::commit`]. A restarted consumer reads again from the last commit: at least
//!   once, never skipped.
//! - The kernel drops the lock of a dead process, so its side can be attached again at once.
//!
//! Each process treats the other's bytes as input: positions, lengths and checks are validated on private copies, and a
//! corrupt slot or cursor is an error value. The mapping outlives processes, not the machine: nothing is synced to disk.
//!
//! It never spins, never blocks in a push or a read, never allocates after a handle is made, and reads no clock.
//!
//! ```
//! use shm_queue::{Geometry, Mapping, RingGeometry, Side};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = tempfile::tempdir()?;
//! # let path = directory.path().join("rings");
//! let ring = RingGeometry { slots: 1024, payload_bytes_max: 64, producer: Side::Front };
//! let geometry = Geometry { records: 1, rings: vec![ring], bells: 0, sleepers: 1 };
//!
//! // One process:
//! let front = Mapping::open_or_create(&path, &geometry)?.attach(Side::Front, 1_000)?;
//! let (mut requests, agent) = (front.producer(0)?, front.sleeper(0)?);
//! let position = requests.push(b"claim 17")?;
//! agent.notify();
//!
//! // The other, which commits only what it has made durable:
//! let back = Mapping::open_or_create(&path, &geometry)?.attach(Side::Back, 1_000)?;
//! let mut work = back.consumer(0)?;
//! work.read_batch(64, |position, bytes| assert_eq!((position, bytes), (0, &b"claim 17"[..])))?;
//! work.commit(work.read_position())?;
//! assert_eq!(requests.consumed(), position + 1);
//! # Ok(())
//! # }
//! ```
//!
//! Not defended against: a third party of the same user that truncates the file while it is mapped (the kernel then
//! raises SIGBUS).

#![cfg_attr(loom, allow(dead_code, reason = "loom checks the core alone, without its callers"))]

// The core, which loom checks.
mod check;
mod crash;
mod fault;
mod handshake;
mod owner;
mod ring;
mod sync;

// What needs files and processes, which loom has not.
#[cfg(not(loom))]
mod attach;
#[cfg(not(loom))]
mod consumer;
#[cfg(not(loom))]
mod error;
#[cfg(not(loom))]
mod layout;
#[cfg(not(loom))]
mod mapping;
#[cfg(not(loom))]
mod memory;
#[cfg(not(loom))]
mod producer;
#[cfg(not(loom))]
mod wake;

pub use fault::{CommitError, CorruptCursors, CorruptSlot, PushError, ReadError, SlotFault};

#[cfg(not(loom))]
pub use {
    attach::Attachment,
    consumer::Consumer,
    error::Error,
    layout::{
        BELLS_MAX, FILE_BYTES_MAX, Geometry, PAYLOAD_BYTES_MAX, RINGS_MAX, RingGeometry, SLEEPERS_MAX, SLOTS_MAX, Side,
    },
    mapping::{Mapping, Peer},
    owner::Owner,
    producer::{Producer, Pushed},
    wake::{Bell, Sleeper},
};

#[cfg(all(test, not(loom)))]
mod death_tests;
#[cfg(all(test, loom))]
mod loom_tests;
