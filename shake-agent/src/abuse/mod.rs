//! Abuse analysis: what the gateway's shards tell of their users becomes blocks, which go back to every shard.
//!
//! ```text
//! event rings ─▶ watch (a thread of its own) ─▶ analysis (pure) ─▶ blocks ─▶ block rings
//!                                                                   └─▶ file ◀─ `shake-agent blocks`
//! ```
//! Invariants: no money hangs on anything here, so all of it fails open (what is full, lost or unreadable blocks nobody),
//! and it stands on a thread of its own, so that it never delays a claim. Everything is bounded: the tables of who was seen,
//! the blocks, their time, and the share of users that may be blocked at all.

mod analysis;
mod blocks;
mod faded;
mod keep;
mod rules;
mod watch;

pub use analysis::{Analysis, Verdict};
pub use blocks::{Blocks, Held};
pub use keep::{Keeper, KeptBlock, KeptFile, request_lift};
pub use rules::Rules;
pub use watch::{Abuse, Watch};

#[cfg(test)]
mod tests;
