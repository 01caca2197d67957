//! The phones of the event: real QUIC sessions that say Hello, shake by an open-loop schedule, claim what they win
//! and slow down when told, with a report of what came back.
//!
//! Invariant: the modules above [`engine`] do no I/O and read no clock; an engine feeds them events with the time of
//! each, so every engine plays the same users by the same rules and its counts can be compared.
//!
//! The modules stand in the order in which a run goes through them.

pub mod scenario;

pub mod backoff;
pub mod network;
pub mod schedule;
pub mod user;

pub mod tally;

mod journal;
mod names;

pub mod engine;

pub mod hostile;

pub mod control;
pub mod cues;
pub mod metrics;
pub mod progress;
pub mod report;
pub mod run;
