//! What every program of this project needs of the machine that it runs on.
//!
//! It knows nothing of sessions, rings or money.
#![forbid(unsafe_code)]

pub mod clock;
pub mod secrecy;
