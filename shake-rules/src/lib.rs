//! The pure part of the event: what a shake is worth, who may win what, what a token, a ticket and a
//! limit cookie say, how a budget is split, how seed and show files read.
//!
//! Invariant: nothing in this crate does I/O, reads a clock or draws randomness. Time, random numbers and
//! nonces are arguments, so every rule can be tested and replayed exactly.
//!
//! The modules stand in the order in which a user meets them.

#![forbid(unsafe_code)]

mod ids;
mod sealed;

pub mod difference;
pub mod document;
pub mod keys;
pub mod money;

pub mod kept;
pub mod show;
pub mod token;

pub mod grade;
pub mod prefix;
pub mod throttle;

pub mod outcome;

pub mod cookie;
pub mod ticket;
pub mod winnings;

pub mod code;
pub mod split;

pub mod amounts;
pub mod seed;

pub use ids::{Cents, DeviceId, EventId, LedgerId, PacketId, SponsorId, UnixMillis, UserId};
