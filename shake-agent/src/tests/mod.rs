//! Tests of the parts together: against an oracle, on real rings, killed at each step, and with planted differences.
#![allow(clippy::unwrap_used)]

#[path = "../../tests/support/mod.rs"]
pub(crate) mod support;

mod audit;
mod back;
mod child;
mod close;
mod conformance;
mod crash;
mod disk;
mod fleet;
mod lost;
mod night;
mod oracle;
mod others;
mod outage;
mod packets;
mod play;
mod refused;
mod returned;
mod rings;
mod simulation;
mod time;
mod versions;

pub use versions::make_version_2;
