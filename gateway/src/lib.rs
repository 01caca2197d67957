//! The gateway: the QUIC access server of a "shake and win" event.
//!
//! A program has all of it by [`main`], and installs [`Noted`] around its allocator; without that some memory is not asked for
//! ahead, and growth is not timed.

pub mod config;

mod abuse;
mod agent_link;
mod allocations;
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
mod fit;
mod handlers;
#[cfg(feature = "heap-profile")]
mod heap;
mod huge_pages;
mod in_flight;
mod key_use;
mod limits;
mod load;
mod metrics;
mod own_id;
mod presence;
mod run;
mod secrets;
mod shape;
mod shard;
mod state;
mod taken;
mod tls;
mod winners;

pub use allocations::Noted;
pub use cli::main;
#[cfg(feature = "heap-profile")]
pub use heap::Profiled;

#[cfg(all(test, not(feature = "heap-profile")))]
#[global_allocator]
static ALLOCATOR: Noted<mimalloc::MiMalloc> = Noted(mimalloc::MiMalloc);
