//! The gateway: the QUIC access server of a "shake and win" event.
//!
//! A program has all of it by [`main`], and installs [`TrackingAllocator`] around its allocator; without that some memory is not asked for
//! ahead, and growth is not timed.

#![forbid(unsafe_code)]

pub mod config;

mod abuse;
mod agent_link;
mod app;
mod blocklist;
mod broadcasts;
mod check;
mod cli;
mod conditions;
mod config_store;
mod control;
mod cookies;
mod counters;
mod credentials;
mod deliveries;
mod elsewhere;
mod evict;
mod fit;
mod gateway;
mod handlers;
mod in_flight;
mod in_hand;
mod key_use;
mod leave;
mod limits;
mod load;
mod metrics;
mod own_id;
mod phone;
mod presence;
mod prometheus;
mod put_off;
mod room;
mod rounds;
mod run;
mod secrets;
mod shape;
#[cfg(test)]
mod simulated;
mod state;
mod taken;
mod winners;

pub use cli::main;
pub use quic_shard::memory::allocations::TrackingAllocator;
#[cfg(feature = "heap-profile")]
pub use quic_shard::memory::heap_profile::Profiled;

#[cfg(all(test, not(feature = "heap-profile")))]
#[global_allocator]
static ALLOCATOR: TrackingAllocator<mimalloc::MiMalloc> = TrackingAllocator(mimalloc::MiMalloc);
