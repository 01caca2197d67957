//! A shard in simulated time: its machine is a world in memory, with a network and clients, and an hour of it passes as fast
//! as the work that is done in it. What happens depends on the seed alone, so a run that failed is seen again by its seed.
//!
//! ```text
//! Shard::run ─▶ SimIo: wait, sleep ─▶ World: the next event in time ─▶ a client speaks, a timer fires, a packet arrives
//!            ◀─ receive ◀─ inbox                                      ─▶ Network: delayed, lost, repeated
//! ```
//! The world advances only while the shard waits or sleeps: computing takes no time.

mod client;
mod echo;
mod network;
mod world;

pub use client::{Client, Script};
pub use echo::{Echo, EchoConfig, EchoHot, Echoed};
pub use network::Network;
pub use world::{SimIo, World};
