//! Where sessions lie: in pages that never move, on huge pages, packed while they are idle, fetched before they are needed.
//!
//! The door is [`session_table`]: a shard for few sessions has a plain table behind it, one for many packs those that are idle.

pub mod allocations;
mod delta;
#[cfg(feature = "heap-profile")]
pub mod heap_profile;
pub(crate) mod hot_line;
pub mod huge_pages;
mod packable;
mod packing_table;
pub mod paged_slab;
pub(crate) mod session_table;
pub mod stall_timer;
