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
mod deliveries;
mod evict;
mod fit;
mod gateway;
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
mod phone;
mod presence;
mod put_off;
mod room;
mod rounds;
mod run;
mod secrets;
mod shape;
mod shard;
mod spent;
mod state;
mod taken;
mod terms;
mod tls;
mod winners;

pub use allocations::Noted;
pub use cli::main;
#[cfg(feature = "heap-profile")]
pub use heap::Profiled;

#[cfg(all(test, not(feature = "heap-profile")))]
#[global_allocator]
static ALLOCATOR: Noted<mimalloc::MiMalloc> = Noted(mimalloc::MiMalloc);
