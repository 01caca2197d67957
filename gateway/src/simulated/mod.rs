//! The gateway's application in simulated time: a shard on the network of `quic_shard::sim`, phones that do what a test says,
//! and an agent at the other end of real rings. Nothing here waits for a clock, so an hour takes a second, and a machine
//! that is busy changes nothing.
//!
//! ```text
//! test ─▶ town ─▶ phone ─▶ desk ─▶ scene ─▶ world ─▶ shard ─▶ Gateway ─▶ rings ─▶ agent
//! ```

mod agent;
#[path = "../../tests/support/common.rs"]
mod common;
mod house;
mod phone;
mod scene;
mod town;

mod bad_input;
mod blocks;
mod broadcasts;
mod gifts;
mod grants;
mod hello;
mod limits;
mod money;
mod outage;
mod sessions;
mod winnings;
