//! Where sessions lie: in pages that never move, on huge pages, packed while they are idle, fetched before they are needed.

pub mod allocations;
pub mod growth;
#[cfg(feature = "heap-profile")]
pub mod heap_profile;
pub(crate) mod hot_line;
pub mod huge_pages;
mod packed;
pub mod pages;
pub(crate) mod session_table;
