//! A sharded QUIC server that knows nothing of what it serves.
//!
//! A [`Shard`] is one thread with its own UDP socket, `quinn-proto` endpoints, sessions and timers. It shares nothing with the
//! others: the kernel steers each packet to the shard that its connection ID names. What it serves is an [`App`](app::App).
//!
//! ```text
//! socket ─▶ backlog ─▶ receive ─▶ App: shed, charge, admit ─▶ session ─▶ drive ─▶ App: on_datagram, on_request
//!                                                                         │
//! socket ◀─ send batch ◀─ packets of all sessions that something happened to
//! ```
//! Time, packets and sleep come by the trait [`Io`](io::Io), so a shard that is given another one serves in simulated time.
//!
//! All `unsafe` is in two folders: `udp`, which calls the kernel, and `memory`.

#![deny(unsafe_code)]

pub mod app;
pub mod io;
mod shard;

pub mod batch;
#[allow(unsafe_code)] // system calls
pub mod udp;

mod backlog;
mod pacing;
mod receive;

mod arrivals;
mod buffered_packets;
mod cid;
mod endpoints;
mod resets;
mod shed_cache;

mod drive;
mod timers;

mod broadcast;

mod anti_amplification;
mod close;
pub mod counters;
pub mod cx;
#[allow(unsafe_code)] // sessions as words, memory by its address
pub mod memory;
mod moves;
mod session;
pub mod session_id;
#[cfg(feature = "sim")]
pub mod sim;
mod state;
mod streams;
pub mod tls;
mod wheel;

pub use close::Close;
pub use drive::CLOSING;
pub use endpoints::{Endpoints, Identity};
pub use resets::ResetKeys;
pub use shard::{Parts, Shard};
pub use state::AllSessions;
pub use streams::{NoRoom, StreamRules};

#[cfg(all(test, not(feature = "heap-profile"), not(miri)))]
#[global_allocator]
static ALLOCATOR: memory::allocations::TrackingAllocator<mimalloc::MiMalloc> =
    memory::allocations::TrackingAllocator(mimalloc::MiMalloc);
