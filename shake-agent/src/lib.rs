//! The agent: the process beside the gateway that does what must be durable. It feeds packets to the gateway's shards,
//! opens the packets that users claim, and keeps the ledger.
//!
//! Invariant: nothing is answered before the commit that covers it, and nothing is opened twice. Every request from the
//! rings may be handled more than once, and takes effect once.
//!
//! The modules stand in the order in which a request meets them, then those that read the ledger from outside.

#![cfg_attr(not(test), forbid(unsafe_code))]

pub mod check;
pub mod config;

pub mod seed_draw;
pub mod seed_file;
pub mod seed_fleet;
pub mod seed_generate;

pub mod feed;
pub mod follow;
mod gifts;
pub mod lanes;
pub mod ledger;
pub mod outage;
pub mod pace;
mod refused;
pub mod requests;
pub mod run;
mod sweep;
pub mod turn;
mod waiting;

pub mod closing;
pub mod loss;
pub mod names;
pub mod settlement;
pub mod witness;

pub mod abuse;

pub mod audit;
pub mod backup;
pub mod export;
pub mod story;

pub mod counters;
pub mod differences;
pub mod signals;

mod burst;
mod crash;
mod heartbeat;
mod places;
mod table;
mod timekeeper;

#[cfg(test)]
extern crate self as shake_agent; // the name that the tests' shared support knows the crate by
#[cfg(test)]
mod tests;
